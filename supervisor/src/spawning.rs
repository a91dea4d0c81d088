//! The way of a wish for an agent to the keeper of its pool: checked, stored, and waited for.

use std::time::{Duration, Instant};

use muster_domain::agent::{DEFAULT_HEARTBEAT_INTERVAL, SHORTEST_INTERVAL};
use muster_domain::lengths::{MAX_PROJECT_ID, check_length};
use muster_domain::time::{LONGEST, check_longest, later};
use muster_domain::{AgentId, AgentSpec, FinalState, StopReason, name};
use muster_store::AgentRow;

use crate::agents::Agents;
use crate::clock;
use crate::directory::ask;
use crate::error::SupervisorError;
use crate::keeper::agent::{AgentAnswer, Awaited};
use crate::keeper::mailbox::{AgentAsk, KeeperMessage, SpawnAnswer, SpawnAsk};
use crate::keeper::view_of_row;
use crate::request::{SpawnRequest, Spawned};

impl Agents {
    /// Asks for an agent, and waits at most `wait` for it to run.
    ///
    /// # Errors
    /// Before the intent is stored: unknown pool, wrong role, bad values, a bound, or something away. After it only
    /// [`SupervisorError::StartFailed`], and then the intent is ended.
    pub async fn spawn(&self, request: SpawnRequest, wait: Duration) -> Result<Spawned, SupervisorError> {
        let keeper = self.context.directory.keeper(&request.pool_name)?;
        let deadline = later(clock::now(), wait);
        let key = request.key.clone().map(|key| key.of(&self.principal));
        let spec = self.specify(request).await?;
        // The keeper would say the same, as soon as it has done with what it waits for.
        if let Some(error) = self.context.reporting.health.start_refusal() {
            return Err(error);
        }
        let answer = ask(&keeper, |reply| {
            KeeperMessage::Spawn(Box::new(SpawnAsk { spec, key, for_tasks: false, deadline, reply }))
        })
        .await??;
        match answer {
            SpawnAnswer::Waiting(fate) => fate.await.map_err(|_| SupervisorError::Stopping)?.map(Spawned::from),
            SpawnAnswer::Replayed(agent) => self.replay(agent, deadline).await,
        }
    }

    async fn specify(&self, request: SpawnRequest) -> Result<AgentSpec, SupervisorError> {
        let pool = self.context.directory.spec(&request.pool_name)?;
        if request.role_type != pool.role_type {
            return Err(SupervisorError::WrongRole {
                pool: request.pool_name,
                expected: pool.role_type.clone(),
                asked: request.role_type,
            });
        }
        check_length("project_id", &request.project_id, MAX_PROJECT_ID).map_err(SupervisorError::Invalid)?;
        let within_bounds = |name: &str, value: Duration| match value < SHORTEST_INTERVAL {
            true => {
                Err(SupervisorError::Invalid(format!("{name} must be at least {} s", SHORTEST_INTERVAL.as_secs_f64())))
            }
            false => check_longest(name, value).map_err(SupervisorError::Invalid).map(|()| value),
        };
        let heartbeat = request.heartbeat_interval.unwrap_or(DEFAULT_HEARTBEAT_INTERVAL);
        // The pool's row may be older than the bound, and that is not the caller's fault.
        let max_idle_time = request.max_idle_time.unwrap_or(pool.config.max_idle_time.min(LONGEST));
        Ok(AgentSpec {
            agent_id: AgentId::generate(),
            pool_name: request.pool_name,
            role_type: request.role_type,
            project_id: request.project_id,
            human_name: name::human_name(),
            heartbeat_interval: within_bounds("heartbeat_interval", heartbeat)?,
            max_idle_time: within_bounds("max_idle_time", max_idle_time)?,
            on_demand: false,
        })
    }

    /// A repeated request waits for the same agent, and is answered as the first was.
    async fn replay(&self, agent: AgentId, deadline: Instant) -> Result<Spawned, SupervisorError> {
        let row = self.row(agent).await?;
        let keeper = self.context.directory.keeper(&row.spec.pool_name)?;
        let awaited = Awaited::Running;
        match ask(&keeper, |reply| AgentAsk::Await { agent, awaited, deadline, reply }.into()).await? {
            Ok(answer) => Ok(answer.into()),
            // The keeper has let go of it since, or has not read yet that it was stored after all.
            Err(SupervisorError::UnknownAgent(_)) => answer_at_rest(self.row(agent).await?),
            Err(error) => Err(error),
        }
    }
}

/// What the first request was answered with, for an agent that is at rest.
fn answer_at_rest(row: AgentRow) -> Result<Spawned, SupervisorError> {
    let agent_id = row.spec.agent_id;
    match (row.final_state, &row.last_ending) {
        (None, _) => Err(SupervisorError::unavailable("it is not known yet what became of this request".to_owned())),
        (Some(FinalState::Failed(StopReason::StartFailed)), Some(ending)) => {
            Err(SupervisorError::StartFailed { agent_id, ending: ending.clone() })
        }
        _ => Ok(Spawned::Running(view_of_row(row))),
    }
}

impl From<AgentAnswer> for Spawned {
    fn from(answer: AgentAnswer) -> Self {
        if answer.reached { Self::Running(answer.view) } else { Self::Accepted(answer.view) }
    }
}
