//! Reports of workers: each is compared with what is wanted, and settled with the commit of what follows from it.
//!
//! Reports come twice, late and from epochs that are over. Whatever does not fit the open assignment is only settled.

use muster_domain::time::later;
use muster_domain::worker::WorkerEvent;
use muster_domain::{
    AgentEvent, AgentId, Cause, Ending, Epoch, EventKind, FinalState, ProcessId, Refusal, Report, ReportBody,
    StopReason, Timestamp,
};
use muster_policy::restart;
use muster_registry::ReportPost;

use super::moves::{Leaving, Move};
use super::troubles::Trouble;
use super::{Keeper, Round};

/// That an agent runs, as its worker says.
pub(super) struct Start {
    pub(super) pid: Option<u32>,
    pub(super) at: Timestamp,
    /// See [`Agent::started_by`](super::Agent).
    pub(super) by: u64,
}

impl Keeper {
    pub(super) fn take_reports(&mut self, posts: Vec<ReportPost>, round: &mut Round) {
        for post in posts {
            if let Some(report) = &post.report {
                self.take_report(report, round);
                if let Some(worker) = self.model.workers.get_mut(&report.process_id) {
                    let upto = worker.reports.settle(report.seq);
                    self.settled.push((report.process_id, upto));
                }
            }
            self.entries.push(post);
        }
    }

    /// Lets the workers forget what is committed. Entries that could not be committed yet stay on the stream and in
    /// their workers.
    pub(super) fn settle(&mut self) {
        let all_saved = self.unsaved.is_empty() && self.desk.is_settled();
        if all_saved && !self.entries.is_empty() {
            self.context.postman.settle(std::mem::take(&mut self.entries), std::mem::take(&mut self.settled));
        }
    }

    fn take_report(&mut self, report: &Report, round: &mut Round) {
        let worker = report.process_id;
        match &report.body {
            ReportBody::Ready => self.worker_ready(worker, round),
            ReportBody::Started { agent_id, epoch, pid } => {
                self.started(*agent_id, *epoch, Start { pid: *pid, at: report.at, by: report.seq }, round);
            }
            ReportBody::Ended { agent_id, epoch, ready, ending } => {
                self.ended(*agent_id, *epoch, *ready, ending.clone(), round);
            }
            ReportBody::Refused { agent_id, epoch, refusal } => {
                self.refused(worker, *agent_id, *epoch, *refusal, round);
            }
            // One that comes again is from before whatever the agent has done since.
            ReportBody::IdleTooLong { .. } if self.was_taken(report) => {}
            ReportBody::IdleTooLong { agent_id, epoch } => self.idle_too_long(*agent_id, *epoch, round),
            ReportBody::Probed { command_id } => self.context.probes.answer(*command_id),
            ReportBody::Tasks { begun, over } => self.hear_tasks(begun, over, report.seq),
        }
    }

    fn was_taken(&self, report: &Report) -> bool {
        self.model.workers.get(&report.process_id).is_some_and(|worker| worker.reports.was_taken(report.seq))
    }

    pub(super) fn worker_ready(&mut self, id: ProcessId, round: &mut Round) {
        if !self.model.move_worker(id, WorkerEvent::Heard) {
            return;
        }
        self.no_trouble(Trouble::Worker);
        if let Some(worker) = self.model.workers.get_mut(&id).filter(|worker| worker.pulse.is_none()) {
            // It beat before it said so, but news of the registry that were read before that beat may come after this.
            // Its silence counts from now, not from when the listening began.
            worker.hear(round.now, None);
        }
        self.note(self.worker_event(EventKind::WorkerReady, id, round.at, String::new()), round.now);
        if let Some(worker) = self.model.workers.get(&id) {
            tracing::info!(process.id = %id, pool.name = %self.model.spec.pool_name, "a worker is ready");
            round.touched.extend(worker.held.iter().copied());
        }
    }

    /// The worker of the open assignment says that the agent runs. Also what a heartbeat's picture says.
    pub(super) fn started(&mut self, id: AgentId, epoch: Epoch, start: Start, round: &mut Round) {
        let Some(agent) = self.model.agent_mut(id) else { return };
        if !agent.status.is_placed_as(epoch) {
            return;
        }
        agent.pid = start.pid;
        agent.started_by = start.by;
        let at = start.at;
        let ordered = agent.ordered;
        let waited = agent.command.as_ref().map(|(_, sent)| round.now.saturating_duration_since(sent.at));
        self.model.move_agent(id, &AgentEvent::Started(epoch, at), round.now);
        self.note_activity(id, None);
        self.note(self.agent_event(EventKind::AgentStarted, id, at, String::new()), round.now);
        if let Some(waited) = waited {
            metrics::histogram!("muster_agent_start_seconds", "pool" => self.pool_label()).record(waited);
        }
        if epoch == Epoch(1) {
            self.context.counters.spawn_succeeded();
            self.agent_tried(true, round.now);
        }
        self.program_started(ordered);
        round.touched.push(id);
    }

    fn ended(&mut self, id: AgentId, epoch: Epoch, ready: bool, ending: Ending, round: &mut Round) {
        let policy = self.model.spec.config.restart.clone();
        let is_stopping = self.is_stopping;
        let Some(agent) = self.model.agent_mut(id) else { return };
        if agent.leaving || agent.status.assignment().is_none_or(|place| place.epoch != epoch) {
            return;
        }
        agent.leaving = true;
        let then = match agent.status.after_stop() {
            Some(then) => Leaving::from_order(then),
            // The supervisor stops: whatever ended was to end with it, and runs again with the next one.
            None if is_stopping => Leaving::RunAgain { not_before: None },
            None => {
                let first_start_failed = !ready && epoch == Epoch(1);
                let verdict = restart::judge(&policy, &ending, first_start_failed, &mut agent.history, round.now);
                match (first_start_failed, Leaving::from_verdict(verdict, round.now)) {
                    (true, Leaving::End(FinalState::Failed(_))) => {
                        Leaving::End(FinalState::Failed(StopReason::StartFailed))
                    }
                    (_, then) => then,
                }
            }
        };
        if !ready && epoch == Epoch(1) {
            self.context.counters.spawn_failed();
            self.agent_tried(false, round.now);
        }
        if !ready && !ending.cause.is_of_muster() {
            self.tell_failed_start(id, epoch, &ending, matches!(then, Leaving::RunAgain { .. }));
        }
        round.moves.push(Move::Leave { agent: id, epoch, ending, then });
    }

    /// Said where it is noticed: a program that can't start is a person's business, and its agent may have nobody who waits.
    fn tell_failed_start(&mut self, id: AgentId, epoch: Epoch, ending: &Ending, again: bool) {
        let pool = &self.model.spec.pool_name;
        let cause = &ending.cause;
        tracing::warn!(agent.id = %id, epoch = epoch.0, pool.name = %pool, again, "an agent did not start: it {cause}");
        let follows = if again { "it is tried again" } else { "it is not tried again" };
        let message = format!("agent {id} did not start, and {follows}: it {cause}");
        let ordered = self.model.agent(id).and_then(|agent| agent.ordered);
        self.program_failed(ordered, message);
    }

    /// A worker's death ends the runs of all its agents.
    pub(super) fn lost(&mut self, id: AgentId, epoch: Epoch, round: &mut Round) {
        let ending = Ending::new(Cause::WorkerLost, round.at);
        let Some(agent) = self.model.agent_mut(id) else { return };
        // One whose order never went out has no part in it: that does not count against it.
        let untold = agent.status.is_placed_as(epoch) && agent.command.is_none();
        if untold && !agent.leaving {
            agent.leaving = true;
            let then = Leaving::RunAgain { not_before: None };
            return round.moves.push(Move::Leave { agent: id, epoch, ending, then });
        }
        self.ended(id, epoch, true, ending, round);
    }

    /// Agents that hold a slot in a worker that is no more leave it. So it is after a commit that seemed to fail.
    pub(super) fn release_homeless(&mut self, round: &mut Round) {
        for (id, epoch) in self.model.homeless() {
            self.lost(id, epoch, round);
        }
    }

    fn refused(&mut self, worker: ProcessId, id: AgentId, epoch: Epoch, refusal: Refusal, round: &mut Round) {
        tracing::warn!(process.id = %worker, agent.id = %id, epoch = epoch.0, %refusal, "a worker refused a command");
        match refusal {
            Refusal::StaleFence { seen } if seen > self.context.fence => return self.context.fenced.cancel(),
            // It was a leader before this one that was refused; but for the worker that epoch is over.
            Refusal::StaleFence { .. } => {}
            Refusal::Draining => {
                self.model.move_worker(worker, WorkerEvent::DrainOrdered(round.now));
            }
            Refusal::Full { .. } | Refusal::StaleEpoch { .. } => {}
        }
        let resend = self.context.clocks.resend;
        let Some(agent) = self.model.agent_mut(id) else { return };
        if agent.leaving || agent.status.assignment().is_none_or(|place| place.epoch != epoch) {
            return;
        }
        agent.leaving = true;
        let then = match agent.status.after_stop() {
            Some(then) => Leaving::from_order(then),
            // A wait keeps a full worker from being asked over and over.
            None => Leaving::RunAgain { not_before: Some(later(round.now, resend)) },
        };
        let ending = Ending::new(Cause::NotStarted { error: format!("its worker refused it: {refusal}") }, round.at);
        round.moves.push(Move::Leave { agent: id, epoch, ending, then });
    }

    /// Idleness is reported by the worker and decided here, after whatever was assigned since.
    fn idle_too_long(&mut self, id: AgentId, epoch: Epoch, round: &mut Round) {
        let is_idle =
            self.model.agent(id).is_some_and(|agent| agent.status.idles_at().is_some_and(|at| at.epoch == epoch));
        if is_idle && !self.is_stopping {
            round.moves.push(Move::Stop { agent: id, reason: StopReason::Idle, graceful: true, waiter: None });
        }
    }
}
