//! The built-in agent: it has no program, runs at once, answers each task with its input, and ends when it is told to. It prints
//! nothing; its log has the ends of its runs.

use std::path::PathBuf;

use muster_domain::{AgentId, Cause, Ending, Epoch, SpawnOrder, Timestamp};
use muster_files::DataPath;

use super::exec::blocking;
use super::{RunChange, RunNews};
use crate::log::{self, LogBatch, LogFile, LogStream};
use crate::tasks::{AttemptStart, Finish, Finished};

/// Agents without programs.
pub(crate) struct Echo {
    data_dir: PathBuf,
}

impl Echo {
    pub(super) const fn new(data_dir: PathBuf) -> Self {
        Self { data_dir }
    }

    /// It is gone.
    pub(super) fn stop(&self, agent_id: AgentId, epoch: Epoch) -> RunNews {
        let ending = Ending::new(Cause::Stopped, Timestamp::now());
        let mut lines = LogBatch::default();
        lines.add(ending.at, LogStream::End, ending.cause.to_string().as_bytes(), 0);
        let mut file = LogFile::new(DataPath::agent_log(&self.data_dir, agent_id), log::ROTATE_AT);
        // The disk may take its time, and nobody waits for a line that tells what the report tells too.
        let written = blocking::run(&blocking::LOGS, move || file.append(&lines.take()));
        drop(tokio::spawn(async move { drop(written.await) }));
        RunNews { agent_id, epoch, what: RunChange::Ended(ending) }
    }
}

/// It runs.
pub(super) fn start(order: &SpawnOrder) -> RunNews {
    RunNews { agent_id: order.agent.agent_id, epoch: order.epoch, what: RunChange::Started { pid: None } }
}

/// It has done a task.
pub(super) fn answer(start: AttemptStart) -> Finish {
    Finish { id: start.id(), end: Finished::Done(start.order.input), last_output: String::new() }
}
