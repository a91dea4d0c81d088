//! Which writes of a batch share a statement.
//!
//! Writes of one kind are gathered from the whole batch, since a turn of a keeper mixes them: a hundred agents that leave, each
//! with its event. What is gathered is carried out together, kind by kind in the order in which the kinds came first. So a
//! write joins the others only where that changes nothing: as soon as it is about something that another kind is about too,
//! what was gathered so far goes first.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::{AgentId, ProcessId};

use crate::sql::{Batched, SqlValue, Statement};
use crate::{Write, agents, events, keys, workers};

/// A part of a batch.
pub(crate) enum Gathered<'a> {
    /// A write for itself, with its place in the batch.
    One(usize, &'a Write),
    /// Writes of one kind.
    Many(BulkKind, Vec<BulkRow>),
    /// Events, with the places of those that each statement is about. They are last: nothing depends on them, and they keep
    /// their order.
    Events(Vec<(Statement, Vec<usize>)>),
}

/// A write as a row of a statement: its place in the batch, the id that comes back, its fields.
pub(crate) type BulkRow = (usize, Arc<str>, Vec<SqlValue>);

/// Some statements, and of which writes the rows of each of them are.
type BulkStatements = (Vec<Statement>, Vec<(Arc<str>, usize)>);

/// Writes that come by the hundred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BulkKind {
    AddWorker,
    IdentifyWorker,
    DrainWorker,
    EndWorker,
    AddAgent,
    /// With an idempotency key. Its rows are those of the claim, and behind them those of the agent.
    AddKeyedAgent,
    Assign,
    StopAgent,
    Release,
    RestartAgent,
    ReviveAgent,
}

/// What a write is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum WriteSubject {
    Agent(AgentId),
    Worker(ProcessId),
    /// Slots of workers: a release frees one without naming the worker.
    Slots,
}

impl BulkKind {
    /// The statements over these rows. Two kinds count their workers first, in a statement over the same rows.
    pub(crate) fn steps(self, mut rows: Vec<BulkRow>) -> Vec<BulkStatements> {
        if self == Self::AddKeyedAgent {
            let claims = |(place, key, fields): &mut BulkRow| {
                (*place, key.clone(), fields.drain(..keys::CLAIM_FIELDS).collect())
            };
            let claims: Vec<BulkRow> = rows.iter_mut().map(claims).collect();
            let claims = keys::CLAIM_MANY.steps(claims.into_iter()).into_iter().map(|(step, _)| step.with_next());
            let own = self.text().steps(rows.into_iter());
            return claims.zip(own).map(|(claim, (step, told))| (vec![claim, step], told)).collect();
        }
        let counts = match self {
            Self::AddWorker => Some(&workers::COUNT_SPAWNED),
            Self::EndWorker => Some(&workers::COUNT_TERMINATED),
            _ => None,
        };
        let counts = counts.map(|text| text.steps(rows.iter().cloned())).unwrap_or_default();
        let mut counts = counts.into_iter().map(|(step, _)| step.with_next());
        let own = self.text().steps(rows.into_iter());
        own.into_iter().map(|(step, told)| (counts.next().into_iter().chain([step]).collect(), told)).collect()
    }

    fn text(self) -> &'static Batched {
        match self {
            Self::AddWorker => &workers::ADD,
            Self::IdentifyWorker => &workers::IDENTIFY,
            Self::DrainWorker => &workers::DRAIN,
            Self::EndWorker => &workers::END,
            Self::AddAgent => &agents::ADD_MANY,
            Self::AddKeyedAgent => &agents::ADD_KEYED,
            Self::Assign => &agents::ASSIGN,
            Self::StopAgent => &agents::STOP,
            Self::Release => &agents::RELEASE,
            Self::RestartAgent => &agents::RESTART,
            Self::ReviveAgent => &agents::REVIVE,
        }
    }
}

/// What is gathered of a batch so far.
#[derive(Default)]
struct Gathering<'a> {
    done: Vec<Gathered<'a>>,
    kinds: Vec<(BulkKind, Vec<BulkRow>)>,
    about: HashMap<WriteSubject, BulkKind>,
}

/// Divides a batch.
pub(crate) fn gather(writes: &[Write]) -> Vec<Gathered<'_>> {
    let mut gathering = Gathering::default();
    let mut told = Vec::new();
    for (place, write) in writes.iter().enumerate() {
        match write {
            Write::Event(event) => told.push((place, event)),
            write => match BulkWrite::of(place, write) {
                Some(item) => gathering.add(item),
                None => {
                    gathering.finish(writes);
                    gathering.done.push(Gathered::One(place, write));
                }
            },
        }
    }
    gathering.finish(writes);
    if !told.is_empty() {
        gathering.done.push(Gathered::Events(events::add(&told)));
    }
    gathering.done
}

impl<'a> Gathering<'a> {
    fn add(&mut self, BulkWrite { kind, about, row }: BulkWrite) {
        let about = about.into_iter().flatten();
        if about.clone().any(|what| self.about.get(&what).is_some_and(|other| *other != kind)) {
            self.close();
        }
        self.about.extend(about.map(|what| (what, kind)));
        match self.kinds.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, rows)) => rows.push(row),
            None => self.kinds.push((kind, vec![row])),
        }
    }

    /// What comes from now on is carried out after what was gathered.
    fn close(&mut self) {
        self.about.clear();
        self.done.extend(self.kinds.drain(..).map(|(kind, rows)| Gathered::Many(kind, rows)));
    }

    /// The same, where what comes is of no kind. A single new agent has a shorter statement.
    fn finish(&mut self, writes: &'a [Write]) {
        self.close();
        for gathered in &mut self.done {
            if let Gathered::Many(BulkKind::AddAgent | BulkKind::AddKeyedAgent, rows) = gathered
                && let [(place, ..)] = rows[..]
            {
                *gathered = Gathered::One(place, &writes[place]);
            }
        }
    }
}

/// A write that can be gathered.
struct BulkWrite {
    kind: BulkKind,
    about: [Option<WriteSubject>; 3],
    row: BulkRow,
}

impl BulkWrite {
    /// None where there are never many of such a write.
    fn of(place: usize, write: &Write) -> Option<Self> {
        match write {
            Write::AddWorker { .. }
            | Write::IdentifyWorker { .. }
            | Write::DrainWorker { .. }
            | Write::EndWorker { .. } => Self::of_worker(place, write),
            Write::AddAgent(agent) if agent.key.is_none() => {
                let fields = agents::add_fields(place, agent);
                let item = Self::agent(BulkKind::AddAgent, place, agent.spec.agent_id, fields);
                Some(item.and(agent.worker.map(WriteSubject::Worker)).and(Some(WriteSubject::Slots)))
            }
            Write::AddAgent(agent) => {
                let (key, spec) = (agent.key.as_ref()?, &agent.spec);
                let mut fields = keys::claim_fields(key, spec.agent_id, &spec.pool_name, agent.at);
                fields.extend(agents::add_fields(place, agent));
                let mut item = Self::agent(BulkKind::AddKeyedAgent, place, spec.agent_id, fields);
                // Of two with the same key the second one is for the next statement.
                item.row.1 = keys::name_of(&key.caller, &key.route, &key.key);
                Some(item.and(agent.worker.map(WriteSubject::Worker)).and(Some(WriteSubject::Slots)))
            }
            Write::Assign { agent_id, to, at } => {
                let fields = agents::assign_fields(place, *agent_id, *to, *at);
                let item = Self::agent(BulkKind::Assign, place, *agent_id, fields);
                Some(item.and(Some(WriteSubject::Worker(to.process_id))).and(Some(WriteSubject::Slots)))
            }
            Write::Release { agent_id, epoch, ending, then, at } => {
                let fields = agents::release_fields(*agent_id, *epoch, ending, *then, *at);
                Some(Self::agent(BulkKind::Release, place, *agent_id, fields).and(Some(WriteSubject::Slots)))
            }
            Write::StopAgent { agent_id, reason, at } => {
                Some(Self::agent(BulkKind::StopAgent, place, *agent_id, agents::stop_fields(*agent_id, *reason, *at)))
            }
            Write::RestartAgent { agent_id, epoch, at } => {
                let fields = agents::restart_fields(*agent_id, *epoch, *at);
                Some(Self::agent(BulkKind::RestartAgent, place, *agent_id, fields))
            }
            Write::ReviveAgent { agent_id, at } => {
                Some(Self::agent(BulkKind::ReviveAgent, place, *agent_id, agents::revive_fields(*agent_id, *at)))
            }
            _ => None,
        }
    }

    fn of_worker(place: usize, write: &Write) -> Option<Self> {
        let (kind, id, fields) = match write {
            Write::AddWorker { process_id, pool, capacity, key, spec, at } => {
                let fields = workers::add_fields(*process_id, pool, *capacity, key, spec, *at);
                (BulkKind::AddWorker, *process_id, fields)
            }
            Write::IdentifyWorker { process_id, identity } => {
                (BulkKind::IdentifyWorker, *process_id, workers::identify_fields(*process_id, identity))
            }
            Write::DrainWorker { process_id } => (BulkKind::DrainWorker, *process_id, vec![SqlValue::text(process_id)]),
            Write::EndWorker { process_id, lost, ending, at } => {
                (BulkKind::EndWorker, *process_id, workers::end_fields(*process_id, *lost, ending, *at))
            }
            _ => return None,
        };
        let row = (place, id.to_string().into(), fields);
        Some(Self { kind, about: [Some(WriteSubject::Worker(id)), None, None], row })
    }

    fn agent(kind: BulkKind, place: usize, id: AgentId, fields: Vec<SqlValue>) -> Self {
        Self { kind, about: [Some(WriteSubject::Agent(id)), None, None], row: (place, id.to_string().into(), fields) }
    }

    /// It is about this too.
    fn and(mut self, about: Option<WriteSubject>) -> Self {
        if let Some(free) = self.about.iter_mut().find(|about| about.is_none()) {
            *free = about;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{
        Assignment, Cause, Ending, Epoch, EventDraft, EventKind, StopReason, Timestamp, WorkerCause, WorkerEnding,
    };

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1);

    fn assign(process_id: ProcessId) -> Write {
        Write::Assign { agent_id: AgentId::generate(), to: Assignment { process_id, epoch: Epoch(1) }, at: AT }
    }

    fn release(agent_id: AgentId) -> Write {
        let ending = Ending { cause: Cause::WorkerLost, last_output: String::new(), at: AT };
        Write::Release { agent_id, epoch: Epoch(1), ending, then: None, at: AT }
    }

    fn end(process_id: ProcessId) -> Write {
        let ending = WorkerEnding::new(WorkerCause::Hung, String::new(), String::new());
        Write::EndWorker { process_id, lost: true, ending, at: AT }
    }

    fn drain(process_id: ProcessId) -> Write {
        Write::DrainWorker { process_id }
    }

    fn stop(agent_id: AgentId) -> Write {
        Write::StopAgent { agent_id, reason: StopReason::Requested, at: AT }
    }

    fn event() -> Write {
        Write::Event(EventDraft {
            at: AT,
            kind: EventKind::WorkerLost,
            pool_name: None,
            agent_id: None,
            process_id: None,
            reason: String::new(),
        })
    }

    /// The kinds in their order, with the places of their writes.
    fn order(writes: &[Write]) -> Vec<(Option<BulkKind>, Vec<usize>)> {
        let told = |gathered| match gathered {
            Gathered::One(place, _) => (None, vec![place]),
            Gathered::Many(kind, rows) => (Some(kind), rows.into_iter().map(|(place, ..)| place).collect()),
            Gathered::Events(steps) => (None, steps.into_iter().flat_map(|(_, places)| places).collect()),
        };
        gather(writes).into_iter().map(told).collect()
    }

    #[test]
    fn what_is_mixed_is_gathered_and_events_are_last() {
        let (a, b, w, v) = (AgentId::generate(), AgentId::generate(), ProcessId::generate(), ProcessId::generate());
        let writes = [release(a), event(), end(w), event(), release(b), event(), end(v), event()];
        let expected =
            [(Some(BulkKind::Release), vec![0, 4]), (Some(BulkKind::EndWorker), vec![2, 6]), (None, vec![1, 3, 5, 7])];
        assert_eq!(order(&writes), expected);
    }

    #[test]
    fn what_depends_on_an_earlier_write_of_another_kind_comes_after_it() {
        let (a, w) = (AgentId::generate(), ProcessId::generate());
        let in_order = [
            [drain(w), assign(w)],
            [assign(w), drain(w)],
            [drain(w), end(w)],
            [stop(a), release(a)],
            [release(a), stop(a)],
            [release(a), assign(w)],
            [assign(w), release(a)],
        ];
        for pair in in_order {
            // A third one of the first kind does not come before the second.
            let writes = [pair[0].clone(), pair[1].clone(), pair[0].clone()];
            let places: Vec<_> = order(&writes).into_iter().map(|(_, places)| places).collect();
            assert_eq!(places, [[0], [1], [2]], "{pair:?}");
        }
    }
}
