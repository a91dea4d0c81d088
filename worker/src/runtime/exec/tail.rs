//! The last that a program printed.

use muster_domain::ending::MAX_LAST_OUTPUT;

/// Keeps the last lines, up to [`MAX_LAST_OUTPUT`] bytes of them, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct OutputTail(Vec<u8>);

impl OutputTail {
    pub(super) fn add(&mut self, line: &[u8]) {
        let line = &line[line.len().saturating_sub(MAX_LAST_OUTPUT)..];
        self.0.extend_from_slice(line);
        self.0.push(b'\n');
        // Seldom, so that a flood does not move the rest with each line.
        if self.0.len() > 4 * MAX_LAST_OUTPUT {
            self.0.drain(..self.0.len() - MAX_LAST_OUTPUT - 1);
        }
    }

    /// The last output as text: whole lines, unless the last one alone is too long.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let text = text.trim_end_matches('\n');
        if text.len() <= MAX_LAST_OUTPUT {
            return text.to_owned();
        }
        let mut from = text.len() - MAX_LAST_OUTPUT;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let rest = &text[from..];
        let whole = rest.split_once('\n').map_or(rest, |(_, whole)| whole);
        // A cut that falls on a line's beginning leaves that line whole.
        if text.as_bytes()[from - 1] == b'\n' { rest.to_owned() } else { whole.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(lines: impl IntoIterator<Item = Vec<u8>>) -> String {
        let mut tail = OutputTail::default();
        lines.into_iter().for_each(|line| tail.add(&line));
        tail.text()
    }

    #[test]
    fn few_lines_are_kept_as_they_are() {
        assert_eq!(tail([]), "");
        assert_eq!(tail([b"one".to_vec(), b"".to_vec(), b"two".to_vec()]), "one\n\ntwo");
        assert_eq!(tail([b"a\xffb".to_vec()]), "a\u{fffd}b");
    }

    #[test]
    fn many_lines_leave_the_last_whole_ones() {
        let text = tail((0..100_000).map(|number| format!("line {number}").into_bytes()));
        assert!(text.len() <= MAX_LAST_OUTPUT && text.len() > MAX_LAST_OUTPUT - 20, "{}", text.len());
        assert!(text.starts_with("line ") && text.ends_with("\nline 99999"));
    }

    #[test]
    fn a_long_line_and_rubbish_stay_within_the_bound() {
        assert_eq!(tail([vec![b'x'; 100_000]]).len(), MAX_LAST_OUTPUT);
        let rubbish = tail([vec![0xff; 100_000]]);
        assert!(rubbish.len() <= MAX_LAST_OUTPUT && rubbish.len() > MAX_LAST_OUTPUT - 3);
    }
}
