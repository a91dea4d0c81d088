//! Lines on their way to where the log is written: taken in at once, and written by a thread of the log's own, which may wait.
//!
//! A reader that reads nothing, a disk that hangs and a terminal that was stopped thus hold up nobody but that thread. What
//! waits has a bound; beyond it lines are dropped, counted, and told of in the log itself, behind the last line before them.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use muster_supervisor::prometheus::families;
use tracing_subscriber::fmt::MakeWriter;

/// A buffer that has grown beyond this is given back, in bytes.
const KEPT: usize = 64 * 1024;

/// What the thread needs to write, and to tell of a loss. A thousand workers have one each.
const STACK: usize = 128 * 1024;

/// What is wrong with it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogTrouble {
    /// One write takes for longer than this: nobody reads.
    Stuck(Duration),
    /// Lines are lost.
    Loss(LostLines),
}

/// Lines that will never be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostLines {
    /// How many.
    pub(crate) lines: u64,
    /// What the kernel said; `None` where there was no room, since what came before was not taken.
    pub(crate) error: Option<String>,
}

/// Where lines go in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogQueue(Arc<LogShared>);

struct LogShared {
    state: Mutex<LogState>,
    /// There is something to write.
    filled: Condvar,
    /// Nothing is left to write.
    written: Condvar,
    /// Most bytes that wait.
    bound: usize,
    /// What the thread works with; taken by it.
    work: Mutex<Option<LogWork>>,
}

#[derive(Default)]
struct LogState {
    waiting: Vec<u8>,
    is_started: bool,
    /// Since when the present write goes on.
    writing: Option<Instant>,
    /// Lines that found no room since the last batch was begun.
    dropped: u64,
    /// What the last batches that could not be written have cost.
    failed: Option<LostLines>,
}

struct LogWork {
    sink: Box<dyn Write + Send>,
    tell: fn(&LostLines),
}

impl LogQueue {
    /// Writes to `sink`, and keeps up to `bound` bytes meanwhile. Losses that are over are told to `tell`, which may log. The
    /// thread starts with the first line: most workers never say anything.
    pub(crate) fn new(sink: impl Write + Send + 'static, bound: usize, tell: fn(&LostLines)) -> Self {
        Self(Arc::new(LogShared {
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
            bound,
            work: Mutex::new(Some(LogWork { sink: Box::new(sink), tell })),
        }))
    }

    /// Takes a whole line, or drops it. Never waits.
    fn push(&self, line: &[u8]) {
        let mut state = self.0.state();
        if state.waiting.len() + line.len() > self.0.bound {
            state.dropped += 1;
            drop(state);
            return count_lost(1);
        }
        state.waiting.extend_from_slice(line);
        // Where there can be no thread now, the next line tries again.
        state.is_started = state.is_started || self.start().is_ok();
        self.0.filled.notify_one();
    }

    fn start(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let write = move || {
            let work = shared.work.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(work) = work {
                shared.write_for_ever(work);
            }
        };
        std::thread::Builder::new().name("muster-log".into()).stack_size(STACK).spawn(write).map(drop)
    }

    /// What is wrong now, where a write that takes longer than `patience` is stuck.
    pub(crate) fn trouble(&self, patience: Duration) -> Option<LogTrouble> {
        let state = self.0.state();
        if state.dropped > 0 {
            return Some(LogTrouble::Loss(LostLines { lines: state.dropped, error: None }));
        }
        let failed = state.failed.clone().map(LogTrouble::Loss);
        failed.or_else(|| {
            state.writing.map(|since| since.elapsed()).filter(|time| *time > patience).map(LogTrouble::Stuck)
        })
    }

    /// Waits until all is written; whether it was, within this time.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let busy = |state: &mut LogState| state.writing.is_some() || !state.waiting.is_empty();
        let waited = self.0.written.wait_timeout_while(self.0.state(), within, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl LogShared {
    fn state(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut work: LogWork) -> ! {
        let mut batch = Vec::new();
        loop {
            let dropped = self.next(&mut batch);
            if dropped > 0 {
                // Before the write: what is waiting now is what was said after the last line that is in the batch.
                (work.tell)(&LostLines { lines: dropped, error: None });
            }
            let written = work.sink.write_all(&batch);
            let lines = batch.iter().filter(|byte| **byte == b'\n').count() as u64;
            let over = match written {
                Ok(()) => self.state().failed.take(),
                Err(error) => {
                    count_lost(lines);
                    let failed = &mut self.state().failed;
                    let before = failed.as_ref().map_or(0, |loss| loss.lines);
                    *failed = Some(LostLines { lines: before + lines, error: Some(error.to_string()) });
                    None
                }
            };
            // Only what is over is told in the log, else a log that can't be written would fill itself.
            if let Some(loss) = over {
                (work.tell)(&loss);
            }
            batch.clear();
            batch.shrink_to(KEPT);
        }
    }

    /// Waits for lines, takes them all, and says how many found no room behind them.
    fn next(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.state();
        state.writing = None;
        self.written.notify_all();
        let idle = |state: &mut LogState| state.waiting.is_empty();
        let mut state = self.filled.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, batch);
        state.writing = Some(Instant::now());
        std::mem::take(&mut state.dropped)
    }
}

fn count_lost(lines: u64) {
    metrics::counter!(families::LOG_LINES_DROPPED.name).increment(lines);
}

/// A line comes as one write.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, Read};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn loss(queue: &LogQueue) -> Option<LostLines> {
        match queue.trouble(LONG) {
            Some(LogTrouble::Loss(loss)) => Some(loss),
            _ => None,
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_was_dropped_is_told() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let (reader, writer) = io::pipe().expect("a pipe");
        let queue = LogQueue::new(writer, 1 << 20, |loss| _ = TOLD.fetch_add(loss.lines, Ordering::Relaxed));
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // More than a pipe, what is being written and what may wait hold together.
        for _ in 0..3 * 1024 {
            queue.push(&line);
        }
        assert!(!queue.flush(Duration::ZERO), "nobody reads");
        let read = std::thread::spawn(move || {
            let lines = io::BufReader::new(reader).lines().map(|line| line.expect("text"));
            lines.take_while(|line| line != "the last").count() as u64
        });
        assert!(queue.flush(LONG));
        queue.push(b"the last\n");
        let read = read.join().expect("read");
        let told = TOLD.load(Ordering::Relaxed);
        assert!(told > 0, "there is not room for all of them");
        assert_eq!((read, loss(&queue)), (3 * 1024 - told, None));
    }

    #[test]
    fn a_disk_that_is_full_costs_lines_which_are_told_when_it_has_room() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        static FULL: AtomicBool = AtomicBool::new(true);
        struct Disk;
        impl Write for Disk {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                match FULL.load(Ordering::Relaxed) {
                    true => Err(io::ErrorKind::StorageFull.into()),
                    false => Ok(line.len()),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let queue = LogQueue::new(Disk, 1024, |loss| _ = TOLD.fetch_add(loss.lines, Ordering::Relaxed));
        for _ in 0..3 {
            queue.push(b"lost\n");
            assert!(queue.flush(LONG));
        }
        let lost = loss(&queue).expect("three lines");
        assert!(lost.lines == 3 && lost.error.is_some(), "{lost:?}");
        FULL.store(false, Ordering::Relaxed);
        queue.push(b"kept\n");
        assert!(queue.flush(LONG));
        assert_eq!((loss(&queue), TOLD.load(Ordering::Relaxed)), (None, 3));
    }

    #[test]
    fn a_write_that_takes_long_is_noticed_before_anything_is_lost() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let queue = LogQueue::new(writer, 1 << 20, |_| {});
        queue.push(&[b'x'; 128 * 1024]);
        let until = Instant::now() + LONG;
        while !matches!(queue.trouble(Duration::ZERO), Some(LogTrouble::Stuck(_))) {
            assert!(Instant::now() < until, "more than a pipe holds");
            std::thread::yield_now();
        }
        reader.read_exact(&mut [0; 128 * 1024]).expect("read");
        assert!(queue.flush(LONG));
        assert_eq!(queue.trouble(Duration::ZERO), None);
    }

    #[test]
    fn a_line_that_can_never_be_kept_is_dropped() {
        let queue = LogQueue::new(io::sink(), 4, |_| {});
        queue.push(b"too long\n");
        assert_eq!(loss(&queue).map(|loss| loss.lines), Some(1));
    }
}
