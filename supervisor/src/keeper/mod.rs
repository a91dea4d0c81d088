//! A keeper: the one task that owns a pool's model.
//!
//! All others hold its mailbox. A turn takes whatever has come (under load many messages at once), and goes through the
//! same steps, whether it was woken by a request, by news or by its timer:
//!
//! 1. sort the messages into a [`Round`]: transitions that were decided, agents to place;
//! 2. commit the transitions, then change the model ([`moves`]);
//! 3. place whoever needs a slot, in one commit with the new workers ([`placing`]);
//! 4. do what there is to do with tasks: ends, new ones, who gets which ([`tasks`]), in one commit;
//! 5. send the commands that are due, first time or again ([`sending`]), and answer those who wait.
//!
//! When a keeper's task ends or panics its mailbox closes: requests fail with `Stopping`, and the supervisor ends, so
//! that a successor adopts what lives. Agents in worker processes do not notice.

mod adopting;
pub(crate) mod agent;
mod aside;
mod death;
mod doubt;
mod ending;
mod hearing;
mod intake;
pub(crate) mod mailbox;
mod model;
mod moves;
mod placing;
mod probing;
mod repeats;
mod reports;
mod sending;
mod task_turn;
pub(crate) mod tasks;
mod time;
mod troubles;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{AgentId, EventDraft, ProcessId, Timestamp};
use muster_policy::starts::Starts;
use muster_registry::ReportPost;
use muster_store::{AgentRow, Outcome, PoolRow, Write};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::adopting::Found;
use self::adopting::adopt;
use self::agent::Agent;
pub(crate) use self::agent::view_of_row;
use self::aside::Aside;
use self::mailbox::{Ask, Look, SpawnAsk};
use self::model::Model;
use self::moves::Move;
use self::tasks::Tasks;
use self::time::Time;
use self::troubles::Troubles;
use crate::clock;
use crate::context::Context;
use crate::directory::LiveSpec;
use crate::error::SupervisorError;
use crate::view::Lack;

/// Messages taken in one turn at the most: bounds a transaction.
const LARGEST_TURN: usize = 512;

/// How long an event may wait for a commit that takes it along.
const EVENT_DELAY: Duration = Duration::from_millis(50);

pub(crate) struct Keeper {
    context: Arc<Context>,
    mailbox: mpsc::UnboundedSender<Ask>,
    model: Model,
    /// The pool's tasks.
    tasks: Tasks,
    unsaved: Unsaved,
    time: Time,
    /// Starts of workers that failed, and when the next may be tried.
    starts: Starts,
    troubles: Troubles,
    /// Those who want to see something at the end of the turn.
    looks: Vec<Look>,
    life: Life,
}

/// What was seen and decided, and the store does not have yet.
#[derive(Default)]
struct Unsaved {
    moves: Vec<Move>,
    /// What the store refuses.
    refused: Aside<Move>,
    /// Events that the next commit takes along, and since when the oldest waits.
    notes: Vec<EventDraft>,
    notes_since: Option<Instant>,
    /// Stream entries of reports that were taken, and the numbers up to which each worker may forget its own, until
    /// what follows from them is committed.
    entries: Vec<ReportPost>,
    settled: Vec<(ProcessId, u64)>,
    /// The store may know something else than the model: read it again.
    doubt: bool,
}

/// How a keeper comes to its end.
#[derive(Default)]
struct Life {
    /// Whether the supervisor stops, and who waits for the workers' end.
    is_stopping: bool,
    stopping: Option<oneshot::Sender<()>>,
    removal: Option<Removal>,
    finished: bool,
}

/// A pool on its way out.
struct Removal {
    graceful: bool,
    replies: Vec<oneshot::Sender<Result<(), SupervisorError>>>,
}

/// One turn.
pub(crate) struct Round {
    now: Instant,
    at: Timestamp,
    moves: Vec<Move>,
    spawns: Vec<SpawnAsk>,
    /// Agents to look at in the last step.
    touched: Vec<AgentId>,
}

impl Keeper {
    pub(crate) fn new(
        context: Arc<Context>,
        mailbox: mpsc::UnboundedSender<Ask>,
        (pool, spec): (PoolRow, LiveSpec),
        agents: Vec<AgentRow>,
        workers: Vec<Found>,
    ) -> Self {
        let now = clock::now();
        let removal = pool.draining.then(|| Removal { graceful: true, replies: Vec::new() });
        let mut model = Model::new(pool, spec, now);
        for found in workers {
            adopt(&mut model, found, &context, &mailbox, now);
        }
        for row in agents {
            model.put_agent(Agent::from_row(row), now);
        }
        Self {
            tasks: Tasks::new(context.of_tasks(), &model.spec.config, now),
            time: Time::new(&context, now),
            troubles: Troubles::new(context.alerts.clone(), model.spec.pool_name.clone()),
            context,
            mailbox,
            model,
            unsaved: Unsaved::default(),
            looks: Vec::new(),
            starts: Starts::default(),
            life: Life { removal, ..Life::default() },
        }
    }

    /// Runs until the pool is gone or the supervisor has stopped.
    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Ask>) {
        let mut asks = Vec::new();
        let fenced = self.context.fenced.clone();
        while !self.life.finished {
            let wake = tokio::time::Instant::from_std(self.next_wake());
            tokio::select! {
                biased;
                // Nothing is to go out under a fence that is over, not even a command that is sent again.
                () = fenced.cancelled() => break,
                taken = inbox.recv_many(&mut asks, LARGEST_TURN) => if taken == 0 { break },
                () = self.tasks.has_room_elsewhere() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            self.turn(std::mem::take(&mut asks)).await;
        }
        inbox.close();
        while let Ok(ask) = inbox.try_recv() {
            placing::kill_unheard(ask);
        }
        if fenced.is_cancelled() {
            self.kill_unvouched();
        }
        // What they asked for is stored, so it is not refused: they hear how far it has come.
        self.dismiss_waiters();
    }

    fn next_wake(&self) -> Instant {
        let flush = self.unsaved.notes_since.map(|since| since + EVENT_DELAY);
        // A moment that has passed is no reason to wake up again.
        let start = self.starts.not_before().filter(|at| *at > self.time.looked_at);
        [self.model.next_due(), flush, start, self.tasks.next_wake()]
            .into_iter()
            .flatten()
            .fold(self.time.next_pass, Instant::min)
    }

    async fn turn(&mut self, asks: Vec<Ask>) {
        let mut round = Round::new(self.time.look());
        for ask in asks {
            self.take(ask, &mut round);
        }
        self.time.looked_at = round.now;
        if round.now >= self.time.next_pass {
            self.full_pass(&mut round).await;
        }
        round.touched.extend(self.model.take_due(round.now));
        self.commit_moves(&mut round).await;
        self.place(&mut round).await;
        self.work(&mut round).await;
        self.settle();
        self.send(&mut round);
        self.flush_notes(round.now).await;
        self.conclude().await;
    }

    /// What is right even where no signal came: every agent is looked at, and what the store could not take is tried
    /// again.
    async fn full_pass(&mut self, round: &mut Round) {
        self.time.next_pass = later(round.now, self.context.clocks.pass);
        if self.unsaved.doubt {
            self.read_again(round).await;
        }
        self.release_homeless(round);
        self.move_idle_agents(round);
        let lacks_room = self.tasks.lack(self.pool_now(round)) == Some(Lack::OldRuntime);
        self.troubles.held_by_outdated(self.model.held_by_outdated().filter(|_| lacks_room));
        // Only what is stored: an order to remove the pool that came in this turn is committed first.
        if let Some(removal) = self.life.removal.as_ref().filter(|_| self.model.draining) {
            let graceful = removal.graceful;
            self.pool_drains(graceful, round);
        }
        round.touched.extend(self.model.agent_ids());
        self.tasks.audit();
    }

    /// Commits writes and the events that wait. An error has changed nothing that is known of: whether the commit went
    /// through is doubted, and read again when the store answers.
    async fn commit(&mut self, mut writes: Vec<Write>) -> Result<Vec<Outcome>, SupervisorError> {
        writes.extend(self.unsaved.notes.iter().cloned().map(Write::Event));
        match self.context.apply(&writes).await {
            Ok(outcomes) => {
                self.unsaved.notes.clear();
                self.unsaved.notes_since = None;
                Ok(outcomes)
            }
            Err(error) => {
                self.unsaved.doubt = true;
                self.unsaved.notes_since = None;
                Err(error)
            }
        }
    }

    fn note(&mut self, event: EventDraft, now: Instant) {
        /// Events that wait while the store is away, at the most: they tell, they are not the truth.
        const MOST_NOTES: usize = 10_000;
        if self.unsaved.notes.len() < MOST_NOTES {
            self.unsaved.notes.push(event);
            self.unsaved.notes_since.get_or_insert(now);
        }
    }

    async fn flush_notes(&mut self, now: Instant) {
        if self.unsaved.notes_since.is_some_and(|since| now >= since + EVENT_DELAY) {
            // A failure is on the health board already, and the events stay for the next commit.
            let _ = self.commit(Vec::new()).await;
        }
    }

    fn pool_label(&self) -> String {
        self.model.spec.pool_name.to_string()
    }
}

impl Round {
    fn new(at: Timestamp) -> Self {
        Self { now: clock::now(), at, moves: Vec::new(), spawns: Vec::new(), touched: Vec::new() }
    }
}
