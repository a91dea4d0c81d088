//! What workers say of tasks, in reports and in heartbeats.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use muster_domain::{AgentPicture, Beat, Command, Envelope, Halt, ProcessId, TaskBegun, TaskHalt, TaskId, TaskOver};

use super::ending::Over;
use super::plan::Plan;
use crate::keeper::{Keeper, Round};

impl Keeper {
    /// A report of tasks, with its number.
    pub(in crate::keeper) fn hear_tasks(&mut self, begun: &[TaskBegun], over: &[TaskOver], seq: u64) {
        for TaskBegun { task_id, attempt } in begun {
            self.begun(*task_id, *attempt, seq);
        }
        self.desk.overs.extend(over.iter().map(Over::from));
    }

    fn begun(&mut self, id: TaskId, number: u32, seq: u64) {
        let Some(run) = self.desk.runs.get_mut(id).filter(|run| run.attempt.number == number) else { return };
        if run.begun_by.is_none() {
            run.begun_by = Some(seq);
            run.order = None;
            if run.halt.is_none() {
                self.desk.runs.schedule(id, None);
            }
        }
    }

    /// Compares the tasks of a worker's picture with the runs. `is_outdated` says that a later report was taken before it.
    pub(in crate::keeper) fn compare_tasks(
        &mut self,
        worker: ProcessId,
        beat: &Beat,
        is_outdated: bool,
        round: &Round,
    ) {
        if !self.desk.loaded {
            return;
        }
        let mut unwanted = Vec::new();
        for picture in &beat.agents {
            self.see_tasks(picture, beat.reported, round.now, &mut unwanted);
        }
        if !is_outdated {
            self.halt_unwanted(worker, unwanted);
            self.ask_for_missing_tasks(worker, beat, round);
        }
    }

    fn see_tasks(&mut self, agent: &AgentPicture, reported: u64, now: Instant, unwanted: &mut Vec<TaskHalt>) {
        let lease = self.model.spec.config.task_lease;
        // Time without the store is nobody's silence.
        let listened = self.desk.answers_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        for seen in &agent.tasks {
            let (task_id, attempt) = (seen.task_id, seen.attempt);
            let wanted = |run: &&mut super::runs::Run| run.attempt.number == attempt;
            let Some(run) = self.desk.runs.get_mut(task_id).filter(wanted) else {
                let (agent_id, epoch) = (agent.agent_id, agent.epoch);
                unwanted.push(TaskHalt { task_id, attempt, agent_id, epoch, halt: Halt::HandedBack });
                continue;
            };
            if run.used != seen.usage {
                run.used = seen.usage;
                self.desk.spending.push(task_id);
            }
            if seen.progress.is_some() && run.progress != seen.progress {
                run.progress.clone_from(&seen.progress);
                self.desk.tell_progress(task_id);
            }
            if Duration::from_millis(seen.quiet_ms).min(listened) >= lease {
                self.desk.quiet.push(task_id);
            }
            self.begun(task_id, attempt, reported);
        }
    }

    /// What a live worker does and the store does not want is stopped.
    fn halt_unwanted(&self, worker: ProcessId, tasks: Vec<TaskHalt>) {
        if tasks.is_empty() {
            return;
        }
        tracing::warn!(process.id = %worker, tasks = tasks.len(), "a worker has tasks that are not wanted there; they are stopped");
        self.context.postman.send(vec![(worker, Envelope::new(self.context.fence, Command::HaltTasks { tasks }))]);
    }

    /// Tasks that were begun before a picture was taken that lacks them, though no report is missing that could tell why. The
    /// order, sent again, is answered with what became of it.
    fn ask_for_missing_tasks(&mut self, worker: ProcessId, beat: &Beat, round: &Round) {
        let Some(known) = self.model.workers.get(&worker).filter(|known| known.reports.taken() >= beat.reported) else {
            return;
        };
        let seen: HashSet<TaskId> =
            beat.agents.iter().flat_map(|agent| &agent.tasks).map(|task| task.task_id).collect();
        let of_worker = known.held.iter().flat_map(|agent| self.desk.runs.of_agent(*agent)).copied();
        let missing: Vec<TaskId> = of_worker
            .filter(|id| !seen.contains(id))
            .filter(|id| {
                let run = self.desk.runs.get(*id);
                run.is_some_and(|run| {
                    run.attempt.process_id == worker && run.begun_by.is_some_and(|seq| seq <= beat.reported)
                })
            })
            .collect();
        for id in missing {
            tracing::warn!(task.id = %id, process.id = %worker, "a worker's picture lacks a task; it is asked for");
            if let Some(run) = self.desk.runs.get_mut(id) {
                (run.begun_by, run.sent) = (None, None);
            }
            self.desk.runs.schedule(id, Some(round.now));
        }
    }

    /// Tasks that use more than a budget allows are stopped in the middle.
    pub(super) fn plan_overspent(&mut self, plan: &mut Plan, round: &Round) {
        let spending = std::mem::take(&mut self.desk.spending);
        if self.context.accounts.is_unbounded() || (spending.is_empty() && !self.desk.audit) {
            return;
        }
        for id in &spending {
            if let Some(run) = self.desk.runs.get(*id) {
                self.context.accounts.note(*id, self.payers(&run.task, Some(run.attempt.agent_id)), run.used);
            }
        }
        self.desk.audit = false;
        // Others may pay from the same account.
        for id in self.desk.runs.ids() {
            let Some(run) = self.desk.runs.get(id) else { continue };
            let payers = self.payers(&run.task, Some(run.attempt.agent_id));
            let spent = self.context.accounts.exhausted(Some((id, run.task.usage.plus(run.used))), payers);
            if let Some(spent) = spent.filter(|spent| spent.passed) {
                tracing::warn!(task.id = %id, reason = spent.reason, "a task is stopped, since a budget is passed");
                self.plan_halt(id, Halt::BudgetExceeded, plan, round);
            }
        }
    }

    /// Tasks whose agents showed no sign of progress for the time of their lease lose it.
    pub(super) fn plan_lost_leases(&mut self, plan: &mut Plan, round: &Round) {
        for id in std::mem::take(&mut self.desk.quiet) {
            self.plan_halt(id, Halt::LeaseLost, plan, round);
        }
    }
}
