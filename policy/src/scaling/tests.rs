use super::*;

const WORKERS: WorkerCounts = WorkerCounts {
    min: 3,
    max: 0,
    tier_room: u32::MAX,
    tier_lack: 0,
    target: None,
    open: 1,
    taking: 1,
    starting: 0,
    interrupted: 0,
    replacing: 0,
    backs_off: false,
    stopping: false,
    draining: false,
    idle_timeout: Duration::from_secs(300),
};
const AGENTS: AgentDemand = AgentDemand {
    wanted: 10,
    coming: 0,
    counted: 0,
    max: 0,
    within: None,
    failed_starts: 0,
    hold: None,
    backoff: None,
};

#[test]
fn a_minimum_of_workers_is_kept() {
    use ScalingReason::{Draining, Enough, MaxWorkers, MinWorkers, Starting, Stopping, WorkerBackoff};
    let many = WorkerCounts { min: u32::MAX, ..WORKERS };
    let rows: [(WorkerCounts, u32, usize, ScalingReason); 10] = [
        (WORKERS, 0, 2, MinWorkers(3)),
        (WORKERS, 1, 1, MinWorkers(3)),
        (WorkerCounts { taking: 5, ..WORKERS }, 0, 0, Enough),
        (WorkerCounts { backs_off: true, ..WORKERS }, 0, 0, WorkerBackoff),
        (WorkerCounts { backs_off: true, stopping: true, ..WORKERS }, 0, 0, Stopping),
        (WorkerCounts { draining: true, ..WORKERS }, 0, 0, Draining),
        (WorkerCounts { max: 2, ..WORKERS }, 0, 1, MinWorkers(3)),
        // Two of them end.
        (WorkerCounts { max: 3, open: 3, ..WORKERS }, 0, 0, MaxWorkers(3)),
        // The rest when these are ready.
        (WorkerCounts { starting: 10, ..many }, 4, MOST_STARTING as usize - 14, MinWorkers(u32::MAX)),
        (WorkerCounts { taking: 900, starting: MOST_STARTING + 1, ..many }, 0, 0, Starting(MOST_STARTING + 1)),
    ];
    for (workers, coming, count, reason) in rows {
        assert_eq!(workers_to_add(workers, coming), ScalingDecision { count, reason }, "{workers:?} {coming}");
    }
}

#[test]
fn a_target_takes_the_place_of_the_minimum() {
    use ScalingReason::{Enough, MaxWorkers, Target};
    let target =
        |target, taking| WorkerCounts { min: 1, max: 10, target: Some(target), taking, open: taking, ..WORKERS };
    for (workers, count, reason) in [
        (target(5, 2), 3, Target(5)),
        (target(5, 5), 0, Enough),
        (target(0, 0), 0, Enough),
        (WorkerCounts { open: 9, ..target(5, 2) }, 1, Target(5)),
        (WorkerCounts { open: 10, ..target(5, 2) }, 0, MaxWorkers(10)),
    ] {
        assert_eq!(workers_to_add(workers, 0), ScalingDecision { count, reason }, "{workers:?}");
    }
    let idle = |workers| (workers_to_spare(workers), idle_timeout(workers));
    assert_eq!(idle(target(3, 5)), (2, Duration::ZERO), "those above it go as soon as they are empty");
    assert_eq!(idle(target(3, 3)), (0, WORKERS.idle_timeout));
    assert_eq!(idle(target(0, 1)), (1, Duration::ZERO));
}

#[test]
fn one_that_is_interrupted_has_another_in_its_place() {
    use ScalingReason::{Enough, Interrupted, MaxWorkers, MinWorkers, Target};
    // Those that are interrupted are not among those that take agents, nor among those that are bounded.
    let two = WorkerCounts { min: 0, open: 1, interrupted: 2, replacing: 2, ..WORKERS };
    for (workers, coming, count, reason) in [
        (two, 0, 2, Interrupted(2)),
        // Those that agents need at this moment are theirs.
        (two, 1, 2, Interrupted(2)),
        // A target says how many there are to be beside them: one that has enough gets none that would leave again.
        (WorkerCounts { target: Some(3), ..two }, 0, 2, Target(3)),
        (WorkerCounts { target: Some(1), ..two }, 0, 0, Enough),
        // A tier has its minimum, whatever there is of others.
        (WorkerCounts { min: 1, replacing: 0, tier_lack: 1, ..two }, 0, 1, MinWorkers(1)),
        (WorkerCounts { min: 1, replacing: 0, tier_lack: 1, ..two }, 1, 0, Enough),
        (WorkerCounts { max: 2, ..two }, 0, 1, Interrupted(2)),
        (WorkerCounts { max: 1, ..two }, 0, 0, MaxWorkers(1)),
        (WorkerCounts { tier_room: 1, ..two }, 0, 1, Interrupted(2)),
        (WorkerCounts { tier_room: 1, ..two }, 1, 0, ScalingReason::TiersFull),
    ] {
        assert_eq!(workers_to_add(workers, coming), ScalingDecision { count, reason }, "{workers:?}");
    }
}

#[test]
fn agents_for_tasks_have_the_slots_of_the_target() {
    let room = |free_slots| {
        let within = Some(TargetRoom { workers: 3, free_slots });
        agents_to_order(AgentDemand { within, ..AGENTS })
    };
    assert_eq!(room(0), ScalingDecision { count: 0, reason: ScalingReason::TargetFull(3) });
    assert_eq!((room(4).count, room(40).count), (4, 10));
}

#[test]
fn one_may_be_started_while_nothing_stops_or_backs_off() {
    let may = |backs_off, stopping| WorkerCounts { backs_off, stopping, ..WORKERS }.may_start();
    assert_eq!([may(false, false), may(true, false), may(false, true)], [true, false, false]);
}

#[test]
fn so_many_may_end_that_the_minimum_stays() {
    assert_eq!(workers_to_spare(WORKERS), 0);
    assert_eq!(workers_to_spare(WorkerCounts { taking: 5, ..WORKERS }), 2);
    let draining = WorkerCounts { draining: true, ..WORKERS };
    assert_eq!((workers_to_spare(draining), idle_timeout(draining)), (u32::MAX, Duration::ZERO));
    assert_eq!(idle_timeout(WORKERS), Duration::from_secs(300));
}

#[test]
fn agents_are_ordered_as_tasks_need_them_and_bounds_allow() {
    use ScalingReason::{AgentBackoff, Enough, FailedStarts, Held, MaxAgents, Tasks};
    let tasks = |coming| Tasks { wanted: 10, coming };
    let refused = OrderWait::Refused(Duration::from_secs(1));
    let rows: [(AgentDemand, usize, ScalingReason); 13] = [
        (AGENTS, 10, tasks(0)),
        (AgentDemand { coming: 4, counted: 4, ..AGENTS }, 6, tasks(4)),
        (AgentDemand { coming: 12, counted: 12, ..AGENTS }, 0, Enough),
        (AgentDemand { counted: 5, max: 8, ..AGENTS }, 3, tasks(0)),
        (AgentDemand { counted: 8, max: 8, ..AGENTS }, 0, MaxAgents(8)),
        (AgentDemand { wanted: 1_000, ..AGENTS }, MOST_ORDERED, Tasks { wanted: 1_000, coming: 0 }),
        (AgentDemand { failed_starts: 2, ..AGENTS }, 1, tasks(0)),
        (AgentDemand { failed_starts: 2, coming: 1, counted: 1, ..AGENTS }, 0, FailedStarts(2)),
        (AgentDemand { backoff: Some(refused), ..AGENTS }, 0, AgentBackoff(refused)),
        // Whoever waits for a person or out of reach keeps its place, however long.
        (AgentDemand { backoff: Some(refused), counted: 8, max: 8, ..AGENTS }, 0, MaxAgents(8)),
        (AgentDemand { backoff: Some(refused), wanted: 0, ..AGENTS }, 0, Enough),
        (AgentDemand { hold: OrderHold::of(true, true), ..AGENTS }, 0, Held(OrderHold::TasksHeld)),
        (AgentDemand { hold: OrderHold::of(false, true), ..AGENTS }, 0, Held(OrderHold::AgentFree)),
    ];
    for (agents, count, reason) in rows {
        assert_eq!(agents_to_order(agents), ScalingDecision { count, reason }, "{agents:?}");
    }
    assert_eq!(OrderHold::of(false, false), None);
}

#[test]
fn each_reason_is_told_in_words() {
    use ScalingReason::{
        AgentBackoff, Draining, Enough, FailedStarts, Held, MaxAgents, MaxWorkers, MinWorkers, Starting, Stopping,
        Tasks, WorkerBackoff,
    };
    let wait = Duration::from_millis(1_240);
    let rows = [
        (Enough, "nothing more is wanted"),
        (Stopping, "the supervisor stops"),
        (Draining, "the pool is being removed"),
        (MinWorkers(3), "min_workers (3) are kept"),
        (MaxWorkers(3), "max_workers (3) is reached"),
        (ScalingReason::TiersFull, "the pool's tiers hold no more workers now"),
        (Starting(1), "1 worker is starting already"),
        (Starting(2), "2 workers are starting already"),
        (WorkerBackoff, "workers fail at their start, and the next one waits"),
        (Tasks { wanted: 1, coming: 0 }, "tasks that wait need 1 agent, and 0 agents are on the way"),
        (Tasks { wanted: 2, coming: 1 }, "tasks that wait need 2 agents, and 1 agent is on the way"),
        (MaxAgents(8), "on_demand.max_agents (8) is reached"),
        (FailedStarts(1), "1 agent failed in a row at the start, and one at a time is tried"),
        (Held(OrderHold::TasksHeld), "no task of the pool starts now"),
        (Held(OrderHold::AgentFree), "an agent takes tasks"),
        (AgentBackoff(OrderWait::Failing(wait)), "agents fail at their start, and the next one is tried in 1.2 s"),
        (AgentBackoff(OrderWait::Refused(wait)), "the latest order was refused, and the next one is made in 1.2 s"),
    ];
    for (reason, words) in rows {
        assert_eq!(reason.to_string(), words);
    }
}
