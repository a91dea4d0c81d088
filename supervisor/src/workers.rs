//! What callers ask about workers, those that there are and those that ended.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{PoolName, Principal, ProcessId, WorkerState};
use muster_store::WorkerRow;

use crate::access;
use crate::context::Context;
use crate::directory::{ask, read};
use crate::error::SupervisorError;
use crate::keeper::Keeper;
use crate::keeper::interruptions::Notice;
use crate::keeper::mailbox::KeeperMessage;
use crate::probes::PATIENCE;
use crate::request::EndedQuery;
use crate::view::{EndedWorkerView, Page, WorkerView};

/// The workers. Cloneable.
#[derive(Clone)]
pub struct Workers {
    pub(crate) context: Arc<Context>,
    pub(crate) principal: Principal,
}

impl Workers {
    /// Workers of one pool, or of all.
    pub async fn list(&self, pool: Option<&PoolName>) -> Result<Vec<WorkerView>, SupervisorError> {
        let keepers = match pool {
            Some(pool) => vec![self.context.directory.keeper(pool)?],
            None => self.context.directory.all().into_iter().map(|(_, keeper)| keeper).collect(),
        };
        let mut workers = Vec::new();
        for keeper in keepers {
            workers.extend(read(&keeper, Keeper::view_workers).await.unwrap_or_default());
        }
        workers.sort_by_key(|worker| worker.process_id);
        Ok(workers)
    }

    /// Workers that ended, the latest made first, a page at a time.
    pub async fn ended(&self, query: EndedQuery) -> Result<Page<EndedWorkerView, ProcessId>, SupervisorError> {
        let limit = query.limit.clamp(1, 1_000);
        let rows = self.context.store.ended_workers(query.pool.as_ref(), query.before, limit + 1).await;
        let mut rows = rows.map_err(|error| self.context.store_failed(&error))?;
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().map(|row| row.process_id).filter(|_| !is_last);
        let page = Page { items: rows.into_iter().map(EndedWorkerView::from).collect(), next };
        self.context.directory.page_of(query.pool.as_ref(), page)
    }

    /// Declares a worker dead that is unreachable: its agents leave their places and run elsewhere. One that has ended already is
    /// answered as it ended, so doing it twice is no error.
    ///
    /// # Errors
    /// [`SupervisorError::UnknownWorker`], and [`SupervisorError::WorkerReachable`] where it was heard lately, or its end would be seen.
    pub async fn declare_dead(&self, worker: ProcessId) -> Result<EndedWorkerView, SupervisorError> {
        let row = self.row(worker).await?;
        if !row.state.is_open() {
            return Ok(row.into());
        }
        let keeper = self.context.directory.keeper(&row.pool_name)?;
        let by = access::by(&self.principal);
        match ask(&keeper, |reply| KeeperMessage::DeclareDead { worker, by, reply }).await? {
            Ok(()) => Ok(self.row(worker).await?.into()),
            Err(SupervisorError::UnknownWorker(_)) => {
                let row = self.row(worker).await?;
                // Else its end was stored meanwhile.
                match row.state.is_open() {
                    true => {
                        Err(SupervisorError::unavailable("this supervisor does not know the worker yet".to_owned()))
                    }
                    false => Ok(row.into()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Says that the capacity under a worker will be taken away after this time: another worker is started in its place, and what it
    /// has by then is handed over. A second notice can only bring the moment forward.
    ///
    /// # Errors
    /// [`SupervisorError::UnknownWorker`], and [`SupervisorError::WorkerEnds`] where it was told to end or has ended.
    pub async fn interrupt(&self, worker: ProcessId, within: Duration) -> Result<WorkerView, SupervisorError> {
        let row = self.row(worker).await?;
        if !row.state.is_open() {
            return Err(SupervisorError::WorkerEnds(worker));
        }
        let keeper = self.context.directory.keeper(&row.pool_name)?;
        let by = access::by(&self.principal);
        ask(&keeper, |reply| KeeperMessage::Interrupt(Notice { worker, within, by, reply })).await?
    }

    async fn row(&self, worker: ProcessId) -> Result<WorkerRow, SupervisorError> {
        let row = self.context.store.worker(worker).await.map_err(|error| self.context.store_failed(&error))?;
        row.ok_or(SupervisorError::UnknownWorker(worker))
    }

    /// Sends a probe to one worker of each pool that has a ready one, and waits for its answer.
    pub async fn canaries(&self) -> Vec<(PoolName, Result<Duration, String>)> {
        let mut workers = self.list(None).await.unwrap_or_default();
        // One that nobody can reach answers nobody, and is said elsewhere.
        workers.retain(|worker| worker.status == WorkerState::Ready && worker.unreachable.is_none());
        workers.sort_by(|a, b| a.pool_name.cmp(&b.pool_name));
        workers.dedup_by(|a, b| a.pool_name == b.pool_name);
        let probes = workers.into_iter().map(|worker| async move {
            let answer = self.probe(worker.process_id).await;
            (worker.pool_name, answer)
        });
        futures_util::future::join_all(probes).await
    }

    /// Asks one worker, and says how long its answer took.
    pub(crate) async fn probe(&self, worker: ProcessId) -> Result<Duration, String> {
        self.context.messages.probes.send(self.context.bus.as_ref(), self.context.fence, worker, PATIENCE).await
    }
}
