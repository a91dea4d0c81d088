//! Workers, agents and messages to test with.

use muster_domain::{
    Activity, AgentId, AgentSnapshot, Command, Envelope, Epoch, Fence, Heartbeat, LocalIdentity, ObservedState,
    Payload, PoolName, ProcessId, Progress, Report, ReportBody, TaskId, TaskSnapshot, Timestamp, Usage, WIRE_VERSION,
    WorkerKey, WorkerState,
};
use muster_registry::{AgentNews, Bus, Peer, WrittenState};

/// A worker as its own process would keep it.
pub(crate) struct Worker {
    pub(crate) id: ProcessId,
    pub(crate) pool: PoolName,
    pub(crate) agents: Vec<AgentSnapshot>,
    pub(crate) known: WrittenState,
    pub(crate) key: WorkerKey,
    beats: u64,
    reports: u64,
}

pub(crate) fn pool(name: &str) -> PoolName {
    name.parse().expect("a pool's name")
}

impl Worker {
    pub(crate) fn new(pool_name: &str) -> Self {
        Self {
            id: ProcessId::generate(),
            pool: pool(pool_name),
            agents: Vec::new(),
            known: WrittenState::default(),
            key: WorkerKey::generate(),
            beats: 0,
            reports: 0,
        }
    }

    pub(crate) fn with_agents(pool_name: &str, count: usize) -> Self {
        let mut worker = Self::new(pool_name);
        worker.agents = (0..count).map(|_| idle_agent(AgentId::generate(), 1)).collect();
        worker
    }

    /// Introduces it with its key.
    pub(crate) fn known_to(self, bus: &impl Bus) -> Self {
        bus.introduce(self.id, Peer { pool: self.pool.clone(), key: Some(self.key) });
        self
    }

    /// Introduces it as one of the previous version.
    pub(crate) fn keyless_to(self, bus: &impl Bus) -> Self {
        bus.introduce(self.id, Peer { pool: self.pool.clone(), key: None });
        self
    }

    /// The next beat.
    pub(crate) fn beat(&mut self) -> Heartbeat {
        self.beats += 1;
        Heartbeat {
            v: WIRE_VERSION,
            process_id: self.id,
            pool_name: self.pool.clone(),
            identity: LocalIdentity {
                host: "here".to_owned(),
                machine_id: Some("m".to_owned()),
                boot_id: "b".to_owned(),
                pid_namespace: 1,
                pid: 4711,
                start_time: 2,
            }
            .into(),
            capacity: 10,
            status: WorkerState::Ready,
            started_at: Timestamp::from_millis(1_763_695_200_123),
            number: self.beats,
            reported: self.reports,
            dropped: 0,
            fence: Fence(1),
            tampering: muster_domain::Tampering::default(),
            cpu_percent: 1.5,
            rss_bytes: 1024,
            deaf: None,
            interval: None,
            agents: self.agents.clone(),
        }
    }

    /// The next report: that an agent runs.
    pub(crate) fn started(&mut self, agent: &AgentSnapshot) -> Report {
        self.report(ReportBody::Started { agent_id: agent.agent_id, epoch: agent.epoch, pid: agent.pid })
    }

    /// The next report.
    pub(crate) fn report(&mut self, body: ReportBody) -> Report {
        self.reports += 1;
        Report {
            v: WIRE_VERSION,
            process_id: self.id,
            pool_name: self.pool.clone(),
            seq: self.reports,
            at: Timestamp::from_millis(1_763_695_200_123),
            body,
        }
    }
}

/// News of these agents.
pub(crate) fn news(pictures: &[AgentSnapshot]) -> AgentNews {
    AgentNews { pictures: pictures.to_vec(), held: pictures.len(), ..AgentNews::default() }
}

/// That this agent is gone.
pub(crate) fn gone(agent: AgentId) -> AgentNews {
    AgentNews { gone: vec![agent], ..AgentNews::default() }
}

pub(crate) fn idle_agent(agent_id: AgentId, epoch: u64) -> AgentSnapshot {
    AgentSnapshot {
        agent_id,
        epoch: Epoch(epoch),
        state: ObservedState::Running(Activity::Idle),
        role_type: "developer".to_owned(),
        project_id: "a project of \"ours\"\n".to_owned(),
        pid: Some(99),
        updated_at: Timestamp::from_millis(1_763_695_200_123),
        reason: None,
        tasks: Vec::new(),
    }
}

/// The picture of a task that tells all that a task can.
pub(crate) fn task() -> TaskSnapshot {
    TaskSnapshot {
        task_id: TaskId::generate(),
        attempt: 2,
        quiet_ms: 1500,
        progress: Some(Progress { message: "reading \"it\"\n".to_owned(), percent: Some(12.5) }),
        usage: Usage { input_tokens: 1, output_tokens: 2, cost_micros: 3 },
    }
}

/// JSON of about this length that every layer could trip over.
pub(crate) fn payload(length: usize) -> Payload {
    let text = "a \"quote\", a \\, a\nbreak, \u{1}, \u{e4}\u{1f600} ".repeat(length / 40);
    let quoted = Payload::quoted(&text);
    Payload::parse(&format!("{{ \"b\": 1.50,\n \"a\":{quoted}, \"b\": [] }}")).expect("JSON")
}

pub(crate) fn probe() -> Envelope {
    Envelope::new(Fence(1), Command::Probe)
}
