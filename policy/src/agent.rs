//! What one agent needs now.

use std::time::{Duration, Instant};

use muster_domain::AgentStatus;
use muster_domain::time::later;

use crate::backoff;

/// The longest wait between two sends of one command.
pub const LONGEST_RESEND: Duration = Duration::from_secs(5);

/// What is known of an agent's latest command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentCommand {
    /// When it was sent last.
    pub at: Instant,
    /// How often it was sent again.
    pub resends: u32,
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct AgentFacts<'a> {
    /// The agent's status.
    pub status: &'a AgentStatus,
    /// The latest command about this status; `None` where none was sent yet.
    pub sent: Option<SentCommand>,
    /// Whether its worker listens to commands. A starting worker does not yet, a dead one does no more.
    pub worker_listens: bool,
    /// After which time a command is sent again, the first time.
    pub resend: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStep {
    /// Nothing, until something happens.
    Rest,
    /// Nothing before this moment.
    Wait(Instant),
    /// It needs a slot.
    Place,
    /// Its worker is to be told to run it.
    SendSpawn,
    /// Its worker is to be told to stop it.
    SendTerminate,
}

/// Compares what is wanted of an agent with what was seen of it. A command is sent again until the worker answers or
/// is proven dead, always to the same worker, so that a slow start is never doubled.
pub fn next_step(facts: AgentFacts<'_>, now: Instant) -> AgentStep {
    let command = match facts.status {
        AgentStatus::Pending { not_before: Some(at) } if *at > now => return AgentStep::Wait(*at),
        AgentStatus::Pending { .. } => return AgentStep::Place,
        AgentStatus::Placed(_) => AgentStep::SendSpawn,
        AgentStatus::Stopping { .. } => AgentStep::SendTerminate,
        AgentStatus::Running { .. } | AgentStatus::Final(_) => return AgentStep::Rest,
    };
    // Before the worker says that it listens nothing is sent: pub/sub would forget it.
    if !facts.worker_listens {
        return AgentStep::Rest;
    }
    match facts.sent.map(|sent| later(sent.at, backoff::doubled(facts.resend, sent.resends, LONGEST_RESEND))) {
        Some(due) if due > now => AgentStep::Wait(due),
        _ => command,
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::agent::AfterStop;
    use muster_domain::{Activity, Assignment, Epoch, FinalState, ProcessId, StopReason, Timestamp};

    use super::*;

    const RESEND: Duration = Duration::from_millis(250);

    fn at() -> Assignment {
        Assignment { process_id: ProcessId::generate(), epoch: Epoch(1) }
    }

    fn step(status: &AgentStatus, sent: Option<SentCommand>, worker_listens: bool, now: Instant) -> AgentStep {
        next_step(AgentFacts { status, sent, worker_listens, resend: RESEND }, now)
    }

    #[test]
    fn a_pending_agent_waits_for_its_backoff_and_then_for_a_slot() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let pending = AgentStatus::Pending { not_before: Some(later) };
        assert_eq!(step(&pending, None, false, now), AgentStep::Wait(later));
        assert_eq!(step(&pending, None, false, later), AgentStep::Place);
        assert_eq!(step(&AgentStatus::Pending { not_before: None }, None, false, now), AgentStep::Place);
    }

    #[test]
    fn a_command_goes_out_when_the_worker_listens_and_again_with_doubling_waits() {
        let now = Instant::now();
        let placed = AgentStatus::Placed(at());
        assert_eq!(step(&placed, None, false, now), AgentStep::Rest);
        assert_eq!(step(&placed, None, true, now), AgentStep::SendSpawn);
        for (resends, wait) in [(0, 250), (1, 500), (2, 1_000), (9, 5_000)] {
            let sent = Some(SentCommand { at: now, resends });
            let due = now + Duration::from_millis(wait);
            assert_eq!(step(&placed, sent, true, now), AgentStep::Wait(due));
            assert_eq!(step(&placed, sent, true, due), AgentStep::SendSpawn);
        }
    }

    #[test]
    fn a_stopping_agent_is_told_so_and_a_running_or_final_one_is_left_alone() {
        let now = Instant::now();
        let stopping = AgentStatus::Stopping { at: at(), then: AfterStop::End(StopReason::Requested) };
        assert_eq!(step(&stopping, None, true, now), AgentStep::SendTerminate);
        for quiet in [
            AgentStatus::Running { at: at(), since: Timestamp::from_millis(0), activity: Activity::Idle },
            AgentStatus::Final(FinalState::Terminated(StopReason::Idle)),
            AgentStatus::Final(FinalState::Failed(StopReason::Completed)),
            AgentStatus::Final(FinalState::Quarantined),
        ] {
            assert_eq!(step(&quiet, None, true, now), AgentStep::Rest);
        }
    }
}
