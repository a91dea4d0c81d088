//! Values that an engine will never take.

use muster_domain::{FollowUp, Payload, TaskError, TaskId};
use muster_store::WriteOutcome::{Applied, Refused, Unplaced};
use muster_store::{NewTask, TaskOutcome};

use super::tasks::{new_task, over};
use super::*;
use crate::places::Constraint;

const OF_TASKS: Constraint = Constraint {
    in_sqlite: "CREATE TRIGGER poisoned BEFORE INSERT ON tasks WHEN NEW.tenant = 'poison' \
        BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    in_postgres: "ALTER TABLE tasks ADD CHECK (tenant <> 'poison')",
    refuses: |write| matches!(write, Write::AddTasks(new) if new.iter().any(|new| new.spec.tenant == "poison")),
};
const OF_OUTPUTS: Constraint = Constraint {
    in_sqlite: "CREATE TRIGGER bad_output BEFORE UPDATE ON tasks WHEN NEW.output = '\"poison\"' \
        BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    in_postgres: "ALTER TABLE tasks ADD CHECK (output <> '\"poison\"')",
    refuses: |write| {
        let is_bad = |output: &Payload| *output == Payload::quoted("poison");
        matches!(write, Write::EndTasks(endings) if endings.iter().any(|end| end.output.as_ref().is_some_and(is_bad)))
    },
};
const OF_AGENTS: Constraint = Constraint {
    in_sqlite: "CREATE TRIGGER bad_agent BEFORE INSERT ON agents WHEN NEW.project_id = 'poison' \
        BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    in_postgres: "ALTER TABLE agents ADD CHECK (project_id <> 'poison')",
    refuses: |write| matches!(write, Write::AddAgent(new) if new.spec.project_id == "poison"),
};
const OF_EVENTS: Constraint = Constraint {
    in_sqlite: "CREATE TRIGGER bad_event BEFORE INSERT ON events WHEN NEW.reason = 'poison' \
        BEGIN SELECT RAISE(ABORT, 'poisoned'); END",
    in_postgres: "ALTER TABLE events ADD CHECK (reason <> 'poison')",
    refuses: |write| matches!(write, Write::Event(event) if event.reason == "poison"),
};

fn poison(mut task: NewTask) -> NewTask {
    task.spec.tenant = "poison".to_owned();
    task
}

/// One of three hundred new tasks, alone and with a key, is left out; the others of its batch are stored.
pub(crate) async fn a_poisoned_task_stands_alone(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.constrain(OF_TASKS).await;
    let mut tasks: Vec<NewTask> = (0..300).map(|_| new_task("dev")).collect();
    tasks[137] = poison(new_task("dev"));
    tasks[298].key = Some(key("good", 1));
    tasks[299] = NewTask { key: Some(key("bad", 1)), ..poison(new_task("dev")) };
    let writes = [Write::AddTasks(tasks.clone()), Write::Event(event(1))];
    let outcomes = place.store.apply(fence, &writes).await.expect("all the others are stored");
    let WriteOutcome::Tasks(told) = &outcomes[0] else { panic!("{outcomes:?}") };
    for (n, outcome) in told.iter().enumerate() {
        let poisoned = n == 137 || n == 299;
        assert_eq!(matches!(outcome, TaskOutcome::Refused(_)), poisoned, "task {n}: {outcome:?}");
        assert_eq!(*outcome == TaskOutcome::Applied, !poisoned, "task {n}: {outcome:?}");
    }
    assert_eq!(outcomes[1], Applied);
    assert!(place.store.task(tasks[137].spec.task_id).await.expect("a read").is_none());
    let free = place.store.task_key_holder(&key("bad", 1)).await.expect("a read");
    assert_eq!(free, None, "the key of what was refused is free again");
    assert!(place.store.task_key_holder(&key("good", 1)).await.expect("a read").is_some());
}

/// What ends with a value that can't be stored goes on running, and can end in another form.
pub(crate) async fn a_poisoned_end_stands_alone(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.constrain(OF_OUTPUTS).await;
    let mut tasks: Vec<NewTask> = (0..3).map(|_| new_task("dev")).collect();
    for task in &mut tasks {
        task.start = Some(super::tasks::attempt(1));
    }
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.spec.task_id).collect();
    assert_eq!(place.tasks(fence, Write::AddTasks(tasks)).await, vec![TaskOutcome::Applied; 3]);
    let mut endings: Vec<_> = ids.iter().map(|id| over(*id, 1, FollowUp::Succeed)).collect();
    endings[1].output = Some(Payload::quoted("poison"));
    let told = place.tasks(fence, Write::EndTasks(endings)).await;
    assert!(matches!(&told[..], [TaskOutcome::Applied, TaskOutcome::Refused(_), TaskOutcome::Applied]), "{told:?}");
    assert!(place.task(ids[1]).await.status.state() == muster_domain::TaskState::Running);
    let error = TaskError { code: "unstorable".to_owned(), message: "no".to_owned() };
    let plain = over(ids[1], 1, FollowUp::Fail(error));
    assert_eq!(place.tasks(fence, Write::EndTasks(vec![plain])).await, [TaskOutcome::Applied]);
}

/// The same for agents and events, in a batch that other callers share.
pub(crate) async fn a_poisoned_batch_is_not_anothers(place: &Place) {
    let fence = place.lead_with_pool().await;
    place.constrain(OF_AGENTS).await;
    place.constrain(OF_EVENTS).await;
    let callers: Vec<_> = (0..20)
        .map(|n| {
            let store = place.store.clone();
            let mut agent = new_agent("dev", None);
            let mut told = event(n);
            if n % 5 == 0 {
                agent.spec.project_id = "poison".to_owned();
                told.reason = "poison".to_owned();
            }
            let writes = [add(&agent), Write::Event(told), add(&new_agent("dev", None))];
            tokio::spawn(async move { (n, store.apply(fence, &writes).await.expect("the store answers")) })
        })
        .collect();
    for caller in callers {
        match caller.await.expect("no panic") {
            (n, outcomes) if n % 5 == 0 => {
                assert!(matches!(&outcomes[..], [Refused(_), Refused(_), Unplaced]), "{outcomes:?}");
            }
            (_, outcomes) => assert_eq!(outcomes, [Unplaced, Applied, Unplaced]),
        }
    }
    let (low, high) = place.store.event_bounds().await.expect("bounds");
    assert_eq!((low, high), (1, 16), "without gaps");
}

/// What programs print and callers write, with characters that no text of PostgreSQL holds.
pub(crate) async fn every_character_is_stored(place: &Place) {
    let fence = place.lead_with_pool().await;
    let odd = "last\0words \u{1b}[31m \u{fffd} 😀\n";
    let mut agent = new_agent("dev", Some(place.worker(fence, 1).await));
    agent.spec.human_name = odd.to_owned();
    let id = agent.spec.agent_id;
    assert_eq!(place.one(fence, add(&agent)).await, Applied);
    let told = Ending { cause: Cause::NotStarted { error: odd.to_owned() }, last_output: odd.to_owned(), at: at(5) };
    let write = Write::Release { agent_id: id, epoch: Epoch(1), ending: told.clone(), then: None, at: at(6) };
    assert_eq!(place.one(fence, write).await, Applied);
    assert_eq!(place.read(id).await.last_ending, Some(told), "JSON is read back as it was");
    let draft = EventDraft { reason: odd.to_owned(), ..event(1) };
    assert_eq!(place.one(fence, Write::Event(draft)).await, Applied);
    let reason = place.store.events(0, 1).await.expect("events").remove(0).event.reason;
    assert_eq!(reason.replace("\\u0000", "\0"), odd, "and other text shows what it was");
}
