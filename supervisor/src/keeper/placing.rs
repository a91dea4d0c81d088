//! Places whoever needs a slot: the agents that wait, the oldest first, then the new ones; in one commit with the new
//! workers that they need.
//!
//! Races, each replayed by a test in both orders: the assignment is stored before the command goes out, so a crash in
//! between is mended by the next master's re-send to the same worker; the assignment's write is conditional on the
//! intent, so a terminate that arrives between reading and acting wins.

use std::time::Instant;

use muster_domain::scaling::ScalingActor;
use muster_domain::{
    AgentEvent, AgentId, Assignment, Epoch, EventDraft, EventKind, Interruption, PlacementStrategy, ProcessId, counted,
};
use muster_policy::placement::{Placement, PlacementLimits, PlacementRule, SlotChoice, place};
use muster_policy::scaling::{self, ScalingDecision};
use muster_store::{NewAgent, Write, WriteOutcome};
use tokio::sync::oneshot;

use super::agents::agent::{Awaited, PoolAgent, Waiter};
use super::mailbox::{SpawnAnswer, SpawnAsk};
use super::repeats::answer_repeats;
use super::scaling::Decided;
use super::workers::{NewWorker, PoolWorkers};
use super::{Keeper, Turn};
use crate::error::SupervisorError;

/// Agents that wait and are placed in one commit at the most.
const LARGEST_PLACING: usize = 1_000;

/// A placement with the ids of its new workers and the writes that make it true.
struct PlacementPlan {
    waiting: Vec<(AgentId, Assignment)>,
    spawns: Vec<(SpawnAsk, Option<ProcessId>)>,
    new_workers: Vec<NewWorker>,
    /// Workers that are interrupted, and those that are started in their place.
    replaced: Vec<(ProcessId, Interruption)>,
    /// How many workers are to be there from now on, where these are more than before.
    scaled: Option<Decided>,
    writes: Vec<Write>,
}

impl Keeper {
    /// Places in as many commits as it takes: of a pool that is restored thousands wait at once, and others wait for a commit.
    pub(super) async fn place(&mut self, turn: &mut Turn) {
        while self.place_some(turn).await {}
    }

    /// Says whether there may be room for more of those that wait.
    async fn place_some(&mut self, turn: &mut Turn) -> bool {
        let mut waiting = if self.model.pool.is_stopping { Vec::new() } else { self.model.agents.placeable(turn.now) };
        let left = waiting.len() > LARGEST_PLACING;
        waiting.truncate(LARGEST_PLACING);
        let workers = self.model.workers.counts(&self.model.pool, turn.now);
        let bounds = self.bounds(workers);
        let new = answer_repeats(&self.context, &self.mailbox, std::mem::take(&mut turn.spawns)).await;
        let mut spawns = self.admit(waiting.len(), new, bounds);
        let mut plan = self.pack(waiting.len() + spawns.len(), bounds);
        if self.turn_away_past_target(waiting.len(), &mut spawns, &plan, workers) {
            plan = self.pack(waiting.len() + spawns.len(), bounds);
        }
        let spare = Self::spare_workers(&plan, workers);
        if waiting.is_empty() && spawns.is_empty() && spare.count == 0 {
            return false;
        }
        if let Some(arranged) = self.arrange(&waiting, &spawns, spare.count, bounds, turn.now) {
            plan = arranged;
        }
        if !plan.reason.is_empty() {
            tracing::debug!(pool.name = %self.model.pool.spec.pool_name, reason = plan.reason, "placing agents");
        }
        self.tell_what_is_waited_for(&waiting, &plan);
        let placement = self.plan_placement(waiting, spawns, &plan, &spare, turn);
        if placement.writes.is_empty() {
            return false;
        }
        match self.commit(placement.writes.clone()).await {
            Ok(outcomes) => {
                // Where nobody more found a slot, the next ones would not either.
                let found = placement.waiting.len() == LARGEST_PLACING;
                self.placed(placement, outcomes, turn);
                left && found && !self.unsaved.resync
            }
            Err(error) => {
                for (spawn, _) in placement.spawns {
                    drop(spawn.reply.send(Err(error.clone())));
                }
                false
            }
        }
    }

    /// For how many there is room, and how many workers are to be started: the same under every strategy.
    fn pack(&self, agents: usize, bounds: PlacementLimits) -> Placement {
        place(agents, self.model.with_room(), &PlacementRule::default(), bounds)
    }

    /// Who goes where by the pool's own rule; none where it packs.
    fn arrange(
        &mut self,
        waiting: &[AgentId],
        spawns: &[SpawnAsk],
        spare_workers: usize,
        bounds: PlacementLimits,
        now: Instant,
    ) -> Option<Placement> {
        self.model.follow_affinity();
        let (spec, agents) = (&self.model.pool.spec, waiting.len() + spawns.len());
        if spec.config.packs() || agents == 0 {
            return None;
        }
        let (context, strategy) = (&self.context, spec.config.placement);
        let lasts = context.settings.loads_last().filter(|_| strategy == PlacementStrategy::LeastLoaded);
        let loads = lasts.and_then(|lasts| context.reporting.loads.of_pool(&spec.pool_name, now, lasts));
        let of_waiting = waiting.iter().map(|id| self.model.agent(*id).map(|agent| &agent.spec));
        let specs = of_waiting.chain(spawns.iter().map(|spawn| Some(&spawn.spec)));
        let affinity = spec.config.project_affinity.then(|| self.model.affinity(specs));
        let rule = PlacementRule { strategy, loads: loads.as_deref(), affinity: affinity.as_ref(), spare_workers };
        Some(place(agents, self.model.with_room(), &rule, bounds))
    }

    /// Says of those without a slot why there is none, where that is more than that all are taken.
    fn tell_what_is_waited_for(&mut self, waiting: &[AgentId], plan: &Placement) {
        let why = self.model.held_by_outdated().map(|room| format!("it waits for {room}"));
        for (id, slot) in waiting.iter().zip(&plan.slots) {
            let is_placed = matches!(slot, SlotChoice::Worker(_) | SlotChoice::NewWorker(_));
            if let Some(agent) = self.model.agents.get_mut(*id).filter(|_| !is_placed) {
                agent.run.remark.clone_from(&why);
            }
        }
    }

    /// Turns away new agents for whom there is no room beside those that wait for their backoff to pass, and those that will move since
    /// their worker is interrupted: what was acknowledged keeps its claim to a slot.
    fn admit(&self, waiting: usize, mut spawns: Vec<SpawnAsk>, bounds: PlacementLimits) -> Vec<SpawnAsk> {
        if spawns.is_empty() {
            return spawns;
        }
        let resting = self.model.agents.pending() - waiting + self.displaced();
        if resting == 0 {
            return spawns;
        }
        let all = self.pack(waiting + resting + spawns.len(), bounds);
        let lacking = all.slots.iter().filter(|slot| **slot == SlotChoice::Full).count();
        for spawn in spawns.split_off(spawns.len().saturating_sub(lacking)) {
            drop(spawn.reply.send(Err(self.full())));
        }
        spawns
    }

    /// Agents that the pool wants for its tasks start no worker past its target. Says whether one was turned away: then the rest is to be
    /// placed anew.
    fn turn_away_past_target(
        &self,
        waiting: usize,
        spawns: &mut Vec<SpawnAsk>,
        plan: &Placement,
        workers: scaling::WorkerCounts,
    ) -> bool {
        let Some(target) = workers.target else { return false };
        // People's come first, so that these are the ones that are left over.
        spawns.sort_by_key(|spawn| spawn.for_tasks);
        let most = target.saturating_sub(workers.taking) as usize;
        let is_past = |slot: &SlotChoice| matches!(slot, SlotChoice::NewWorker(n) if *n >= most);
        let past = plan.slots.iter().skip(waiting).filter(|slot| is_past(slot)).count();
        let of_tasks = spawns.iter().filter(|spawn| spawn.for_tasks).count();
        let turned_away = spawns.split_off(spawns.len() - past.min(of_tasks));
        let is_any = !turned_away.is_empty();
        for spawn in turned_away {
            drop(spawn.reply.send(Err(self.full())));
        }
        is_any
    }

    /// Where all agents together with those that people get now need more workers than are to be there, these are to be there from now
    /// on. Agents that only come back change nothing of what somebody has said.
    fn raised_target(&self, taken: &[(SpawnAsk, Option<ProcessId>)]) -> Option<u32> {
        let wanted = taken.iter().filter(|(spawn, _)| !spawn.for_tasks).count();
        let target = self.model.pool.target_workers().filter(|_| wanted > 0)?;
        let there = self.model.agents.iter().filter(|agent| !agent.status.is_final()).count();
        let capacity = self.model.pool.spec.config.max_agents.max(1) as usize;
        let needed = u32::try_from((there + wanted).div_ceil(capacity)).unwrap_or(u32::MAX);
        let most = self.model.pool.spec.config.most_workers();
        let needed = if most == 0 { needed } else { needed.min(most) };
        (needed > target).then_some(needed)
    }

    fn bounds(&self, workers: scaling::WorkerCounts) -> PlacementLimits {
        PlacementLimits {
            capacity: self.model.pool.spec.config.max_agents,
            open_workers: workers.open,
            max_workers: workers.max,
            room: workers.tier_room,
            may_start: workers.may_start(),
        }
    }

    /// Workers beyond those that agents need, to keep the pool's minimum.
    fn spare_workers(plan: &Placement, workers: scaling::WorkerCounts) -> ScalingDecision {
        scaling::workers_to_add(workers, u32::try_from(plan.new_workers).unwrap_or(u32::MAX))
    }

    fn plan_placement(
        &self,
        waiting: Vec<AgentId>,
        spawns: Vec<SpawnAsk>,
        plan: &Placement,
        spare: &ScalingDecision,
        turn: &Turn,
    ) -> PlacementPlan {
        let specs = self.model.workers.next_specs(plan.new_workers + spare.count, &self.model.pool);
        let new_workers: Vec<_> = specs.into_iter().map(NewWorker::of).collect();
        let replaced = self.replaced_by(new_workers.iter().skip(plan.new_workers).map(|new| new.process_id));
        let spare = spare.reason.to_string();
        let reasons = std::iter::repeat_n(&plan.reason, plan.new_workers).chain(std::iter::repeat(&spare));
        let new = new_workers.iter().zip(reasons);
        let mut placement = PlacementPlan {
            waiting: Vec::new(),
            spawns: Vec::new(),
            writes: new.flat_map(|(new, reason)| self.worker_row(new, reason, turn)).collect(),
            scaled: None,
            replaced,
            new_workers,
        };
        let mut slots = plan.slots.iter().map(|slot| match slot {
            SlotChoice::Worker(id) => (Some(*id), false),
            SlotChoice::NewWorker(n) => (placement.new_workers.get(*n).map(|new| new.process_id), false),
            SlotChoice::Wait => (None, false),
            SlotChoice::Full => (None, true),
        });
        for id in waiting {
            let Some((Some(process_id), _)) = slots.next() else { continue };
            let epoch = self.model.agent(id).map_or(Epoch(1), |agent| agent.run.epoch.next());
            let to = Assignment { process_id, epoch };
            placement.writes.push(Write::Assign { agent_id: id, to, at: turn.at });
            placement.waiting.push((id, to));
        }
        for spawn in spawns {
            match slots.next() {
                Some((_, true)) | None => drop(spawn.reply.send(Err(self.full()))),
                Some((worker, false)) => {
                    placement.writes.extend(self.agent_row(&spawn, worker, turn));
                    placement.spawns.push((spawn, worker));
                }
            }
        }
        if let Some(target) = self.raised_target(&placement.spawns) {
            let words = format!("a spawn needs more: {}", counted(target.into(), "worker"));
            let decided = self.decide_for(ScalingActor::Spawn, Some(target), words, turn);
            placement.writes.extend(decided.writes(&self.model));
            placement.scaled = Some(decided);
        }
        let noted = |(process_id, interruption): &(ProcessId, Interruption)| Write::InterruptWorker {
            process_id: *process_id,
            interruption: *interruption,
        };
        placement.writes.extend(placement.replaced.iter().map(noted).collect::<Vec<_>>());
        placement
    }

    /// Who is interrupted, and now has one of these in its place.
    fn replaced_by(&self, new: impl Iterator<Item = ProcessId>) -> Vec<(ProcessId, Interruption)> {
        let notice = |id: &ProcessId| Some(self.model.workers.get(id)?.interrupted?.notice);
        let unreplaced = self.model.workers.unreplaced().into_iter();
        let replaced = unreplaced.filter_map(|id| Some((id, notice(&id)?))).zip(new);
        replaced.map(|((id, notice), new)| (id, Interruption { replaced_by: Some(new), ..notice })).collect()
    }

    fn full(&self) -> SupervisorError {
        let config = &self.model.pool.spec.config;
        if let Some(why) = self.model.workers.tiers_full(&self.model.pool) {
            return SupervisorError::TiersFull { pool: self.model.pool.spec.pool_name.clone(), why };
        }
        SupervisorError::PoolFull {
            pool: self.model.pool.spec.pool_name.clone(),
            workers: self.model.most_workers_now(),
            capacity: config.max_agents,
            outdated: self.model.workers.outdated(),
        }
    }

    fn worker_row(&self, new: &NewWorker, reason: &str, turn: &Turn) -> [Write; 2] {
        let pool = &self.model.pool;
        let event = pool.worker_event(EventKind::WorkerStarting, new.process_id, turn.at, reason.to_owned());
        [PoolWorkers::row(new, pool, turn), Write::Event(event)]
    }

    fn agent_row(&self, spawn: &SpawnAsk, worker: Option<ProcessId>, turn: &Turn) -> [Write; 2] {
        let event = self.model.pool.event(EventKind::AgentSpawned, turn.at);
        let agent_id = Some(spawn.spec.agent_id);
        [
            Write::AddAgent(Box::new(NewAgent {
                spec: spawn.spec.clone(),
                worker,
                key: spawn.key.clone(),
                at: turn.at,
            })),
            Write::Event(EventDraft { agent_id, process_id: worker, ..event }),
        ]
    }

    /// The commit went through: the model follows, in the order of the writes.
    fn placed(&mut self, placement: PlacementPlan, outcomes: Vec<WriteOutcome>, turn: &mut Turn) {
        if let Some(decided) = &placement.scaled {
            self.note_decided(decided, turn);
        }
        for (worker, interruption) in placement.replaced {
            self.model.workers.set_interruption(worker, interruption, turn.now, turn.at);
        }
        let mut outcomes = outcomes.into_iter();
        for new in placement.new_workers {
            outcomes.nth(1);
            self.model.workers.start(new, &self.model.pool, turn);
        }
        for (id, to) in placement.waiting {
            match outcomes.next() {
                Some(WriteOutcome::Applied) => {
                    self.model.move_agent(id, &AgentEvent::Assigned(to), turn.now);
                    turn.touched.push(id);
                }
                _ => self.unsaved.resync = true,
            }
        }
        for (spawn, worker) in placement.spawns {
            let outcome = outcomes.next();
            outcomes.next();
            self.spawned(spawn, worker, outcome, turn);
        }
    }

    fn spawned(&mut self, spawn: SpawnAsk, worker: Option<ProcessId>, outcome: Option<WriteOutcome>, turn: &mut Turn) {
        let id = spawn.spec.agent_id;
        match outcome {
            Some(WriteOutcome::Applied | WriteOutcome::Unplaced) => {
                let (tell, fate) = oneshot::channel();
                let mut agent = PoolAgent::new(spawn.spec, turn.at);
                agent.waiters.push(Waiter { awaited: Awaited::Running, deadline: spawn.deadline, reply: tell });
                self.model.put_agent(agent, turn.now);
                if let Some(process_id) = worker.filter(|_| outcome == Some(WriteOutcome::Applied)) {
                    let to = Assignment { process_id, epoch: Epoch(1) };
                    self.model.move_agent(id, &AgentEvent::Assigned(to), turn.now);
                }
                self.context.reporting.counters.spawn_asked();
                turn.touched.push(id);
                drop(spawn.reply.send(Ok(SpawnAnswer::Waiting(fate))));
            }
            Some(WriteOutcome::Replayed { agent_id, body_hash }) => {
                let same = spawn.key.is_some_and(|key| key.body_hash == body_hash);
                let answer = if same { Ok(SpawnAnswer::Replayed(agent_id)) } else { Err(SupervisorError::KeyReused) };
                drop(spawn.reply.send(answer));
            }
            Some(WriteOutcome::Refused(why)) => drop(spawn.reply.send(Err(SupervisorError::unstorable(&why)))),
            Some(WriteOutcome::Unchanged | WriteOutcome::Tasks(_)) | None => {
                self.unsaved.resync = true;
                let what = "the store did not take the agent".to_owned();
                drop(spawn.reply.send(Err(SupervisorError::unavailable(what))));
            }
        }
    }
}
