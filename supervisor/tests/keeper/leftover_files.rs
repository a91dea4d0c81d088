//! What is left on the disk of those that the store forgets is removed; nothing else is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_domain::{
    AgentId, AgentSpec, Fence, ProcessId, StopReason, Timestamp, WorkerCause, WorkerEnding, WorkerKey,
};
use muster_store::{Leadership, LifeRow, NewAgent, Store, WorkerSpec, Write};

use crate::world::{Ground, World, pool, wait_until};

fn left(path: PathBuf) -> PathBuf {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    if path.extension().is_some() {
        fs::write(&path, "out hello").expect("a file");
    } else {
        fs::create_dir(&path).expect("a folder");
        fs::write(path.join("work.txt"), "done").expect("a file");
    }
    path
}

fn of_agent(data_dir: &Path, agent: AgentId) -> [PathBuf; 2] {
    [left(data_dir.join(format!("agents/{agent}"))), left(data_dir.join(format!("logs/agents/{agent}.log")))]
}

fn of_worker(data_dir: &Path, worker: ProcessId) -> PathBuf {
    left(data_dir.join(format!("logs/workers/{worker}.log")))
}

/// An agent and a worker that ended so many days ago.
async fn ended(ground: &Ground, fence: Fence, days: u64) -> (AgentId, ProcessId) {
    let at = Timestamp::now().before(Duration::from_secs(days * 24 * 3600));
    let (agent_id, process_id) = (AgentId::generate(), ProcessId::generate());
    let spec = AgentSpec {
        agent_id,
        pool_name: pool(),
        role_type: "developer".to_owned(),
        project_id: "shop".to_owned(),
        human_name: "Ada Ash".to_owned(),
        heartbeat_interval: Duration::from_secs(30),
        max_idle_time: Duration::from_secs(300),
        on_demand: false,
    };
    let ending = WorkerEnding::new(WorkerCause::Stopped, String::new(), String::new());
    let writes = [
        Write::AddAgent(Box::new(NewAgent { spec, worker: None, key: None, at })),
        Write::StopAgent { agent_id, reason: StopReason::Requested, at },
        Write::AddWorker {
            process_id,
            pool: pool(),
            capacity: 2,
            key: WorkerKey::generate(),
            spec: WorkerSpec::local(),
            at,
        },
        Write::EndWorker { process_id, lost: false, ending, at },
    ];
    ground.store.apply(fence, &writes).await.expect("stored");
    (agent_id, process_id)
}

#[tokio::test]
async fn only_of_those_that_the_store_forgets_everything_is_removed() {
    let world = World::new().await;
    let living = world.spawn().await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    let led = ground.store.lead("test", "", Duration::from_secs(60)).await.expect("an answer");
    let Leadership::Leads(fence) = led else { panic!("a file has one leader") };
    // A supervisor has lived for longer than they are kept.
    let now = Timestamp::now();
    let life =
        LifeRow { fence, part: 0, began_at: now.before(Duration::from_hours(10 * 24)), seen_at: now, machine: None };
    ground.store.apply(fence, &[Write::NoteLife(life)]).await.expect("stored");
    let (recent, old) = (ended(&ground, fence, 3).await, ended(&ground, fence, 5).await);

    let dir = ground.data_dir();
    let mut gone = of_agent(dir, old.0).to_vec();
    gone.push(of_worker(dir, old.1));
    // Those of which this store knows nothing may be another one's.
    let mut kept = [of_agent(dir, living), of_agent(dir, recent.0), of_agent(dir, AgentId::generate())].concat();
    kept.extend([of_worker(dir, recent.1), of_worker(dir, ProcessId::generate()), left(dir.join("agents/notes"))]);

    let world = ground.lead().await;
    wait_until("what is left of the forgotten is gone", async || gone.iter().all(|path| !path.exists())).await;
    for path in kept {
        assert!(path.exists(), "{} is gone", path.display());
    }
    world.end().await;
}
