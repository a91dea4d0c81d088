//! What workers say of agents: each word is compared with what is wanted.
//!
//! Reports come twice, late and from epochs that are over. Whatever does not fit the open assignment changes nothing.

use std::time::Instant;

use muster_domain::time::later;
use muster_domain::{
    Activity, AgentEvent, AgentId, AgentSnapshot, Cause, CommandRefusal, Ending, Epoch, EventKind, FinalState,
    ObservedState, ProcessId, StopReason, Timestamp,
};
use muster_policy::restart;

use super::super::transitions::{AfterLeaving, Transition};
use super::{Pool, PoolAgents, Turn};
use crate::prometheus::families;

/// That an agent runs, as its worker says.
pub(in crate::keeper) struct AgentStart {
    pub(in crate::keeper) pid: Option<u32>,
    pub(in crate::keeper) at: Timestamp,
    /// See [`LatestRun::started_by`](super::agent::AgentRun).
    pub(in crate::keeper) by: u64,
}

/// How the start of a program went, for the parts that judge by it whether others are to be started.
pub(in crate::keeper) struct StartNews {
    /// How it went if it was the first start of this agent.
    pub(in crate::keeper) first: Option<FirstStart>,
    /// When it was ordered, as far as this supervisor did so.
    pub(in crate::keeper) ordered: Option<Instant>,
    /// Whether it runs.
    pub(in crate::keeper) went_well: bool,
    /// Why it does not, where that is a fault of the program.
    pub(in crate::keeper) failure: Option<String>,
}

/// How the first start of an agent went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::keeper) enum FirstStart {
    Worked,
    Failed,
}

/// What a worker's picture says of an agent, beside what is wanted.
pub(in crate::keeper) enum Compared {
    /// It is the wanted one, and does this where it runs.
    Wanted(Option<Activity>, Option<StartNews>),
    /// It is of an earlier run, which the worker ends by itself.
    Earlier,
    /// Nobody wants it there.
    Unwanted,
}

impl PoolAgents {
    /// The worker of the open assignment says that the agent runs. Also what a heartbeat's picture says.
    pub(in crate::keeper) fn started(
        &mut self,
        id: AgentId,
        epoch: Epoch,
        start: AgentStart,
        pool: &Pool,
        turn: &mut Turn,
    ) -> Option<StartNews> {
        let agent = self.get_mut(id).filter(|agent| agent.status.is_placed_as(epoch))?;
        agent.run.pid = start.pid;
        agent.run.started_by = start.by;
        let ordered = agent.run.ordered;
        let waited = agent.run.command.as_ref().map(|(_, sent)| turn.now.saturating_duration_since(sent.at));
        self.turn(id, &AgentEvent::Started(epoch, start.at));
        turn.notes.push(self.event(pool, EventKind::AgentStarted, id, start.at, String::new()));
        turn.touched.push(id);
        if let Some(waited) = waited {
            metrics::histogram!(families::AGENT_START.name, "pool" => pool.label()).record(waited);
        }
        let first = (epoch == Epoch(1)).then_some(FirstStart::Worked);
        if first.is_some() {
            self.deps.counters.spawn_succeeded();
        }
        Some(StartNews { first, ordered, went_well: true, failure: None })
    }

    /// A worker says that an agent's tree is proven dead.
    pub(in crate::keeper) fn ended(
        &mut self,
        id: AgentId,
        epoch: Epoch,
        ready: bool,
        ending: Ending,
        pool: &Pool,
        turn: &mut Turn,
    ) -> Option<StartNews> {
        let agent = self.holder(id, epoch)?;
        agent.run.leaving = true;
        let ordered = agent.run.ordered;
        let failed = (!ready && epoch == Epoch(1)).then_some(FirstStart::Failed);
        let then = match agent.status.after_stop() {
            Some(then) => AfterLeaving::from_order(then),
            // The supervisor stops: whatever ended was to end with it, and runs again with the next one.
            None if pool.is_stopping => AfterLeaving::RunAgain { not_before: None },
            None => {
                let policy = &pool.spec.config.restart;
                let verdict = restart::judge(policy, &ending, failed.is_some(), &mut agent.history, turn.now);
                match (failed, AfterLeaving::from_verdict(verdict, turn.now)) {
                    (Some(_), AfterLeaving::End(FinalState::Failed(_))) => {
                        AfterLeaving::End(FinalState::Failed(StopReason::StartFailed))
                    }
                    (_, then) => then,
                }
            }
        };
        if failed.is_some() {
            self.deps.counters.spawn_failed();
        }
        let is_fault = !ready && !ending.cause.is_of_muster();
        let failure = is_fault.then(|| words_of_failure(id, epoch, &ending, then.runs_again(), pool));
        turn.transitions.push(Transition::Leave { agent: id, epoch, ending, then });
        (!ready).then_some(StartNews { first: failed, ordered, went_well: false, failure })
    }

    /// A worker's death ends the runs of all its agents.
    pub(in crate::keeper) fn lost(&mut self, id: AgentId, epoch: Epoch, cause: Cause, pool: &Pool, turn: &mut Turn) {
        let ending = Ending::new(cause, turn.at);
        let Some(agent) = self.get_mut(id) else { return };
        // One whose order never went out has no part in it: that does not count against it.
        let untold = agent.status.is_placed_as(epoch) && agent.run.command.is_none();
        if untold && !agent.run.leaving {
            agent.run.leaving = true;
            let then = AfterLeaving::RunAgain { not_before: None };
            return turn.transitions.push(Transition::Leave { agent: id, epoch, ending, then });
        }
        // It was ready, as far as is known: so this is no news of a start.
        drop(self.ended(id, epoch, true, ending, pool, turn));
    }

    /// A worker refused a command about an agent. Whether the worker takes commands at all is another part's business.
    pub(in crate::keeper) fn refused(&mut self, id: AgentId, epoch: Epoch, refusal: CommandRefusal, turn: &mut Turn) {
        let resend = self.deps.resend;
        let Some(agent) = self.holder(id, epoch) else { return };
        agent.run.leaving = true;
        let then = match agent.status.after_stop() {
            Some(then) => AfterLeaving::from_order(then),
            // A wait keeps a full worker from being asked over and over.
            None => AfterLeaving::RunAgain { not_before: Some(later(turn.now, resend)) },
        };
        let ending = Ending::new(Cause::NotStarted { error: format!("its worker refused it: {refusal}") }, turn.at);
        turn.transitions.push(Transition::Leave { agent: id, epoch, ending, then });
    }

    /// Idleness is reported by the worker and decided here, after whatever was assigned since.
    pub(in crate::keeper) fn idle_too_long(&self, id: AgentId, epoch: Epoch, pool: &Pool, turn: &mut Turn) {
        let is_idle = self.get(id).is_some_and(|agent| agent.status.idles_at().is_some_and(|at| at.epoch == epoch));
        if is_idle && !pool.is_stopping {
            turn.transitions.push(Transition::Stop {
                agent: id,
                reason: StopReason::Idle,
                graceful: true,
                waiter: None,
            });
        }
    }

    /// What a worker's picture says of an agent. It may be older than what was decided since; so it moves nothing but "placed" to
    /// "running", and everything else is asked of the worker by idempotent commands. `by` is the worker's latest report then.
    pub(in crate::keeper) fn compare(
        &mut self,
        worker: ProcessId,
        picture: &AgentSnapshot,
        by: u64,
        pool: &Pool,
        turn: &mut Turn,
    ) -> Compared {
        let id = picture.agent_id;
        let wanted = self.get(id).and_then(|agent| agent.status.assignment()).filter(|at| at.process_id == worker);
        match wanted {
            Some(place) if place.epoch == picture.epoch => {}
            Some(place) if place.epoch > picture.epoch => return Compared::Earlier,
            _ => return Compared::Unwanted,
        }
        let (activity, news) = match picture.state {
            ObservedState::Running(activity) => {
                let start = AgentStart { pid: picture.pid, at: picture.updated_at, by };
                (Some(activity), self.started(id, picture.epoch, start, pool, turn))
            }
            _ => (None, None),
        };
        if let Some(agent) = self.get_mut(id) {
            agent.run.remark.clone_from(&picture.reason);
            // A picture from before the start has none, and may come after the report of it.
            agent.run.pid = picture.pid.or(agent.run.pid);
        }
        Compared::Wanted(activity, news)
    }

    /// The agent, if this is its open run and nothing was decided yet about its end.
    fn holder(&mut self, id: AgentId, epoch: Epoch) -> Option<&mut super::PoolAgent> {
        let holds = |agent: &super::PoolAgent| agent.status.assignment().is_some_and(|place| place.epoch == epoch);
        self.get_mut(id).filter(|agent| !agent.run.leaving && holds(agent))
    }
}

/// Said where it is noticed: a program that can't start is a person's business, and its agent may have nobody who waits.
fn words_of_failure(id: AgentId, epoch: Epoch, ending: &Ending, again: bool, pool: &Pool) -> String {
    let (name, cause) = (&pool.spec.pool_name, &ending.cause);
    tracing::warn!(agent.id = %id, epoch = epoch.0, pool.name = %name, again, "an agent did not start: it {cause}");
    let follows = if again { "it is tried again" } else { "it is not tried again" };
    format!("agent {id} did not start, and {follows}: it {cause}")
}
