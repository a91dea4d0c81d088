//! What callers ask about agents that are there: they are read, ended and run again. The store says which there are; the
//! keepers say how those that live are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use muster_domain::time::later;
use muster_domain::{AgentId, AgentState, PoolName, Principal, launcher};
use muster_store::{AgentFilter, AgentRow};

use crate::clock;
use crate::context::Context;
use crate::directory::{ask, read};
use crate::error::SupervisorError;
use crate::keeper::mailbox::AgentAsk;
use crate::keeper::view_of_row;
use crate::logs::AgentLog;
use crate::request::AgentQuery;
use crate::view::{AgentHealthView, AgentView, Page};

/// Rows read at once while looking for agents in a state that only the keepers know.
const PAGE: u32 = 500;

/// The agents, as one principal asks about them. Cloneable.
#[derive(Clone)]
pub struct Agents {
    pub(crate) context: Arc<Context>,
    pub(crate) principal: Principal,
}

impl Agents {
    /// One agent.
    pub async fn get(&self, agent: AgentId) -> Result<AgentView, SupervisorError> {
        let row = self.row(agent).await?;
        let mut views = self.overlay(vec![row]).await;
        views.pop().ok_or_else(|| SupervisorError::UnknownAgent(agent.to_string()))
    }

    /// Agents in the order of their making, a page at a time.
    pub async fn list(&self, query: AgentQuery) -> Result<Page<AgentView>, SupervisorError> {
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
                return self.context.directory.page_of(filter.pool.as_ref(), Page { items, next: None });
            }
        }
    }

    /// Every agent that has not ended, by pool; at most so many after this one, the oldest of all pools first. The store is not
    /// asked: the keepers hold them all.
    pub async fn health(&self, after: Option<AgentId>, limit: usize) -> BTreeMap<PoolName, Vec<AgentHealthView>> {
        let asked = self.context.directory.all().into_iter().map(|(pool, keeper)| async move {
            let agents = read(&keeper, move |keeper, _| keeper.health_of_agents(after, limit)).await;
            // One that ends meanwhile is a pool that is gone.
            Some((pool, agents.ok()?))
        });
        let mut pools: BTreeMap<PoolName, Vec<AgentHealthView>> = join_all(asked).await.into_iter().flatten().collect();
        let mut ids: Vec<AgentId> = pools.values().flatten().map(|agent| agent.agent_id).collect();
        if ids.len() > limit {
            let (_, first_beyond, _) = ids.select_nth_unstable(limit);
            let beyond = *first_beyond;
            pools.values_mut().for_each(|agents| agents.retain(|agent| agent.agent_id < beyond));
        }
        pools
    }

    /// Ends an agent for good, and waits at most `wait` until its tree is gone. Ending it twice is no error.
    pub async fn terminate(
        &self,
        pool: Option<PoolName>,
        agent: AgentId,
        graceful: bool,
        wait: Duration,
    ) -> Result<AgentView, SupervisorError> {
        let row = self.row(agent).await?;
        if pool.is_some_and(|pool| pool != row.spec.pool_name) {
            return Err(SupervisorError::UnknownAgent(format!(
                "{agent} in that pool; it is in {}",
                row.spec.pool_name
            )));
        }
        let deadline = later(clock::now(), wait);
        let Ok(keeper) = self.context.directory.keeper(&row.spec.pool_name) else { return Ok(view_of_row(row)) };
        match ask(&keeper, |reply| AgentAsk::Terminate { agent, graceful, deadline, reply }.into()).await? {
            Ok(answer) => Ok(answer.view),
            // The keeper has let go of it: it is at rest already.
            Err(SupervisorError::UnknownAgent(_)) => Ok(view_of_row(self.row(agent).await?)),
            Err(error) => Err(error),
        }
    }

    /// Stops an agent's run and starts another; also releases one that is quarantined or failed. Waits at most `wait`
    /// for it to run.
    pub async fn restart(&self, agent: AgentId, wait: Duration) -> Result<AgentView, SupervisorError> {
        let row = self.row(agent).await?;
        let deadline = later(clock::now(), wait);
        let keeper = self.context.directory.keeper(&row.spec.pool_name)?;
        if row.final_state.is_some_and(|state| !state.may_run_again()) {
            return Err(SupervisorError::WrongState {
                agent_id: agent,
                state: "terminated",
                why: "what was ended stays ended; spawn another".to_owned(),
            });
        }
        let wish = |reply| match row.final_state {
            // Its keeper has let go of it.
            Some(state) if state.state().is_gone() => AgentAsk::Revive { row: Box::new(row), deadline, reply }.into(),
            _ => AgentAsk::Restart { agent, deadline, reply }.into(),
        };
        ask(&keeper, wish).await?.map(|answer| answer.view)
    }

    /// What an agent printed.
    pub async fn log(&self, agent: AgentId) -> Result<Box<dyn AgentLog>, SupervisorError> {
        let row = self.row(agent).await?;
        let launcher = self.launcher_of(&row).await?;
        self.context.launchers.agent_log(&launcher, agent).map_err(SupervisorError::unavailable)
    }

    /// The launcher of the worker that has the agent; of one that none has, its pool's.
    async fn launcher_of(&self, agent: &AgentRow) -> Result<String, SupervisorError> {
        if let Some(place) = agent.assignment {
            let worker = self.context.store.worker(place.process_id).await;
            if let Some(worker) = worker.map_err(|error| self.context.store_failed(&error))? {
                return Ok(worker.spec.source.launcher);
            }
        }
        let pool = self.context.directory.get(&agent.spec.pool_name).map(|entry| entry.spec.get());
        Ok(pool.map_or_else(|| launcher::LOCAL.to_owned(), |pool| pool.config.launcher.clone()))
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
            let Ok(keeper) = self.context.directory.keeper(&pool) else { continue };
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
