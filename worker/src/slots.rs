//! The slots: what this worker holds, and what each command and each end means for it.
//!
//! Nothing here acts. Every method changes the table and answers with [`Step`]s, which the loop carries out. The races
//! of the messages are decided here, so they can be tested in both orders:
//!
//! - A command may come twice, or again after its work is done: each epoch is started once, and a repeated command is
//!   answered with what became of it.
//! - A terminate may overtake its spawn: the epoch is remembered as ended, and the spawn that comes late starts nothing.
//! - A higher epoch may come while an older one runs here: the old tree is killed, and the new one starts when it is
//!   proven dead, so there are never two.
//! - A refusal is final for its epoch: the master may have placed the agent elsewhere because of it.

use std::time::Duration;

use muster_domain::{
    AgentId, AgentSnapshot, Cause, CommandRefusal, Ending, Epoch, Fence, ReportBody, SpawnOrder, Timestamp,
};
use tokio::time::Instant;

use crate::held_agent::{AfterDeath, AgentPhase, HeldAgent};
use crate::held_agents::HeldAgents;
use crate::memory::{EpochMemory, EpochOutcome};
use crate::tasks::AgentWork;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SlotStep {
    /// Start this agent; its slot is taken.
    Start(SpawnOrder),
    /// Stop the agent that is held.
    Stop(AgentId, Epoch, StopMode),
    /// Report this.
    Say(ReportBody),
    /// Report this again, or for the first time where its report is not kept any more.
    Repeat(ReportBody),
}

/// How an agent is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopMode {
    /// Asked, and killed at its deadline.
    Ask,
    /// Killed.
    Kill,
}

impl StopMode {
    pub(crate) const fn graceful(graceful: bool) -> Self {
        if graceful { Self::Ask } else { Self::Kill }
    }
}

/// The table.
pub(crate) struct Slots {
    capacity: u32,
    fence: Fence,
    open: bool,
    held: HeldAgents,
    memory: EpochMemory,
}

impl Slots {
    pub(crate) fn new(capacity: u32, fence: Fence) -> Self {
        Self { capacity, fence, open: true, held: HeldAgents::default(), memory: EpochMemory::default() }
    }

    /// The highest fence seen.
    pub(crate) const fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether new agents are taken.
    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    /// How many agents are held.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether a command of this fence is to be obeyed. Remembers the highest.
    pub(crate) fn admits(&mut self, fence: Fence) -> bool {
        self.fence = self.fence.max(fence);
        fence == self.fence
    }

    /// A spawn command came.
    pub(crate) fn on_spawn(
        &mut self,
        order: SpawnOrder,
        fence: Fence,
        now: Instant,
        at: Timestamp,
    ) -> Option<SlotStep> {
        let (agent_id, epoch) = (order.agent.agent_id, order.epoch);
        // Before the fence is looked at, since an answer changes nothing, and "refused" would be untrue of an epoch
        // that runs here.
        if let Some(known) = self.answer(agent_id, epoch) {
            return known.map(SlotStep::Repeat);
        }
        let obeyed = self.admits(fence);
        let seen = self.memory.get(&agent_id).map_or(Epoch(0), |record| record.epoch);
        if obeyed && epoch < seen {
            return Some(SlotStep::Say(refused(agent_id, epoch, CommandRefusal::StaleEpoch { seen })));
        }
        let refusal = if !obeyed {
            Some(CommandRefusal::StaleFence { seen: self.fence })
        } else if !self.open {
            Some(CommandRefusal::Draining)
        } else if self.held.get(&agent_id).is_none() && self.is_full() {
            Some(CommandRefusal::Full { capacity: self.capacity })
        } else {
            None
        };
        let outcome = refusal.map_or(EpochOutcome::Held, EpochOutcome::Refused);
        self.memory.note(agent_id, epoch, outcome);
        if obeyed && self.held.get(&agent_id).is_some() {
            // An older epoch runs here that the leader gave up: it must end, whatever becomes of the new one.
            let then = match refusal {
                None => AfterDeath::Start(order),
                Some(refusal) => AfterDeath::Say(refused(agent_id, epoch, refusal)),
            };
            return self.held.change(agent_id, |held| held.replace(then, at)).flatten();
        }
        if let Some(refusal) = refusal {
            return Some(SlotStep::Say(refused(agent_id, epoch, refusal)));
        }
        self.held.insert(HeldAgent::starting(order.clone(), now, at));
        Some(SlotStep::Start(order))
    }

    /// A terminate command came.
    ///
    /// One of a leader that was replaced is not even refused: the current leader would have to take the refusal of a
    /// command that it never sent for news of the agent.
    pub(crate) fn on_terminate(
        &mut self,
        agent_id: AgentId,
        epoch: Epoch,
        how: StopMode,
        fence: Fence,
        at: Timestamp,
    ) -> Option<SlotStep> {
        if !self.admits(fence) {
            return None;
        }
        let never_ran = Ending::new(Cause::Stopped, at);
        let Some(held) = self.held.get(&agent_id) else {
            return Some(SlotStep::Repeat(self.end_unheld(agent_id, epoch, never_ran)));
        };
        if held.epoch() == epoch {
            return self.held.change(agent_id, |held| held.stop(how, at)).flatten();
        }
        if epoch < held.epoch() || held.next_epoch().is_some_and(|next| epoch < next) {
            // Over long ago, and what came after it is not touched.
            return Some(SlotStep::Repeat(ended(agent_id, epoch, false, never_ran)));
        }
        // It waits for the end of the older one, or is not known yet: it will never start. "Ended" is said when the
        // older tree is proven dead, since whoever asked wants the agent gone.
        self.memory.note(agent_id, epoch, EpochOutcome::Ended { ready: false, ending: never_ran.clone() });
        let then = AfterDeath::Say(ended(agent_id, epoch, false, never_ran));
        self.held.change(agent_id, |held| held.replace(then, at)).flatten()
    }

    /// The agent runs.
    pub(crate) fn on_started(
        &mut self,
        agent_id: AgentId,
        epoch: Epoch,
        pid: Option<u32>,
        now: Instant,
        at: Timestamp,
    ) -> Option<SlotStep> {
        self.held.get(&agent_id).filter(|held| held.epoch() == epoch)?;
        let is_news = self.held.change(agent_id, |held| held.started(pid, now, at))?;
        is_news.then_some(SlotStep::Say(ReportBody::Started { agent_id, epoch, pid }))
    }

    /// The agent's tree is proven dead.
    pub(crate) fn on_ended(&mut self, agent_id: AgentId, epoch: Epoch, ending: Ending, now: Instant) -> Vec<SlotStep> {
        if self.held.get(&agent_id).is_none_or(|held| held.epoch() != epoch) {
            return Vec::new();
        }
        let Some(held) = self.held.remove(agent_id) else { return Vec::new() };
        let ready = held.ready();
        let at = ending.at;
        self.memory.note(agent_id, epoch, EpochOutcome::Ended { ready, ending: ending.clone() });
        let mut steps = vec![SlotStep::Say(ended(agent_id, epoch, ready, ending))];
        match held.into_then() {
            None => {}
            Some(AfterDeath::Say(body)) => steps.push(SlotStep::Say(body)),
            Some(AfterDeath::Start(order)) => {
                self.held.insert(HeldAgent::starting(order.clone(), now, at));
                steps.push(SlotStep::Start(order));
            }
        }
        steps
    }

    /// Says why an agent that is being stopped is not gone yet.
    pub(crate) fn on_stuck(&mut self, agent_id: AgentId, epoch: Epoch, reason: Option<String>, at: Timestamp) {
        if self.held.get(&agent_id).is_some_and(|held| held.epoch() == epoch) {
            self.held.change(agent_id, |held| held.explain(reason, at));
        }
    }

    /// Takes no more agents. What waited for an older epoch's end is refused when that has come.
    pub(crate) fn close(&mut self) {
        self.open = false;
        for (agent_id, epoch) in self.held.change_all(HeldAgent::give_up_next) {
            self.memory.note(agent_id, epoch, EpochOutcome::Refused(CommandRefusal::Draining));
        }
    }

    /// Stops everything that is held.
    pub(crate) fn stop_all(&mut self, how: StopMode, at: Timestamp) -> Vec<SlotStep> {
        self.held.change_all(|held| held.stop(how, at))
    }

    /// A report with this number is about this agent and says the last word on this epoch.
    pub(crate) fn reported(&mut self, seq: u64, agent_id: AgentId, epoch: Epoch) {
        self.memory.reported(seq, agent_id, epoch);
    }

    /// Reports up to this number are settled.
    pub(crate) fn settle(&mut self, up_to: u64) {
        self.memory.settle(up_to);
    }

    /// The earliest moment at which an agent may have been idle for too long.
    pub(crate) fn next_idle(&self) -> Option<Instant> {
        self.held.next_idle()
    }

    /// Reports agents that are idle for too long, each once per its `max_idle_time`. `last_active` knows of activity
    /// that did not come through the loop.
    pub(crate) fn idle(&mut self, now: Instant, last_active: impl Fn(&AgentId) -> Option<Instant>) -> Vec<SlotStep> {
        let due = self.held.idle_by(now);
        let mut report = |agent_id| {
            let active = last_active(&agent_id);
            let (is_idle, epoch) =
                self.held.change(agent_id, |held| (held.is_idle_since(active, now), held.epoch()))?;
            is_idle.then_some(SlotStep::Repeat(ReportBody::IdleTooLong { agent_id, epoch }))
        };
        due.into_iter().filter_map(&mut report).collect()
    }

    /// Why this run of an agent is given no task; `None` where it can be.
    pub(crate) fn work_refusal(&self, agent_id: &AgentId, epoch: Epoch) -> Option<String> {
        if !self.open {
            return Some("its worker is draining".to_owned());
        }
        match self.held.get(agent_id).filter(|held| held.epoch() == epoch).map(HeldAgent::phase) {
            None => Some(format!("its worker does not have run {epoch} of its agent")),
            Some(AgentPhase::Starting) => Some("its agent is starting".to_owned()),
            Some(AgentPhase::Stopping { .. }) => Some("its agent is being stopped".to_owned()),
            Some(AgentPhase::Running { .. }) => None,
        }
    }

    /// How old a picture of these agents may be: the shortest of their `heartbeat_interval`s.
    pub(crate) fn freshness(&self) -> Option<Duration> {
        self.held.values().map(HeldAgent::heartbeat_interval).min()
    }

    /// The picture of every agent that is held; `work` says what a run of one has to do.
    pub(crate) fn pictures(&self, work: impl Fn(AgentId, Epoch) -> AgentWork) -> Vec<AgentSnapshot> {
        self.held.values().map(|held| held.picture(work(held.agent_id(), held.epoch()))).collect()
    }

    /// The picture of one agent, where it is held.
    pub(crate) fn picture(
        &self,
        agent_id: &AgentId,
        work: impl Fn(AgentId, Epoch) -> AgentWork,
    ) -> Option<AgentSnapshot> {
        self.held.get(agent_id).map(|held| held.picture(work(held.agent_id(), held.epoch())))
    }

    /// Every tree that is not proven dead takes a slot, one that is being stopped too.
    fn is_full(&self) -> bool {
        self.held.len() >= usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }

    /// What became of an epoch that is known: `Some(None)` where there is nothing to say yet.
    fn answer(&self, agent_id: AgentId, epoch: Epoch) -> Option<Option<ReportBody>> {
        if let Some(held) = self.held.get(&agent_id).filter(|held| held.epoch() == epoch) {
            let started = |pid| ReportBody::Started { agent_id, epoch, pid };
            return Some(match held.phase() {
                AgentPhase::Running { pid } => Some(started(*pid)),
                AgentPhase::Starting | AgentPhase::Stopping { .. } => None,
            });
        }
        let waits = self.held.get(&agent_id).and_then(HeldAgent::next_epoch) == Some(epoch);
        let record = self.memory.get(&agent_id).filter(|record| record.epoch == epoch)?;
        Some(match &record.outcome {
            _ if waits => None,
            EpochOutcome::Held => None,
            EpochOutcome::Ended { ready, ending } => Some(ended(agent_id, epoch, *ready, ending.clone())),
            EpochOutcome::Refused(refusal) => Some(refused(agent_id, epoch, *refusal)),
        })
    }

    /// The answer to a terminate of an epoch that is not held, which from now on never runs here.
    fn end_unheld(&mut self, agent_id: AgentId, epoch: Epoch, never_ran: Ending) -> ReportBody {
        if let Some(record) = self.memory.get(&agent_id).filter(|record| record.epoch == epoch)
            && let EpochOutcome::Ended { ready, ending } = &record.outcome
        {
            return ended(agent_id, epoch, *ready, ending.clone());
        }
        self.memory.note(agent_id, epoch, EpochOutcome::Ended { ready: false, ending: never_ran.clone() });
        ended(agent_id, epoch, false, never_ran)
    }
}

fn refused(agent_id: AgentId, epoch: Epoch, refusal: CommandRefusal) -> ReportBody {
    ReportBody::Refused { agent_id, epoch, refusal }
}

fn ended(agent_id: AgentId, epoch: Epoch, ready: bool, ending: Ending) -> ReportBody {
    ReportBody::Ended { agent_id, epoch, ready, ending }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
