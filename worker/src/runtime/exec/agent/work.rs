//! An agent's tasks: handed to its program, stopped, and told of when they are over.

use muster_domain::{Cause, Halt, Timestamp};
use tokio::time::Instant;

use super::{Agent, Running};
use crate::later;
use crate::runtime::What;
use crate::runtime::exec::protocol::json_lines;
use crate::slots::How;
use crate::tasks::{AttemptId, Errand, Finish, Finished};

impl Agent {
    /// Hands a task to the program.
    pub(super) fn begin(&mut self, running: &mut Running, errand: &Errand) {
        let id = errand.id();
        if !running.host.is_running() || self.desk.attempt(&id.task_id).is_some() {
            return self.refuse(errand);
        }
        let printed = running.host.printed();
        let deadline = errand.order.timeout.map(|timeout| Timestamp::now().after(timeout));
        match running.host.stdin.push(json_lines::task(&errand.order, deadline), Some(id.task_id)) {
            Ok(until) => {
                self.desk.put(errand, printed, until);
                self.write(running);
            }
            Err(why) => self.finish(id, Finished::Failed { message: why.to_owned(), retryable: true }),
        }
    }

    /// A task is not begun.
    pub(super) fn refuse(&self, errand: &Errand) {
        let why = match self.desk.attempt(&errand.order.task_id) {
            Some(attempt) => format!("its agent still has attempt {attempt} of it"),
            None => "its agent is ending".to_owned(),
        };
        self.finish(errand.id(), Finished::NotBegun(why));
    }

    /// Tells the program to stop a task, and waits for its answer. Where there is none, all of it is ended: at once where it
    /// would go on spending what it may not. One that is being ended already needs no telling.
    pub(super) fn halt(&mut self, running: &mut Running, id: AttemptId, halt: Halt) {
        let how = if halt == Halt::BudgetExceeded { How::Kill } else { How::Ask };
        let answer_by = later(Instant::now(), self.common.patience(halt));
        if !running.host.is_running() || !self.desk.halt(id, answer_by, how) {
            return;
        }
        match running.host.stdin.push(json_lines::cancel(id.task_id), None) {
            Ok(_) => self.write(running),
            // It can't hear of it.
            Err(_) if how == How::Kill => running.kill(Cause::TaskHalted),
            Err(_) => self.ask(running, Cause::TaskHalted),
        }
    }

    /// Writes what waits for the program.
    pub(super) fn write(&mut self, running: &mut Running) {
        let lost = running.host.stdin.write();
        for finish in self.desk.lose(lost, "its agent has closed its stdin") {
            self.say(What::Finished(finish));
        }
    }

    /// A task that the program never had is over.
    fn finish(&self, id: AttemptId, end: Finished) {
        self.say(What::Finished(Finish { id, end, last_output: String::new() }));
    }
}
