//! The tasks that agents have, the room that they have for more, and what workers say of both.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use muster_domain::{AgentId, AgentSnapshot, Halt, Heartbeat, ProcessId, TaskHalt, TaskId};
use muster_store::TaskHalting;

use super::PoolNow;
use super::available_agents::AvailableAgents;
use super::plan::TurnPlan;
use super::running_attempts::{RunningAttempt, RunningAttempts};
use crate::accounts::Accounts;

/// Who does what.
#[derive(Default)]
pub(super) struct Assigned {
    pub(super) runs: RunningAttempts,
    pub(super) available_agents: AvailableAgents,
    /// Agents that have done their one task, where a pool's agents do one each.
    pub(super) spent: HashSet<AgentId>,
    /// Tasks that have used more since the latest heartbeat; whether all are to be looked at.
    pub(super) spending: Vec<TaskId>,
    pub(super) audit: bool,
    /// Tasks whose agents were quiet for too long.
    quiet: Vec<TaskId>,
    /// Agents that may have got work, or have done theirs.
    pub(super) turned: Vec<AgentId>,
    /// Since when the store has answered: silence of agents counts from then on only.
    pub(super) answers_since: Option<Instant>,
}

/// What a worker's picture says of tasks.
#[derive(Default)]
pub(super) struct TasksSeen {
    /// Tasks that are further than before.
    pub(super) moved: Vec<TaskId>,
    /// What the worker does and the store does not want.
    pub(super) unwanted: Vec<TaskHalt>,
}

impl Assigned {
    /// Compares the tasks of a worker's picture with the runs. `is_outdated` says that a later report was taken before it.
    pub(super) fn compare(
        &mut self,
        worker: ProcessId,
        beat: &Heartbeat,
        is_outdated: bool,
        pool: PoolNow<'_>,
    ) -> TasksSeen {
        let mut seen = TasksSeen::default();
        for picture in &beat.agents {
            self.see(picture, beat.reported, pool, &mut seen);
        }
        if is_outdated {
            seen.unwanted.clear();
        } else {
            self.ask_for_missing(worker, beat, pool);
        }
        seen
    }

    /// A worker has acknowledged an order: by its report with this number, or before that.
    pub(super) fn begun(&mut self, id: TaskId, number: u32, seq: u64) {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.attempt.number == number) else { return };
        if run.begun_by.is_none() {
            run.begun_by = Some(seq);
            run.order = None;
            if run.halt.is_none() {
                self.runs.schedule(id, None);
            }
        }
    }

    fn see(&mut self, agent: &AgentSnapshot, reported: u64, pool: PoolNow<'_>, what: &mut TasksSeen) {
        let (lease, now) = (pool.config().task_lease, pool.now);
        // Time without the store is nobody's silence.
        let listened = self.answers_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        for seen in &agent.tasks {
            let (task_id, attempt) = (seen.task_id, seen.attempt);
            let wanted = |run: &&mut RunningAttempt| run.attempt.number == attempt;
            let Some(run) = self.runs.get_mut(task_id).filter(wanted) else {
                let (agent_id, epoch) = (agent.agent_id, agent.epoch);
                what.unwanted.push(TaskHalt { task_id, attempt, agent_id, epoch, halt: Halt::HandedBack });
                continue;
            };
            if run.used != seen.usage {
                run.used = seen.usage;
                self.spending.push(task_id);
            }
            if seen.progress.is_some() && run.progress != seen.progress {
                run.progress.clone_from(&seen.progress);
                what.moved.push(task_id);
            }
            if Duration::from_millis(seen.quiet_ms).min(listened) >= lease {
                self.quiet.push(task_id);
            }
            self.begun(task_id, attempt, reported);
        }
    }

    /// Tasks that were begun before a picture was taken that lacks them, though no report is missing that could tell why. The
    /// order, sent again, is answered with what became of it.
    fn ask_for_missing(&mut self, worker: ProcessId, beat: &Heartbeat, pool: PoolNow<'_>) {
        let Some(known) = pool.model.workers.get(&worker).filter(|known| known.reports.taken() >= beat.reported) else {
            return;
        };
        let seen: HashSet<TaskId> =
            beat.agents.iter().flat_map(|agent| &agent.tasks).map(|task| task.task_id).collect();
        let of_worker = known.held.iter().flat_map(|agent| self.runs.of_agent(*agent)).copied();
        let missing: Vec<TaskId> = of_worker
            .filter(|id| !seen.contains(id))
            .filter(|id| {
                let run = self.runs.get(*id);
                run.is_some_and(|run| {
                    run.attempt.process_id == worker && run.begun_by.is_some_and(|seq| seq <= beat.reported)
                })
            })
            .collect();
        for id in missing {
            tracing::warn!(task.id = %id, process.id = %worker, "a worker's picture lacks a task; it is asked for");
            if let Some(run) = self.runs.get_mut(id) {
                (run.begun_by, run.sent) = (None, None);
            }
            self.runs.schedule(id, Some(pool.now));
        }
    }

    /// Tasks that use more than a budget allows are stopped in the middle.
    pub(super) fn plan_overspent(&mut self, accounts: &Accounts, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        let spending = std::mem::take(&mut self.spending);
        if accounts.is_unbounded() || (spending.is_empty() && !self.audit) {
            return;
        }
        for id in &spending {
            if let Some(run) = self.runs.get(*id) {
                accounts.note(*id, pool.payers(&run.task, Some(run.attempt.agent_id)), run.used);
            }
        }
        self.audit = false;
        // Others may pay from the same account.
        for id in self.runs.ids() {
            let Some(run) = self.runs.get(id) else { continue };
            let payers = pool.payers(&run.task, Some(run.attempt.agent_id));
            let spent = accounts.exhausted(Some((id, run.task.totals.usage.plus(run.used))), payers);
            if let Some(spent) = spent.filter(|spent| spent.passed) {
                tracing::warn!(task.id = %id, reason = spent.reason, "a task is stopped, since a budget is passed");
                self.plan_halt(id, Halt::BudgetExceeded, plan, pool.now);
            }
        }
    }

    /// Tasks whose agents showed no sign of progress for the time of their lease lose it.
    pub(super) fn plan_lost_leases(&mut self, plan: &mut TurnPlan, now: Instant) {
        for id in std::mem::take(&mut self.quiet) {
            self.plan_halt(id, Halt::LeaseLost, plan, now);
        }
    }

    /// A running task is to stop.
    pub(super) fn plan_halt(&mut self, task_id: TaskId, halt: Halt, plan: &mut TurnPlan, now: Instant) {
        let Some(run) = self.runs.get_mut(task_id) else { return };
        // The first reason counts, but a person's wish stands above all others.
        let stands = run.halt.is_some_and(|before| before == halt || halt != Halt::Cancelled);
        if stands {
            return;
        }
        (run.halt, run.sent) = (Some(halt), None);
        plan.halts.push(TaskHalting { task_id, number: run.attempt.number, halt });
        self.runs.schedule(task_id, Some(now));
    }
}
