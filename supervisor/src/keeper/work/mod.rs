//! Tasks: the last part of a keeper's turn but for the sending.
//!
//! The store is the queue; what is here is its picture in memory: the heads of the lines ([`lines`]), the tasks that agents
//! have ([`runs`]), and the agents that could take more ([`rooms`]). A turn decides over all that has come at once, and
//! commits it together: ends of attempts, cancellations, new tasks, and which task goes to which agent. An agent that
//! became free in a turn gets its next task in the same one.
//!
//! The picture changes while the turn is planned, before the commit. Nobody hears of it until the commit went through;
//! where it fails, what was asked for is refused, what was seen is kept, and the picture is read again from the store
//! ([`loading`]). Only this keeper writes the tasks of its pool, so in between the picture is the truth.
//!
//! Races, each replayed by a test in both orders: a start is stored before its order goes out, and the order is sent to that
//! same worker again until it is acknowledged; an end counts only with the number of the attempt that the store names; a
//! cancellation that comes with the result of its task comes too late.

mod asking;
mod breaking;
mod demand;
mod dispatching;
mod ending;
mod hearing;
mod intake;
pub(super) mod lines;
mod loading;
pub(super) mod meter;
mod orders;
mod plan;
pub(super) mod rooms;
pub(super) mod runs;
mod timing;
mod waiting;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use muster_domain::{AgentId, PoolConfig, TaskId, Timestamp};
use muster_policy::breaker::Breaker;
use muster_policy::dispatch::Rota;
use tokio::sync::watch;

use self::lines::Lines;
use self::meter::{Rate, Samples};
use self::rooms::Rooms;
use self::runs::Runs;
use super::aside::Aside;
use super::mailbox::Look;
use super::{Keeper, Round};
pub(crate) use asking::{Cancel, Redrive, Signal, SubmitAsk, TaskAnswer, TaskDraft};
use breaking::Opened;
use ending::Over;
use plan::Plan;

/// Followers of tasks that are kept without looking whether they still listen.
const FOLLOWERS: usize = 1_024;

/// The picture of a pool's tasks, and what has come for them.
pub(crate) struct Desk {
    /// Whether the picture was read from the store, and is the truth.
    loaded: bool,
    /// Since when the store has answered: silence of agents counts from then on only.
    answers_since: Option<Instant>,
    lines: Lines,
    runs: Runs,
    rooms: Rooms,
    rota: Rota,
    breaker: Breaker,
    /// When the breaker opened, while it is open.
    opened: Option<Opened>,
    /// Agents on demand that were ordered.
    orders: demand::Orders,
    /// Agents that have done their one task, where a pool's agents do one each.
    spent: HashSet<AgentId>,
    /// Tasks that were given up, as of the latest count.
    dead: u64,
    /// Tasks that wait, ready or delayed.
    waiting: u64,
    /// When the next delayed task is due, and the next waiting one expires.
    next_due: Option<Timestamp>,
    next_expiry: Option<Timestamp>,
    /// Agents that are gone for good, for whom tasks may still wait by name.
    gone: BTreeSet<AgentId>,
    /// Whether the next turn has to do with what this one has left.
    has_more: bool,
    /// Whether what runs is to go back to the queue.
    handing_back: bool,
    /// Tasks that have used more since the latest heartbeat; whether all are to be looked at.
    spending: Vec<TaskId>,
    audit: bool,
    /// Tasks whose agents were quiet for too long.
    quiet: Vec<TaskId>,
    /// Ends of attempts that were seen and are not committed yet.
    overs: Vec<Over>,
    /// Ends that the store refuses.
    aside: Aside<Over>,
    /// Tasks to submit, cancel or redrive in this turn or a later one.
    submits: VecDeque<SubmitAsk>,
    cancels: Vec<Cancel>,
    redrives: Vec<Redrive>,
    /// Tasks whose callers were refused by a commit that may have gone through after all.
    refused: Vec<TaskId>,
    /// Those who follow a task.
    followers: HashMap<TaskId, watch::Sender<Signal>>,
    /// Past so many, those that nobody listens to any more are cleared away.
    most_followers: usize,
    rate_in: Rate,
    rate_out: Rate,
    waits: Samples,
    run_times: Samples,
    /// Hears when other pools have ended tasks of tenants that are counted.
    freed: watch::Receiver<()>,
    /// Those who want to see the queue, or what a task of it waits for.
    pub(super) viewers: Vec<Look>,
    /// When to look at the tasks again although nothing has come.
    look_at: Option<Instant>,
}

impl Desk {
    pub(super) fn new(config: &PoolConfig, freed: watch::Receiver<()>, now: Instant) -> Self {
        Self {
            loaded: false,
            answers_since: None,
            lines: Lines::default(),
            runs: Runs::default(),
            rooms: Rooms::default(),
            rota: Rota::default(),
            breaker: Breaker::new(config.breaker, now),
            opened: None,
            orders: demand::Orders::default(),
            spent: HashSet::new(),
            dead: 0,
            waiting: 0,
            next_due: None,
            next_expiry: None,
            gone: BTreeSet::new(),
            has_more: false,
            handing_back: false,
            spending: Vec::new(),
            audit: false,
            quiet: Vec::new(),
            overs: Vec::new(),
            aside: Aside::default(),
            submits: VecDeque::new(),
            cancels: Vec::new(),
            redrives: Vec::new(),
            refused: Vec::new(),
            followers: HashMap::new(),
            most_followers: FOLLOWERS,
            rate_in: Rate::new(now),
            rate_out: Rate::new(now),
            waits: Samples::default(),
            run_times: Samples::default(),
            freed,
            viewers: Vec::new(),
            look_at: None,
        }
    }

    /// Returns when another pool may have made room for a task that waits here; never where none does.
    pub(super) async fn has_room_elsewhere(&mut self) {
        if self.lines.is_empty() || self.freed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The store knows other moments than the picture: it is read again.
    pub(super) const fn read_anew(&mut self) {
        self.loaded = false;
    }

    /// Whether everything that was seen is committed.
    pub(super) const fn is_settled(&self) -> bool {
        self.overs.is_empty()
    }

    /// Whether no task waits or runs, as far as is known.
    pub(super) fn is_empty(&self) -> bool {
        self.loaded && self.waiting == 0 && self.runs.is_empty()
    }

    /// When there is something to do although nothing comes.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        if !self.loaded {
            // Nothing is done before the picture was read; the next pass tries again.
            return None;
        }
        [self.runs.next_due(), self.look_at].into_iter().flatten().min()
    }

    /// Tells those who follow a task that it has changed.
    fn tell(&mut self, task: TaskId) {
        self.signal(task, |signal| signal.changes += 1);
    }

    fn tell_progress(&mut self, task: TaskId) {
        let progress = self.runs.get(task).and_then(|run| run.progress.clone());
        self.signal(task, |signal| signal.progress = progress);
    }

    fn signal(&mut self, task: TaskId, change: impl FnOnce(&mut Signal)) {
        let Some(follower) = self.followers.get(&task) else { return };
        follower.send_modify(change);
        if follower.receiver_count() == 0 {
            self.followers.remove(&task);
        }
    }

    /// Anything may have changed: those who follow a task look again.
    fn tell_everybody(&mut self) {
        self.followers.retain(|_, follower| follower.receiver_count() > 0);
        self.followers.values().for_each(|follower| follower.send_modify(|signal| signal.changes += 1));
    }

    /// What runs is to go back to the queue.
    pub(super) const fn hand_back(&mut self, hand_back: bool) {
        self.handing_back |= hand_back;
    }

    /// All running tasks are to be looked at: another pool may pay from the same accounts.
    pub(super) const fn audit(&mut self) {
        self.audit = true;
    }

    /// From now on the receiver hears of the task.
    pub(super) fn follow(&mut self, task: TaskId) -> watch::Receiver<Signal> {
        // Of those whose task never changed again nobody else takes the senders away.
        if self.followers.len() >= self.most_followers {
            self.followers.retain(|_, follower| follower.receiver_count() > 0);
            self.most_followers = (self.followers.len() * 2).max(FOLLOWERS);
        }
        let progress = self.runs.get(task).and_then(|run| run.progress.clone());
        let signal = Signal { changes: 0, progress };
        self.followers.entry(task).or_insert_with(|| watch::Sender::new(signal)).subscribe()
    }
}

impl Keeper {
    /// Does what there is to do with tasks, in one commit.
    pub(super) async fn work(&mut self, round: &mut Round) {
        self.move_tasks(round).await;
        std::mem::take(&mut self.desk.viewers).into_iter().for_each(|look| look(self, round));
    }

    async fn move_tasks(&mut self, round: &mut Round) {
        self.refuse_submits();
        if !self.move_waits().await {
            return self.put_off();
        }
        if !self.desk.loaded && !self.load_tasks(round).await {
            return self.put_off();
        }
        let mut plan = Plan::default();
        // The store is read before anything else is planned: what this turn puts into the queue is not there yet, and what is
        // read after it would make the picture forget it.
        if !self.plan_what_was_stored(&mut plan, round).await {
            self.desk.loaded = false;
            return self.put_off();
        }
        self.look_at_rooms(round);
        self.plan_ends(&mut plan, round);
        self.plan_lost_leases(&mut plan, round);
        self.plan_overspent(&mut plan, round);
        self.plan_wishes(&mut plan, round);
        self.plan_submits(&mut plan, round).await;
        self.plan_starts(&mut plan, round);
        self.ask_for_agents();
        self.commit_plan(plan, round).await;
        if self.desk.loaded {
            // Else what is in the picture may not be stored, and an order would be given that nobody knows of.
            self.send_orders(round).await;
        }
        self.desk.look_at = self.next_look(round);
    }
}
