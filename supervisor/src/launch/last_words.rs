//! What a dead worker said last: the end of its log.

use std::io::{self, Read as _, Seek as _, SeekFrom};

use muster_files::DataPath;

/// Lines at the most: a panic has two.
const LINES: usize = 3;

/// Bytes that are read for them.
const TAIL: u64 = 2 * 1024;

/// Characters of a line at the most.
const WIDTH: usize = 300;

/// The last lines of a worker's log as one line; empty where it has said nothing, or its log is gone.
pub(super) fn read(log: &DataPath) -> String {
    let tail = read_tail(log).unwrap_or_default();
    let printable = |line: &str| line.chars().filter(|sign| !sign.is_control()).take(WIDTH).collect::<String>();
    let lines: Vec<String> =
        tail.lines().rev().map(|line| printable(line.trim())).filter(|line| !line.is_empty()).take(LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

fn read_tail(log: &DataPath) -> io::Result<String> {
    let Some(mut file) = log.read()? else { return Ok(String::new()) };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    // The first line is half a one, unless the log begins with it.
    Ok(match text.split_once('\n') {
        Some((_, whole)) if start > 0 => whole.to_owned(),
        _ => text,
    })
}

#[cfg(test)]
mod tests {
    use muster_domain::ProcessId;

    use super::*;

    #[test]
    fn the_last_lines_are_one_line_without_control_characters() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = DataPath::worker_log(folder.path(), ProcessId::generate());
        assert_eq!(read(&log), "", "there is no log");
        let write = |text: &str| {
            drop(log.append().expect("a log"));
            std::fs::write(log.path(), text).expect("a log");
        };
        write("one\ntwo\n\n\u{1b}[31mpanicked at x.rs:1:2:\nno way\n");
        assert_eq!(read(&log), "two / [31mpanicked at x.rs:1:2: / no way");
        write(&format!("{}\nlast\n", "x".repeat(5_000)));
        assert_eq!(read(&log), "last", "half a line is none");
    }
}
