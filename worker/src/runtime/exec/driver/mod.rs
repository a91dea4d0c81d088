//! The driver of one program: it moves what is said between a [`Host`] and an [`AgentProtocol`], from the start of the program to the
//! proof that its tree is dead. All that takes time is here: when it must be ready, when it must have answered, how it is ended.

mod reading;
mod work;

pub(super) use work::{not_had, refuse};

use std::time::Duration;

use muster_domain::{Cause, Readiness};
use muster_process::ProcessExit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::host::{Host, HostEvent};
use super::journal::Journal;
use super::open_tasks::OpenTasks;
use super::protocol::{AgentProtocol, ProgramLife};
use super::tail::OutputTail;
use super::{AgentOrder, RunContext};
use crate::later;
use crate::runtime::RunChange;
use crate::slots::StopMode;

/// The share of the stop deadline that a program has for the stop message alone, before SIGTERM follows: most of it is
/// left for those that only know the signal.
const MESSAGE_SHARE: u32 = 10;
/// The longest that SIGTERM waits for the stop message to work.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What is kept of a program while it runs, and told after its end.
pub(super) struct Records {
    pub(super) journal: Journal,
    /// The last that it printed, where it stays.
    pub(super) tail: OutputTail,
    /// What it has to do.
    pub(super) open_tasks: OpenTasks,
}

impl Records {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, tail: OutputTail::default(), open_tasks: OpenTasks::default() }
    }

    /// Whether more of what a program says can be kept. While it can't, the program is not read.
    fn has_room(&self) -> bool {
        self.journal.has_room()
    }
}

/// How a program ended.
pub(super) struct ProgramEnd {
    pub(super) cause: Cause,
    pub(super) exit: ProcessExit,
    /// The copy of its stdout, where one was kept and all of it fits in.
    pub(super) printed: Option<Vec<u8>>,
    /// Whether it was told to end.
    pub(super) ordered: bool,
}

/// A program that runs, and how far it is.
pub(super) struct Driver<'a, P> {
    run: &'a RunContext,
    protocol: &'a mut P,
    records: &'a mut Records,
    host: Host,
    /// Its pid, until it was said that it runs.
    unannounced: Option<u32>,
    /// When it must be ready.
    start_by: Option<Instant>,
    /// Whether it was told to end.
    ordered: bool,
}

impl<'a, P: AgentProtocol> Driver<'a, P> {
    /// The driver of a program that runs.
    pub(super) fn new(run: &'a RunContext, protocol: &'a mut P, records: &'a mut Records, host: Host) -> Self {
        let mut driver = Self { run, protocol, records, host, unannounced: None, start_by: None, ordered: false };
        driver.protocol.open(&mut driver.host.stdin);
        if P::LIFE == ProgramLife::Agent {
            driver.unannounced = Some(driver.host.pid);
            driver.start_by = Some(later(Instant::now(), run.common.profile.start_timeout));
            if run.common.profile.ready == Readiness::Started {
                driver.announce();
            }
        }
        driver
    }

    /// Drives it until its tree is proven dead.
    pub(super) async fn drive(mut self, orders: &mut UnboundedReceiver<AgentOrder>) -> ProgramEnd {
        let mut abandoned = false;
        loop {
            let reads = self.records.has_room();
            let next = self.next();
            tokio::select! {
                event = self.host.event(reads) => {
                    if let Some(exit) = self.attend_to(event).await {
                        return self.end(exit).await;
                    }
                }
                order = orders.recv(), if !abandoned => {
                    abandoned = order.is_none();
                    self.obey(order);
                }
                message = self.protocol.message(), if reads => self.take(message),
                () = self.records.journal.written() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.on_time(),
            }
        }
    }

    /// Does what follows from what is new of the program; answers with its end.
    async fn attend_to(&mut self, event: HostEvent) -> Option<ProcessExit> {
        match event {
            HostEvent::Ended(exit) => return Some(exit),
            HostEvent::Printed(stream) => self.read(stream).await,
            HostEvent::Writable => self.write(),
        }
        None
    }

    fn obey(&mut self, order: Option<AgentOrder>) {
        match order {
            Some(AgentOrder::Stop(StopMode::Ask)) => self.ask(Cause::Stopped),
            Some(AgentOrder::Stop(StopMode::Kill)) => self.kill(Cause::Stopped),
            // Nobody holds the other end any more. The worker is gone, so nobody waits for a graceful end.
            None => self.kill(Cause::Stopped),
            Some(AgentOrder::Begin(start)) => self.begin(&start),
            Some(AgentOrder::Halt(id, halt)) => self.halt(id, halt),
        }
    }

    /// Says that it runs, once.
    fn announce(&mut self) {
        self.start_by = None;
        if let Some(pid) = self.unannounced.take() {
            self.run.is_active(Instant::now());
            self.run.say(RunChange::Started { pid: Some(pid) });
        }
    }

    /// The next deadline. No answer to a halt is waited for any more where all of it is being ended.
    fn next(&self) -> Option<Instant> {
        let answer = self.host.is_running().then(|| self.records.open_tasks.next_answer());
        // What has closed its stdin can't be looked at.
        let look = self.host.stdin.is_open().then(|| self.records.open_tasks.next_look());
        [self.start_by, self.host.next(), answer.flatten(), look.flatten()].into_iter().flatten().min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.start_by.is_some_and(|by| by <= now) {
            let after_ms = u64::try_from(self.run.common.profile.start_timeout.as_millis()).unwrap_or(u64::MAX);
            self.kill(Cause::StartTimeout { after_ms });
        }
        if self.records.open_tasks.next_look().is_some_and(|at| at <= now) {
            self.look();
        }
        match self.records.open_tasks.overdue(now) {
            None => {}
            Some(StopMode::Ask) => self.ask(Cause::TaskHalted),
            Some(StopMode::Kill) if self.host.is_running() => self.kill(Cause::TaskHalted),
            // It is being ended already.
            Some(StopMode::Kill) => {}
        }
        if let Some(reason) = self.host.on_time(now) {
            self.run.say(RunChange::Stuck(reason));
        }
    }

    /// Asks the program to end: by the word of its protocol and the end of its stdin, after a pause by SIGTERM. Both at once would
    /// end a program by the signal before it has read the message, and a message that asks to finish would be worth nothing.
    fn ask(&mut self, cause: Cause) {
        self.ordered = true;
        if !self.host.is_running() {
            return;
        }
        // Its stdin can't be looked into any more when it is closed.
        self.look();
        let deadline = self.run.common.profile.stop_deadline;
        let told = self.protocol.close(&mut self.host.stdin);
        // One that has closed its stdin can't hear the message, so nothing is gained by waiting.
        let pause = if told { pause(deadline.min(self.run.common.worker_deadline)) } else { Duration::ZERO };
        self.start_by = None;
        self.host.ask(cause, pause, deadline);
    }

    fn kill(&mut self, cause: Cause) {
        self.ordered = true;
        self.start_by = None;
        self.host.kill(cause);
    }

    async fn end(mut self, exit: ProcessExit) -> ProgramEnd {
        self.read_rest().await;
        let (cause, printed) = self.host.end(exit);
        ProgramEnd { cause, exit, printed, ordered: self.ordered }
    }
}

/// How long SIGTERM waits behind the stop message, of this time from the request to the kill.
fn pause(deadline: Duration) -> Duration {
    (deadline / MESSAGE_SHARE).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests;
