//! Asks silent workers at their probe socket how they are, beside the turn: a hung one must not hold it up. Those that nobody can ask or kill
//! are named.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::{EventKind, ProcessId};
use muster_policy::worker::{Kill, ProbeResult, ProbeState};

use super::super::mailbox::WorkerNews;
use super::reach::Order;
use super::way::{Unreachable, Way};
use super::{Pool, PoolWorkers, Turn};
use crate::alerts::AlertKind;
use crate::directory::Mailbox;
use crate::launch::{RunningWorker, Sent, WorkerProbe};

/// What asking a worker has shown.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) state: ProbeState,
    asked_at: Option<Instant>,
    /// What was said at its probe socket, or why nothing was.
    words: String,
}

impl Default for Probing {
    fn default() -> Self {
        Self { state: ProbeState::NotAsked, asked_at: None, words: String::new() }
    }
}

impl Probing {
    fn begin(&mut self, at: Instant) {
        self.state = ProbeState::UnderWay;
        self.asked_at = Some(at);
    }

    fn end(&mut self, said: WorkerProbe) {
        let (answer, words) = match said {
            WorkerProbe::Lives(answer) => (ProbeResult::Lives, answer.describe()),
            WorkerProbe::Silence => (ProbeResult::Silence, String::new()),
            WorkerProbe::NoSocket => (ProbeResult::NoSocket, String::new()),
            WorkerProbe::Unasked(why) => {
                (ProbeResult::Unasked, format!("it could not be asked at its probe socket: {why}"))
            }
        };
        self.words = words;
        self.state = self.asked_at.take().map_or(ProbeState::NotAsked, |at| ProbeState::Over(at, answer));
    }
}

impl PoolWorkers {
    pub(super) fn probe(&mut self, id: ProcessId, patience: Duration, at: Instant) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        worker.contact.probing.begin(at);
        match worker.process.way.to() {
            Some(process) => drop(tokio::spawn(ask(id, process.clone(), patience, self.deps.keeper.clone()))),
            // It is not started yet: there is nowhere to knock.
            None => worker.contact.probing.end(WorkerProbe::NoSocket),
        }
    }

    /// A worker was asked at its probe socket.
    pub(in crate::keeper) fn probed(&mut self, id: ProcessId, said: WorkerProbe) {
        if let Some(worker) = self.get_mut(id) {
            worker.contact.probing.end(said);
        }
    }

    /// It lives and nobody hears it. It gets no more agents, and is shown on the health board until it is heard again.
    pub(super) fn name_unheard(&mut self, id: ProcessId, reason: &str, pool: &Pool) {
        let Some(worker) = self.get(&id) else { return };
        let pool = &pool.spec.pool_name;
        let trouble = format!("{id} of the pool {pool} ({reason}; {})", worker.contact.probing.words);
        self.deps.listener.name(id, trouble);
        self.note_heard(id, false);
    }

    /// It is silent, or does not end, and there is no way to it. Its agents keep their places, since it may live. Said until it is heard
    /// again, or somebody who may prove it says that it is dead.
    pub(super) fn name_unreachable(&mut self, id: ProcessId, reason: &str, pool: &Pool, turn: &mut Turn) {
        let why = match self.get(&id).map(|worker| &worker.process.way) {
            Some(Way::None(why)) => why.clone(),
            Some(Way::Starting) => "its start has not come to an end, in success or in failure".to_owned(),
            Some(Way::To(_)) | None => reason.to_owned(),
        };
        self.set_unreachable(id, &why, pool, turn);
    }

    /// What came of telling a worker something past the registry.
    pub(in crate::keeper) fn told(&mut self, id: ProcessId, order: Order, sent: Sent, pool: &Pool, turn: &mut Turn) {
        let Some(worker) = self.get_mut(id) else { return };
        let why = match sent {
            Sent::Unreachable(why) => why,
            // That one hears of its end that was killed before is no news.
            Sent::Delivered if order == Order::Ask && worker.process.kill != Kill::NotSent => return,
            Sent::Delivered => return self.reachable(id, pool, turn),
            // What is left to come is the proof of its death.
            Sent::Gone => {
                worker.process.kill = Kill::Gone(turn.now);
                return self.forget_unreachable(id, pool);
            }
        };
        match order {
            Order::Kill => worker.process.kill = Kill::Failed(turn.now),
            // The registry may reach it all the same.
            Order::Ask => turn.commands.push(self.shutdown(id, true)),
        }
        self.set_unreachable(id, &why, pool, turn);
    }

    /// Says that nobody can ask or kill it. Words that are said already are not repeated.
    pub(super) fn set_unreachable(&mut self, id: ProcessId, why: &str, pool: &Pool, turn: &mut Turn) {
        let Some(worker) = self.get(&id) else { return };
        let name = &pool.spec.pool_name;
        let state = Unreachable::of(worker, name, why, turn.now, turn.at);
        let known = worker.contact.unreachable.as_ref().map(|known| known.words.as_str());
        if known.is_none() {
            let words = &state.words;
            tracing::warn!(process.id = %id, pool.name = %name, "{words}");
            turn.notes.push(pool.worker_event(EventKind::WorkerUnreachable, id, turn.at, words.clone()));
            // They get no tasks any more.
            turn.touched.extend(worker.held.iter().copied());
        }
        if known != Some(state.words.as_str()) {
            self.deps.alerts.raise(AlertKind::WorkerUnreachable, Some(name), &id.to_string(), state.words.clone());
            self.deps.listener.set_unreachable(id, Some(state.words.clone()));
        }
        match (known.is_some(), self.get_mut(id)) {
            // Whether it is so, decides over its slots; the words don't.
            (true, Some(worker)) => worker.contact.unreachable = Some(state),
            _ => self.change(id, |worker| worker.contact.unreachable = Some(state)),
        }
    }

    /// That is over, if it was so.
    pub(super) fn reachable(&mut self, id: ProcessId, pool: &Pool, turn: &mut Turn) {
        let Some(worker) = self.get(&id).filter(|worker| worker.is_unreachable()) else { return };
        // They get tasks again.
        turn.touched.extend(worker.held.iter().copied());
        tracing::info!(process.id = %id, pool.name = %pool.spec.pool_name, "a worker is within reach again");
        turn.notes.push(pool.worker_event(EventKind::WorkerReachable, id, turn.at, String::new()));
        self.forget_unreachable(id, pool);
    }

    /// Nothing more is said of that: it is within reach again, or over.
    pub(super) fn forget_unreachable(&mut self, id: ProcessId, pool: &Pool) {
        self.deps.alerts.clear(AlertKind::WorkerUnreachable, Some(&pool.spec.pool_name), &id.to_string());
        self.deps.listener.set_unreachable(id, None);
        self.change(id, |worker| worker.contact.unreachable = None);
    }

    /// Notes whether a worker can be heard. One that can't gets no agents.
    pub(super) fn note_heard(&mut self, id: ProcessId, heard: bool) {
        if self.get(&id).is_some_and(|worker| worker.contact.unheard == heard) {
            self.change(id, |worker| worker.contact.unheard = !heard);
        }
    }
}

async fn ask(id: ProcessId, process: Arc<dyn RunningWorker>, patience: Duration, keeper: Mailbox) {
    let said = process.probe(patience).await;
    // A keeper that has ended judges nobody.
    drop(keeper.send(WorkerNews::Probed(id, said).into()));
}
