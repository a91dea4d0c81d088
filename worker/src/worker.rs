//! The loop: one task that owns everything a worker knows, and never waits for anything but the next thing to do.

use std::collections::VecDeque;

use muster_domain::{ReportBody, Timestamp, WorkerOrders};
use muster_registry::CommandStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::Instant;

use crate::checks::Checks;
use crate::exchange::Exchange;
use crate::gauge::UsageGauge;
use crate::heartbeat::LeaderAbsence;
use crate::report_outbox::subject;
use crate::runtime::{RunChange, RunNews, Runtime};
use crate::shutdown::{Shutdown, ShutdownFacts, ShutdownStep};
use crate::slots::{SlotStep, Slots, StopMode};
use crate::stop::{StopWatch, Urgency};
use crate::tasks::AttemptTable;
use crate::{WorkerDeps, WorkerExit, later};

/// News of agents that are taken in one go before the loop looks at anything else.
const NEWS_AT_ONCE: usize = 1024;

/// A worker that serves.
pub(crate) struct WorkerLoop {
    pub(crate) orders: WorkerOrders,
    pub(crate) deps: WorkerDeps,
    pub(crate) slots: Slots,
    pub(crate) tasks: AttemptTable,
    pub(crate) runtime: Runtime,
    pub(crate) checks: Checks,
    pub(crate) exchange: Exchange,
    pub(crate) orphanhood: LeaderAbsence,
    pub(crate) gauge: UsageGauge,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) started_at: Timestamp,
    inbox: LoopInputs,
}

/// What the loop waits for beside its own affairs.
struct LoopInputs {
    commands: CommandStream,
    news: UnboundedReceiver<RunNews>,
    stop: StopWatch,
}

impl WorkerLoop {
    /// A worker whose subscription stands. Its first act is a beat, its first report `Ready`.
    pub(crate) fn new(orders: WorkerOrders, deps: WorkerDeps, commands: CommandStream, stop: StopWatch) -> Self {
        let now = Instant::now();
        let (send_news, news) = unbounded_channel();
        let started_at = Timestamp::now();
        let mut exchange = Exchange::new(&orders, &deps, now);
        exchange.outbox.put(ReportBody::Ready, started_at);
        Self {
            slots: Slots::new(orders.capacity, orders.fence),
            tasks: AttemptTable::new(orders.clocks.heartbeat, now),
            runtime: Runtime::new(&orders, send_news),
            checks: Checks::new(deps.registry.clone(), deps.bus.clone(), orders.process_id),
            exchange,
            orphanhood: LeaderAbsence::default(),
            gauge: UsageGauge::new(deps.in_process),
            shutdown: None,
            started_at,
            inbox: LoopInputs { commands, news, stop },
            orders,
            deps,
        }
    }

    /// Serves until there is a reason to leave.
    pub(crate) async fn serve(mut self) -> WorkerExit {
        loop {
            if let Some(exit) = self.depart(Instant::now()) {
                return exit;
            }
            self.call(Instant::now());
            self.deps.alarm.set(self.next_moment());
            tokio::select! {
                Some(outbox) = self.inbox.commands.recv() => self.take_commands(outbox),
                Some(news) = self.inbox.news.recv() => self.take_news(news),
                finish = self.checks.next_outcome() => self.tasks.on_finish(finish, Instant::now(), Timestamp::now()),
                outcome = self.exchange.calls.next_outcome() => self.land(outcome, Instant::now()),
                urgency = self.inbox.stop.changed() => self.obey_sign(urgency),
                caller = self.deps.probe_socket.next_caller() => self.answer(caller, Instant::now()),
                () = self.deps.alarm.rings() => self.on_time(Instant::now()),
            }
        }
    }

    fn take_commands(&mut self, first: muster_registry::CommandDelivery) {
        let now = Instant::now();
        self.on_delivery(first, now);
        // Everything that is here already, so that one call carries all the answers.
        for _ in 0..crate::intake::COMMANDS_AT_ONCE {
            match self.inbox.commands.try_recv() {
                Ok(outbox) => self.on_delivery(outbox, now),
                Err(_) => break,
            }
        }
    }

    fn take_news(&mut self, first: RunNews) {
        let now = Instant::now();
        self.on_news(first, now);
        for _ in 0..NEWS_AT_ONCE {
            match self.inbox.news.try_recv() {
                Ok(news) => self.on_news(news, now),
                Err(_) => break,
            }
        }
    }

    fn on_news(&mut self, news: RunNews, now: Instant) {
        let steps = self.steps_of(news, now);
        self.carry_out(steps, now);
    }

    fn steps_of(&mut self, news: RunNews, now: Instant) -> Vec<SlotStep> {
        let RunNews { agent_id, epoch, what } = news;
        let at = Timestamp::now();
        match what {
            RunChange::Started { pid } => {
                tracing::debug!(agent.id = %agent_id, agent.epoch = %epoch, "agent runs");
                self.slots.on_started(agent_id, epoch, pid, now, at).into_iter().collect()
            }
            RunChange::Stuck(reason) => {
                self.slots.on_stuck(agent_id, epoch, reason, at);
                Vec::new()
            }
            RunChange::Finished(finish) => {
                self.tasks.on_finish(finish, now, at);
                Vec::new()
            }
            RunChange::Ended(ending) => {
                tracing::debug!(agent.id = %agent_id, agent.epoch = %epoch, cause = %ending.cause, "agent ended");
                self.runtime.forget(&agent_id);
                self.checks.drop_of(agent_id);
                self.tasks.on_agent_ended(agent_id, epoch, &ending, now);
                // Before the agent's own end is said.
                self.say_tasks();
                self.slots.on_ended(agent_id, epoch, ending, now)
            }
        }
    }

    /// Carries out what was decided, and what follows from that.
    pub(crate) fn carry_out(&mut self, steps: impl IntoIterator<Item = SlotStep>, now: Instant) {
        let mut steps: VecDeque<SlotStep> = steps.into_iter().collect();
        while let Some(step) = steps.pop_front() {
            let news = match step {
                SlotStep::Say(body) => {
                    self.say(body);
                    None
                }
                SlotStep::Repeat(body) => {
                    self.repeat(body);
                    None
                }
                SlotStep::Start(order) => self.runtime.start(order),
                SlotStep::Stop(agent_id, epoch, how) => self.runtime.stop(agent_id, epoch, how),
            };
            if let Some(news) = news {
                steps.extend(self.steps_of(news, now));
            }
        }
    }

    pub(crate) fn say(&mut self, body: ReportBody) {
        let (about, last_word) = (subject(&body), is_last_word(&body));
        let seq = self.exchange.outbox.put(body, Timestamp::now());
        if let Some((agent_id, epoch)) = about.filter(|_| last_word) {
            self.slots.reported(seq, agent_id, epoch);
        }
    }

    fn repeat(&mut self, body: ReportBody) {
        let (about, last_word) = (subject(&body), is_last_word(&body));
        let Some(seq) = self.exchange.outbox.repeat(body, Timestamp::now()) else { return };
        if let Some((agent_id, epoch)) = about.filter(|_| last_word) {
            self.slots.reported(seq, agent_id, epoch);
        }
    }

    /// The earliest moment at which something is to be done that nothing else brings about. There is no ticking: a
    /// worker that rests wakes up for its heartbeat only.
    fn next_moment(&self) -> Option<Instant> {
        // A beat that is due while a call is under way goes out when that has landed.
        let beat = self.exchange.calls.is_free().then(|| self.exchange.heartbeat.next());
        let silent = self.shutdown.as_ref().is_some_and(Shutdown::is_silent);
        let shutdown = self.shutdown.as_ref().and_then(Shutdown::next);
        let moments = [beat.filter(|_| !silent), shutdown, self.slots.next_idle(), self.tasks.next_deadline()];
        moments.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        let (runtime, tasks) = (&self.runtime, &self.tasks);
        let idle = self.slots.idle(now, |agent_id| runtime.last_active(agent_id).max(tasks.last_busy(agent_id, now)));
        self.carry_out(idle, now);
        let late = self.tasks.on_time(now);
        self.act(late, now);
        if self.shutdown.as_mut().is_some_and(|shutdown| shutdown.kills(now)) {
            tracing::warn!("agents did not end within the stop deadline and are killed");
            let steps = self.slots.stop_all(StopMode::Kill, Timestamp::now());
            self.carry_out(steps, now);
        }
    }

    fn obey_sign(&mut self, urgency: Urgency) {
        match urgency {
            Urgency::None => {}
            Urgency::Drain => self.leave(WorkerExit::ShutDown, StopMode::Ask),
            Urgency::Force => self.leave(WorkerExit::ShutDown, StopMode::Kill),
            Urgency::Kill => self.leave(WorkerExit::Killed, StopMode::Kill),
        }
    }

    /// Takes no more agents, and leaves when none is left.
    pub(crate) fn drain(&mut self) {
        self.begin_shutdown(Shutdown::drain());
    }

    /// Stops every agent, and leaves.
    pub(crate) fn leave(&mut self, exit: WorkerExit, how: StopMode) {
        let now = Instant::now();
        self.begin_shutdown(Shutdown::stop(exit, how, later(now, self.orders.clocks.stop_deadline)));
        let steps = self.slots.stop_all(how, Timestamp::now());
        self.carry_out(steps, now);
    }

    fn begin_shutdown(&mut self, order: Shutdown) {
        self.shutdown = Some(match self.shutdown.take() {
            Some(before) => before.and(order),
            None => order,
        });
        if self.slots.is_open() {
            self.slots.close();
            // The registry is to know at once that nothing more is taken.
            self.exchange.heartbeat.hurry(Instant::now());
        }
    }

    /// Says with what it leaves, when it is time.
    fn depart(&mut self, now: Instant) -> Option<WorkerExit> {
        let remains = ShutdownFacts {
            empty: self.slots.is_empty(),
            settled: self.exchange.outbox.is_settled() && !self.tasks.has_news(),
            connected: self.exchange.heartbeat.is_connected(),
        };
        match self.shutdown.as_mut()?.go(remains, now) {
            ShutdownStep::On => None,
            ShutdownStep::BeatBy(at) => {
                self.exchange.heartbeat.hurry_at(at);
                None
            }
            ShutdownStep::Out(exit) => Some(exit),
        }
    }
}

/// Whether nothing more is ever said of the epoch that this is about.
const fn is_last_word(body: &ReportBody) -> bool {
    matches!(body, ReportBody::Ended { .. } | ReportBody::Refused { .. })
}
