//! Reads what a program prints, line by line, in bounded memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use muster_process::pipe;
use tokio::net::unix::pipe::Receiver;

use crate::log::LogStream;

/// The longest line that is logged, in bytes; what is beyond is counted and left out. Of one that may be a message more is
/// kept: see [`Framing::Messages`].
pub(crate) const LONGEST_LINE: usize = 64 * 1024;
/// Read at once. A flood of short lines takes about a quarter of a millisecond a piece, then others have their turn.
const PIECE: usize = 8 * 1024;

/// A line that a program printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Printed<'a> {
    pub(crate) text: &'a [u8],
    /// Bytes of it that were left out.
    pub(crate) cut: u64,
    /// Where it begins, in bytes from the beginning of its stream.
    pub(crate) from: u64,
}

/// How much a program printed, in bytes from the beginning of each of its streams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) out: u64,
    pub(crate) err: u64,
}

impl Extent {
    pub(crate) const fn of(self, stream: LogStream) -> u64 {
        match stream {
            LogStream::Err => self.err,
            _ => self.out,
        }
    }
}

/// What a stream is read as. Of all that is printed the lines are handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Lines for the log.
    Log,
    /// Lines that may be messages: those that begin as a JSON object does are kept up to so many bytes.
    Messages { longest: usize },
    /// One whole, of which a copy is kept, up to so many bytes.
    Whole { most: usize },
}

/// Takes a line.
pub(super) type TakeLine<'a> = &'a mut dyn FnMut(Printed<'_>);

/// One of a program's output streams.
pub(crate) struct OutputReader {
    source: OutputSource,
    splitter: Splitter,
    copy: Option<Transcript>,
}

/// All that was printed, up to a bound.
struct Transcript {
    bytes: Vec<u8>,
    most: usize,
    /// Whether there was more.
    is_over: bool,
}

/// Where it is read from.
enum OutputSource {
    /// A pipe that the runtime watches: what it has not noticed yet is not read.
    Watched(Receiver),
    /// The same pipe for reading what is there, noticed or not. It does not block.
    Plain(File),
    /// There is nothing more.
    Ended,
}

impl OutputReader {
    /// The reading end of a pipe. One that can't be read, or none, reads as ended.
    pub(crate) fn new(fd: Option<OwnedFd>, framing: Framing) -> io::Result<Self> {
        let source = match fd {
            Some(fd) => OutputSource::Watched(Receiver::from_owned_fd(fd)?),
            None => OutputSource::Ended,
        };
        let (longest_object, copy) = match framing {
            Framing::Log => (LONGEST_LINE, None),
            Framing::Messages { longest } => (longest, None),
            Framing::Whole { most } => (LONGEST_LINE, Some(Transcript { bytes: Vec::new(), most, is_over: false })),
        };
        Ok(Self { source, splitter: Splitter { longest_object, ..Splitter::default() }, copy })
    }

    /// Whether more was printed than is copied.
    pub(crate) fn is_over(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| copy.is_over)
    }

    /// The copy, where everything fits in.
    pub(crate) fn into_copy(self) -> Option<Vec<u8>> {
        self.copy.filter(|copy| !copy.is_over).map(|copy| copy.bytes)
    }

    /// Waits until there is something to read; for ever after the end. Cancel-safe.
    pub(crate) async fn readable(&self) {
        match &self.source {
            // An error shows in the next read.
            OutputSource::Watched(pipe) => drop(pipe.readable().await),
            OutputSource::Plain(_) | OutputSource::Ended => std::future::pending().await,
        }
    }

    /// From now on reads whatever is in the pipe. A program's end may be noticed before its last words are: then the
    /// runtime, asked for them, says that there are none.
    pub(crate) fn unwatch(&mut self) {
        self.source = match std::mem::replace(&mut self.source, OutputSource::Ended) {
            OutputSource::Watched(pipe) => {
                pipe.into_nonblocking_fd().map_or(OutputSource::Ended, |fd| OutputSource::Plain(File::from(fd)))
            }
            other => other,
        };
    }

    /// How much was read of it, in bytes.
    pub(crate) fn taken(&self) -> u64 {
        self.splitter.fed()
    }

    /// How much the program printed so far, in bytes: what was read of it, and what waits in the pipe.
    pub(crate) fn printed(&self) -> u64 {
        let waiting = match &self.source {
            OutputSource::Watched(pipe) => pipe::unread(pipe.as_fd()),
            OutputSource::Plain(file) => pipe::unread(file.as_fd()),
            OutputSource::Ended => Ok(0),
        };
        // A pipe that can't be looked into may hold anything.
        waiting.map_or(u64::MAX, |waiting| self.splitter.fed() + waiting)
    }

    /// Reads one piece without waiting, hands on its lines, and says whether there may be more at once.
    pub(crate) fn read(&mut self, line: TakeLine<'_>) -> bool {
        let mut piece = [0; PIECE];
        let count = match &mut self.source {
            OutputSource::Watched(pipe) => pipe.try_read(&mut piece),
            OutputSource::Plain(file) => file.read(&mut piece),
            OutputSource::Ended => return false,
        };
        match count {
            Ok(0) => self.end(line),
            Ok(count) => {
                if let Some(copy) = &mut self.copy {
                    copy.add(&piece[..count]);
                }
                self.splitter.feed(&piece[..count], line);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            // A pipe has no other errors that pass.
            Err(_) => self.end(line),
        }
        false
    }

    /// Reads no more; what there is of a last line without a line break is a line.
    pub(crate) fn end(&mut self, line: TakeLine<'_>) {
        self.source = OutputSource::Ended;
        self.splitter.end(line);
    }
}

impl Transcript {
    fn add(&mut self, bytes: &[u8]) {
        let room = (self.most - self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.is_over |= room < bytes.len();
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
struct Splitter {
    /// The beginning of a line whose end was not read yet, at most [`LONGEST_LINE`] bytes, or as many as an object may have.
    partial: Vec<u8>,
    /// Bytes of it that were left out.
    cut: u64,
    /// Where it begins.
    from: u64,
    /// The bytes that are kept of a line that begins as a JSON object does.
    longest_object: usize,
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Default for Splitter {
    fn default() -> Self {
        Self { partial: Vec::new(), cut: 0, from: 0, longest_object: LONGEST_LINE }
    }
}

impl Splitter {
    /// How many bytes it was fed.
    fn fed(&self) -> u64 {
        self.from + self.partial.len() as u64 + self.cut
    }

    fn feed(&mut self, mut bytes: &[u8], line: TakeLine<'_>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (whole, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() && self.cut == 0 {
                // A piece is shorter than the longest line.
                line(Printed { text: bare(whole), cut: 0, from: self.from });
                self.from += end as u64 + 1;
            } else {
                self.keep(whole);
                self.end(line);
                self.from += 1;
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let begin = if self.partial.is_empty() { bytes } else { &self.partial };
        let longest = if begin.strip_prefix(BYTE_ORDER_MARK).unwrap_or(begin).first() == Some(&b'{') {
            self.longest_object
        } else {
            LONGEST_LINE
        };
        let room = (longest - self.partial.len()).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..room]);
        self.cut += (bytes.len() - room) as u64;
    }

    fn end(&mut self, line: TakeLine<'_>) {
        if !self.partial.is_empty() || self.cut > 0 {
            line(Printed { text: bare(&self.partial), cut: self.cut, from: self.from });
            self.from = self.fed();
            // Gives the memory of a very long line back.
            self.partial = Vec::new();
            self.cut = 0;
        }
    }
}

/// The part of a line that is logged, and how much is left out of it.
pub(crate) fn shortened(line: &[u8], cut: u64) -> (&[u8], u64) {
    let kept = line.len().min(LONGEST_LINE);
    (&line[..kept], cut + (line.len() - kept) as u64)
}

/// A line without what programs of other systems put around it: a byte order mark before the first, a return behind each.
fn bare(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(Vec<u8>, u64)> {
        let (mut splitter, mut found) = (Splitter::default(), Vec::new());
        let mut line = |line: Printed<'_>| found.push((line.text.to_vec(), line.cut));
        pieces.iter().for_each(|piece| splitter.feed(piece, &mut line));
        splitter.end(&mut line);
        found
    }

    #[tokio::test]
    async fn last_words_are_read_though_the_runtime_has_not_noticed_them() {
        let (writer, reader) = tokio::net::unix::pipe::pipe().expect("a pipe");
        let fd = reader.into_nonblocking_fd().expect("its descriptor");
        let mut output = OutputReader::new(Some(fd), Framing::Log).expect("an output");
        let mut writer = File::from(writer.into_blocking_fd().expect("its descriptor"));
        io::Write::write_all(&mut writer, b"no model here\n").expect("room in the pipe");
        let mut found = Vec::new();
        output.unwatch();
        while output.read(&mut |line| found.push(String::from_utf8_lossy(line.text).into_owned())) {}
        assert_eq!(found, ["no model here"]);
    }

    #[test]
    fn lines_are_found_wherever_the_pieces_are_cut() {
        let text = b"one\r\n\ntwo\xff\nthree";
        let expected: Vec<(Vec<u8>, u64)> =
            [&b"one"[..], b"", b"two\xff", b"three"].map(|line| (line.to_vec(), 0)).to_vec();
        for at in 0..text.len() {
            assert_eq!(lines(&[&text[..at], &text[at..]]), expected, "cut at {at}");
        }
    }

    #[test]
    fn each_line_knows_where_it_begins_wherever_the_pieces_are_cut() {
        let text = b"one\r\n\ntwo\nthree";
        for at in 0..text.len() {
            let (mut splitter, mut begins) = (Splitter::default(), Vec::new());
            for (piece, fed) in [(&text[..at], at), (&text[at..], text.len())] {
                splitter.feed(piece, &mut |line| begins.push(line.from));
                assert_eq!(splitter.fed(), fed as u64, "cut at {at}");
            }
            splitter.end(&mut |line| begins.push(line.from));
            assert_eq!((begins, splitter.fed()), (vec![0, 5, 6, 10], text.len() as u64), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn what_waits_in_the_pipe_was_printed() {
        let (writer, reader) = tokio::net::unix::pipe::pipe().expect("a pipe");
        let fd = reader.into_nonblocking_fd().expect("its descriptor");
        let mut output = OutputReader::new(Some(fd), Framing::Log).expect("an output");
        let mut writer = File::from(writer.into_blocking_fd().expect("its descriptor"));
        io::Write::write_all(&mut writer, b"one\ntw").expect("room in the pipe");
        assert_eq!(output.printed(), 6);
        output.unwatch();
        while output.read(&mut |_| {}) {}
        assert_eq!(output.printed(), 6);
    }

    #[test]
    fn an_endless_line_takes_bounded_memory_and_is_counted() {
        let mut splitter = Splitter::default();
        for _ in 0..1000 {
            splitter.feed(&[b'x'; PIECE], &mut |_| panic!("no line yet"));
        }
        assert!(splitter.partial.capacity() <= 2 * LONGEST_LINE);
        let mut found = Vec::new();
        splitter.feed(b"\nnext\n", &mut |line| found.push((line.text.len(), line.cut)));
        assert_eq!(found, [(LONGEST_LINE, (1000 * PIECE - LONGEST_LINE) as u64), (4, 0)]);
    }

    #[test]
    fn an_object_may_be_longer_where_messages_are_listened_to() {
        let object = [&b"{"[..], &[b'x'; 3 * LONGEST_LINE]].concat();
        for (longest_object, kept) in [(LONGEST_LINE, LONGEST_LINE), (16 * LONGEST_LINE, object.len())] {
            let (mut splitter, mut found) = (Splitter { longest_object, ..Splitter::default() }, Vec::new());
            for piece in [&object, &b"\n"[..], &object[1..], b"\n"] {
                piece.chunks(PIECE).for_each(|piece| {
                    splitter.feed(piece, &mut |line| found.push((line.text.len(), line.cut)));
                });
            }
            assert_eq!(found[0], (kept, (object.len() - kept) as u64));
            assert_eq!(found[1], (LONGEST_LINE, 2 * LONGEST_LINE as u64), "this one begins as no object does");
        }
    }

    #[test]
    fn a_copy_is_bounded_and_says_when_there_was_more() {
        let mut copy = Transcript { bytes: Vec::new(), most: 5, is_over: false };
        copy.add(b"abc");
        copy.add(b"de");
        assert!(!copy.is_over);
        copy.add(b"f");
        assert_eq!((&copy.bytes[..], copy.is_over), (&b"abcde"[..], true));
    }
}
