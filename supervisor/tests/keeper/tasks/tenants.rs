//! What tenants may do.

use std::time::Duration;

use muster_domain::{PoolName, TaskState, TenantLimits, Tenants};
use muster_supervisor::{LeadEnd, NewPool, SpawnRequest, SupervisorError, TaskRequest};
use tokio_util::sync::CancellationToken;

use super::task;
use crate::worker::{OnTask, PATIENCE};
use crate::world::{Ground, World, let_pass, pool, request, wait_until};

fn acme(limits: TenantLimits) -> Tenants {
    let mut tenants = Tenants::default();
    tenants.insert("acme".to_owned(), limits);
    tenants
}

fn of(tenant: &str) -> TaskRequest {
    TaskRequest { tenant: Some(tenant.to_owned()), ..task() }
}

#[tokio::test]
async fn a_tenant_has_no_more_running_than_it_may() {
    let limits = TenantLimits { max_running: Some(2), ..TenantLimits::default() };
    let world = World::of_tenants(acme(limits)).await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(6).await;
    let bounded = world.submit_many(vec![of("acme"); 5]).await;
    let free = world.submit_many(vec![of("other"); 3]).await;
    wait_until("five run", async || world.ground.ledger.under_way().len() == 5).await;
    let_pass(&world).await;
    let runs = |ids: &[muster_domain::TaskId]| {
        let under_way = world.ground.ledger.under_way();
        ids.iter().filter(|id| under_way.contains_key(id)).count()
    };
    assert_eq!((runs(&bounded), runs(&free)), (2, 3));
    assert_eq!(world.tasks().quota(Some("acme".to_owned())).await.expect("a quota").running, 2);
    for id in &bounded {
        world.holder(*id).await.answer(*id).await;
        assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
        assert!(runs(&bounded) <= 2);
    }
    for id in free {
        world.holder(id).await.answer(id).await;
    }
    world.wait_queue(0, 0, 0).await;
    assert_eq!(world.tasks().quota(Some("acme".to_owned())).await.expect("a quota").running, 0);
    world.end().await;
}

#[tokio::test]
async fn what_one_pool_frees_is_used_by_another_at_once() {
    let limits = TenantLimits { max_running: Some(1), ..TenantLimits::default() };
    let mut ground = Ground::new();
    // Nobody looks again without a reason.
    ground.clocks.pass = Duration::from_hours(1);
    let world = ground.lead_with(|parts| parts.tenants = acme(limits)).await;
    let other: PoolName = "other_pool".parse().expect("a name");
    for pool_name in [pool(), other.clone()] {
        let (role_type, config) = ("developer".to_owned(), crate::world::config());
        world.pools().create(NewPool { pool_name, role_type, runtime: None, config }).await.expect("a pool");
    }
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let there = SpawnRequest { pool_name: other.clone(), ..request() };
    world.agents().spawn(there, PATIENCE).await.expect("an agent");
    let (first, worker) = world.start_task(of("acme")).await;
    let waiting = world.submit(TaskRequest { pool_name: other, ..of("acme") }).await;
    assert_eq!(world.task(waiting).await.state, TaskState::Queued);
    worker.answer(first).await;
    world.holder(waiting).await.answer(waiting).await;
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_new_master_goes_on_with_thousands_of_tenants() {
    let world = World::of_tasks().await;
    let tasks = world.submit_many((0..1_500).map(|n| of(&format!("tenant-{n}"))).collect()).await;
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    let world = ground.lead().await;
    assert!(world.queue().await.oldest_wait.is_some(), "nothing was read yet, and something waits all the same");
    world.spawn_many(8).await;
    world.wait_queue(0, 0, 0).await;
    for task in tasks {
        assert_eq!(world.ground.ledger.times_done(task), 1);
    }
    world.end().await;
}

#[tokio::test]
async fn a_tenant_submits_no_more_a_day_than_it_may_also_with_a_new_master() {
    let limits = TenantLimits { per_day: Some(4), ..TenantLimits::default() };
    let world = World::of_tenants(acme(limits)).await;
    world.submit_many(vec![of("acme"); 3]).await;
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    let world = ground.lead_with(|parts| parts.tenants = acme(limits)).await;
    assert_eq!(world.tasks().quota(Some("acme".to_owned())).await.expect("a quota").left.today, Some(1));
    world.submit(of("acme")).await;
    let refused = world.try_submit(of("acme")).await;
    assert!(matches!(refused, Err(SupervisorError::QuotaExceeded { limit: "per_day", .. })), "{refused:?}");
    world.submit(of("other")).await;
    world.end().await;
}

#[tokio::test]
async fn a_tenant_submits_no_faster_than_it_may() {
    let limits = TenantLimits { rate: Some(0.01), ..TenantLimits::default() };
    let world = World::of_tenants(acme(limits)).await;
    world.submit(of("acme")).await;
    let refused = world.try_submit(of("acme")).await;
    let Err(SupervisorError::QuotaExceeded { limit, retry_after: Some(wait), .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(limit, "rate");
    assert!((50..=100).contains(&wait.as_secs()), "{wait:?}");
    world.end().await;
}
