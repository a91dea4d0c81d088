//! Ending what dead workers left, for as many of them at once as there are: one search serves all.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use muster_domain::ProcessId;
use muster_process::{LeftoverSearch, Lineage, SearchPass};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::blocking;

/// Between two passes where something does not die.
const AGAIN: Duration = Duration::from_millis(100);

/// After this time one that still lives is worth a line in the log.
const STUBBORN: Duration = Duration::from_secs(5);

/// A worker, and whom to tell when nothing of it is left.
type LeftoverRequest = (ProcessId, Lineage, oneshot::Sender<()>);

/// The way to the task that searches. It ends with the last way to it.
#[derive(Clone)]
pub(super) struct LeftoverKiller {
    requests: mpsc::UnboundedSender<LeftoverRequest>,
}

impl LeftoverKiller {
    /// Starts the task. Must be called within a runtime.
    pub(super) fn start() -> Self {
        let (requests, line) = mpsc::unbounded_channel();
        tokio::spawn(run(line));
        Self { requests }
    }

    /// Ends whatever a dead worker left, and returns when it is proven that nothing is. Its trees die with it by themselves
    /// (their inits see to that); this waits until they have, and takes what the means at hand could not hold. It goes on
    /// for as long as something does not die, and somebody waits: an agent of it is not to be started elsewhere before.
    pub(super) async fn end(&self, worker: ProcessId, lineage: Lineage) {
        let (tell, proven) = oneshot::channel();
        if self.requests.send((worker, lineage, tell)).is_err() || proven.await.is_err() {
            // The program is ending, and nothing was proven.
            std::future::pending::<()>().await;
        }
    }
}

/// Those who wait for one worker's end.
struct LeftoverWaiter {
    since: Instant,
    lineage: Lineage,
    told: bool,
    replies: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct LeftoverTask {
    search: LeftoverSearch,
    waiting: HashMap<ProcessId, LeftoverWaiter>,
}

async fn run(mut line: mpsc::UnboundedReceiver<LeftoverRequest>) {
    let mut search = LeftoverTask::default();
    let mut found_before = false;
    loop {
        if search.waiting.is_empty() {
            let Some(request) = line.recv().await else { return };
            search.add(request);
        }
        while let Ok(request) = line.try_recv() {
            search.add(request);
        }
        let found = search.pass().await;
        search.forget_unwanted();
        search.tell_of_stubborn();
        if found && found_before {
            tokio::time::sleep(AGAIN).await;
        }
        found_before = found;
    }
}

impl LeftoverTask {
    fn add(&mut self, (worker, lineage, reply): LeftoverRequest) {
        self.search.add(worker.to_string().as_ref(), lineage);
        let fresh = || LeftoverWaiter { since: Instant::now(), lineage, told: false, replies: Vec::new() };
        self.waiting.entry(worker).or_insert_with(fresh).replies.push(reply);
    }

    /// One pass over all processes. Says whether anything was there, or nobody could look.
    async fn pass(&mut self) -> bool {
        let mut search = std::mem::take(&mut self.search);
        let passed = blocking::run(&blocking::SWEEPS, move || (search.pass(), search)).await;
        let (outcome, search) = match passed {
            Ok(passed) => passed,
            Err(error) => {
                tracing::error!(%error, "the search for what dead workers left broke, and begins anew");
                for (worker, waiting) in &self.waiting {
                    self.search.add(worker.to_string().as_ref(), waiting.lineage);
                }
                return true;
            }
        };
        self.search = search;
        match outcome {
            Ok(SearchPass { clean, found }) => {
                clean.into_iter().for_each(|(worker, killed)| self.tell_proven(worker, killed));
                found
            }
            Err(error) => {
                tracing::debug!(%error, "the processes of this host can't be read for what dead workers left");
                true
            }
        }
    }

    fn tell_proven(&mut self, worker: OsString, killed: usize) {
        let id = worker.to_str().and_then(|id| id.parse().ok());
        let Some((id, waiting)) = id.and_then(|id| self.waiting.remove_entry(&id)) else { return };
        if killed > 0 || waiting.told {
            tracing::info!(process.id = %id, killed, "processes of a dead worker were ended");
        }
        // Who does not wait any more need not be told.
        for reply in waiting.replies {
            let _ = reply.send(());
        }
    }

    /// Nothing is ended for somebody who has gone away: a lead that is over, or a look that was bounded in time.
    fn forget_unwanted(&mut self) {
        let unwanted = self.waiting.extract_if(|_, waiting| waiting.replies.iter().all(oneshot::Sender::is_closed));
        unwanted.for_each(|(worker, _)| self.search.forget(worker.to_string().as_ref()));
    }

    fn tell_of_stubborn(&mut self) {
        for (worker, waiting) in &mut self.waiting {
            if !waiting.told && waiting.since.elapsed() > STUBBORN {
                tracing::warn!(process.id = %worker, "what a dead worker left does not die; its agents do not run again before");
                waiting.told = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_that_left_nothing_are_proven_together() {
        let leftovers = LeftoverKiller::start();
        let ends = (0..200).map(|_| leftovers.end(ProcessId::generate(), Lineage::default()));
        let proven = tokio::time::timeout(Duration::from_secs(30), futures_util::future::join_all(ends)).await;
        assert!(proven.is_ok(), "two passes over all processes serve all of them");
    }

    #[tokio::test]
    async fn what_is_not_waited_for_is_not_searched_for() {
        let mut search = LeftoverTask::default();
        let (kept, gone) = (ProcessId::generate(), ProcessId::generate());
        let (tell, _wait) = oneshot::channel();
        search.add((kept, Lineage::default(), tell));
        search.add((gone, Lineage::default(), oneshot::channel().0));
        search.forget_unwanted();
        assert_eq!(search.waiting.keys().collect::<Vec<_>>(), [&kept]);
        assert!(!search.pass().await && search.waiting.len() == 1, "one pass is no proof");
        assert!(!search.pass().await && search.waiting.is_empty());
    }
}
