//! Tasks: every transition with its precondition.

use muster_domain::{
    Attempt, AttemptEnd, AttemptRecord, FollowUp, Halt, Payload, Priority, Tally, TaskError, TaskId, TaskSpec,
    TaskState, TaskStatus, Usage,
};
use muster_store::WriteOutcome::{Applied, Tasks};
use muster_store::{
    AttemptTotals, NewTask, QueueKey, QueueSlice, QueuedTask, TaskEnding, TaskFilter, TaskHalting, TaskOutcome,
    TaskRow, TaskStart, TaskVerdict,
};

use super::*;

pub(crate) const DONE: TaskOutcome = TaskOutcome::Applied;
pub(crate) const NOT: TaskOutcome = TaskOutcome::Unchanged;

impl Place {
    pub(crate) async fn task(&self, id: TaskId) -> TaskRow {
        self.store.task(id).await.expect("a store that answers").expect("a task")
    }

    pub(crate) async fn status(&self, id: TaskId) -> TaskStatus {
        self.task(id).await.status
    }

    /// Applies one write about tasks.
    pub(crate) async fn tasks(&self, fence: Fence, write: Write) -> Vec<TaskOutcome> {
        match self.one(fence, write).await {
            Tasks(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    /// A task of `dev` that waits.
    pub(crate) async fn queued(&self, fence: Fence) -> TaskId {
        self.made(fence, new_task("dev")).await
    }

    /// A task of `dev` that runs as its first attempt.
    pub(crate) async fn running(&self, fence: Fence) -> TaskId {
        self.made(fence, NewTask { start: Some(attempt(1)), ..new_task("dev") }).await
    }

    pub(crate) async fn made(&self, fence: Fence, task: NewTask) -> TaskId {
        let id = task.spec.task_id;
        assert_eq!(self.tasks(fence, Write::AddTasks(vec![task])).await, [DONE]);
        id
    }

    /// A queue of `dev`, from its head.
    pub(crate) async fn tasks_of(&self, queue: &QueueKey) -> Vec<QueuedTask> {
        let piece = QueueSlice { queue: queue.clone(), after: None, limit: 1_000 };
        self.store.queue_slices(&name("dev"), &[piece]).await.expect("a queue").remove(0)
    }

    /// The ids of a queue of `dev`, from its head.
    pub(crate) async fn queue_of(&self, queue: &QueueKey) -> Vec<TaskId> {
        let tasks = self.tasks_of(queue).await;
        tasks.into_iter().map(|task| task.task_id).collect()
    }
}

pub(crate) fn new_task(pool: &str) -> NewTask {
    let spec = TaskSpec {
        task_id: TaskId::generate(),
        pool_name: name(pool),
        tenant: "acme".into(),
        project_id: None,
        agent_id: None,
        check: false,
        priority: Priority::NORMAL,
        max_attempts: 3,
        timeout: None,
        not_before: None,
        expires_at: None,
    };
    NewTask { spec, delay: None, input: json("1"), key: None, start: None, at: at(10) }
}

pub(crate) fn shared() -> QueueKey {
    QueueKey::Shared { tenant: "acme".into(), priority: Priority::NORMAL }
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::parse(text).expect("JSON")
}

/// The attempts of these tests are all by one agent, each as another run of it.
pub(crate) fn attempt(number: u32) -> Attempt {
    let id = "0198a0a0-0000-7000-8000-000000000001";
    Attempt {
        number,
        agent_id: id.parse().expect("an id"),
        epoch: Epoch(u64::from(number) + 40),
        process_id: id.parse().expect("an id"),
    }
}

pub(crate) fn start(task_id: TaskId, number: u32) -> Write {
    Write::StartTasks(vec![TaskStart { task_id, attempt: attempt(number), at: at(20) }])
}

pub(crate) fn halt(task_id: TaskId, number: u32, halt: Halt) -> Write {
    Write::HaltTasks(vec![TaskHalting { task_id, number, halt }])
}

pub(crate) fn over(task_id: TaskId, number: u32, then: FollowUp) -> TaskEnding {
    let Attempt { agent_id, process_id, .. } = attempt(number);
    let end = AttemptEnd::Failed { message: format!("ä \"no\" {number}\n"), retryable: true };
    let usage = Usage { input_tokens: 7, output_tokens: 8, cost_micros: 9 };
    let last_output = "one\r\ntwo\u{2028}\0three\n".to_owned();
    TaskEnding {
        task_id,
        record: AttemptRecord {
            number,
            agent_id,
            process_id,
            started_at: at(20),
            ended_at: at(30),
            end,
            last_output,
            usage,
        },
        output: (then == FollowUp::Succeed).then(|| json(r#"{"b": 1.50, "a": "\u0000"}"#)),
        then,
        usage: Usage { input_tokens: 70, ..usage },
        tally: Tally { spent: number, spoiled: 2 },
    }
}

pub(crate) fn end(task_id: TaskId, number: u32, then: FollowUp) -> Write {
    Write::EndTasks(vec![over(task_id, number, then)])
}

pub(crate) fn settle(task_id: TaskId, then: FollowUp) -> Write {
    Write::SettleTasks(vec![TaskVerdict { task_id, then, at: at(40) }])
}

pub(crate) fn error() -> TaskError {
    TaskError { code: "agent_error".into(), message: "ä 'no' \0".into() }
}

pub(crate) async fn a_task_is_read_as_it_was_made(place: &Place) {
    let fence = place.lead_with_pool().await;
    let plain = new_task("dev");
    let mut full = new_task("dev");
    full.spec = TaskSpec {
        tenant: "über 'tenant'; --".into(),
        project_id: Some("$1 {rows}".into()),
        agent_id: Some(AgentId::generate()),
        check: true,
        priority: Priority::HIGHEST,
        max_attempts: 7,
        timeout: Some(Duration::from_millis(1_500)),
        not_before: Some(at(11)),
        expires_at: Some(at(99)),
        ..full.spec
    };
    full.input = json(" {\"text\": \"日本 \\u0000 \u{1f980}\", \"n\": 1.500} ");
    let started = NewTask { start: Some(attempt(1)), ..new_task("dev") };
    let batch = vec![plain.clone(), full.clone(), started.clone()];
    assert_eq!(place.tasks(fence, Write::AddTasks(batch.clone())).await, [DONE, DONE, DONE]);
    assert_eq!(place.tasks(fence, Write::AddTasks(batch)).await, [NOT, NOT, NOT], "the ids are taken");

    let expected = TaskRow {
        spec: plain.spec,
        input: plain.input,
        status: TaskStatus::Queued { not_before: None },
        version: 1,
        totals: AttemptTotals::default(),
        redrives: 0,
        output: None,
        history: Vec::new(),
        created_at: at(10),
        started_at: None,
        finished_at: None,
    };
    assert_eq!(place.task(expected.spec.task_id).await, expected);
    let status = TaskStatus::Queued { not_before: Some(at(11)) };
    let row = TaskRow { spec: full.spec.clone(), input: full.input, status, ..expected.clone() };
    assert_eq!(place.task(full.spec.task_id).await, row);
    let status = TaskStatus::Running(attempt(1));
    let spec = started.spec.clone();
    let row = TaskRow {
        spec,
        status,
        totals: AttemptTotals { attempt: 1, ..AttemptTotals::default() },
        started_at: Some(at(10)),
        ..expected
    };
    assert_eq!(place.task(started.spec.task_id).await, row);
    assert_eq!(place.store.task(TaskId::generate()).await.expect("a read"), None);
}

pub(crate) async fn a_task_needs_its_pool(place: &Place) {
    let fence = place.lead_with_pool().await;
    let (there, nowhere) = (new_task("dev"), new_task("nowhere"));
    let keyed = NewTask { key: Some(key("k", 1)), ..new_task("nowhere") };
    let batch = vec![nowhere.clone(), there.clone(), keyed.clone()];
    assert_eq!(place.tasks(fence, Write::AddTasks(batch)).await, [NOT, DONE, NOT]);
    assert_eq!(place.store.task(nowhere.spec.task_id).await.expect("a read"), None);
    assert_eq!(place.store.task_key_holder(&key("k", 1)).await.expect("a read"), None);

    let remove = || Write::RemovePool { pool: name("dev") };
    let id = there.spec.task_id;
    assert_eq!(place.one(fence, remove()).await, WriteOutcome::Unchanged, "a task waits");
    place.all(fence, vec![(start(id, 1), Tasks(vec![DONE])), (remove(), WriteOutcome::Unchanged)]).await;
    let died = end(id, 1, FollowUp::Die(error()));
    place.all(fence, vec![(died, Tasks(vec![DONE])), (remove(), Applied)]).await;
    assert_eq!(place.status(id).await, TaskStatus::Dead(error()), "it can still be read");
    let redriven = place.tasks(fence, Write::RedriveTasks(vec![id])).await;
    assert_eq!(redriven, [NOT], "nobody would take care of it");
    place.all(fence, vec![(add_pool("dev"), Applied), (Write::RedriveTasks(vec![id]), Tasks(vec![DONE]))]).await;
}

pub(crate) async fn starting_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    let id = place.queued(fence).await;
    for number in [0, 2] {
        assert_eq!(place.tasks(fence, start(id, number)).await, [NOT], "{number} is not the next");
    }
    assert_eq!(place.tasks(fence, start(TaskId::generate(), 1)).await, [NOT]);
    assert_eq!(place.tasks(fence, start(id, 1)).await, [DONE]);
    let row = place.task(id).await;
    assert_eq!((row.status, row.version, row.totals.attempt), (TaskStatus::Running(attempt(1)), 2, 1));
    assert_eq!(row.started_at, Some(at(20)));
    assert_eq!(place.tasks(fence, start(id, 1)).await, [NOT], "it runs");
    assert_eq!(place.tasks(fence, start(id, 2)).await, [NOT], "it runs");
    assert!(place.queue_of(&shared()).await.is_empty());
    assert_eq!(place.tasks(fence, end(id, 1, FollowUp::Cancel)).await, [DONE]);
    assert_eq!(place.tasks(fence, start(id, 2)).await, [NOT], "it is over");
}

pub(crate) async fn halting_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    let queued = place.queued(fence).await;
    assert_eq!(place.tasks(fence, halt(queued, 0, Halt::Cancelled)).await, [NOT], "it does not run");
    let id = place.running(fence).await;
    assert_eq!(place.tasks(fence, halt(id, 2, Halt::TimedOut)).await, [NOT], "another attempt");
    assert_eq!(place.tasks(fence, halt(id, 1, Halt::TimedOut)).await, [DONE]);
    assert_eq!(place.status(id).await, TaskStatus::Halting(attempt(1), Halt::TimedOut));
    assert_eq!(place.tasks(fence, halt(id, 1, Halt::LeaseLost)).await, [NOT], "it is being stopped");
    assert_eq!(place.tasks(fence, halt(id, 1, Halt::Cancelled)).await, [DONE], "a person's wish stands above");
    assert_eq!(place.tasks(fence, halt(id, 1, Halt::TimedOut)).await, [NOT], "and is not overridden");
    let row = place.task(id).await;
    assert_eq!((row.status, row.version), (TaskStatus::Halting(attempt(1), Halt::Cancelled), 3));
    assert_eq!(place.tasks(fence, end(id, 1, FollowUp::Retry { not_before: None })).await, [DONE]);
    assert_eq!(place.tasks(fence, halt(id, 1, Halt::Cancelled)).await, [NOT], "it waits again");
    assert_eq!(place.tasks(fence, start(id, 2)).await, [DONE]);
    assert_eq!(place.status(id).await, TaskStatus::Running(attempt(2)), "the next attempt is not halted");
}

pub(crate) async fn ending_says_what_comes_next(place: &Place) {
    let fence = place.lead_with_pool().await;
    let endings = [
        (FollowUp::Succeed, TaskStatus::Succeeded),
        (FollowUp::Fail(error()), TaskStatus::Failed(error())),
        (FollowUp::Cancel, TaskStatus::Cancelled),
        (FollowUp::Die(error()), TaskStatus::Dead(error())),
        (FollowUp::Retry { not_before: None }, TaskStatus::Queued { not_before: None }),
        (FollowUp::Retry { not_before: Some(at(30)) }, TaskStatus::Queued { not_before: None }),
        (FollowUp::Retry { not_before: Some(at(31)) }, TaskStatus::Queued { not_before: Some(at(31)) }),
    ];
    for (then, status) in endings {
        for halted in [false, true] {
            let id = place.running(fence).await;
            if halted {
                assert_eq!(place.tasks(fence, halt(id, 1, Halt::HandedBack)).await, [DONE]);
            }
            assert_eq!(place.tasks(fence, end(id, 2, then.clone())).await, [NOT], "another attempt");
            assert_eq!(place.tasks(fence, end(id, 1, then.clone())).await, [DONE]);
            let (row, over) = (place.task(id).await, over(id, 1, then.clone()));
            assert_eq!((&row.status, row.totals.attempt, row.version), (&status, 1, 2 + u64::from(halted)));
            assert_eq!((row.output, row.totals.usage, row.totals.tally), (over.output, over.usage, over.tally));
            assert_eq!((row.history, row.started_at), (vec![over.record], Some(at(10))));
            assert_eq!(row.finished_at, status.state().is_final().then(|| at(30)), "{then:?}");
            assert_eq!(place.tasks(fence, end(id, 1, then.clone())).await, [NOT], "once only");
        }
    }
    let id = place.queued(fence).await;
    assert_eq!(place.tasks(fence, end(id, 0, FollowUp::Succeed)).await, [NOT], "it does not run");
}

/// The end of an attempt and a cancellation of the task meet, in both orders.
pub(crate) async fn an_end_and_a_cancellation_race(place: &Place) {
    let fence = place.lead_with_pool().await;
    let first = place.running(fence).await;
    assert_eq!(place.tasks(fence, halt(first, 1, Halt::Cancelled)).await, [DONE]);
    assert_eq!(place.tasks(fence, end(first, 1, FollowUp::Succeed)).await, [DONE]);
    assert_eq!(place.status(first).await, TaskStatus::Succeeded);
    let second = place.running(fence).await;
    assert_eq!(place.tasks(fence, end(second, 1, FollowUp::Succeed)).await, [DONE]);
    assert_eq!(place.tasks(fence, halt(second, 1, Halt::Cancelled)).await, [NOT]);
    assert_eq!(place.status(second).await, TaskStatus::Succeeded);
    // A start and a cancellation of a waiting task.
    let third = place.queued(fence).await;
    assert_eq!(place.tasks(fence, settle(third, FollowUp::Cancel)).await, [DONE]);
    assert_eq!(place.tasks(fence, start(third, 1)).await, [NOT]);
    let fourth = place.queued(fence).await;
    assert_eq!(place.tasks(fence, start(fourth, 1)).await, [DONE]);
    assert_eq!(place.tasks(fence, settle(fourth, FollowUp::Cancel)).await, [NOT]);
    assert_eq!(place.status(fourth).await.state(), TaskState::Running);
}

pub(crate) async fn the_history_keeps_every_attempt(place: &Place) {
    let fence = place.lead_with_pool().await;
    let id = place.queued(fence).await;
    for number in 1..=4 {
        assert_eq!(place.tasks(fence, start(id, number)).await, [DONE]);
        assert_eq!(place.tasks(fence, end(id, number - 1, FollowUp::Succeed)).await, [NOT], "a former attempt");
        let then = if number == 4 { FollowUp::Succeed } else { FollowUp::Retry { not_before: None } };
        assert_eq!(place.tasks(fence, end(id, number, then)).await, [DONE]);
    }
    let row = place.task(id).await;
    assert_eq!((row.totals.attempt, row.version, row.totals.tally.spent), (4, 9, 4));
    let expected: Vec<_> = (1..=4).map(|number| over(id, number, FollowUp::Succeed).record).collect();
    assert_eq!(row.history, expected);
}

pub(crate) async fn settling_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    let verdicts = [
        (FollowUp::Cancel, TaskStatus::Cancelled),
        (FollowUp::Fail(error()), TaskStatus::Failed(error())),
        (FollowUp::Die(error()), TaskStatus::Dead(error())),
    ];
    for (then, status) in verdicts {
        let mut delayed = new_task("dev");
        delayed.spec.not_before = Some(at(500));
        for id in [place.queued(fence).await, place.made(fence, delayed).await] {
            assert_eq!(place.tasks(fence, settle(id, FollowUp::Succeed)).await, [NOT], "no verdict");
            assert_eq!(place.tasks(fence, settle(id, FollowUp::Retry { not_before: None })).await, [NOT], "no verdict");
            assert_eq!(place.tasks(fence, settle(id, then.clone())).await, [DONE]);
            let row = place.task(id).await;
            assert_eq!((row.status, row.version, row.totals.attempt), (status.clone(), 2, 0));
            assert_eq!((row.finished_at, row.history.len()), (Some(at(40)), 0));
            assert_eq!(place.tasks(fence, settle(id, then.clone())).await, [NOT], "it is over");
        }
    }
    let id = place.running(fence).await;
    assert_eq!(place.tasks(fence, settle(id, FollowUp::Cancel)).await, [NOT], "it runs");
    assert!(place.queue_of(&shared()).await.is_empty());
    assert_eq!(place.store.next_due(&name("dev"), at(0)).await.expect("a time"), None);
}

pub(crate) async fn redriving_has_preconditions(place: &Place) {
    let fence = place.lead_with_pool().await;
    for (then, expected) in [
        (FollowUp::Die(error()), DONE),
        (FollowUp::Fail(error()), DONE),
        (FollowUp::Cancel, NOT),
        (FollowUp::Succeed, NOT),
        (FollowUp::Retry { not_before: Some(at(500)) }, NOT),
    ] {
        let mut task = NewTask { start: Some(attempt(1)), ..new_task("dev") };
        task.spec.expires_at = Some(at(15));
        let id = place.made(fence, task).await;
        let redrive = || Write::RedriveTasks(vec![id]);
        assert_eq!(place.tasks(fence, redrive()).await, [NOT], "it runs");
        assert_eq!(place.tasks(fence, end(id, 1, then.clone())).await, [DONE]);
        assert_eq!(place.tasks(fence, redrive()).await, std::slice::from_ref(&expected), "{then:?}");
        if expected == NOT {
            continue;
        }
        let row = place.task(id).await;
        assert_eq!((row.status, row.version, row.totals.attempt), (TaskStatus::Queued { not_before: None }, 3, 1));
        assert_eq!((row.totals.tally, row.redrives), (Tally::default(), 1));
        assert_eq!((row.spec.expires_at, row.finished_at), (None, None));
        assert_eq!((row.output, row.history.len(), row.totals.usage.input_tokens), (None, 1, 70));
        assert_eq!(place.tasks(fence, redrive()).await, [NOT], "it waits");
        assert_eq!(place.queue_of(&shared()).await, [id]);
        assert_eq!(place.tasks(fence, start(id, 2)).await, [DONE], "attempts count on");
    }
}

pub(crate) async fn withdrawing_leaves_nothing(place: &Place) {
    let fence = place.lead_with_pool().await;
    let keyed = NewTask { key: Some(key("k", 1)), ..new_task("dev") };
    let over = place.running(fence).await;
    assert_eq!(place.tasks(fence, end(over, 1, FollowUp::Succeed)).await, [DONE]);
    let kept = NewTask { key: Some(key("kept", 1)), ..new_task("dev") };
    let kept_id = place.made(fence, kept).await;
    let ids = vec![place.queued(fence).await, place.made(fence, keyed).await, place.running(fence).await, over];
    let mut withdrawn = ids.clone();
    withdrawn.insert(1, TaskId::generate());
    let outcomes = place.tasks(fence, Write::WithdrawTasks(withdrawn.clone())).await;
    assert_eq!(outcomes, [DONE, NOT, DONE, DONE, DONE]);
    assert_eq!(place.tasks(fence, Write::WithdrawTasks(withdrawn)).await, vec![NOT; 5]);
    for id in ids {
        assert_eq!(place.store.task(id).await.expect("a read"), None);
    }
    assert_eq!(place.store.task_key_holder(&key("k", 1)).await.expect("a read"), None);
    let holder = place.store.task_key_holder(&key("kept", 1)).await.expect("a read");
    assert_eq!(holder, Some((kept_id, [1; 32])));
    let left = place.store.tasks(&TaskFilter::default(), None, 10).await.expect("a page");
    assert_eq!(left.into_iter().map(|row| row.spec.task_id).collect::<Vec<_>>(), [kept_id]);
}
