//! Commands about tasks: first time or again, until their workers have heard them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{CheckOrder, Command, Envelope, Payload, ProcessId, Reach, TaskHalt, TaskId, TaskOrder};
use muster_policy::agent::{LONGEST_RESEND, SentCommand};
use muster_policy::backoff::doubled;

use super::assigned::Assigned;
use super::running_attempts::RunningAttempt;
use super::{Effects, PoolNow, PoolTasksDeps};

/// Orders in one command, and bytes of their inputs (unless a single one is longer): a message stays small enough that others
/// wait little behind it.
const ORDERS_PER_COMMAND: usize = 256;
const BYTES_PER_COMMAND: usize = 256 * 1024;

/// How long the store is waited for on behalf of a check. It has just taken its start.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// What goes to one worker at once.
#[derive(Default)]
struct OrderBatch {
    orders: Vec<TaskOrder>,
    halts: Vec<TaskHalt>,
}

impl Assigned {
    /// The commands that are due, for workers that listen.
    pub(super) async fn give_orders(&mut self, deps: &PoolTasksDeps, pool: PoolNow<'_>, effects: &mut Effects) {
        let due = self.runs.due(pool.now);
        if due.is_empty() {
            return;
        }
        self.find_inputs(&due, deps, pool, effects).await;
        let mut batches: BTreeMap<ProcessId, OrderBatch> = BTreeMap::new();
        for id in due {
            self.write_order(id, deps.resend, pool, &mut batches);
        }
        effects.commands.extend(batches.into_iter().flat_map(|(worker, batch)| {
            batch.into_commands().into_iter().map(move |command| (worker, Envelope::new(deps.fence, command)))
        }));
    }

    /// Puts what one run needs into its worker's batch, and notes when to look again.
    fn write_order(
        &mut self,
        id: TaskId,
        resend: Duration,
        pool: PoolNow<'_>,
        batches: &mut BTreeMap<ProcessId, OrderBatch>,
    ) {
        let Some(run) = self.runs.get(id) else { return };
        let worker = run.attempt.process_id;
        if !run.is_unheard() || !pool.model.workers.listens(worker) {
            // A worker that does not listen is new, or ends; both bring news of their own.
            return self.runs.schedule(id, None);
        }
        let batch = batches.entry(worker).or_default();
        if let Some(halt) = run.halt_order() {
            batch.halts.push(halt);
        } else if let Some(order) = &run.order {
            batch.orders.push(order.clone());
        }
        let due = self.runs.get_mut(id).map(|run| run.note_sent(resend, pool.now));
        self.runs.schedule(id, due);
    }

    /// Completes the orders of those whose input is not in memory.
    async fn find_inputs(&mut self, due: &[TaskId], deps: &PoolTasksDeps, pool: PoolNow<'_>, effects: &mut Effects) {
        let check = self.check_order(due, deps, pool).await;
        let (alone, mut missing) = (pool.tasks_per_agent() == 1, Vec::new());
        for id in due {
            let Some(run) = self.runs.get_mut(*id).filter(|run| run.needs_order()) else { continue };
            match run.task.input.take() {
                Some(input) => run.order = Some(run.order_with(input, alone, check.as_ref())),
                None => missing.push(*id),
            }
        }
        for some in missing.chunks(ORDERS_PER_COMMAND) {
            match deps.store.inputs(some).await {
                Ok(inputs) => self.complete_orders(inputs, alone, check.as_ref()),
                // What has no order yet is due again with the next look.
                Err(error) => return effects.failures.push(error),
            }
        }
    }

    /// What checks are told beside their tasks, where some of these are checks: how the store is now, and what else to try.
    async fn check_order(&self, due: &[TaskId], deps: &PoolTasksDeps, pool: PoolNow<'_>) -> Option<CheckOrder> {
        let is_check = |id: &TaskId| self.runs.get(*id).is_some_and(|run| run.task.check && run.needs_order());
        if !due.iter().any(is_check) {
            return None;
        }
        let begun = Instant::now();
        let outcome = match tokio::time::timeout(STORE_PATIENCE, deps.store.ping()).await {
            Ok(answer) => answer.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", STORE_PATIENCE.as_secs())),
        };
        let store = Reach::new(begun.elapsed(), outcome);
        Some(CheckOrder { store, dependencies: pool.config().dependencies.clone() })
    }

    fn complete_orders(&mut self, inputs: Vec<(TaskId, Payload)>, alone: bool, check: Option<&CheckOrder>) {
        for (id, input) in inputs {
            if let Some(run) = self.runs.get_mut(id) {
                run.order = Some(run.order_with(input, alone, check));
            }
        }
    }
}

impl RunningAttempt {
    fn needs_order(&self) -> bool {
        self.begun_by.is_none() && self.halt.is_none() && self.order.is_none()
    }

    fn order_with(&self, input: Payload, alone: bool, check: Option<&CheckOrder>) -> TaskOrder {
        TaskOrder {
            task_id: self.task.task_id,
            attempt: self.attempt.number,
            agent_id: self.attempt.agent_id,
            epoch: self.attempt.epoch,
            input,
            sole_tenant: alone.then(|| self.task.tenant.clone()),
            timeout: self.task.timeout,
            check: check.filter(|_| self.task.check).cloned().map(Box::new),
        }
    }

    fn halt_order(&self) -> Option<TaskHalt> {
        Some(TaskHalt {
            task_id: self.task.task_id,
            attempt: self.attempt.number,
            agent_id: self.attempt.agent_id,
            epoch: self.attempt.epoch,
            halt: self.halt?,
        })
    }

    /// Notes that a command went out, and says when it goes out again.
    fn note_sent(&mut self, resend: Duration, now: Instant) -> Instant {
        let resends = self.sent.map_or(0, |sent| sent.resends.saturating_add(1));
        self.sent = Some(SentCommand { at: now, resends });
        later(now, doubled(resend, resends, LONGEST_RESEND))
    }
}

impl OrderBatch {
    fn into_commands(self) -> Vec<Command> {
        let mut commands = Vec::new();
        let (mut tasks, mut bytes) = (Vec::new(), 0);
        for order in self.orders {
            let full = tasks.len() == ORDERS_PER_COMMAND || bytes + order.input.len() > BYTES_PER_COMMAND;
            if full && !tasks.is_empty() {
                commands.push(Command::RunTasks { tasks: std::mem::take(&mut tasks) });
                bytes = 0;
            }
            bytes += order.input.len();
            tasks.push(order);
        }
        if !tasks.is_empty() {
            commands.push(Command::RunTasks { tasks });
        }
        if !self.halts.is_empty() {
            commands.push(Command::HaltTasks { tasks: self.halts });
        }
        commands
    }
}
