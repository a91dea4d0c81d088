//! Tasks that wait or run, pages of tasks, and what is pruned.

use muster_domain::{FollowUp, Halt, Priority, TaskId, TaskState, TaskStatus};
use muster_store::WriteOutcome::{Applied, Unchanged};
use muster_store::{ListOrder, NewTask, Pruned, QueueCounts, QueueKey, QueueRow, QueueSlice, QueuedTask, TaskFilter};

use super::tasks::*;
use super::*;

fn ids(tasks: Vec<QueuedTask>) -> Vec<TaskId> {
    tasks.into_iter().map(|task| task.task_id).collect()
}

fn of_tenant(tenant: &str, priority: u8) -> NewTask {
    let mut task = new_task("dev");
    task.spec.tenant = tenant.into();
    task.spec.priority = Priority::try_from(priority).expect("0 to 9");
    task
}

fn queue(tenant: &str, priority: u8) -> QueueKey {
    QueueKey::Shared { tenant: tenant.into(), priority: Priority::try_from(priority).expect("0 to 9") }
}

fn delayed(pool: &str, until: i64) -> NewTask {
    let mut task = new_task(pool);
    task.spec.not_before = Some(at(until));
    task
}

fn expiring(by: i64) -> NewTask {
    let mut task = new_task("dev");
    task.spec.expires_at = Some(at(by));
    task
}

fn own(agent_id: AgentId) -> NewTask {
    let mut task = new_task("dev");
    task.spec.agent_id = Some(agent_id);
    task
}

pub(crate) async fn queues_are_in_the_order_of_age(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.one(fence, add_pool("other")).await;
    let mine: Vec<NewTask> = (0..5).map(|_| of_tenant("a", 5)).collect();
    let order: Vec<TaskId> = mine.iter().map(|task| task.spec.task_id).collect();
    let mut batch: Vec<NewTask> = mine.into_iter().rev().collect();
    batch.extend([of_tenant("b", 5), of_tenant("a", 6), of_tenant("", 0), new_task("other"), delayed("dev", 11)]);
    let [other, urgent, nobody] = [5, 6, 7].map(|n: usize| batch[n].spec.task_id);
    place.tasks(fence, Write::AddTasks(batch)).await;

    assert_eq!(place.queue_of(&queue("a", 5)).await, order);
    assert_eq!(place.queue_of(&queue("a", 6)).await, [urgent]);
    assert_eq!(place.queue_of(&queue("", 0)).await, [nobody]);
    assert!(place.queue_of(&queue("a", 4)).await.is_empty());
    let dev = name("dev");
    let pieces = [
        QueueSlice { queue: queue("a", 5), after: Some(order[1]), limit: 2 },
        QueueSlice { queue: queue("a", 4), after: None, limit: 2 },
        QueueSlice { queue: queue("a", 6), after: None, limit: 2 },
    ];
    let read = place.store.queue_slices(&dev, &pieces).await.expect("pieces");
    assert_eq!(read.into_iter().map(ids).collect::<Vec<_>>(), [order[2..4].to_vec(), vec![], vec![urgent]]);
    assert_eq!(place.store.queue_slices(&dev, &[]).await.expect("pieces").len(), 0);
    let mut queues = place.store.task_queues(&dev).await.expect("queues");
    queues.sort_unstable();
    let row = |queue: QueueKey, count: u64, first: TaskId| QueueRow { queue, count, first };
    let expected = [row(queue("", 0), 1, nobody), row(queue("a", 5), 5, order[0]), row(queue("a", 6), 1, urgent)];
    assert_eq!((&queues[..3], &queues[3..]), (&expected[..], &[row(queue("b", 5), 1, other)][..]));

    // One that comes back is where its age puts it.
    place.all(fence, vec![(start(order[0], 1), WriteOutcome::Tasks(vec![DONE]))]).await;
    assert_eq!(place.queue_of(&queue("a", 5)).await, order[1..]);
    place.tasks(fence, end(order[0], 1, FollowUp::Retry { not_before: None })).await;
    let back = place.tasks_of(&queue("a", 5)).await.remove(0);
    let row = place.task(order[0]).await;
    assert_eq!((back.task_id, back.totals.attempt, back.totals), (order[0], 1, row.totals));
    assert_eq!((back.created_at, back.max_attempts, back.input), (at(10), 3, Some(json("1"))));
}

pub(crate) async fn a_task_for_one_agent_waits_in_its_own_queue(place: &Place) {
    let fence = place.lead_with_pool().await;
    let (ann, bob) = (AgentId::generate(), AgentId::generate());
    let (first, second, third) = (own(ann), own(bob), own(ann));
    let mut later = own(ann);
    later.spec.not_before = Some(at(500));
    let order = [&first, &third, &later].map(|task| task.spec.task_id);
    let of_bob = second.spec.task_id;
    place.tasks(fence, Write::AddTasks(vec![first, second, third, later])).await;
    let dev = name("dev");
    assert_eq!(place.queue_of(&QueueKey::Own(ann)).await, order[..2]);
    let mut queues = place.store.task_queues(&dev).await.expect("queues");
    queues.sort_unstable();
    let row = |agent: AgentId, count: u64, first: TaskId| QueueRow { queue: QueueKey::Own(agent), count, first };
    assert_eq!(queues, [row(ann, 2, order[0]), row(bob, 1, of_bob)]);
    assert!(place.queue_of(&shared()).await.is_empty());
    assert_eq!(ids(place.store.tasks_for(&dev, ann, 10).await.expect("tasks")), order, "the delayed one too");
    assert_eq!(ids(place.store.tasks_for(&dev, ann, 2).await.expect("tasks")), order[..2]);
    assert!(place.store.tasks_for(&name("other"), ann, 10).await.expect("tasks").is_empty());
    assert_eq!(place.tasks(fence, Write::PromoteTasks(order.to_vec())).await, [NOT, NOT, DONE]);
    assert_eq!(place.queue_of(&QueueKey::Own(ann)).await, order);
    assert_eq!(place.tasks(fence, end_of_start(&place.tasks(fence, start(order[0], 1)).await, order[0])).await, [DONE]);
    assert_eq!(place.queue_of(&QueueKey::Own(ann)).await, order, "it comes back to its agent's queue");
}

/// The end of a start that was carried out: the task goes back to its queue.
fn end_of_start(started: &[muster_store::TaskOutcome], id: TaskId) -> Write {
    assert_eq!(started, [DONE]);
    end(id, 1, FollowUp::Retry { not_before: None })
}

pub(crate) async fn delayed_tasks_are_due_in_time(place: &Place) {
    let fence = place.lead_with_pool().await;
    let dev = name("dev");
    place.one(fence, add_pool("other")).await;
    assert_eq!(place.store.next_due(&dev, at(0)).await.expect("a time"), None);
    let tasks = [delayed("dev", 300), delayed("dev", 100), delayed("other", 50), delayed("dev", 10), new_task("dev")];
    let made = tasks.each_ref().map(|task| task.spec.task_id);
    place.tasks(fence, Write::AddTasks(tasks.into())).await;
    assert_eq!(place.queue_of(&shared()).await, made[3..], "a time that has come is no delay");
    assert_eq!(place.store.next_due(&dev, at(0)).await.expect("a time"), Some(at(100)));
    assert_eq!(place.store.next_due(&dev, at(100)).await.expect("a time"), Some(at(300)));
    let due = |by, limit| place.store.due_tasks(&dev, at(by), limit);
    assert!(due(99, 10).await.expect("tasks").is_empty());
    assert_eq!(ids(due(100, 10).await.expect("tasks")), [made[1]]);
    assert_eq!(ids(due(300, 10).await.expect("tasks")), [made[1], made[0]], "the earliest first");
    assert_eq!(ids(due(300, 1).await.expect("tasks")), [made[1]]);
    let counts = place.store.queue_counts(&dev).await.expect("counts");
    assert_eq!(counts, QueueCounts { delayed: 2, dead: 0 });

    assert_eq!(place.tasks(fence, Write::PromoteTasks(vec![made[1], made[4]])).await, [DONE, NOT]);
    assert_eq!(place.queue_of(&shared()).await, [made[1], made[3], made[4]]);
    assert_eq!(place.task(made[1]).await.version, 2);
    assert_eq!(place.task(made[1]).await.spec.not_before, Some(at(100)), "as it was asked for");
    assert_eq!(place.store.next_due(&dev, at(0)).await.expect("a time"), Some(at(300)));
    // A delayed task may be started, and a start may meet its promotion.
    assert_eq!(place.tasks(fence, start(made[0], 1)).await, [DONE]);
    assert_eq!(place.tasks(fence, Write::PromoteTasks(vec![made[0]])).await, [NOT]);
    assert_eq!(place.tasks(fence, end(made[0], 1, FollowUp::Retry { not_before: Some(at(700)) })).await, [DONE]);
    assert_eq!(place.store.next_due(&dev, at(0)).await.expect("a time"), Some(at(700)));
}

pub(crate) async fn waits_move_with_the_clock_and_moments_stay(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.one(fence, add_pool("other")).await;
    let late = |pool| NewTask { delay: Some(Duration::from_millis(90)), ..new_task(pool) };
    let [waits, elsewhere, named, retried] = [late("dev"), late("other"), delayed("dev", 200), delayed("dev", 300)];
    let made = [&waits, &elsewhere, &named, &retried].map(|task| task.spec.task_id);
    place.tasks(fence, Write::AddTasks(vec![waits, elsewhere, named, retried])).await;
    place.tasks(fence, start(made[3], 1)).await;
    place.tasks(fence, end(made[3], 1, FollowUp::Retry { not_before: Some(at(400)) })).await;
    let due = async || {
        let rows = made.map(|id| place.task(id));
        futures_util::future::join_all(rows).await.into_iter().map(|row| match row.status {
            TaskStatus::Queued { not_before } => not_before,
            other => panic!("{other:?}"),
        })
    };
    assert!(due().await.eq([100, 100, 200, 400].map(|millis| Some(at(millis)))));
    let shift =
        |pool, by_millis, step: &str, outcome| (Write::ShiftWaits { pool, by_millis, step: step.to_owned() }, outcome);
    let dev = || Some(name("dev"));
    // Each once for a step of the clock, however often it is tried.
    place.all(fence, vec![shift(dev(), -50, "1", Applied), shift(dev(), -50, "1", Unchanged)]).await;
    assert!(
        due().await.eq([50, 100, 200, 350].map(|millis| Some(at(millis)))),
        "those of one pool, but what was named"
    );
    place.all(fence, vec![shift(None, 1_000, "2", Applied), shift(None, 1_000, "2", Unchanged)]).await;
    assert!(due().await.eq([1_050, 1_100, 200, 1_350].map(|millis| Some(at(millis)))));
    assert_eq!(place.store.next_due(&name("dev"), at(0)).await.expect("a time"), Some(at(200)));
}

pub(crate) async fn what_ended_in_the_future_is_brought_back(place: &Place) {
    let fence = place.lead_with_pool().await;
    let [early, late] = [place.running(fence).await, place.running(fence).await];
    for (id, millis) in [(early, 100), (late, 900)] {
        let mut ending = over(id, 1, FollowUp::Succeed);
        ending.record.ended_at = at(millis);
        place.tasks(fence, Write::EndTasks(vec![ending])).await;
    }
    place.store.bring_back(fence, at(500)).await.expect("brought back");
    assert_eq!(place.task(early).await.finished_at, Some(at(100)));
    assert_eq!(place.task(late).await.finished_at, Some(at(500)));
}

/// However many there are, no step is about all of them.
pub(crate) async fn a_clock_that_was_set_is_followed_in_steps(place: &Place) {
    let fence = place.lead_with_pool().await;
    let (many, late) = (1_200_u32, Duration::from_millis(90));
    let tasks = (0..many).map(|_| NewTask { delay: Some(late), ..new_task("dev") }).collect();
    place.tasks(fence, Write::AddTasks(tasks)).await;
    let events: Vec<Write> = (0..many).map(|_| Write::Event(EventDraft { at: at(900), ..event(1) })).collect();
    place.store.apply(fence, &events).await.expect("stored");
    let shift = [Write::ShiftWaits { pool: None, by_millis: -50, step: "1".to_owned() }];
    let mut steps = 0;
    while place.store.apply(fence, &shift).await.expect("stored") == [Applied] {
        steps += 1;
    }
    assert_eq!(steps, 3, "as few at a time");
    place.store.bring_back(fence, at(500)).await.expect("brought back");
    assert_eq!(place.store.next_due(&name("dev"), at(0)).await.expect("a time"), Some(at(50)));
    let stored = place.store.events(0, many).await.expect("events");
    assert!(stored.iter().all(|row| row.event.at == at(500)), "all of them");
}

pub(crate) async fn tasks_expire_while_they_wait(place: &Place) {
    let fence = place.lead_with_pool().await;
    let dev = name("dev");
    assert_eq!(place.store.next_expiry(&dev, at(0)).await.expect("a time"), None);
    let mut later = expiring(200);
    later.spec.not_before = Some(at(150));
    let tasks = [expiring(300), later, expiring(100), new_task("dev")];
    let made = tasks.each_ref().map(|task| task.spec.task_id);
    place.tasks(fence, Write::AddTasks(tasks.into())).await;
    let expired = |by, limit| place.store.expired_tasks(&dev, at(by), limit);
    assert_eq!(place.store.next_expiry(&dev, at(0)).await.expect("a time"), Some(at(100)));
    assert_eq!(place.store.next_expiry(&dev, at(100)).await.expect("a time"), Some(at(200)));
    assert_eq!(place.store.next_expiry(&dev, at(300)).await.expect("a time"), None);
    assert!(expired(99, 10).await.expect("tasks").is_empty());
    assert_eq!(ids(expired(200, 10).await.expect("tasks")), [made[2], made[1]], "the delayed one too");
    assert_eq!(ids(expired(900, 1).await.expect("tasks")), [made[2]]);
    assert_eq!(expired(100, 1).await.expect("tasks")[0].expires_at, Some(at(100)));
    place.tasks(fence, start(made[2], 1)).await;
    place.tasks(fence, settle(made[1], FollowUp::Fail(error()))).await;
    assert_eq!(
        place.store.next_expiry(&dev, at(0)).await.expect("a time"),
        Some(at(300)),
        "the others do not wait any more"
    );
}

pub(crate) async fn what_runs_is_found(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.one(fence, add_pool("other")).await;
    let (first, second) = (place.running(fence).await, place.running(fence).await);
    place.queued(fence).await;
    let other = NewTask { start: Some(attempt(1)), ..new_task("other") };
    place.made(fence, other).await;
    place.tasks(fence, halt(second, 1, Halt::BudgetExceeded)).await;
    let running = place.store.running_tasks(&name("dev")).await.expect("tasks");
    let seen: Vec<_> = running.iter().map(|r| (r.task.task_id, r.attempt, r.halt, r.started_at)).collect();
    let expected = [(first, None), (second, Some(Halt::BudgetExceeded))];
    assert_eq!(seen, expected.map(|(id, halt)| (id, attempt(1), halt, at(10))));
    assert!(running.iter().all(|r| r.task.input.is_none() && r.task.totals.attempt == 1));
    place.tasks(fence, end(first, 1, FollowUp::Die(error()))).await;
    place.tasks(fence, end(second, 1, FollowUp::Cancel)).await;
    assert!(place.store.running_tasks(&name("dev")).await.expect("tasks").is_empty());
    let counts = place.store.queue_counts(&name("dev")).await.expect("counts");
    assert_eq!(counts, QueueCounts { delayed: 0, dead: 1 });
}

/// Every filter, against the same choice made by hand, in pages of three.
pub(crate) async fn tasks_are_listed_in_pages(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.one(fence, add_pool("other")).await;
    let mut all = Vec::new();
    for n in 0..40 {
        let mut task = new_task(if n % 5 == 0 { "other" } else { "dev" });
        task.spec.project_id = (n % 4 == 0).then(|| "p".to_owned());
        task.spec.tenant = if n % 3 == 0 { "t".into() } else { "acme".into() };
        task.start = (n % 2 == 0).then(|| attempt(1));
        let id = place.made(fence, task).await;
        if n % 6 == 0 {
            place.tasks(fence, end(id, 1, FollowUp::Succeed)).await;
        }
        all.push(place.task(id).await);
    }
    for bits in 0..128_u32 {
        let chosen = |bit: u32| bits & (1 << bit) != 0;
        let mut filter = TaskFilter {
            pool: chosen(0).then(|| name("dev")),
            project: chosen(1).then(|| "p".to_owned()),
            tenant: chosen(2).then(|| "t".to_owned()),
            states: Vec::new(),
            brief: chosen(4),
            order: if chosen(5) { ListOrder::NewestFirst } else { ListOrder::OldestFirst },
        };
        filter.states.extend(chosen(3).then_some(TaskState::Succeeded));
        // One that is named twice is no more than one, and one that no task has is no hindrance.
        filter.states.extend(
            chosen(6).then_some([TaskState::Running, TaskState::Running, TaskState::Dead]).into_iter().flatten(),
        );
        let mut expected = all.clone();
        if filter.brief {
            expected
                .iter_mut()
                .for_each(|row| (row.input, row.output) = (muster_domain::Payload::trusted("null"), None));
        }
        expected.retain(|row| {
            filter.pool.as_ref().is_none_or(|pool| *pool == row.spec.pool_name)
                && (filter.project.is_none() || filter.project == row.spec.project_id)
                && filter.tenant.as_ref().is_none_or(|tenant| *tenant == row.spec.tenant)
                && (filter.states.is_empty() || filter.states.contains(&row.status.state()))
        });
        if filter.order == ListOrder::NewestFirst {
            expected.reverse();
        }
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = place.store.tasks(&filter, after, 3).await.expect("a page");
            assert!(page.len() == 3 || listed.len() + page.len() == expected.len(), "a page is full, or the last");
            let Some(last) = page.last() else { break };
            after = Some(last.spec.task_id);
            listed.extend(page);
        }
        assert_eq!(listed, expected, "{filter:?}");
    }
}

/// By the time in their ids, whatever became of them.
pub(crate) async fn a_tenants_tasks_are_counted_since_a_time(place: &Place) {
    let fence = place.lead_with_pool().await;
    let before = Timestamp::now();
    let tasks = [of_tenant("t", 1), of_tenant("t", 9), of_tenant("other", 1)];
    let withdrawn = tasks[1].spec.task_id;
    place.tasks(fence, Write::AddTasks(tasks.into())).await;
    let later = before.after(Duration::from_secs(60));
    assert_eq!(place.store.made_since("t", before).await.expect("a count"), 2);
    assert_eq!(place.store.made_since("t", later).await.expect("a count"), 0);
    assert_eq!(place.store.made_since("nobody", before).await.expect("a count"), 0);
    place.tasks(fence, Write::WithdrawTasks(vec![withdrawn])).await;
    assert_eq!(place.store.made_since("t", before).await.expect("a count"), 1);
}

pub(crate) async fn pruning_takes_tasks_by_their_end(place: &Place) {
    let fence = place.lead_with_pool().await;
    let (queued, running) = (place.queued(fence).await, place.running(fence).await);
    let mut endings = Vec::new();
    for (n, then) in
        [FollowUp::Succeed, FollowUp::Fail(error()), FollowUp::Die(error()), FollowUp::Cancel].into_iter().enumerate()
    {
        let id = place.running(fence).await;
        let mut ending = over(id, 1, then);
        ending.record.ended_at = at(100 + i64::try_from(n).expect("small"));
        endings.push(ending);
    }
    let ended: Vec<TaskId> = endings.iter().map(|ending| ending.task_id).collect();
    place.tasks(fence, Write::EndTasks(endings)).await;
    let holder = async |text| place.store.task_key_holder(&key(text, 1)).await.expect("a read");
    let of_the_first = NewTask { key: Some(key("ended", 1)), start: Some(attempt(1)), ..new_task("dev") };
    let first = place.made(fence, of_the_first).await;
    place.made(fence, NewTask { key: Some(key("waits", 1)), ..new_task("dev") }).await;
    let mut ending = over(first, 1, FollowUp::Succeed);
    ending.record.ended_at = at(99);
    place.tasks(fence, Write::EndTasks(vec![ending])).await;
    assert_eq!(place.store.prune(fence, at(0), at(100)).await.expect("pruned").tasks, 1);
    assert_eq!(holder("ended").await, None, "no key outlives what it made");
    let waiting = holder("waits").await.expect("its task is there").0;
    place.tasks(fence, Write::WithdrawTasks(vec![waiting])).await;
    let prune = |ended_before| place.store.prune(fence, at(0), at(ended_before));
    assert_eq!(prune(100).await.expect("pruned"), Pruned::default(), "nothing is old enough");
    assert_eq!(prune(103).await.expect("pruned").tasks, 3);
    let left = place.store.tasks(&TaskFilter::default(), None, 10).await.expect("a page");
    let left: Vec<TaskId> = left.into_iter().map(|row| row.spec.task_id).collect();
    assert_eq!(left, [queued, running, ended[3]], "however long they wait or run");

    // More than one step of deletions.
    let many: Vec<NewTask> = (0..1_201).map(|_| new_task("dev")).collect();
    let verdicts = many.iter().map(|task| muster_store::TaskVerdict {
        task_id: task.spec.task_id,
        then: FollowUp::Cancel,
        at: at(50),
    });
    let settled = Write::SettleTasks(verdicts.collect());
    place.store.apply(fence, &[Write::AddTasks(many), settled]).await.expect("a batch");
    assert_eq!(prune(100).await.expect("pruned").tasks, 1_201);
}
