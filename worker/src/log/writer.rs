//! Writes a log in batches, and rotates it.

use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use muster_domain::Timestamp;
use muster_files::{DataPath, FileId};

use super::LogStream;

/// How often it is looked whether an open file is still the one at its place.
const LOOK: Duration = Duration::from_secs(1);

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct LogBatch {
    bytes: Vec<u8>,
    /// The last stamp and its text: a flood has thousands of lines in one millisecond.
    stamp: Option<(Timestamp, String)>,
}

impl LogBatch {
    /// Adds a line. Bytes that are no UTF-8 become U+FFFD. `cut` bytes of it were left out, which is said.
    pub(crate) fn add(&mut self, at: Timestamp, stream: LogStream, text: &[u8], cut: u64) {
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

    /// Adds lines that another batch made.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        self.bytes.extend_from_slice(lines);
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
/// once when it begins and once when it is over. A file that was removed, moved or replaced is begun anew within a
/// second, where lines come.
#[derive(Debug)]
pub(crate) struct LogFile {
    place: DataPath,
    rotate_at: u64,
    file: Option<OpenLogFile>,
    length: u64,
    /// Bytes that were lost since the last successful write.
    lost: u64,
    /// Whether the file may end within a line.
    torn: bool,
}

#[derive(Debug)]
struct OpenLogFile {
    file: File,
    id: FileId,
    looked: Instant,
}

impl LogFile {
    /// A log at this place, opened with the first write.
    pub(crate) const fn new(place: DataPath, rotate_at: u64) -> Self {
        Self { place, rotate_at, file: None, length: 0, lost: 0, torn: false }
    }

    /// Appends whole lines. Blocks on the disk.
    pub(crate) fn append(&mut self, lines: &[u8]) {
        match self.try_append(lines) {
            Ok(()) if self.lost == 0 => {}
            Ok(()) => {
                tracing::info!(path = %self.place.path().display(), lost_bytes = self.lost, "an agent's log is written again");
                self.lost = 0;
            }
            Err(error) => {
                if self.lost == 0 {
                    let path = self.place.path();
                    tracing::warn!(path = %path.display(), %error, "an agent's log can't be written; lines are lost");
                }
                self.lost += lines.len() as u64;
                // Opened anew next time, since the file or its folder may have been removed.
                self.file = None;
            }
        }
    }

    fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.look();
        if self.length > self.rotate_at {
            self.file = None;
            self.place.rotate()?;
            self.length = 0;
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

    /// Lets go of a file that is not at its place any more: what is written into it nobody would find.
    fn look(&mut self) {
        let Some(opened) = &mut self.file else { return };
        if opened.looked.elapsed() < LOOK {
            return;
        }
        opened.looked = Instant::now();
        if !matches!(self.place.id(), Ok(Some(id)) if id == opened.id) {
            self.file = None;
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let opened = match self.file.take() {
            Some(opened) => opened,
            None => {
                let file = self.place.append()?;
                let data = file.metadata()?;
                self.length = data.len();
                OpenLogFile { file, id: FileId::from(&data), looked: Instant::now() }
            }
        };
        Ok(&mut self.file.insert(opened).file)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::symlink;

    use muster_domain::AgentId;

    use super::*;

    fn batch(text: &str) -> Vec<u8> {
        let mut batch = LogBatch::default();
        batch.add(Timestamp::from_millis(0), LogStream::Out, text.as_bytes(), 0);
        batch.take()
    }

    fn place() -> (tempfile::TempDir, DataPath) {
        let folder = tempfile::tempdir().expect("a folder");
        let place = DataPath::agent_log(folder.path(), AgentId::generate());
        (folder, place)
    }

    #[test]
    fn a_log_is_rotated_and_one_older_part_is_kept() {
        let (folder, place) = place();
        let mut log = LogFile::new(place.clone(), 100);
        for number in 0..20 {
            log.append(&batch(&format!("line {number}")));
        }
        let newest = fs::read_to_string(place.path()).expect("the log");
        let older = fs::read_to_string(place.older().path()).expect("the older part");
        assert!(newest.ends_with("line 19\n"), "{newest}");
        assert!(older.len() > 100 && older.len() < 150, "{older}");
        assert_eq!(fs::read_dir(folder.path().join("logs/agents")).expect("the folder").count(), 2);
    }

    #[test]
    fn a_log_goes_on_where_an_earlier_run_ended() {
        let (_folder, place) = place();
        LogFile::new(place.clone(), 1000).append(&batch("one"));
        LogFile::new(place.clone(), 1000).append(&batch("two"));
        assert_eq!(fs::read_to_string(place.path()).expect("the log").lines().count(), 2);
    }

    #[test]
    fn a_log_that_cannot_be_written_loses_lines_and_heals() {
        let (folder, place) = place();
        let blocked = folder.path().join("logs");
        fs::write(&blocked, "a file where a folder should be").expect("a file");
        let mut log = LogFile::new(place.clone(), 1000);
        log.append(&batch("lost"));
        assert!(log.lost > 0);
        fs::remove_file(&blocked).expect("removed");
        log.append(&batch("kept"));
        assert_eq!(log.lost, 0);
        assert!(fs::read_to_string(place.path()).expect("the log").ends_with("out kept\n"));
    }

    #[test]
    fn a_log_that_was_removed_or_replaced_goes_on_at_its_place() {
        let (folder, place) = place();
        let mut log = LogFile::new(place.clone(), 1000);
        let (treasure, log_is_long) = (folder.path().join("treasure"), Cell::new(false));
        fs::write(&treasure, "gold").expect("a file");
        let remove: [&dyn Fn(); 5] = [
            &|| fs::remove_dir_all(folder.path().join("logs")).expect("removed"),
            &|| fs::rename(place.path(), folder.path().join("moved")).expect("moved"),
            &|| {
                fs::remove_file(place.path()).expect("removed");
                symlink("/dev/null", place.path()).expect("a link");
            },
            &|| {
                fs::remove_file(place.path()).expect("removed");
                fs::hard_link(&treasure, place.path()).expect("a hard link");
            },
            // The older part is nobody's to write: what is there is replaced as a name.
            &|| {
                fs::remove_file(place.path()).expect("removed");
                drop(fs::remove_file(place.older().path()));
                fs::hard_link(&treasure, place.older().path()).expect("a hard link");
                fs::hard_link(&treasure, place.path()).expect("a hard link");
                log_is_long.set(true);
            },
        ];
        for remove in remove {
            log.append(&batch("before"));
            remove();
            // As if the time had passed.
            log.file.as_mut().expect("open").looked -= LOOK;
            if log_is_long.get() {
                log.length = log.rotate_at + 1;
            }
            log.append(&batch("after"));
            assert!(fs::read_to_string(place.path()).expect("the log").ends_with("out after\n"));
        }
        assert_eq!(log.lost, 0);
        assert_eq!(fs::read_to_string(&treasure).expect("still there"), "gold");
    }

    /// `/dev/full` takes nothing, as a full disk.
    #[test]
    fn a_full_disk_is_no_error() {
        let (_folder, place) = place();
        let mut log = LogFile::new(place, 1000);
        let file = File::options().append(true).open("/dev/full").expect("opened");
        log.file = Some(OpenLogFile { id: FileId::of(&file).expect("its id"), file, looked: Instant::now() });
        log.append(&batch("lost"));
        assert!(log.lost > 0 && !log.torn);
    }

    #[test]
    fn rubbish_and_cuts_become_readable_lines() {
        let mut batch = LogBatch::default();
        batch.add(Timestamp::from_millis(0), LogStream::Out, b"a\xffb", 7);
        let text = String::from_utf8(batch.take()).expect("UTF-8");
        assert_eq!(text, "1970-01-01T00:00:00.000Z out a\u{fffd}b [7 more bytes of this line were cut]\n");
    }
}
