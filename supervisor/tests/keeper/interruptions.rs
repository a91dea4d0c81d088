//! The capacity under a worker is taken away, as somebody says before.

use std::time::Duration;

use muster_domain::{
    Activity, AgentState, AttemptEnd, Cause, EventKind, Halt, ProcessId, TaskId, TaskState, WorkerCause, WorkerState,
};
use muster_store::testing::Commit;
use muster_store::{Store, Write};
use muster_supervisor::{EndedQuery, EndedWorkerView, SupervisorError, TaskRequest, WorkerView};

use crate::tasks::task;
use crate::worker::{FakeWorker, OnHalt, OnTask};
use crate::world::{Ground, World, config, let_pass, pool, wait_until};

/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(60);

async fn interrupt(world: &World, worker: ProcessId, within: Duration) -> WorkerView {
    world.workers().interrupt(worker, within).await.expect("a notice that is taken")
}

async fn workers(world: &World) -> Vec<WorkerView> {
    world.workers().list(None).await.expect("workers")
}

async fn ended(world: &World, worker: ProcessId) -> Option<EndedWorkerView> {
    let query = EndedQuery { pool: None, before: None, limit: 100 };
    let page = world.workers().ended(query).await.expect("those that ended");
    page.items.into_iter().find(|view| view.process_id == worker)
}

async fn wait_ended(world: &World, worker: ProcessId) -> EndedWorkerView {
    wait_until("the worker has ended", async || ended(world, worker).await.is_some()).await;
    ended(world, worker).await.expect("it has ended")
}

/// The worker in this one's place.
async fn replacement(world: &World, worker: ProcessId) -> ProcessId {
    let of = async || {
        let known = workers(world).await.into_iter().find(|view| view.process_id == worker);
        known.and_then(|view| view.interruption?.replaced_by)
    };
    wait_until("another is started in its place", async || of().await.is_some()).await;
    of().await.expect("a worker")
}

/// A pool whose two agents have a task each, that may be tried once, and are on one worker.
async fn busy() -> (World, Vec<TaskId>, FakeWorker) {
    let world = World::of_tasks_with(|config| config.max_workers = 1).await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let once = TaskRequest { max_attempts: Some(1), ..task() };
    let tasks = world.submit_many(vec![once; 2]).await;
    let worker = world.holder(tasks[0]).await;
    world.holder(tasks[1]).await;
    (world, tasks, worker)
}

#[tokio::test]
async fn another_is_started_at_once_and_at_the_deadline_everything_moves_at_no_cost() {
    let (world, tasks, worker) = busy().await;
    let view = interrupt(&world, worker.id(), Duration::from_millis(400)).await;
    let notice = view.interruption.expect("it is shown");
    assert_eq!(notice.deadline.since(notice.noticed_at), Duration::from_millis(400));
    // Past max_workers, since the one that goes counts to no bound; and long before the deadline.
    let other = replacement(&world, worker.id()).await;
    assert!(!worker.is_dead() && worker.tasks().await.len() == 2, "it uses its notice");
    let pool = world.pool().await;
    assert_eq!((pool.process_count, pool.interrupted_workers, pool.scale.current_workers), (2, 1, 1));
    for id in &tasks {
        let holder = world.wait_attempt(*id, 2).await;
        assert_eq!(holder.id(), other);
        holder.answer(*id).await;
        let task = world.done(*id).await;
        assert_eq!((task.state, task.attempts.len()), (TaskState::Succeeded, 2));
        assert_eq!(task.attempts[0].end, AttemptEnd::Halted { halt: Halt::Preempted });
    }
    let ended = wait_ended(&world, worker.id()).await;
    assert_eq!((ended.status, ended.ending.expect("how").cause), (WorkerState::Stopped, WorkerCause::Interrupted));
    let events = world.store().events(0, 1_000).await.expect("events");
    let told = events.iter().filter(|row| row.event.kind == EventKind::WorkerInterrupted);
    assert_eq!(told.map(|row| row.event.process_id).collect::<Vec<_>>(), [Some(worker.id())]);
    world.end().await;
}

#[tokio::test]
async fn one_that_dies_within_its_notice_costs_no_attempt_no_restart_and_is_no_poison() {
    let world = World::of_tasks_with(|config| {
        config.retry.poison_bound = 0;
        config.restart.max_restarts = 0;
    })
    .await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (id, mut worker) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
    for attempt in 2..=4 {
        interrupt(&world, worker.id(), LONG).await;
        worker.die();
        let ended = wait_ended(&world, worker.id()).await;
        let cause = ended.ending.expect("how").cause;
        // Its capacity was to go a minute later: what it died of is told.
        assert!(ended.status == WorkerState::Lost && cause != WorkerCause::Interrupted, "{cause:?}");
        worker = world.wait_attempt(id, attempt).await;
    }
    worker.answer(id).await;
    let done = world.done(id).await;
    assert_eq!(done.state, TaskState::Succeeded);
    let preempted = AttemptEnd::Halted { halt: Halt::Preempted };
    assert!(done.attempts[..3].iter().all(|attempt| attempt.end == preempted), "{:?}", done.attempts);
    let view = world.agent(agent).await;
    assert_eq!(
        (view.state.is_running(), view.last_ending.expect("a run ended").cause),
        (true, Cause::WorkerInterrupted)
    );
    world.end().await;
}

#[tokio::test]
async fn idle_agents_move_when_the_other_is_ready_and_it_ends_before_its_deadline() {
    let world = World::new().await;
    let agents = world.spawn_many(2).await;
    let worker = world.worker_of(agents[0]).await;
    interrupt(&world, worker.id(), LONG).await;
    let other = replacement(&world, worker.id()).await;
    for agent in agents {
        world.wait_epoch(agent, 2).await;
        assert_eq!(world.agent(agent).await.process_id, Some(other));
    }
    wait_ended(&world, worker.id()).await;
    world.end().await;
}

#[tokio::test]
async fn an_idle_agent_stays_until_the_other_is_ready_and_gets_no_task_meanwhile() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.launcher().held.set(true);
    interrupt(&world, worker.id(), LONG).await;
    let task = world.submit(TaskRequest { agent_id: Some(agent), ..task() }).await;
    let_pass(&world).await;
    let view = world.agent(agent).await;
    assert_eq!((view.state, view.process_id), (AgentState::Running(Activity::Idle), Some(worker.id())));
    assert_eq!(world.task(task).await.state, TaskState::Queued);
    world.launcher().held.set(false);
    assert_eq!(world.end_of(task).await, TaskState::Succeeded);
    assert_ne!(world.agent(agent).await.process_id, Some(worker.id()));
    world.end().await;
}

#[tokio::test]
async fn what_ends_within_the_notice_stands_and_its_agent_moves_then() {
    let (world, tasks, worker) = busy().await;
    interrupt(&world, worker.id(), LONG).await;
    let other = replacement(&world, worker.id()).await;
    worker.answer(tasks[0]).await;
    let done = world.done(tasks[0]).await;
    assert_eq!((done.state, done.attempts.len()), (TaskState::Succeeded, 1));
    wait_until("one has moved", async || world.launcher().worker(other).holds().await.len() == 1).await;
    assert_eq!(worker.tasks().await, [tasks[1]], "the other goes on");
    worker.answer(tasks[1]).await;
    assert_eq!(world.done(tasks[1]).await.attempts.len(), 1);
    wait_ended(&world, worker.id()).await;
    world.end().await;
}

#[tokio::test]
async fn a_task_that_does_not_stop_at_the_deadline_is_ended_with_its_agent() {
    let (world, tasks, worker) = busy().await;
    worker.change(|habits| habits.on_halt = OnHalt::Ignore).await;
    interrupt(&world, worker.id(), Duration::ZERO).await;
    for id in tasks {
        world.wait_attempt(id, 2).await.answer(id).await;
        let done = world.done(id).await;
        assert_eq!((done.state, done.attempts[0].end.word()), (TaskState::Succeeded, "preempted"));
    }
    world.end().await;
}

#[tokio::test]
async fn the_next_supervisor_goes_on_with_a_notice() {
    let mut ground = Ground::new();
    ground.clocks.start_timeout = Duration::from_secs(60);
    let world = ground.lead().await;
    let mut config = config();
    crate::tasks::tasks_config(&mut config);
    world.create_pool(config).await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (id, worker) = world.start_task(task()).await;
    let before = interrupt(&world, worker.id(), Duration::from_millis(600)).await.interruption.expect("a notice");
    let other = replacement(&world, worker.id()).await;
    world.shut_down(true).await;
    let world = ground.lead().await;
    let views = workers(&world).await;
    let after = views.iter().find(|view| view.process_id == worker.id()).and_then(|view| view.interruption);
    let after = after.expect("it is known");
    assert_eq!((after.deadline, after.replaced_by), (before.deadline, Some(other)));
    assert_eq!(views.len(), 2, "no second one is started in its place");
    let holder = world.wait_attempt(id, 2).await;
    assert_eq!(holder.id(), other);
    holder.answer(id).await;
    assert_eq!(world.done(id).await.attempts[0].end.word(), "preempted");
    wait_ended(&world, worker.id()).await;
    world.end().await;
}

#[tokio::test]
async fn a_notice_that_is_repeated_only_brings_it_forward_and_starts_nobody_else() {
    let (world, tasks, worker) = busy().await;
    let first = interrupt(&world, worker.id(), LONG).await.interruption.expect("a notice");
    let other = replacement(&world, worker.id()).await;
    let again = interrupt(&world, worker.id(), LONG * 2).await.interruption.expect("a notice");
    assert_eq!((again.noticed_at, again.deadline, again.replaced_by), (first.noticed_at, first.deadline, Some(other)));
    let sooner = interrupt(&world, worker.id(), Duration::from_millis(50)).await.interruption.expect("a notice");
    assert!(sooner.deadline < first.deadline && sooner.replaced_by == Some(other));
    for id in tasks {
        world.wait_attempt(id, 2).await.answer(id).await;
        world.done(id).await;
    }
    assert_eq!(world.launcher().launches(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_notice_that_is_not_stored_changes_nothing() {
    let (world, tasks, worker) = busy().await;
    world.store().once(|write| matches!(write, Write::InterruptWorker { .. }), Commit::Refuse);
    let refused = world.workers().interrupt(worker.id(), Duration::ZERO).await.expect_err("it is not stored");
    assert!(matches!(refused, SupervisorError::Unavailable { .. }), "{refused}");
    let_pass(&world).await;
    assert_eq!((world.launcher().launches(), worker.tasks().await.len()), (1, 2));
    for id in tasks {
        worker.answer(id).await;
        assert_eq!(world.done(id).await.attempts.len(), 1);
    }
    world.end().await;
}

#[tokio::test]
async fn a_notice_for_one_that_ends_or_never_was_is_refused() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let stranger = ProcessId::generate();
    let refused = world.workers().interrupt(stranger, LONG).await.expect_err("nobody knows it");
    assert!(matches!(refused, SupervisorError::UnknownWorker(id) if id == stranger), "{refused}");
    worker.die();
    wait_ended(&world, worker.id()).await;
    let refused = world.workers().interrupt(worker.id(), LONG).await.expect_err("it has ended");
    assert!(matches!(refused, SupervisorError::WorkerEnds(id) if id == worker.id()), "{refused}");
    world.end().await;
}

#[tokio::test]
async fn an_empty_worker_goes_at_once_and_the_minimum_is_kept_by_another() {
    let world = World::with(|_| {}, |config| config.min_workers = 1).await;
    wait_until("one is ready", async || world.pool().await.active_worker_processes == 1).await;
    let worker = world.launcher().workers()[0].clone();
    interrupt(&world, worker.id(), LONG).await;
    wait_ended(&world, worker.id()).await;
    wait_until("another is ready", async || world.pool().await.active_worker_processes == 1).await;
    let_pass(&world).await;
    assert_eq!((world.launcher().launches(), world.pool().await.process_count), (2, 1));
    world.end().await;
}

#[tokio::test]
async fn all_of_a_pool_at_once_are_replaced_one_by_one() {
    let world = World::with(|_| {}, |config| (config.max_workers, config.max_agents) = (3, 2)).await;
    let agents = world.spawn_many(6).await;
    let all: Vec<ProcessId> = world.launcher().living().iter().map(FakeWorker::id).collect();
    assert_eq!(all.len(), 3);
    for worker in &all {
        interrupt(&world, *worker, Duration::from_millis(200)).await;
    }
    for worker in &all {
        wait_ended(&world, *worker).await;
    }
    for agent in agents {
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    }
    assert_eq!((world.launcher().launches(), world.pool().await.process_count), (6, 3));
    assert_eq!(world.pools().get(&pool()).await.expect("a pool").interrupted_workers, 0);
    world.end().await;
}

#[tokio::test]
async fn while_nothing_can_be_started_its_place_waits_and_is_taken_when_it_can() {
    let (world, tasks, worker) = busy().await;
    world.launcher().fail(2);
    interrupt(&world, worker.id(), LONG).await;
    wait_until("two starts failed", async || world.launcher().launches() == 3).await;
    let other = {
        let of = async || {
            let known = workers(&world).await.into_iter().find(|view| view.process_id == worker.id());
            known.and_then(|view| view.interruption?.replaced_by)
        };
        wait_until("another is there", async || {
            let other = of().await;
            other.is_some_and(|id| world.launcher().living().iter().any(|worker| worker.id() == id))
        })
        .await;
        of().await.expect("a worker")
    };
    assert_ne!(other, worker.id());
    for id in tasks {
        worker.answer(id).await;
        world.done(id).await;
    }
    world.end().await;
}

#[tokio::test]
async fn one_that_dies_near_its_deadline_was_expected_to() {
    let (world, tasks, worker) = busy().await;
    interrupt(&world, worker.id(), Duration::from_secs(20)).await;
    worker.die();
    let ended = wait_ended(&world, worker.id()).await;
    assert_eq!((ended.status, ended.ending.expect("how").cause), (WorkerState::Stopped, WorkerCause::Interrupted));
    assert!(world.degraded().await.is_empty(), "it is no fault");
    for id in tasks {
        world.wait_attempt(id, 2).await.answer(id).await;
        assert_eq!(world.done(id).await.attempts[0].end.word(), "preempted");
    }
    world.end().await;
}

#[tokio::test]
async fn with_a_target_no_other_is_started_that_would_leave_again() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(4).await;
    let tasks = world.submit_many(vec![task(); 4]).await;
    wait_until("four run", async || world.queue().await.running == 4).await;
    world.pools().scale(&pool(), Some(1)).await.expect("scaled");
    let worker = world.holder(tasks[0]).await;
    interrupt(&world, worker.id(), LONG).await;
    let_pass(&world).await;
    let_pass(&world).await;
    assert_eq!(world.launcher().launches(), 2, "the other is enough");
    for worker in world.launcher().living() {
        for task in worker.tasks().await {
            worker.answer(task).await;
        }
    }
    for id in tasks {
        assert_eq!(world.done(id).await.attempts.len(), 1);
    }
    world.end().await;
}

#[tokio::test]
async fn two_notices_at_once_are_one_by_the_earlier() {
    let (world, tasks, worker) = busy().await;
    let (long, short) = (Duration::from_secs(100), Duration::from_secs(50));
    let workers = world.workers();
    let (first, second, third) = tokio::join!(
        workers.interrupt(worker.id(), long),
        workers.interrupt(worker.id(), short),
        workers.interrupt(worker.id(), long)
    );
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    let known = self::workers(&world).await.into_iter().find(|view| view.process_id == worker.id());
    let notice = known.and_then(|view| view.interruption).expect("a notice");
    assert!(notice.deadline.since(notice.noticed_at) <= short, "{notice:?}");
    for id in tasks {
        worker.answer(id).await;
        world.done(id).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_deadline_while_the_pool_goes_or_the_store_is_away_makes_nobody_spin() {
    let (world, tasks, worker) = busy().await;
    interrupt(&world, worker.id(), Duration::from_millis(100)).await;
    replacement(&world, worker.id()).await;
    world.store().leave();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let before = world.store().times_tried();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let tried = world.store().times_tried() - before;
    assert!(tried < 100, "{tried} commits were tried in 250 ms");
    world.store().heal();
    for id in tasks {
        world.wait_attempt(id, 2).await.answer(id).await;
        world.done(id).await;
    }
    world.end().await;
}

#[tokio::test]
async fn one_that_took_the_place_and_died_is_not_read_back_into_it() {
    let (world, tasks, worker) = busy().await;
    interrupt(&world, worker.id(), LONG).await;
    let other = replacement(&world, worker.id()).await;
    world.launcher().fail(3);
    world.launcher().worker(other).die();
    wait_ended(&world, other).await;
    // A commit that seems to fail: everything is read again.
    world.store().once(|_| true, Commit::Refuse);
    drop(world.try_spawn(Duration::ZERO).await);
    wait_until("a third is there", async || {
        let place = workers(&world).await.into_iter().find(|view| view.process_id == worker.id());
        let place = place.and_then(|view| view.interruption?.replaced_by);
        place.is_some_and(|id| id != other && world.launcher().living().iter().any(|worker| worker.id() == id))
    })
    .await;
    for id in tasks {
        worker.answer(id).await;
        world.done(id).await;
    }
    world.end().await;
}

#[tokio::test]
async fn whoever_will_move_keeps_its_claim_to_a_slot() {
    let world = World::with(|_| {}, |config| (config.max_workers, config.max_agents) = (1, 2)).await;
    let agents = world.spawn_many(2).await;
    let worker = world.worker_of(agents[0]).await;
    world.launcher().held.set(true);
    interrupt(&world, worker.id(), LONG).await;
    replacement(&world, worker.id()).await;
    let refused = world.try_spawn(Duration::ZERO).await.expect_err("its slots are theirs");
    assert!(matches!(refused, SupervisorError::PoolFull { .. }), "{refused}");
    world.launcher().held.set(false);
    for agent in agents {
        world.wait_epoch(agent, 2).await;
    }
    world.end().await;
}
