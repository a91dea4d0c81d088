//! What a worker remembers of agents: the highest epoch that it has seen of each, and what became of it. This is what
//! makes a re-sent, doubled or late command harmless.

use std::collections::{HashMap, VecDeque};

use muster_domain::{AgentId, CommandRefusal, Ending, Epoch};

/// Settled endings and refusals that are remembered beyond their settlement.
const KEPT: usize = 1024;

/// The highest epoch seen of an agent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EpochRecord {
    pub(crate) epoch: Epoch,
    pub(crate) outcome: EpochOutcome,
}

/// What became of an epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EpochOutcome {
    /// It holds a slot, or waits for the end of an older epoch of the same agent.
    Held,
    /// Its tree is proven dead, or there never was one and there never will be.
    Ended { ready: bool, ending: Ending },
    /// It was not carried out, and never will be.
    Refused(CommandRefusal),
}

/// The records of all agents.
///
/// It is bounded: a record whose agent is gone is dropped after its report was settled and [`KEPT`] later ones were
/// too. That is safe because a settled report means that the leader has committed the end of that epoch, so no leader
/// of this or a later fence sends it again, and a lower fence is refused for itself. What is left is a command that was
/// on its way at that moment, and the next thousand endings of this worker come after it.
#[derive(Debug, Default)]
pub(crate) struct EpochMemory {
    records: HashMap<AgentId, EpochRecord>,
    /// Reports of final outcomes by number, not settled yet.
    reported: VecDeque<(u64, AgentId, Epoch)>,
    /// Final outcomes whose report is settled, oldest first.
    settled: VecDeque<(AgentId, Epoch)>,
}

impl EpochMemory {
    pub(crate) fn get(&self, agent_id: &AgentId) -> Option<&EpochRecord> {
        self.records.get(agent_id)
    }

    /// Remembers what became of an epoch, unless a higher one is known.
    pub(crate) fn note(&mut self, agent_id: AgentId, epoch: Epoch, outcome: EpochOutcome) {
        if self.records.get(&agent_id).is_none_or(|record| record.epoch <= epoch) {
            self.records.insert(agent_id, EpochRecord { epoch, outcome });
        }
    }

    /// A report with this number tells what became of this epoch. Numbers come in rising order.
    pub(crate) fn reported(&mut self, seq: u64, agent_id: AgentId, epoch: Epoch) {
        self.reported.push_back((seq, agent_id, epoch));
    }

    /// Reports up to this number are settled.
    pub(crate) fn settle(&mut self, up_to: u64) {
        while let Some((_, agent_id, epoch)) = self.reported.pop_front_if(|(seq, ..)| *seq <= up_to) {
            // The master has the last output; a repeated answer does without it.
            if let Some(EpochRecord { epoch: known, outcome: EpochOutcome::Ended { ending, .. } }) =
                self.records.get_mut(&agent_id)
                && *known == epoch
            {
                ending.last_output = String::new();
            }
            self.settled.push_back((agent_id, epoch));
        }
        while self.settled.len() > KEPT {
            let Some((agent_id, epoch)) = self.settled.pop_front() else { break };
            let gone = |record: &EpochRecord| record.epoch == epoch && record.outcome != EpochOutcome::Held;
            if self.records.get(&agent_id).is_some_and(gone) {
                self.records.remove(&agent_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{Cause, Timestamp};

    use super::*;

    fn ended() -> EpochOutcome {
        let mut ending = Ending::new(Cause::Exited { code: 1 }, Timestamp::from_millis(0));
        ending.last_output = "boom".to_owned();
        EpochOutcome::Ended { ready: true, ending }
    }

    #[test]
    fn a_lower_epoch_never_overwrites_a_higher_one() {
        let (mut memory, agent) = (EpochMemory::default(), AgentId::generate());
        memory.note(agent, Epoch(2), EpochOutcome::Held);
        memory.note(agent, Epoch(1), ended());
        assert_eq!(memory.get(&agent), Some(&EpochRecord { epoch: Epoch(2), outcome: EpochOutcome::Held }));
    }

    #[test]
    fn only_settled_and_old_records_are_dropped() {
        let mut memory = EpochMemory::default();
        let agents: Vec<AgentId> = (0..KEPT + 2).map(|_| AgentId::generate()).collect();
        for (seq, agent) in (1..).zip(&agents) {
            memory.note(*agent, Epoch(1), ended());
            memory.reported(seq, *agent, Epoch(1));
        }
        memory.settle(0);
        assert_eq!(memory.records.len(), KEPT + 2, "nothing is settled");
        // The first of them runs again: its old ending must not take the new record with it.
        memory.note(agents[0], Epoch(2), EpochOutcome::Held);
        memory.settle(u64::MAX);
        assert_eq!(memory.get(&agents[0]).map(|record| record.epoch), Some(Epoch(2)));
        assert_eq!(memory.get(&agents[1]), None);
        let Some(EpochRecord { outcome: EpochOutcome::Ended { ending, .. }, .. }) = memory.get(&agents[2]) else {
            panic!("kept")
        };
        assert_eq!(ending.last_output, "", "the output of a settled ending is not kept");
    }
}
