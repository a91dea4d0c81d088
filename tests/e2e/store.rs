//! The store away: intake is refused, agents go on, what ends meanwhile is settled later, and it heals by itself.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection, Executor};

use crate::harness::disk::SmallDisk;
use crate::harness::faults::{self, Postgres, kill9, lives};
use crate::harness::{Answer, Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(40);

fn spawn_body() -> serde_json::Value {
    json!({"project_id": "p", "role_type": "developer", "pool_name": "developer_pool"})
}

fn is_degraded(muster: &Muster) -> bool {
    let health = muster.get("/health").body;
    health["degraded"].as_array().is_some_and(|all| all.iter().any(|what| faults::starts(what, "store")))
}

/// A spawn is refused, or taken and answered so: the ids of those taken are returned.
fn knock(muster: &Muster) -> Result<String, Answer> {
    let answer = muster.post("/api/v1/agents/spawn", &spawn_body());
    match answer.status {
        201 | 202 => Ok(answer.body["agent_id"].as_str().expect("an id").to_owned()),
        _ => Err(answer),
    }
}

/// Everybody runs, each once, and the store has no others.
fn await_all(muster: &Muster, acknowledged: &[String]) {
    wait_until("all run", BOUND, || muster.all_agents().iter().all(|agent| agent.state == "idle"));
    let mut running: Vec<String> = muster.all_agents().into_iter().map(|agent| agent.id).collect();
    let mut wanted = acknowledged.to_vec();
    running.sort();
    wanted.sort();
    assert_eq!(running, wanted);
    muster.await_each_in_one_worker();
}

#[test]
fn a_full_disk_refuses_the_new_and_keeps_the_old() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: a file system can be mounted by root only ({error})"),
    };
    let folder = disk.path().join("d");
    let muster = Muster::start(Options { data_dir: Some(folder), ..Options::default() });
    let mut taken = muster.spawn_many("developer_pool", 12);
    let victim = muster.all_workers().into_iter().find(|worker| worker.agent_count == 2).expect("the second worker");
    // Space inside of the database's files may serve some more, and its log, begun anew, gives some back.
    let mut refused = None;
    wait_until("a spawn is refused", BOUND, || {
        disk.fill();
        match knock(&muster) {
            Ok(id) => {
                taken.push(id);
                false
            }
            Err(answer) => {
                refused = Some(answer);
                true
            }
        }
    });
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    wait_until("health says so", BOUND, || {
        disk.fill();
        is_degraded(&muster)
    });
    kill9(victim.pid);
    let others: Vec<u32> =
        muster.all_workers().into_iter().filter(|worker| worker.id != victim.id).map(|worker| worker.pid).collect();
    assert!(others.iter().all(|pid| lives(*pid)), "the others go on");
    disk.free();
    wait_until("health is back", BOUND, || muster.get("/health").body["degraded"] == json!([]));
    await_all(&muster, &taken);
    let moved = muster.all_agents().iter().filter(|agent| agent.epoch == 2).count();
    assert!(moved >= 2, "those of the dead worker run again: {moved}");
    taken.extend(muster.spawn_many("developer_pool", 1));
    await_all(&muster, &taken);
    drop(muster);
}

#[test]
fn a_locked_database_is_waited_for() {
    let muster = Muster::start(Options::default());
    let mut taken = muster.spawn_many("developer_pool", 3);
    let worker = muster.all_workers().remove(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let mut other = runtime.block_on(sqlx::SqliteConnection::connect(&url)).expect("the database opens");
    runtime.block_on(other.execute("BEGIN EXCLUSIVE")).expect("the lock");
    let refused = knock(&muster).expect_err("nothing can be stored");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert!(is_degraded(&muster), "health says so");
    kill9(worker.pid);
    runtime.block_on(other.execute("ROLLBACK")).expect("the lock is given back");
    wait_until("health is back", BOUND, || !is_degraded(&muster));
    wait_until("those of the dead worker run again", BOUND, || {
        muster.all_agents().iter().all(|agent| (agent.state.as_str(), agent.epoch) == ("idle", 2))
    });
    taken.extend(muster.spawn_many("developer_pool", 1));
    await_all(&muster, &taken);
}

/// A database that ends idle sessions, as its `idle_session_timeout` or an administrator does: they are opened again, and nobody is told.
#[test]
fn sessions_that_the_server_ends_are_no_news() {
    let postgres = Postgres::start();
    let muster = Muster::start(Options::default().env("MUSTER_DATABASE_URL", postgres.url()));
    let mut taken = muster.spawn_many("developer_pool", 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended: i64 = runtime.block_on(async {
        let mut person = sqlx::PgConnection::connect(&postgres.url()).await.expect("the database answers");
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        sqlx::query_scalar(end).fetch_one(&mut person).await.expect("they are ended")
    });
    assert!(ended > 0, "there were sessions");
    wait_until("a spawn is taken", BOUND, || knock(&muster).map(|id| taken.push(id)).is_ok());
    await_all(&muster, &taken);
    wait_until("health is ok", BOUND, || !is_degraded(&muster));
    // Where one was in use just then, the board names it until the next success.
    let log = muster.log();
    let told = |line: &str| line.contains("terminating connection") && !line.contains("health is degraded");
    assert!(!log.lines().any(told), "{log}");
}

/// A result that the database will never take: its task ends and says so, and nothing else is held up by it.
#[test]
fn a_result_that_can_not_be_stored_ends_its_task_alone() {
    let muster = Muster::start(Options::default());
    muster.spawn_many("developer_pool", 2);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let mut person = runtime.block_on(sqlx::SqliteConnection::connect(&url)).expect("the database opens");
    let refusal = "CREATE TRIGGER poisoned BEFORE UPDATE ON tasks WHEN NEW.output = '\"poison\"' \
        BEGIN SELECT RAISE(ABORT, 'no poison here'); END";
    runtime.block_on(person.execute(refusal)).expect("a trigger");
    let ids: Vec<String> = ["poison", "bread", "poison", "milk"]
        .iter()
        .map(|input| {
            let body = json!({"pool_name": "developer_pool", "input": input});
            muster.post("/api/v1/tasks", &body).body["task_id"].as_str().expect("a task").to_owned()
        })
        .collect();
    for (id, input) in ids.iter().zip(["poison", "bread", "poison", "milk"]) {
        let task = muster.get(&format!("/api/v1/tasks/{id}?wait=30")).body;
        if input == "poison" {
            assert_eq!(task["state"], "failed", "{task}");
            let message = task["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains("no poison here"), "{task}");
        } else {
            assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), &json!(input)), "{task}");
        }
    }
    assert!(!is_degraded(&muster), "the store is well");
}

/// Tasks one after the other write many times what the disk holds into the database's log, which never takes much of it.
#[test]
fn a_small_disk_is_not_filled_by_the_log() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: a file system can be mounted by root only ({error})"),
    };
    let folder = disk.path().join("d");
    let muster = Muster::start(Options { data_dir: Some(folder), ..Options::default() });
    muster.spawn_many("developer_pool", 1);
    let log = muster.data_dir().join("muster.db-wal");
    let mut largest = 0;
    for number in 0..400 {
        let body = json!({"pool_name": "developer_pool", "input": number});
        let task = muster.post("/api/v1/tasks", &body);
        assert_eq!(task.status, 202, "task {number}: {task:?}");
        let id = task.body["task_id"].as_str().expect("a task");
        let task = muster.get(&format!("/api/v1/tasks/{id}?wait=30")).body;
        assert_eq!(task["state"], "succeeded", "{task}");
        largest = largest.max(std::fs::metadata(&log).map_or(0, |file| file.len()));
    }
    assert!(largest < 5 << 20, "the log had {largest} bytes of a disk of 8 MiB");
    drop(muster);
}

/// PostgreSQL takes connections and says nothing. Whoever ends the server is not held up by it, and nothing is left.
#[test]
fn a_database_that_hangs_does_not_hold_up_the_end() {
    let postgres = Postgres::start();
    let env = vec![("MUSTER_DATABASE_URL".to_owned(), postgres.url())];
    let mut muster = Muster::start(Options { env, ..Options::default() });
    muster.spawn_many("developer_pool", 12);
    let workers: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    postgres.hang();
    let begun = Instant::now();
    faults::signal(muster.pid(), libc::SIGTERM);
    muster.await_exit(0);
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    assert!(!workers.iter().any(|pid| lives(*pid)), "the workers have ended");
}

/// The store gives the lead, and nothing of what comes next: `/health` says why nobody leads, until it is mended.
#[test]
fn a_start_that_fails_says_why_and_is_tried_again() {
    let mut muster = Muster::start(Options::default());
    muster.stop();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let change = |sql: &'static str| {
        runtime.block_on(async {
            let mut person = sqlx::SqliteConnection::connect(&url).await.expect("the database opens");
            person.execute(sql).await.expect("changed");
            person.close().await.expect("closed");
        });
    };
    change("ALTER TABLE lives RENAME TO elsewhere");
    let next = muster.standby();
    let says = || next.get("/health").body["degraded"].to_string().contains("no such table: lives");
    wait_until("health says so", BOUND, says);
    let tries = || next.log().matches("could not start to lead").count();
    let before = tries();
    // Not only between two tries.
    wait_until("it is tried again", BOUND, || {
        assert!(says(), "{:?}", next.get("/health"));
        tries() > before + 1
    });
    change("ALTER TABLE elsewhere RENAME TO lives");
    next.await_ready();
    assert!(!says());
}

/// The server migrates, and a PgBouncer that should take all else refuses: the log and `/health` say what is waited for.
#[test]
fn a_bouncer_that_refuses_is_named() {
    let postgres = Postgres::start();
    let env = vec![
        ("MUSTER_DATABASE_URL".to_owned(), postgres.url()),
        ("MUSTER_PGBOUNCER_URL".to_owned(), "postgresql://postgres@localhost:6432/postgres?host=/nobody".to_owned()),
    ];
    let muster = Muster::launch(Options { env, ..Options::default() });
    wait_until("the log says so", BOUND, || muster.log().contains("waiting for the store"));
    wait_until("health says so", BOUND, || muster.get("/health").body.to_string().contains("not available"));
    assert!(muster.log().contains("/nobody"), "it names whom it waits for: {}", muster.log());
}

/// PostgreSQL ends in the middle of many commits: some were written though their answer was lost. Whoever was refused
/// does not run, whoever was taken does, and nobody is stuck in between.
#[test]
fn postgres_may_go_and_come_back_in_the_middle_of_spawns() {
    let mut postgres = Postgres::start();
    let env = vec![("MUSTER_DATABASE_URL".to_owned(), postgres.url())];
    let muster = Muster::start(Options { env, ..Options::default() });
    let mut taken = muster.spawn_many("developer_pool", 3);
    for _ in 0..4 {
        let answers: Vec<Result<String, Answer>> = std::thread::scope(|scope| {
            let asks: Vec<_> = (0..40).map(|_| scope.spawn(|| knock(&muster))).collect();
            let before = taken.len();
            wait_until("some are stored", BOUND, || muster.all_agents().len() > before + 4);
            postgres.stop();
            asks.into_iter().map(|ask| ask.join().expect("answered")).collect()
        });
        for answer in answers {
            match answer {
                Ok(id) => taken.push(id),
                Err(refused) => assert_eq!(refused.status, 503, "{refused:?}"),
            }
        }
        wait_until("health says so", BOUND, || is_degraded(&muster));
        let worker = muster.all_workers().remove(0);
        kill9(worker.pid);
        postgres.resume();
        wait_until("health is back", BOUND, || !is_degraded(&muster));
        wait_until("the dead worker is known", BOUND, || {
            muster.all_workers().iter().all(|other| other.id != worker.id)
        });
        wait_until("those that were refused are gone", BOUND, || {
            muster.all_agents().iter().all(|agent| agent.state == "idle") && muster.all_agents().len() == taken.len()
        });
        await_all(&muster, &taken);
    }
}
