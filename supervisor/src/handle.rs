//! The handle: what callers ask of the supervisor. It checks what needs no model, finds the pool's keeper, and waits
//! for the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::agent::DEFAULT_HEARTBEAT_INTERVAL;
use muster_domain::lengths::{MAX_PROJECT_ID, check_length};
use muster_domain::time::{LONGEST, check_longest, later};
use muster_domain::{AgentId, AgentSpec, FinalState, PoolName, StopReason, name};
use muster_files::Place;
use muster_store::AgentRow;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::context::Context;
use crate::directory::Mailbox;
use crate::error::SupervisorError;
use crate::keeper::agent::{Answer, Awaited};
use crate::keeper::mailbox::{Ask, Look, Read, SpawnAnswer, SpawnAsk};
use crate::keeper::{Keeper, Round, view_of_row};
use crate::request::{SpawnRequest, Spawned};
use crate::supervisor::Facts;
use crate::view::{AgentView, Event};

/// Cloneable; every clone speaks with the same supervisor. When the supervisor has ended, calls fail with
/// [`SupervisorError::Stopping`].
#[derive(Clone)]
pub struct Handle {
    pub(crate) context: Arc<Context>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) stop: watch::Sender<Option<StopWish>>,
    pub(crate) closing: CancellationToken,
}

/// How the supervisor was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopWish {
    /// Whether the workers are left for the next supervisor.
    pub keep_workers: bool,
}

impl Handle {
    /// Asks for an agent, and waits at most `wait` for it to run.
    ///
    /// # Errors
    /// Before the intent is stored: unknown pool, wrong role, bad values, a bound, or something away. After it only
    /// [`SupervisorError::StartFailed`], and then the intent is ended.
    pub async fn spawn(&self, request: SpawnRequest, wait: Duration) -> Result<Spawned, SupervisorError> {
        let keeper = self.keeper(&request.pool_name)?;
        let deadline = later(clock::now(), wait);
        let key = request.key.clone();
        let spec = self.specify(request).await?;
        // The keeper would say the same, as soon as it has done with what it waits for.
        if let Some(error) = self.context.board.start_refusal() {
            return Err(error);
        }
        let answer = ask(&keeper, |reply| Ask::Spawn(Box::new(SpawnAsk { spec, key, deadline, reply }))).await??;
        match answer {
            SpawnAnswer::Waiting(fate) => fate.await.map_err(|_| SupervisorError::Stopping)?.map(Spawned::from),
            SpawnAnswer::Replayed(agent) => self.replay(agent, deadline).await,
        }
    }

    async fn specify(&self, request: SpawnRequest) -> Result<AgentSpec, SupervisorError> {
        let pool = self.spec(&request.pool_name)?;
        if request.role_type != pool.role_type {
            return Err(SupervisorError::WrongRole {
                pool: request.pool_name,
                expected: pool.role_type.clone(),
                asked: request.role_type,
            });
        }
        check_length("project_id", &request.project_id, MAX_PROJECT_ID).map_err(SupervisorError::Invalid)?;
        let within_bounds = |name: &str, value: Duration| match value < Duration::from_secs(1) {
            true => Err(SupervisorError::Invalid(format!("{name} must be at least 1 s"))),
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
        })
    }

    /// A repeated request waits for the same agent, and is answered as the first was.
    async fn replay(&self, agent: AgentId, deadline: Instant) -> Result<Spawned, SupervisorError> {
        let row = self.row(agent).await?;
        let keeper = self.keeper(&row.spec.pool_name)?;
        let awaited = Awaited::Running;
        match ask(&keeper, |reply| Ask::Await { agent, awaited, deadline, reply }).await? {
            Ok(answer) => Ok(answer.into()),
            // The keeper has let go of it since, or has not read yet that it was stored after all.
            Err(SupervisorError::UnknownAgent(_)) => answer_at_rest(self.row(agent).await?),
            Err(error) => Err(error),
        }
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
        let Ok(keeper) = self.keeper(&row.spec.pool_name) else { return Ok(view_of_row(row)) };
        match ask(&keeper, |reply| Ask::Terminate { agent, graceful, deadline, reply }).await? {
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
        let keeper = self.keeper(&row.spec.pool_name)?;
        if row.final_state.is_some_and(|state| !state.may_run_again()) {
            return Err(SupervisorError::WrongState {
                agent_id: agent,
                state: "terminated",
                why: "what was ended stays ended; spawn another".to_owned(),
            });
        }
        let wish = |reply| match row.final_state {
            // Its keeper has let go of it.
            Some(state) if state.state().is_gone() => Ask::Revive { row: Box::new(row), deadline, reply },
            _ => Ask::Restart { agent, deadline, reply },
        };
        ask(&keeper, wish).await?.map(|answer| answer.view)
    }

    /// Where an agent's output is written.
    pub fn log(&self, agent: AgentId) -> Place {
        Place::agent_log(&self.context.settings.data_dir, agent)
    }

    /// Events with a number above `seq`, at most `limit`.
    pub async fn events_after(&self, seq: u64, limit: u32) -> Result<Vec<Event>, SupervisorError> {
        let rows = self.context.store.events(seq, limit).await.map_err(|error| self.context.store_failed(&error))?;
        Ok(rows.into_iter().map(|row| Event { seq: row.seq, event: row.event }).collect())
    }

    /// The lowest and the highest number of the events kept.
    pub async fn event_bounds(&self) -> Result<(u64, u64), SupervisorError> {
        self.context.store.event_bounds().await.map_err(|error| self.context.store_failed(&error))
    }

    /// Changes whenever there may be new events.
    pub fn event_signal(&self) -> watch::Receiver<u64> {
        self.context.events.subscribe()
    }

    /// Asks the supervisor to stop, and returns at once. The first wish counts.
    pub fn stop(&self, keep_workers: bool) {
        self.stop.send_if_modified(|wish| match wish {
            Some(_) => false,
            None => wish.replace(StopWish { keep_workers }).is_none(),
        });
    }

    /// Cancelled when the HTTP server is to end: streams that would go on for ever end by it.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.closing.clone()
    }

    pub(crate) fn keeper(&self, pool: &PoolName) -> Result<Mailbox, SupervisorError> {
        self.context
            .directory
            .get(pool)
            .map(|entry| entry.mailbox)
            .ok_or_else(|| SupervisorError::UnknownPool(pool.to_string()))
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

impl From<Answer> for Spawned {
    fn from(answer: Answer) -> Self {
        if answer.reached { Self::Running(answer.view) } else { Self::Accepted(answer.view) }
    }
}

/// Reads what a keeper knows at the moment.
pub(crate) async fn read<T: Send + 'static>(
    keeper: &Mailbox,
    look: impl FnOnce(&Keeper, &Round) -> T + Send + Sync + 'static,
) -> Result<T, SupervisorError> {
    ask(keeper, |reply| Ask::Read(Read::Now(told(look, reply)))).await
}

/// The same at the end of its turn, when it knows of the tasks.
pub(crate) async fn read_at_turn_end<T: Send + 'static>(
    keeper: &Mailbox,
    look: impl FnOnce(&Keeper, &Round) -> T + Send + Sync + 'static,
) -> Result<T, SupervisorError> {
    ask(keeper, |reply| Ask::Read(Read::AtTurnEnd(told(look, reply)))).await
}

fn told<T: Send + 'static>(
    look: impl FnOnce(&Keeper, &Round) -> T + Send + Sync + 'static,
    reply: oneshot::Sender<T>,
) -> Look {
    Box::new(move |keeper, round| {
        if !reply.is_closed() {
            drop(reply.send(look(keeper, round)));
        }
    })
}

/// Sends a request to a keeper and waits for its reply.
pub(crate) async fn ask<T>(
    keeper: &Mailbox,
    request: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T, SupervisorError> {
    let (reply, answer) = oneshot::channel();
    keeper.send(request(reply)).map_err(|_| SupervisorError::Stopping)?;
    answer.await.map_err(|_| SupervisorError::Stopping)
}
