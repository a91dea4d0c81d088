//! A part of the supervisor fails: that ends its lead, and the next one goes on.

use muster_domain::{Activity, AgentState};
use muster_supervisor::LeadEnd;
use tokio_util::sync::CancellationToken;

use crate::worker::PATIENCE;
use crate::world::{World, wait_until};

/// Breaks the task that makes this call, and starts the next life.
async fn breaks(call: &'static str) {
    let mut world = World::new().await;
    let agent = world.spawn().await;
    world.ground.registry.break_once(call);
    // What calls the registry only when something changes.
    drop(world.try_spawn(std::time::Duration::ZERO).await);
    let end = tokio::time::timeout(PATIENCE, world.supervisor.ended()).await.expect("it is noticed");
    assert_eq!(end, LeadEnd::Fenced, "{call}");
    let ground = world.ground.clone();
    world.supervisor.shut_down(end, CancellationToken::new()).await;
    let world = ground.lead().await;
    wait_until("the next one adopts it", async || world.state(agent).await == AgentState::Running(Activity::Idle))
        .await;
    assert_eq!(world.agent(agent).await.epoch, 1, "the agent did not notice");
    world.spawn().await;
    world.end().await;
}

#[tokio::test]
async fn a_task_that_fails_ends_the_lead_and_the_next_lead_goes_on() {
    for call in ["pictures", "settle", "send"] {
        breaks(call).await;
    }
}
