//! The log of an agent: what it printed, and its end. Written by its worker, read by the API.
//!
//! One file per agent, `logs/agents/ID.log` in the data folder, over all of its runs. When it is past its limit it is
//! renamed to `ID.log.1`, over an older one. Each line is a time, the stream, and the text, which is UTF-8 and has no line
//! break:
//!
//! ```text
//! 2026-11-21T10:00:00.123Z out hello
//! 2026-11-21T10:00:00.201Z err Traceback (most recent call last):
//! 2026-11-21T10:00:00.400Z end exited with code 1
//! ```

mod writer;

pub(crate) use writer::{LogBatch, LogFile};

use std::fmt;

use muster_domain::Timestamp;

/// A log file is rotated when it is longer than this, in bytes.
pub const ROTATE_AT: u64 = 10 * 1024 * 1024;

/// Where a line is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// The program's stdout.
    Out,
    /// The program's stderr.
    Err,
    /// The end of a run: why it ended.
    End,
}

impl LogStream {
    /// The word in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::End => "end",
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When it was read from the program.
    pub at: Timestamp,
    /// Where it is from.
    pub stream: LogStream,
    /// What was printed, without the line break.
    pub text: &'a str,
}

/// Reads one line, without its line break. `None` where it is none: the rest of one that a full disk cut.
pub fn parse(line: &str) -> Option<LogLine<'_>> {
    let (at, rest) = line.split_once(' ')?;
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let stream = [LogStream::Out, LogStream::Err, LogStream::End].into_iter().find(|stream| stream.as_str() == word)?;
    Some(LogLine { at: at.parse().ok()?, stream, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back() {
        let mut batch = LogBatch::default();
        let at = Timestamp::from_millis(1_763_695_200_123);
        batch.add(at, LogStream::Out, b"hello  world ", 0);
        batch.add(at, LogStream::Err, b"", 0);
        batch.add(at, LogStream::End, b"exited with code 1", 0);
        let text = String::from_utf8(batch.take()).expect("UTF-8");
        let lines: Vec<LogLine<'_>> = text.lines().map(|line| parse(line).expect("a line")).collect();
        assert_eq!(lines[0], LogLine { at, stream: LogStream::Out, text: "hello  world " });
        assert_eq!(lines[1], LogLine { at, stream: LogStream::Err, text: "" });
        assert_eq!(lines[2], LogLine { at, stream: LogStream::End, text: "exited with code 1" });
    }

    #[test]
    fn a_piece_of_a_line_is_no_line() {
        for piece in ["", "out", "d code 1", "2025-11-21T03:20:00.123Z", "2025-11-21T03:20:00.123Z note x", "x out y"] {
            assert_eq!(parse(piece), None, "{piece:?}");
        }
    }
}
