//! What becomes of a configured Redis that did not answer, and without which everything runs in one process.

use std::sync::Arc;
use std::time::Duration;

use muster_registry::Registry;
use muster_supervisor::Handle;

/// Between two looks at it.
const LOOK: Duration = Duration::from_secs(1);

/// Looks in a row at which it must answer: one that comes and goes would have every agent started again each time.
const ANSWERS: u32 = 2;

/// The Redis that is done without.
pub(super) struct MissingRedis {
    pub(super) registry: Arc<dyn Registry>,
    /// Its address, without secrets.
    pub(super) shown: String,
    /// Whether to change back to it when it answers.
    pub(super) heal: bool,
}

impl MissingRedis {
    /// Looks at it for as long as this supervisor leads. Where it is to be healed the lead ends when it answers, and the next
    /// one begins with it: the agents end with the first and start again, once each, with the second.
    pub(super) async fn watch(self, supervisor: Handle) {
        let Self { registry, shown, heal } = self;
        let away =
            format!("the Redis at {shown} did not answer at the start: everything runs in one process without it");
        let back = format!(
            "the Redis at {shown} answers again and is not used: restart Muster to use it, or set redis.fallback_heal = true"
        );
        supervisor.degrade(SUBJECT, away.clone());
        let (mut answers, mut told) = (0, false);
        loop {
            tokio::time::sleep(LOOK).await;
            // One that answers and refuses us would be left again at once.
            answers = if registry.examine().await.is_ok() { answers + 1 } else { 0 };
            if answers == 0 && told {
                supervisor.degrade(SUBJECT, away.clone());
                told = false;
            }
            if answers < ANSWERS || told {
                continue;
            }
            if heal {
                tracing::warn!("the Redis at {shown} answers again: the supervisor starts over with it");
                return supervisor.start_over();
            }
            tracing::warn!("{back}");
            supervisor.degrade(SUBJECT, back.clone());
            told = true;
        }
    }
}

/// What it is about on the health board.
const SUBJECT: &str = "redis";
