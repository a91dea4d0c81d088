//! Tasks, as the loop handles them: orders come in, the runtime does them, and what became of them goes out.

use muster_domain::{Fence, TaskHalt, TaskOrder, Timestamp};
use tokio::time::Instant;

use crate::tasks::{AttemptStart, Finish, TaskStep};
use crate::worker::WorkerLoop;

impl WorkerLoop {
    /// Tasks are to be begun. Those of a leader that was replaced are not, but answers are given to it too.
    pub(crate) fn run_tasks(&mut self, orders: Vec<TaskOrder>, fence: Fence, now: Instant, at: Timestamp) {
        let obeyed = self.slots.admits(fence);
        for order in orders {
            let slots = &self.slots;
            let refusal = |order: &TaskOrder| {
                if obeyed {
                    slots.work_refusal(&order.agent_id, order.epoch)
                } else {
                    Some(format!("its worker has seen the leader with fence {}", slots.fence()))
                }
            };
            let act = self.tasks.on_order(order, refusal, now, at);
            self.act(act, now);
        }
    }

    /// Tasks are to be stopped.
    pub(crate) fn halt_tasks(&mut self, orders: Vec<TaskHalt>, now: Instant) {
        for order in orders {
            let act = self.tasks.on_halt(order);
            self.act(act, now);
        }
    }

    /// Carries out what was decided of tasks.
    pub(crate) fn act(&mut self, acts: impl IntoIterator<Item = TaskStep>, now: Instant) {
        for act in acts {
            let finish = match act {
                TaskStep::Begin(start) => self.begin(start),
                TaskStep::Halt(agent_id, id, halt) => {
                    if !self.checks.halt(id) {
                        self.runtime.halt(&agent_id, id, halt);
                    }
                    None
                }
                TaskStep::Resend(seq) => {
                    self.exchange.outbox.resend(seq);
                    None
                }
            };
            if let Some(finish) = finish {
                self.tasks.on_finish(finish, now, Timestamp::now());
            }
        }
    }

    /// Has a task begun by its agent, or answers it here where it is a check.
    fn begin(&mut self, mut start: AttemptStart) -> Option<Finish> {
        let Some(check) = start.order.check.take() else { return self.runtime.begin(start) };
        self.checks.begin(&start, *check, self.runtime.look(&start.order.agent_id));
        None
    }

    /// Puts what is new of tasks into reports. Left until a call is made, so that what happened since the last one
    /// travels together.
    pub(crate) fn say_tasks(&mut self) {
        if !self.tasks.has_news() {
            return;
        }
        let at = Timestamp::now();
        while let Some(body) = self.tasks.next_report(self.exchange.outbox.last() + 1) {
            self.exchange.outbox.put(body, at);
        }
    }
}
