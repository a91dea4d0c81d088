//! How a fake worker behaves.

use muster_domain::{Cause, CommandRefusal, LocalIdentity};
use muster_supervisor::launch::WorkerProbe;

/// What a worker does with an order to run an agent.
#[derive(Clone, Debug)]
pub(crate) enum OnSpawn {
    /// Runs it and says so.
    Run,
    /// Runs it and says nothing until told.
    RunSilently,
    /// Says that it ended before it was ready.
    Fail(Cause),
    /// Refuses it.
    Refuse(CommandRefusal),
    /// Does not hear the next so many, then runs it.
    Miss(u32),
}

/// What a worker does with an order to stop an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnStop {
    /// Ends it and says so.
    End,
    /// Ends it only when it is to be killed.
    EndIfForced,
    /// Does not hear it.
    Miss,
}

/// What an agent does with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnTask {
    /// Answers with its input at once.
    Answer,
    /// Works on it until told.
    Hold,
    /// Fails at once.
    Fail { retryable: bool },
}

/// What an agent does when a task is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnHalt {
    /// Stops, and its worker says so.
    Stop,
    /// Was done just before it heard of it.
    Answer,
    /// Goes on.
    Ignore,
}

/// How a worker behaves.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) on_spawn: OnSpawn,
    pub(crate) on_stop: OnStop,
    pub(crate) on_task: OnTask,
    pub(crate) on_halt: OnHalt,
    /// Commands about tasks that it does not hear from now on.
    pub(crate) missed_tasks: u32,
    /// Whether it gets each command about tasks twice.
    pub(crate) hears_twice: bool,
    /// Whether it sends each report of tasks twice.
    pub(crate) says_twice: bool,
    /// Whether its agents show no sign of progress.
    pub(crate) quiet: bool,
    /// Whether it beats.
    pub(crate) beats: bool,
    /// What is said at its probe socket.
    pub(crate) at_probe_socket: WorkerProbe,
    /// Whether it obeys a request to end.
    pub(crate) obeys: bool,
    /// The process that is measured as its own.
    pub(crate) process: Option<LocalIdentity>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            on_spawn: OnSpawn::Run,
            on_stop: OnStop::End,
            on_task: OnTask::Answer,
            on_halt: OnHalt::Stop,
            missed_tasks: 0,
            hears_twice: false,
            says_twice: false,
            quiet: false,
            beats: true,
            at_probe_socket: WorkerProbe::NoSocket,
            obeys: true,
            process: None,
        }
    }
}
