//! From a batch of [`Write`]s to its statements, and from their answers to the [`WriteOutcome`]s.
//!
//! Agents, workers and events come by the hundred as tasks do: writes of one kind share a statement over many rows (`gather`
//! says when). Nothing is decided here: preconditions are part of the SQL.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::AgentId;

use crate::gather::{BulkKind, Gathered, gather};
use crate::sql::{Statement, StatementResult};
use crate::task_steps::{TaskReading, TaskSteps};
use crate::{
    NewAgent, StoreError, Write, WriteOutcome, agents, decisions, executions, keys, lives, pools, tasks, usage, workers,
};

/// The statements of a batch, and how to read what they did.
#[derive(Debug)]
pub(crate) struct StatementPlan {
    parts: Vec<Part>,
    writes: usize,
}

/// Some statements, in this order.
#[derive(Debug)]
pub(crate) struct Part {
    steps: Vec<Arc<Statement>>,
    reading: OutcomeReading,
}

/// How the answers tell the outcomes. Writes are named by their places in the batch.
#[derive(Debug)]
enum OutcomeReading {
    /// The last statement changed a row, or the precondition of this write did not hold.
    Changed(usize),
    /// This write has no precondition.
    Done(usize),
    /// Each row of the last statement is about one of these writes. It returned the ids of those whose precondition held;
    /// of a new agent also its worker, or null.
    Rows(Vec<(Arc<str>, usize)>),
    /// One statement, for the events of these writes: nothing holds them up.
    Events(Vec<usize>),
    /// The same of new agents with keys, each row with its key and the agent's id: the first statement says whose each key is.
    KeyedAgents(Vec<(Arc<str>, AgentId, usize)>),
    /// The last statement returned the new agent's row, and the first says whose the idempotency key is.
    KeyedAgent(AgentId, usize),
    /// The statements returned the ids of the tasks that they changed.
    Tasks(TaskReading, usize),
}

impl StatementPlan {
    /// Plans a batch.
    pub(crate) fn of(writes: &[Write]) -> Self {
        let parts = gather(writes).into_iter().flat_map(|gathered| match gathered {
            Gathered::One(place, write) => vec![Part::of(place, write)],
            Gathered::Many(kind @ BulkKind::AddKeyedAgent, rows) => {
                let keyed = |(key, place)| Some((key, added(writes, place)?, place));
                let part = |(steps, rows): (Vec<Statement>, Vec<(Arc<str>, usize)>)| {
                    Part::new(steps, OutcomeReading::KeyedAgents(rows.into_iter().filter_map(keyed).collect()))
                };
                kind.steps(rows).into_iter().map(part).collect()
            }
            Gathered::Many(kind, rows) => {
                kind.steps(rows).into_iter().map(|(steps, rows)| Part::new(steps, OutcomeReading::Rows(rows))).collect()
            }
            Gathered::Events(steps) => {
                steps.into_iter().map(|(step, places)| Part::new(vec![step], OutcomeReading::Events(places))).collect()
            }
        });
        Self { parts: parts.collect(), writes: writes.len() }
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = &Arc<Statement>> {
        self.parts.iter().flat_map(|part| &part.steps)
    }

    /// Takes the answers to this plan's own steps, and says what became of each write.
    pub(crate) fn outcomes(
        &self,
        answers: &mut impl Iterator<Item = StatementResult>,
    ) -> Result<Vec<WriteOutcome>, StoreError> {
        let mut outcomes = vec![WriteOutcome::Unchanged; self.writes];
        for part in &self.parts {
            let mut own: Vec<StatementResult> = answers.by_ref().take(part.steps.len()).collect();
            part.reading.read(&mut own, &mut outcomes)?;
        }
        Ok(outcomes)
    }
}

impl Part {
    fn new(steps: Vec<Statement>, reading: OutcomeReading) -> Self {
        Self { steps: steps.into_iter().map(Arc::new).collect(), reading }
    }

    /// A write of which there are never many, or that is about many itself.
    fn of(place: usize, write: &Write) -> Self {
        let of_tasks = |TaskSteps { steps, reading }| Self::new(steps, OutcomeReading::Tasks(reading, place));
        if let Some(steps) = unconditional(write) {
            return Self::new(steps, OutcomeReading::Done(place));
        }
        let steps = match write {
            Write::AddTasks(new) => return of_tasks(tasks::add(new)),
            Write::StartTasks(starts) => return of_tasks(tasks::start(starts)),
            Write::HaltTasks(haltings) => return of_tasks(tasks::halt(haltings)),
            Write::EndTasks(endings) => return of_tasks(tasks::end(endings)),
            Write::SettleTasks(verdicts) => return of_tasks(tasks::settle(verdicts)),
            Write::PromoteTasks(ids) => return of_tasks(tasks::promote(ids)),
            Write::RedriveTasks(ids) => return of_tasks(tasks::redrive(ids)),
            Write::WithdrawTasks(ids) => return of_tasks(tasks::withdraw(ids)),
            Write::AddAgent(agent) => return Self::of_agent(place, agent),
            Write::AddPool { spec, at } => vec![decisions::forget(&spec.pool_name), pools::add(spec, *at)],
            Write::ChangePool { spec } => vec![pools::change(spec)],
            Write::DrainPool { pool } => vec![pools::drain(pool)],
            Write::GatePool { pool, gate } => vec![pools::gate(pool, *gate)],
            Write::ScalePool { pool, target } => vec![pools::scale(pool, target)],
            Write::InterruptWorker { process_id, interruption } => vec![workers::interrupt(*process_id, interruption)],
            Write::AddDecision(record) => vec![decisions::add(record)],
            Write::EndDecision { decision_id, state, result, at } => {
                vec![decisions::end(*decision_id, *state, result, *at)]
            }
            Write::PauseAll { paused } => vec![pools::pause_all(*paused)],
            Write::RemovePool { pool } => vec![pools::remove(pool)],
            Write::AddUsage(added) => usage::add(added),
            Write::ShiftWaits { pool, by_millis, step } => vec![lives::shift(pool.as_ref(), *by_millis, step)],
            // Those are above.
            Write::AddExecutions(_) | Write::NoteLife(_) => Vec::new(),
            // Those are gathered.
            Write::AddWorker { .. }
            | Write::IdentifyWorker { .. }
            | Write::DrainWorker { .. }
            | Write::EndWorker { .. }
            | Write::Assign { .. }
            | Write::StopAgent { .. }
            | Write::Release { .. }
            | Write::RestartAgent { .. }
            | Write::ReviveAgent { .. }
            | Write::Event(_) => Vec::new(),
        };
        Self::new(steps, OutcomeReading::Changed(place))
    }

    fn of_agent(place: usize, agent: &NewAgent) -> Self {
        let add = agents::add(agent);
        let id = agent.spec.agent_id;
        match &agent.key {
            None => Self::new(vec![add], OutcomeReading::Rows(vec![(id.to_string().into(), place)])),
            Some(key) => {
                let claim = keys::claim(key, id, &agent.spec.pool_name, agent.at).with_next();
                Self::new(vec![claim, add], OutcomeReading::KeyedAgent(id, place))
            }
        }
    }
}

impl OutcomeReading {
    fn read(&self, answers: &mut [StatementResult], outcomes: &mut [WriteOutcome]) -> Result<(), StoreError> {
        match (self, &mut *answers) {
            (Self::Tasks(reading, place), answers) => {
                outcomes[*place] = reading.outcomes(answers).map(WriteOutcome::Tasks)?;
            }
            (Self::Changed(place), [.., last]) if last.changed > 0 => outcomes[*place] = WriteOutcome::Applied,
            (Self::Changed(_), _) => {}
            (Self::Done(place), _) => outcomes[*place] = WriteOutcome::Applied,
            (Self::Rows(rows), [.., last]) => read_rows(rows, last, outcomes)?,
            (Self::Events(places), [_]) => places.iter().for_each(|place| outcomes[*place] = WriteOutcome::Applied),
            (Self::KeyedAgents(rows), [claims, last]) => read_keyed(rows, claims, last, outcomes)?,
            (Self::KeyedAgent(ours, place), [claim, last]) => {
                let key = [(ours.to_string().into(), *place)];
                match replayed(*ours, claim)? {
                    Some(replayed) => outcomes[*place] = replayed,
                    None => read_rows(&key, last, outcomes)?,
                }
            }
            _ => return Err(StoreError::Corrupt("a write without an answer".to_owned())),
        }
        self.read_refused(answers, outcomes);
        Ok(())
    }

    /// What is left out for a value is told of its own write only. Tasks have read theirs themselves.
    fn read_refused(&self, answers: &mut [StatementResult], outcomes: &mut [WriteOutcome]) {
        for refusal in answers.iter_mut().flat_map(|answer| std::mem::take(&mut answer.refused)) {
            let place = match self {
                Self::Changed(place) | Self::Done(place) | Self::KeyedAgent(_, place) => Some(place),
                Self::Rows(rows) => rows.get(refusal.row).map(|(_, place)| place),
                Self::KeyedAgents(rows) => rows.get(refusal.row).map(|(.., place)| place),
                Self::Events(places) => places.get(refusal.row),
                Self::Tasks(..) => None,
            };
            if let Some(place) = place {
                outcomes[*place] = WriteOutcome::Refused(refusal.why);
            }
        }
    }
}

/// The statements of a write that is carried out whatever there is.
fn unconditional(write: &Write) -> Option<Vec<Statement>> {
    Some(match write {
        Write::AddExecutions(added) => vec![executions::add(added)],
        Write::NoteLife(life) => vec![lives::note(life)],
        _ => return None,
    })
}

/// Reads the rows that came back: an id, and of a new agent its worker.
fn read_rows(
    rows: &[(Arc<str>, usize)],
    answer: &mut StatementResult,
    outcomes: &mut [WriteOutcome],
) -> Result<(), StoreError> {
    let mut told = HashMap::with_capacity(rows.len());
    for row in std::mem::take(&mut answer.rows) {
        let is_new = row.0.len() > 1;
        let mut fields = row.into_fields();
        let id = fields.shared_text()?;
        let unplaced = is_new && fields.text_or_null()?.is_none();
        told.insert(id, if unplaced { WriteOutcome::Unplaced } else { WriteOutcome::Applied });
    }
    for (id, place) in rows {
        if let Some(outcome) = told.remove(id) {
            outcomes[*place] = outcome;
        }
    }
    Ok(())
}

/// The agent that this write makes.
fn added(writes: &[Write], place: usize) -> Option<AgentId> {
    match writes.get(place) {
        Some(Write::AddAgent(agent)) => Some(agent.spec.agent_id),
        _ => None,
    }
}

/// Reads whose the keys are, and what was made of those that are the new agents' own.
fn read_keyed(
    rows: &[(Arc<str>, AgentId, usize)],
    claims: &mut StatementResult,
    last: &mut StatementResult,
    outcomes: &mut [WriteOutcome],
) -> Result<(), StoreError> {
    let mut holders = HashMap::with_capacity(rows.len());
    for row in std::mem::take(&mut claims.rows) {
        let (key, agent_id, body_hash) = keys::read_many::<AgentId>(row.into_fields())?;
        holders.insert(key, (agent_id, body_hash));
    }
    let mut made = Vec::with_capacity(rows.len());
    for (key, ours, place) in rows {
        match holders.get(key) {
            Some((agent_id, body_hash)) if agent_id != ours => {
                outcomes[*place] = WriteOutcome::Replayed { agent_id: *agent_id, body_hash: *body_hash };
            }
            _ => made.push((ours.to_string().into(), *place)),
        }
    }
    read_rows(&made, last, outcomes)
}

/// Reads whose the key is, where that is not the new agent.
fn replayed(ours: AgentId, claim: &mut StatementResult) -> Result<Option<WriteOutcome>, StoreError> {
    let Some(row) = claim.rows.pop() else { return Ok(None) };
    let (agent_id, body_hash) = keys::read(row.into_fields())?;
    Ok((agent_id != ours).then_some(WriteOutcome::Replayed { agent_id, body_hash }))
}
