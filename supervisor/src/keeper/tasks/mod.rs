//! The tasks of a pool: one part of its keeper, and the last of a turn but for the sending.
//!
//! The store is the queue; what is here is its picture in memory: what waits ([`queue`]), what agents have and could take
//! ([`assigned`]), ends that were seen ([`ending`]), and what was asked for ([`intake`]). A turn decides over all that has come at
//! once, and makes one [`TurnPlan`] of it: ends of attempts, cancellations, new tasks, and which task goes to which agent. An agent
//! that became free in a turn gets its next task in the same one.
//!
//! This part takes facts, and returns what follows: writes for the controller to commit, and [`Effects`] for it to carry out. It
//! reads the store; it neither commits, nor sends, nor answers. Of the rest of the pool it sees what [`PoolNow`] shows.
//!
//! The picture changes while the turn is planned, before the commit. Nobody hears of it until the commit went through;
//! where it fails, what was asked for is refused, what was seen is kept, and the picture is read again from the store
//! ([`loading`]). Only this keeper writes the tasks of its pool, so in between the picture is the truth.
//!
//! Races, each replayed by a test in both orders: a start is stored before its order goes out, and the order is sent to that
//! same worker again until it is acknowledged; an end counts only with the number of the attempt that the store names; a
//! cancellation that comes with the result of its task comes too late.

mod assigned;
pub(super) mod available_agents;
mod breaking;
mod demand;
mod dispatching;
mod effects;
mod ending;
mod followers;
mod intake;
mod loading;
mod messages;
pub(super) mod meter;
mod orders;
mod plan;
mod queue;
pub(super) mod ready_queues;
pub(super) mod running_attempts;
mod settling;
mod surroundings;
mod wait_reasons;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use muster_domain::pool_metrics::QueueFigures;
use muster_domain::time::later;
use muster_domain::{
    AgentId, Command, Envelope, Fence, Heartbeat, PoolConfig, ProcessId, Progress, TaskBegun, TaskId, TaskOver, Usage,
};
use muster_store::{Store, StoreError};
use tokio::sync::watch;

use self::assigned::{Assigned, TasksSeen};
use self::breaking::PoolBreaker;
use self::demand::Demand;
use self::ending::SeenEnds;
use self::followers::Followers;
use self::intake::TaskInbox;
use self::meter::Meter;
use self::plan::SeenEnd;
use self::plan::TurnPlan;
use self::queue::WaitingTasks;
use self::wait_reasons::WaitReasons;
use crate::accounts::Accounts;
use crate::alerts::Alerts;
use crate::prometheus::TaskTotals;
use crate::quotas::Quotas;
use crate::sampling::picture::TaskFigures;
use crate::view::{Holds, Lack, QueueView};
use crate::waiting::{QueuedTaskQuery, WaitingFor};
pub(super) use effects::Effects;
pub(crate) use messages::{Cancel, Redrive, SubmitAsk, TaskAnswer, TaskAsk, TaskDraft, TaskSignal};
pub(super) use surroundings::PoolNow;

/// What this part needs of the supervisor.
pub(crate) struct PoolTasksDeps {
    /// For reading alone.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) alerts: Arc<Alerts>,
    /// Whether the queues of all pools are paused.
    pub(crate) all_paused: Arc<AtomicBool>,
    pub(crate) fence: Fence,
    /// After what time a command that was not heard is sent again.
    pub(crate) resend: Duration,
    /// Between two full passes of a keeper.
    pub(crate) pass: Duration,
}

/// The picture of a pool's tasks, and what has come for them.
pub(crate) struct PoolTasks {
    deps: PoolTasksDeps,
    /// Whether the picture was read from the store, and is the truth.
    loaded: bool,
    waiting: WaitingTasks,
    assigned: Assigned,
    ends: SeenEnds,
    inbox: TaskInbox,
    breaker: PoolBreaker,
    demand: Demand,
    followers: Followers,
    meter: Meter,
    /// Hears when other pools have ended tasks of tenants that are counted.
    freed: watch::Receiver<()>,
    /// When to look at the tasks again although nothing has come.
    look_at: Option<Instant>,
}

impl PoolTasks {
    pub(super) fn new(deps: PoolTasksDeps, config: &PoolConfig, now: Instant) -> Self {
        Self {
            loaded: false,
            waiting: WaitingTasks::default(),
            assigned: Assigned::default(),
            ends: SeenEnds::default(),
            inbox: TaskInbox::default(),
            breaker: PoolBreaker::new(config.breaker, deps.alerts.clone(), now),
            demand: Demand::default(),
            followers: Followers::default(),
            meter: Meter::new(now),
            freed: deps.quotas.freed(),
            look_at: None,
            deps,
        }
    }

    /// Returns when another pool may have made room for a task that waits here; never where none does.
    pub(super) async fn has_room_elsewhere(&mut self) {
        if self.waiting.queues.is_empty() || self.freed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the picture is the truth.
    pub(super) const fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// The store knows other moments than the picture: it is read again.
    pub(super) const fn read_anew(&mut self) {
        self.loaded = false;
    }

    /// Whether an agent has work.
    pub(super) fn is_busy(&self, agent: AgentId) -> bool {
        !self.assigned.runs.of_agent(agent).is_empty()
    }

    /// Whether everything that was seen is committed.
    pub(super) const fn is_settled(&self) -> bool {
        self.ends.overs.is_empty()
    }

    /// Whether no task waits or runs, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.loaded && self.waiting.count == 0 && self.assigned.runs.is_empty()
    }

    /// When there is something to do although nothing comes.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        if !self.loaded {
            // Nothing is done before the picture was read; the next pass tries again.
            return None;
        }
        [self.assigned.runs.next_due(), self.look_at].into_iter().flatten().min()
    }

    /// A report of tasks, with its number.
    pub(super) fn hear(&mut self, begun: &[TaskBegun], over: &[TaskOver], seq: u64) {
        for TaskBegun { task_id, attempt } in begun {
            self.assigned.begun(*task_id, *attempt, seq);
        }
        self.ends.overs.extend(over.iter().map(SeenEnd::from));
    }

    /// Compares the tasks of a worker's picture with what is known. `is_outdated` says that a later report was taken before it.
    pub(super) fn compare(
        &mut self,
        worker: ProcessId,
        beat: &Heartbeat,
        is_outdated: bool,
        pool: PoolNow<'_>,
        effects: &mut Effects,
    ) {
        if !self.loaded {
            return;
        }
        let TasksSeen { moved, unwanted: tasks } = self.assigned.compare(worker, beat, is_outdated, pool);
        for task in moved {
            self.followers.tell_progress(task, self.assigned.runs.progress(task));
        }
        if !tasks.is_empty() {
            tracing::warn!(process.id = %worker, tasks = tasks.len(), "a worker has tasks that are not wanted there; they are stopped");
            effects.commands.push((worker, Envelope::new(self.deps.fence, Command::HaltTasks { tasks })));
        }
    }

    /// All running tasks are to be looked at: another pool may pay from the same accounts.
    pub(super) const fn audit(&mut self) {
        self.assigned.audit = true;
    }

    /// How far a running task is, and what its attempt has used.
    pub(super) fn view_run(&self, task: TaskId) -> Option<(Option<Progress>, Usage)> {
        self.assigned.runs.get(task).map(|run| (run.progress.clone(), run.used))
    }

    /// The queue in figures, but for the delayed and the dead ones, which the store counts: `depth` is all that wait.
    pub(super) fn view_queue(&self, pool: PoolNow<'_>) -> QueueView {
        let (meter, now) = (&self.meter, pool.now);
        let (wait, run) = (meter.waits.percentiles(now), meter.run_times.percentiles(now));
        QueueView {
            pool_name: pool.name().clone(),
            holds: self.holds(pool),
            depth: self.waiting.count,
            delayed: 0,
            dead: 0,
            running: self.assigned.runs.len() as u64,
            oldest_wait: self.waiting.queues.oldest().map(|oldest| pool.at.since(oldest)),
            rate_in: meter.rate_in.per_second(now),
            rate_out: meter.rate_out.per_second(now),
            wait_p50: wait.map(|wait| wait.p50),
            wait_p99: wait.map(|wait| wait.p99),
            run_p50: run.map(|run| run.p50),
            run_p99: run.map(|run| run.p99),
        }
    }

    /// What tasks came to since the keeper began.
    pub(super) const fn totals(&self) -> &TaskTotals {
        &self.meter.totals
    }

    /// The queue at this moment, with its delayed tasks, and all work since the keeper began; none where the picture is not the truth.
    pub(super) fn figures(&self, pool: PoolNow<'_>) -> Option<TaskFigures> {
        if !self.loaded {
            return None;
        }
        let queue = QueueFigures {
            depth: self.waiting.count,
            running: self.assigned.runs.len() as u64,
            oldest_wait: self.waiting.queues.oldest().map_or(Duration::ZERO, |oldest| pool.at.since(oldest)),
        };
        Some((queue, self.meter.work.clone()))
    }

    /// How many tasks run.
    pub(super) fn running(&self) -> u32 {
        u32::try_from(self.assigned.runs.len()).unwrap_or(u32::MAX)
    }

    /// What each of these queued tasks waits for; none where it has an agent by now.
    pub(super) fn view_waits(&self, tasks: &[QueuedTaskQuery], pool: PoolNow<'_>) -> Vec<Option<WaitingFor>> {
        WaitReasons { tasks: self, pool }.each_waits(tasks)
    }

    /// What holds up the pool.
    pub(super) fn holds(&self, pool: PoolNow<'_>) -> Holds {
        WaitReasons { tasks: self, pool }.holds()
    }

    /// Why nobody takes the ready tasks, where nothing is to be expected without a person.
    pub(super) fn lack(&self, pool: PoolNow<'_>) -> Option<Lack> {
        WaitReasons { tasks: self, pool }.lack()
    }

    /// The pool's bounds were changed.
    pub(super) fn reconfigured(&mut self, pool: PoolNow<'_>) {
        self.breaker.reconfigured(pool);
        if !pool.one_task_each() {
            self.assigned.spent.clear();
        }
    }

    /// The first start of an agent failed or worked.
    pub(super) fn agent_tried(&mut self, ready: bool, pool: PoolNow<'_>) {
        match ready {
            true => self.demand.backoff.started(),
            false => self.demand.backoff.failed(&pool.config().restart, pool.now),
        }
    }

    /// Agents that may have got work, or have done theirs, since this was asked; and whether they have any.
    pub(super) fn take_turned(&mut self) -> Vec<(AgentId, bool)> {
        let turned = std::mem::take(&mut self.assigned.turned);
        turned.into_iter().map(|agent| (agent, self.is_busy(agent))).collect()
    }

    /// What this turn changes, from all that has come and from what the store has for it; an error where that can't be read.
    /// `touched` are the agents whose status may have changed.
    pub(super) async fn plan(
        &mut self,
        touched: &[AgentId],
        pool: PoolNow<'_>,
        effects: &mut Effects,
    ) -> Result<TurnPlan, StoreError> {
        let mut plan = TurnPlan::default();
        // The store is read before anything else is planned: what this turn puts into the queue is not there yet, and what is
        // read after it would make the picture forget it.
        let read = self.waiting.read(&self.assigned, &self.deps, &mut plan, pool).await;
        read.inspect_err(|_| self.loaded = false)?;
        for agent in touched {
            self.look_at_room(*agent, pool);
        }
        self.plan_ends(&mut plan, pool, effects);
        self.assigned.plan_lost_leases(&mut plan, pool.now);
        self.assigned.plan_overspent(&self.deps.accounts, &mut plan, pool);
        self.plan_wishes(&mut plan, pool);
        self.plan_submits(&mut plan, pool, effects).await;
        self.plan_starts(&mut plan, pool);
        self.ask_for_agents(pool, effects);
        Ok(plan)
    }

    /// The end of a turn: commands that are due go out, and the next look is set.
    pub(super) async fn finish(&mut self, pool: PoolNow<'_>, effects: &mut Effects) {
        if self.loaded {
            // Else what is in the picture may not be stored, and an order would be given that nobody knows of.
            self.assigned.give_orders(&self.deps, pool, effects).await;
        }
        self.look_at = self.next_look(pool);
    }

    /// When there will be something to do although nothing comes.
    fn next_look(&mut self, pool: PoolNow<'_>) -> Option<Instant> {
        if !self.loaded {
            // The next pass tries again.
            return None;
        }
        let more = self.waiting.has_more_to_do(pool) || !self.inbox.submits.is_empty() || !self.ends.overs.is_empty();
        if more {
            return Some(pool.now);
        }
        // A millisecond more than the rounded time, so that it is due when the turn comes.
        let next = self.waiting.next_moment();
        let next = next.map(|next| later(pool.now, next.since(pool.at) + Duration::from_millis(1)));
        let probe = self.breaker.changes_at(pool.now);
        let asks = pool.config().on_demand.is_some() && !self.waiting.queues.is_empty();
        let put_off = self.demand.backoff.wait(pool.now).filter(|_| asks);
        let put_off = put_off.map(|wait| later(pool.now, wait.duration()));
        [next, probe, put_off].into_iter().flatten().min()
    }

    /// Tells people what the store refuses of the ends that were seen.
    fn tell_refused(&self, whom: &str, why: &str, is_first: bool, pool: PoolNow<'_>) {
        super::set_aside::tell_refused(&self.deps.alerts, pool.name(), TASKS, whom, why, is_first);
    }

    fn tell_taken(&self, pool: PoolNow<'_>) {
        super::set_aside::tell_taken(&self.deps.alerts, pool.name(), TASKS);
    }
}

/// Of what the alert is that the store refuses something of tasks.
const TASKS: &str = "tasks";
