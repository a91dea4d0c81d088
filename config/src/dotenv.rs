//! The `.env` file beside the configuration: `NAME=VALUE` lines. It may be shared with other programs, so only the
//! lines that speak to Muster are judged.

use std::path::Path;

use super::mistake::{Mistake, ValueOrigin};

/// One variable of a `.env` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    /// Its name.
    pub(crate) name: String,
    /// Its value, without quotes.
    pub(crate) value: String,
    /// The line, from 1.
    pub(crate) line: usize,
}

/// Reads a text. Comments, `export`, single and double quotes are understood; nothing is expanded.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Vec<Variable>, Mistake> {
    let mut variables = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |message: &str| {
            let origin = ValueOrigin::Line { path: path.to_owned(), line: index + 1 };
            Mistake::new(origin, "", message)
        };
        match line.split_once('=') {
            Some((name, value)) => match unquote(value.trim()) {
                Some(value) => variables.push(Variable { name: name.trim().to_owned(), value, line: index + 1 }),
                None if line.starts_with("MUSTER_") => return Err(wrong("the quote is not closed")),
                None => {}
            },
            None if line.starts_with("MUSTER_") => return Err(wrong("this is no NAME=VALUE")),
            None => {}
        }
    }
    Ok(variables)
}

/// The value without its quotes and without a comment behind it; `None` where a quote stays open.
fn unquote(value: &str) -> Option<String> {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.find('\'').map(|end| rest[..end].to_owned());
    }
    let Some(rest) = value.strip_prefix('"') else {
        let end = value.find(" #").unwrap_or(value.len());
        return Some(value[..end].trim_end().to_owned());
    };
    let mut out = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String, usize)> {
        let variables = parse(text, Path::new(".env")).expect("a good file");
        variables.into_iter().map(|v| (v.name, v.value, v.line)).collect()
    }

    #[test]
    fn the_usual_forms_are_understood() {
        let text = "# a comment\n\nA=1\nexport B = two words # why\nC='x # y'\nD=\"q\\\"\\n\" # end\nE=\nF=a#b\n";
        let expected = [("A", "1", 3), ("B", "two words", 4), ("C", "x # y", 5), ("D", "q\"\n", 6), ("E", "", 7)]
            .map(|(name, value, line)| (name.to_owned(), value.to_owned(), line));
        let found = read(text);
        assert_eq!(found[..5], expected);
        assert_eq!(found[5].1, "a#b", "a '#' without a space before it belongs to the value");
    }

    #[test]
    fn only_lines_for_muster_are_judged() {
        assert_eq!(read("just words\nOTHER=\"open\n").len(), 0);
        let wrong = |text: &str| parse(text, Path::new(".env")).expect_err("a mistake").to_string();
        assert_eq!(wrong("A=1\nMUSTER_LISTEN 1\n"), ".env:2: this is no NAME=VALUE");
        assert_eq!(wrong("MUSTER_LISTEN='1\n"), ".env:1: the quote is not closed");
    }
}
