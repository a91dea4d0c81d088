//! What goes to the registry, and what comes back.

use muster_domain::{Heartbeat, HeartbeatReply, ProbeAnswer, ReportBody, WIRE_VERSION, WorkerOrders, WorkerState};
use muster_process::lock;
use muster_process::probe_socket::ProbeCaller;
use muster_registry::{AgentNews, RegistryError};
use tokio::time::Instant;

use crate::heartbeat::HeartbeatTimer;
use crate::registry_calls::{CallOutcome, RegistryCalls};
use crate::report_outbox::{ReportOutbox, subject};
use crate::shutdown::Shutdown;
use crate::slots::StopMode;
use crate::subscribing;
use crate::troubles::RegistryTroubles;
use crate::worker::WorkerLoop;
use crate::{WorkerDeps, WorkerExit, later};

/// Beats between two tests of the subscription. Three heartbeats fit into the staleness bound, so one that died is
/// renewed before anybody would call the worker hung; and a thousand workers do not double their calls for it.
const BEATS_PER_CHECK: u64 = 3;

/// The share of a heartbeat after which a worker that keeps a lot beats.
const HURRY: u32 = 10;

/// All that a worker has with the registry.
pub(crate) struct Exchange {
    pub(crate) outbox: ReportOutbox,
    pub(crate) calls: RegistryCalls,
    pub(crate) heartbeat: HeartbeatTimer,
    troubles: RegistryTroubles,
    /// Whether the beat under way shows that no agent is left.
    last_beat: bool,
}

impl Exchange {
    pub(crate) fn new(orders: &WorkerOrders, deps: &WorkerDeps, now: Instant) -> Self {
        Self {
            outbox: ReportOutbox::new(orders.process_id, orders.pool_name.clone(), orders.clocks.heartbeat),
            calls: RegistryCalls::new(deps.registry.clone(), deps.bus.clone()),
            heartbeat: HeartbeatTimer::new(orders.clocks.heartbeat, now),
            troubles: RegistryTroubles::default(),
            last_beat: false,
        }
    }

    /// The connection was away: what was sent over it may be lost in both directions.
    pub(crate) fn resync(&mut self, now: Instant) {
        self.troubles.hears();
        self.outbox.resend_all();
        self.heartbeat.hurry(now);
    }

    fn on_outage(&mut self, error: &RegistryError, now: Instant) {
        if self.heartbeat.failed(now) {
            tracing::warn!(%error, "the registry does not answer; agents go on, and reports are kept");
        }
    }
}

impl WorkerLoop {
    /// Starts the next call, where one is due and none is under way. A beat goes first: reports wait for a registry
    /// that answers, and the beat is what finds out.
    pub(crate) fn call(&mut self, now: Instant) {
        if !self.exchange.calls.is_free() || self.shutdown.as_ref().is_some_and(Shutdown::is_silent) {
            return;
        }
        if (self.exchange.outbox.is_due() || self.tasks.has_news())
            && self.exchange.heartbeat.is_connected()
            && !self.is_beat_overdue(now)
        {
            self.send_reports(now);
        } else if self.exchange.heartbeat.next() <= now {
            self.beat(now);
        }
    }

    /// Reports are what somebody waits for, so they go before a beat that has just become due; but a stream of them
    /// must not hold the beats back.
    fn is_beat_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.exchange.heartbeat.next()) > self.orders.clocks.heartbeat / 4
    }

    fn send_reports(&mut self, now: Instant) {
        self.say_tasks();
        let reports = self.exchange.outbox.take();
        let mut agents = AgentNews { held: self.slots.held(), ..AgentNews::default() };
        for report in &reports {
            let Some((agent_id, _)) = subject(&report.body) else { continue };
            match self.slots.picture(&agent_id, |agent, epoch| self.tasks.work_of(agent, epoch, now)) {
                Some(picture) => agents.pictures.push(picture),
                // A refused agent never was here: where it is, is not ours to say.
                None if matches!(report.body, ReportBody::Ended { .. }) => agents.gone.push(agent_id),
                None => {}
            }
        }
        agents.pictures.sort_unstable_by_key(|picture| picture.agent_id);
        agents.pictures.dedup_by_key(|picture| picture.agent_id);
        self.exchange.calls.report(reports, agents);
    }

    fn beat(&mut self, now: Instant) {
        // What the picture does not show any more is said in a report that was made before it, and is numbered in it.
        self.say_tasks();
        let agents = self.slots.pictures(|agent, epoch| self.tasks.work_of(agent, epoch, now));
        self.exchange.last_beat = agents.is_empty();
        let number = self.exchange.heartbeat.beat(now);
        // Some agent's picture may not be as old as a heartbeat.
        if let Some(freshness) = self.slots.freshness() {
            self.exchange.heartbeat.hurry_at(later(now, freshness));
        }
        let usage = self.gauge.read(agents.iter().filter_map(|agent| agent.pid), now);
        let status = if self.slots.is_open() { WorkerState::Ready } else { WorkerState::Draining };
        self.exchange.calls.beat(Heartbeat {
            v: WIRE_VERSION,
            process_id: self.orders.process_id,
            pool_name: self.orders.pool_name.clone(),
            identity: self.deps.identity.clone(),
            capacity: self.orders.capacity,
            status,
            started_at: self.started_at,
            number,
            reported: self.exchange.outbox.last(),
            dropped: self.exchange.outbox.dropped(),
            fence: self.slots.fence(),
            tampering: self.deps.registry.tampering(),
            cpu_percent: usage.cpu_percent,
            rss_bytes: usage.rss_bytes,
            deaf: self.exchange.troubles.deafness(),
            interval: Some(self.orders.clocks.heartbeat),
            agents,
        });
        if self.exchange.heartbeat.is_connected() && number.is_multiple_of(BEATS_PER_CHECK) {
            self.exchange.calls.check(self.orders.process_id);
        }
    }

    /// A call has landed.
    pub(crate) fn land(&mut self, outcome: CallOutcome, now: Instant) {
        match &outcome {
            CallOutcome::Beat(outcome) => self.exchange.troubles.called(outcome, now),
            CallOutcome::Reports(_, outcome) => self.exchange.troubles.called(outcome, now),
            CallOutcome::Check(outcome) => self.exchange.troubles.listened(outcome, now),
        }
        match outcome {
            CallOutcome::Beat(Ok(answer)) => self.on_answer(&answer, now),
            CallOutcome::Beat(Err(error)) => {
                self.exchange.on_outage(&error, now);
                self.look_for_master(false, now);
            }
            CallOutcome::Reports(reports, Ok(())) => {
                self.exchange.outbox.sent(&reports, now);
                if self.exchange.outbox.is_heavy() {
                    // Only a beat's answer tells what is settled and need not be kept in memory.
                    self.exchange.heartbeat.hurry_at(now + self.orders.clocks.heartbeat / HURRY);
                }
            }
            CallOutcome::Reports(reports, Err(error)) => {
                self.exchange.outbox.failed(&reports);
                self.exchange.on_outage(&error, now);
            }
            CallOutcome::Check(Ok(())) => {}
            // The engine renews the subscription, and says `Resubscribed` when it stands.
            CallOutcome::Check(Err(error)) => tracing::debug!(%error, "the subscription to commands does not answer"),
        }
    }

    fn on_answer(&mut self, answer: &HeartbeatReply, now: Instant) {
        let first = !self.exchange.heartbeat.is_connected();
        let news = self.exchange.heartbeat.answered(answer);
        if news.back {
            tracing::info!("the registry is back");
            self.tasks.listen_anew(now);
        }
        self.exchange.outbox.settle(answer.settled);
        self.slots.settle(answer.settled);
        self.tasks.settle(answer.settled, now);
        if news.emptied {
            tracing::info!("the registry has lost its content, so everything is sent again");
            self.exchange.outbox.resend_all();
        } else if !first {
            self.exchange.outbox.resend_overdue(now);
        }
        if self.exchange.last_beat
            && let Some(shutdown) = &mut self.shutdown
        {
            shutdown.beat_outcome();
        }
        if answer.fenced {
            tracing::error!("this worker was given up by the supervisor, so it kills its agents and ends");
            self.leave(WorkerExit::Fenced, StopMode::Kill);
        }
        self.look_for_master(answer.leader_present, now);
    }

    /// Says how it is to somebody who can't hear it in another way.
    pub(crate) fn answer(&self, caller: ProbeCaller, now: Instant) {
        let (process_id, beats) = (self.orders.process_id, self.exchange.heartbeat.number());
        caller.answer(&subscribing::write(&ProbeAnswer {
            process_id,
            beats,
            trouble: self.exchange.troubles.tell(now),
        }));
    }

    /// Leaves when nobody has led for too long. A worker inside its master always has one.
    fn look_for_master(&mut self, leader_present: bool, now: Instant) {
        if self.deps.in_process {
            return;
        }
        // A lock that cannot be looked at proves no absence.
        let seen = leader_present || lock::is_held(&self.orders.lock_file).unwrap_or(true);
        let alone = self.orphanhood.observe(seen, now);
        // A worker that drains would else wait for ever for somebody to end its agents.
        let stopping = self.shutdown.as_ref().is_some_and(Shutdown::is_stopping);
        if alone >= self.orders.clocks.orphan_after && !stopping {
            tracing::warn!(alone_s = alone.as_secs(), "no supervisor was seen for too long, so this worker ends");
            self.leave(WorkerExit::Orphaned, StopMode::Ask);
        }
    }
}
