//! What a principal with a tenant may see and do. No key of the API makes one so far.

use std::time::Duration;

use muster_domain::budget::Scope;
use muster_domain::{Principal, TaskId, TaskState, Usage};
use muster_store::{IdempotencyKey, TaskQueue as _};
use muster_supervisor::{Caller, ListOrder, RequestKey, SupervisorError, TaskQuery, TaskRequest, Tasks};

use crate::tasks::task;
use crate::worker::{OnTask, PATIENCE};
use crate::world::{World, pool};

fn acme(world: &World) -> Caller {
    world.handle.by(Principal::admin("acme-ci").of_tenant("acme"))
}

fn of(tenant: &str) -> TaskRequest {
    TaskRequest { tenant: Some(tenant.to_owned()), ..task() }
}

async fn listed(tasks: &Tasks, query: TaskQuery) -> Result<Vec<TaskId>, SupervisorError> {
    let page = tasks.list(TaskQuery { limit: 100, order: ListOrder::OldestFirst, ..query }).await?;
    Ok(page.items.into_iter().map(|task| task.task_id).collect())
}

fn is_unknown_task<T>(answer: Result<T, SupervisorError>, task: TaskId) {
    let error = answer.err().expect("it is not there");
    assert!(matches!(error, SupervisorError::UnknownTask(id) if id == task), "{error}");
}

fn is_unknown_tenant<T>(answer: Result<T, SupervisorError>) {
    let error = answer.err().expect("it is not there");
    assert!(matches!(&error, SupervisorError::UnknownTenant(name) if name == "other"), "{error}");
}

#[tokio::test]
async fn tasks_of_another_tenant_are_not_there() {
    let world = World::of_tasks().await;
    let (mine, theirs) = (world.submit(of("acme")).await, world.submit(of("other")).await);
    let tasks = acme(&world).tasks();
    assert_eq!(listed(&tasks, TaskQuery::default()).await.expect("a page"), [mine]);
    assert_eq!(listed(world.tasks(), TaskQuery::default()).await.expect("a page"), [mine, theirs]);
    let asked = |tenant: &str| TaskQuery { tenant: Some(tenant.to_owned()), ..TaskQuery::default() };
    assert_eq!(listed(&tasks, asked("acme")).await.expect("a page"), [mine]);
    is_unknown_tenant(listed(&tasks, asked("other")).await);
    is_unknown_task(tasks.get(theirs, Duration::ZERO).await, theirs);
    is_unknown_task(tasks.get(theirs, PATIENCE).await, theirs);
    is_unknown_task(tasks.follow(theirs).await, theirs);
    is_unknown_task(tasks.retry(theirs).await, theirs);
    is_unknown_task(tasks.cancel(theirs, Duration::ZERO).await, theirs);
    assert_eq!(world.task(theirs).await.state, TaskState::Queued);
    assert_eq!(tasks.get(mine, Duration::ZERO).await.expect("a task").tenant, "acme");
    let mut follower = tasks.follow(mine).await.expect("a follower");
    assert!(follower.next().await.expect("news").is_some());
    assert_eq!(tasks.cancel(mine, PATIENCE).await.expect("called off").task.state, TaskState::Cancelled);
    world.end().await;
}

#[tokio::test]
async fn a_task_is_submitted_for_ones_own_tenant() {
    let world = World::of_tasks().await;
    let tasks = acme(&world).tasks();
    let plain = tasks.submit(task()).await.expect("a task").task_id;
    assert_eq!(world.task(plain).await.tenant, "acme");
    is_unknown_tenant(tasks.submit(of("other")).await);
    let answers = tasks.submit_all(vec![of("acme"), of("other"), task()]).await;
    let taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, false, true]);
    answers.into_iter().filter(Result::is_err).for_each(is_unknown_tenant);
    let page = world.tasks().list(TaskQuery { limit: 100, ..TaskQuery::default() }).await.expect("a page");
    assert!(page.items.len() == 3 && page.items.iter().all(|task| task.tenant == "acme"));
    assert_eq!(tasks.quota(None).await.expect("a quota").tenant, "acme");
    assert_eq!(world.tasks().quota(None).await.expect("a quota").tenant, "default");
    is_unknown_tenant(tasks.quota(Some("other".to_owned())).await);
    world.end().await;
}

#[tokio::test]
async fn only_ones_own_dead_tasks_are_sent_again() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Fail { retryable: true }).await;
    world.spawn().await;
    let hopeless = |tenant: &str| TaskRequest { max_attempts: Some(1), ..of(tenant) };
    let (mine, theirs) = (world.submit(hopeless("acme")).await, world.submit(hopeless("other")).await);
    for task in [mine, theirs] {
        assert_eq!(world.end_of(task).await, TaskState::Dead);
    }
    world.on_task(OnTask::Answer).await;
    let tasks = acme(&world).tasks();
    is_unknown_task(tasks.retry(theirs).await, theirs);
    assert_eq!(tasks.redrive(Some(pool())).await.expect("sent again"), 1);
    assert_eq!(world.end_of(mine).await, TaskState::Succeeded);
    assert_eq!(tasks.redrive(None).await.expect("nothing is left"), 0);
    assert_eq!(world.task(theirs).await.state, TaskState::Dead);
    world.end().await;
}

#[tokio::test]
async fn only_ones_own_account_is_shown() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    for (tenant, input_tokens) in [("abc", 5), ("acme", 7), ("other", 9)] {
        let (held, worker) = world.start_task(of(tenant)).await;
        worker.progress(held, "half", Usage { input_tokens, ..Usage::default() }).await;
        worker.answer(held).await;
        world.done(held).await;
    }
    let tasks = acme(&world).tasks();
    let page = tasks.usage(Scope::Tenant, "", 1).await.expect("a page");
    let used: Vec<_> = page.items.iter().map(|item| (item.name.as_str(), item.usage.input_tokens)).collect();
    assert_eq!((used, page.next), (vec![("acme", 7)], None));
    // It is the only page, so there is nothing after it.
    assert!(tasks.usage(Scope::Tenant, "acme", 1).await.expect("a page").items.is_empty());
    assert_eq!(world.tasks().usage(Scope::Tenant, "", 100).await.expect("a page").items.len(), 3);
    for scope in [Scope::Agent, Scope::Project, Scope::Pool] {
        assert!(matches!(tasks.usage(scope, "", 1).await, Err(SupervisorError::OfAllTenants(_))), "{scope:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_belongs_to_no_tenant_is_refused() {
    let world = World::of_tasks().await;
    let caller = acme(&world);
    let refusals = [
        caller.agents().err(),
        caller.pools().err(),
        caller.workers().err(),
        caller.events().err(),
        caller.system().err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(SupervisorError::OfAllTenants(tenant)) if tenant == "acme"));
    }
    world.end().await;
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_its_principal() {
    let world = World::of_tasks().await;
    let key = |caller: &str| IdempotencyKey {
        caller: caller.to_owned(),
        route: "r".to_owned(),
        key: "k".to_owned(),
        body_hash: [1; 32],
    };
    let asked = RequestKey { route: "r".to_owned(), key: "k".to_owned(), body_hash: [1; 32] };
    let request = TaskRequest { key: Some(asked), ..task() };
    let mut made = Vec::new();
    for (principal, caller) in [(Principal::anonymous(), ""), (Principal::admin("ci"), "ci")] {
        let tasks = world.handle.by(principal).tasks();
        let first = tasks.submit(request.clone()).await.expect("a task").task_id;
        assert_eq!(tasks.submit(request.clone()).await.expect("the same").task_id, first);
        let holder = world.store().task_key_holder(&key(caller)).await.expect("the store answers");
        assert_eq!(holder, Some((first, [1; 32])), "{caller:?}");
        made.push(first);
    }
    assert_ne!(made[0], made[1]);
    world.end().await;
}
