//! Which worker an agent gets, by the pool's own rule.

use std::collections::BTreeMap;
use std::process::{Child, Command};
use std::time::Duration;

use muster_domain::scaling::{ProactivePolicy, ScalingPolicy};
use muster_domain::{AgentId, LocalIdentity, PlacementStrategy, PoolConfig, ProcessId, ScalingConfig, ScalingMode};
use muster_supervisor::{SpawnRequest, Spawned, TaskRequest};
use serde_json::json;

use crate::tasks::task;
use crate::worker::{OnTask, PATIENCE};
use crate::world::{Ground, World, config, let_pass, pool, request, wait_until};

/// Of workers of `max_agents`, of which `workers` are always there.
fn placed_by(placement: PlacementStrategy, workers: u32, max_agents: u32) -> PoolConfig {
    PoolConfig { placement, min_workers: workers, max_agents, max_workers: 10, ..config() }
}

async fn wait_ready(world: &World, workers: u32) {
    wait_until(&format!("{workers} workers are ready"), async || world.pool().await.active_worker_processes == workers)
        .await;
}

async fn world_of(config: PoolConfig) -> World {
    let (world, workers) = (Ground::new().lead().await, config.min_workers);
    world.create_pool(config).await;
    wait_ready(&world, workers).await;
    world
}

async fn spawn_of(world: &World, project: &str) -> ProcessId {
    let request = SpawnRequest { project_id: project.to_owned(), ..request() };
    match world.agents().spawn(request, PATIENCE).await.expect("an agent") {
        Spawned::Running(view) => view.process_id.expect("it has a slot"),
        Spawned::Accepted(view) => panic!("it does not run: {view:?}"),
    }
}

/// How many agents each worker that lives holds, the fullest first.
async fn shares(world: &World) -> Vec<usize> {
    let mut held = Vec::new();
    for worker in world.launcher().living() {
        held.push(worker.holds().await.len());
    }
    held.sort_unstable_by(|one, other| other.cmp(one));
    held
}

#[tokio::test]
async fn agents_fill_one_worker_or_go_round_all_as_the_pool_says() {
    for (placement, together, with_one_more) in [
        (PlacementStrategy::Pack, [7, 0, 0], [8, 0, 0]),
        (PlacementStrategy::Spread, [3, 2, 2], [3, 3, 2]),
        // Nobody measures anything.
        (PlacementStrategy::LeastLoaded, [3, 2, 2], [3, 3, 2]),
    ] {
        let world = world_of(placed_by(placement, 3, 10)).await;
        world.spawn_many(7).await;
        assert_eq!(shares(&world).await, together, "{placement:?}");
        world.spawn().await;
        assert_eq!(shares(&world).await, with_one_more, "{placement:?}");
        assert_eq!(world.pool().await.process_count, 3, "no more workers than packing needs");
        world.end().await;
    }
}

#[tokio::test]
async fn what_a_worker_held_goes_round_the_others_when_it_dies() {
    let world = world_of(placed_by(PlacementStrategy::Spread, 3, 10)).await;
    let agents = world.spawn_many(6).await;
    assert_eq!(shares(&world).await, [2, 2, 2]);
    world.worker_of(agents[0]).await.die();
    wait_until("all run again", async || {
        world.pool().await.agent_count == 6 && shares(&world).await.iter().sum::<usize>() == 6
    })
    .await;
    assert_eq!(shares(&world).await[..2], [3, 3], "one each");
    world.end().await;
}

#[tokio::test]
async fn a_new_supervisor_spreads_what_it_restores_over_the_workers_that_it_starts_anyway() {
    let world = world_of(placed_by(PlacementStrategy::Spread, 3, 10)).await;
    world.spawn_many(6).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    ground.launcher.living().iter().for_each(crate::worker::FakeWorker::die);
    let world = ground.lead().await;
    wait_until("all run again", async || shares(&world).await.iter().sum::<usize>() == 6).await;
    assert_eq!(shares(&world).await, [2, 2, 2]);
    world.end().await;
}

#[tokio::test]
async fn agents_for_tasks_are_placed_like_others() {
    let world = World::of_tasks_with(|config| {
        (config.placement, config.project_affinity) = (PlacementStrategy::Spread, true);
        (config.max_agents, config.min_workers, config.max_workers) = (4, 2, 2);
        config.on_demand = Some(muster_domain::OnDemand { max_agents: 0, reuse: true });
    })
    .await;
    world.on_task(OnTask::Hold).await;
    wait_ready(&world, 2).await;
    let of = |project: Option<&str>| TaskRequest { project_id: project.map(str::to_owned), ..task() };
    // Those without a project belong to nobody, not to each other.
    world.submit_many(vec![of(None), of(None), of(None), of(None)]).await;
    wait_until("four run", async || world.queue().await.running == 4).await;
    assert_eq!(shares(&world).await, [2, 2]);
    world.submit_many(vec![of(Some("shop")), of(Some("shop"))]).await;
    wait_until("six run", async || world.queue().await.running == 6).await;
    assert_eq!(shares(&world).await, [4, 2], "these two are together");
    world.end().await;
}

#[tokio::test]
async fn agents_of_a_project_are_together_while_there_is_room_and_wait_for_none() {
    let config = PoolConfig { project_affinity: true, ..placed_by(PlacementStrategy::Spread, 2, 3) };
    let world = world_of(config).await;
    let shop = spawn_of(&world, "shop").await;
    let blog = spawn_of(&world, "blog").await;
    assert_ne!(shop, blog, "of no project yet: the emptiest");
    assert_eq!(spawn_of(&world, "shop").await, shop);
    assert_eq!(spawn_of(&world, "shop").await, shop, "though the other one is emptier");
    assert_eq!(spawn_of(&world, "shop").await, blog, "there is no room beside them");
    assert_eq!(world.pool().await.process_count, 2, "and no worker is started for that");
    world.end().await;
}

#[tokio::test]
async fn a_pool_whose_rule_is_changed_goes_by_the_new_one_and_knows_where_projects_are() {
    let world = world_of(placed_by(PlacementStrategy::Spread, 2, 10)).await;
    let shop = spawn_of(&world, "shop").await;
    let blog = spawn_of(&world, "blog").await;
    assert_ne!(shop, blog);
    let change = async |patch| world.pools().change(&pool(), &patch).await.expect("changed");
    let changed = change(json!({"project_affinity": true})).await;
    assert!(changed.config.project_affinity);
    assert_eq!([spawn_of(&world, "blog").await, spawn_of(&world, "blog").await], [blog, blog]);
    assert_eq!(spawn_of(&world, "shop").await, shop);
    change(json!({"project_affinity": false})).await;
    assert_eq!(spawn_of(&world, "blog").await, shop, "the emptier one");
    change(json!({"placement": "pack"})).await;
    assert_eq!(spawn_of(&world, "shop").await, spawn_of(&world, "shop").await, "even ones: one of them is filled");
    let refused = world.pools().change(&pool(), &json!({"placement": "random"})).await.expect_err("no such strategy");
    assert!(refused.to_string().contains("least_loaded"), "{refused}");
    world.end().await;
}

/// Real processes in place of workers, so that there is something to measure.
struct Processes(Vec<Child>);

impl Processes {
    fn start(scripts: &[&str]) -> Self {
        let start = |script: &&str| Command::new("sh").args(["-c", script]).spawn().expect("a process");
        Self(scripts.iter().map(start).collect())
    }

    fn identities(&self) -> Vec<LocalIdentity> {
        self.0.iter().map(|child| muster_process::identity::of(child.id()).expect("it lives")).collect()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn agents_go_to_the_worker_that_uses_least_as_measured() {
    let interval = Duration::from_millis(200);
    let world = Ground::new().lead_with(|parts| parts.settings.metrics_interval = Some(interval)).await;
    let processes = Processes::start(&["while :; do :; done", "exec sleep 600", "exec sleep 600"]);
    let identities = processes.identities();
    for identity in identities.clone() {
        world.launcher().next(|habits| habits.process = Some(identity));
    }
    world.create_pool(placed_by(PlacementStrategy::Spread, 3, 20)).await;
    wait_ready(&world, 3).await;
    world.spawn_many(3).await;
    let workers: BTreeMap<u32, _> = world
        .launcher()
        .workers()
        .into_iter()
        .map(|worker| (worker.identity().as_local().expect("a local one").pid, worker))
        .collect();
    let busy = &workers[&identities[0].pid];
    assert_eq!(busy.holds().await.len(), 1);
    wait_until("its work is seen", async || {
        let newest = world.metrics().of_worker(busy.id()).await.expect("a worker").into_iter().next();
        newest.is_some_and(|newest| newest.cpu_percent > 10.0)
    })
    .await;
    world.pools().change(&pool(), &json!({"placement": "least_loaded"})).await.expect("changed");
    for _ in 0..4 {
        world.spawn().await;
    }
    assert_eq!(
        (busy.holds().await.len(), shares(&world).await),
        (1, vec![3, 3, 1]),
        "by numbers it would have got one"
    );
    world.end().await;
}

/// A pool that is to have one worker less, where each has work: one with a busy agent and two that rest, the other with one of each. Says
/// how often the one that rests there was placed.
async fn placed_where_all_have_work(placement: PlacementStrategy) -> u64 {
    let world = World::of_tasks_with(|config| {
        (config.max_agents, config.max_workers) = (4, 4);
        let policies = vec![ScalingPolicy::Proactive(ProactivePolicy::default())];
        config.scaling = ScalingConfig { mode: ScalingMode::On, policies, ..ScalingConfig::default() };
    })
    .await;
    world.on_task(OnTask::Hold).await;
    let agents = world.spawn_many(6).await;
    let mut of_worker: BTreeMap<ProcessId, Vec<AgentId>> = BTreeMap::new();
    for agent in agents {
        of_worker.entry(world.worker_of(agent).await.id()).or_default().push(agent);
    }
    let mut held: Vec<Vec<AgentId>> = of_worker.into_values().collect();
    held.sort_by_key(Vec::len);
    let [few, many] = &held[..] else { panic!("two workers: {held:?}") };
    assert_eq!((few.len(), many.len()), (2, 4));
    world.terminate(many[3]).await;
    for agent in [few[0], many[0]] {
        world.start_task(TaskRequest { agent_id: Some(agent), ..task() }).await;
    }
    world.pools().change(&pool(), &json!({"placement": placement})).await.expect("changed");
    world.pools().scale(&pool(), Some(1)).await.expect("scaled");
    for _ in 0..5 {
        let_pass(&world).await;
    }
    let epoch = world.agent(few[1]).await.epoch;
    world.end().await;
    epoch
}

#[tokio::test]
async fn agents_are_moved_together_only_where_they_are_packed() {
    assert_eq!(placed_where_all_have_work(PlacementStrategy::Pack).await, 2, "its worker gets empty with its work");
    for placement in [PlacementStrategy::Spread, PlacementStrategy::LeastLoaded] {
        assert_eq!(placed_where_all_have_work(placement).await, 1, "{placement:?}: it would come back");
    }
}
