//! What workers say, and what becomes of them: each fact is taken by every part that it concerns, in this order.
//!
//! Reports are settled with the commit of what follows from them.

use muster_domain::worker::WorkerEnd;
use muster_domain::{Activity, AgentId, Cause, Heartbeat, ProcessId, Report, ReportBody, WorkerState};
use muster_registry::ReportDelivery;

use super::agents::{AgentStart, Compared, FirstStart, StartNews};
use super::mailbox::{HeartbeatNews, WorkerHeartbeat};
use super::tasks::{Effects, PoolNow};
use super::transitions::Transition;
use super::troubles::StartTrouble;
use super::workers::{AgentFollowUps, WorkerEnded};
use super::{Keeper, Turn};
use crate::launch::{LaunchError, Launched};

impl Keeper {
    pub(super) fn take_reports(&mut self, deliveries: Vec<ReportDelivery>, turn: &mut Turn) {
        for delivery in deliveries {
            if let Some(report) = &delivery.report {
                self.take_report(report, turn);
                let settled = self.model.workers.settle(report);
                self.unsaved.settled.extend(settled.map(|upto| (report.process_id, upto)));
            }
            self.unsaved.entries.push(delivery);
        }
    }

    /// Lets the workers forget what is committed. Entries that could not be committed yet stay on the stream and in
    /// their workers.
    pub(super) fn settle(&mut self) {
        let all_saved = self.unsaved.transitions.is_empty() && self.tasks.is_settled();
        if all_saved && !self.unsaved.entries.is_empty() {
            let (entries, settled) = (&mut self.unsaved.entries, &mut self.unsaved.settled);
            self.context.messages.command_sender.settle(std::mem::take(entries), std::mem::take(settled));
        }
    }

    fn take_report(&mut self, report: &Report, turn: &mut Turn) {
        let (worker, pool) = (report.process_id, &self.model.pool);
        match &report.body {
            ReportBody::Ready => self.worker_ready(worker, turn),
            ReportBody::Started { agent_id, epoch, pid } => {
                let start = AgentStart { pid: *pid, at: report.at, by: report.seq };
                if let Some(news) = self.model.agents.started(*agent_id, *epoch, start, pool, turn) {
                    self.start_went(*agent_id, news, turn);
                }
            }
            ReportBody::Ended { agent_id, epoch, ready, ending } => {
                let news = self.model.agents.ended(*agent_id, *epoch, *ready, ending.clone(), pool, turn);
                if let Some(news) = news {
                    self.start_went(*agent_id, news, turn);
                }
            }
            ReportBody::Refused { agent_id, epoch, refusal } => {
                tracing::warn!(process.id = %worker, agent.id = %agent_id, epoch = epoch.0, %refusal, "a worker refused a command");
                self.model.workers.refused(worker, *refusal, turn);
                if !turn.is_outranked {
                    self.model.agents.refused(*agent_id, *epoch, *refusal, turn);
                }
            }
            // One that comes again is from before whatever the agent has done since.
            ReportBody::IdleTooLong { .. } if self.model.workers.was_taken(report) => {}
            ReportBody::IdleTooLong { agent_id, epoch } => {
                self.model.agents.idle_too_long(*agent_id, *epoch, pool, turn);
            }
            ReportBody::Probed { command_id } => self.context.messages.probes.answer(*command_id),
            ReportBody::Tasks { begun, over } => self.tasks.hear(begun, over, report.seq),
        }
    }

    fn worker_ready(&mut self, id: ProcessId, turn: &mut Turn) {
        if self.model.workers.ready(id, &self.model.pool, turn) {
            self.troubles.end(StartTrouble::Worker);
        }
    }

    /// The start of an agent's program worked or failed.
    fn start_went(&mut self, id: AgentId, news: StartNews, turn: &Turn) {
        if let Some(first) = news.first {
            self.tasks.agent_tried(first == FirstStart::Worked, PoolNow::of(&self.model, turn));
        }
        match (news.went_well, news.failure) {
            (true, _) => {
                self.note_activity(id, None);
                self.troubles.program_started(news.ordered);
            }
            (false, Some(words)) => self.troubles.program_failed(news.ordered, words),
            (false, None) => {}
        }
    }

    /// What the registry says of the workers.
    pub(super) fn hear(&mut self, news: HeartbeatNews, turn: &mut Turn) {
        if news.rebuild {
            self.model.workers.forget_mirror();
        }
        for heartbeat in &news.heard {
            self.hear_worker(heartbeat, turn);
        }
        self.model.workers.judge(news.watch, news.at, &self.model.pool, turn);
    }

    fn hear_worker(&mut self, heartbeat: &WorkerHeartbeat, turn: &mut Turn) {
        let id = heartbeat.heard.process_id;
        let Some(beat) = self.model.workers.hear(heartbeat, turn) else { return };
        self.worker_ready(id, turn);
        if beat.status == WorkerState::Draining {
            self.model.workers.drains(id, turn.now);
        }
        self.compare(id, beat, turn);
    }

    /// Compares a worker's picture with what it was given.
    fn compare(&mut self, id: ProcessId, beat: &Heartbeat, turn: &mut Turn) {
        let mut unwanted = Vec::new();
        for picture in &beat.agents {
            match self.model.agents.compare(id, picture, beat.reported, &self.model.pool, turn) {
                Compared::Wanted(activity, news) => {
                    if let Some(news) = news {
                        self.start_went(picture.agent_id, news, turn);
                    }
                    if activity.is_some() {
                        self.note_activity(picture.agent_id, activity);
                    }
                }
                Compared::Earlier => {}
                Compared::Unwanted => unwanted.push((picture.agent_id, picture.epoch)),
            }
        }
        // A picture that is older than a report may show what has ended since.
        let taken = self.model.workers.get(&id).map_or(0, |worker| worker.reports.taken());
        let is_outdated = taken > beat.reported;
        if !is_outdated {
            self.model.agents.stop_unwanted(id, unwanted, turn);
        }
        let mut effects = Effects::default();
        self.tasks.compare(id, beat, is_outdated, PoolNow::of(&self.model, turn), &mut effects);
        self.carry_out_effects(effects);
        if let Some(worker) = self.model.workers.get(&id).filter(|_| taken >= beat.reported) {
            self.model.agents.ask_for_missing(&worker.held, beat, turn);
        }
    }

    /// Notes what an agent does, with what its worker says of it. Whether it has work is known here before its worker says so:
    /// it has what it was given, and is done with what has ended, at once.
    fn note_activity(&mut self, id: AgentId, seen: Option<Activity>) {
        self.model.note_activity(id, seen, self.tasks.is_busy(id));
    }

    pub(super) fn launched(&mut self, id: ProcessId, result: Result<Launched, LaunchError>, turn: &mut Turn) {
        match result {
            Ok(launched) => self.model.workers.take_over(id, launched, &self.model.pool, turn),
            Err(error) => {
                self.model.workers.end(id, WorkerEnd::Lost, turn);
                self.worker_died(id, WorkerEnded::NotStarted(error.to_string()), turn);
            }
        }
    }

    /// A worker and all that it owned is proven dead: its agents leave their slots, and are placed anew by the same
    /// turn.
    pub(super) fn worker_died(&mut self, id: ProcessId, how: WorkerEnded, turn: &mut Turn) {
        let (workers, agents, pool) = (&mut self.model.workers, &mut self.model.agents, &self.model.pool);
        let Some(dead) = workers.dead(id, &how, pool, turn.now) else { return };
        let decided = turn.transitions.len();
        for agent in &dead.held {
            if let Some(place) = agents.get(*agent).and_then(|agent| agent.status.assignment()) {
                agents.lost(*agent, place.epoch, dead.cause.clone(), pool, turn);
            }
        }
        let runs_again = |step: &&Transition| matches!(step, Transition::Leave { then, .. } if then.runs_again());
        let again = turn.transitions.iter().skip(decided).filter(runs_again).count();
        let follows = AgentFollowUps { agents: dead.held.len(), again, is_stopping: pool.is_stopping };
        if let Some(ending) = workers.died(id, (&dead, how), &follows, pool, turn) {
            let words = format!("a worker came to nothing, and another one is tried: {ending}");
            self.troubles.begin(StartTrouble::Worker, words);
        }
    }

    /// Agents that hold a slot in a worker that is no more leave it. So it is after a commit that seemed to fail.
    pub(super) fn release_homeless(&mut self, turn: &mut Turn) {
        for (id, epoch) in self.model.homeless() {
            self.model.agents.lost(id, epoch, Cause::WorkerLost, &self.model.pool, turn);
        }
    }
}
