//! Why a task does not start. What holds up a pool is judged here: the supervisor asks before it gives tasks to agents or orders agents
//! for them, and tells people the same answers.
//!
//! Nothing is noted per waiting task, of which there may be a million: the answer for one of them is a few comparisons, made
//! when somebody asks.

use std::time::Duration;

use muster_domain::{AgentId, AgentState, Gate, TenantLimits, Timestamp};

use crate::breaker::BreakerHold;
use crate::quota::may_start;
use crate::scaling::{OrderWait, ScalingDecision, ScalingReason};

/// Why a task does not start. Of several reasons the first of these is told: what a person or the end of the supervisor ends,
/// the task's own time, the pool's breaker, and at last who could do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// No task of its pool starts, until that is over.
    Gate(GateHold),
    /// It is not to be started before.
    NotDue(Timestamp),
    /// Too many attempts failed in its pool.
    Breaker(BreakerHold),
    /// The one agent that is to do it takes no task now.
    NamedAgent {
        /// The agent.
        agent_id: AgentId,
        /// Its state.
        state: AgentState,
        /// Whether nobody can reach its worker.
        is_unreachable: bool,
    },
    /// Its tenant runs as many tasks as it may.
    TenantLimit {
        /// The limit.
        max_running: u32,
    },
    /// No agent of its pool takes a task now.
    NoAgent(NoAgent),
}

/// What is closed for all tasks of a pool, by people and by the supervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// The pool is being removed.
    pub being_removed: bool,
    /// The supervisor stops.
    pub stopping: bool,
    /// The tasks of all pools are paused.
    pub all_paused: bool,
    /// What is closed of this pool alone.
    pub pool: Gate,
}

/// Which gate is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateHold {
    /// The pool is being removed.
    PoolRemoved,
    /// The supervisor stops, and the next one goes on.
    Stopping,
    /// The tasks of all pools are paused.
    AllPaused,
    /// The pool is drained: it takes no new tasks either.
    Drained,
    /// The pool is paused.
    Paused,
}

impl Gates {
    /// The gate that holds for longest, where one is closed.
    pub const fn hold(self) -> Option<GateHold> {
        match self {
            Self { being_removed: true, .. } => Some(GateHold::PoolRemoved),
            Self { stopping: true, .. } => Some(GateHold::Stopping),
            Self { all_paused: true, .. } => Some(GateHold::AllPaused),
            Self { pool: Gate { paused: true, closed: true }, .. } => Some(GateHold::Drained),
            Self { pool: Gate { paused: true, closed: false }, .. } => Some(GateHold::Paused),
            _ => None,
        }
    }
}

/// What holds up all tasks of a pool alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolHolds {
    /// By its gates.
    pub gate: Option<GateHold>,
    /// By its breaker.
    pub breaker: Option<BreakerHold>,
}

impl PoolHolds {
    /// Whether no task starts, whichever it is.
    pub const fn is_any(self) -> bool {
        self.gate.is_some() || self.breaker.is_some()
    }
}

/// The agents of a pool, as far as they say who could do its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentAvailability {
    /// Whether one of them takes a task now.
    pub has_room: bool,
    /// Whether any of them has a task, of those within reach.
    pub has_work: bool,
    /// Whether one is wanted that has no slot yet.
    pub is_pending: bool,
    /// Whether there is no slot before a worker with an older definition of the runtime is empty.
    pub needs_new_worker: bool,
    /// Whether the pool starts agents for its tasks.
    pub on_demand: bool,
}

impl AgentAvailability {
    /// Whether an agent that is wanted, for tasks or not, has no slot before such a worker is empty.
    pub const fn waits_for_new_worker(self) -> bool {
        self.needs_new_worker && self.is_pending
    }
}

/// The agents that do no work, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentCounts {
    /// On their way.
    pub coming: usize,
    /// In quarantine.
    pub quarantined: usize,
    /// In workers that nobody can reach.
    pub unreachable: usize,
    /// What the pool does by itself about that; none where it starts no agents for its tasks.
    pub order: Option<ScalingDecision>,
}

/// Why no agent of a pool takes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAgent {
    /// All have work.
    Busy,
    /// There is no slot for one before a worker with an older definition of the runtime is empty.
    OldRuntime,
    /// One is on its way, or will be ordered.
    Starting,
    /// It starts agents by itself, but has no slot for one within the number of workers that somebody has said.
    AtTarget {
        /// That number.
        workers: u32,
    },
    /// Those that the pool has started for its tasks fail at their start.
    Failing {
        /// Until the next one is tried.
        retry_in: Duration,
    },
    /// There is none, and the pool starts none by itself.
    Nobody {
        /// Agents that crashed too often, and wait for a person.
        quarantined: usize,
        /// Agents in workers that nobody can reach.
        unreachable: usize,
    },
}

/// Why no agent takes a task that is for any; none where one does. `count` looks through the agents, and is asked only where
/// nothing less says it.
pub fn no_agent(agents: AgentAvailability, count: impl FnOnce() -> AgentCounts) -> Option<NoAgent> {
    let AgentAvailability { has_room, has_work, is_pending, needs_new_worker, on_demand } = agents;
    if has_room {
        return None;
    }
    if has_work {
        return Some(NoAgent::Busy);
    }
    if needs_new_worker && (is_pending || on_demand) {
        return Some(NoAgent::OldRuntime);
    }
    let AgentCounts { coming, quarantined, unreachable, order } = count();
    let nobody = NoAgent::Nobody { quarantined, unreachable };
    Some(match order {
        _ if coming > 0 => NoAgent::Starting,
        None => nobody,
        Some(ScalingDecision { count: 1.., .. }) => NoAgent::Starting,
        Some(ScalingDecision { reason: ScalingReason::AgentBackoff(OrderWait::Failing(retry_in)), .. }) => {
            NoAgent::Failing { retry_in }
        }
        Some(ScalingDecision { reason: ScalingReason::TargetFull(workers), .. }) => NoAgent::AtTarget { workers },
        // Those that fill it don't go by themselves.
        Some(ScalingDecision { reason: ScalingReason::MaxAgents(_), .. }) if quarantined + unreachable > 0 => nobody,
        Some(_) if quarantined > 0 => nobody,
        Some(_) => NoAgent::Starting,
    })
}

/// One waiting task, as far as it decides whether it may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// It is not to be started before.
    pub not_before: Option<Timestamp>,
    /// The one agent that is to do it.
    pub named: Option<NamedAgent>,
    /// The limits of its tenant.
    pub limits: TenantLimits,
    /// Tasks of its tenant that run.
    pub running: u32,
}

/// An agent that was asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedAgent {
    /// The agent.
    pub agent_id: AgentId,
    /// Its state; none where its pool does not know it.
    pub state: Option<AgentState>,
    /// Whether it takes a task now.
    pub has_room: bool,
    /// Whether nobody can reach its worker.
    pub is_unreachable: bool,
}

impl NamedAgent {
    /// One that is gone for good is no reason to wait: the task will fail.
    fn blocks(self) -> Option<Blocked> {
        let state = self.state.filter(|state| !self.has_room && !state.is_gone())?;
        Some(Blocked::NamedAgent { agent_id: self.agent_id, state, is_unreachable: self.is_unreachable })
    }
}

/// The moment for which a task waits; none where it is ready.
pub fn not_due(not_before: Option<Timestamp>, at: Timestamp) -> Option<Timestamp> {
    not_before.filter(|due| *due > at)
}

/// Why a task does not start; none where it waits for its turn alone.
pub fn blocked(task: &Candidate, holds: PoolHolds, no_agent: Option<NoAgent>, at: Timestamp) -> Option<Blocked> {
    let tenant = || task.limits.max_running.filter(|_| may_start(&task.limits, task.running) == 0);
    let gate = holds.gate.map(Blocked::Gate);
    gate.or_else(|| not_due(task.not_before, at).map(Blocked::NotDue))
        .or_else(|| holds.breaker.map(Blocked::Breaker))
        .or_else(|| task.named?.blocks())
        .or_else(|| tenant().map(|max_running| Blocked::TenantLimit { max_running }))
        .or_else(|| no_agent.filter(|_| task.named.is_none()).map(Blocked::NoAgent))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const AGENTS: AgentAvailability = AgentAvailability {
        has_room: false,
        has_work: false,
        is_pending: false,
        needs_new_worker: false,
        on_demand: false,
    };
    const ORDERED: ScalingDecision =
        ScalingDecision { count: 1, reason: ScalingReason::Tasks { wanted: 1, coming: 0 } };
    const ENOUGH: ScalingDecision = ScalingDecision { count: 0, reason: ScalingReason::Enough };
    const NOON: Timestamp = Timestamp::from_millis(43_200_000);

    fn agent(state: AgentState, has_room: bool) -> NamedAgent {
        let agent_id = AgentId::from_uuid(Uuid::from_u128(1));
        NamedAgent { agent_id, state: Some(state), has_room, is_unreachable: false }
    }

    #[test]
    fn the_gate_that_holds_for_longest_is_told() {
        let open = Gates::default();
        let paused = Gates { pool: Gate { paused: true, closed: false }, ..open };
        let drained = Gates { pool: Gate { paused: true, closed: true }, ..open };
        let all_paused = Gates { all_paused: true, ..drained };
        let stopping = Gates { stopping: true, ..all_paused };
        let rows = [
            (open, None),
            (Gates { pool: Gate { paused: false, closed: true }, ..open }, None),
            (paused, Some(GateHold::Paused)),
            (drained, Some(GateHold::Drained)),
            (all_paused, Some(GateHold::AllPaused)),
            (stopping, Some(GateHold::Stopping)),
            (Gates { being_removed: true, ..stopping }, Some(GateHold::PoolRemoved)),
        ];
        for (gates, hold) in rows {
            assert_eq!(gates.hold(), hold, "{gates:?}");
        }
    }

    fn against(reason: ScalingReason) -> ScalingDecision {
        ScalingDecision { count: 0, reason }
    }

    #[test]
    fn why_no_agent_takes_a_task() {
        let on_demand = AgentAvailability { on_demand: true, ..AGENTS };
        let outdated = AgentAvailability { needs_new_worker: true, ..AGENTS };
        let wait = Duration::from_secs(3);
        let failing = Some(against(ScalingReason::AgentBackoff(OrderWait::Failing(wait))));
        let refused = Some(against(ScalingReason::AgentBackoff(OrderWait::Refused(wait))));
        let retry = NoAgent::Failing { retry_in: wait };
        let nobody = |quarantined| Some(NoAgent::Nobody { quarantined, unreachable: 0 });
        type Row = (AgentAvailability, Option<ScalingDecision>, usize, usize, Option<NoAgent>);
        let at_target = Some(against(ScalingReason::TargetFull(0)));
        let rows: [Row; 17] = [
            (AgentAvailability { has_room: true, has_work: true, ..AGENTS }, None, 1, 1, None),
            (AgentAvailability { has_work: true, ..outdated }, None, 1, 1, Some(NoAgent::Busy)),
            (AgentAvailability { on_demand: true, ..outdated }, Some(ORDERED), 1, 0, Some(NoAgent::OldRuntime)),
            (AgentAvailability { is_pending: true, ..outdated }, None, 1, 0, Some(NoAgent::OldRuntime)),
            (outdated, None, 0, 0, nobody(0)),
            (AGENTS, None, 1, 2, Some(NoAgent::Starting)),
            (on_demand, failing, 1, 2, Some(NoAgent::Starting)),
            (on_demand, failing, 0, 2, Some(retry)),
            (on_demand, Some(ORDERED), 0, 0, Some(NoAgent::Starting)),
            (on_demand, Some(ORDERED), 0, 2, Some(NoAgent::Starting)),
            (on_demand, Some(ENOUGH), 0, 0, Some(NoAgent::Starting)),
            (on_demand, Some(ENOUGH), 0, 2, nobody(2)),
            (on_demand, refused, 0, 0, Some(NoAgent::Starting)),
            (on_demand, refused, 0, 2, nobody(2)),
            (AGENTS, None, 0, 2, nobody(2)),
            (on_demand, at_target, 0, 2, Some(NoAgent::AtTarget { workers: 0 })),
            (on_demand, at_target, 1, 0, Some(NoAgent::Starting)),
        ];
        for (agents, order, coming, quarantined, why) in rows {
            let found = no_agent(agents, || AgentCounts { coming, quarantined, unreachable: 0, order });
            assert_eq!(found, why, "{agents:?} {order:?} {coming} {quarantined}");
        }
    }

    #[test]
    fn agents_that_nobody_can_reach_are_the_reason_where_no_other_may_start() {
        let on_demand = AgentAvailability { on_demand: true, ..AGENTS };
        let full = Some(against(ScalingReason::MaxAgents(2)));
        let counts = AgentCounts { unreachable: 2, order: full, ..AgentCounts::default() };
        let lost = Some(NoAgent::Nobody { quarantined: 0, unreachable: 2 });
        for (agents, counts, why) in [
            (AGENTS, AgentCounts { order: None, ..counts }, lost),
            (on_demand, counts, lost),
            (on_demand, AgentCounts { unreachable: 0, ..counts }, Some(NoAgent::Starting)),
            (on_demand, AgentCounts { order: Some(ORDERED), ..counts }, Some(NoAgent::Starting)),
            (on_demand, AgentCounts { coming: 1, ..counts }, Some(NoAgent::Starting)),
        ] {
            assert_eq!(no_agent(agents, || counts), why, "{agents:?} {counts:?}");
        }
    }

    #[test]
    fn the_agents_are_counted_only_where_nothing_less_says_it() {
        for agents in [AgentAvailability { has_room: true, ..AGENTS }, AgentAvailability { has_work: true, ..AGENTS }] {
            let _ = no_agent(agents, || unreachable!("it looks through the agents"));
        }
    }

    /// Each reason hides those below it.
    #[test]
    fn of_several_reasons_the_first_is_told() {
        let later = NOON.after(Duration::from_secs(1));
        let limits = TenantLimits { max_running: Some(2), ..TenantLimits::default() };
        let stopping = agent(AgentState::Stopping, false);
        let mut task = Candidate { not_before: Some(later), named: Some(stopping), limits, running: 2 };
        let mut holds = PoolHolds { gate: Some(GateHold::Paused), breaker: Some(BreakerHold::HalfOpen) };
        let mut told = Vec::new();
        let mut tell = |task: &Candidate, holds| told.push(blocked(task, holds, Some(NoAgent::Busy), NOON));
        tell(&task, holds);
        holds.gate = None;
        tell(&task, holds);
        task.not_before = Some(NOON);
        tell(&task, holds);
        holds.breaker = None;
        tell(&task, holds);
        task.named = None;
        tell(&task, holds);
        task.running = 1;
        tell(&task, holds);
        let expected = [
            Blocked::Gate(GateHold::Paused),
            Blocked::NotDue(later),
            Blocked::Breaker(BreakerHold::HalfOpen),
            Blocked::NamedAgent { agent_id: stopping.agent_id, state: AgentState::Stopping, is_unreachable: false },
            Blocked::TenantLimit { max_running: 2 },
            Blocked::NoAgent(NoAgent::Busy),
        ];
        assert_eq!(told, expected.map(Some));
        assert_eq!(blocked(&task, holds, None, NOON), None, "it waits for its turn");
    }

    #[test]
    fn a_task_for_one_agent_waits_for_no_other() {
        let limits = TenantLimits::default();
        let unknown = NamedAgent { state: None, ..agent(AgentState::Failed, false) };
        for named in [agent(AgentState::Failed, false), agent(AgentState::Spawning, true), unknown] {
            let task = Candidate { not_before: None, named: Some(named), limits, running: 9 };
            assert_eq!(blocked(&task, PoolHolds::default(), Some(NoAgent::Busy), NOON), None, "{named:?}");
        }
    }
}
