//! The first thing a worker does: it subscribes to its commands, through an outage if there is one, and says meanwhile at
//! its probe socket what keeps it.

use std::time::Duration;

use muster_domain::{OngoingTrouble, ProbeAnswer, WorkerOrders};
use muster_process::lock;
use muster_registry::CommandStream;
use tokio::time::{Instant, sleep};

use crate::stop::{StopWatch, Urgency};
use crate::{WorkerDeps, WorkerError, WorkerExit, later};

/// The waits between attempts to subscribe double from this one...
const FIRST_ATTEMPT: Duration = Duration::from_millis(50);
/// ... to this one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Subscribes. The inner error is the exit of a worker that was stopped meanwhile.
///
/// It goes on for as long as there is a master, which asks at the probe socket and names what it hears. Without one it gives up
/// after the start timeout: nobody waits for it.
pub(crate) async fn subscribe(
    orders: &WorkerOrders,
    deps: &mut WorkerDeps,
    stop: &mut StopWatch,
) -> Result<Result<CommandStream, WorkerExit>, WorkerError> {
    let began = Instant::now();
    let deadline = later(began, orders.clocks.start_timeout);
    let mut wait = FIRST_ATTEMPT;
    let mut last_error = "it has not reached the registry yet".to_owned();
    loop {
        let (bus, pause) = (deps.bus.clone(), wait);
        let attempt = async move {
            let result = bus.commands(orders.process_id).await;
            if result.is_err() {
                sleep(pause).await;
            }
            result
        };
        tokio::pin!(attempt);
        let result = loop {
            tokio::select! {
                result = &mut attempt => break result,
                caller = deps.probe_socket.next_caller() => caller.answer(&probe_answer(orders, began, &last_error)),
                urgency = stop.changed() => {
                    return Ok(Err(if urgency == Urgency::Kill { WorkerExit::Killed } else { WorkerExit::ShutDown }));
                }
            }
        };
        match result {
            Ok(commands) => return Ok(Ok(commands)),
            Err(error) if Instant::now() >= deadline && !has_master(orders, deps) => {
                return Err(WorkerError::Subscription(error));
            }
            Err(error) => {
                let words = error.to_string();
                if words != last_error {
                    tracing::warn!(%error, "could not subscribe to commands and tries again");
                    last_error = words;
                }
            }
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Whether somebody leads who may want to hear why this worker is not ready. One inside its master has nothing to wait for.
fn has_master(orders: &WorkerOrders, deps: &WorkerDeps) -> bool {
    // A lock that cannot be looked at proves no absence.
    !deps.in_process && lock::is_held(&orders.lock_file).unwrap_or(true)
}

fn probe_answer(orders: &WorkerOrders, began: Instant, error: &str) -> Vec<u8> {
    let trouble = OngoingTrouble {
        for_ms: crate::millis(began.elapsed()),
        error: format!("it can't subscribe to its commands: {error}"),
    };
    write(&ProbeAnswer { process_id: orders.process_id, beats: 0, trouble: Some(trouble) })
}

/// The words of an answer at the probe socket.
pub(crate) fn write(probe_answer: &ProbeAnswer) -> Vec<u8> {
    // A domain's type always has a JSON form.
    serde_json::to_vec(probe_answer).unwrap_or_default()
}
