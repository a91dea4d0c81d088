//! What follows from the commit of a plan.

use muster_store::{TaskOutcome, WriteOutcome};

use super::effects::TaskReply;
use super::plan::SeenEnd;
use super::plan::{AddedTask, CommittedPlan, Outcomes, Redriving, Revived, Submission};
use super::{Effects, PoolNow, PoolTasks, TaskAnswer};
use crate::error::SupervisorError;

impl PoolTasks {
    /// The commit went through, with these outcomes of its writes.
    pub(in crate::keeper) fn committed(
        &mut self,
        mut told: CommittedPlan,
        outcomes: Vec<WriteOutcome>,
        pool: PoolNow<'_>,
        effects: &mut Effects,
    ) {
        let outcomes = Outcomes::of(std::mem::take(&mut told.kinds), outcomes);
        for (over, outcome) in told.overs.into_iter().zip(&outcomes.endings) {
            if let TaskOutcome::Refused(why) = outcome {
                self.end_refused_by_store(over, why, pool);
            }
        }
        if self.ends.aside.is_over() {
            self.tell_taken(pool);
        }
        let unmoved = |outcomes: &[TaskOutcome]| outcomes.iter().any(|outcome| *outcome != TaskOutcome::Applied);
        if unmoved(&outcomes.endings) || unmoved(&outcomes.started) {
            // The store knows something else than the picture: e.g. this was carried out before, by a commit that seemed
            // to fail.
            tracing::warn!(pool.name = %pool.name(), "the store knows other tasks than expected; they are read again");
            self.loaded = false;
        }
        self.meter.work.merge(&told.work);
        self.meter.totals.merge(&told.totals);
        self.meter.rate_out.count(outcomes.endings.len(), pool.now);
        for (task, added) in told.spent {
            self.deps.accounts.settle(task, &added);
        }
        for task in told.tasks {
            self.followers.tell(task);
        }
        for cancel in told.requests.cancels {
            effects.answers.push(TaskReply::Cancel(cancel, Ok(())));
        }
        for Redriving { reply, first, count } in told.requests.redrives {
            let own = outcomes.redriven.iter().skip(first).take(count);
            let count = own.filter(|outcome| **outcome == TaskOutcome::Applied).count() as u64;
            effects.answers.push(TaskReply::Redrive(reply, Ok(count)));
        }
        self.queue_revived(told.redriven, &outcomes.redriven, pool);
        for (verdict, outcome) in told.verdicts.iter().zip(&outcomes.verdicts) {
            if *outcome == TaskOutcome::Applied {
                self.meter.totals.count_end(*verdict);
            }
        }
        // Others did not wait any more: e.g. they were over before the wish to cancel them came.
        let settled = outcomes.verdicts.iter().filter(|outcome| **outcome == TaskOutcome::Applied).count();
        self.waiting.count = self.waiting.count.saturating_sub(settled as u64);
        self.answer_submits(told.requests.submits, &told.added, &outcomes.added, pool, effects);
    }

    /// An end that the store will never take as it is, is told again without its words.
    fn end_refused_by_store(&mut self, over: SeenEnd, why: &str, pool: PoolNow<'_>) {
        if !over.is_refused_for_good() {
            return self.ends.overs.push(over.without_words(why));
        }
        let whom = over.whom();
        let is_first = self.ends.aside.put(over, pool.now);
        self.tell_refused(&whom, why, is_first, pool);
    }

    /// Those that the store has sent to the queue again are given out by the next turn.
    fn queue_revived(&mut self, redriven: Vec<Revived>, outcomes: &[TaskOutcome], pool: PoolNow<'_>) {
        for (revived, outcome) in redriven.into_iter().zip(outcomes) {
            if *outcome != TaskOutcome::Applied {
                continue;
            }
            if revived.was_dead {
                self.breaker.one_revived(pool.name());
            }
            self.waiting.queue(revived.task, None, pool);
            self.waiting.has_more = true;
        }
    }

    fn answer_submits(
        &mut self,
        submits: Vec<Submission>,
        added: &[AddedTask],
        outcomes: &[TaskOutcome],
        pool: PoolNow<'_>,
        effects: &mut Effects,
    ) {
        let mut stored = 0;
        for mut submission in submits {
            for (index, place) in (submission.first..).zip(&submission.places) {
                let (Some(new), Some(answer)) = (added.get(index), submission.answers.get_mut(place.answer)) else {
                    continue;
                };
                *answer = match outcomes.get(index) {
                    Some(TaskOutcome::Applied) => {
                        stored += 1;
                        Ok(TaskAnswer::Stored(new.task))
                    }
                    Some(TaskOutcome::Replayed { task_id, body_hash }) => {
                        self.never_was(new.task.task_id, &new.queue, pool);
                        let same = place.hash.is_some_and(|hash| hash == *body_hash);
                        if same { Ok(TaskAnswer::Replayed(*task_id)) } else { Err(SupervisorError::KeyReused) }
                    }
                    Some(TaskOutcome::Refused(why)) => {
                        self.never_was(new.task.task_id, &new.queue, pool);
                        Err(SupervisorError::unstorable(why))
                    }
                    Some(TaskOutcome::Unchanged) | None => {
                        self.never_was(new.task.task_id, &new.queue, pool);
                        Err(SupervisorError::unavailable("the store did not take the task".to_owned()))
                    }
                };
            }
            effects.answers.push(TaskReply::Submit(submission.reply, submission.answers));
        }
        self.meter.rate_in.count(stored, pool.now);
        self.meter.totals.submitted += stored as u64;
    }

    /// The commit failed, and nobody knows whether it went through: what was asked for is refused, what was seen is kept.
    pub(in crate::keeper) fn take_back(&mut self, told: CommittedPlan, error: &SupervisorError, effects: &mut Effects) {
        self.loaded = false;
        self.ends.overs.extend(told.overs);
        self.inbox.refused.extend(told.added.iter().map(|new| new.task.task_id));
        for mut submission in told.requests.submits {
            for place in &submission.places {
                if let Some(answer) = submission.answers.get_mut(place.answer) {
                    *answer = Err(error.clone());
                }
            }
            effects.answers.push(TaskReply::Submit(submission.reply, submission.answers));
        }
        for cancel in told.requests.cancels {
            effects.answers.push(TaskReply::Cancel(cancel, Err(error.clone())));
        }
        for redrive in told.requests.redrives {
            effects.answers.push(TaskReply::Redrive(redrive.reply, Err(error.clone())));
        }
    }
}
