//! Tasks: each rule and race of the queue, in both orders.

mod breaking;
mod cancelling;
mod checking;
mod clock;
mod demand;
mod edges;
mod following;
mod gates;
mod losing;
mod masters;
mod messages;
mod named;
mod order;
mod resync;
mod retrying;
mod submitting;
mod tenants;
mod time;
mod totals;
mod waiting;

use std::time::Duration;

use muster_domain::{
    Activity, AgentId, AgentState, BreakerPolicy, Payload, PoolConfig, RetryPolicy, TaskId, TaskState, Tenants,
    Timestamp,
};
use muster_supervisor::{NotBefore, QueueView, Submitted, SupervisorError, TaskRequest, TaskView};

use crate::worker::{FakeWorker, OnTask, PATIENCE};
use crate::world::{World, pool, wait_until};

/// A pool whose tasks are tried again soon, and whose breaker never opens.
pub(crate) fn tasks_config(config: &mut PoolConfig) {
    let ms = Duration::from_millis;
    config.retry = RetryPolicy { backoff_min: ms(1), backoff_max: ms(10), ..RetryPolicy::default() };
    config.breaker = BreakerPolicy { enabled: false, ..BreakerPolicy::default() };
}

pub(crate) fn task() -> TaskRequest {
    TaskRequest {
        pool_name: pool(),
        input: Payload::trusted(r#"{"work": 1}"#),
        check: false,
        tenant: None,
        project_id: None,
        agent_id: None,
        priority: None,
        max_attempts: None,
        timeout: None,
        not_before: None,
        expires_at: None,
        key: None,
    }
}

/// In so many milliseconds from now.
pub(crate) fn soon(millis: u64) -> Option<Timestamp> {
    Some(Timestamp::now().after(Duration::from_millis(millis)))
}

/// Not before so many milliseconds from now.
pub(crate) fn at(millis: u64) -> Option<NotBefore> {
    soon(millis).map(NotBefore::Moment)
}

impl World {
    /// A world whose pool is for tasks.
    pub(crate) async fn of_tasks() -> Self {
        Self::with(|_| {}, tasks_config).await
    }

    /// The same, with other bounds.
    pub(crate) async fn of_tasks_with(change: impl FnOnce(&mut PoolConfig)) -> Self {
        let mut per_agent = 1;
        let world = Self::with(
            |_| {},
            |config| {
                tasks_config(config);
                change(config);
                per_agent = config.tasks_per_agent as usize;
            },
        )
        .await;
        world.ground.ledger.allow_tasks(per_agent);
        world
    }

    /// The same, with limits of tenants.
    pub(crate) async fn of_tenants(tenants: Tenants) -> Self {
        let ground = crate::world::Ground::new();
        let world = ground.lead_with(|parts| parts.tenants = tenants).await;
        let mut config = crate::world::config();
        tasks_config(&mut config);
        world.create_pool(config).await;
        world
    }

    /// How all workers, now and later, treat tasks.
    pub(crate) async fn on_task(&self, on_task: OnTask) {
        self.launcher().habits(|habits| habits.on_task = on_task.clone());
        for worker in self.launcher().living() {
            worker.change(|habits| habits.on_task = on_task.clone()).await;
        }
    }

    pub(crate) async fn try_submit(&self, request: TaskRequest) -> Result<Submitted, SupervisorError> {
        self.tasks().submit(request).await
    }

    pub(crate) async fn submit(&self, request: TaskRequest) -> TaskId {
        self.try_submit(request).await.expect("a task").task_id
    }

    pub(crate) async fn submit_many(&self, requests: Vec<TaskRequest>) -> Vec<TaskId> {
        let answers = self.tasks().submit_all(requests).await;
        answers.into_iter().map(|answer| answer.expect("a task").task_id).collect()
    }

    /// A task and the worker that has it.
    pub(crate) async fn start_task(&self, request: TaskRequest) -> (TaskId, FakeWorker) {
        let task = self.submit(request).await;
        (task, self.holder(task).await)
    }

    /// The worker that has a task, as soon as one has.
    pub(crate) async fn holder(&self, task: TaskId) -> FakeWorker {
        let mut found = None;
        wait_until(&format!("a worker has task {task}"), async || {
            for worker in self.launcher().living() {
                if worker.tasks().await.contains(&task) {
                    found = Some(worker);
                }
            }
            found.is_some()
        })
        .await;
        found.expect("a worker")
    }

    pub(crate) async fn task(&self, task: TaskId) -> TaskView {
        self.tasks().get(task, Duration::ZERO).await.expect("a task")
    }

    /// The task at its end.
    pub(crate) async fn done(&self, task: TaskId) -> TaskView {
        let view = self.tasks().get(task, PATIENCE).await.expect("a task");
        assert!(view.state.is_final(), "it never came to an end: {view:?}");
        view
    }

    pub(crate) async fn end_of(&self, task: TaskId) -> TaskState {
        self.done(task).await.state
    }

    /// The code of the error with which a task ended.
    pub(crate) async fn error_of(&self, task: TaskId) -> String {
        self.done(task).await.error.expect("it did not succeed").code
    }

    pub(crate) async fn wait_task(&self, task: TaskId, state: TaskState) {
        wait_until(&format!("task {task} is {state}"), async || self.task(task).await.state == state).await;
    }

    /// Waits until an attempt with this number is under way.
    pub(crate) async fn wait_attempt(&self, task: TaskId, number: u32) -> FakeWorker {
        wait_until(&format!("attempt {number} at task {task} begins"), async || {
            self.ground.ledger.latest_attempt(task) >= number
        })
        .await;
        self.holder(task).await
    }

    pub(crate) async fn queue(&self) -> QueueView {
        let queues = self.pools().queues().await.expect("figures");
        queues.into_iter().find(|queue| queue.pool_name == pool()).expect("a queue")
    }

    /// Waits until so many tasks are ready, delayed and running.
    pub(crate) async fn wait_queue(&self, depth: u64, delayed: u64, running: u64) {
        wait_until(&format!("{depth} wait, {delayed} are delayed and {running} run"), async || {
            let queue = self.queue().await;
            (queue.depth, queue.delayed, queue.running) == (depth, delayed, running)
        })
        .await;
    }

    /// An agent that is done with its work and stays.
    pub(crate) async fn wait_idle(&self, agent: AgentId) {
        self.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    }
}
