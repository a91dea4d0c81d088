//! The picture is read from the store: at the start, and whenever a commit failed or said something unexpected.

use std::collections::BTreeMap;

use muster_domain::{Cause, PoolName, TaskId, Timestamp};
use muster_store::{QueueCounts, QueueKey, QueueRow, RunningTask, Store, StoreError};

use super::available_agents::AvailableAgents;
use super::ending::{end_with, over_of};
use super::ready_queues::ReadyQueues;
use super::running_attempts::RunningAttempt;
use super::{PoolNow, PoolTasks};

/// Before everything.
const ALWAYS: Timestamp = Timestamp::from_millis(i64::MIN);

/// What the store knows of a pool's tasks.
struct TaskPicture {
    queues: Vec<QueueRow>,
    running: Vec<RunningTask>,
    counts: QueueCounts,
    next_due: Option<Timestamp>,
    next_expiry: Option<Timestamp>,
}

impl PoolTasks {
    /// Reads the picture. Whatever is known of agents is to be looked at again then.
    pub(in crate::keeper) async fn load(&mut self, pool: PoolNow<'_>) -> Result<(), StoreError> {
        let picture = read(self.deps.store.as_ref(), pool.name()).await?;
        self.take_picture(picture, pool);
        Ok(())
    }

    fn take_picture(&mut self, picture: TaskPicture, pool: PoolNow<'_>) {
        let mut known: BTreeMap<TaskId, RunningAttempt> = BTreeMap::new();
        let old = std::mem::take(&mut self.assigned.runs);
        self.assigned.turned.extend(old.agents());
        known.extend(old.into_runs().map(|run| (run.task.task_id, run)));
        (self.waiting.queues, self.assigned.available_agents) = (ReadyQueues::default(), AvailableAgents::default());
        self.waiting.count = picture.counts.delayed;
        for QueueRow { queue, count, first } in picture.queues {
            self.waiting.count += count;
            if let QueueKey::Own(agent) = queue
                && pool.is_gone(agent)
            {
                self.waiting.gone.insert(agent);
            }
            self.waiting.queues.expect(&queue, first);
        }
        self.breaker.count_dead(picture.counts.dead, pool.name());
        (self.waiting.next_due, self.waiting.next_expiry) = (picture.next_due, picture.next_expiry);
        for row in picture.running {
            self.take_running(row, &mut known, pool);
        }
        self.assigned.turned.extend(self.assigned.runs.agents());
        for (task, run) in known {
            self.breaker.uncount(task, pool.now);
            // A commit that seemed to fail has ended it after all.
            let added = pool.payers(&run.task, Some(run.attempt.agent_id)).additions(run.used);
            self.deps.accounts.settle(task, &added);
        }
        self.loaded = true;
        self.assigned.answers_since = Some(pool.now);
        self.followers.tell_everybody();
    }

    /// A task that runs, as the store says. What was known of the same attempt stays known; the worker of any other is asked:
    /// the order, sent again, is answered with what became of it.
    fn take_running(&mut self, row: RunningTask, known: &mut BTreeMap<TaskId, RunningAttempt>, pool: PoolNow<'_>) {
        let attempt = row.attempt;
        let held = pool.model.agent(attempt.agent_id).and_then(|agent| agent.status.assignment());
        let lives = held.is_some_and(|at| at.epoch == attempt.epoch && at.process_id == attempt.process_id);
        let run = match known.remove(&row.task.task_id).filter(|run| run.attempt == attempt) {
            Some(run) => run.with_halt(row.halt),
            None => RunningAttempt::from(row),
        };
        if !lives {
            // Where the capacity under its worker went, that is known of its agent's last run.
            let last = pool.model.agent(attempt.agent_id).and_then(|agent| agent.last_ending.as_ref());
            let cause = last.map(|ending| &ending.cause).filter(|cause| **cause == Cause::WorkerInterrupted);
            self.ends.overs.push(over_of(&run, &end_with(&run, cause.unwrap_or(&Cause::WorkerLost))));
        }
        let id = run.task.task_id;
        let unheard = run.is_unheard();
        self.assigned.runs.put(run);
        self.assigned.runs.schedule(id, (unheard && lives).then_some(pool.now));
    }
}

async fn read(store: &dyn Store, pool: &PoolName) -> Result<TaskPicture, StoreError> {
    let (queues, running, counts) =
        futures_util::future::try_join3(store.task_queues(pool), store.running_tasks(pool), store.queue_counts(pool))
            .await?;
    let (next_due, next_expiry) =
        futures_util::future::try_join(store.next_due(pool, ALWAYS), store.next_expiry(pool, ALWAYS)).await?;
    Ok(TaskPicture { queues, running, counts, next_due, next_expiry })
}
