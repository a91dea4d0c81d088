//! What may go wrong on the host by itself, and by nothing that the supervisor asked for: looked at once a second, and
//! shown on the health board.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::blocking;
use crate::context::Context;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// A look that takes longer says something too: the disk under it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something of the host that may be less than it should be.
pub trait HostCheck: Send + Sync + 'static {
    /// The subject on the health board.
    fn subject(&self) -> &'static str;

    /// Looks, and mends what it can. Returns what is wrong and what to do about it, if anything. May block.
    fn look(&self) -> Option<String>;
}

/// Looks for ever.
pub(crate) async fn watch(context: Arc<Context>, checks: Vec<Arc<dyn HostCheck>>) {
    join_all(checks.into_iter().map(|check| watch_one(&context, check))).await;
    // A task that is over is taken for a failure, and there may be nothing to look at.
    std::future::pending().await
}

async fn watch_one(context: &Context, check: Arc<dyn HostCheck>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut shown = None;
    loop {
        ticks.tick().await;
        let looking = check.clone();
        let mut look = Box::pin(blocking::run(&blocking::HOST, move || looking.look()));
        let seen = match tokio::time::timeout(PATIENCE, &mut look).await {
            Ok(seen) => seen,
            Err(_) => {
                let hangs = format!("the look at it hangs for more than {} s: see to the disk", PATIENCE.as_secs());
                show(context, check.subject(), &mut shown, Some(hangs));
                look.await
            }
        };
        // An error means that the process is ending, or that the look failed as a program: then the next one may not.
        if let Ok(seen) = seen {
            show(context, check.subject(), &mut shown, seen);
        }
    }
}

/// Tells the board what is new: each word on it counts as one more failure.
fn show(context: &Context, subject: &'static str, shown: &mut Option<String>, seen: Option<String>) {
    if *shown == seen {
        return;
    }
    match &seen {
        Some(reason) => context.reporting.health.degrade(subject, reason.clone()),
        None => context.reporting.health.recover(subject),
    }
    *shown = seen;
}
