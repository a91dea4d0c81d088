//! A keeper: the one task that owns a pool. It is the controller of three parts, each with its own state: the [`agents`], the
//! [`workers`] and the [`tasks`]. What was decided about the number of workers is beside them ([`scaling`]). Parts take facts, and put what follows from them into the turn's [`Turn`]; the keeper alone
//! commits, and says when that is done.
//!
//! All others hold its mailbox. A turn takes whatever has come (under load many messages at once), and goes through the
//! same steps, whether it was woken by a request, by news or by its timer:
//!
//! 1. give the messages to the parts that they are for ([`intake`], [`facts`]);
//! 2. commit the transitions that were decided, then change the model ([`commit`]);
//! 3. place whoever needs a slot, in one commit with the new workers ([`placing`]);
//! 4. do what there is to do with tasks: ends, new ones, who gets which ([`task_turn`]), in one commit;
//! 5. send the commands that are due, first time or again, and answer those who wait.
//!
//! When a keeper's task ends or panics its mailbox closes: requests fail with `Stopping`, and the supervisor ends, so
//! that a successor adopts what lives. Agents in worker processes do not notice.

pub(crate) mod agents;
mod capacity;
mod commit;
mod facts;
mod intake;
pub(crate) mod interruptions;
pub(crate) mod mailbox;
pub(crate) mod model;
mod placing;
mod projects;
mod repeats;
mod resync;
pub(crate) mod scaling;
mod set_aside;
mod task_turn;
pub(crate) mod tasks;
mod time;
mod transitions;
mod troubles;
mod turn;
pub(crate) mod workers;
mod writes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use muster_domain::time::later;
use muster_domain::{EventKind, ProcessId};
use muster_store::{AgentRow, PoolRow, Write, WriteOutcome};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::agents::agent::view_of_row;
use self::agents::agent::{AgentSurroundings, PoolAgent};
pub(crate) use self::agents::{PoolAgentsDeps, agent};
use self::capacity::CapacityWatch;
use self::commit::Unsaved;
use self::mailbox::{KeeperMessage, ReadFn};
use self::model::Model;
use self::scaling::PoolScaling;
use self::tasks::{PoolNow, PoolTasks};
use self::time::Time;
use self::transitions::Transition;
use self::troubles::StartTroubles;
pub(crate) use self::turn::Turn;
use self::workers::kill_unheard;
pub(crate) use self::workers::{FoundWorker, PoolWorkersDeps};
use crate::clock;
use crate::context::Context;
use crate::directory::LiveSpec;
use crate::error::SupervisorError;
use crate::view::Lack;

/// Messages taken in one turn at the most: bounds a transaction.
const LARGEST_TURN: usize = 512;

pub(crate) struct Keeper {
    context: Arc<Context>,
    mailbox: mpsc::UnboundedSender<KeeperMessage>,
    /// The pool, its agents and its workers.
    model: Model,
    /// The pool's tasks.
    tasks: PoolTasks,
    unsaved: Unsaved,
    time: Time,
    troubles: StartTroubles,
    /// How many workers there are to be.
    scaling: PoolScaling,
    /// Whether there is room for them.
    capacity: CapacityWatch,
    /// Those who want to see something at the end of the turn.
    looks: Vec<ReadFn>,
    life: ShutdownState,
}

/// How a keeper comes to its end.
#[derive(Default)]
struct ShutdownState {
    /// Who waits for the workers' end.
    stopping: Option<oneshot::Sender<()>>,
    removal: Option<Removal>,
    finished: bool,
}

/// A pool on its way out.
struct Removal {
    graceful: bool,
    replies: Vec<RemovalReply>,
}

type RemovalReply = oneshot::Sender<Result<(), SupervisorError>>;

impl Keeper {
    pub(crate) fn new(
        context: Arc<Context>,
        mailbox: mpsc::UnboundedSender<KeeperMessage>,
        (row, spec): (PoolRow, LiveSpec),
        agents: Vec<AgentRow>,
        workers: Vec<FoundWorker>,
    ) -> Self {
        let now = clock::now();
        let removal = row.draining.then(|| Removal { graceful: true, replies: Vec::new() });
        let mut model = Model::new(&row, spec, context.of_agents(), context.of_workers(mailbox.clone()), now);
        for found in workers {
            model.workers.adopt(found, &model.pool, now);
        }
        model.workers.vacate_places();
        for row in agents {
            model.put_agent(PoolAgent::from_row(row), now);
        }
        Self {
            tasks: PoolTasks::new(context.of_tasks(), &model.pool.spec.config, now),
            time: Time::new(&context, now),
            troubles: StartTroubles::new(context.reporting.alerts.clone(), model.pool.spec.pool_name.clone()),
            context,
            mailbox,
            model,
            unsaved: Unsaved::default(),
            scaling: PoolScaling::default(),
            capacity: CapacityWatch::default(),
            looks: Vec::new(),
            life: ShutdownState { removal, ..ShutdownState::default() },
        }
    }

    /// Runs until the pool is gone or the supervisor has stopped.
    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<KeeperMessage>) {
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
        // Together: one whose engine does not answer must not hold up the others.
        let unheard = std::iter::from_fn(|| inbox.try_recv().ok()).map(kill_unheard);
        futures_util::future::join_all(unheard).await;
        if fenced.is_cancelled() {
            self.model.workers.kill_unconfirmed().await;
        }
        // What they asked for is stored, so it is not refused: they hear how far it has come.
        self.dismiss_waiters();
    }

    fn next_wake(&self) -> Instant {
        // A moment that has passed is no reason to wake up again.
        let start = self.model.workers.next_start(self.time.looked_at);
        let hand_over = self.model.workers.next_hand_over().filter(|at| *at > self.time.looked_at);
        [self.model.agents.next_due(), self.unsaved.flush_at(), start, hand_over, self.tasks.next_wake()]
            .into_iter()
            .flatten()
            .fold(self.time.next_pass, Instant::min)
    }

    async fn turn(&mut self, asks: Vec<KeeperMessage>) {
        let mut turn = Turn::new(self.time.look());
        for ask in asks {
            self.take(ask, &mut turn);
        }
        self.time.looked_at = turn.now;
        if turn.now >= self.time.next_pass {
            self.full_pass(&mut turn).await;
        } else if self.model.workers.next_hand_over().is_some_and(|at| at <= turn.now) {
            self.hand_over(&mut turn);
        }
        self.say(&mut turn);
        turn.touched.extend(self.model.agents.take_due(turn.now));
        let is_scaled = turn.is_scaled();
        self.commit_transitions(&mut turn).await;
        self.carry_out_scaling(is_scaled, &mut turn).await;
        self.say(&mut turn);
        self.place(&mut turn).await;
        self.work(&mut turn).await;
        self.begin_at_zero(&mut turn).await;
        self.settle();
        self.attend(&mut turn);
        self.flush_notes(turn.now).await;
        self.conclude().await;
    }

    /// What is right even where no signal came: every agent is looked at, and what the store could not take is tried
    /// again.
    async fn full_pass(&mut self, turn: &mut Turn) {
        self.time.next_pass = later(turn.now, self.context.settings.clocks.pass);
        if self.unsaved.resync {
            self.read_again(turn).await;
        }
        self.release_homeless(turn);
        self.look_at_tiers(turn);
        self.move_idle_agents(turn);
        self.hand_over(turn);
        self.hold_target(turn).await;
        let lacks_room = self.tasks.lack(PoolNow::of(&self.model, turn)) == Some(Lack::OldRuntime);
        self.watch_capacity(turn);
        self.troubles.held_by_outdated(self.model.held_by_outdated().filter(|_| lacks_room));
        // Only what is stored: an order to remove the pool that came in this turn is committed first.
        if let Some(removal) = self.life.removal.as_ref().filter(|_| self.model.pool.draining) {
            self.model.drain(removal.graceful, turn);
        }
        turn.touched.extend(self.model.agents.ids());
        self.tasks.audit();
    }

    /// Agents of a worker with an older definition of a runtime that starts a program for each task: between two tasks nothing of
    /// them runs that a restart could lose, and the next task would start the program of then.
    fn move_idle_agents(&self, turn: &mut Turn) {
        let Model { pool, workers, .. } = &self.model;
        // Before the tasks are known, an agent without one may only seem so.
        let may_move = self.tasks.is_loaded() && !pool.is_stopping && !pool.draining;
        if !may_move || workers.outdated() == 0 || !workers.is_oneshot(pool) {
            return;
        }
        for agent in self.model.idle_in_outdated() {
            self.move_elsewhere(agent, turn);
        }
    }

    /// Sends and answers what the parts have put into the round.
    fn say(&mut self, turn: &mut Turn) {
        if turn.is_outranked {
            self.context.fenced.cancel();
        }
        for note in turn.notes.drain(..) {
            self.unsaved.note(note, turn.now);
        }
        if !turn.commands.is_empty() {
            self.context.messages.command_sender.send(std::mem::take(&mut turn.commands));
        }
        turn.send_answers();
    }

    /// Looks at each agent that something happened to.
    fn attend(&mut self, turn: &mut Turn) {
        let mut touched = std::mem::take(&mut turn.touched);
        touched.sort_unstable();
        touched.dedup();
        for id in touched {
            let (context, troubles, workers) = (&self.context, &self.troubles, &self.model.workers);
            let around =
                || AgentSurroundings { hindrance: context.reporting.health.hindrance(), trouble: troubles.of_starts() };
            let listens = |worker| workers.listens(worker);
            if self.model.agents.attend(id, listens, around, &self.model.pool, turn) {
                self.model.take_agent(id, turn.now);
                self.tasks.agent_gone(id);
            }
        }
        // The mirror first: whoever hears what became of a command finds its slot taken.
        let slots = self.model.workers.take_changed_slots();
        self.context.messages.command_sender.mirror(&self.model.pool.spec.pool_name, slots);
        self.say(turn);
    }

    /// Answers those who wait for the end of the supervisor or of the pool.
    async fn conclude(&mut self) {
        let workers_left =
            !self.model.workers.is_empty() || !self.unsaved.transitions.is_empty() || !self.tasks.is_settled();
        if workers_left && !self.lacks_only_the_store() {
            return;
        }
        if let Some(reply) = self.life.stopping.take() {
            self.life.finished = true;
            let _ = reply.send(());
        }
        let is_empty = self.model.agents.is_empty() && self.tasks.is_empty();
        if self.life.removal.is_some() && self.model.pool.draining && is_empty {
            self.remove_pool().await;
        }
    }

    /// In a shutdown: every worker is proven dead, and that can't be stored now, or not at all. The next supervisor sees it again.
    fn lacks_only_the_store(&self) -> bool {
        let dead = |step: &Transition| match step {
            Transition::EndWorker { worker, .. } => Some(*worker),
            _ => None,
        };
        let refused: HashSet<ProcessId> = self.unsaved.refused.iter().filter_map(dead).collect();
        let dead: HashSet<ProcessId> =
            self.unsaved.transitions.iter().filter_map(dead).chain(refused.iter().copied()).collect();
        self.model.pool.is_stopping
            && (self.context.reporting.health.is_degraded("store") || !refused.is_empty())
            && self.model.workers.values().all(|worker| dead.contains(&worker.process_id))
    }

    async fn remove_pool(&mut self) {
        let pool = &self.model.pool;
        let event = pool.event(EventKind::PoolRemoved, self.context.settings.wall.now());
        let removal = Write::RemovePool { pool: pool.spec.pool_name.clone() };
        match self.commit(vec![removal, Write::Event(event)]).await.as_deref() {
            Ok([WriteOutcome::Applied, ..]) => self.pool_gone(),
            // Something of it is left that the model does not know, or it is gone already.
            Ok(_) => self.unsaved.resync = true,
            // The next pass tries again.
            Err(_) => {}
        }
    }

    /// The store has no such pool any more.
    fn pool_gone(&mut self) {
        let pool = self.model.pool.spec.pool_name.clone();
        tracing::info!(pool.name = %pool, "a pool is gone");
        self.life.finished = true;
        self.context.messages.command_sender.forget_pool(pool.clone());
        self.context.limits.quotas.forget(&pool);
        self.context.reporting.alerts.clear_pool(&pool);
        self.context.directory.remove(&pool);
        for reply in self.life.removal.take().into_iter().flat_map(|removal| removal.replies) {
            drop(reply.send(Ok(())));
        }
    }
}
