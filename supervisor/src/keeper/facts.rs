//! What workers say, and what becomes of them: each fact is taken by every part that it concerns, in this order.
//!
//! Reports are settled with the commit of what follows from them.

use muster_domain::worker::WorkerEnd;
use muster_domain::{Activity, AgentId, Beat, ProcessId, Report, ReportBody, WorkerState};
use muster_registry::ReportPost;

use super::agents::{Compared, FirstStart, Start, StartNews};
use super::mailbox::{HeardNews, Voice};
use super::moves::Move;
use super::tasks::Effects;
use super::troubles::Trouble;
use super::workers::{Ended, Follows};
use super::{Keeper, Round};
use crate::launch::{LaunchError, Launched};

impl Keeper {
    pub(super) fn take_reports(&mut self, posts: Vec<ReportPost>, round: &mut Round) {
        for post in posts {
            if let Some(report) = &post.report {
                self.take_report(report, round);
                let settled = self.model.workers.settle(report);
                self.unsaved.settled.extend(settled.map(|upto| (report.process_id, upto)));
            }
            self.unsaved.entries.push(post);
        }
    }

    /// Lets the workers forget what is committed. Entries that could not be committed yet stay on the stream and in
    /// their workers.
    pub(super) fn settle(&mut self) {
        let all_saved = self.unsaved.moves.is_empty() && self.tasks.is_settled();
        if all_saved && !self.unsaved.entries.is_empty() {
            let (entries, settled) = (&mut self.unsaved.entries, &mut self.unsaved.settled);
            self.context.messages.postman.settle(std::mem::take(entries), std::mem::take(settled));
        }
    }

    fn take_report(&mut self, report: &Report, round: &mut Round) {
        let (worker, pool) = (report.process_id, &self.model.pool);
        match &report.body {
            ReportBody::Ready => self.worker_ready(worker, round),
            ReportBody::Started { agent_id, epoch, pid } => {
                let start = Start { pid: *pid, at: report.at, by: report.seq };
                if let Some(news) = self.model.agents.started(*agent_id, *epoch, start, pool, round) {
                    self.start_went(*agent_id, news, round);
                }
            }
            ReportBody::Ended { agent_id, epoch, ready, ending } => {
                let news = self.model.agents.ended(*agent_id, *epoch, *ready, ending.clone(), pool, round);
                if let Some(news) = news {
                    self.start_went(*agent_id, news, round);
                }
            }
            ReportBody::Refused { agent_id, epoch, refusal } => {
                tracing::warn!(process.id = %worker, agent.id = %agent_id, epoch = epoch.0, %refusal, "a worker refused a command");
                self.model.workers.refused(worker, *refusal, round);
                if !round.is_outranked {
                    self.model.agents.refused(*agent_id, *epoch, *refusal, round);
                }
            }
            // One that comes again is from before whatever the agent has done since.
            ReportBody::IdleTooLong { .. } if self.model.workers.was_taken(report) => {}
            ReportBody::IdleTooLong { agent_id, epoch } => {
                self.model.agents.idle_too_long(*agent_id, *epoch, pool, round);
            }
            ReportBody::Probed { command_id } => self.context.messages.probes.answer(*command_id),
            ReportBody::Tasks { begun, over } => self.tasks.hear(begun, over, report.seq),
        }
    }

    fn worker_ready(&mut self, id: ProcessId, round: &mut Round) {
        if self.model.workers.ready(id, &self.model.pool, round) {
            self.troubles.end(Trouble::Worker);
        }
    }

    /// The start of an agent's program worked or failed.
    fn start_went(&mut self, id: AgentId, news: StartNews, round: &Round) {
        if let Some(first) = news.first {
            self.tasks.agent_tried(first == FirstStart::Worked, self.model.now(round));
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
    pub(super) fn hear(&mut self, news: HeardNews, round: &mut Round) {
        if news.rebuild {
            self.model.workers.forget_mirror();
        }
        for voice in &news.heard {
            self.hear_worker(voice, round);
        }
        self.model.workers.judge(news.hearing, news.at, &self.model.pool, round);
    }

    fn hear_worker(&mut self, voice: &Voice, round: &mut Round) {
        let id = voice.heard.process_id;
        let Some(beat) = self.model.workers.hear(voice, round) else { return };
        self.worker_ready(id, round);
        if beat.status == WorkerState::Draining {
            self.model.workers.drains(id, round.now);
        }
        self.compare(id, beat, round);
    }

    /// Compares a worker's picture with what it was given.
    fn compare(&mut self, id: ProcessId, beat: &Beat, round: &mut Round) {
        let mut unwanted = Vec::new();
        for picture in &beat.agents {
            match self.model.agents.compare(id, picture, beat.reported, &self.model.pool, round) {
                Compared::Wanted(activity, news) => {
                    if let Some(news) = news {
                        self.start_went(picture.agent_id, news, round);
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
            self.model.agents.stop_unwanted(id, unwanted, round);
        }
        let mut effects = Effects::default();
        self.tasks.compare(id, beat, is_outdated, self.model.now(round), &mut effects);
        self.carry_out_effects(effects);
        if let Some(worker) = self.model.workers.get(&id).filter(|_| taken >= beat.reported) {
            self.model.agents.ask_for_missing(&worker.held, beat, round);
        }
    }

    /// Notes what an agent does, with what its worker says of it. Whether it has work is known here before its worker says so:
    /// it has what it was given, and is done with what has ended, at once.
    fn note_activity(&mut self, id: AgentId, seen: Option<Activity>) {
        self.model.note_activity(id, seen, self.tasks.is_busy(id));
    }

    pub(super) fn launched(&mut self, id: ProcessId, result: Result<Launched, LaunchError>, round: &mut Round) {
        match result {
            Ok(launched) => self.model.workers.take_over(id, launched, &self.model.pool, round),
            Err(error) => {
                self.model.workers.end(id, WorkerEnd::Lost, round);
                self.worker_died(id, Ended::NotStarted(error.to_string()), round);
            }
        }
    }

    /// A worker and all that it owned is proven dead: its agents leave their slots, and are placed anew by the same
    /// turn.
    pub(super) fn worker_died(&mut self, id: ProcessId, how: Ended, round: &mut Round) {
        let (workers, agents, pool) = (&mut self.model.workers, &mut self.model.agents, &self.model.pool);
        let Some(dead) = workers.dead(id, pool, round.now) else { return };
        let decided = round.moves.len();
        for agent in &dead.held {
            if let Some(place) = agents.get(*agent).and_then(|agent| agent.status.assignment()) {
                agents.lost(*agent, place.epoch, pool, round);
            }
        }
        let runs_again = |step: &&Move| matches!(step, Move::Leave { then, .. } if then.runs_again());
        let again = round.moves.iter().skip(decided).filter(runs_again).count();
        let follows = Follows { agents: dead.held.len(), again, is_stopping: pool.is_stopping };
        if let Some(ending) = workers.died(id, (&dead, how), &follows, pool, round) {
            let words = format!("a worker came to nothing, and another one is tried: {ending}");
            self.troubles.begin(Trouble::Worker, words);
        }
    }

    /// Agents that hold a slot in a worker that is no more leave it. So it is after a commit that seemed to fail.
    pub(super) fn release_homeless(&mut self, round: &mut Round) {
        for (id, epoch) in self.model.homeless() {
            self.model.agents.lost(id, epoch, &self.model.pool, round);
        }
    }
}
