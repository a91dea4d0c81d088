//! The handle's calls that read agents and workers. The store says which agents there are; the keepers say how those
//! that live are.

use std::collections::{BTreeMap, HashMap};

use muster_domain::{AgentId, AgentState, PoolName, ProcessId};
use muster_store::{AgentFilter, AgentRow};

use crate::error::SupervisorError;
use crate::handle::{Handle, read};
use crate::keeper::{Keeper, view_of_row};
use crate::request::{AgentQuery, EndedQuery};
use crate::view::{AgentView, EndedWorkerView, Page, WorkerView};

/// Rows read at once while looking for agents in a state that only the keepers know.
const PAGE: u32 = 500;

impl Handle {
    /// One agent.
    pub async fn agent(&self, agent: AgentId) -> Result<AgentView, SupervisorError> {
        let row = self.row(agent).await?;
        let mut views = self.overlay(vec![row]).await;
        views.pop().ok_or_else(|| SupervisorError::UnknownAgent(agent.to_string()))
    }

    /// Agents in the order of their making, a page at a time.
    pub async fn agents(&self, query: AgentQuery) -> Result<Page<AgentView>, SupervisorError> {
        let limit = query.limit.clamp(1, 1_000) as usize;
        let filter = AgentFilter { pool: query.pool, project: query.project, final_state: stored_state(&query.states) };
        let (mut items, mut after) = (Vec::new(), query.after);
        loop {
            let rows = self.rows(&filter, after, PAGE).await?;
            let last_page = rows.len() < PAGE as usize;
            after = rows.last().map(|row| row.spec.agent_id).or(after);
            let views = self.overlay(rows).await;
            items
                .extend(views.into_iter().filter(|view| query.states.is_empty() || query.states.contains(&view.state)));
            if items.len() > limit {
                items.truncate(limit);
                let next = items.last().map(|view: &AgentView| view.agent_id);
                return Ok(Page { items, next });
            }
            if last_page {
                return Ok(Page { items, next: None });
            }
        }
    }

    /// Workers of one pool, or of all.
    pub async fn workers(&self, pool: Option<&PoolName>) -> Result<Vec<WorkerView>, SupervisorError> {
        let keepers = match pool {
            Some(pool) => vec![self.keeper(pool)?],
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
    pub async fn ended_workers(&self, query: EndedQuery) -> Result<Page<EndedWorkerView, ProcessId>, SupervisorError> {
        let limit = query.limit.clamp(1, 1_000);
        let rows = self.context.store.ended_workers(query.pool.as_ref(), query.before, limit + 1).await;
        let mut rows = rows.map_err(|error| self.context.store_failed(&error))?;
        let is_last = rows.len() <= limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().map(|row| row.process_id).filter(|_| !is_last);
        Ok(Page { items: rows.into_iter().map(EndedWorkerView::from).collect(), next })
    }

    pub(crate) async fn row(&self, agent: AgentId) -> Result<AgentRow, SupervisorError> {
        let row = self.context.store.agent(agent).await.map_err(|error| self.context.store_failed(&error))?;
        row.ok_or_else(|| SupervisorError::UnknownAgent(agent.to_string()))
    }

    async fn rows(
        &self,
        filter: &AgentFilter,
        after: Option<AgentId>,
        limit: u32,
    ) -> Result<Vec<AgentRow>, SupervisorError> {
        self.context.store.agents(filter, after, limit).await.map_err(|error| self.context.store_failed(&error))
    }

    /// Rows as views, with what the keepers know of those that live.
    async fn overlay(&self, rows: Vec<AgentRow>) -> Vec<AgentView> {
        let mut asked: BTreeMap<PoolName, Vec<AgentId>> = BTreeMap::new();
        for row in &rows {
            asked.entry(row.spec.pool_name.clone()).or_default().push(row.spec.agent_id);
        }
        let mut live: HashMap<AgentId, AgentView> = HashMap::new();
        for (pool, ids) in asked {
            let Ok(keeper) = self.keeper(&pool) else { continue };
            let views = read(&keeper, move |keeper, _| keeper.view_agents(&ids)).await.unwrap_or_default();
            live.extend(views.into_iter().map(|view| (view.agent_id, view)));
        }
        rows.into_iter().map(|row| live.remove(&row.spec.agent_id).unwrap_or_else(|| view_of_row(row))).collect()
    }
}

/// The final state that the store has for agents in these states, if it is one; `None` is any. Those that live have none there:
/// their keepers tell them apart.
fn stored_state(states: &[AgentState]) -> Option<Option<AgentState>> {
    let stored = |state: &AgentState| Some(*state).filter(|state| state.is_final());
    let (first, others) = states.split_first()?;
    let state = stored(first);
    others.iter().all(|other| stored(other) == state).then_some(state)
}
