//! What the supervisor may show, for tests.

use std::time::Duration;

use muster_domain::{
    AgentId, AgentState, AlertId, Cause, Ending, Fence, Payload, PoolConfig, PoolOrigin, Priority, ProcessId, TaskId,
    TaskState, Timestamp, Usage,
};
use muster_supervisor::{
    AgentView, Alert, AlertKind, BesidesView, BreakerState, BreakerView, HeldPool, Holds, Mode, PoolStatus, PoolView,
    QueueView, ReachView, ScaleView, ScalingFacts, SystemView, TaskView,
};

/// One that opened at the beginning of time.
pub(crate) fn open() -> BreakerView {
    BreakerView {
        state: BreakerState::Open,
        reason: Some("too many".to_owned()),
        since: Some(Timestamp::from_millis(0)),
        next_probe_at: Some(Timestamp::from_millis(30_000)),
    }
}

/// Those of a pool that is paused.
pub(crate) fn holds() -> Holds {
    Holds {
        draining: false,
        being_removed: false,
        paused: true,
        all_paused: false,
        intake_closed: false,
        breaker: BreakerView::quiet(BreakerState::Closed),
        lacks: None,
    }
}

pub(crate) fn pool(name: &str) -> PoolView {
    PoolView {
        pool_name: name.parse().expect("a name"),
        role_type: "developer".to_owned(),
        runtime: "echo".to_owned(),
        config: PoolConfig::default(),
        origin: PoolOrigin::Default,
        holds: holds(),
        process_count: 2,
        cost_per_hour: None,
        interrupted_workers: 0,
        outdated_workers: 0,
        unreachable_workers: 0,
        scaling: ScalingFacts::default(),
        scale: ScaleView {
            held: None,
            advising: false,
            status: PoolStatus::ScalingUp,
            current_workers: 2,
            target_workers: Some(3),
            min_workers: 0,
            max_workers: 20,
            load_percentage: 25.0,
            health_score: 0.5,
            last_scaled_at: Some(Timestamp::from_millis(0)),
        },
        unreachable_worker_ids: Vec::new(),
        active_worker_processes: 2,
        total_capacity: 20,
        used_capacity: 15,
        available_capacity: 5,
        agent_count: 15,
        pending_agents: 0,
        quarantined_agents: 1,
        utilization: 0.75,
        total_workers_spawned: 3,
        total_workers_terminated: 1,
        manager_uptime: Duration::from_millis(12_500),
        created_at: Timestamp::from_millis(0),
    }
}

pub(crate) fn queue(name: &str) -> QueueView {
    QueueView {
        pool_name: name.parse().expect("a name"),
        holds: Holds { breaker: open(), ..holds() },
        depth: 3,
        delayed: 2,
        dead: 1,
        running: 4,
        oldest_wait: Some(Duration::from_millis(1500)),
        rate_in: 2.5,
        rate_out: 0.0,
        wait_p50: Some(Duration::from_millis(250)),
        wait_p99: Some(Duration::from_secs(2)),
        run_p50: None,
        run_p99: None,
    }
}

pub(crate) fn system() -> SystemView {
    SystemView {
        runs: BesidesView { metrics_collector: true, autoscaler: false },
        version: "0.1.0".to_owned(),
        mode: Mode::MultiProcess,
        mode_reason: "a private redis-server was found".to_owned(),
        fence: Fence(3),
        address: "127.0.0.1:8000".to_owned(),
        leads_since: Timestamp::from_millis(0),
        registry_address: Some("/data/redis.sock".to_owned()),
        registry: ReachView::new("registry", Err("connection refused".to_owned())),
        store_description: "sqlite at /data/muster.db".to_owned(),
        store: ReachView::new("store", Ok(Duration::from_micros(250))),
        ownership: "best effort".to_owned(),
        data_dir: "/data".to_owned(),
        uptime: Duration::from_millis(1500),
        degraded: vec!["ownership: best effort".to_owned()],
        paused: false,
        alerts_firing: 3,
        alerts: vec![firing("q", "an agent ended"), firing("q", "another"), firing("p", "one more")],
        held_pools: vec![HeldPool::from(pool("p"))],
        pools: 4,
        workers: 2,
        outdated_workers: 0,
        agents: 15,
        spawns: 15,
        spawns_succeeded: 15,
        spawns_failed: 0,
    }
}

fn firing(pool: &str, message: &str) -> Alert {
    Alert {
        id: AlertId::generate(),
        kind: AlertKind::Quarantine,
        pool: Some(pool.parse().expect("a name")),
        subject: String::new(),
        message: message.to_owned(),
        since: Timestamp::from_millis(0),
        until: None,
        count: 1,
    }
}

/// One that ended then, or lasts.
pub(crate) fn alert(subject: &str, until: Option<Timestamp>) -> Alert {
    Alert {
        id: AlertId::generate(),
        kind: AlertKind::Degraded,
        pool: None,
        subject: subject.to_owned(),
        message: "best effort".to_owned(),
        since: Timestamp::from_millis(0),
        until,
        count: 3,
    }
}

/// One in this state, in its second attempt.
pub(crate) fn task(state: TaskState, version: u64) -> TaskView {
    TaskView {
        task_id: TaskId::generate(),
        pool_name: "developer_pool".parse().expect("a name"),
        tenant: "default".to_owned(),
        project_id: None,
        state,
        waiting_for: None,
        halting: None,
        attempt: 2,
        max_attempts: 3,
        attempts_spent: 1,
        redrives: 1,
        agent_id: Some(AgentId::generate()),
        process_id: Some(ProcessId::generate()),
        check: false,
        priority: Priority::NORMAL,
        input: Some(Payload::trusted("{\"b\": 1.50,\r\n \"a\": 12345678901234567890}")),
        output: Some(None),
        error: None,
        progress: None,
        created_at: Timestamp::from_millis(0),
        started_at: None,
        finished_at: None,
        not_before: None,
        due_at: None,
        expires_at: None,
        timeout: Some(Duration::from_millis(1500)),
        waited: Duration::from_millis(2500),
        ran: None,
        usage: Usage { input_tokens: 10, output_tokens: 5, cost_micros: 1_500 },
        attempts: Vec::new(),
        version,
    }
}

/// One in this state.
pub(crate) fn agent(state: AgentState) -> AgentView {
    AgentView {
        agent_id: AgentId::generate(),
        human_name: "Ada Brook".to_owned(),
        display_name: "Ada Brook (business analyst)".to_owned(),
        role_type: "business_analyst".to_owned(),
        project_id: "shop".to_owned(),
        pool_name: "business_analyst_pool".parse().expect("a name"),
        process_id: Some(ProcessId::generate()),
        pid: Some(7),
        state,
        reason: None,
        epoch: 2,
        restarts: 1,
        last_ending: Some(Ending::new(Cause::Signaled { signal: 9 }, Timestamp::from_millis(0))),
        heartbeat_interval: Duration::from_secs(30),
        max_idle_time: Duration::from_millis(1500),
        created_at: Timestamp::from_millis(1_763_695_200_123),
    }
}
