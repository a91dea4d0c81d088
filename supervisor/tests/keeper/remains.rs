//! What is left on the disk of those that the store has forgotten is removed; nothing else is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use muster_domain::{AgentId, ProcessId};

use crate::world::{World, wait_until};

/// Makes a folder or a file that nobody has changed for so many days.
fn left(path: PathBuf, days: u64) -> PathBuf {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    if path.extension().is_some() {
        fs::write(&path, "out hello").expect("a file");
    } else {
        fs::create_dir(&path).expect("a folder");
        fs::write(path.join("work.txt"), "done").expect("a file");
    }
    let then = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
    File::open(&path).expect("it is there").set_modified(then).expect("its time is set");
    path
}

fn of_agent(data_dir: &Path, agent: AgentId, days: u64) -> [PathBuf; 2] {
    [
        left(data_dir.join(format!("agents/{agent}")), days),
        left(data_dir.join(format!("logs/agents/{agent}.log")), days),
    ]
}

fn of_worker(data_dir: &Path, worker: ProcessId, days: u64) -> PathBuf {
    left(data_dir.join(format!("logs/workers/{worker}.log")), days)
}

#[tokio::test]
async fn only_what_has_no_row_and_is_old_is_removed() {
    let world = World::new().await;
    let (living, ended) = (world.spawn().await, world.spawn().await);
    let worker = world.worker_of(living).await.id();
    world.terminate(ended).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;

    let dir = ground.data_dir();
    let mut kept: Vec<PathBuf> = [of_agent(dir, living, 30), of_agent(dir, ended, 30)].concat();
    kept.extend(of_agent(dir, AgentId::generate(), 3));
    kept.extend([of_worker(dir, worker, 30), of_worker(dir, ProcessId::generate(), 3)]);
    kept.push(left(dir.join("agents/notes"), 30));
    let mut gone = of_agent(dir, AgentId::generate(), 30).to_vec();
    gone.push(of_worker(dir, ProcessId::generate(), 30));

    let world = ground.lead().await;
    wait_until("the forgotten ones are gone", async || gone.iter().all(|path| !path.exists())).await;
    for path in kept {
        assert!(path.exists(), "{} is gone", path.display());
    }
    world.end().await;
}
