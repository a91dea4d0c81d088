//! Workers of an earlier supervisor come into a new keeper's model.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{ExecMode, ProcessId, RuntimeProfile, WorkerState, WorkerStatus};
use muster_registry::Peer;
use muster_store::WorkerRow;
use tokio::sync::oneshot;

use super::agent::{Awaited, Waiter};
use super::mailbox::Ask;
use super::model::Model;
use super::moves::Move;
use super::placing::await_death;
use super::worker::{Handle, Origin, Worker};
use super::{Keeper, Round};
use crate::context::Context;
use crate::directory::Mailbox;
use crate::launch::{Adoption, RunningWorker};
use crate::runtimes;

/// A worker of an earlier supervisor, and what became of it.
pub(crate) struct Found {
    pub(crate) row: WorkerRow,
    /// `None` where it could not be looked for; then it is looked for again.
    pub(crate) adoption: Option<Adoption>,
}

/// Takes a worker into the model. What became of it comes with the first turn, before anybody is placed. Commands go to it at
/// once: one that is not connected again yet misses them, and gets them again.
pub(super) fn adopt(model: &mut Model, found: Found, context: &Arc<Context>, keeper: &Mailbox, now: Instant) {
    let Found { row, adoption } = found;
    let id = row.process_id;
    let status = match row.state {
        // It was told to end; it is told again, and has its time for it.
        WorkerState::Draining => WorkerStatus::Ending { since: now, how: WorkerEnd::Stopped },
        _ => WorkerStatus::Ready,
    };
    let identity = row.identity.clone();
    let wanted = context.profiles.get(&model.spec.runtime).and_then(runtimes::version);
    // Without a version an older Muster started it, and nobody knows by which definition.
    // One that is dead starts nothing more.
    let is_dead = matches!(adoption, Some(Adoption::Ended(_)));
    let outdated = !is_dead && wanted.is_some() && row.runtime_version != wanted;
    if outdated {
        tracing::warn!(
            process.id = %id,
            pool.name = %model.spec.pool_name,
            "a worker starts programs by an older definition of the runtime {}: it gets no more agents, and is replaced when \
             it has none; `muster restart` moves an agent to a new one",
            model.spec.runtime
        );
    }
    model.put_worker(Worker {
        status,
        origin: Origin { started_at: row.created_at, begun: None, outdated, has_key: row.key.is_some() },
        process: Handle { identity, vouched: true, ..Handle::default() },
        ..Worker::new(id, row.capacity, row.created_at, now)
    });
    context.bus.introduce(id, Peer { pool: row.pool_name.clone(), key: row.key });
    context.listener.watch(id, keeper.clone());
    match adoption {
        Some(adoption) => tell(keeper, id, adoption),
        None => drop(tokio::spawn(look_again(context.clone(), row, keeper.clone()))),
    }
}

/// Tells the keeper what became of a worker. Of one elsewhere only its heartbeats can say.
fn tell(keeper: &Mailbox, worker: ProcessId, adoption: Adoption) {
    let news = match adoption {
        Adoption::Alive(launched) => Ask::Launched(worker, Ok(launched)),
        Adoption::Ended(process) => Ask::FoundDead(worker, process),
        Adoption::Elsewhere => return,
    };
    drop(keeper.send(news));
}

impl Keeper {
    /// Nobody is placed on it any more, and its agents keep their places until all that it owned is proven dead too.
    pub(super) fn found_dead(&mut self, id: ProcessId, process: Arc<dyn RunningWorker>, round: &Round) {
        // Its last picture may still be in the registry, and is nobody's any more.
        self.context.listener.unwatch(id);
        self.model.move_worker(id, WorkerEvent::EndOrdered(round.now, WorkerEnd::Lost));
        if let Some(worker) = self.model.workers.get_mut(&id) {
            worker.process.handle = Some(process.clone());
        }
        await_death(id, process, self.mailbox.clone());
    }
}

impl Keeper {
    /// Agents of a worker with an older definition of a runtime that starts a program for each task: between two tasks nothing of
    /// them runs that a restart could lose, and the next task would start the program of then.
    pub(super) fn move_idle_agents(&self, round: &mut Round) {
        let runtime = self.context.profiles.get(&self.model.spec.runtime);
        let is_oneshot = matches!(runtime, Some(RuntimeProfile::Exec(exec)) if exec.mode == ExecMode::Oneshot);
        // Before the tasks are known, an agent without one may only seem so.
        if !is_oneshot
            || !self.tasks.is_loaded()
            || self.life.is_stopping
            || self.model.draining
            || self.model.outdated_workers() == 0
        {
            return;
        }
        for id in self.model.workers.values().filter(|worker| worker.origin.outdated).flat_map(|worker| &worker.held) {
            let agent = self.model.agent(*id).filter(|agent| !agent.run.leaving);
            if let Some(at) = agent.and_then(|agent| agent.status.idles_at()) {
                // Nobody waits for it.
                let waiter = Waiter { awaited: Awaited::Running, deadline: round.now, reply: oneshot::channel().0 };
                round.moves.push(Move::Restart { agent: *id, epoch: at.epoch, waiter });
            }
        }
    }
}

/// Looks for a worker that could not be looked for, until that works or the keeper has ended. Till then its agents stay where
/// they are: a worker that was not looked for is not dead.
async fn look_again(context: Arc<Context>, row: WorkerRow, keeper: Mailbox) {
    loop {
        tokio::select! {
            biased;
            () = keeper.closed() => return,
            () = context.fenced.cancelled() => return,
            () = tokio::time::sleep(context.clocks.pass) => {}
        }
        match context.launcher.adopt(&row).await {
            Ok(adoption) => return tell(&keeper, row.process_id, adoption),
            Err(error) => tracing::debug!(process.id = %row.process_id, %error, "a worker still can't be looked for"),
        }
    }
}
