//! What tasks came to is counted once, when it is committed.

use std::time::Duration;

use muster_domain::TaskState;
use muster_store::Write;
use muster_store::testing::Commit;
use muster_supervisor::prometheus::{AttemptOutcome, TaskTotals};

use super::task;
use crate::world::{World, pool, wait_until};

impl World {
    async fn totals(&self) -> TaskTotals {
        let totals = self.pools().task_totals().await;
        totals.into_iter().find(|(name, _)| *name == pool()).expect("the pool's").1
    }
}

#[tokio::test]
async fn each_task_is_counted_as_it_came_in_and_as_it_ended() {
    let world = World::of_tasks().await;
    let ids = world.submit_many(vec![task(), task(), task()]).await;
    for _ in 0..2 {
        world.tasks().cancel(ids[0], Duration::ZERO).await.expect("an answer");
    }
    world.spawn().await;
    for id in &ids[1..] {
        assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
    }
    let totals = world.totals().await;
    assert_eq!(totals.submitted, 3);
    assert_eq!((totals.ended(TaskState::Succeeded), totals.ended(TaskState::Cancelled)), (2, 1));
    assert_eq!(totals.attempts(AttemptOutcome::Succeeded), 2);
    assert_eq!((totals.waits.count(), totals.runs.count()), (2, 2), "the cancelled one had no attempt");
    world.end().await;
}

#[tokio::test]
async fn an_end_that_the_store_did_not_take_at_first_is_counted_once() {
    let world = World::of_tasks().await;
    world.spawn().await;
    world.store().once(|write| matches!(write, Write::EndTasks(_)), Commit::Refuse);
    let id = world.submit(task()).await;
    wait_until("it has its end", async || world.task(id).await.state == TaskState::Succeeded).await;
    let totals = world.totals().await;
    assert_eq!((totals.attempts(AttemptOutcome::Succeeded), totals.ended(TaskState::Succeeded)), (1, 1));
    assert_eq!(totals.runs.count(), 1);
    world.end().await;
}
