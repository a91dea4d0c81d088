//! Workers as tasks of this process: single-process mode. Their pid is the master's. They end with it, and with the life
//! as the leader that started them.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, LocalIdentity, ProcessId, WorkerOrders};
use muster_process::{Lineage, identity};
use muster_store::WorkerRow;
use tokio::sync::watch;

use super::process::ProcessLauncher;
use super::{Adoption, Death, LaunchError, Launched, Launcher, LookError, Proof, RunningWorker, Sent, WorkerProbe};
use crate::logs::AgentLog;

/// After this time a worker that was killed and still runs is worth a line in the log.
const STUBBORN: Duration = Duration::from_secs(5);

/// A worker's entry, as the composition root gives it: this crate does not know the worker's.
pub type WorkerEntry = Box<dyn Fn(WorkerOrders) -> ClosureWorker + Send + Sync>;

/// A worker that is to run as a task.
pub struct ClosureWorker {
    /// Runs until the worker has ended and its agents' trees are gone.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Asks it to drain; the second time it is to hurry.
    pub ask: Box<dyn Fn() + Send + Sync>,
    /// Ends it at once, with its trees.
    pub kill: Box<dyn Fn() + Send + Sync>,
}

/// Starts workers as tasks.
pub struct ClosureLauncher {
    entry: WorkerEntry,
    identity: LocalIdentity,
    /// Those that may live; `None` when no more are started.
    tasks: Mutex<Option<Vec<Arc<WorkerTask>>>>,
    /// For worker processes that an earlier supervisor in the other mode has left.
    processes: ProcessLauncher,
}

impl ClosureLauncher {
    /// `processes` finds workers that were left in the other mode.
    pub fn new(entry: WorkerEntry, processes: ProcessLauncher) -> Result<Self, LaunchError> {
        let identity = identity::own().map_err(|error| LaunchError(error.to_string()))?;
        Ok(Self { entry, identity, tasks: Mutex::new(Some(Vec::new())), processes })
    }

    fn start(&self, orders: WorkerOrders) -> Arc<WorkerTask> {
        let id = orders.process_id;
        let task = (self.entry)(orders);
        let (done, dead) = watch::channel(None);
        let run = tokio::spawn(task.run);
        let leftovers = self.processes.leftovers();
        let lineage = Lineage { born: Some(self.identity.start_time), limited: true };
        tokio::spawn(async move {
            let mut death = Death::proven(Proof::ProcessTable);
            if let Err(error) = run.await {
                death.last_words = error.to_string();
                tracing::error!(process.id = %id, %error, "a worker's task failed");
                // What it held is being killed, and nobody else waits for the end of that.
                leftovers.end(id, lineage).await;
            }
            done.send_replace(Some(death));
        });
        Arc::new(WorkerTask { ask: task.ask, kill: task.kill, dead })
    }
}

#[async_trait]
impl Launcher for ClosureLauncher {
    async fn launch(&self, orders: WorkerOrders) -> Result<Launched, LaunchError> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // A launch may come late, from a keeper that was in the middle of a turn when the life ended.
        let tasks = tasks.as_mut().ok_or_else(|| LaunchError("this supervisor does not lead any more".to_owned()))?;
        let process = self.start(orders);
        tasks.retain(|task| task.dead.borrow().is_none());
        tasks.push(process.clone());
        Ok(Launched { identity: self.identity.clone().into(), process })
    }

    /// A task died with the life that started it. A worker process of the other mode can't be reached without its
    /// registry, so it is ended, and its agents are placed anew when it is proven dead.
    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LookError> {
        let adoption = self.processes.adopt(row).await?;
        let Adoption::Alive(launched) = adoption else { return Ok(adoption) };
        // One that is gone by now is what was wanted; its death is waited for in any case.
        drop(launched.process.kill().await);
        Ok(Adoption::Ended(launched.process))
    }

    async fn marked(&self) -> Vec<ProcessId> {
        self.processes.marked().await
    }

    async fn sweep(&self, worker: &WorkerRow) {
        self.processes.sweep(worker).await;
    }

    fn agent_log(&self, agent: AgentId) -> Box<dyn AgentLog> {
        self.processes.agent_log(agent)
    }

    async fn leave(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        tasks.iter().for_each(|task| (task.kill)());
        for task in tasks {
            if tokio::time::timeout(STUBBORN, task.dead()).await.is_err() {
                tracing::warn!("a worker of this process does not end; this process does not lead again before");
                task.dead().await;
            }
        }
    }
}

struct WorkerTask {
    ask: Box<dyn Fn() + Send + Sync>,
    kill: Box<dyn Fn() + Send + Sync>,
    dead: watch::Receiver<Option<Death>>,
}

impl WorkerTask {
    fn tell(&self, what: &(dyn Fn() + Send + Sync)) -> Sent {
        if self.dead.borrow().is_some() {
            return Sent::Gone;
        }
        what();
        Sent::Delivered
    }
}

#[async_trait]
impl RunningWorker for WorkerTask {
    async fn ask(&self) -> Sent {
        self.tell(&self.ask)
    }

    async fn kill(&self) -> Sent {
        self.tell(&self.kill)
    }

    async fn dead(&self) -> Death {
        let mut dead = self.dead.clone();
        // An error means that the task that tells is gone, and with it the worker.
        let death = dead.wait_for(Option::is_some).await;
        let told = death.ok().and_then(|death| death.clone());
        told.unwrap_or_else(|| Death::proven(Proof::ProcessTable))
    }

    async fn probe(&self, _patience: Duration) -> WorkerProbe {
        WorkerProbe::NoSocket
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{
        Clocks, Fence, RegistryTarget, RemoteIdentity, RuntimeProfile, Timestamp, WorkerIdentity, WorkerKey,
        WorkerState,
    };
    use muster_process::Spawner;

    use muster_store::WorkerSpec;

    use super::*;

    fn orders() -> WorkerOrders {
        WorkerOrders {
            process_id: ProcessId::generate(),
            pool_name: "p".parse().expect("a name"),
            capacity: 1,
            fence: Fence(1),
            key: WorkerKey::generate(),
            registry: RegistryTarget { url: "memory".to_owned(), prefix: String::new(), roots: None },
            data_dir: "/nowhere".into(),
            lock_file: "/nowhere".into(),
            profile: RuntimeProfile::Echo,
            clocks: Clocks::default(),
            open_files: None,
        }
    }

    fn row(identity: Option<WorkerIdentity>) -> WorkerRow {
        WorkerRow {
            process_id: ProcessId::generate(),
            pool_name: "p".parse().expect("a name"),
            capacity: 1,
            state: WorkerState::Starting,
            identity,
            key: None,
            spec: WorkerSpec::local(),
            interruption: None,
            created_at: Timestamp::now(),
            ended_at: None,
            ending: None,
        }
    }

    /// How far a task that dies slowly is.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum DeathStage {
        Runs,
        Killed,
        MayEnd,
    }

    fn launcher(stage: &watch::Sender<DeathStage>, folder: &tempfile::TempDir) -> Arc<ClosureLauncher> {
        let stage = stage.clone();
        let entry = move |_| {
            let (mut seen, told) = (stage.subscribe(), stage.clone());
            ClosureWorker {
                run: Box::pin(async move { drop(seen.wait_for(|stage| *stage == DeathStage::MayEnd).await) }),
                ask: Box::new(|| {}),
                kill: Box::new(move || _ = told.send_replace(DeathStage::Killed)),
            }
        };
        let spawner = Spawner::start().expect("a nursery");
        let processes = ProcessLauncher::new(spawner, folder.path().to_owned());
        Arc::new(ClosureLauncher::new(Box::new(entry), processes).expect("a launcher"))
    }

    #[tokio::test]
    async fn a_life_is_over_when_all_its_tasks_are() {
        let (stage, folder) = (watch::Sender::new(DeathStage::Runs), tempfile::tempdir().expect("a folder"));
        let launcher = launcher(&stage, &folder);
        let worker = launcher.launch(orders()).await.expect("it starts");
        let left = tokio::spawn({
            let launcher = launcher.clone();
            async move { launcher.leave().await }
        });
        stage.subscribe().wait_for(|stage| *stage == DeathStage::Killed).await.expect("it is killed");
        assert!(launcher.launch(orders()).await.is_err(), "nothing is started any more");
        assert!(!left.is_finished(), "it has not ended");
        stage.send_replace(DeathStage::MayEnd);
        left.await.expect("it ends");
        tokio::select! {
            biased;
            _ = worker.process.dead() => {}
            () = std::future::ready(()) => panic!("the life was over before its task"),
        }
    }

    #[tokio::test]
    async fn the_rows_of_an_earlier_life_of_this_process_are_of_dead_workers() {
        let (stage, folder) = (watch::Sender::new(DeathStage::Runs), tempfile::tempdir().expect("a folder"));
        let launcher = launcher(&stage, &folder);
        let row = row(Some(identity::own().expect("this process").into()));
        // In either mode: the next life may be in the other one.
        for adoption in [launcher.adopt(&row).await, launcher.processes.adopt(&row).await] {
            let Ok(Adoption::Ended(worker)) = adoption else { panic!("it is this process's own") };
            assert_eq!(worker.kill().await, Sent::Gone);
            assert_eq!(worker.dead().await.proof, Proof::ProcessTable);
        }
    }

    #[tokio::test]
    async fn there_is_no_way_to_a_worker_of_another_host_or_of_an_engine() {
        let (stage, folder) = (watch::Sender::new(DeathStage::Runs), tempfile::tempdir().expect("a folder"));
        let launcher = launcher(&stage, &folder);
        let own = identity::own().expect("this process");
        let local = LocalIdentity { host: "elsewhere".to_owned(), boot_id: "another".to_owned(), ..own };
        let remote = RemoteIdentity { engine: "east".to_owned(), handle: "task/7".to_owned() };
        for identity in [WorkerIdentity::from(local), WorkerIdentity::from(remote)] {
            let row = row(Some(identity));
            for adoption in [launcher.adopt(&row).await, launcher.processes.adopt(&row).await] {
                assert!(matches!(adoption, Ok(Adoption::Elsewhere)), "whether it lives is not known");
            }
        }
    }
}
