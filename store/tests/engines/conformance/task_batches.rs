//! Tasks in batches.

use muster_domain::{FollowUp, Halt, Payload, TaskId, TaskState};
use muster_store::{NewTask, StoreError, TaskFilter, TaskHalting, TaskOutcome, TaskStart};

use super::tasks::*;
use super::*;

fn new_tasks(count: usize) -> Vec<NewTask> {
    (0..count).map(|_| new_task("dev")).collect()
}

fn starts(ids: &[TaskId]) -> Write {
    Write::StartTasks(ids.iter().map(|id| TaskStart { task_id: *id, attempt: attempt(1), at: at(20) }).collect())
}

fn ends(ids: &[TaskId]) -> Write {
    Write::EndTasks(ids.iter().map(|id| over(*id, 1, FollowUp::Succeed)).collect())
}

/// One task more than each size of a text, one less, and several texts' worth; every third task is not there, so that the
/// outcomes must be told apart.
pub(crate) async fn batches_of_any_size(place: &Place) {
    let fence = place.lead_with_pool().await;
    for size in [0, 1, 2, 7, 8, 9, 64, 65, 256, 257, 600] {
        let mut tasks = new_tasks(size);
        for task in tasks.iter_mut().skip(2).step_by(3) {
            task.spec.pool_name = name("nowhere");
        }
        let ids: Vec<TaskId> = tasks.iter().map(|task| task.spec.task_id).collect();
        let expected: Vec<TaskOutcome> = (0..size).map(|n| if n % 3 == 2 { NOT } else { DONE }).collect();
        assert_eq!(place.tasks(fence, Write::AddTasks(tasks)).await, expected);
        assert_eq!(place.tasks(fence, starts(&ids)).await, expected);
        let halts = ids.iter().map(|id| TaskHalting { task_id: *id, number: 1, halt: Halt::LeaseLost }).collect();
        assert_eq!(place.tasks(fence, Write::HaltTasks(halts)).await, expected);
        let mut inputs = place.store.inputs(&ids).await.expect("inputs");
        inputs.sort_unstable_by_key(|(id, _)| *id);
        let there: Vec<TaskId> = ids.iter().zip(&expected).filter(|(_, e)| **e == DONE).map(|(id, _)| *id).collect();
        assert_eq!(inputs, there.iter().map(|id| (*id, json("1"))).collect::<Vec<_>>());
        assert_eq!(place.tasks(fence, ends(&ids)).await, expected);
        assert_eq!(place.tasks(fence, Write::WithdrawTasks(ids.clone())).await, expected);
    }
    let left = place.store.tasks(&TaskFilter::default(), None, 10).await.expect("a page");
    assert!(left.is_empty());
}

/// Writes of a batch are carried out one after the other, and so are a task's own changes within one write.
pub(crate) async fn a_batch_is_carried_out_in_order(place: &Place) {
    let fence = place.lead_with_pool().await;
    let tasks = new_tasks(9);
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.spec.task_id).collect();
    let retry = || Write::EndTasks(vec![over(ids[0], 1, FollowUp::Retry { not_before: None })]);
    let twice =
        Write::StartTasks([1, 2].map(|n| TaskStart { task_id: ids[0], attempt: attempt(n), at: at(20) }).into());
    let both = Write::EndTasks(
        [1, 2, 1].map(|n| over(ids[0], n, FollowUp::Retry { not_before: Some(at(1_000 + i64::from(n))) })).into(),
    );
    let double = vec![tasks[0].clone(), new_task("dev"), tasks[0].clone()];
    let batch = [
        ends(&ids),
        Write::AddTasks(tasks.clone()),
        starts(&ids),
        ends(&ids[1..]),
        retry(),
        start(ids[0], 2),
        start(ids[0], 2),
        both,
        twice,
        Write::AddTasks(double),
        Write::Event(event(1)),
    ];
    let outcomes = place.store.apply(fence, &batch).await.expect("a batch");
    let expected = [
        WriteOutcome::Tasks(vec![NOT; 9]),
        WriteOutcome::Tasks(vec![DONE; 9]),
        WriteOutcome::Tasks(vec![DONE; 9]),
        WriteOutcome::Tasks(vec![DONE; 8]),
        WriteOutcome::Tasks(vec![DONE]),
        WriteOutcome::Tasks(vec![DONE]),
        WriteOutcome::Tasks(vec![NOT]),
        WriteOutcome::Tasks(vec![NOT, DONE, NOT]),
        WriteOutcome::Tasks(vec![NOT, NOT]),
        WriteOutcome::Tasks(vec![NOT, DONE, NOT]),
        WriteOutcome::Applied,
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(place.store.event_bounds().await.expect("bounds"), (1, 1), "in the same commit");
    assert_eq!(place.task(ids[0]).await.history.len(), 2);
}

pub(crate) async fn a_fenced_leader_changes_no_task(place: &Place) {
    let old = place.lead_with_pool().await;
    let id = place.running(old).await;
    place.store.resign(old).await.expect("a resignation");
    place.lead().await;
    let before = place.task(id).await;
    let writes = [
        Write::AddTasks(new_tasks(70)),
        Write::EndTasks(vec![over(id, 1, FollowUp::Succeed)]),
        Write::WithdrawTasks(vec![id]),
        Write::Event(event(1)),
    ];
    for writes in [&writes[..], &writes[..1], &writes[1..2]] {
        let late = place.store.apply(old, writes).await;
        assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    }
    assert_eq!(place.task(id).await, before);
    assert_eq!(place.store.tasks(&TaskFilter::default(), None, 100).await.expect("a page").len(), 1);
    assert_eq!(place.store.event_bounds().await.expect("bounds"), (0, 0));
}

pub(crate) async fn a_tasks_key_is_used_once(place: &Place) {
    let fence = place.lead_with_pool().await;
    let keyed = |body| NewTask { key: Some(key("k", body)), ..new_task("dev") };
    let (first, plain) = (keyed(1), new_task("dev"));
    let id = first.spec.task_id;
    let replayed = TaskOutcome::Replayed { task_id: id, body_hash: [1; 32] };
    let batch = vec![first.clone(), plain, keyed(1), keyed(2)];
    let outcomes = place.tasks(fence, Write::AddTasks(batch)).await;
    assert_eq!(outcomes, [DONE, DONE, replayed.clone(), replayed.clone()]);
    assert_eq!(place.tasks(fence, Write::AddTasks(vec![keyed(3)])).await, [replayed]);
    assert_eq!(place.tasks(fence, Write::AddTasks(vec![first.clone()])).await, [NOT], "the very same write again");
    let tasks = place.store.tasks(&TaskFilter::default(), None, 10).await.expect("a page");
    assert_eq!(tasks.len(), 2, "a replay makes nothing");
    assert_eq!(place.store.task_key_holder(&key("k", 9)).await.expect("a read"), Some((id, [1; 32])));
    assert_eq!(place.store.task_key_holder(&key("free", 1)).await.expect("a read"), None);
    // Another route, another key; this one is an agent's.
    assert_eq!(place.one(fence, add(&super::keyed("agent", 5))).await, WriteOutcome::Unplaced);
    let other = IdempotencyKey { route: "POST /tasks".into(), ..key("agent", 6) };
    let task = NewTask { key: Some(other), ..new_task("dev") };
    assert_eq!(place.tasks(fence, Write::AddTasks(vec![task])).await, [DONE]);
}

pub(crate) async fn two_requests_race_for_a_tasks_key(place: &Place) {
    let fence = place.lead_with_pool().await;
    let racers: Vec<_> = (0..8)
        .map(|body| {
            let store = place.store.clone();
            let task = NewTask { key: Some(key("k", body)), ..new_task("dev") };
            tokio::spawn(async move {
                let id = task.spec.task_id;
                (id, store.apply(fence, &[Write::AddTasks(vec![task])]).await.expect("a batch").remove(0))
            })
        })
        .collect();
    let (mut made, mut named) = (0, std::collections::HashSet::new());
    for racer in racers {
        match racer.await.expect("no panic") {
            (id, WriteOutcome::Tasks(outcomes)) if outcomes == [DONE] => {
                made += 1;
                named.insert(id);
            }
            (_, WriteOutcome::Tasks(outcomes)) => match outcomes[..] {
                [TaskOutcome::Replayed { task_id, .. }] => drop(named.insert(task_id)),
                _ => panic!("{outcomes:?}"),
            },
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!((made, named.len()), (1, 1), "one task, and all were told of it");
}

/// A mebibyte of input and output, beside short ones.
pub(crate) async fn long_texts_are_kept_whole(place: &Place) {
    let fence = place.lead_with_pool().await;
    let long = Payload::quoted(&"ä\0\"\n日".repeat(100_000));
    let mut tasks = new_tasks(3);
    tasks[1].input = long.clone();
    tasks[2].input = Payload::quoted(&"x".repeat(1_022));
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.spec.task_id).collect();
    assert_eq!(place.tasks(fence, Write::AddTasks(tasks.clone())).await, [DONE; 3]);
    let queue = place.tasks_of(&shared()).await;
    let inputs: Vec<_> = queue.into_iter().map(|task| task.input).collect();
    assert_eq!(inputs, [Some(json("1")), None, Some(tasks[2].input.clone())], "the long one is left out");
    assert_eq!(place.store.inputs(&ids[1..2]).await.expect("inputs"), [(ids[1], long.clone())]);
    assert_eq!(place.tasks(fence, starts(&ids)).await, [DONE; 3]);
    let mut ending = over(ids[1], 1, FollowUp::Succeed);
    ending.output = Some(long.clone());
    assert_eq!(place.tasks(fence, Write::EndTasks(vec![ending])).await, [DONE]);
    let row = place.task(ids[1]).await;
    assert_eq!((row.input, row.output), (long.clone(), Some(long)));
    assert_eq!(row.status.state(), TaskState::Succeeded);
}
