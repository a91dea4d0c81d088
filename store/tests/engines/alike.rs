//! The store in memory answers as SQLite does, whatever is written: the same random writes go to both, and then both are asked
//! everything. There are few ids, so that most writes are about what is there.

use std::time::Duration;

use fastrand::Rng;
use muster_domain::budget::Scope;
use muster_domain::{
    AgentId, AgentState, Attempt, Epoch, Executions, Fence, FinalState, FollowUp, Gate, Halt, PoolName, Priority,
    ProcessId, StopReason, TaskId, TaskState, Usage,
};
use muster_store::sqlite::SqliteStore;
use muster_store::testing::MemoryStore;
use muster_store::{
    AgentFilter, Durability, IdempotencyKey, Leadership, LifeRow, ListOrder, NewAgent, NewTask, QueueKey, QueueSlice,
    Store, TaskFilter, TaskHalting, TaskQueue, TaskStart, TaskVerdict, UsageAdded, Write,
};

use crate::conformance::tasks::{error, json, new_task, over};
use crate::conformance::{
    LEASE, add_pool, add_worker, at, ending, event, identity, key, name, new_agent, pool_spec, worker_ending,
};

const SEEDS: u64 = 10;
const BATCHES: usize = 50;

/// What is written at random.
struct Writer(Rng);

impl Writer {
    fn id(&mut self, kinds: u32) -> String {
        format!("0198a0a0-0000-7000-8000-{:012x}", self.0.u32(..kinds))
    }

    fn agent(&mut self) -> AgentId {
        self.id(6).parse().expect("an id")
    }

    fn worker(&mut self) -> ProcessId {
        self.id(3).parse().expect("an id")
    }

    fn task(&mut self) -> TaskId {
        self.id(12).parse().expect("an id")
    }

    fn pool(&mut self) -> PoolName {
        name(["a", "b"][self.0.usize(..2)])
    }

    fn moment(&mut self) -> muster_domain::Timestamp {
        at(self.0.i64(0..1_000))
    }

    fn key(&mut self) -> Option<IdempotencyKey> {
        let (text, body) = (self.0.u8(..3).to_string(), self.0.u8(..2));
        self.0.bool().then(|| key(&text, body))
    }

    fn some<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.usize(..5)).map(|_| make(self)).collect()
    }

    fn write(&mut self) -> Write {
        match self.0.u8(..10) {
            0 => self.write_of_pools(),
            1..3 => self.write_of_workers(),
            3..5 => self.write_of_agents(),
            5..9 => self.write_of_tasks(),
            _ => self.write_of_accounts(),
        }
    }

    fn write_of_pools(&mut self) -> Write {
        let pool = self.pool();
        match self.0.u8(..8) {
            0..4 => add_pool(pool.as_str()),
            4 => Write::ChangePool {
                spec: muster_domain::PoolSpec { role_type: "x".into(), ..pool_spec(pool.as_str()) },
            },
            5 => Write::DrainPool { pool },
            6 => Write::RemovePool { pool },
            _ => Write::GatePool { pool, gate: Gate { paused: self.0.bool(), closed: self.0.bool() } },
        }
    }

    fn write_of_workers(&mut self) -> Write {
        let process_id = self.worker();
        match self.0.u8(..6) {
            0..3 => add_worker(process_id, self.pool().as_str(), self.0.u32(..4)),
            3 => Write::IdentifyWorker { process_id, identity: identity(self.0.u32(..9)) },
            4 => Write::DrainWorker { process_id },
            _ => Write::EndWorker { process_id, lost: self.0.bool(), ending: worker_ending(), at: self.moment() },
        }
    }

    fn write_of_agents(&mut self) -> Write {
        let (agent_id, epoch, at) = (self.agent(), Epoch(self.0.u64(..4)), self.moment());
        let reasons = [StopReason::Requested, StopReason::Idle, StopReason::Completed];
        let reason = reasons[self.0.usize(..3)];
        match self.0.u8(..9) {
            0..3 => {
                let mut new = new_agent(self.pool().as_str(), Some(self.worker()).filter(|_| self.0.bool()));
                new.spec.agent_id = agent_id;
                Write::AddAgent(Box::new(NewAgent { key: self.key(), at, ..new }))
            }
            3..5 => Write::Assign { agent_id, to: muster_domain::Assignment { process_id: self.worker(), epoch }, at },
            5 => Write::StopAgent { agent_id, reason, at },
            6 => {
                let ends = [FinalState::Quarantined, FinalState::Failed(reason), FinalState::Terminated(reason)];
                let then = Some(ends[self.0.usize(..3)]).filter(|_| self.0.bool());
                Write::Release { agent_id, epoch, ending: ending(), then, at }
            }
            7 => Write::RestartAgent { agent_id, epoch, at },
            _ => Write::ReviveAgent { agent_id, at },
        }
    }

    fn write_of_tasks(&mut self) -> Write {
        match self.0.u8(..12) {
            0..4 => Write::AddTasks(self.some(Self::new_task)),
            4..6 => Write::StartTasks(self.some(|own| TaskStart {
                task_id: own.task(),
                attempt: own.attempt(),
                at: own.moment(),
            })),
            6 => Write::HaltTasks(self.some(|own| TaskHalting {
                task_id: own.task(),
                number: own.0.u32(1..3),
                halt: [Halt::Cancelled, Halt::TimedOut, Halt::LeaseLost][own.0.usize(..3)],
            })),
            7 => Write::EndTasks(self.some(|own| {
                let mut over = over(own.task(), own.0.u32(1..3), own.after());
                over.record.ended_at = own.moment();
                over
            })),
            8 => Write::SettleTasks(self.some(|own| TaskVerdict {
                task_id: own.task(),
                then: own.after(),
                at: own.moment(),
            })),
            9 => Write::PromoteTasks(self.some(Self::task)),
            10 => Write::RedriveTasks(self.some(Self::task)),
            _ => Write::WithdrawTasks(self.some(Self::task)),
        }
    }

    fn new_task(&mut self) -> NewTask {
        let mut new = NewTask { key: self.key(), at: self.moment(), ..new_task(self.pool().as_str()) };
        new.spec.task_id = self.task();
        new.spec.tenant = ["acme", "t"][self.0.usize(..2)].to_owned();
        new.spec.project_id = self.0.bool().then(|| "p".to_owned());
        new.spec.agent_id = self.0.bool().then(|| self.agent());
        new.spec.priority = Priority::try_from(self.0.u8(5..7)).expect("0 to 9");
        new.spec.not_before = (self.0.u8(..4) == 0).then(|| self.moment());
        new.spec.expires_at = (self.0.u8(..4) == 0).then(|| self.moment());
        new.delay = (self.0.u8(..4) == 0).then(|| Duration::from_millis(self.0.u64(..500)));
        new.start = (self.0.u8(..4) == 0).then(|| Attempt { number: 1, ..self.attempt() });
        new.input = json(&format!("\"{}\"", "x".repeat(self.0.usize(1_000..1_050))));
        new
    }

    fn attempt(&mut self) -> Attempt {
        let (agent_id, process_id) = (self.agent(), self.worker());
        Attempt { number: self.0.u32(1..3), agent_id, epoch: Epoch(self.0.u64(..9)), process_id }
    }

    fn after(&mut self) -> FollowUp {
        match self.0.u8(..6) {
            0 => FollowUp::Succeed,
            1 => FollowUp::Cancel,
            2 => FollowUp::Fail(error()),
            3 => FollowUp::Die(error()),
            4 => FollowUp::Retry { not_before: None },
            _ => FollowUp::Retry { not_before: Some(self.moment()) },
        }
    }

    fn write_of_accounts(&mut self) -> Write {
        let usage = |rng: &mut Rng| Usage { input_tokens: rng.u64(..9), output_tokens: rng.u64(..9), cost_micros: 1 };
        match self.0.u8(..7) {
            0 => Write::AddUsage(self.some(|own| UsageAdded {
                scope: [Scope::Agent, Scope::Project, Scope::Pool][own.0.usize(..3)],
                name: own.id(6),
                usage: usage(&mut own.0),
            })),
            1 => Write::AddExecutions(Executions { total: 2, succeeded: self.0.u64(..2), failed: 1 }),
            2 => {
                let pool = self.0.bool().then(|| self.pool());
                Write::ShiftWaits { pool, by_millis: self.0.i64(-300..300), step: self.0.u8(..3).to_string() }
            }
            3 => Write::NoteLife(self.life()),
            4 => Write::PauseAll { paused: self.0.bool() },
            _ => Write::Event(event(self.0.i64(0..1_000))),
        }
    }

    fn life(&mut self) -> LifeRow {
        let fence = Fence(self.0.u64(1..4));
        LifeRow { fence, part: self.0.u32(..3), began_at: self.moment(), seen_at: self.moment(), machine: None }
    }
}

/// Two engines with the same content.
struct Twins {
    memory: MemoryStore,
    sqlite: SqliteStore,
    fence: Fence,
}

/// Asks both the same: what is said of it is said twice, so it is decided before. Where an order is not promised, both answers are put into one.
macro_rules! ask {
    ($twins:ident.$question:ident($($arg:expr),*)) => { ask!($twins.$question($($arg),*), |_answer| {}) };
    ($twins:ident.$question:ident($($arg:expr),*), |$answer:ident| $arrange:expr) => {{
        let mut $answer = $twins.memory.$question($($arg),*).await.expect("an answer of memory");
        $arrange;
        let memory = $answer;
        let mut $answer = $twins.sqlite.$question($($arg),*).await.expect("an answer of SQLite");
        $arrange;
        assert_eq!(memory, $answer, "{}: in memory, and in SQLite", stringify!($question($($arg),*)));
        memory
    }};
}

impl Twins {
    async fn new(path: &std::path::Path) -> Self {
        let sqlite = SqliteStore::open(path, Durability::Process).await.expect("a new file");
        let mut twins = Self { memory: MemoryStore::new(), sqlite, fence: Fence::default() };
        twins.lead().await;
        twins
    }

    async fn lead(&mut self) {
        let Leadership::Leads(fence) = ask!(self.lead("one", "", LEASE)) else { panic!("nobody else leads") };
        self.fence = fence;
    }

    /// What changes other than by a write, now and then.
    async fn go_on(&mut self, writer: &mut Writer) {
        let (fence, early, late) = (self.fence, writer.moment(), writer.moment());
        match writer.0.u8(..16) {
            0 => {
                ask!(self.resign(fence));
                self.lead().await;
            }
            1 => drop(ask!(self.prune(fence, early, late), |pruned| {
                pruned.agents.sort_unstable();
                pruned.workers.sort_unstable();
            })),
            2 => ask!(self.bring_back(fence, late)),
            3 => {
                let oldest = writer.life();
                ask!(self.prune_lives(fence, oldest.clone()));
            }
            _ => {}
        }
    }

    async fn ask_of_pools_and_agents(&self, writer: &mut Writer) {
        let (pool, before, agent, account) = (writer.pool(), writer.worker(), writer.agent(), writer.id(6));
        ask!(self.pools());
        ask!(self.all_paused());
        ask!(self.open_workers());
        ask!(self.worker(before));
        ask!(self.ended_workers(None, None, 9));
        ask!(self.ended_workers(Some(&pool), Some(before), 2));
        ask!(self.live_agents());
        ask!(self.agent(agent));
        let ends = [None, Some(None), Some(Some(AgentState::Terminated)), Some(Some(AgentState::Quarantined))];
        let final_state = ends[writer.0.usize(..4)];
        let filter = AgentFilter { pool: writer.0.bool().then_some(pool), project: None, final_state };
        ask!(self.agents(&filter, None, 9));
        ask!(self.agents(&filter, Some(agent), 2));
        for n in 0..3 {
            ask!(self.key_holder(&key(&n.to_string(), 0)));
        }
        ask!(self.events(0, 1_000));
        ask!(self.event_bounds());
        ask!(self.lives());
        ask!(self.usage(Scope::Agent, &account, 3));
        ask!(self.usage(Scope::Project, "", 9));
        ask!(self.executions());
    }

    async fn ask_of_tasks(&self, writer: &mut Writer) {
        let (pool, agent, task, moment) = (writer.pool(), writer.agent(), writer.task(), writer.moment());
        let filter = TaskFilter {
            pool: writer.0.bool().then(|| pool.clone()),
            project: writer.0.bool().then(|| "p".to_owned()),
            tenant: writer.0.bool().then(|| "t".to_owned()),
            states: writer.some(|own| [TaskState::Queued, TaskState::Running, TaskState::Dead][own.0.usize(..3)]),
            brief: writer.0.bool(),
            order: [ListOrder::OldestFirst, ListOrder::NewestFirst][writer.0.usize(..2)],
        };
        ask!(self.tasks(&TaskFilter::default(), None, 99));
        ask!(self.tasks(&filter, Some(task), 3));
        ask!(self.task(task));
        ask!(self.task_key_holder(&key("0", 0)));
        let lines = ask!(self.task_queues(&pool), |lines| lines.sort_unstable());
        let after = writer.0.bool().then(|| writer.task());
        let piece = |line: QueueKey| QueueSlice { queue: line, after, limit: 3 };
        let pieces: Vec<QueueSlice> = lines.into_iter().map(|row| piece(row.queue)).collect();
        ask!(self.queue_slices(&pool, &pieces));
        ask!(self.running_tasks(&pool));
        ask!(self.due_tasks(&pool, moment, 3));
        ask!(self.next_due(&pool, moment));
        ask!(self.expired_tasks(&pool, moment, 3));
        ask!(self.next_expiry(&pool, moment));
        ask!(self.tasks_for(&pool, agent, 3));
        let ids = writer.some(Writer::task);
        ask!(self.inputs(&ids), |inputs| inputs.sort_unstable_by_key(|(id, _)| *id));
        ask!(self.made_since("t", task.made_at()));
        ask!(self.queue_counts(&pool));
    }
}

#[tokio::test]
async fn the_store_in_memory_answers_as_sqlite_does() {
    for seed in 0..SEEDS {
        let _teller = Teller(seed);
        let folder = tempfile::tempdir().expect("a temp folder");
        let mut twins = Twins::new(&folder.path().join("muster.db")).await;
        let mut writer = Writer(Rng::with_seed(seed));
        for _ in 0..BATCHES {
            let (fence, writes) = (twins.fence, writer.some(Writer::write));
            let memory = twins.memory.apply(fence, &writes).await.expect("the leader's own");
            let sqlite = twins.sqlite.apply(fence, &writes).await.expect("the leader's own");
            assert_eq!(memory, sqlite, "{writes:?}: in memory, and in SQLite");
            twins.go_on(&mut writer).await;
            twins.ask_of_pools_and_agents(&mut writer).await;
            twins.ask_of_tasks(&mut writer).await;
        }
        twins.sqlite.close().await;
    }
}

/// Tells the seed of a story that did not end well.
struct Teller(u64);

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}
