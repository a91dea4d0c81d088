//! Writes a log in batches, and rotates it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use muster_domain::Timestamp;

use super::{Stream, rotated};

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// The last stamp and its text: a flood has thousands of lines in one millisecond.
    stamp: Option<(Timestamp, String)>,
}

impl Batch {
    /// Adds a line. Bytes that are no UTF-8 become U+FFFD. `cut` bytes of it were left out, which is said.
    pub(crate) fn add(&mut self, at: Timestamp, stream: Stream, text: &[u8], cut: u64) {
        if self.stamp.as_ref().is_none_or(|(of, _)| *of != at) {
            self.stamp = Some((at, at.to_string()));
        }
        let stamp = self.stamp.as_ref().map_or("", |(_, text)| text.as_str());
        self.bytes.extend_from_slice(stamp.as_bytes());
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(stream.as_str().as_bytes());
        self.bytes.push(b' ');
        match std::str::from_utf8(text) {
            Ok(text) => self.bytes.extend_from_slice(text.as_bytes()),
            Err(_) => self.bytes.extend_from_slice(String::from_utf8_lossy(text).as_bytes()),
        }
        if cut > 0 {
            self.bytes.extend_from_slice(format!(" [{cut} more bytes of this line were cut]").as_bytes());
        }
        self.bytes.push(b'\n');
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what is to be written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// A log file. A disk that is full, or a folder that can't be written, costs log lines and nothing else; it is said
/// once when it begins and once when it is over.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    rotate_at: u64,
    file: Option<File>,
    length: u64,
    /// Bytes that were lost since the last successful write.
    lost: u64,
    /// Whether the file may end within a line.
    torn: bool,
}

impl LogFile {
    /// A log at this path, opened with the first write.
    pub(crate) const fn new(path: PathBuf, rotate_at: u64) -> Self {
        Self { path, rotate_at, file: None, length: 0, lost: 0, torn: false }
    }

    /// Appends whole lines. Blocks on the disk.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        match self.try_append(lines) {
            Ok(()) if self.lost == 0 => {}
            Ok(()) => {
                tracing::info!(path = %self.path.display(), lost_bytes = self.lost, "an agent's log is written again");
                self.lost = 0;
            }
            Err(error) => {
                if self.lost == 0 {
                    tracing::warn!(path = %self.path.display(), %error, "an agent's log can't be written; lines are lost");
                }
                self.lost += lines.len() as u64;
                // Opened anew next time, since the file or its folder may have been removed.
                self.file = None;
            }
        }
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.length > self.rotate_at {
            self.file = None;
            match fs::rename(&self.path, rotated(&self.path)) {
                // Somebody removed it: there is nothing to rotate.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.length = 0,
            }
        }
        let torn = self.torn;
        let file = self.open()?;
        let mut written = 0;
        let result = (|| {
            if torn {
                file.write_all(b"\n")?;
            }
            while written < lines.len() {
                match file.write(&lines[written..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => written += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })();
        self.length += written as u64;
        self.torn = result.is_err() && (torn || written > 0);
        result
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                if let Some(folder) = self.path.parent() {
                    make_folder(folder)?;
                }
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
                self.length = file.metadata()?.len();
                file
            }
        };
        Ok(self.file.insert(file))
    }
}

/// Makes a folder and those above it, for nobody but its owner.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.add(Timestamp::from_millis(0), Stream::Out, text.as_bytes(), 0);
        batch.take()
    }

    #[test]
    fn a_log_is_rotated_and_one_older_part_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/agents/a.log");
        let mut log = LogFile::new(path.clone(), 100);
        for number in 0..20 {
            log.append(&batch(&format!("line {number}")));
        }
        let newest = fs::read_to_string(&path).expect("the log");
        let older = fs::read_to_string(rotated(&path)).expect("the older part");
        assert!(newest.ends_with("line 19\n"), "{newest}");
        assert!(older.len() > 100 && older.len() < 150, "{older}");
        assert_eq!(fs::read_dir(folder.path().join("logs/agents")).expect("the folder").count(), 2);
    }

    #[test]
    fn a_log_goes_on_where_an_earlier_run_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.log");
        LogFile::new(path.clone(), 1000).append(&batch("one"));
        LogFile::new(path.clone(), 1000).append(&batch("two"));
        assert_eq!(fs::read_to_string(&path).expect("the log").lines().count(), 2);
    }

    #[test]
    fn a_log_that_cannot_be_written_loses_lines_and_heals() {
        let folder = tempfile::tempdir().expect("a folder");
        let (blocked, path) = (folder.path().join("logs"), folder.path().join("logs/a.log"));
        fs::write(&blocked, "a file where a folder should be").expect("a file");
        let mut log = LogFile::new(path.clone(), 1000);
        log.append(&batch("lost"));
        assert!(log.lost > 0);
        fs::remove_file(&blocked).expect("removed");
        log.append(&batch("kept"));
        assert_eq!(log.lost, 0);
        assert!(fs::read_to_string(&path).expect("the log").ends_with("out kept\n"));
    }

    /// `/dev/full` takes nothing, as a full disk.
    #[test]
    fn a_full_disk_is_no_error() {
        let mut log = LogFile::new(PathBuf::from("/dev/full"), 1000);
        log.append(&batch("lost"));
        assert!(log.lost > 0 && !log.torn);
    }

    #[test]
    fn rubbish_and_cuts_become_readable_lines() {
        let mut batch = Batch::default();
        batch.add(Timestamp::from_millis(0), Stream::Out, b"a\xffb", 7);
        let text = String::from_utf8(batch.take()).expect("UTF-8");
        assert_eq!(text, "1970-01-01T00:00:00.000Z out a\u{fffd}b [7 more bytes of this line were cut]\n");
    }
}
