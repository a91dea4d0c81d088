//! Asks silent workers at their doors how they are, beside the turn: a hung one must not hold it up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::ProcessId;
use muster_policy::worker::{Answer, Probe};

use super::super::mailbox::WorkerNews;
use super::{Pool, Workers};
use crate::directory::Mailbox;
use crate::launch::{RunningWorker, Said};

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
        match &worker.process.handle {
            Some(process) => drop(tokio::spawn(ask(id, process.clone(), patience, self.deps.keeper.clone()))),
            // Of another host, or not started yet: there is nowhere to knock.
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
