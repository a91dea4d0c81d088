//! Words of programs and callers on a terminal. A terminal obeys some characters: it moves its cursor, changes its title, turns
//! lines around. None of them reaches one from here. What goes to a file or another program stays as it is.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Whether a terminal obeys this character, or a reader can't see what it does: control characters, those that turn the
/// direction of text around, and marks without a width of their own.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text for one line among others.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A text that has lines and columns of its own.
pub(super) fn printable_lines(text: &str) -> String {
    text.chars()
        .map(|c| if is_obeyed(c) && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// JSON that means the same, with these characters escaped. Outside of strings it has line breaks and tabs only.
pub(super) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_obeyed(c) && !matches!(c, '\n' | '\t' | '\r') {
            // All of them are in the basic plane.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// Prints bytes as they come, without what a terminal obeys. A character that is cut in two waits for its rest.
pub(super) struct Printable<W> {
    out: W,
    rest: Vec<u8>,
}

impl<W: Write> Printable<W> {
    pub(super) const fn new(out: W) -> Self {
        Self { out, rest: Vec::new() }
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.extend_from_slice(bytes);
        // What is no UTF-8 and not just its beginning is shown as such.
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) if self.rest.last().is_some_and(|byte| *byte >= 0xc0) => self.rest.len() - 1,
            _ => self.rest.len(),
        };
        let text = printable_lines(&String::from_utf8_lossy(&self.rest[..whole]));
        self.out.write_all(text.as_bytes())?;
        self.rest.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;owned\u{7}b\u{9b}31m\u{202e}c\u{2066}\u{200f}\u{61c}\r\n\td";

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        let bad = |text: &str| text.chars().filter(|c| is_obeyed(*c)).collect::<String>();
        assert_eq!(bad(&printable(HOSTILE)), "");
        assert_eq!(bad(&printable_lines(HOSTILE)), "\n\t");
        assert_eq!(printable("Grüße, 日本 🦀"), "Grüße, 日本 🦀");
    }

    #[test]
    fn json_means_the_same() {
        let json = serde_json::json!({"a": HOSTILE, "\u{202e}": 1});
        let text = escaped(&format!("{json:#}"));
        assert!(text.chars().all(|c| !is_obeyed(c) || c == '\n'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), json);
    }

    #[test]
    fn a_character_that_comes_in_two_pieces_is_one() {
        let mut out = Vec::new();
        let mut printable = Printable::new(&mut out);
        let bytes = "é\u{1b}[2J日\n".as_bytes();
        for byte in bytes {
            printable.write_all(&[*byte]).expect("written");
        }
        printable.write_all(b"\xff\x9bx\n").expect("written");
        assert_eq!(String::from_utf8(out).expect("text"), "é\u{fffd}[2J日\n\u{fffd}\u{fffd}x\n");
    }
}
