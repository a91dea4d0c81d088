//! What callers ask about tasks that are there: read from the store, and changed by the pool's keeper.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::time::later;
use muster_domain::{PoolName, Principal, TaskId, TaskState};
use muster_store::{TaskFilter, TaskRow};
use tokio::sync::watch;

use crate::access;
use crate::clock;
use crate::context::Context;
use crate::directory::{Mailbox, ask, read, read_at_turn_end};
use crate::error::SupervisorError;
use crate::follower::TaskFollower;
use crate::keeper::tasks::TaskAsk;
use crate::keeper::tasks::{Cancel, Redrive, TaskSignal};
use crate::request::TaskQuery;
use crate::view::{CalledOff, Page, TaskView};
use crate::waiting::{QueuedTaskQuery, WaitingFor};

/// Dead tasks that one step sends to the queue again.
const REDRIVEN_AT_ONCE: u32 = 500;

/// The tasks, as far as one principal may see them. Cloneable.
#[derive(Clone)]
pub struct Tasks {
    pub(crate) context: Arc<Context>,
    pub(crate) principal: Principal,
}

impl Tasks {
    /// One task; waits at most `wait` for its end.
    ///
    /// # Errors
    /// There is no such task (any more), or something is away.
    pub async fn get(&self, task: TaskId, wait: Duration) -> Result<TaskView, SupervisorError> {
        if wait.is_zero() {
            return self.view(self.row(task).await?).await;
        }
        let deadline = later(clock::now(), wait);
        let row = self.row(task).await?;
        if row.status.state().is_final() {
            return Ok(TaskView::new(row, self.context.settings.wall.now()));
        }
        let mut signal = self.signal(&row).await?;
        loop {
            // Read after the subscription stands: what changes from now on is heard.
            let row = self.row(task).await?;
            if row.status.state().is_final() {
                return Ok(TaskView::new(row, self.context.settings.wall.now()));
            }
            match tokio::time::timeout_at(deadline.into(), signal.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(SupervisorError::Stopping),
                Err(_) => return self.view(row).await,
            }
        }
    }

    /// Hears of a task's changes from now on.
    pub(crate) async fn signal(&self, row: &TaskRow) -> Result<watch::Receiver<TaskSignal>, SupervisorError> {
        let keeper = self.context.directory.keeper(&row.spec.pool_name)?;
        ask(&keeper, |reply| TaskAsk::Follow(row.spec.task_id, reply).into()).await
    }

    /// The picture of a task: its row, how far it is where it runs, and what it waits for.
    pub(crate) async fn view(&self, row: TaskRow) -> Result<TaskView, SupervisorError> {
        let mut view = TaskView::new(row, self.context.settings.wall.now());
        // A pool that is gone has nobody to say more.
        let Ok(keeper) = self.context.directory.keeper(&view.pool_name) else { return Ok(view) };
        if view.state == TaskState::Queued {
            let query = [QueuedTaskQuery::from(&view)];
            let waits = read_at_turn_end(&keeper, move |keeper, round| keeper.view_waits(&query, round)).await?;
            view.waiting_for = waits.into_iter().next().flatten();
        }
        let task = view.task_id;
        if view.state == TaskState::Running
            && let Some((progress, used)) = read(&keeper, move |keeper, _| keeper.view_run(task)).await?
        {
            view.progress = progress;
            view.usage = view.usage.plus(used);
        }
        // Also of one that runs: it may not have reached its agent yet, and its end would not be heard of.
        if !view.state.is_final()
            && let Some(reason) = self.context.reporting.health.missing()
        {
            view.waiting_for = Some(WaitingFor::Recovery(reason));
        }
        Ok(view)
    }

    pub(crate) async fn row(&self, task: TaskId) -> Result<TaskRow, SupervisorError> {
        let row = self.context.store.task(task).await.map_err(|error| self.context.store_failed(&error))?;
        access::to_task(&self.principal, row.ok_or(SupervisorError::UnknownTask(task))?)
    }

    /// A page of tasks. How far running ones are is not told here.
    pub async fn list(&self, query: TaskQuery) -> Result<Page<TaskView, TaskId>, SupervisorError> {
        let start = query.start();
        let TaskQuery { pool, project, tenant, states, order, brief, ids, .. } = query;
        let tenant = access::to_tenant(&self.principal, tenant)?;
        let filter = TaskFilter { pool, project, tenant, states, brief, order };
        // One more than asked for tells whether there is another page.
        let limit = query.limit.clamp(1, 1_000);
        let rows = self.context.store.tasks(&filter, start, limit + 1).await;
        let mut rows = rows.map_err(|error| self.context.store_failed(&error))?;
        // Those whose ids begin so are one behind the other, so the others come after all of them.
        rows.retain(|row| ids.is_none_or(|ids| ids.begins(row.spec.task_id)));
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.spec.task_id);
        let now = self.context.settings.wall.now();
        let mut items: Vec<TaskView> = rows
            .into_iter()
            .map(|row| TaskView::new(row, now))
            .map(|view| if brief { view.brief() } else { view })
            .collect();
        self.say_what_they_wait_for(&mut items).await;
        self.context.directory.page_of(filter.pool.as_ref(), Page { items, next })
    }

    /// Asks each pool once. One that is gone has nobody to say it.
    async fn say_what_they_wait_for(&self, tasks: &mut [TaskView]) {
        let mut pools: BTreeMap<PoolName, Vec<&mut TaskView>> = BTreeMap::new();
        for task in tasks.iter_mut().filter(|task| task.state == TaskState::Queued) {
            pools.entry(task.pool_name.clone()).or_default().push(task);
        }
        for (pool, tasks) in pools {
            let Ok(keeper) = self.context.directory.keeper(&pool) else { continue };
            let queries: Vec<QueuedTaskQuery> = tasks.iter().map(|task| QueuedTaskQuery::from(&**task)).collect();
            let waits = read_at_turn_end(&keeper, move |keeper, round| keeper.view_waits(&queries, round));
            let Ok(answers) = waits.await else { continue };
            tasks.into_iter().zip(answers).for_each(|(task, answer)| task.waiting_for = answer);
        }
        if let Some(reason) = self.context.reporting.health.missing() {
            let unfinished = tasks.iter_mut().filter(|task| !task.state.is_final());
            unfinished.for_each(|task| task.waiting_for = Some(WaitingFor::Recovery(reason.clone())));
        }
    }

    /// Has a task stopped, and waits at most `wait` until its work has stopped. Cancelling one that is over changes nothing.
    pub async fn cancel(&self, task: TaskId, wait: Duration) -> Result<CalledOff, SupervisorError> {
        let row = self.row(task).await?;
        if row.status.state().is_final() {
            return Ok(CalledOff { task: TaskView::new(row, self.context.settings.wall.now()), was_over: true });
        }
        self.context.reporting.health.may_store()?;
        let keeper = self.context.directory.keeper(&row.spec.pool_name)?;
        let row = Box::new(row);
        ask(&keeper, |reply| TaskAsk::Cancel(Cancel { task: row, reply }).into()).await??;
        Ok(CalledOff { task: self.get(task, wait).await?, was_over: false })
    }

    /// Sends a task that is dead or failed to the queue again.
    ///
    /// # Errors
    /// [`SupervisorError::WrongTaskState`] where it is neither.
    pub async fn retry(&self, task: TaskId) -> Result<TaskView, SupervisorError> {
        let row = self.row(task).await?;
        let state = row.status.state();
        let keeper = self.context.directory.keeper(&row.spec.pool_name)?;
        let redriven = match state {
            TaskState::Dead | TaskState::Failed => self.redrive_rows(&keeper, vec![row]).await?,
            _ => 0,
        };
        if redriven == 0 {
            let why = "only a task that is dead or failed, and whose agent is not gone, can be tried again".to_owned();
            return Err(SupervisorError::WrongTaskState { task_id: task, state, why });
        }
        self.get(task, Duration::ZERO).await
    }

    /// Sends the dead tasks of a pool, or of all pools, to the queue again; says how many.
    pub async fn redrive(&self, pool: Option<PoolName>) -> Result<u64, SupervisorError> {
        let pools = match pool {
            Some(pool) => vec![(pool.clone(), self.context.directory.keeper(&pool)?)],
            None => self.context.directory.all(),
        };
        let mut redriven = 0;
        for (pool, keeper) in pools {
            redriven += self.redrive_pool(pool, &keeper).await?;
        }
        Ok(redriven)
    }

    /// Goes once through those that are dead now: one that dies again meanwhile has a place before the cursor.
    async fn redrive_pool(&self, pool: PoolName, keeper: &Mailbox) -> Result<u64, SupervisorError> {
        let tenant = access::to_tenant(&self.principal, None)?;
        let states = vec![TaskState::Dead];
        let filter = TaskFilter { pool: Some(pool), tenant, states, brief: true, ..TaskFilter::default() };
        let (mut after, mut redriven) = (None, 0);
        loop {
            let rows = self.context.store.tasks(&filter, after, REDRIVEN_AT_ONCE).await;
            let rows = rows.map_err(|error| self.context.store_failed(&error))?;
            let more = rows.len() == REDRIVEN_AT_ONCE as usize;
            after = rows.last().map(|row| row.spec.task_id);
            if !rows.is_empty() {
                redriven += self.redrive_rows(keeper, rows).await?;
            }
            if !more {
                return Ok(redriven);
            }
        }
    }

    async fn redrive_rows(&self, keeper: &Mailbox, tasks: Vec<TaskRow>) -> Result<u64, SupervisorError> {
        self.context.reporting.health.may_store()?;
        ask(keeper, |reply| TaskAsk::Redrive(Redrive { tasks, reply }).into()).await?
    }

    /// Follows a task. Its first news is its picture now.
    pub async fn follow(&self, task: TaskId) -> Result<TaskFollower, SupervisorError> {
        let row = self.row(task).await?;
        let signal = match row.status.state().is_final() {
            // Its picture is all that there is to tell; its pool may be gone.
            true => watch::channel(TaskSignal::default()).1,
            false => self.signal(&row).await?,
        };
        Ok(TaskFollower::new(self.clone(), task, signal))
    }
}
