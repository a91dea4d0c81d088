//! From a [`Write`] to its statements, and from their answers to its [`Outcome`].

use std::sync::Arc;

use muster_domain::AgentId;

use crate::sql::{Answer, Step};
use crate::task_steps::{TaskReading, TaskSteps};
use crate::{NewAgent, Outcome, StoreError, Write, agents, events, keys, pools, tasks, usage, workers};

/// The statements of one write, and how to read what they did.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In this order.
    pub(crate) steps: Vec<Arc<Step>>,
    reading: Reading,
}

/// How the answers tell the outcome.
#[derive(Debug)]
enum Reading {
    /// The last statement changed a row, or the precondition did not hold.
    Changed,
    /// The last statement returned the new agent's row.
    Agent,
    /// The same, and the first one says whose the idempotency key is.
    KeyedAgent(AgentId),
    /// The statements returned the ids of the tasks that they changed.
    Tasks(TaskReading),
}

impl Plan {
    fn new(steps: Vec<Step>, reading: Reading) -> Self {
        Self { steps: steps.into_iter().map(Arc::new).collect(), reading }
    }

    /// Plans a write. Nothing is decided here: preconditions are part of the SQL.
    pub(crate) fn of(write: &Write) -> Self {
        let steps = match write {
            Write::AddAgent(agent) => return Self::of_agent(agent),
            Write::AddPool { spec, at } => vec![pools::add(spec, *at)],
            Write::ChangePool { spec } => vec![pools::change(spec)],
            Write::DrainPool { pool } => vec![pools::drain(pool)],
            Write::GatePool { pool, gate } => vec![pools::gate(pool, *gate)],
            Write::PauseAll { paused } => vec![pools::pause_all(*paused)],
            Write::RemovePool { pool } => vec![pools::remove(pool)],
            Write::AddWorker { process_id, pool, capacity, at } => workers::add(*process_id, pool, *capacity, *at),
            Write::IdentifyWorker { process_id, identity } => vec![workers::identify(*process_id, identity)],
            Write::DrainWorker { process_id } => vec![workers::drain(*process_id)],
            Write::EndWorker { process_id, lost, at } => workers::end(*process_id, *lost, *at),
            Write::Assign { agent_id, to, at } => vec![agents::assign(*agent_id, *to, *at)],
            Write::StopAgent { agent_id, reason, at } => vec![agents::stop(*agent_id, *reason, *at)],
            Write::Release { agent_id, epoch, ending, then, at } => {
                vec![agents::release(*agent_id, *epoch, ending, *then, *at)]
            }
            Write::RestartAgent { agent_id, epoch, at } => vec![agents::restart(*agent_id, *epoch, *at)],
            Write::ReviveAgent { agent_id, at } => vec![agents::revive(*agent_id, *at)],
            Write::AddTasks(new) => return Self::of_tasks(tasks::add(new)),
            Write::StartTasks(starts) => return Self::of_tasks(tasks::start(starts)),
            Write::HaltTasks(haltings) => return Self::of_tasks(tasks::halt(haltings)),
            Write::EndTasks(endings) => return Self::of_tasks(tasks::end(endings)),
            Write::SettleTasks(verdicts) => return Self::of_tasks(tasks::settle(verdicts)),
            Write::PromoteTasks(ids) => return Self::of_tasks(tasks::promote(ids)),
            Write::RedriveTasks(ids) => return Self::of_tasks(tasks::redrive(ids)),
            Write::WithdrawTasks(ids) => return Self::of_tasks(tasks::withdraw(ids)),
            Write::AddUsage(added) => added.iter().map(usage::add).collect(),
            Write::Event(event) => vec![events::add(event)],
        };
        Self::new(steps, Reading::Changed)
    }

    fn of_tasks(TaskSteps { steps, reading }: TaskSteps) -> Self {
        Self::new(steps, Reading::Tasks(reading))
    }

    fn of_agent(agent: &NewAgent) -> Self {
        let add = agents::add(agent);
        let id = agent.spec.agent_id;
        match &agent.key {
            None => Self::new(vec![add], Reading::Agent),
            Some(key) => {
                let claim = keys::claim(key, id, &agent.spec.pool_name, agent.at);
                Self::new(vec![claim, add], Reading::KeyedAgent(id))
            }
        }
    }

    /// Reads the answers to this plan's own steps.
    pub(crate) fn outcome(&self, answers: &mut [Answer]) -> Result<Outcome, StoreError> {
        match (&self.reading, answers) {
            (Reading::Tasks(reading), answers) => reading.outcomes(answers).map(Outcome::Tasks),
            (Reading::Changed, [.., last]) if last.changed > 0 => Ok(Outcome::Applied),
            (Reading::Changed, [.., _]) => Ok(Outcome::Unchanged),
            (Reading::Agent, [last]) => added(last),
            (Reading::KeyedAgent(ours), [claim, last]) => match replayed(*ours, claim)? {
                Some(replayed) => Ok(replayed),
                None => added(last),
            },
            _ => Err(StoreError::Corrupt("a write without an answer".to_owned())),
        }
    }
}

/// Reads whose the key is, where that is not the new agent.
fn replayed(ours: AgentId, claim: &mut Answer) -> Result<Option<Outcome>, StoreError> {
    let Some(row) = claim.rows.pop() else { return Ok(None) };
    let (agent_id, body_hash) = keys::read(row.into_fields())?;
    Ok((agent_id != ours).then_some(Outcome::Replayed { agent_id, body_hash }))
}

/// Reads the new agent's row.
fn added(last: &mut Answer) -> Result<Outcome, StoreError> {
    let Some(row) = last.rows.pop() else { return Ok(Outcome::Unchanged) };
    let worker = row.into_fields().text_or_null()?;
    Ok(if worker.is_some() { Outcome::Applied } else { Outcome::Unplaced })
}
