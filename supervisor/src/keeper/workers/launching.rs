//! A worker is started beside the turn; who it is becomes known when the launch is through, and its death when it happens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::{Clocks, ProcessId, WorkerKey, WorkerOrders};
use muster_policy::scaling;
use muster_policy::worker::Kill;
use muster_registry::Peer;
use muster_store::{WorkerSpec, Write};

use super::super::mailbox::{KeeperMessage, WorkerNews};
use super::super::transitions::Transition;
use super::death::kill_declared;
use super::reach::{Order, send};
use super::totals::WorkerTotals;
use super::way::Way;
use super::worker::PoolWorker;
use super::{Pool, PoolWorkers, Turn};
use crate::directory::Mailbox;
use crate::launch::{LaunchError, Launched, RunningWorker, Sent};
use crate::runtimes;

/// A worker that is to be started.
#[derive(Clone, Debug)]
pub(in crate::keeper) struct NewWorker {
    pub(in crate::keeper) process_id: ProcessId,
    pub(in crate::keeper) key: WorkerKey,
    pub(in crate::keeper) spec: WorkerSpec,
}

impl NewWorker {
    /// One as it is to be ordered.
    pub(in crate::keeper) fn of(spec: WorkerSpec) -> Self {
        Self { process_id: ProcessId::generate(), key: WorkerKey::generate(), spec }
    }
}

impl PoolWorkers {
    /// The pool's workers, as far as they say how many are to run.
    pub(in crate::keeper) fn counts(&self, pool: &Pool, now: Instant) -> scaling::WorkerCounts {
        let config = &pool.spec.config;
        debug_assert_eq!(
            self.totals,
            WorkerTotals::of_all(self.values()),
            "what decides over a sort is changed in one place"
        );
        scaling::WorkerCounts {
            min: config.least_workers(),
            max: config.most_workers(),
            tier_room: self.tier_room(pool),
            tier_lack: self.tier_lack(pool),
            target: pool.target_workers(),
            open: self.totals.open,
            taking: self.totals.taking,
            starting: self.totals.starting,
            interrupted: self.totals.interrupted,
            replacing: self.totals.replacing,
            backs_off: self.starts.not_before().is_some_and(|at| at > now),
            stopping: pool.is_stopping,
            draining: pool.draining,
            idle_timeout: config.worker_idle_timeout,
        }
    }

    /// When a worker may be started again after starts that failed; none if that moment has come at `looked_at`.
    pub(in crate::keeper) fn next_start(&self, looked_at: Instant) -> Option<Instant> {
        self.starts.not_before().filter(|at| *at > looked_at)
    }

    /// The row of a new worker.
    pub(in crate::keeper) fn row(new: &NewWorker, pool: &Pool, turn: &Turn) -> Write {
        Write::AddWorker {
            process_id: new.process_id,
            pool: pool.spec.pool_name.clone(),
            capacity: pool.spec.config.max_agents,
            key: new.key,
            spec: new.spec.clone(),
            at: turn.at,
        }
    }

    /// The definition of the pool's runtime as it is now.
    pub(super) fn runtime_version(&self, pool: &Pool) -> Option<String> {
        self.deps.settings.profiles.get(&pool.spec.runtime).and_then(runtimes::version)
    }

    /// Starts a worker whose row is stored.
    pub(in crate::keeper) fn start(&mut self, new: NewWorker, pool: &Pool, turn: &Turn) {
        let NewWorker { process_id: id, key, spec } = new;
        self.put(PoolWorker::new(id, pool.spec.config.max_agents, &spec, turn.at, turn.now));
        self.spawned += 1;
        let Some(orders) = self.orders(id, key, pool) else {
            let error = LaunchError(format!("there is no runtime {:?} in the configuration", pool.spec.runtime));
            drop(self.deps.keeper.send(WorkerNews::Launched(id, Err(error)).into()));
            return;
        };
        self.deps.bus.introduce(id, Peer { pool: pool.spec.pool_name.clone(), key: Some(key) });
        self.deps.listener.watch(id, self.deps.keeper.clone());
        let (deps, launcher) = (Arc::clone(&self.deps), spec.source.launcher);
        tokio::spawn(async move {
            // Whoever leads next has looked for the workers by then, and would not know of this one.
            if deps.fenced.is_cancelled() {
                return;
            }
            let launched = deps.launchers.launch(&launcher, orders).await;
            if let Err(unheard) = deps.keeper.send(WorkerNews::Launched(id, launched).into()) {
                kill_unheard(unheard.0).await;
            }
        });
    }

    /// The clocks of this pool's workers.
    pub(super) fn clocks(&self, pool: &Pool) -> Clocks {
        let (clocks, interval) = (&self.deps.settings.clocks, pool.spec.config.health_check_interval);
        // It was checked when it came in, but the row may be older than the check.
        match interval.map(Duration::try_from_secs_f64) {
            Some(Ok(interval)) => clocks.beating_every(interval),
            Some(Err(_)) | None => clocks.clone(),
        }
    }

    fn orders(&self, process_id: ProcessId, key: WorkerKey, pool: &Pool) -> Option<WorkerOrders> {
        let (spec, settings) = (&pool.spec, &self.deps.settings);
        Some(WorkerOrders {
            process_id,
            pool_name: spec.pool_name.clone(),
            capacity: spec.config.max_agents,
            fence: self.deps.fence,
            key,
            registry: settings.worker_registry.clone(),
            data_dir: settings.data_dir.clone(),
            lock_file: settings.lock_file.clone(),
            profile: settings.profiles.get(&spec.runtime)?.clone(),
            clocks: self.clocks(pool),
            open_files: muster_process::limits::for_programs(),
        })
    }

    /// The launch is through: from now on the worker's death is known when it happens.
    pub(in crate::keeper) fn take_over(&mut self, id: ProcessId, launched: Launched, pool: &Pool, turn: &mut Turn) {
        let (process, is_declared) = (launched.process, self.declared.contains_key(&id));
        let Some(worker) = self.get_mut(id) else {
            // It was found alive after somebody declared it dead: its agents run elsewhere.
            tracing::warn!(process.id = %id, "a worker that was declared dead lives; it is killed");
            drop(tokio::spawn(kill_declared(id, process)));
            return;
        };
        worker.process.way = Way::To(process.clone());
        let order = match (worker.process.kill, worker.status.is_ending()) {
            (Kill::NotSent, false) if !is_declared => None,
            (Kill::NotSent, true) if !is_declared => Some(Order::Ask),
            _ => Some(Order::Kill),
        };
        if order == Some(Order::Kill) {
            // What was ordered before there was a way went nowhere.
            worker.process.kill = Kill::Sent(turn.now);
        }
        turn.transitions.push(Transition::Identify { worker: id, identity: launched.identity });
        self.tell(id, order);
        if order != Some(Order::Kill) {
            self.reachable(id, pool, turn);
        }
        await_death(id, process, self.deps.keeper.clone());
    }

    /// Who a worker is has been stored under this lead: from now on commands reach it.
    pub(in crate::keeper) fn identified(
        &mut self,
        id: ProcessId,
        identity: muster_domain::WorkerIdentity,
        turn: &mut Turn,
    ) {
        let Some(worker) = self.get_mut(id) else { return };
        (worker.process.identity, worker.process.confirmed) = (Some(identity), true);
        turn.touched.extend(worker.held.iter().copied());
    }
}

/// Tells the keeper when a worker, and all that it owned, is proven dead. Ends with the keeper: each life as the leader
/// waits anew, and holds on to no worker of an earlier one.
pub(super) fn await_death(id: ProcessId, process: Arc<dyn RunningWorker>, mailbox: Mailbox) {
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = mailbox.closed() => {}
            death = process.dead() => drop(mailbox.send(WorkerNews::Died(id, death).into())),
        }
    });
}

/// A worker that was launched when its keeper was gone: nobody would ever tell it anything.
pub(in crate::keeper) async fn kill_unheard(ask: KeeperMessage) {
    if let KeeperMessage::Worker(WorkerNews::Launched(worker, Ok(launched))) = ask {
        tracing::warn!(process.id = %worker, "a worker was started for a lead that is over; it is killed");
        if let Sent::Unreachable(why) = send(launched.process.as_ref(), Order::Kill).await {
            tracing::error!(process.id = %worker, why, "it could not be killed; the next supervisor looks for it");
        }
    }
}
