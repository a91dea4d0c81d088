//! Agents on demand.

use muster_domain::{Activity, AgentState, OnDemand, TaskState};
use muster_supervisor::{AgentQuery, TaskRequest};

use super::task;
use crate::worker::OnTask;
use crate::world::{World, let_pass, wait_until};

async fn of_demand(max_agents: u32, reuse: bool) -> World {
    World::of_tasks_with(|config| config.on_demand = Some(OnDemand { max_agents, reuse })).await
}

async fn agents(world: &World) -> u32 {
    world.pool().await.agent_count
}

#[tokio::test]
async fn a_task_finds_an_agent_that_nobody_spawned() {
    let world = of_demand(0, true).await;
    let first = world.submit(TaskRequest { project_id: Some("shop".to_owned()), ..task() }).await;
    let view = world.done(first).await;
    assert_eq!(view.state, TaskState::Succeeded);
    let agent = world.agent(view.agent_id.expect("it had one")).await;
    assert_eq!((agent.project_id.as_str(), agent.state), ("shop", AgentState::Running(Activity::Idle)));
    let second = world.done(world.submit(task()).await).await;
    assert_eq!(second.agent_id, Some(agent.agent_id), "it stays, and is used again");
    assert_eq!(agents(&world).await, 1);
    world.end().await;
}

#[tokio::test]
async fn no_more_agents_are_started_than_may() {
    let world = of_demand(3, true).await;
    world.on_task(OnTask::Hold).await;
    let tasks = world.submit_many(vec![task(); 10]).await;
    wait_until("three run", async || world.ground.ledger.under_way().len() == 3).await;
    let_pass(&world).await;
    assert_eq!((agents(&world).await, world.queue().await.running), (3, 3));
    world.on_task(OnTask::Answer).await;
    for (id, _) in world.ground.ledger.under_way() {
        world.holder(id).await.answer(id).await;
    }
    for id in tasks {
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    assert_eq!(agents(&world).await, 3);
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_does_one_task_ends_with_it() {
    let world = of_demand(2, false).await;
    let tasks = world.submit_many(vec![task(); 6]).await;
    let mut used = Vec::new();
    for id in tasks {
        let view = world.done(id).await;
        assert_eq!(view.state, TaskState::Succeeded);
        used.push(view.agent_id.expect("it had one"));
    }
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 6, "one each");
    wait_until("none is left", async || agents(&world).await == 0).await;
    let query = AgentQuery { limit: 100, ..AgentQuery::default() };
    let all = world.agents().list(query).await.expect("agents").items;
    assert!(all.iter().all(|agent| agent.reason.as_deref() == Some("task_done")), "{all:?}");
    world.end().await;
}

#[tokio::test]
async fn none_is_started_for_a_paused_pool() {
    let world = of_demand(0, true).await;
    world.pools().pause(crate::world::pool()).await.expect("paused");
    let waiting = world.submit(task()).await;
    let_pass(&world).await;
    assert_eq!(agents(&world).await, 0);
    world.pools().resume(crate::world::pool()).await.expect("resumed");
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn an_agent_on_demand_whose_worker_dies_does_not_keep_its_task() {
    let world = of_demand(1, false).await;
    world.on_task(OnTask::Hold).await;
    let held = world.submit(task()).await;
    world.holder(held).await.die();
    world.wait_attempt(held, 2).await.answer(held).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    wait_until("none is left", async || agents(&world).await == 0).await;
    world.end().await;
}
