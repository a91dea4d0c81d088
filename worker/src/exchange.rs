//! What goes over the line to the registry, and what comes back.

use muster_domain::{Beat, BeatAnswer, ReportBody, Vitals, WIRE_VERSION, WorkerState};
use muster_process::door::Visitor;
use muster_process::lock;
use muster_registry::{AgentNews, RegistryError};
use tokio::time::Instant;

use crate::departure::Departure;
use crate::line::Landed;
use crate::post::subject;
use crate::slots::How;
use crate::subscribing;
use crate::worker::Worker;
use crate::{WorkerExit, later};

/// Beats between two tests of the subscription. Three heartbeats fit into the staleness bound, so one that died is
/// renewed before anybody would call the worker hung; and a thousand workers do not double their calls for it.
const BEATS_PER_CHECK: u64 = 3;

/// The share of a heartbeat after which a worker that keeps a lot beats.
const HURRY: u32 = 10;

impl Worker {
    /// Starts the next call, where one is due and the line is free. A beat goes first: reports wait for a registry
    /// that answers, and the beat is what finds out.
    pub(crate) fn call(&mut self, now: Instant) {
        if !self.line.is_free() || self.departure.as_ref().is_some_and(Departure::is_silent) {
            return;
        }
        if (self.post.is_due() || self.tasks.has_news()) && self.heart.is_connected() && !self.is_beat_overdue(now) {
            self.send_reports(now);
        } else if self.heart.next() <= now {
            self.beat(now);
        }
    }

    /// Reports are what somebody waits for, so they go before a beat that has just become due; but a stream of them
    /// must not hold the beats back.
    fn is_beat_overdue(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heart.next()) > self.orders.clocks.heartbeat / 4
    }

    fn send_reports(&mut self, now: Instant) {
        self.say_tasks();
        let reports = self.post.take();
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
        self.line.report(reports, agents);
    }

    fn beat(&mut self, now: Instant) {
        // What the picture does not show any more is said in a report that was made before it, and is numbered in it.
        self.say_tasks();
        let agents = self.slots.pictures(|agent, epoch| self.tasks.work_of(agent, epoch, now));
        self.last_beat = agents.is_empty();
        let number = self.heart.beat(now);
        // Some agent's picture may not be as old as a heartbeat.
        if let Some(freshness) = self.slots.freshness() {
            self.heart.hurry_at(later(now, freshness));
        }
        let usage = self.gauge.read(agents.iter().filter_map(|agent| agent.pid), now);
        let status = if self.slots.is_open() { WorkerState::Ready } else { WorkerState::Draining };
        self.line.beat(Beat {
            v: WIRE_VERSION,
            process_id: self.orders.process_id,
            pool_name: self.orders.pool_name.clone(),
            identity: self.seat.identity.clone(),
            capacity: self.orders.capacity,
            status,
            started_at: self.started_at,
            number,
            reported: self.post.last(),
            dropped: self.post.dropped(),
            fence: self.slots.fence(),
            tampering: self.seat.registry.tampering(),
            cpu_percent: usage.cpu_percent,
            rss_bytes: usage.rss_bytes,
            deaf: self.troubles.deafness(),
            interval: Some(self.orders.clocks.heartbeat),
            agents,
        });
        if self.heart.is_connected() && number.is_multiple_of(BEATS_PER_CHECK) {
            self.line.check(self.orders.process_id);
        }
    }

    /// A call has landed.
    pub(crate) fn land(&mut self, landed: Landed, now: Instant) {
        match &landed {
            Landed::Beat(outcome) => self.troubles.called(outcome, now),
            Landed::Reports(_, outcome) => self.troubles.called(outcome, now),
            Landed::Check(outcome) => self.troubles.listened(outcome, now),
        }
        match landed {
            Landed::Beat(Ok(answer)) => self.on_answer(&answer, now),
            Landed::Beat(Err(error)) => {
                self.on_outage(&error, now);
                self.look_for_master(false, now);
            }
            Landed::Reports(reports, Ok(())) => {
                self.post.sent(&reports, now);
                if self.post.is_heavy() {
                    // Only a beat's answer tells what is settled and need not be kept in memory.
                    self.heart.hurry_at(now + self.orders.clocks.heartbeat / HURRY);
                }
            }
            Landed::Reports(reports, Err(error)) => {
                self.post.failed(&reports);
                self.on_outage(&error, now);
            }
            Landed::Check(Ok(())) => {}
            // The engine renews the subscription, and says `Resubscribed` when it stands.
            Landed::Check(Err(error)) => tracing::debug!(%error, "the subscription to commands does not answer"),
        }
    }

    fn on_answer(&mut self, answer: &BeatAnswer, now: Instant) {
        let first = !self.heart.is_connected();
        let news = self.heart.answered(answer);
        if news.back {
            tracing::info!("the registry is back");
            self.tasks.listen_anew(now);
        }
        self.post.settle(answer.settled);
        self.slots.settle(answer.settled);
        self.tasks.settle(answer.settled, now);
        if news.emptied {
            tracing::info!("the registry has lost its content, so everything is sent again");
            self.post.resend_all();
        } else if !first {
            self.post.resend_overdue(now);
        }
        if self.last_beat
            && let Some(departure) = &mut self.departure
        {
            departure.beat_landed();
        }
        if answer.fenced {
            tracing::error!("this worker was given up by the supervisor, so it kills its agents and ends");
            self.leave(WorkerExit::Fenced, How::Kill);
        }
        self.look_for_master(answer.leader_present, now);
    }

    /// Says how it is to somebody who can't hear it in another way.
    pub(crate) fn answer(&self, visitor: Visitor, now: Instant) {
        let (process_id, beats) = (self.orders.process_id, self.heart.number());
        visitor.answer(&subscribing::write(&Vitals { process_id, beats, trouble: self.troubles.tell(now) }));
    }

    fn on_outage(&mut self, error: &RegistryError, now: Instant) {
        if self.heart.failed(now) {
            tracing::warn!(%error, "the registry does not answer; agents go on, and reports are kept");
        }
    }

    /// Leaves when nobody has led for too long. A worker inside its master always has one.
    fn look_for_master(&mut self, leader_present: bool, now: Instant) {
        if self.seat.in_process {
            return;
        }
        // A lock that cannot be looked at proves no absence.
        let seen = leader_present || lock::is_held(&self.orders.lock_file).unwrap_or(true);
        let alone = self.orphanhood.observe(seen, now);
        // A worker that drains would else wait for ever for somebody to end its agents.
        let stopping = self.departure.as_ref().is_some_and(Departure::is_stopping);
        if alone >= self.orders.clocks.orphan_after && !stopping {
            tracing::warn!(alone_s = alone.as_secs(), "no supervisor was seen for too long, so this worker ends");
            self.leave(WorkerExit::Orphaned, How::Ask);
        }
    }

    /// The connection was away: what was sent over it may be lost in both directions.
    pub(crate) fn resync(&mut self, now: Instant) {
        self.troubles.hears();
        self.post.resend_all();
        self.heart.hurry(now);
    }
}
