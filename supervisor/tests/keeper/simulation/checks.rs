//! What must hold in every life, after each thing that happens in it and at its end.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::{AttemptEnd, TaskId, TaskState, TaskStatus};
use muster_store::{TaskFilter, TaskRow};
use muster_supervisor::TaskRequest;

use super::life::Life;

/// What was promised of a task when it was acknowledged, and what was wished since.
pub(super) struct Promise {
    max_attempts: u32,
    expires: bool,
    named: bool,
    pub(super) may_be_cancelled: bool,
    /// Since it was last looked at.
    pub(super) may_be_redriven: bool,
    /// As it was when it was last looked at.
    last: Option<TaskRow>,
}

impl Promise {
    pub(super) fn of(request: &TaskRequest) -> Self {
        Self {
            max_attempts: request.max_attempts.unwrap_or(3),
            expires: request.expires_at.is_some(),
            named: request.agent_id.is_some(),
            may_be_cancelled: false,
            may_be_redriven: false,
            last: None,
        }
    }

    fn check(&mut self, row: TaskRow) {
        let id = row.spec.task_id;
        assert!(
            row.totals.tally.spent <= self.max_attempts,
            "{id} has spent {} of {}",
            row.totals.tally.spent,
            self.max_attempts
        );
        let numbers: Vec<u32> = row.history.iter().map(|record| record.number).collect();
        assert!(numbers.is_sorted_by(|one, other| one < other), "{id} has the attempts {numbers:?}");
        assert!(numbers.last().is_none_or(|last| *last <= row.totals.attempt), "{id}: {row:?}");
        if let Some(last) = &self.last {
            assert!(
                last.version <= row.version && last.totals.attempt <= row.totals.attempt,
                "{id} went back: {last:?}, {row:?}"
            );
            let stays = last.status.state().is_final() && !self.may_be_redriven;
            // A clock that was set back brings back what had ended in the future.
            let brought_back = TaskRow { finished_at: last.finished_at.min(row.finished_at), ..last.clone() };
            assert!(!stays || brought_back == row, "{id} was over: {last:?}, and is {row:?}");
            assert!(row.history.starts_with(&last.history), "{id} has another past: {last:?}, {row:?}");
        }
        self.check_end(&row);
        self.may_be_redriven = false;
        self.last = Some(row);
    }

    /// Each end has its reason.
    fn check_end(&self, row: &TaskRow) {
        let last = row.history.last().map(|record| &record.end);
        match &row.status {
            TaskStatus::Succeeded => {
                assert_eq!((last, row.output.as_ref()), (Some(&AttemptEnd::Succeeded), Some(&row.input)));
            }
            TaskStatus::Cancelled => assert!(self.may_be_cancelled, "nobody cancelled {row:?}"),
            TaskStatus::Failed(error) => match error.code.as_str() {
                "expired" => assert!(self.expires, "{row:?}"),
                "agent_gone" => assert!(self.named, "{row:?}"),
                code => assert_eq!(code, "agent_error", "{row:?}"),
            },
            TaskStatus::Dead(error) if error.code == "poison" => {}
            TaskStatus::Dead(_) => assert_eq!(row.totals.tally.spent, self.max_attempts, "{row:?}"),
            TaskStatus::Queued { .. } | TaskStatus::Running(_) | TaskStatus::Halting(..) => {}
        }
        assert_eq!(row.finished_at.is_some(), row.status.state().is_final(), "{row:?}");
    }
}

impl Life {
    /// Every task that the store has.
    pub(super) async fn rows(&self) -> BTreeMap<TaskId, TaskRow> {
        let rows = self.world.store().inner().tasks(&TaskFilter::default(), None, u32::MAX).await.expect("rows");
        rows.into_iter().map(|row| (row.spec.task_id, row)).collect()
    }

    /// What holds at every moment.
    pub(super) async fn check(&mut self) {
        let violations = self.world.ground.ledger.violations();
        assert!(violations.is_empty(), "{violations:?}");
        let mut rows = self.rows().await;
        for (id, promise) in &mut self.tasks {
            let row = rows.remove(id).unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
            let begun = self.world.ground.ledger.latest_attempt(*id);
            assert!(begun <= row.totals.attempt, "attempt {begun} at {id} was begun and is not stored: {row:?}");
            promise.check(row);
        }
    }

    /// All is well by now: everything comes to an end, and all agree on it.
    pub(super) async fn come_to_rest(&mut self) {
        for _ in 0..240 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            self.check().await;
            if self.rows().await.values().all(|row| row.status.state().is_final()) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        self.check().await;
        let rows = self.rows().await;
        self.tell(&format!("at rest: {:?}, {:?}", self.world.pool().await, self.world.queue().await));
        for row in rows.values() {
            if let Some(agent) = row.spec.agent_id.filter(|_| !row.status.state().is_final()) {
                self.tell(&format!("it is for {:?}", self.world.agents().get(agent).await));
            }
            assert!(row.status.state().is_final(), "it never came to an end: {row:?}");
            let stranger = !self.tasks.contains_key(&row.spec.task_id);
            assert!(!stranger || self.strangers, "it was refused, and is there: {row:?}");
            if row.status == TaskStatus::Succeeded {
                assert!(self.world.ground.ledger.times_done(row.spec.task_id) > 0, "nobody did {row:?}");
            }
        }
        assert!(self.world.ground.ledger.under_way().is_empty(), "agents are busy with what is over");
        let queue = self.world.queue().await;
        let dead = rows.values().filter(|row| row.status.state() == TaskState::Dead).count() as u64;
        assert_eq!((queue.depth, queue.delayed, queue.running, queue.dead), (0, 0, 0, dead));
        assert_eq!(queue.oldest_wait, None);
        assert_eq!(self.world.degraded().await, Vec::<String>::new());
    }
}
