//! The tasks' part of a turn, as the controller carries it out: the part plans, the controller commits, sends and answers.

use muster_domain::{Progress, ScalingMode, TaskId, Usage};
use muster_policy::scaling::{ScalingFacts, WorkerCounts};
use muster_store::{StoreError, Write, WriteOutcome};

use super::mailbox::{AgentAsk, KeeperMessage};
use super::model::ScalingShown;
use super::tasks::{Effects, PoolNow};
use super::{Keeper, Turn};
use crate::error::SupervisorError;
use crate::prometheus::TaskTotals;
use crate::sampling::picture::{self, PoolPicture};
use crate::view::{PoolView, QueueView};
use crate::waiting::{QueuedTaskQuery, WaitingFor};

impl Keeper {
    /// Does what there is to do with tasks, in one commit.
    pub(super) async fn work(&mut self, turn: &mut Turn) {
        let mut effects = Effects::default();
        if let Err(error) = self.move_tasks(turn, &mut effects).await {
            self.tasks.put_off(&error, &mut effects);
        }
        self.carry_out_effects(effects);
        std::mem::take(&mut self.looks).into_iter().for_each(|look| look(self, turn));
    }

    /// An error says why nothing could be done with them.
    async fn move_tasks(&mut self, turn: &mut Turn, effects: &mut Effects) -> Result<(), SupervisorError> {
        if let Some(error) = self.submit_refusal() {
            self.tasks.refuse_submits(&error, effects);
        }
        if !self.move_waits().await {
            return Err(self.store_is_away());
        }
        if !self.tasks.is_loaded() {
            self.load_tasks(turn).await?;
        }
        let mut touched = std::mem::take(&mut turn.touched);
        touched.sort_unstable();
        touched.dedup();
        let pool = PoolNow::of(&self.model, turn);
        let planned = self.tasks.plan(&touched, pool, effects).await;
        turn.touched = touched;
        self.note_turned();
        // Before the commit: it says how the store is after that.
        effects.failures.drain(..).for_each(|error| drop(self.context.store_failed(&error)));
        let (writes, told) = planned.map_err(|error| self.could_not_read(&error))?.split();
        let outcome = if writes.is_empty() { Ok(Vec::new()) } else { self.commit(writes).await };
        let pool = PoolNow::of(&self.model, turn);
        match outcome {
            Ok(outcomes) => self.tasks.committed(told, outcomes, pool, effects),
            Err(error) => self.tasks.take_back(told, &error, effects),
        }
        self.note_turned();
        // What is committed is answered before anything else is waited for.
        self.carry_out_effects(std::mem::take(effects));
        let pool = PoolNow::of(&self.model, turn);
        self.tasks.finish(pool, effects).await;
        Ok(())
    }

    /// Moves the waits that are durations with the clock; whether nothing is left to move.
    async fn move_waits(&mut self) -> bool {
        while let Some((number, by_millis)) = self.time.step() {
            // The picture has the moments of before: until they are moved and read again nothing in it is due, else a store that
            // is away would be asked again at once, for ever.
            self.tasks.read_anew();
            let pool = self.model.pool.spec.pool_name.clone();
            let step = format!("{} {pool} {number}", self.context.fence.0);
            match self.commit(vec![Write::ShiftWaits { pool: Some(pool), by_millis, step }]).await {
                Ok(outcomes) if outcomes.first() == Some(&WriteOutcome::Unchanged) => self.time.moved(),
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads the picture of the tasks.
    async fn load_tasks(&mut self, turn: &mut Turn) -> Result<(), SupervisorError> {
        if let Some(withdrawal) = self.tasks.withdrawal() {
            self.commit(vec![withdrawal]).await.map_err(|_| self.store_is_away())?;
            self.tasks.withdrawn();
        }
        let pool = PoolNow::of(&self.model, turn);
        let loaded = self.tasks.load(pool).await;
        loaded.map_err(|error| self.could_not_read(&error))?;
        self.note_turned();
        turn.touched.extend(self.model.agents.ids());
        Ok(())
    }

    fn could_not_read(&self, error: &StoreError) -> SupervisorError {
        self.context.store_failed(error);
        self.store_is_away()
    }

    fn store_is_away(&self) -> SupervisorError {
        let known = self.context.reporting.health.store_refusal();
        known.unwrap_or_else(|| SupervisorError::unavailable("the store does not answer".to_owned()))
    }

    /// The registry may be away: a task that is stored waits for it.
    fn submit_refusal(&self) -> Option<SupervisorError> {
        if self.model.pool.is_stopping {
            return Some(SupervisorError::Stopping);
        }
        self.context.reporting.health.store_refusal()
    }

    fn note_turned(&mut self) {
        for (agent, has_work) in self.tasks.take_turned() {
            self.model.note_activity(agent, None, has_work);
        }
    }

    /// Sends and answers what followed from a step of the tasks.
    pub(super) fn carry_out_effects(&self, effects: Effects) {
        for error in &effects.failures {
            self.context.store_failed(error);
        }
        if !effects.commands.is_empty() {
            self.context.messages.command_sender.send(effects.commands);
        }
        // As if somebody else had said it, so that it is taken with the rest of the next turn.
        for agent in effects.spent {
            drop(self.mailbox.send(AgentAsk::Spent(agent).into()));
        }
        for order in effects.spawns {
            drop(self.mailbox.send(KeeperMessage::Spawn(Box::new(order))));
        }
        for answer in effects.answers {
            answer.send();
        }
    }

    /// The pool's bounds were changed.
    pub(super) fn tasks_reconfigured(&mut self, turn: &mut Turn) {
        self.tasks.reconfigured(PoolNow::of(&self.model, turn));
        // Agents may have more or less room.
        turn.touched.extend(self.model.agents.ids());
    }

    /// By what it is judged how much of the pool is to run.
    pub(crate) fn scaling_facts(&self, turn: &Turn) -> ScalingFacts {
        ScalingFacts {
            workers: self.model.workers.counts(&self.model.pool, turn.now),
            demand: self.tasks.demand(PoolNow::of(&self.model, turn)),
        }
    }

    /// The pool as it is shown.
    pub(crate) fn view_pool(&self, turn: &Turn) -> PoolView {
        let scaling = self.scaling_facts(turn);
        let clocks = &self.context.settings.clocks;
        let mode = self.scaling_mode();
        let shown = ScalingShown {
            health_score: picture::health(&self.model, wanted(scaling.workers), clocks, turn.now),
            held: self.scaling.held().filter(|_| mode != ScalingMode::Off),
            advising: mode == ScalingMode::Advise,
        };
        self.model.view(scaling, self.tasks.holds(PoolNow::of(&self.model, turn)), shown, turn.now)
    }

    /// The pool as it is measured; none while its tasks are not known.
    pub(crate) fn picture(&self, turn: &Turn) -> Option<PoolPicture> {
        let workers = self.model.workers.counts(&self.model.pool, turn.now);
        let tasks = self.tasks.figures(PoolNow::of(&self.model, turn))?;
        let clocks = &self.context.settings.clocks;
        Some(picture::take(&self.model, wanted(workers), tasks, clocks, turn.now))
    }

    /// The pool's queue in figures, but for the delayed and the dead ones, which the store counts.
    pub(crate) fn view_queue(&self, turn: &Turn) -> QueueView {
        self.tasks.view_queue(PoolNow::of(&self.model, turn))
    }

    /// What the pool's tasks came to since its keeper began.
    pub(crate) fn task_totals(&self, _: &Turn) -> TaskTotals {
        self.tasks.totals().clone()
    }

    /// How far a running task is, and what its attempt has used.
    pub(crate) fn view_run(&self, task: TaskId) -> Option<(Option<Progress>, Usage)> {
        self.tasks.view_run(task)
    }

    /// What each of these queued tasks waits for; none where it has an agent by now.
    pub(crate) fn view_waits(&self, tasks: &[QueuedTaskQuery], turn: &Turn) -> Vec<Option<WaitingFor>> {
        self.tasks.view_waits(tasks, PoolNow::of(&self.model, turn))
    }
}

/// The workers that are to be there: those that are not leaving, and as many as are kept at the least.
fn wanted(workers: WorkerCounts) -> u32 {
    workers.taking.max(workers.kept())
}
