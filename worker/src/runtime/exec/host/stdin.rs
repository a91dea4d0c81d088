//! Writes to a program's stdin as its pipe takes it, and never waits: a program that does not read holds up nobody.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use muster_domain::TaskId;
use muster_process::pipe;
use tokio::net::unix::pipe::Sender;

/// What waits for the pipe, in bytes, at most; a line that is longer by itself waits alone.
const WAITING: usize = 16 * 1024 * 1024;

/// A program's stdin.
pub(crate) struct Stdin {
    /// None where it is closed, by us or by the program.
    pipe: Option<Sender>,
    lines: VecDeque<Outgoing>,
    /// Of the first line.
    written: usize,
    waiting: usize,
    /// Bytes that the pipe took.
    sent: u64,
    /// Whether it is to be closed when all is written.
    ends: bool,
}

struct Outgoing {
    bytes: Vec<u8>,
    task: Option<TaskId>,
}

impl Stdin {
    /// The writing end of a pipe. One that can't be written, or none, is closed.
    pub(crate) fn new(fd: Option<OwnedFd>) -> Self {
        let pipe = fd.and_then(|fd| Sender::from_owned_fd(fd).ok());
        Self { pipe, lines: VecDeque::new(), written: 0, waiting: 0, sent: 0, ends: false }
    }

    /// Has this written after all that waits. Fails with the reason where that can't be; `task` is who loses by it where
    /// it turns out later. Answers with where it ends, in bytes from the beginning.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, task: Option<TaskId>) -> Result<u64, &'static str> {
        if self.pipe.is_none() {
            return Err("its agent has closed its stdin");
        }
        if self.waiting > 0 && self.waiting + bytes.len() > WAITING {
            return Err("its agent does not read its stdin");
        }
        self.waiting += bytes.len();
        self.lines.push_back(Outgoing { bytes, task });
        Ok(self.sent + self.waiting as u64)
    }

    /// Whether more can be written.
    pub(crate) const fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// How much the program has read of it, in bytes; `None` where that can't be seen any more.
    pub(crate) fn taken(&self) -> Option<u64> {
        let unread = pipe::unread(self.pipe.as_ref()?.as_fd()).ok()?;
        Some(self.sent.saturating_sub(unread))
    }

    /// Closes it when all that waits is written.
    pub(crate) fn end(&mut self) {
        self.ends = true;
        self.close_at_end();
    }

    /// Waits until something that waits can be written; for ever where nothing does. Cancel-safe.
    pub(crate) async fn writable(&self) {
        match &self.pipe {
            // An error shows in the next write.
            Some(pipe) if !self.lines.is_empty() => drop(pipe.writable().await),
            _ => std::future::pending().await,
        }
    }

    /// Writes what the pipe takes. Answers with the tasks whose lines are lost, since the program has closed it.
    pub(crate) fn write(&mut self) -> Vec<TaskId> {
        while let (Some(pipe), Some(line)) = (&self.pipe, self.lines.front()) {
            match pipe.try_write(&line.bytes[self.written..]) {
                Ok(count) => self.took(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Vec::new(),
                // A pipe has no other errors that pass.
                Err(_) => return self.close(),
            }
        }
        self.close_at_end();
        Vec::new()
    }

    fn took(&mut self, count: usize) {
        self.written += count;
        self.sent += count as u64;
        self.waiting -= count;
        if self.lines.pop_front_if(|line| line.bytes.len() == self.written).is_some() {
            self.written = 0;
        }
    }

    /// Writes a last line, where it can be written at once, and closes it. Answers whether it was.
    pub(crate) fn close_with(&mut self, last: &[u8]) -> bool {
        // Behind a line that the program does not read it would not be read either.
        let told = self.lines.is_empty() && self.pipe.as_ref().is_some_and(|pipe| pipe.try_write(last).is_ok());
        self.close();
        told
    }

    fn close(&mut self) -> Vec<TaskId> {
        (self.pipe, self.written, self.waiting) = (None, 0, 0);
        self.lines.drain(..).filter_map(|line| line.task).collect()
    }

    fn close_at_end(&mut self) {
        if self.ends && self.lines.is_empty() {
            self.pipe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn stdin() -> (Stdin, std::fs::File) {
        let (writer, reader) = tokio::net::unix::pipe::pipe().expect("a pipe");
        let stdin = Stdin::new(Some(writer.into_nonblocking_fd().expect("its descriptor")));
        (stdin, std::fs::File::from(reader.into_blocking_fd().expect("its descriptor")))
    }

    #[tokio::test]
    async fn more_than_the_pipe_takes_is_written_as_it_is_read_and_then_it_is_closed() {
        let (mut stdin, mut reader) = stdin();
        let lines: Vec<Vec<u8>> = (1..=3).map(|letter| vec![b'a' + letter; 700_000]).collect();
        for line in &lines {
            stdin.push(line.clone(), None).expect("room");
        }
        stdin.end();
        let read = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        while stdin.pipe.is_some() {
            stdin.writable().await;
            assert!(stdin.write().is_empty());
        }
        assert_eq!(read.join().expect("no panic").expect("read"), lines.concat());
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_a_single_line_is_not() {
        let (mut stdin, _reader) = stdin();
        stdin.push(vec![b'x'; WAITING * 2], None).expect("alone");
        assert_eq!(stdin.push(vec![b'x'], None), Err("its agent does not read its stdin"));
        assert!(!stdin.close_with(b"stop\n"), "behind a line that is not read");
    }

    #[tokio::test]
    async fn it_is_seen_how_much_was_read() {
        let (mut stdin, mut reader) = stdin();
        assert_eq!(stdin.push(b"one\n".to_vec(), None), Ok(4));
        assert_eq!(stdin.push(b"two\n".to_vec(), None), Ok(8));
        assert_eq!(stdin.taken(), Some(0));
        stdin.writable().await;
        assert!(stdin.write().is_empty());
        assert_eq!(stdin.push(b"three\n".to_vec(), None), Ok(14));
        reader.read_exact(&mut [0; 5]).expect("five bytes");
        assert_eq!(stdin.taken(), Some(5));
        stdin.close();
        assert_eq!(stdin.taken(), None);
    }

    #[tokio::test]
    async fn who_loses_by_a_closed_pipe_is_told() {
        let (mut stdin, reader) = stdin();
        let tasks = [TaskId::generate(), TaskId::generate()];
        stdin.push(b"cancel\n".to_vec(), None).expect("room");
        for task in tasks {
            stdin.push(b"task\n".to_vec(), Some(task)).expect("room");
        }
        drop(reader);
        stdin.writable().await;
        assert_eq!(stdin.write(), tasks);
        assert_eq!(stdin.push(Vec::new(), None), Err("its agent has closed its stdin"));
        assert!(!stdin.close_with(b"stop\n"));
    }
}
