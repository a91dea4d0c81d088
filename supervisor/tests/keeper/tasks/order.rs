//! Who comes first.

use std::time::Duration;

use muster_domain::{Payload, Priority, TaskId, TaskState};
use muster_supervisor::TaskRequest;

use super::task;
use crate::worker::{FakeWorker, OnTask};
use crate::world::World;

fn of(tenant: &str, priority: u8) -> TaskRequest {
    let priority = Some(Priority::try_from(priority).expect("a priority"));
    TaskRequest { tenant: Some(tenant.to_owned()), priority, ..task() }
}

/// The tasks in the order in which their first orders went to a worker.
async fn order_at(worker: &FakeWorker, tasks: &[TaskId]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    for envelope in worker.heard().await {
        let muster_domain::Command::RunTasks { tasks: orders } = envelope.command else { continue };
        for task in orders {
            let place = tasks.iter().position(|id| *id == task.task_id).expect("a known task");
            if !order.contains(&place) {
                order.push(place);
            }
        }
    }
    order
}

#[tokio::test]
async fn the_most_urgent_goes_first_then_the_oldest() {
    let world = World::of_tasks().await;
    let requests = [5, 0, 9, 5, 9].map(|priority| of("a", priority));
    let tasks = world.submit_many(requests.to_vec()).await;
    let agent = world.spawn().await;
    for id in &tasks {
        assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
    }
    assert_eq!(order_at(&world.worker_of(agent).await, &tasks).await, [2, 4, 0, 3, 1]);
    world.end().await;
}

#[tokio::test]
async fn a_tenant_with_many_tasks_does_not_delay_one_with_few() {
    let world = World::of_tasks().await;
    let mut requests = vec![of("noisy", 5); 300];
    requests.extend([of("quiet", 5), of("other", 5)]);
    let tasks = world.submit_many(requests).await;
    let agent = world.spawn().await;
    for id in &tasks {
        assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
    }
    let order = order_at(&world.worker_of(agent).await, &tasks).await;
    for few in [300, 301] {
        let place = order.iter().position(|task| *task == few).expect("it ran");
        assert!(place <= 3, "task {few} came at place {place}");
    }
    let noisy: Vec<usize> = order.into_iter().filter(|task| *task < 300).collect();
    assert!(noisy.is_sorted(), "within a tenant by age");
    world.end().await;
}

#[tokio::test]
async fn a_task_goes_to_an_agent_of_its_project() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(3).await;
    let request = muster_supervisor::SpawnRequest { project_id: "shop".to_owned(), ..crate::world::request() };
    let shop = match world.agents().spawn(request, crate::worker::PATIENCE).await.expect("an agent") {
        muster_supervisor::Spawned::Running(view) => view.agent_id,
        other => panic!("it does not run: {other:?}"),
    };
    let (held, _) = world.start_task(TaskRequest { project_id: Some("shop".to_owned()), ..task() }).await;
    assert_eq!(world.task(held).await.agent_id, Some(shop), "though it is the youngest");
    world.end().await;
}

#[tokio::test]
async fn more_tasks_than_are_held_in_memory_keep_their_order() {
    let world = World::of_tasks_with(|config| config.tasks_per_agent = 50).await;
    let requests = (0..3_000).map(|n| TaskRequest { input: Payload::trusted(n.to_string()), ..task() }).collect();
    let tasks = world.submit_many(requests).await;
    // Far beyond what is in memory, and in the middle of it.
    for place in [2_900, 500] {
        let view = world.tasks().cancel(tasks[place], Duration::ZERO).await.expect("an answer").task;
        assert_eq!(view.state, TaskState::Cancelled);
    }
    world.wait_queue(2_998, 0, 0).await;
    let agent = world.spawn().await;
    for (place, id) in tasks.iter().enumerate() {
        let expected = if place == 2_900 || place == 500 { TaskState::Cancelled } else { TaskState::Succeeded };
        assert_eq!(world.end_of(*id).await, expected, "task {place}");
    }
    let order = order_at(&world.worker_of(agent).await, &tasks).await;
    assert!(order.len() == 2_998 && order.is_sorted());
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}
