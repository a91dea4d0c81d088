//! A program's tasks: handed to it, stopped, and told of when they are over.

use std::time::Duration;

use muster_domain::{Cause, Halt, Timestamp};
use tokio::time::Instant;

use super::{Driver, Records};
use crate::later;
use crate::runtime::RunChange;
use crate::runtime::exec::RunContext;
use crate::runtime::exec::protocol::{AgentProtocol, ProgramLife};
use crate::slots::StopMode;
use crate::tasks::{AttemptId, AttemptStart, Finish, Finished};

impl<P: AgentProtocol> Driver<'_, P> {
    /// Hands a task to the program.
    pub(in crate::runtime::exec) fn begin(&mut self, start: &AttemptStart) {
        let id = start.id();
        if !self.host.is_running() || self.records.open_tasks.attempt(&id.task_id).is_some() {
            return refuse(self.run, self.records, start);
        }
        let printed = self.host.printed();
        match self.protocol.give(&start.order, Timestamp::now(), &mut self.host.stdin) {
            Ok(until) => {
                match P::LIFE {
                    ProgramLife::Agent => self.records.open_tasks.put(start, printed, until),
                    ProgramLife::Task => self.records.open_tasks.put_only(start),
                }
                self.write();
            }
            Err(why) => not_had(self.run, id, Finished::Failed { message: why.to_owned(), retryable: true }),
        }
    }

    /// Tells the program to stop a task, and waits for its answer. Where there is none, all of it is ended: at once where it
    /// would go on spending what it may not. One that is being ended already needs no telling.
    pub(super) fn halt(&mut self, id: AttemptId, halt: Halt) {
        let (now, patience) = (Instant::now(), self.run.common.patience(halt));
        if P::LIFE == ProgramLife::Task {
            // The program is the task.
            self.ordered = true;
            return self.host.ask(Cause::Stopped, Duration::ZERO, patience);
        }
        let how = if halt == Halt::BudgetExceeded { StopMode::Kill } else { StopMode::Ask };
        if !self.host.is_running() || !self.records.open_tasks.halt(id, later(now, patience), how) {
            return;
        }
        match self.protocol.cancel(id.task_id, &mut self.host.stdin) {
            Ok(()) => self.write(),
            // It can't hear of it.
            Err(_) if how == StopMode::Kill => self.kill(Cause::TaskHalted),
            Err(_) => self.ask(Cause::TaskHalted),
        }
    }

    /// Writes what waits for the program.
    pub(super) fn write(&mut self) {
        let lost = self.host.stdin.write();
        for finish in self.records.open_tasks.lose(lost, "its agent has closed its stdin") {
            self.run.say(RunChange::Finished(finish));
        }
    }
}

/// A task is not begun.
pub(in crate::runtime::exec) fn refuse(run: &RunContext, records: &Records, start: &AttemptStart) {
    let why = match records.open_tasks.attempt(&start.order.task_id) {
        Some(attempt) => format!("its agent still has attempt {attempt} of it"),
        None => "its agent is ending".to_owned(),
    };
    not_had(run, start.id(), Finished::NotBegun(why));
}

/// A task that the program never had is over.
pub(in crate::runtime::exec) fn not_had(run: &RunContext, id: AttemptId, end: Finished) {
    run.say(RunChange::Finished(Finish { id, end, last_output: String::new() }));
}
