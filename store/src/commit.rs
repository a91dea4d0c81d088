//! Group commit: batches that arrive while another is being committed share the next transaction.
//!
//! One task owns the queue. It takes what is there, up to a bound, and commits it at once; so a lone batch waits for
//! nothing, and under load the cost of a commit is shared. Batches with another fence than the first wait for a
//! transaction of their own. Where a shared transaction fails, nothing of it stands, and each of its batches is tried
//! alone, so that one's error is not another's.
//!
//! A caller that stops waiting does not stop its batch. The task ends when the last handle is dropped.

use std::sync::Arc;

use muster_domain::Fence;
use tokio::sync::{mpsc, oneshot};

use crate::plan::Plan;
use crate::sql::{Answer, Engine, Step};
use crate::{Outcome, StoreError, Write};

/// Batches that may wait; whoever comes later waits for a place.
const MAX_WAITING: usize = 1_024;
/// Rows that one transaction of several batches is about at the most; a single larger batch has a transaction of its own.
const MAX_SHARED_ROWS: usize = 1_000;

/// The queue's end for callers.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Batch>,
}

#[derive(Debug)]
struct Batch {
    fence: Fence,
    plans: Vec<Plan>,
    reply: oneshot::Sender<Result<Vec<Outcome>, StoreError>>,
}

impl Batch {
    fn steps(&self) -> impl Iterator<Item = &Arc<Step>> {
        self.plans.iter().flat_map(|plan| &plan.steps)
    }

    fn rows(&self) -> usize {
        self.steps().map(|step| step.rows).sum()
    }
}

impl Committer {
    /// Starts the task. Must be called within a runtime.
    pub(crate) fn start(engine: Arc<impl Engine>) -> Self {
        let (queue, batches) = mpsc::channel(MAX_WAITING);
        tokio::spawn(commit_batches(engine, batches));
        Self { queue }
    }

    pub(crate) async fn apply(&self, fence: Fence, writes: &[Write]) -> Result<Vec<Outcome>, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let batch = Batch { fence, plans: writes.iter().map(Plan::of).collect(), reply };
        self.queue.send(batch).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it was closed".into())
}

async fn commit_batches(engine: Arc<impl Engine>, mut batches: mpsc::Receiver<Batch>) {
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
fn gather(group: &mut Vec<Batch>, batches: &mut mpsc::Receiver<Batch>) -> Option<Batch> {
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

async fn commit_group(engine: &impl Engine, group: Vec<Batch>) {
    if group.len() > 1 {
        let steps: Vec<Arc<Step>> = group.iter().flat_map(Batch::steps).cloned().collect();
        if let Ok(answers) = engine.commit(group[0].fence, steps).await {
            let mut answers = answers.into_iter();
            for batch in group {
                let outcomes = read_outcomes(&batch.plans, &mut answers);
                // A caller that has gone away does not need the outcome.
                let _ = batch.reply.send(outcomes);
            }
            return;
        }
    }
    for batch in group {
        let outcomes = commit_alone(engine, &batch).await;
        let _ = batch.reply.send(outcomes);
    }
}

async fn commit_alone(engine: &impl Engine, batch: &Batch) -> Result<Vec<Outcome>, StoreError> {
    let steps: Vec<Arc<Step>> = batch.steps().cloned().collect();
    let answers = engine.commit(batch.fence, steps).await?;
    read_outcomes(&batch.plans, &mut answers.into_iter())
}

fn read_outcomes(plans: &[Plan], answers: &mut impl Iterator<Item = Answer>) -> Result<Vec<Outcome>, StoreError> {
    let read = |plan: &Plan| {
        let mut own: Vec<Answer> = answers.by_ref().take(plan.steps.len()).collect();
        plan.outcome(&mut own)
    };
    plans.iter().map(read).collect()
}
