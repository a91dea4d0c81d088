//! The way to a program's end: it is asked, by SIGTERM; then killed, by SIGKILL to its whole tree; then looked at, for the
//! reason why it is not gone.

use std::time::Duration;

use muster_domain::Cause;
use muster_process::{Custodian, Exit};
use tokio::time::Instant;

use crate::later;

/// A killed tree that is not gone after this time is looked at, for the reason, and then again.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How far down a program is.
pub(super) struct Ladder {
    keeper: Custodian,
    stage: Stage,
    /// Why it ends, where that is known before it does.
    cause: Option<Cause>,
}

#[derive(Debug)]
enum Stage {
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

impl Ladder {
    pub(super) const fn new(keeper: Custodian) -> Self {
        Self { keeper, stage: Stage::Runs, cause: None }
    }

    /// Whether nothing was done to end it.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Runs)
    }

    /// Sends SIGTERM after `pause`, and kills it after `deadline`. Only of one that runs.
    pub(super) fn ask(&mut self, cause: Cause, pause: Duration, deadline: Duration) {
        if self.is_running() {
            let now = Instant::now();
            self.descend(cause, Stage::Asked { signal_at: Some(now + pause), kill_at: later(now, deadline) });
        }
    }

    /// Kills it.
    pub(super) fn kill(&mut self, cause: Cause) {
        self.keeper.kill();
        if !matches!(self.stage, Stage::Killed { .. }) {
            self.descend(cause, Stage::Killed { look_at: Instant::now() + STUCK_AFTER, stuck: None });
        }
    }

    /// The first cause counts: one that was asked to stop was stopped, however it ends.
    fn descend(&mut self, cause: Cause, stage: Stage) {
        self.cause.get_or_insert(cause);
        self.stage = stage;
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Runs => None,
            Stage::Asked { signal_at, kill_at } => Some(signal_at.map_or(*kill_at, |at| at.min(*kill_at))),
            Stage::Killed { look_at, .. } => Some(*look_at),
        }
    }

    /// Does what is due. Answers with the reason why it is not gone, where that is another than before.
    pub(super) fn on_time(&mut self, now: Instant) -> Option<Option<String>> {
        match &mut self.stage {
            Stage::Asked { kill_at, .. } if *kill_at <= now => self.kill(Cause::Stopped),
            Stage::Asked { signal_at, .. } if signal_at.is_some_and(|at| at <= now) => {
                *signal_at = None;
                self.keeper.ask();
            }
            Stage::Killed { look_at, stuck } if *look_at <= now => {
                *look_at = now + STUCK_AFTER;
                let reason = self.keeper.stuck();
                if reason != *stuck {
                    stuck.clone_from(&reason);
                    return Some(reason);
                }
            }
            Stage::Runs | Stage::Asked { .. } | Stage::Killed { .. } => {}
        }
        None
    }

    /// Why it ended, now that it did so.
    pub(super) fn into_cause(self, exit: Exit) -> Cause {
        self.cause.unwrap_or(match exit {
            Exit::Code(code) => Cause::Exited { code },
            Exit::Signal(signal) => Cause::Signaled { signal },
        })
    }
}
