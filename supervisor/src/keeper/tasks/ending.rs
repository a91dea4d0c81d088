//! Ends of attempts: what follows is judged by the policy.

use muster_domain::{
    AgentId, Attempt, AttemptEnd, AttemptRecord, Cause, Ending, Epoch, EventKind, FollowUp, Halt, PoolName, TaskError,
    TaskId,
};
use muster_policy::retry::judge;
use muster_store::{AttemptTotals, QueuedTask, TaskEnding};

use super::plan::{SeenEnd, TurnPlan};
use super::running_attempts::RunningAttempt;
use super::{Effects, PoolNow, PoolTasks};
use crate::alerts::AlertKind;
use crate::keeper::PoolAgent;
use crate::keeper::set_aside::SetAside;
use crate::prometheus::AttemptOutcome;

/// Of what alerts of failed starts are: attempts, not agents.
const ATTEMPTS: &str = "attempts";

/// Ends of attempts that were seen and are not committed.
#[derive(Default)]
pub(super) struct SeenEnds {
    /// For the next commit.
    pub(super) overs: Vec<SeenEnd>,
    /// Those that the store refuses.
    pub(super) aside: SetAside<SeenEnd>,
}

impl PoolTasks {
    /// The run of an agent is over, and with it whatever it still has. Its worker has said so of each task before, unless it
    /// is gone itself.
    pub(in crate::keeper) fn agent_left(&mut self, agent: AgentId, epoch: Epoch, ending: &Ending) {
        self.assigned.available_agents.close(agent);
        self.assigned.spent.remove(&agent);
        let runs = &self.assigned.runs;
        let left = runs.of_agent(agent).iter().filter_map(|id| runs.get(*id));
        let overs: Vec<SeenEnd> = left
            .filter(|run| run.attempt.epoch == epoch)
            .map(|run| over_of(run, &end_with(run, &ending.cause)))
            .collect();
        self.ends.overs.extend(overs);
    }

    /// An agent is gone for good: nobody is left to do what waits for it by name.
    pub(in crate::keeper) fn agent_gone(&mut self, agent: AgentId) {
        self.waiting.gone.insert(agent);
    }

    pub(super) fn plan_ends(&mut self, plan: &mut TurnPlan, pool: PoolNow<'_>, effects: &mut Effects) {
        let due = self.ends.aside.take_due(pool.now);
        for over in due.into_iter().chain(std::mem::take(&mut self.ends.overs)) {
            if self.ends.aside.iter().any(|aside| aside.is_of(over.task_id, over.number)) {
                continue;
            }
            // The first word counts; one of another attempt says nothing about this one.
            let current = self.assigned.runs.get(over.task_id).is_some_and(|run| run.attempt.number == over.number);
            if !current {
                continue;
            }
            if let Some(run) = self.assigned.runs.take(over.task_id) {
                plan.ended.overs.push(over.clone());
                self.plan_end(run, over, plan, pool, effects);
            }
        }
    }

    fn plan_end(
        &mut self,
        run: RunningAttempt,
        over: SeenEnd,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
        effects: &mut Effects,
    ) {
        let mut task = run.task;
        let end = true_end(run.halt, over.end);
        let policy = pool.config().retry;
        let verdict = judge(&end, task.max_attempts, task.totals.tally, policy, pool.at, fastrand::f64());
        let then = unless_agent_is_gone(verdict.then, task.agent_id, pool);
        let usage = task.totals.usage.plus(over.used);
        let record = AttemptRecord {
            number: over.number,
            agent_id: run.attempt.agent_id,
            process_id: run.attempt.process_id,
            started_at: run.started_at,
            ended_at: pool.at,
            end,
            last_output: over.last_output,
            usage: over.used,
        };
        if over.refused_before {
            // What it has used is stored, and its end was counted and told.
            plan.ended.spent.push((task.task_id, Vec::new()));
            self.breaker.uncount(task.task_id, pool.now);
            if matches!(then, FollowUp::Die(_)) {
                self.breaker.one_dead(pool.name());
            }
        } else {
            self.count_attempt(&task, &run.attempt, &record, plan, pool, effects);
            self.note_end(&record, &then, task.task_id, plan, pool);
            if !matches!(then, FollowUp::Retry { .. }) {
                plan.work.tasks += 1;
                plan.work.response = plan.work.response.saturating_add(pool.at.since(task.created_at));
            }
        }
        self.look_at_room(run.attempt.agent_id, pool);
        let ending = TaskEnding {
            task_id: task.task_id,
            record,
            then: then.clone(),
            output: over.output.filter(|_| then == FollowUp::Succeed),
            usage,
            tally: verdict.tally,
        };
        plan.ended.endings.push(ending);
        if let FollowUp::Retry { not_before } = then {
            (task.totals, task.input) = (AttemptTotals { attempt: over.number, tally: verdict.tally, usage }, None);
            self.waiting.queue(task, not_before, pool);
        }
    }

    fn count_attempt(
        &mut self,
        task: &QueuedTask,
        attempt: &Attempt,
        record: &AttemptRecord,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
        effects: &mut Effects,
    ) {
        let added = pool.payers(task, Some(attempt.agent_id)).additions(record.usage);
        plan.ended.spent.push((task.task_id, added));
        plan.work.attempts.add(&record.end);
        plan.work.usage = plan.work.usage.plus(record.usage);
        plan.work.runs.add(record.ended_at.since(record.started_at));
        if task.check {
            // No agent was asked: it says nothing about the pool's agents, and costs none of them its one task.
            self.breaker.uncount(task.task_id, pool.now);
        } else {
            plan.events.extend(self.breaker.count_end(task.task_id, &record.end, pool));
            self.done_with(attempt.agent_id, attempt.epoch, pool, effects);
        }
    }

    /// An agent has done a task. Where a pool's agents do one each, that was it. A run that
    /// is over needs no end, and says nothing about the agent's next run, which is as good as a new agent.
    fn done_with(&mut self, agent: AgentId, epoch: Epoch, pool: PoolNow<'_>, effects: &mut Effects) {
        let still_runs = |agent: &PoolAgent| agent.status.is_running_as(epoch);
        if pool.one_task_each() && pool.model.agent(agent).is_some_and(still_runs) {
            self.assigned.spent.insert(agent);
            // With the end of each of its tasks: it is stopped with the last one.
            effects.spent.push(agent);
        }
    }

    fn note_end(
        &mut self,
        record: &AttemptRecord,
        then: &FollowUp,
        task: TaskId,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) {
        self.meter.run_times.add(record.ended_at.since(record.started_at), pool.now);
        let outcome = AttemptOutcome::from(then);
        plan.totals.count_attempt(outcome, record.ended_at.since(record.started_at), record.usage);
        self.tell_start(record, task, then, pool.name());
        if let FollowUp::Die(error) = then {
            self.breaker.one_dead(pool.name());
            tracing::warn!(task.id = %task, attempt = record.number, code = error.code, "a task is given up: the attempt {}", record.end);
            let words = format!("task {task}: {}", error.message);
            plan.events.push(pool.model.agent_event(EventKind::TaskDead, record.agent_id, pool.at, words));
        } else if *then != FollowUp::Succeed && !is_start(record) {
            tracing::info!(task.id = %task, attempt = record.number, then = outcome.as_str(), "an attempt {}", record.end);
        }
    }

    /// A program that can't be started for a task fails all the pool's tasks, until a person does something.
    fn tell_start(&self, record: &AttemptRecord, task: TaskId, then: &FollowUp, pool: &PoolName) {
        let alerts = &self.deps.alerts;
        match &record.end {
            AttemptEnd::StartFailed { message } => {
                if !matches!(then, FollowUp::Die(_)) {
                    tracing::warn!(task.id = %task, pool.name = %pool, attempt = record.number, "an attempt {}", record.end);
                }
                let message = format!("attempt {} at task {task} did not start: {message}", record.number);
                alerts.raise(AlertKind::StartFailed, Some(pool), ATTEMPTS, message);
            }
            AttemptEnd::Succeeded | AttemptEnd::Failed { .. } => {
                alerts.clear(AlertKind::StartFailed, Some(pool), ATTEMPTS)
            }
            _ => {}
        }
    }
}

/// A task for a named agent that is gone by now is not tried again.
fn unless_agent_is_gone(then: FollowUp, named: Option<AgentId>, pool: PoolNow<'_>) -> FollowUp {
    match (named, &then) {
        (Some(agent), FollowUp::Retry { .. }) if pool.is_gone(agent) => FollowUp::Fail(agent_gone(agent)),
        _ => then,
    }
}

const fn is_start(record: &AttemptRecord) -> bool {
    matches!(record.end, AttemptEnd::StartFailed { .. })
}

/// A task that was being stopped was stopped, however its work ended. A result that comes all the same stands where nothing
/// speaks against it: a person's wish came too late. One that lost its lease, its time or its budget has none to give.
fn true_end(halt: Option<Halt>, end: AttemptEnd) -> AttemptEnd {
    match (halt, end) {
        (None | Some(Halt::Cancelled | Halt::HandedBack | Halt::Preempted), AttemptEnd::Succeeded) => {
            AttemptEnd::Succeeded
        }
        (Some(halt), _) => AttemptEnd::Halted { halt },
        (None, end) => end,
    }
}

/// How the end of its agent ends a task of which its worker did not say that it is over. It says so before, of every task that
/// was begun, unless it is gone itself: so this one never was.
pub(super) fn end_with(run: &RunningAttempt, cause: &Cause) -> AttemptEnd {
    match cause {
        Cause::WorkerLost => AttemptEnd::WorkerLost,
        Cause::WorkerInterrupted => AttemptEnd::Halted { halt: Halt::Preempted },
        cause if run.begun_by.is_none() => AttemptEnd::NotBegun { message: format!("its agent {cause}") },
        cause if cause.is_of_muster() => AttemptEnd::Interrupted { message: format!("its agent {cause}") },
        cause => AttemptEnd::AgentDied { message: cause.to_string() },
    }
}

pub(super) fn over_of(run: &RunningAttempt, end: &AttemptEnd) -> SeenEnd {
    SeenEnd {
        task_id: run.task.task_id,
        number: run.attempt.number,
        end: end.clone(),
        output: None,
        last_output: String::new(),
        used: run.used,
        refused_before: false,
    }
}

/// Why a task for a named agent fails when that agent is gone.
pub(super) fn agent_gone(agent: AgentId) -> TaskError {
    TaskError { code: "agent_gone".to_owned(), message: format!("agent {agent}, which was to do it, is gone") }
}
