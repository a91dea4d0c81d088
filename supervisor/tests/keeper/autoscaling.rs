//! What a pool's policies decide, and what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_domain::agent::StopReason;
use muster_domain::scaling::{Amount, DecisionState, Direction, ScalingActor, StepPolicy, TargetMetric, TargetPolicy};
use muster_domain::{HoldKind, OnDemand, PoolConfig, ScalingConfig, ScalingMode, ScalingPolicy, TaskId, TaskState};
use muster_store::Write;
use muster_store::testing::Commit;
use muster_supervisor::{AlertKind, DecisionView, PoolStatus, WhatIf};
use serde_json::json;

use crate::tasks::task;
use crate::worker::OnTask;
use crate::world::{Ground, World, let_pass, pool, wait_until};

/// Two waiting tasks a worker, without any cooldown.
fn by_queue() -> ScalingPolicy {
    ScalingPolicy::Target(TargetPolicy {
        metric: TargetMetric::QueuePerWorker,
        target: Some(2.0),
        cooldown_out: Duration::ZERO,
        cooldown_in: Duration::ZERO,
        ..TargetPolicy::default()
    })
}

/// Of workers of two agents, at most four, which follow these policies.
fn scaled(mode: ScalingMode, policies: Vec<ScalingPolicy>) -> impl FnOnce(&mut PoolConfig) {
    move |config| {
        (config.max_agents, config.min_workers, config.max_workers) = (2, 0, 4);
        config.on_demand = Some(OnDemand { max_agents: 0, reuse: true });
        let check_interval = Duration::from_millis(100);
        config.scaling = ScalingConfig { mode, check_interval, policies, ..ScalingConfig::default() };
    }
}

async fn decisions(world: &World) -> Vec<DecisionView> {
    world.scaling().of_pool(&pool(), None, 100).await.expect("decisions").decisions
}

/// A pool that is to have one worker while four tasks need two, and has 400 ms for it.
async fn too_busy() -> (World, Vec<TaskId>) {
    let mut ground = Ground::new();
    ground.clocks.start_timeout = Duration::from_millis(400);
    let world = ground.lead().await;
    let mut config = crate::world::config();
    crate::tasks::tasks_config(&mut config);
    scaled(ScalingMode::Off, Vec::new())(&mut config);
    world.create_pool(config).await;
    world.on_task(OnTask::Hold).await;
    let tasks = world.submit_many(vec![task(); 4]).await;
    wait_until("four run", async || world.queue().await.running == 4).await;
    world.pools().scale(&pool(), Some(1)).await.expect("scaled");
    (world, tasks)
}

async fn wait_target(world: &World, target: u32) {
    wait_until(&format!("{target} workers are to be there"), async || {
        world.pool().await.scale.target_workers == Some(target)
    })
    .await;
}

#[tokio::test]
async fn a_queue_raises_the_pool_and_its_end_lowers_it_and_no_task_is_ended() {
    let world = World::of_tasks_with(scaled(ScalingMode::On, vec![by_queue()])).await;
    world.on_task(OnTask::Hold).await;
    wait_target(&world, 0).await;
    let tasks = world.submit_many(vec![task(); 12]).await;
    // The first one at once, and the others as the policy sees the queue, up to the bound.
    wait_target(&world, 4).await;
    wait_until("eight agents have tasks", async || world.queue().await.running == 8).await;
    assert_eq!(world.pool().await.process_count, 4);
    let made = decisions(&world).await;
    let first = made.iter().find(|decision| decision.actor == ScalingActor::FirstTask).expect("the first worker");
    assert_eq!((first.from_workers, first.to_workers, first.direction), (Some(0), Some(1), Some(Direction::Out)));
    let out = made.iter().find(|decision| decision.actor == ScalingActor::Policies && decision.direction.is_some());
    let out = out.expect("the policy's");
    assert_eq!(out.decided_by.as_deref(), Some("target queue_per_worker"));
    assert!(out.inputs["picture"]["queue"].is_u64() && out.inputs["votes"][0]["reason"].is_string(), "{out:?}");
    world.on_task(OnTask::Answer).await;
    for id in &tasks[..8] {
        world.holder(*id).await.answer(*id).await;
    }
    for id in tasks {
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    wait_target(&world, 0).await;
    wait_until("nobody is left", async || {
        let pool = world.pool().await;
        (pool.process_count, pool.agent_count, pool.scale.status) == (0, 0, PoolStatus::Active)
    })
    .await;
    wait_until("all of it is carried out", async || {
        decisions(&world).await.iter().all(|decision| decision.state != DecisionState::Pending)
    })
    .await;
    let ended = decisions(&world).await;
    assert!(
        ended.iter().any(|one| one.direction == Some(Direction::In) && one.state == DecisionState::Done),
        "{ended:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn advice_is_recorded_and_changes_nothing() {
    let world = World::of_tasks_with(scaled(ScalingMode::Advise, vec![by_queue()])).await;
    world.on_task(OnTask::Hold).await;
    world.submit_many(vec![task(); 12]).await;
    wait_until("eight agents run, as without scaling", async || world.pool().await.agent_count == 8).await;
    wait_until("it is advised", async || !decisions(&world).await.is_empty()).await;
    let shown = world.pool().await.scale;
    assert_eq!((shown.target_workers, shown.status, shown.advising), (None, PoolStatus::Active, true));
    assert!(decisions(&world).await.iter().all(|decision| decision.advised && decision.state == DecisionState::Noted));
    world.end().await;
}

#[tokio::test]
async fn a_persons_decision_holds_the_policies_and_is_a_row() {
    let world = World::of_tasks_with(scaled(ScalingMode::On, vec![by_queue()])).await;
    world.pools().scale(&pool(), Some(2)).await.expect("scaled");
    wait_until("the policies are held", async || world.pool().await.scale.held == Some(HoldKind::Person)).await;
    for _ in 0..3 {
        let_pass(&world).await;
    }
    let shown = world.pool().await.scale;
    assert_eq!((shown.target_workers, shown.status), (Some(2), PoolStatus::Held));
    let made = decisions(&world).await;
    assert_eq!(
        made.iter().filter(|decision| decision.hold == Some(HoldKind::Person)).count(),
        1,
        "once, not each check"
    );
    let by_person = made.iter().find(|decision| decision.actor == ScalingActor::Person).expect("a row");
    assert_eq!((by_person.to_workers, by_person.to_agents), (Some(2), Some(4)));
    // Without the person's word the policy goes on from there, and lets them go since it sees no queue.
    let released = world.pools().scale(&pool(), None).await.expect("released");
    assert!(released.scale.target_workers.is_some(), "nothing is without a bound meanwhile");
    wait_target(&world, 0).await;
    world.end().await;
}

#[tokio::test]
async fn idle_agents_of_people_move_and_those_for_tasks_end() {
    let world = World::of_tasks_with(|config| {
        (config.max_agents, config.max_workers) = (2, 4);
        config.on_demand = Some(OnDemand { max_agents: 2, reuse: true });
    })
    .await;
    let task = world.submit(task()).await;
    world.done(task).await;
    let agents = world.spawn_many(3).await;
    wait_until("two workers are full", async || {
        let pool = world.pool().await;
        (pool.process_count, pool.used_capacity) == (2, 4)
    })
    .await;
    // One slot is for somebody who moves.
    world.terminate(agents[0]).await;
    let before: Vec<_> = [world.agent(agents[1]).await, world.agent(agents[2]).await].into();
    world.pools().scale(&pool(), Some(1)).await.expect("scaled");
    wait_until("one worker is left, with the agents of people", async || {
        let pool = world.pool().await;
        (pool.process_count, pool.agent_count, pool.active_worker_processes) == (1, 2, 1)
    })
    .await;
    for agent in before {
        let now = world.agent(agent.agent_id).await;
        assert_eq!((now.state.as_str(), now.restarts), ("idle", agent.restarts), "it cost nothing: {now:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_worker_with_work_is_never_chosen_and_a_decision_that_waits_for_it_fails_and_blocks_nothing() {
    let (world, tasks) = too_busy().await;
    wait_until("it is not carried out in time", async || {
        let made = decisions(&world).await;
        made.first().is_some_and(|decision| decision.state == DecisionState::Failed)
    })
    .await;
    let alerts = world.system().alerts();
    assert!(alerts.iter().any(|alert| alert.kind == AlertKind::ScalingFailed), "{alerts:?}");
    assert_eq!(world.queue().await.running, 4, "nobody was touched");
    for id in &tasks {
        world.holder(*id).await.answer(*id).await;
        assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
    }
    wait_until("one worker is left", async || world.pool().await.process_count == 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_new_supervisor_goes_on_and_makes_no_decision_twice() {
    let world = World::of_tasks_with(scaled(ScalingMode::On, vec![by_queue()])).await;
    world.on_task(OnTask::Hold).await;
    world.submit_many(vec![task(); 12]).await;
    wait_target(&world, 4).await;
    let before = decisions(&world).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    let world = ground.lead().await;
    wait_until("it decides again", async || world.pool().await.scale.held.is_some()).await;
    assert_eq!(world.pool().await.scale.target_workers, Some(4));
    let since: Vec<DecisionView> = decisions(&world)
        .await
        .into_iter()
        .filter(|one| before.iter().all(|old| old.decision_id != one.decision_id))
        .collect();
    assert!(since.iter().all(|decision| decision.direction.is_none()), "{since:?}");
    world.end().await;
}

#[tokio::test]
async fn a_decision_that_the_store_does_not_take_is_made_anew_by_the_next_check() {
    let world = World::of_tasks_with(scaled(ScalingMode::On, vec![by_queue()])).await;
    world.on_task(OnTask::Hold).await;
    wait_target(&world, 0).await;
    let is_policys = |write: &Write| matches!(write, Write::AddDecision(record) if record.actor == ScalingActor::Policies && record.direction().is_some());
    world.store().once(is_policys, Commit::Refuse);
    world.submit_many(vec![task(); 12]).await;
    wait_target(&world, 4).await;
    let made = decisions(&world).await;
    let raised: Vec<&DecisionView> = made.iter().filter(|one| one.direction == Some(Direction::Out)).collect();
    assert!(
        raised.windows(2).all(|pair| pair[0].from_workers == pair[1].to_workers),
        "each goes on from the last: {raised:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_what_if_answers_and_acts_not() {
    let step = ScalingPolicy::Step(StepPolicy {
        queue_above: Some(10),
        cpu_above: Some(80.0),
        out: Amount::Percent(20),
        ..StepPolicy::default()
    });
    let world = World::of_tasks_with(|config| {
        scaled(ScalingMode::On, vec![step])(config);
        (config.max_workers, config.min_workers) = (20, 6);
        config.scaling.check_interval = Duration::from_mins(1);
    })
    .await;
    wait_target(&world, 6).await;
    wait_until("they are there", async || {
        let made = decisions(&world).await;
        made.first().is_some_and(|decision| decision.state == DecisionState::Done)
    })
    .await;
    let asked = WhatIf { queue: Some(15), cpu: Some(85.0), ..WhatIf::default() };
    let answer = world.scaling().what_if(&pool(), asked).await.expect("an answer");
    assert_eq!(
        (answer.from_workers, answer.to_workers, answer.decided_by.as_deref()),
        (6, 8, Some("step")),
        "{answer:?}"
    );
    assert_eq!(answer.picture["queue"], json!(15));
    let now = world.scaling().what_if(&pool(), WhatIf::default()).await.expect("an answer");
    assert_eq!((now.to_workers, now.direction), (6, None), "{now:?}");
    assert_eq!(world.pool().await.scale.target_workers, Some(6));
    world.end().await;
}

#[tokio::test]
async fn scaling_that_is_turned_off_leaves_no_target_but_a_persons() {
    let world = World::of_tasks_with(scaled(ScalingMode::On, vec![by_queue()])).await;
    wait_target(&world, 0).await;
    let patch = |mode: &str| json!({"scaling": {"mode": mode}});
    world.pools().change(&pool(), &patch("off")).await.expect("changed");
    wait_until("it is released", async || world.pool().await.scale.target_workers.is_none()).await;
    world.pools().change(&pool(), &patch("on")).await.expect("changed");
    wait_target(&world, 0).await;
    world.pools().scale(&pool(), Some(3)).await.expect("scaled");
    world.pools().change(&pool(), &patch("off")).await.expect("changed");
    let_pass(&world).await;
    assert_eq!(world.pool().await.scale.target_workers, Some(3));
    world.end().await;
}

#[tokio::test]
async fn without_an_autoscaler_no_pool_scales() {
    let ground = Ground::new();
    let world = ground.lead_with(|parts| parts.settings.autoscaler = false).await;
    let mut config = crate::world::config();
    crate::tasks::tasks_config(&mut config);
    scaled(ScalingMode::On, vec![by_queue()])(&mut config);
    world.create_pool(config).await;
    let_pass(&world).await;
    let shown = world.scaling().of_pool(&pool(), None, 10).await.expect("an answer");
    assert_eq!((shown.mode, shown.scale.target_workers, shown.decisions.len()), (ScalingMode::Off, None, 0));
    world.end().await;
}

#[tokio::test]
async fn what_is_carried_out_after_all_is_an_alert_no_more() {
    let (world, tasks) = too_busy().await;
    let is_told =
        || world.system().alerts().iter().any(|alert| alert.kind == AlertKind::ScalingFailed && alert.until.is_none());
    wait_until("it is told", async || is_told()).await;
    for id in tasks {
        world.holder(id).await.answer(id).await;
    }
    wait_until("one worker is left", async || world.pool().await.process_count == 1).await;
    wait_until("it is over", async || !is_told() || world.system().view().await.alerts.is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn of_two_decisions_at_once_the_last_one_counts_and_none_is_left_open() {
    let world = World::of_tasks_with(scaled(ScalingMode::Off, Vec::new())).await;
    let (pools, name) = (world.pools(), pool());
    let both = tokio::join!(pools.scale(&name, Some(1)), pools.scale(&name, Some(2)));
    both.0.and(both.1).expect("scaled");
    let last = decisions(&world).await[0].to_workers.expect("a number");
    assert_eq!(world.pool().await.scale.target_workers, Some(last));
    wait_until("both have come to their end", async || {
        let made = decisions(&world).await;
        made.len() == 2 && made.iter().all(|decision| decision.state != DecisionState::Pending)
    })
    .await;
    assert_eq!(decisions(&world).await.iter().filter(|one| one.state == DecisionState::Superseded).count(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_decision_that_was_stored_though_it_seemed_refused_is_followed_to_its_end() {
    let world = World::of_tasks_with(scaled(ScalingMode::Off, Vec::new())).await;
    let_pass(&world).await;
    world.store().once(|write| matches!(write, Write::ScalePool { .. }), Commit::Lie);
    world.pools().scale(&pool(), Some(2)).await.expect_err("nobody knows");
    wait_target(&world, 2).await;
    wait_until("it is carried out", async || {
        let made = decisions(&world).await;
        made.first().is_some_and(|decision| decision.state == DecisionState::Done)
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_person_may_lower_a_pool_that_has_work_and_its_workers_end_as_that_is_done() {
    let world = World::of_tasks_with(scaled(ScalingMode::On, vec![by_queue()])).await;
    world.on_task(OnTask::Hold).await;
    world.pools().scale(&pool(), Some(4)).await.expect("scaled");
    let tasks = world.submit_many(vec![task(); 8]).await;
    wait_until("eight run", async || world.queue().await.running == 8).await;
    world.pools().scale(&pool(), Some(1)).await.expect("scaled");
    wait_until("the policies are held", async || world.pool().await.scale.held == Some(HoldKind::Person)).await;
    assert_eq!((world.pool().await.scale.target_workers, world.queue().await.running), (Some(1), 8));
    for id in tasks {
        world.holder(id).await.answer(id).await;
    }
    wait_until("one worker is left", async || world.pool().await.process_count == 1).await;
    assert_eq!(world.pool().await.scale.target_workers, Some(1));
    world.end().await;
}

#[tokio::test]
async fn a_decision_is_measured_by_the_bounds_of_now() {
    let world = World::of_tasks_with(scaled(ScalingMode::Off, Vec::new())).await;
    world.pools().scale(&pool(), Some(4)).await.expect("scaled");
    world.pools().change(&pool(), &json!({"max_workers": 2})).await.expect("changed");
    wait_until("it is carried out", async || decisions(&world).await[0].state == DecisionState::Done).await;
    assert_eq!(world.pool().await.process_count, 2);
    world.end().await;
}

#[tokio::test]
async fn an_end_that_the_store_did_not_take_is_none_for_an_agent_that_has_work_by_then() {
    let world = World::of_tasks_with(scaled(ScalingMode::Off, Vec::new())).await;
    let first = world.submit(task()).await;
    world.done(first).await;
    wait_until("its agent is idle", async || world.queue().await.running == 0).await;
    let (is_away, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (away, told) = (Arc::clone(&is_away), Arc::clone(&refused));
    world.store().judge(move |writes| {
        let ends = |write: &Write| matches!(write, Write::StopAgent { reason: StopReason::ScaledIn, .. });
        if away.load(Ordering::SeqCst) && writes.iter().any(ends) {
            told.store(true, Ordering::SeqCst);
            return Commit::Fail;
        }
        Commit::Pass
    });
    world.on_task(OnTask::Hold).await;
    world.pools().scale(&pool(), Some(0)).await.expect("scaled");
    wait_until("its end is refused", async || refused.load(Ordering::SeqCst)).await;
    let second = loop {
        if let Ok(submitted) = world.try_submit(task()).await {
            break submitted.task_id;
        }
        tokio::task::yield_now().await;
    };
    wait_until("it has work", async || world.queue().await.running == 1).await;
    is_away.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        let_pass(&world).await;
    }
    assert_eq!(world.task(second).await.state, TaskState::Running);
    world.holder(second).await.answer(second).await;
    assert_eq!(world.end_of(second).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn the_same_number_again_is_what_is_carried_out() {
    let world = World::of_tasks_with(scaled(ScalingMode::Off, Vec::new())).await;
    world.launcher().fail(1);
    world.pools().scale(&pool(), Some(2)).await.expect("scaled");
    assert_eq!(decisions(&world).await[0].state, DecisionState::Pending);
    world.pools().scale(&pool(), Some(2)).await.expect("scaled");
    wait_until("it is carried out", async || decisions(&world).await[0].state == DecisionState::Done).await;
    assert_eq!(world.pool().await.active_worker_processes, 2);
    assert_eq!(decisions(&world).await[1].state, DecisionState::Superseded);
    world.end().await;
}
