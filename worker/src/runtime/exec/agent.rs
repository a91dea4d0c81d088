//! The task of one agent: from the start of its program to the proof that its tree is dead.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{Cause, Ending, Readiness, SpawnOrder, Timestamp};
use muster_process::{Child, Custodian, Exit, Nursery};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::contract;
use super::journal::Journal;
use super::output::Output;
use super::tail::Tail;
use super::{Activity, Common, program};
use crate::later;
use crate::log::Stream;
use crate::runtime::{News, What};
use crate::slots::How;

/// The share of the stop deadline that a program has for the stop message alone, before SIGTERM follows: most of it is
/// left for those that only know the signal.
const MESSAGE_SHARE: u32 = 10;
/// The longest that SIGTERM waits for the stop message to work.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A killed tree that is not gone after this time is looked at, for the reason, and then again.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Runs an agent. Its last news is its end; whatever goes wrong, there is one.
pub(super) async fn run(
    common: Arc<Common>,
    order: SpawnOrder,
    ordered: UnboundedReceiver<How>,
    activity: Arc<Activity>,
) {
    let journal = Journal::new(&common.data_dir, order.agent.agent_id);
    let mut agent = Agent { common, order, activity, journal, tail: Tail::default() };
    let cause = match agent.start().await {
        Ok(child) => agent.attend(child, ordered).await,
        Err(error) => Cause::NotStarted { error },
    };
    agent.end(cause).await;
}

struct Agent {
    common: Arc<Common>,
    order: SpawnOrder,
    activity: Arc<Activity>,
    journal: Journal,
    tail: Tail,
}

/// What the task is to do next.
enum Turn {
    Ended(Exit),
    Ordered(Option<How>),
    Out,
    Err,
    Written,
    Time,
}

/// A program that runs, and how far it is.
struct Running {
    stdin: Option<pipe::Sender>,
    keeper: Custodian,
    /// Its pid, until it was said that it runs.
    unannounced: Option<u32>,
    /// When it must be ready.
    start_by: Option<Instant>,
    stage: Stage,
    /// Why it ends, where that is known before it does.
    cause: Option<Cause>,
}

#[derive(Debug)]
enum Stage {
    Runs,
    /// Was told to stop; `signal_at`: SIGTERM is still to come.
    Asked {
        signal_at: Option<Instant>,
        kill_at: Instant,
    },
    Killed {
        look_at: Instant,
        stuck: Option<String>,
    },
}

impl Agent {
    async fn start(&self) -> Result<Child, String> {
        let (common, agent) = (Arc::clone(&self.common), self.order.agent.clone());
        // Makes a folder, and the first time finds out what the host gives: neither is for the loop's thread.
        let prepared = tokio::task::spawn_blocking(move || {
            let program = program::prepare(&common, &agent)?;
            let nursery = Nursery::start().map_err(|error| format!("cannot start processes: {error}"))?;
            Ok::<_, String>((nursery, program))
        });
        let (nursery, program) = prepared.await.map_err(|error| error.to_string())??;
        nursery.spawn(program).await.map_err(|error| error.to_string())
    }

    /// Attends to a program until its tree is proven dead, and says why it ended.
    async fn attend(&mut self, child: Child, mut ordered: UnboundedReceiver<How>) -> Cause {
        let Child { pid, stdin, stdout, stderr, keeper, mut exit, .. } = child;
        // From here on, whatever fails: the keeper kills the tree.
        let mut running = Running::new(pid, stdin, keeper, self.common.profile.start_timeout);
        let outputs = Output::new(Stream::Out, stdout).and_then(|out| Ok((out, Output::new(Stream::Err, stderr)?)));
        let (mut out, mut err) = match outputs {
            Ok(outputs) => outputs,
            Err(error) => {
                running.keeper.kill();
                (&mut exit).await;
                return Cause::NotStarted { error: format!("cannot read its output: {error}") };
            }
        };
        if self.common.profile.ready == Readiness::Started {
            self.announce(&mut running);
        }
        let mut abandoned = false;
        loop {
            let room = self.journal.has_room();
            let turn = tokio::select! {
                ended = &mut exit => Turn::Ended(ended),
                how = ordered.recv(), if !abandoned => Turn::Ordered(how),
                () = out.readable(), if room => Turn::Out,
                () = err.readable(), if room => Turn::Err,
                () = self.journal.written() => Turn::Written,
                () = sleep_until(running.next().unwrap_or_else(Instant::now)), if running.next().is_some() => Turn::Time,
            };
            match turn {
                Turn::Ended(ended) => {
                    self.read_rest(&mut running, &mut out, &mut err).await;
                    return running.cause.unwrap_or(match ended {
                        Exit::Code(code) => Cause::Exited { code },
                        Exit::Signal(signal) => Cause::Signaled { signal },
                    });
                }
                Turn::Ordered(Some(How::Ask)) => {
                    running.ask(self.common.profile.stop_deadline, self.common.worker_deadline)
                }
                Turn::Ordered(Some(How::Kill)) => running.kill(Cause::Stopped),
                // Nobody holds the other end any more: the worker is gone, so nobody waits for a graceful end.
                Turn::Ordered(None) => {
                    abandoned = true;
                    running.kill(Cause::Stopped);
                }
                Turn::Out => self.read(&mut running, &mut out).await,
                Turn::Err => self.read(&mut running, &mut err).await,
                Turn::Written => {}
                Turn::Time => self.on_time(&mut running),
            }
        }
    }

    async fn read(&mut self, running: &mut Running, output: &mut Output) {
        if self.take_piece(running, output) {
            // One piece in a turn, so that a flood leaves room for the loop and for other agents.
            tokio::task::yield_now().await;
        }
    }

    /// What was printed before the end and not read yet. Nobody is left to print more, unless a pipe was handed to a
    /// process outside of the tree: so this reads what is there and does not wait for the end of the file.
    async fn read_rest(&mut self, running: &mut Running, out: &mut Output, err: &mut Output) {
        for output in [out, err] {
            output.unwatch();
            while self.take_piece(running, output) {
                while !self.journal.has_room() {
                    self.journal.written().await;
                }
            }
            let (now, stream) = (Timestamp::now(), output.stream);
            output.end(&mut |line, cut| {
                self.journal.add(now, stream, line, cut);
                self.tail.add(line);
            });
        }
    }

    /// Reads one piece, if there is one.
    fn take_piece(&mut self, running: &mut Running, output: &mut Output) -> bool {
        let now = Timestamp::now();
        let stream = output.stream;
        let mut ready = false;
        let mut any = false;
        let (journal, tail) = (&mut self.journal, &mut self.tail);
        let more = output.read(&mut |line, cut| {
            any = true;
            if stream == Stream::Out && contract::is_ready(line) {
                ready = true;
            } else {
                journal.add(now, stream, line, cut);
                tail.add(line);
            }
        });
        if any {
            self.activity.note(self.common.since, Instant::now());
        }
        if ready {
            self.announce(running);
        }
        more
    }

    /// Says that it runs, once.
    fn announce(&self, running: &mut Running) {
        running.start_by = None;
        if let Some(pid) = running.unannounced.take() {
            self.activity.note(self.common.since, Instant::now());
            self.say(What::Started { pid: Some(pid) });
        }
    }

    fn on_time(&self, running: &mut Running) {
        let now = Instant::now();
        if running.start_by.is_some_and(|by| by <= now) {
            let after_ms = u64::try_from(self.common.profile.start_timeout.as_millis()).unwrap_or(u64::MAX);
            running.kill(Cause::StartTimeout { after_ms });
        }
        match &mut running.stage {
            Stage::Asked { kill_at, .. } if *kill_at <= now => running.kill(Cause::Stopped),
            Stage::Asked { signal_at, .. } if signal_at.is_some_and(|at| at <= now) => {
                *signal_at = None;
                running.keeper.ask();
            }
            Stage::Killed { look_at, stuck } if *look_at <= now => {
                *look_at = now + STUCK_AFTER;
                let reason = running.keeper.stuck();
                if reason != *stuck {
                    stuck.clone_from(&reason);
                    self.say(What::Stuck(reason));
                }
            }
            Stage::Runs | Stage::Asked { .. } | Stage::Killed { .. } => {}
        }
    }

    /// The last words: in the log first, so that who hears of the end finds them there.
    async fn end(mut self, cause: Cause) {
        let at = Timestamp::now();
        self.journal.add(at, Stream::End, cause.to_string().as_bytes(), 0);
        self.journal.finish().await;
        let last_output = std::mem::take(&mut self.tail).into_text();
        self.say(What::Ended(Ending { cause, last_output, at }));
    }

    fn say(&self, what: What) {
        // Where nobody listens, the worker is gone.
        let news = News { agent_id: self.order.agent.agent_id, epoch: self.order.epoch, what };
        let _ = self.common.news.send(news);
    }
}

impl Running {
    fn new(pid: u32, stdin: Option<std::os::fd::OwnedFd>, keeper: Custodian, start_timeout: Duration) -> Self {
        Self {
            // A program whose stdin can't be written is told to stop by the signal alone.
            stdin: stdin.and_then(|fd| pipe::Sender::from_owned_fd(fd).ok()),
            keeper,
            unannounced: Some(pid),
            start_by: Some(later(Instant::now(), start_timeout)),
            stage: Stage::Runs,
            cause: None,
        }
    }

    /// Asks it to end: by the stop message and the end of its stdin, after a pause by SIGTERM. Both at once would end a
    /// program by the signal before it has read the message, and a message that asks to finish would be worth nothing.
    fn ask(&mut self, deadline: Duration, worker_deadline: Duration) {
        if !matches!(self.stage, Stage::Runs) {
            return;
        }
        // Not waited for: a program that does not read its stdin gets the signal. The end of the file follows.
        let told = self.stdin.take().is_some_and(|stdin| stdin.try_write(contract::STOP).is_ok());
        let now = Instant::now();
        // One that has closed its stdin can't hear the message, so nothing is gained by waiting.
        let pause = if told { pause(deadline.min(worker_deadline)) } else { Duration::ZERO };
        let stage = Stage::Asked { signal_at: Some(now + pause), kill_at: later(now, deadline) };
        self.begin_end(Cause::Stopped, stage);
    }

    fn kill(&mut self, cause: Cause) {
        self.keeper.kill();
        if !matches!(self.stage, Stage::Killed { .. }) {
            self.begin_end(cause, Stage::Killed { look_at: Instant::now() + STUCK_AFTER, stuck: None });
        }
    }

    /// The first cause counts: one that was asked to stop was stopped, however it ends.
    fn begin_end(&mut self, cause: Cause, stage: Stage) {
        self.cause.get_or_insert(cause);
        (self.start_by, self.stage) = (None, stage);
    }

    /// The next deadline.
    fn next(&self) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Runs => None,
            Stage::Asked { signal_at, kill_at } => Some(signal_at.map_or(*kill_at, |at| at.min(*kill_at))),
            Stage::Killed { look_at, .. } => Some(*look_at),
        };
        [self.start_by, stage].into_iter().flatten().min()
    }
}

/// How long SIGTERM waits behind the stop message, of this time from the request to the kill.
fn pause(deadline: Duration) -> Duration {
    (deadline / MESSAGE_SHARE).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_waits_for_a_tenth_of_the_deadline_and_a_second_at_the_most() {
        let millis = |deadline| pause(Duration::from_millis(deadline)).as_millis();
        assert_eq!([0, 300, 10_000, 60_000].map(millis), [0, 30, 1_000, 1_000]);
        assert_eq!(pause(Duration::MAX), MAX_PAUSE);
    }
}
