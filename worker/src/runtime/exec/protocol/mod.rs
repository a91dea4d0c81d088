//! What is spoken with a program: what it is told, and what it may say. A protocol is one file here: a value that is asked, and
//! that writes to the program's stdin; it waits for nothing, starts nothing and keeps no clock. That a program becomes ready, takes
//! a task, answers a halt or ends in time is looked after by the driver, the same for all.
//!
//! | asked | when | what it does |
//! |---|---|---|
//! | [`AgentProtocol::open`] | the program runs | greets it, if it is to be greeted |
//! | [`AgentProtocol::give`] | a task is to be begun | hands it over |
//! | [`AgentProtocol::cancel`] | a task is to be stopped | says so |
//! | [`AgentProtocol::close`] | the program is to end | says so |
//! | [`AgentProtocol::hear`] | it printed a line | says whether that is a message, and of what; may answer it |
//! | [`AgentProtocol::message`] | all the time | is where one listens that has a way beside the pipes |
//! | [`AgentProtocol::outcome`] | the program has ended | says what that means for the task that it was started for |

pub(crate) mod json_lines;
pub(crate) mod oneshot;

use std::future::{Future, pending};

use muster_domain::{Payload, TaskId, TaskOrder, Timestamp};
use muster_process::ProcessExit;

use super::host::{Framing, Printed, Stdin, cause_of};
use crate::log::LogStream;
use crate::notes::Note;
use crate::tasks::Finished;

/// The longest output of a task, in bytes of JSON.
const LONGEST_OUTPUT: usize = 1024 * 1024;

/// Whose life a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgramLife {
    /// The agent's: it is started with the agent, becomes ready, and is given tasks.
    Agent,
    /// A task's: it is started for one, counts as ready, and its end is the end of that task.
    Task,
}

/// What is spoken with a program.
pub(crate) trait AgentProtocol: Send + 'static {
    /// Whose life a program has that speaks it.
    const LIFE: ProgramLife;
    /// What its stdout is read as. Its stderr is lines for the log.
    const STDOUT: Framing;

    /// The program runs.
    fn open(&mut self, _stdin: &mut Stdin) {}

    /// Hands it a task, at this time. Says where that ends, in bytes from the beginning of its stdin, or why it can't be handed over.
    fn give(&mut self, order: &TaskOrder, at: Timestamp, stdin: &mut Stdin) -> Result<u64, &'static str>;

    /// Tells it to stop a task, which it then ends with a message. Fails where it can't hear of it: then all of it is ended.
    fn cancel(&mut self, _task_id: TaskId, _stdin: &mut Stdin) -> Result<(), &'static str> {
        Err("it has no way to be told")
    }

    /// Tells it to end. Answers whether that was possible: then the signal waits for a moment.
    fn close(&mut self, _stdin: &mut Stdin) -> bool {
        false
    }

    /// Hears a line, and hands on what that says. Answers whether it was a message; one that is none is a line for the log.
    /// `says` answers whether that is something that this program can say.
    fn hear(&mut self, stream: LogStream, line: Printed<'_>, stdin: &mut Stdin, says: Says<'_>) -> bool;

    /// Waits for the next message that comes by another way than the pipes; for ever where there is none. Cancel-safe.
    fn message(&mut self) -> impl Future<Output = Message> + Send {
        pending()
    }

    /// The task that a line for the log names, and the attempt at it, if it does.
    fn named(&self, _line: &[u8]) -> Option<(TaskId, Option<u32>)> {
        None
    }

    /// The program, which was started for one task, has ended by itself. `printed` is the copy of its stdout, `None` where it was
    /// too long or none was kept; `last_output` is what it printed last.
    fn outcome(&mut self, exit: ProcessExit, _printed: Option<Vec<u8>>, _last_output: &str) -> Finished {
        Finished::Lost(cause_of(exit))
    }
}

/// Takes what a program says.
pub(crate) type Says<'a> = &'a mut dyn FnMut(Message) -> bool;

/// What a program says.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// It takes tasks.
    Ready,
    /// Something about a task.
    Task(TaskMessage),
}

/// What is said about a task.
#[derive(Debug, PartialEq)]
pub(crate) struct TaskMessage {
    pub(crate) task_id: TaskId,
    /// Which attempt is meant, where the program says so.
    pub(crate) attempt: Option<u32>,
    pub(crate) body: MessageBody,
}

/// What is said.
#[derive(Debug, PartialEq)]
pub(crate) enum MessageBody {
    /// Something while it runs.
    Note(Note),
    /// How it ended. The last message about it.
    End(Finished),
}

/// Why this can't be the outcome of a task, if so. What is nested deeply would make every list that it is in unreadable.
fn unfit(what: &str, output: &Payload) -> Option<String> {
    if output.len() > LONGEST_OUTPUT {
        return Some(too_long(what));
    }
    let depth = output.depth();
    let most = Payload::MAX_DEPTH;
    (depth > most).then(|| format!("in its {what} {depth} lists and objects are in one another, and {most} may be"))
}

/// The same of one that was not even read whole.
fn too_long(what: &str) -> String {
    format!("its {what} is longer than {LONGEST_OUTPUT} bytes")
}
