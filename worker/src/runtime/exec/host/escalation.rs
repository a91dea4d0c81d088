//! The way to a program's end: it is asked, by SIGTERM; then killed, by SIGKILL to its whole tree; then looked at, for the
//! reason why it is not gone.

use std::time::Duration;

use muster_domain::Cause;
use muster_process::{ChildKiller, ProcessExit};
use tokio::time::Instant;

use crate::later;

/// A killed tree that is not gone after this time is looked at, for the reason, and then again.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How far a program is on that way.
pub(crate) struct Escalation {
    keeper: ChildKiller,
    level: Level,
    /// Why it ends, where that is known before it does.
    cause: Option<Cause>,
}

#[derive(Debug)]
enum Level {
    Runs,
    /// Was told to stop; `signal_at`: SIGTERM is still to come.
    Asked {
        signal_at: Option<Instant>,
        kill_at: Instant,
    },
    Killed {
        look_at: Instant,
        stuck: Option<String>,
    },
}

impl Escalation {
    pub(crate) const fn new(keeper: ChildKiller) -> Self {
        Self { keeper, level: Level::Runs, cause: None }
    }

    /// Whether nothing was done to end it.
    pub(crate) const fn is_running(&self) -> bool {
        matches!(self.level, Level::Runs)
    }

    /// Sends SIGTERM after `pause`, and kills it after `deadline`. Only of one that runs.
    pub(crate) fn ask(&mut self, cause: Cause, pause: Duration, deadline: Duration, now: Instant) {
        if self.is_running() {
            self.raise(cause, Level::Asked { signal_at: Some(now + pause), kill_at: later(now, deadline) });
        }
    }

    /// Kills it.
    pub(crate) fn kill(&mut self, cause: Cause, now: Instant) {
        self.keeper.kill();
        if !matches!(self.level, Level::Killed { .. }) {
            self.raise(cause, Level::Killed { look_at: now + STUCK_AFTER, stuck: None });
        }
    }

    /// The first cause counts: one that was asked to stop was stopped, however it ends.
    fn raise(&mut self, cause: Cause, level: Level) {
        self.cause.get_or_insert(cause);
        self.level = level;
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        match &self.level {
            Level::Runs => None,
            Level::Asked { signal_at, kill_at } => Some(signal_at.map_or(*kill_at, |at| at.min(*kill_at))),
            Level::Killed { look_at, .. } => Some(*look_at),
        }
    }

    /// Does what is due. Answers with the reason why it is not gone, where that is another than before.
    pub(crate) fn on_time(&mut self, now: Instant) -> Option<Option<String>> {
        match &mut self.level {
            Level::Asked { kill_at, .. } if *kill_at <= now => self.kill(Cause::Stopped, now),
            Level::Asked { signal_at, .. } if signal_at.is_some_and(|at| at <= now) => {
                *signal_at = None;
                self.keeper.ask();
            }
            Level::Killed { look_at, stuck } if *look_at <= now => {
                *look_at = now + STUCK_AFTER;
                let reason = self.keeper.stuck();
                if reason != *stuck {
                    stuck.clone_from(&reason);
                    return Some(reason);
                }
            }
            Level::Runs | Level::Asked { .. } | Level::Killed { .. } => {}
        }
        None
    }

    /// Why it ended, now that it did so.
    pub(crate) fn into_cause(self, exit: ProcessExit) -> Cause {
        self.cause.unwrap_or(cause_of(exit))
    }
}

/// The end of a program that ended by itself.
pub(crate) const fn cause_of(exit: ProcessExit) -> Cause {
    match exit {
        ProcessExit::Code(code) => Cause::Exited { code },
        ProcessExit::Signal(signal) => Cause::Signaled { signal },
    }
}
