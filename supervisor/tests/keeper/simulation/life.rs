//! A life: what happens in it, one thing after the other.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fastrand::Rng;
use muster_domain::{
    AgentId, BreakerPolicy, CapacityTier, CapacityTiers, Clocks, OnDemand, Payload, PlacementStrategy, PoolConfig,
    PoolOrigin, PoolSpec, Priority, RestartPolicy, RetryPolicy, TaskId, Timestamp,
};
use muster_store::{Leadership, Store, Write};
use muster_supervisor::{NotBefore, RequestKey, Spawned, SupervisorError, TaskRequest, WallClock};

use super::checks::Promise;
use crate::tasks::task;
use crate::world::{Ground, World, pool};

/// Things that happen in a life.
const LENGTH: usize = 45;
/// When all lives begin.
const BIRTH: i64 = 1_800_000_000_000;
/// Tasks that an agent may have at once, at the most.
pub(super) const MOST_PER_AGENT: u32 = 3;

pub(super) struct Life {
    pub(super) rng: Rng,
    pub(super) world: World,
    /// Tasks that were acknowledged.
    pub(super) tasks: BTreeMap<TaskId, Promise>,
    /// Keys that were used, with the task of each.
    pub(super) keys: BTreeMap<(u8, u8), TaskId>,
    /// Agents that were acknowledged and that nobody has ended.
    pub(super) agents: Vec<AgentId>,
    /// The store has lied to this supervisor since it was last at rest.
    pub(super) lied: bool,
    /// It did so to one that is no more, and took its doubts with it: then there may be tasks that were refused.
    pub(super) strangers: bool,
    /// By how much the wall clock is off.
    pub(super) skew: Arc<AtomicI64>,
    /// And by how much it was at the most.
    pub(super) furthest: i64,
    story: DefaultHasher,
    began: tokio::time::Instant,
}

pub(super) fn config(rng: &mut Rng) -> PoolConfig {
    let ms = Duration::from_millis;
    let restart = RestartPolicy {
        max_restarts: 10_000,
        backoff_min: ms(200),
        backoff_max: ms(3_000),
        ..RestartPolicy::default()
    };
    let retry = RetryPolicy { backoff_min: ms(500), backoff_max: ms(8_000), poison_bound: rng.u32(1..5) };
    let breaker = BreakerPolicy {
        enabled: rng.bool(),
        share: 0.5,
        window: ms(60_000),
        least: 8,
        pause: ms(4_000),
        probes: rng.u32(1..3),
    };
    // By a copy: the lives that are known by their seeds stay what they were.
    let mut placing = rng.clone();
    let demand = OnDemand { max_agents: rng.u32(1..4), reuse: rng.bool() };
    PoolConfig {
        max_agents: rng.u32(1..4),
        max_workers: 0,
        placement: PlacementStrategy::ALL[placing.usize(..3)],
        project_affinity: placing.bool(),
        worker_idle_timeout: ms(30_000),
        restart,
        retry,
        breaker,
        tasks_per_agent: rng.u32(1..=MOST_PER_AGENT),
        on_demand: rng.bool().then_some(demand),
        max_queued: if rng.u32(..4) == 0 { 20 } else { 0 },
        task_lease: ms(60_000),
        tiers: (rng.u32(..3) == 0).then(|| tiers(rng)),
        ..PoolConfig::default()
    }
}

/// Tiers that hold all that may be wanted.
fn tiers(rng: &mut Rng) -> CapacityTiers {
    let mut tier = |most| CapacityTier { min_workers: rng.u32(..2), max_workers: most, ..CapacityTier::default() };
    let (base, spot) = (Some(tier(3)), Some(tier(0)));
    CapacityTiers { spot_share: rng.f64(), base, spot, ..CapacityTiers::default() }
}

impl Life {
    pub(super) async fn begin(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut ground = Ground::new();
        ground.store.pace(pace(rng.fork()));
        make_pool(&*ground.store, config(&mut rng)).await;
        ground.clocks = Clocks::default();
        ground.ledger.allow_tasks(MOST_PER_AGENT as usize);
        let skew = Arc::new(AtomicI64::new(0));
        ground.wall = wall_clock(skew.clone());
        Self {
            rng,
            world: ground.lead().await,
            tasks: BTreeMap::new(),
            keys: BTreeMap::new(),
            agents: Vec::new(),
            lied: false,
            strangers: false,
            skew,
            furthest: 0,
            story: DefaultHasher::new(),
            began: tokio::time::Instant::now(),
        }
    }

    /// Lives it to its end, and says what it came to.
    pub(super) async fn live(mut self) -> u64 {
        for _ in 0..LENGTH {
            self.happen().await;
            self.pass_some_time().await;
            self.check().await;
            self.write_down().await;
        }
        self.calm_down().await;
        self.come_to_rest().await;
        self.write_down().await;
        let story = self.story.finish();
        self.world.end().await;
        story
    }

    async fn happen(&mut self) {
        let luck = self.rng.u32(..100);
        self.tell(&format!("{luck}"));
        match luck {
            0..22 => self.submit_some().await,
            22..32 => self.spawn_some().await,
            32..37 => self.end_an_agent().await,
            37..52 => self.finish_some().await,
            52..57 => self.crash_an_agent().await,
            57..60 => self.kill_a_worker(),
            60..62 => self.interrupt_a_worker().await,
            62..71 => self.change_a_worker().await,
            71..76 => self.cancel_one().await,
            76..79 => self.redrive().await,
            79..83 => self.turn_a_gate().await,
            83..85 => self.change_the_pool().await,
            85..91 => self.trouble_the_store(),
            91..94 => self.trouble_the_registry(),
            94..97 => self.jump_in_time().await,
            _ => self.change_masters().await,
        }
    }

    /// Whoever plays one life again wants to see what happens in it.
    pub(super) fn tell(&self, what: &str) {
        if super::wanted().is_some() {
            eprintln!("{:>10.3} s: {what}", self.began.elapsed().as_secs_f64());
        }
    }

    async fn pass_some_time(&mut self) {
        match self.rng.u32(..4) {
            0 => tokio::task::yield_now().await,
            1 => tokio::time::sleep(Duration::from_millis(self.rng.u64(..50))).await,
            _ => tokio::time::sleep(Duration::from_millis(self.rng.u64(..3_000))).await,
        }
    }

    fn moment(&mut self, within: u64) -> Timestamp {
        self.world.ground.wall.now().after(Duration::from_millis(self.rng.u64(1..within)))
    }

    fn request(&mut self) -> TaskRequest {
        let mut request = task();
        request.input = Payload::trusted(self.rng.u32(..).to_string());
        if self.rng.u32(..40) == 0 {
            request.input = Payload::quoted(&"x".repeat(2_000));
        }
        request.tenant = Some(["acme", "bits", "corp"][self.rng.usize(..3)].to_owned());
        request.priority = Priority::try_from(self.rng.u8(4..7)).ok();
        request.max_attempts = Some(self.rng.u32(1..5));
        match self.rng.u32(..20) {
            0..2 => request.not_before = Some(NotBefore::Moment(self.moment(60_000))),
            2..4 => request.expires_at = Some(self.moment(60_000)),
            4..7 => request.agent_id = self.rng.choice(self.agents.iter().copied()),
            7 => request.timeout = Some(Duration::from_millis(self.rng.u64(1..10_000))),
            _ => {}
        }
        request
    }

    async fn submit_some(&mut self) {
        if self.rng.u32(..4) == 0 {
            return self.submit_keyed().await;
        }
        let requests: Vec<TaskRequest> = (0..self.rng.usize(1..9)).map(|_| self.request()).collect();
        let answers = self.world.tasks().submit_all(requests.clone()).await;
        for (answer, request) in answers.into_iter().zip(requests) {
            match answer {
                Ok(submitted) => drop(self.tasks.insert(submitted.task_id, Promise::of(&request))),
                Err(error) => may_be_refused(&error),
            }
        }
    }

    /// The same key and body, again and again, is the same task.
    async fn submit_keyed(&mut self) {
        let (key, body) = (self.rng.u8(..4), self.rng.u8(..2));
        let request = TaskRequest {
            key: Some(RequestKey {
                route: "POST /api/v1/tasks".to_owned(),
                key: key.to_string(),
                body_hash: [body; 32],
            }),
            ..task()
        };
        match self.world.try_submit(request.clone()).await {
            Ok(submitted) => {
                let id = *self.keys.entry((key, body)).or_insert(submitted.task_id);
                assert_eq!(id, submitted.task_id, "the same key and body is the same task");
                assert!(!self.keys.contains_key(&(key, 1 - body)), "a key stands for one body");
                self.tasks.entry(id).or_insert_with(|| Promise::of(&request));
            }
            // The other body came first, or is a stranger.
            Err(SupervisorError::KeyReused) => {
                assert!(self.strangers || self.keys.contains_key(&(key, 1 - body)), "nobody has used the key");
            }
            Err(error) => may_be_refused(&error),
        }
    }

    async fn spawn_some(&mut self) {
        for _ in 0..self.rng.usize(1..4) {
            match self.world.try_spawn(Duration::ZERO).await {
                Ok(Spawned::Running(view) | Spawned::Accepted(view)) => self.agents.push(view.agent_id),
                Err(error) => assert!(matches!(error, SupervisorError::Unavailable { .. }), "{error}"),
            }
        }
    }

    /// What has come about, for the comparison of two lives with the same seed: ids by their order.
    async fn write_down(&mut self) {
        let rows = self.rows().await;
        let places: BTreeMap<TaskId, usize> = rows.keys().copied().zip(0..).collect();
        for (id, row) in &rows {
            (places[id], row.status.state(), row.version, row.totals.attempt, row.totals.tally.spent)
                .hash(&mut self.story);
        }
        self.world.ground.ledger.running().len().hash(&mut self.story);
        self.began.elapsed().as_millis().hash(&mut self.story);
        self.tell(&format!("the story so far: {:x}", self.story.finish()));
    }

    pub(super) fn skew_by(&mut self, millis: i64) {
        let skew = self.skew.fetch_add(millis, Ordering::SeqCst) + millis;
        self.furthest = self.furthest.max(skew);
    }
}

fn may_be_refused(error: &SupervisorError) {
    let known = matches!(
        error,
        SupervisorError::Unavailable { .. }
            | SupervisorError::QueueFull { .. }
            | SupervisorError::IntakeClosed(_)
            | SupervisorError::UnknownAgent(_)
    );
    assert!(known, "{error}");
}

fn wall_clock(skew: Arc<AtomicI64>) -> WallClock {
    let began = tokio::time::Instant::now();
    WallClock::new(move || {
        let age = i64::try_from(began.elapsed().as_millis()).expect("not that old");
        Timestamp::from_millis(BIRTH + age + skew.load(Ordering::SeqCst))
    })
}

/// An answer of the store takes its time, or not.
fn pace(mut rng: Rng) -> impl FnMut() -> Option<Duration> {
    move || match rng.u64(..64) {
        0 => Some(Duration::from_millis(400)),
        luck @ 1..4 => Some(Duration::from_millis(luck * 5)),
        4..20 => Some(Duration::ZERO),
        _ => None,
    }
}

async fn make_pool(store: &dyn Store, config: PoolConfig) {
    let Ok(Leadership::Leads(fence)) = store.lead("test", "", Duration::from_secs(60)).await else {
        panic!("nobody else leads")
    };
    let (role_type, runtime) = ("developer".to_owned(), "echo".to_owned());
    let spec = PoolSpec { pool_name: pool(), role_type, runtime, config, origin: PoolOrigin::Api };
    let made = store.apply(fence, &[Write::AddPool { spec, at: Timestamp::from_millis(BIRTH) }]).await;
    made.expect("a pool");
}
