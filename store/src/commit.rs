//! Group commit: batches that arrive while another is being committed share the next transaction.
//!
//! One task owns the queue. It takes what is there, up to a bound, and commits it at once; so a lone batch waits for
//! nothing, and under load the cost of a commit is shared. Batches with another fence than the first wait for a
//! transaction of their own. Where a shared transaction fails because of what is in it, nothing of it stands, and it is tried
//! again in parts, so that one's error is not another's. An outage is everybody's: trying each alone would only make all
//! wait for it in turn.
//!
//! A caller that stops waiting does not stop its batch. The task ends when the last handle is dropped.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::Fence;
use tokio::sync::{mpsc, oneshot};

use crate::plan::StatementPlan;
use crate::sql::{Engine, Statement, StatementResult, TransactionMode};
use crate::{StoreError, Write, WriteOutcome};

/// Batches that may wait; whoever comes later waits for a place.
const MAX_WAITING: usize = 1_024;
/// Rows that one transaction of several batches is about at the most; a single larger batch has a transaction of its own.
const MAX_SHARED_ROWS: usize = 1_000;
/// How often a transaction that lost to another one is tried again, and a pause that grows in between.
const MAX_TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// The queue's end for callers.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    queue: mpsc::Sender<CommitRequest>,
}

#[derive(Debug)]
struct CommitRequest {
    fence: Fence,
    plan: StatementPlan,
    reply: oneshot::Sender<Result<Vec<WriteOutcome>, StoreError>>,
}

impl CommitRequest {
    fn rows(&self) -> usize {
        self.plan.steps().map(|step| step.rows).sum()
    }
}

impl Committer {
    /// Starts the task. Must be called within a runtime.
    pub(crate) fn start(engine: Arc<impl Engine>) -> Self {
        let (queue, batches) = mpsc::channel(MAX_WAITING);
        tokio::spawn(commit_batches(engine, batches));
        Self { queue }
    }

    pub(crate) async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let batch = CommitRequest { fence, plan: StatementPlan::of(writes), reply };
        self.queue.send(batch).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::unavailable("it was closed")
}

async fn commit_batches(engine: Arc<impl Engine>, mut batches: mpsc::Receiver<CommitRequest>) {
    let mut put_back = None;
    loop {
        let first = match put_back.take() {
            Some(batch) => batch,
            None => match batches.recv().await {
                Some(batch) => batch,
                None => return,
            },
        };
        let mut group = vec![first];
        put_back = gather(&mut group, &mut batches);
        commit_group(&*engine, group).await;
    }
}

/// Adds what waits to the group, and returns the first batch that does not belong to it.
fn gather(group: &mut Vec<CommitRequest>, batches: &mut mpsc::Receiver<CommitRequest>) -> Option<CommitRequest> {
    let fence = group[0].fence;
    let mut rows = group[0].rows();
    while let Ok(batch) = batches.try_recv() {
        rows += batch.rows();
        if batch.fence != fence || rows > MAX_SHARED_ROWS {
            return Some(batch);
        }
        group.push(batch);
    }
    None
}

async fn commit_group(engine: &impl Engine, group: Vec<CommitRequest>) {
    let steps: Vec<Arc<Statement>> = group.iter().flat_map(|batch| batch.plan.steps()).cloned().collect();
    match carry_out(engine, group[0].fence, steps).await {
        Ok(answers) => {
            let mut answers = answers.into_iter();
            for batch in group {
                let outcomes = batch.plan.outcomes(&mut answers);
                // A caller that has gone away does not need the outcome.
                let _ = batch.reply.send(outcomes);
            }
        }
        // It may be the error of one of them.
        Err(StoreError::Failed(_)) if group.len() > 1 => {
            for batch in group {
                let outcomes = commit_alone(engine, &batch).await;
                let _ = batch.reply.send(outcomes);
            }
        }
        // It is everybody's.
        Err(error) => {
            for batch in group {
                let _ = batch.reply.send(Err(error.repeat()));
            }
        }
    }
}

async fn commit_alone(engine: &impl Engine, batch: &CommitRequest) -> Result<Vec<WriteOutcome>, StoreError> {
    let answers = carry_out(engine, batch.fence, batch.plan.steps().cloned().collect()).await?;
    batch.plan.outcomes(&mut answers.into_iter())
}

/// Commits steps: again where a transaction of others came in between, since that one is over by now, and apart from each other
/// where the engine will never take one of the values.
async fn carry_out(
    engine: &impl Engine,
    fence: Fence,
    steps: Vec<Arc<Statement>>,
) -> Result<Vec<StatementResult>, StoreError> {
    let (mut mode, mut tries) = (TransactionMode::Together, 1);
    let answers = loop {
        match engine.commit(fence, steps.clone(), mode).await {
            Err(StoreError::Refused(_)) if mode == TransactionMode::Together => mode = TransactionMode::Apart,
            Err(StoreError::Conflict(_)) if tries < MAX_TRIES => {
                tokio::time::sleep(PAUSE * tries).await;
                tries += 1;
            }
            done => break done?,
        }
    };
    for refusal in answers.iter().flat_map(|answer| &answer.refused) {
        tracing::warn!(why = %refusal.why, "a value can't be stored: what it belongs to is left out, all else is committed");
    }
    Ok(answers)
}
