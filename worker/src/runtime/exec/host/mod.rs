//! One program: its process with all that it starts, its pipes, and the way to its end. What is said over the pipes is the affair
//! of a protocol.
//!
//! A program is started in one place ([`Host::start`]), and why it ended is told in one ([`Host::end`]). So a limit of what it
//! may use is set in the first, and where the program ran into it that is a cause of the second.

mod escalation;
mod output;
mod program;
mod stdin;

pub(crate) use escalation::cause_of;
pub(crate) use output::{Extent, Framing, Printed, shortened};
pub(crate) use program::{look, warm_up};
pub(crate) use stdin::Stdin;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{Cause, TaskId};
use muster_process::{Child, ExitWatch, ProcessExit};
use tokio::time::{Instant, timeout_at};

use super::RunContext;
use crate::log::LogStream;
use escalation::Escalation;
use output::OutputReader;

/// A program that runs. Dropping it kills its tree.
pub(crate) struct Host {
    pub(crate) pid: u32,
    pub(crate) stdin: Stdin,
    out: OutputReader,
    err: OutputReader,
    escalation: Escalation,
    exit: ExitWatch,
}

/// Takes a line that a program printed, and may answer it.
pub(crate) type Take<'a> = &'a mut dyn FnMut(Printed<'_>, &mut Stdin);

/// What is new of a program.
#[derive(Debug)]
pub(crate) enum HostEvent {
    /// Its tree is proven dead. The last one.
    Ended(ProcessExit),
    /// There may be something to read of this stream.
    Printed(LogStream),
    /// Its stdin may take more of what waits.
    Writable,
}

impl Host {
    /// Starts the program of an agent, or of a single task of it, whose stdout is read so. Where it can't, says why, and nothing
    /// of it is left.
    pub(crate) async fn start(run: Arc<RunContext>, task: Option<TaskId>, stdout: Framing) -> Result<Self, String> {
        let child = program::start(run, task).await?;
        let Child { pid, stdin, stdout: out, stderr: err, keeper, mut exit, .. } = child;
        // From here on, whatever fails: the keeper kills the tree.
        let mut escalation = Escalation::new(keeper);
        match outputs(OutputReader::new(out, stdout), OutputReader::new(err, Framing::Log)) {
            // A program whose stdin can't be written is told to stop by the signal alone.
            Ok((out, err)) => Ok(Self { pid, stdin: Stdin::new(stdin), out, err, escalation, exit }),
            Err(error) => {
                escalation.kill(Cause::Stopped, Instant::now());
                (&mut exit).await;
                Err(format!("cannot read its output: {error}"))
            }
        }
    }

    /// Waits for what is new; of what it prints only if that is to be read now. Cancel-safe.
    pub(crate) async fn event(&mut self, reads: bool) -> HostEvent {
        tokio::select! {
            ended = &mut self.exit => HostEvent::Ended(ended),
            () = self.out.readable(), if reads => HostEvent::Printed(LogStream::Out),
            () = self.err.readable(), if reads => HostEvent::Printed(LogStream::Err),
            () = self.stdin.writable() => HostEvent::Writable,
        }
    }

    /// Reads one piece of this stream without waiting, hands on its lines, and says whether there may be more at once.
    pub(crate) fn read(&mut self, stream: LogStream, line: Take<'_>) -> bool {
        let (output, stdin) = self.output(stream);
        output.read(&mut |printed| line(printed, stdin))
    }

    /// From now on whatever is in the pipe of this stream is read, noticed by the runtime or not. Nobody is left to print more,
    /// unless a pipe was handed to a process outside of the tree: so what is there is read, and the end of the file is not
    /// waited for.
    pub(crate) fn read_rest(&mut self, stream: LogStream) {
        self.output(stream).0.unwatch();
    }

    /// Reads no more of this stream; what there is of a last line without a line break is a line.
    pub(crate) fn end_stream(&mut self, stream: LogStream, line: Take<'_>) {
        let (output, stdin) = self.output(stream);
        output.end(&mut |printed| line(printed, stdin));
    }

    /// Whether stderr has something to read that was printed by the time when so much was. Waits until then, at the longest.
    pub(crate) async fn complains(&self, printed: u64, until: Instant) -> bool {
        self.err.taken() < printed && timeout_at(until, self.err.readable()).await.is_ok()
    }

    /// How much it printed so far.
    pub(crate) fn printed(&self) -> Extent {
        Extent { out: self.out.printed(), err: self.err.printed() }
    }

    /// Whether it printed more than is kept of it.
    pub(crate) fn is_over(&self) -> bool {
        self.out.is_over()
    }

    /// Whether nothing was done to end it.
    pub(crate) const fn is_running(&self) -> bool {
        self.escalation.is_running()
    }

    /// Asks it to end by SIGTERM, after `pause`, and kills it after `deadline`. Only of one that runs.
    pub(crate) fn ask(&mut self, cause: Cause, pause: Duration, deadline: Duration) {
        self.escalation.ask(cause, pause, deadline, Instant::now());
    }

    /// Kills it.
    pub(crate) fn kill(&mut self, cause: Cause) {
        self.escalation.kill(cause, Instant::now());
    }

    /// The next deadline on the way to its end.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.escalation.next()
    }

    /// Does what is due. Answers with the reason why it is not gone, where that is another than before.
    pub(crate) fn on_time(&mut self, now: Instant) -> Option<Option<String>> {
        self.escalation.on_time(now)
    }

    /// Why it ended, and the copy of what it printed, where one was kept and all of it fits in.
    pub(crate) fn end(self, exit: ProcessExit) -> (Cause, Option<Vec<u8>>) {
        (self.escalation.into_cause(exit), self.out.into_copy())
    }

    fn output(&mut self, stream: LogStream) -> (&mut OutputReader, &mut Stdin) {
        let output = if stream == LogStream::Err { &mut self.err } else { &mut self.out };
        (output, &mut self.stdin)
    }
}

fn outputs(out: io::Result<OutputReader>, err: io::Result<OutputReader>) -> io::Result<(OutputReader, OutputReader)> {
    Ok((out?, err?))
}
