//! The task of one agent: from the start of its program to the proof that its tree is dead.

mod work;

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{Cause, Ending, Readiness, SpawnOrder, Timestamp};
use muster_process::{Child, Exit};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::contract::{self, Said};
use super::desk::{Desk, Heard};
use super::excerpt::Extent;
use super::journal::Journal;
use super::ladder::Ladder;
use super::output::{Output, Printed, Take, shortened};
use super::stdin::Stdin;
use super::tail::Tail;
use super::{Common, LastActive, Order, program};
use crate::later;
use crate::log::Stream;
use crate::runtime::{News, What};
use crate::slots::How;

/// The share of the stop deadline that a program has for the stop message alone, before SIGTERM follows: most of it is
/// left for those that only know the signal.
const MESSAGE_SHARE: u32 = 10;
/// The longest that SIGTERM waits for the stop message to work.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The longest that an answer waits for what was printed to stderr before it.
const COMPLAINTS: Duration = Duration::from_millis(10);

/// Runs an agent. Its last news is its end; whatever goes wrong, there is one.
pub(super) async fn run(
    common: Arc<Common>,
    order: SpawnOrder,
    mut ordered: UnboundedReceiver<Order>,
    activity: Arc<LastActive>,
) {
    let journal = Journal::new(&common.data_dir, order.agent.agent_id);
    let mut agent = Agent { common, order, activity, journal, tail: Tail::default(), desk: Desk::default() };
    let cause = match program::start(Arc::clone(&agent.common), agent.order.agent.clone(), None).await {
        Ok(child) => agent.attend(child, &mut ordered).await,
        Err(error) => Cause::NotStarted { error },
    };
    // What was given to it and never reached its program.
    while let Ok(order) = ordered.try_recv() {
        if let Order::Begin(errand) = order {
            agent.refuse(&errand);
        }
    }
    agent.end(cause).await;
}

struct Agent {
    common: Arc<Common>,
    order: SpawnOrder,
    activity: Arc<LastActive>,
    journal: Journal,
    tail: Tail,
    desk: Desk,
}

/// What the task is to do next.
enum Turn {
    Ended(Exit),
    Ordered(Option<Order>),
    Out,
    Err,
    In,
    Written,
    Time,
}

/// A program that runs, and how far it is.
struct Running {
    stdin: Stdin,
    out: Output,
    err: Output,
    ladder: Ladder,
    /// Its pid, until it was said that it runs.
    unannounced: Option<u32>,
    /// When it must be ready.
    start_by: Option<Instant>,
}

impl Agent {
    /// Attends to a program until its tree is proven dead, and says why it ended.
    async fn attend(&mut self, child: Child, ordered: &mut UnboundedReceiver<Order>) -> Cause {
        let Child { pid, stdin, stdout, stderr, keeper, mut exit, .. } = child;
        // From here on, whatever fails: the keeper kills the tree.
        let mut ladder = Ladder::new(keeper);
        let outputs =
            Output::listening(Stream::Out, stdout).and_then(|out| Ok((out, Output::new(Stream::Err, stderr)?)));
        let (out, err) = match outputs {
            Ok(outputs) => outputs,
            Err(error) => {
                ladder.kill(Cause::NotStarted { error: format!("cannot read its output: {error}") });
                let ended = (&mut exit).await;
                return ladder.into_cause(ended);
            }
        };
        // A program whose stdin can't be written is told to stop by the signal alone.
        let start_by = Some(later(Instant::now(), self.common.profile.start_timeout));
        let mut running = Running { stdin: Stdin::new(stdin), out, err, ladder, unannounced: Some(pid), start_by };
        if self.common.profile.ready == Readiness::Started {
            self.announce(&mut running);
        }
        let mut abandoned = false;
        loop {
            let room = self.journal.has_room();
            let next = running.next(&self.desk);
            let turn = tokio::select! {
                ended = &mut exit => Turn::Ended(ended),
                order = ordered.recv(), if !abandoned => Turn::Ordered(order),
                () = running.out.readable(), if room => Turn::Out,
                () = running.err.readable(), if room => Turn::Err,
                () = running.stdin.writable() => Turn::In,
                () = self.journal.written() => Turn::Written,
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => Turn::Time,
            };
            match turn {
                Turn::Ended(ended) => {
                    self.read_rest(&mut running).await;
                    return running.ladder.into_cause(ended);
                }
                Turn::Ordered(order) => {
                    abandoned = order.is_none();
                    self.obey(&mut running, order);
                }
                Turn::Out => self.read_answers(&mut running).await,
                Turn::Err => self.read(&mut running, Stream::Err).await,
                Turn::In => self.write(&mut running),
                Turn::Written => {}
                Turn::Time => self.on_time(&mut running),
            }
        }
    }

    fn obey(&mut self, running: &mut Running, order: Option<Order>) {
        match order {
            Some(Order::Stop(How::Ask)) => self.ask(running, Cause::Stopped),
            // None: nobody holds the other end any more. The worker is gone, so nobody waits for a graceful end.
            Some(Order::Stop(How::Kill)) | None => running.kill(Cause::Stopped),
            Some(Order::Begin(errand)) => self.begin(running, &errand),
            Some(Order::Halt(id, halt)) => self.halt(running, id, halt),
        }
    }

    async fn read(&mut self, running: &mut Running, stream: Stream) {
        if self.take_piece(running, stream) {
            // One piece in a turn, so that a flood leaves room for the loop and for other agents.
            tokio::task::yield_now().await;
        }
    }

    /// What it complained about before it answered is read before the answer, so that a failure has its reason beside it. That
    /// is waited for only as long as the runtime may take to notice it: the program itself may have read it meanwhile.
    async fn read_answers(&mut self, running: &mut Running) {
        if !self.desk.is_empty() {
            let (complained, by) = (running.err.printed(), Instant::now() + COMPLAINTS);
            while running.err.taken() < complained {
                if timeout_at(by, running.err.readable()).await.is_err() {
                    break;
                }
                self.take_piece(running, Stream::Err);
            }
        }
        self.read(running, Stream::Out).await;
    }

    /// What was printed before the end and not read yet. Nobody is left to print more, unless a pipe was handed to a
    /// process outside of the tree: so this reads what is there and does not wait for the end of the file.
    async fn read_rest(&mut self, running: &mut Running) {
        for stream in [Stream::Err, Stream::Out] {
            running.output(stream).unwatch();
            while self.take_piece(running, stream) {
                while !self.journal.has_room() {
                    self.journal.written().await;
                }
            }
            self.take_lines(running, stream, |output, line| output.end(line));
        }
    }

    /// Reads one piece, if there is one.
    fn take_piece(&mut self, running: &mut Running, stream: Stream) -> bool {
        self.look(running);
        self.take_lines(running, stream, |output, line| output.read(line))
    }

    /// Sees whether the program has read of its task, before anything is read of what it printed.
    fn look(&mut self, running: &Running) {
        if let Some(excerpt) = self.desk.untold() {
            // In this order: what was printed by now was printed before it read more than that.
            let printed = running.printed();
            if let Some(taken) = running.stdin.taken() {
                excerpt.look(printed, taken, Instant::now());
            }
        }
    }

    /// Takes what this reads: messages, and lines for the log.
    fn take_lines<T>(
        &mut self,
        running: &mut Running,
        stream: Stream,
        read: impl FnOnce(&mut Output, Take<'_>) -> T,
    ) -> T {
        let (now, at) = (Instant::now(), Timestamp::now());
        let (mut ready, mut any, mut ends) = (false, false, Vec::new());
        let (journal, tail, desk) = (&mut self.journal, &mut self.tail, &mut self.desk);
        let result = read(running.output(stream), &mut |line| {
            any = true;
            let said = if stream == Stream::Out { contract::read(line.text, line.cut) } else { None };
            let heard = match said {
                Some(Said::Ready) => {
                    ready = true;
                    Heard::Noted
                }
                Some(Said::Task(word)) => desk.hear(word),
                None => Heard::Foreign,
            };
            match heard {
                Heard::Noted => {}
                Heard::Last(finish) => ends.push(finish),
                Heard::Foreign => {
                    let named = contract::named(line.text);
                    let (text, cut) = shortened(line.text, line.cut);
                    journal.add(at, stream, text, cut);
                    tail.add(text);
                    desk.print(stream, Printed { text, cut, ..line }, named);
                }
            }
        });
        if any {
            self.activity.note(self.common.since, now);
            self.desk.note(now);
        }
        if ready {
            self.announce(running);
        }
        ends.into_iter().for_each(|finish| self.say(What::Finished(finish)));
        result
    }

    /// Says that it runs, once.
    fn announce(&self, running: &mut Running) {
        running.start_by = None;
        if let Some(pid) = running.unannounced.take() {
            self.activity.note(self.common.since, Instant::now());
            self.say(What::Started { pid: Some(pid) });
        }
    }

    fn on_time(&mut self, running: &mut Running) {
        let now = Instant::now();
        if running.start_by.is_some_and(|by| by <= now) {
            let after_ms = u64::try_from(self.common.profile.start_timeout.as_millis()).unwrap_or(u64::MAX);
            running.kill(Cause::StartTimeout { after_ms });
        }
        if self.desk.next_look().is_some_and(|at| at <= now) {
            self.look(running);
        }
        match self.desk.overdue(now) {
            None => {}
            Some(How::Ask) => self.ask(running, Cause::TaskHalted),
            Some(How::Kill) if running.ladder.is_running() => running.kill(Cause::TaskHalted),
            // It is being ended already.
            Some(How::Kill) => {}
        }
        if let Some(reason) = running.ladder.on_time(now) {
            self.say(What::Stuck(reason));
        }
    }

    /// Asks the program to end: by the stop message and the end of its stdin, after a pause by SIGTERM. Both at once would
    /// end a program by the signal before it has read the message, and a message that asks to finish would be worth nothing.
    fn ask(&mut self, running: &mut Running, cause: Cause) {
        if !running.ladder.is_running() {
            return;
        }
        // Its stdin can't be looked into any more when it is closed.
        self.look(running);
        let deadline = self.common.profile.stop_deadline;
        // Not waited for: a program that does not read its stdin gets the signal. The end of the file follows.
        let told = running.stdin.close_with(contract::STOP);
        // One that has closed its stdin can't hear the message, so nothing is gained by waiting.
        let pause = if told { pause(deadline.min(self.common.worker_deadline)) } else { Duration::ZERO };
        running.start_by = None;
        running.ladder.ask(cause, pause, deadline);
    }

    /// The last words: in the log first, so that who hears of the end finds them there.
    async fn end(mut self, cause: Cause) {
        let at = Timestamp::now();
        self.journal.add(at, Stream::End, cause.to_string().as_bytes(), 0);
        self.journal.finish().await;
        self.desk.clear(&cause).into_iter().for_each(|finish| self.say(What::Finished(finish)));
        let last_output = self.tail.text();
        self.say(What::Ended(Ending { cause, last_output, at }));
    }

    fn say(&self, what: What) {
        // Where nobody listens, the worker is gone.
        let news = News { agent_id: self.order.agent.agent_id, epoch: self.order.epoch, what };
        let _ = self.common.news.send(news);
    }
}

impl Running {
    fn output(&mut self, stream: Stream) -> &mut Output {
        if stream == Stream::Err { &mut self.err } else { &mut self.out }
    }

    fn printed(&self) -> Extent {
        Extent { out: self.out.printed(), err: self.err.printed() }
    }

    fn kill(&mut self, cause: Cause) {
        self.start_by = None;
        self.ladder.kill(cause);
    }

    /// The next deadline. No answer to a halt is waited for any more where all of it is being ended.
    fn next(&self, desk: &Desk) -> Option<Instant> {
        let answer = self.ladder.is_running().then(|| desk.next_answer());
        // What has closed its stdin can't be looked at.
        let look = self.stdin.is_open().then(|| desk.next_look());
        [self.start_by, self.ladder.next(), answer.flatten(), look.flatten()].into_iter().flatten().min()
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
