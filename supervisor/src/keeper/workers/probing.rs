//! Asks silent workers at their doors how they are, beside the turn: a hung one must not hold it up. Those that nobody can ask or kill
//! are named.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::{Command, Envelope, EventKind, ProcessId};
use muster_policy::worker::{Answer, Kill, Probe};

use super::super::mailbox::WorkerNews;
use super::reach::{Order, Unreachable, Way};
use super::{Pool, Round, Workers};
use crate::alerts::AlertKind;
use crate::directory::Mailbox;
use crate::launch::{RunningWorker, Said, Sent};

/// What asking a worker has shown.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) state: Probe,
    asked_at: Option<Instant>,
    /// What was said at its door, or why nothing was.
    words: String,
}

impl Default for Probing {
    fn default() -> Self {
        Self { state: Probe::NotAsked, asked_at: None, words: String::new() }
    }
}

impl Probing {
    fn begin(&mut self, at: Instant) {
        self.state = Probe::UnderWay;
        self.asked_at = Some(at);
    }

    fn end(&mut self, said: Said) {
        let (answer, words) = match said {
            Said::Lives(vitals) => (Answer::Lives, vitals.describe()),
            Said::Silence => (Answer::Silence, String::new()),
            Said::NoDoor => (Answer::NoDoor, String::new()),
            Said::Unasked(why) => (Answer::Unasked, format!("it could not be asked at its door: {why}")),
        };
        self.words = words;
        self.state = self.asked_at.take().map_or(Probe::NotAsked, |at| Probe::Over(at, answer));
    }
}

impl Workers {
    pub(super) fn probe(&mut self, id: ProcessId, patience: Duration, at: Instant) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        worker.contact.probing.begin(at);
        match worker.process.way.to() {
            Some(process) => drop(tokio::spawn(ask(id, process.clone(), patience, self.deps.keeper.clone()))),
            // It is not started yet: there is nowhere to knock.
            None => worker.contact.probing.end(Said::NoDoor),
        }
    }

    /// A worker was asked at its door.
    pub(in crate::keeper) fn probed(&mut self, id: ProcessId, said: Said) {
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
    pub(super) fn name_unreachable(&mut self, id: ProcessId, reason: &str, pool: &Pool, round: &mut Round) {
        let why = match self.get(&id).map(|worker| &worker.process.way) {
            Some(Way::None(why)) => why.clone(),
            _ => reason.to_owned(),
        };
        self.set_unreachable(id, &why, pool, round);
    }

    /// What came of telling a worker something past the registry.
    pub(in crate::keeper) fn told(&mut self, id: ProcessId, order: Order, sent: Sent, pool: &Pool, round: &mut Round) {
        let Some(worker) = self.get_mut(id) else { return };
        let Sent::Unreachable(why) = sent else { return self.reachable(id, pool) };
        match order {
            Order::Kill => worker.process.kill = Kill::Failed(round.now),
            // The registry may reach it all the same.
            Order::Ask => {
                round.commands.push((id, Envelope::new(self.deps.fence, Command::Shutdown { graceful: true })))
            }
        }
        self.set_unreachable(id, &why, pool, round);
    }

    /// Says that nobody can ask or kill it. Words that are said already are not repeated.
    fn set_unreachable(&mut self, id: ProcessId, why: &str, pool: &Pool, round: &mut Round) {
        let Some(worker) = self.get(&id) else { return };
        let name = &pool.spec.pool_name;
        let state = Unreachable::of(worker, name, why, round.now, round.at);
        let known = worker.contact.unreachable.as_ref().map(|known| known.words.as_str());
        if known == Some(state.words.as_str()) {
            return;
        }
        let words = state.words.clone();
        if known.is_none() {
            tracing::warn!(process.id = %id, pool.name = %name, "{words}");
            round.notes.push(pool.worker_event(EventKind::WorkerUnreachable, id, round.at, words.clone()));
            // They get no tasks any more.
            round.touched.extend(worker.held.iter().copied());
        }
        self.deps.alerts.raise(AlertKind::WorkerUnreachable, Some(name), &id.to_string(), words.clone());
        self.deps.listener.set_unreachable(id, Some(words));
        self.change(id, |worker| worker.contact.unreachable = Some(state));
    }

    /// That is over, if it was so.
    pub(super) fn reachable(&mut self, id: ProcessId, pool: &Pool) {
        if self.get(&id).is_none_or(|worker| !worker.is_unreachable()) {
            return;
        }
        let name = &pool.spec.pool_name;
        tracing::info!(process.id = %id, pool.name = %name, "a worker is within reach again");
        self.deps.alerts.clear(AlertKind::WorkerUnreachable, Some(name), &id.to_string());
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
