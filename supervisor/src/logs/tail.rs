//! The last lines of a log, read backwards so that a large file costs no more than what is shown of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use muster_files::{DataPath, FileId};

const BLOCK: u64 = 64 * 1024;
/// The most that is read for one answer, in bytes, however long the lines are.
const MAX_TAIL: u64 = 16 * 1024 * 1024;

/// A file, and the offset behind what was read of it, for reading on.
pub(super) type End = Option<(File, u64)>;

/// The last `lines` lines of a log as they are in the file, from the file before it too where it has too few. Blocks.
pub(super) fn tail(log: &DataPath, lines: usize) -> io::Result<(Vec<u8>, End)> {
    let (current, before) = open_both(log)?;
    let Some(current) = current else {
        let bytes = before.map_or(Ok(Vec::new()), |file| last_lines(&file, file.metadata()?.len(), lines, MAX_TAIL))?;
        return Ok((bytes, None));
    };
    // What is appended from here on is for the follower.
    let length = current.metadata()?.len();
    let newest = last_lines(&current, length, lines, MAX_TAIL)?;
    let missing = lines.saturating_sub(count_lines(&newest));
    let whole = newest.len() as u64 == length;
    let bytes = match before {
        Some(file) if missing > 0 && whole => {
            let mut older = last_lines(&file, file.metadata()?.len(), missing, MAX_TAIL - length.min(MAX_TAIL))?;
            if older.last().is_some_and(|byte| *byte != b'\n') {
                older.push(b'\n');
            }
            older.extend_from_slice(&newest);
            older
        }
        _ => newest,
    };
    Ok((bytes, Some((current, length))))
}

/// The current file and the one before it. Where a rotation comes between the two opens, both are the same file: then
/// once more. It stays so where somebody linked the one to the other, and then that is all there is.
fn open_both(log: &DataPath) -> io::Result<(Option<File>, Option<File>)> {
    let mut current = log.read()?;
    for _ in 0..3 {
        let before = open_older(log)?;
        match (&current, &before) {
            (Some(a), Some(b)) if FileId::of(a)? == FileId::of(b)? => current = log.read()?,
            _ => return Ok((current, before)),
        }
    }
    Ok((current, None))
}

/// Opens the older part of a log. One that somebody has replaced is only what is missing before the newer lines.
fn open_older(log: &DataPath) -> io::Result<Option<File>> {
    match log.older().read() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        opened => opened,
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    let ended = bytes.iter().filter(|byte| **byte == b'\n').count();
    ended + usize::from(bytes.last().is_some_and(|byte| *byte != b'\n'))
}

/// The last `lines` lines of the first `length` bytes of `file`, at most `max` bytes of them.
fn last_lines(file: &File, length: u64, lines: usize, max: u64) -> io::Result<Vec<u8>> {
    let floor = length.saturating_sub(max);
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut start = length;
    let mut seen = 0;
    while lines > 0 && start > floor {
        let size = BLOCK.min(start - floor);
        let mut block = vec![0; usize::try_from(size).unwrap_or_default()];
        file.read_exact_at(&mut block, start - size)?;
        let cut = line_start(&block, start == length, lines, &mut seen);
        start -= size;
        if let Some(cut) = cut {
            block.drain(..cut);
            blocks.push(block);
            break;
        }
        blocks.push(block);
    }
    blocks.reverse();
    Ok(blocks.concat())
}

/// Looks backwards through a block for the start of the `lines`th line from the end; `seen` counts newlines over all
/// blocks. The newline that ends the file ends its last line and begins none.
fn line_start(block: &[u8], is_last: bool, lines: usize, seen: &mut usize) -> Option<usize> {
    let end = if is_last && block.last() == Some(&b'\n') { block.len() - 1 } else { block.len() };
    for at in (0..end).rev() {
        if block[at] == b'\n' {
            *seen += 1;
            if *seen == lines {
                return Some(at + 1);
            }
        }
    }
    None
}

/// The place of a log in this data folder, and its path. The file is not there yet.
#[cfg(test)]
pub(super) fn log_in(folder: &tempfile::TempDir) -> (DataPath, std::path::PathBuf) {
    let log = DataPath::agent_log(folder.path(), muster_domain::AgentId::generate());
    std::fs::create_dir_all(folder.path().join("logs/agents")).expect("folders");
    let path = log.path();
    (log, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{rename, write};
    use tempfile::TempDir;

    fn text(log: &DataPath, lines: usize) -> String {
        String::from_utf8(tail(log, lines).expect("a log").0).expect("text")
    }

    #[test]
    fn the_last_lines_come_in_order() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "one\ntwo\nthree\n").expect("written");
        for (lines, expected) in
            [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (9, "one\ntwo\nthree\n")]
        {
            assert_eq!(text(&log, lines), expected, "{lines}");
        }
        write(&path, "one\n\ntwo").expect("written");
        for (lines, expected) in [(1, "two"), (2, "\ntwo"), (3, "one\n\ntwo")] {
            assert_eq!(text(&log, lines), expected, "{lines} without a newline at the end");
        }
    }

    #[test]
    fn a_log_that_is_linked_to_the_one_before_it_is_read_once() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "one\n").expect("written");
        std::fs::hard_link(&path, log.older().path()).expect("a link");
        assert_eq!(text(&log, 9), "one\n");
    }

    #[test]
    fn an_older_part_that_was_replaced_costs_the_newer_lines_nothing() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(path, "1\n").expect("written");
        std::os::unix::fs::symlink("/dev/zero", log.older().path()).expect("a link");
        assert_eq!(tail(&log, 10).expect("a log").0, b"1\n");
    }

    #[test]
    fn a_log_that_is_not_there_is_empty() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        let nothing = tail(&log, 10).expect("no error");
        assert!(nothing.0.is_empty() && nothing.1.is_none());
        write(&path, "").expect("written");
        assert_eq!(text(&log, 10), "");
    }

    #[test]
    fn lines_from_before_a_rotation_are_included() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "1\n2\n3").expect("written");
        rename(&path, log.older().path()).expect("rotated");
        assert_eq!(text(&log, 2), "2\n3", "between the rotation and the first line after it");
        write(&path, "4\n5\n").expect("written");
        for (lines, expected) in [(1, "5\n"), (2, "4\n5\n"), (3, "3\n4\n5\n"), (9, "1\n2\n3\n4\n5\n")] {
            assert_eq!(text(&log, lines), expected, "{lines}");
        }
    }

    #[test]
    fn lines_longer_than_a_block_are_whole() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        let long = "x".repeat(3 * BLOCK as usize + 17);
        write(&path, format!("first\n{long}\nlast\n")).expect("written");
        assert_eq!(text(&log, 2), format!("{long}\nlast\n"));
        assert_eq!(text(&log, 3), format!("first\n{long}\nlast\n"));
        // A newline exactly at the edge of a block.
        let edge = "y".repeat(BLOCK as usize - 1);
        write(&path, format!("first\n{edge}\n")).expect("written");
        assert_eq!(text(&log, 1), format!("{edge}\n"));
        assert_eq!(text(&log, 2), format!("first\n{edge}\n"));
    }

    #[test]
    fn what_is_read_is_bounded() {
        let folder = TempDir::new().expect("a folder");
        let (_log, path) = log_in(&folder);
        write(&path, "0123456789").expect("written");
        let file = File::open(&path).expect("opened");
        assert_eq!(last_lines(&file, 10, 5, 4).expect("read"), b"6789");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, b"a\xff\n\xc3\n").expect("written");
        assert_eq!(tail(&log, 2).expect("a log").0, b"a\xff\n\xc3\n");
    }
}
