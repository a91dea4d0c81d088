//! Tasks: which moves a status has. The statements decide it, each by its own condition; here they are side by side.

use muster_domain::{FollowUp, Halt, TaskId};
use muster_store::NewTask;

use super::tasks::*;
use super::*;

const STATUSES: usize = 9;

impl Place {
    /// A task in each status there is, in the order of the table's columns.
    async fn one_in_each_status(&self, fence: Fence) -> [TaskId; STATUSES] {
        let mut delayed = new_task("dev");
        delayed.spec.not_before = Some(at(500));
        let [timed_out, cancelled] = [self.running(fence).await, self.running(fence).await];
        self.tasks(fence, halt(timed_out, 1, Halt::TimedOut)).await;
        self.tasks(fence, halt(cancelled, 1, Halt::Cancelled)).await;
        [
            self.queued(fence).await,
            self.made(fence, delayed).await,
            self.running(fence).await,
            timed_out,
            cancelled,
            self.over(fence, FollowUp::Succeed).await,
            self.over(fence, FollowUp::Fail(error())).await,
            self.over(fence, FollowUp::Cancel).await,
            self.over(fence, FollowUp::Die(error())).await,
        ]
    }

    async fn over(&self, fence: Fence, then: FollowUp) -> TaskId {
        let id = self.made(fence, NewTask { start: Some(attempt(1)), ..new_task("dev") }).await;
        assert_eq!(self.tasks(fence, end(id, 1, then)).await, [DONE]);
        id
    }

    /// The state that the write leads to; `-` where it is refused, and then nothing has changed.
    async fn moved(&self, fence: Fence, id: TaskId, write: Write) -> &'static str {
        let before = self.task(id).await;
        let outcome = self.tasks(fence, write).await;
        let after = self.task(id).await;
        match outcome.as_slice() {
            [NOT] => {
                assert_eq!(after, before, "it was refused");
                "-"
            }
            _ => {
                assert_eq!((outcome, after.version), (vec![DONE], before.version + 1));
                after.status.state().as_str()
            }
        }
    }
}

/// One row per move, given the task and the number of its latest attempt; one column per status of
/// [`one_in_each_status`](Place::one_in_each_status).
pub(crate) async fn every_move_of_every_status(place: &Place) {
    type Move = fn(TaskId, u32) -> Write;
    let table: [(&str, Move, &str); 16] = [
        ("start", |id, n| start(id, n + 1), "running running - - - - - - -"),
        ("start again", start, "- - - - - - - - -"),
        ("halt: cancelled", |id, n| halt(id, n, Halt::Cancelled), "- - running running running - - - -"),
        ("halt: timed out", |id, n| halt(id, n, Halt::TimedOut), "- - running - - - - - -"),
        ("succeed", |id, n| end(id, n, FollowUp::Succeed), "- - succeeded succeeded succeeded - - - -"),
        ("retry", |id, n| end(id, n, FollowUp::Retry { not_before: None }), "- - queued queued queued - - - -"),
        ("fail", |id, n| end(id, n, FollowUp::Fail(error())), "- - failed failed failed - - - -"),
        ("cancel", |id, n| end(id, n, FollowUp::Cancel), "- - cancelled cancelled cancelled - - - -"),
        ("die", |id, n| end(id, n, FollowUp::Die(error())), "- - dead dead dead - - - -"),
        ("end of another attempt", |id, n| end(id, n + 1, FollowUp::Succeed), "- - - - - - - - -"),
        ("settle: cancel", |id, _| settle(id, FollowUp::Cancel), "cancelled cancelled - - - - - - -"),
        ("settle: fail", |id, _| settle(id, FollowUp::Fail(error())), "failed failed - - - - - - -"),
        ("settle: die", |id, _| settle(id, FollowUp::Die(error())), "dead dead - - - - - - -"),
        ("settle: succeed", |id, _| settle(id, FollowUp::Succeed), "- - - - - - - - -"),
        ("promote", |id, _| Write::PromoteTasks(vec![id]), "- queued - - - - - - -"),
        ("redrive", |id, _| Write::RedriveTasks(vec![id]), "- - - - - - queued - queued"),
    ];
    let fence = place.lead_with_pool().await;
    for (name, write, row) in table {
        let mut after = Vec::new();
        for id in place.one_in_each_status(fence).await {
            let number = place.task(id).await.totals.attempt;
            after.push(place.moved(fence, id, write(id, number)).await);
        }
        assert_eq!(after.join(" "), row, "{name}");
    }
}
