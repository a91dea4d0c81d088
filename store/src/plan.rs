//! From a [`Write`] to its statements, and from their answers to its [`Outcome`].

use muster_domain::AgentId;

use crate::sql::{Answer, Step};
use crate::{NewAgent, Outcome, StoreError, Write, agents, events, keys, pools, workers};

/// The statements of one write, and how to read what they did.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In this order.
    pub(crate) steps: Vec<Step>,
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
}

impl Plan {
    /// Plans a write. Nothing is decided here: preconditions are part of the SQL.
    pub(crate) fn of(write: &Write) -> Self {
        let steps = match write {
            Write::AddAgent(agent) => return Self::of_agent(agent),
            Write::AddPool { spec, at } => vec![pools::add(spec, *at)],
            Write::ChangePool { spec } => vec![pools::change(spec)],
            Write::DrainPool { pool } => vec![pools::drain(pool)],
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
            Write::Event(event) => vec![events::add(event)],
        };
        Self { steps, reading: Reading::Changed }
    }

    fn of_agent(agent: &NewAgent) -> Self {
        let add = agents::add(agent);
        let id = agent.spec.agent_id;
        match &agent.key {
            None => Self { steps: vec![add], reading: Reading::Agent },
            Some(key) => {
                let claim = keys::claim(key, id, &agent.spec.pool_name, agent.at);
                Self { steps: vec![claim, add], reading: Reading::KeyedAgent(id) }
            }
        }
    }

    /// Reads the answers to this plan's own steps.
    pub(crate) fn outcome(&self, answers: &mut [Answer]) -> Result<Outcome, StoreError> {
        let Some((last, before)) = answers.split_last_mut() else {
            return Err(StoreError::Corrupt("a write without an answer".to_owned()));
        };
        if let (Reading::KeyedAgent(ours), Some(claim)) = (&self.reading, before.first_mut())
            && let Some(row) = claim.rows.pop()
        {
            let (agent_id, body_hash) = keys::read(row.into_fields())?;
            if agent_id != *ours {
                return Ok(Outcome::Replayed { agent_id, body_hash });
            }
        }
        match self.reading {
            Reading::Changed if last.changed > 0 => Ok(Outcome::Applied),
            Reading::Changed => Ok(Outcome::Unchanged),
            Reading::Agent | Reading::KeyedAgent(_) => match last.rows.pop() {
                None => Ok(Outcome::Unchanged),
                Some(row) => {
                    let worker = row.into_fields().text_or_null()?;
                    Ok(if worker.is_some() { Outcome::Applied } else { Outcome::Unplaced })
                }
            },
        }
    }
}
