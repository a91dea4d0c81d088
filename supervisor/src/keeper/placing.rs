//! Places whoever needs a slot: the agents that wait, the oldest first, then the new ones; in one commit with the new
//! workers that they need.
//!
//! Races, each replayed by a test in both orders: the assignment is stored before the command goes out, so a crash in
//! between is mended by the next master's re-send to the same worker; the assignment's write is conditional on the
//! intent, so a terminate that arrives between reading and acting wins.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::WorkerEnd;
use muster_domain::{AgentEvent, AgentId, Assignment, Clocks, Epoch, EventKind, ProcessId, WorkerKey, WorkerOrders};
use muster_policy::placement::{Bounds, Placement, Seat, place};
use muster_policy::scaling;
use muster_registry::Peer;
use muster_store::{NewAgent, Outcome, Write};
use tokio::sync::oneshot;

use super::agent::{Agent, Awaited, Waiter};
use super::death::Ended;
use super::mailbox::{Ask, SpawnAnswer, SpawnAsk};
use super::worker::Worker;
use super::{Keeper, Round};
use crate::directory::Mailbox;
use crate::error::SupervisorError;
use crate::launch::{LaunchError, Launched, RunningWorker};
use crate::runtimes;

/// Agents that wait and are placed in one commit at the most.
const LARGEST_PLACING: usize = 1_000;

/// A placement with the ids of its new workers and the writes that make it true.
struct Seating {
    waiting: Vec<(AgentId, Assignment)>,
    spawns: Vec<(SpawnAsk, Option<ProcessId>)>,
    new_workers: Vec<(ProcessId, WorkerKey)>,
    writes: Vec<Write>,
}

impl Keeper {
    /// Places in as many commits as it takes: of a pool that is restored thousands wait at once, and others wait for a commit.
    pub(super) async fn place(&mut self, round: &mut Round) {
        while self.place_some(round).await {}
    }

    /// Says whether there may be room for more of those that wait.
    async fn place_some(&mut self, round: &mut Round) -> bool {
        let mut waiting = if self.life.is_stopping { Vec::new() } else { self.model.placeable(round.now) };
        let left = waiting.len() > LARGEST_PLACING;
        waiting.truncate(LARGEST_PLACING);
        let workers = self.scale(round.now);
        let bounds = self.bounds(workers);
        let new = self.answer_repeats(std::mem::take(&mut round.spawns)).await;
        let spawns = self.admit(waiting.len(), new, bounds);
        let plan = place(waiting.len() + spawns.len(), self.model.free_slots(), bounds);
        let spare = self.spare_workers(&plan, workers);
        if waiting.is_empty() && spawns.is_empty() && spare == 0 {
            return false;
        }
        if !plan.reason.is_empty() {
            tracing::debug!(pool.name = %self.model.spec.pool_name, reason = plan.reason, "placing agents");
        }
        self.tell_what_is_waited_for(&waiting, &plan);
        let seating = self.seat(waiting, spawns, &plan, spare, round);
        if seating.writes.is_empty() {
            return false;
        }
        match self.commit(seating.writes.clone()).await {
            Ok(outcomes) => {
                // Where nobody more found a seat, the next ones would not either.
                let found = seating.waiting.len() == LARGEST_PLACING;
                self.seated(seating, outcomes, round);
                left && found && !self.unsaved.doubt
            }
            Err(error) => {
                for (spawn, _) in seating.spawns {
                    drop(spawn.reply.send(Err(error.clone())));
                }
                false
            }
        }
    }

    /// Says of those without a seat why there is none, where that is more than that all are taken.
    fn tell_what_is_waited_for(&mut self, waiting: &[AgentId], plan: &Placement) {
        let why = self.model.held_by_outdated().map(|room| format!("it waits for {room}"));
        for (id, seat) in waiting.iter().zip(&plan.seats) {
            let seated = matches!(seat, Seat::Worker(_) | Seat::NewWorker(_));
            if let Some(agent) = self.model.agent_mut(*id).filter(|_| !seated) {
                agent.run.remark.clone_from(&why);
            }
        }
    }

    /// Turns away new agents for whom there is no room beside those that wait for their backoff to pass: what was
    /// acknowledged keeps its claim to a slot.
    fn admit(&self, waiting: usize, mut spawns: Vec<SpawnAsk>, bounds: Bounds) -> Vec<SpawnAsk> {
        let resting = self.model.pending_agents() - waiting;
        if resting == 0 || spawns.is_empty() {
            return spawns;
        }
        let all = place(waiting + resting + spawns.len(), self.model.free_slots(), bounds);
        let lacking = all.seats.iter().filter(|seat| **seat == Seat::Full).count();
        for spawn in spawns.split_off(spawns.len().saturating_sub(lacking)) {
            drop(spawn.reply.send(Err(self.full())));
        }
        spawns
    }

    fn bounds(&self, workers: scaling::Workers) -> Bounds {
        Bounds {
            capacity: self.model.spec.config.max_agents,
            open_workers: workers.open,
            max_workers: workers.max,
            may_start: workers.may_start,
        }
    }

    /// The pool's workers, as far as they say how many are to run.
    pub(super) fn scale(&self, now: Instant) -> scaling::Workers {
        let config = &self.model.spec.config;
        scaling::Workers {
            min: config.min_workers,
            max: config.max_workers,
            open: self.model.open_workers(),
            taking: self.model.taking_workers(),
            starting: self.model.starting_workers(),
            may_start: !self.life.is_stopping && self.starts.not_before().is_none_or(|at| at <= now),
            draining: self.model.draining,
            idle_timeout: config.worker_idle_timeout,
        }
    }

    /// Workers beyond those that agents need, to keep the pool's minimum.
    fn spare_workers(&self, plan: &Placement, workers: scaling::Workers) -> usize {
        let coming = u32::try_from(plan.new_workers).unwrap_or(u32::MAX);
        let judged = scaling::workers_to_add(workers, coming);
        if judged.count > 0 {
            tracing::debug!(pool.name = %self.model.spec.pool_name, reason = judged.reason, "workers are started");
        }
        judged.count
    }

    fn seat(
        &self,
        waiting: Vec<AgentId>,
        spawns: Vec<SpawnAsk>,
        plan: &Placement,
        spare: usize,
        round: &Round,
    ) -> Seating {
        let new_worker = |_| (ProcessId::generate(), WorkerKey::generate());
        let new_workers: Vec<_> = (0..plan.new_workers + spare).map(new_worker).collect();
        let mut seating = Seating { waiting: Vec::new(), spawns: Vec::new(), writes: Vec::new(), new_workers };
        for (process_id, key) in seating.new_workers.clone() {
            seating.writes.push(self.worker_row(process_id, key, round));
            let event = self.model.worker_event(EventKind::WorkerStarting, process_id, round.at, plan.reason.clone());
            seating.writes.push(Write::Event(event));
        }
        let mut seats = plan.seats.iter().map(|seat| match seat {
            Seat::Worker(id) => (Some(*id), false),
            Seat::NewWorker(n) => (seating.new_workers.get(*n).map(|(id, _)| *id), false),
            Seat::Wait => (None, false),
            Seat::Full => (None, true),
        });
        for id in waiting {
            let Some((Some(process_id), _)) = seats.next() else { continue };
            let epoch = self.model.agent(id).map_or(Epoch(1), |agent| agent.run.epoch.next());
            let to = Assignment { process_id, epoch };
            seating.writes.push(Write::Assign { agent_id: id, to, at: round.at });
            seating.waiting.push((id, to));
        }
        for spawn in spawns {
            match seats.next() {
                Some((_, true)) | None => drop(spawn.reply.send(Err(self.full()))),
                Some((seat, false)) => {
                    seating.writes.extend(self.agent_row(&spawn, seat, round));
                    seating.spawns.push((spawn, seat));
                }
            }
        }
        seating
    }

    fn full(&self) -> SupervisorError {
        let config = &self.model.spec.config;
        SupervisorError::PoolFull {
            pool: self.model.spec.pool_name.clone(),
            workers: config.max_workers,
            capacity: config.max_agents,
            outdated: self.model.outdated_workers(),
        }
    }

    fn worker_row(&self, process_id: ProcessId, key: WorkerKey, round: &Round) -> Write {
        let pool = self.model.spec.pool_name.clone();
        let runtime_version = self.context.profiles.get(&self.model.spec.runtime).and_then(runtimes::version);
        Write::AddWorker {
            process_id,
            pool,
            capacity: self.model.spec.config.max_agents,
            key,
            runtime_version,
            at: round.at,
        }
    }

    fn agent_row(&self, spawn: &SpawnAsk, worker: Option<ProcessId>, round: &Round) -> [Write; 2] {
        let event = self.model.pool_event(EventKind::AgentSpawned, round.at);
        let agent_id = Some(spawn.spec.agent_id);
        [
            Write::AddAgent(Box::new(NewAgent {
                spec: spawn.spec.clone(),
                worker,
                key: spawn.key.clone(),
                at: round.at,
            })),
            Write::Event(muster_domain::EventDraft { agent_id, process_id: worker, ..event }),
        ]
    }

    /// The commit went through: the model follows, in the order of the writes.
    fn seated(&mut self, seating: Seating, outcomes: Vec<Outcome>, round: &mut Round) {
        let mut outcomes = outcomes.into_iter();
        for (process_id, key) in seating.new_workers {
            outcomes.nth(1);
            self.start_worker(process_id, key, round);
        }
        for (id, to) in seating.waiting {
            match outcomes.next() {
                Some(Outcome::Applied) => {
                    self.model.move_agent(id, &AgentEvent::Assigned(to), round.now);
                    round.touched.push(id);
                }
                _ => self.unsaved.doubt = true,
            }
        }
        for (spawn, worker) in seating.spawns {
            let outcome = outcomes.next();
            outcomes.next();
            self.spawned(spawn, worker, outcome, round);
        }
    }

    fn spawned(&mut self, spawn: SpawnAsk, worker: Option<ProcessId>, outcome: Option<Outcome>, round: &mut Round) {
        let id = spawn.spec.agent_id;
        match outcome {
            Some(Outcome::Applied | Outcome::Unplaced) => {
                let (tell, fate) = oneshot::channel();
                let mut agent = Agent::new(spawn.spec, round.at);
                agent.waiters.push(Waiter { awaited: Awaited::Running, deadline: spawn.deadline, reply: tell });
                self.model.put_agent(agent, round.now);
                if let Some(process_id) = worker.filter(|_| outcome == Some(Outcome::Applied)) {
                    let to = Assignment { process_id, epoch: Epoch(1) };
                    self.model.move_agent(id, &AgentEvent::Assigned(to), round.now);
                }
                self.context.counters.spawn_asked();
                round.touched.push(id);
                drop(spawn.reply.send(Ok(SpawnAnswer::Waiting(fate))));
            }
            Some(Outcome::Replayed { agent_id, body_hash }) => {
                let same = spawn.key.is_some_and(|key| key.body_hash == body_hash);
                let answer = if same { Ok(SpawnAnswer::Replayed(agent_id)) } else { Err(SupervisorError::KeyReused) };
                drop(spawn.reply.send(answer));
            }
            Some(Outcome::Refused(why)) => drop(spawn.reply.send(Err(SupervisorError::unstorable(&why)))),
            Some(Outcome::Unchanged | Outcome::Tasks(_)) | None => {
                self.unsaved.doubt = true;
                let what = "the store did not take the agent".to_owned();
                drop(spawn.reply.send(Err(SupervisorError::unavailable(what))));
            }
        }
    }

    fn start_worker(&mut self, process_id: ProcessId, key: WorkerKey, round: &Round) {
        let capacity = self.model.spec.config.max_agents;
        self.model.put_worker(Worker::new(process_id, capacity, round.at, round.now));
        self.model.workers.spawned += 1;
        let Some(orders) = self.orders(process_id, key) else {
            let error = LaunchError(format!("there is no runtime {:?} in the configuration", self.model.spec.runtime));
            drop(self.mailbox.send(Ask::Launched(process_id, Err(error))));
            return;
        };
        let peer = Peer { pool: self.model.spec.pool_name.clone(), key: Some(key) };
        self.context.bus.introduce(process_id, peer);
        self.context.listener.watch(process_id, self.mailbox.clone());
        let (context, mailbox) = (self.context.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            // Whoever leads next has looked for the workers by then, and would not know of this one.
            if context.fenced.is_cancelled() {
                return;
            }
            let launched = context.launcher.launch(orders).await;
            if let Err(unheard) = mailbox.send(Ask::Launched(process_id, launched)) {
                kill_unheard(unheard.0);
            }
        });
    }

    /// The clocks of this pool's workers.
    pub(super) fn clocks(&self) -> Clocks {
        let (clocks, interval) = (&self.context.clocks, self.model.spec.config.health_check_interval);
        // It was checked when it came in, but the row may be older than the check.
        match interval.map(std::time::Duration::try_from_secs_f64) {
            Some(Ok(interval)) => clocks.beating_every(interval),
            Some(Err(_)) | None => clocks.clone(),
        }
    }

    fn orders(&self, process_id: ProcessId, key: WorkerKey) -> Option<WorkerOrders> {
        let spec = &self.model.spec;
        Some(WorkerOrders {
            process_id,
            pool_name: spec.pool_name.clone(),
            capacity: spec.config.max_agents,
            fence: self.context.fence,
            key,
            registry: self.context.worker_registry.clone(),
            data_dir: self.context.data_dir.clone(),
            lock_file: self.context.lock_file.clone(),
            profile: self.context.profiles.get(&spec.runtime)?.clone(),
            clocks: self.clocks(),
            open_files: muster_process::limits::for_programs(),
        })
    }

    pub(super) fn launched(&mut self, id: ProcessId, result: Result<Launched, LaunchError>, round: &mut Round) {
        match result {
            Ok(launched) => self.take_over(id, launched, round),
            Err(error) => {
                self.end_worker(id, WorkerEnd::Lost, round);
                self.died(id, Ended::NotStarted(error.to_string()), round);
            }
        }
    }

    /// From now on the worker's death is known when it happens.
    pub(super) fn take_over(&mut self, id: ProcessId, launched: Launched, round: &mut Round) {
        round.moves.push(super::Move::Identify { worker: id, identity: launched.identity });
        let process = launched.process;
        if let Some(worker) = self.model.workers.get_mut(&id) {
            worker.process.handle = Some(process.clone());
            if worker.process.kill_sent {
                process.kill();
            } else if worker.status.is_ending() {
                process.ask();
            }
        }
        await_death(id, process, self.mailbox.clone());
    }
}

/// Tells the keeper when a worker, and all that it owned, is proven dead. Ends with the keeper: each life as the leader
/// waits anew, and holds on to no worker of an earlier one.
pub(super) fn await_death(id: ProcessId, process: Arc<dyn RunningWorker>, mailbox: Mailbox) {
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = mailbox.closed() => {}
            death = process.dead() => drop(mailbox.send(Ask::Died(id, death))),
        }
    });
}

/// A worker that was launched when its keeper was gone: nobody would ever tell it anything.
pub(super) fn kill_unheard(ask: Ask) {
    if let Ask::Launched(worker, Ok(launched)) = ask {
        tracing::warn!(process.id = %worker, "a worker was started for a lead that is over; it is killed");
        launched.process.kill();
    }
}
