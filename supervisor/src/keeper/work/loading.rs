//! The picture is read from the store: at the start, and whenever a commit failed or said something unexpected.

use std::collections::HashMap;

use muster_domain::{AttemptEnd, PoolName, TaskId, Timestamp};
use muster_store::{LineKey, LineRow, QueueCounts, RunningTask, Store, StoreError, Write};

use super::ending::over_of;
use super::lines::Lines;
use super::rooms::Rooms;
use super::runs::Run;
use crate::keeper::{Keeper, Round};

/// Before everything.
const ALWAYS: Timestamp = Timestamp::from_millis(i64::MIN);

/// What the store knows of a pool's tasks.
struct Picture {
    lines: Vec<LineRow>,
    running: Vec<RunningTask>,
    counts: QueueCounts,
    next_due: Option<Timestamp>,
    next_expiry: Option<Timestamp>,
}

impl Keeper {
    /// Reads the picture; whether that worked.
    pub(super) async fn load_tasks(&mut self, round: &mut Round) -> bool {
        if !self.withdraw_refused().await {
            return false;
        }
        let pool = self.model.spec.pool_name.clone();
        match read(self.context.store.as_ref(), &pool).await {
            Ok(picture) => {
                self.take_picture(picture, round);
                true
            }
            Err(error) => {
                self.context.store_failed(&error);
                false
            }
        }
    }

    /// Nobody is to do what its caller was told is not there.
    async fn withdraw_refused(&mut self) -> bool {
        if self.desk.refused.is_empty() {
            return true;
        }
        let refused = self.desk.refused.clone();
        let withdrawn = self.commit(vec![Write::WithdrawTasks(refused)]).await.is_ok();
        if withdrawn {
            self.desk.refused.clear();
        }
        withdrawn
    }

    fn take_picture(&mut self, picture: Picture, round: &mut Round) {
        let mut known: HashMap<TaskId, Run> = HashMap::new();
        let old = std::mem::take(&mut self.desk.runs);
        known.extend(old.into_runs().map(|run| (run.task.task_id, run)));
        (self.desk.lines, self.desk.rooms) = (Lines::default(), Rooms::default());
        self.desk.waiting = picture.counts.delayed;
        for LineRow { line, count, first } in picture.lines {
            self.desk.waiting += count;
            if let LineKey::Own(agent) = line
                && self.is_gone(agent)
            {
                self.desk.gone.insert(agent);
            }
            self.desk.lines.expect(&line, first);
        }
        self.count_dead(picture.counts.dead);
        (self.desk.next_due, self.desk.next_expiry) = (picture.next_due, picture.next_expiry);
        for row in picture.running {
            self.take_running(row, &mut known, round);
        }
        for (task, run) in known {
            self.uncount(task, round);
            // A commit that seemed to fail has ended it after all.
            let added = self.payers(&run.task, Some(run.attempt.agent_id)).additions(run.used);
            self.context.accounts.settle(task, &added);
        }
        self.desk.loaded = true;
        self.desk.answers_since = Some(round.now);
        self.desk.tell_everybody();
        round.touched.extend(self.model.agent_ids());
    }

    /// A task that runs, as the store says. What was known of the same attempt stays known; the worker of any other is asked:
    /// the order, sent again, is answered with what became of it.
    fn take_running(&mut self, row: RunningTask, known: &mut HashMap<TaskId, Run>, round: &Round) {
        let attempt = row.attempt;
        let held = self.model.agent(attempt.agent_id).and_then(|agent| agent.status.assignment());
        let lives = held.is_some_and(|at| at.epoch == attempt.epoch && at.process_id == attempt.process_id);
        let run = match known.remove(&row.task.task_id).filter(|run| run.attempt == attempt) {
            Some(run) => run.with_halt(row.halt),
            None => Run::from(row),
        };
        if !lives {
            self.desk.overs.push(over_of(&run, &AttemptEnd::WorkerLost));
        }
        let id = run.task.task_id;
        let unheard = run.is_unheard();
        self.desk.runs.put(run);
        self.desk.runs.schedule(id, (unheard && lives).then_some(round.now));
    }
}

async fn read(store: &dyn Store, pool: &PoolName) -> Result<Picture, StoreError> {
    let (lines, running, counts) =
        futures_util::future::try_join3(store.task_lines(pool), store.running_tasks(pool), store.queue_counts(pool))
            .await?;
    let (next_due, next_expiry) =
        futures_util::future::try_join(store.next_due(pool, ALWAYS), store.next_expiry(pool, ALWAYS)).await?;
    Ok(Picture { lines, running, counts, next_due, next_expiry })
}
