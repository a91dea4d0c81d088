//! Files that go, or become something else, while the server runs.

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::faults::{kill9, processes_with, signal};
use crate::harness::{BOUND, Muster, Options, wait_until};

/// Agents that print a word every 50 ms, after these words of a shell.
fn talkers(first: &str) -> Options {
    Options::config(format!(
        "[runtimes.talker]\nkind = \"exec\"\nready = \"started\"\n\
         command = [\"sh\", \"-c\", \'\'\'{first}while :; do echo word; sleep 0.05; done\'\'\']\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"talker\"\n"
    ))
}

fn logs(muster: &Muster, id: &str) -> crate::harness::Answer {
    muster.get(&format!("/api/v1/agents/{id}/logs?tail=10"))
}

fn has_words(muster: &Muster, id: &str) -> bool {
    let answer = logs(muster, id);
    answer.status == 200 && answer.body.as_str().is_some_and(|text| text.contains(" out word"))
}

fn agent(muster: &Muster, id: &str) -> Value {
    muster.get(&format!("/api/v1/agents/{id}")).body
}

#[test]
fn an_agent_that_replaces_its_log_holds_up_nobody() {
    // A FIFO blocks whoever opens it, until somebody writes: nobody will.
    let silent = "log=../../logs/agents/$MUSTER_AGENT_ID.log; echo first; while [ ! -s $log ]; do sleep 0.01; done; \
                  rm $log; mkfifo $log; exec sleep 3600; ";
    let muster = Muster::start(talkers(silent));
    let id = muster.spawn("p").text("agent_id").to_owned();
    wait_until("the log is a FIFO", BOUND, || logs(&muster, &id).code() == "log_unreadable");
    let detail = logs(&muster, &id).text("detail").to_owned();
    assert!(detail.contains("is a FIFO and no file"), "{detail}");
    // More than there are threads that could be held.
    for _ in 0..600 {
        assert_eq!(logs(&muster, &id).status, 500);
    }
    kill9(muster.all_workers().remove(0).pid);
    wait_until("it runs again", BOUND, || {
        let agent = agent(&muster, &id);
        agent["state"] == "idle" && agent["epoch"].as_u64() > Some(1)
    });
    assert_eq!(muster.terminate(&id).status, 200);
}

#[test]
fn a_log_that_an_agent_replaced_is_one_again_with_the_next_words() {
    let first = "log=../../logs/agents/$MUSTER_AGENT_ID.log; echo first; while [ ! -s $log ]; do sleep 0.01; done; \
                 rm $log; ln -s /dev/zero $log; ";
    let muster = Muster::start(talkers(first));
    let id = muster.spawn("p").text("agent_id").to_owned();
    wait_until("its words are shown", BOUND, || has_words(&muster, &id));
}

#[test]
fn logs_and_folders_that_were_removed_are_made_again() {
    let muster = Muster::start(talkers(""));
    let id = muster.spawn("p").text("agent_id").to_owned();
    wait_until("its words are shown", BOUND, || has_words(&muster, &id));
    for folder in ["logs", "agents"] {
        std::fs::remove_dir_all(muster.data_dir().join(folder)).expect("removed");
    }
    wait_until("its words are shown again", BOUND, || has_words(&muster, &id));
    // What the worker says itself is in its file again.
    let worker = muster.all_workers().remove(0);
    let log = muster.data_dir().join(format!("logs/workers/{}.log", worker.id));
    wait_until("its log is there again", BOUND, || {
        signal(worker.pid, libc::SIGHUP);
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("SIGHUP"))
    });
    // A new worker can be started.
    kill9(worker.pid);
    let other = muster.spawn("p");
    assert_eq!(other.status, 201, "{other:?}");
    let other = other.text("agent_id").to_owned();
    wait_until("the words of both are shown", BOUND, || has_words(&muster, &id) && has_words(&muster, &other));
    assert_eq!(degraded(&muster), "");
}

/// What `/health` says of files.
fn degraded(muster: &Muster) -> String {
    let health = muster.get("/health").body;
    let lines = health["degraded"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let of_files = |line: &&str| line.starts_with("data folder") || line.starts_with("database file");
    lines.filter(of_files).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_data_folder_that_was_moved_is_named_and_nothing_is_taken_until_it_is_back() {
    let muster = Muster::start(talkers(""));
    let id = muster.spawn("p").text("agent_id").to_owned();
    let made = muster.post("/api/v1/agents/pools", &json!({"pool_name": "made", "role_type": "developer"}));
    assert_eq!(made.status, 201, "{made:?}");
    let later = json!({"pool_name": "made", "input": 1, "not_before": "2099-01-01T00:00:00Z"});
    let task = muster.post("/api/v1/tasks", &later).text("task_id").to_owned();
    let (folder, moved) = (muster.data_dir(), muster.folder().join("moved"));
    std::fs::rename(folder, &moved).expect("moved");
    wait_until("it is named", BOUND, || {
        let words = degraded(&muster);
        words.contains("is away") && words.contains("muster.db was removed, moved or replaced")
    });
    let refused = muster.spawn("p");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.text("detail").contains("put the same file back"), "{refused:?}");
    assert!(!refused.text("detail").contains("try again"), "only a person mends it: {refused:?}");
    let ready = muster.get("/ready");
    assert_eq!((ready.status, ready.code()), (503, "not_ready"), "{ready:?}");
    assert!(ready.text("detail").contains("put the same file back"), "{ready:?}");
    assert_eq!(muster.get("/api/health-docker").status, 503);
    let check = muster.get("/api/v1/system/check").body;
    let failed = |name: &str| {
        let checks = check["checks"].as_array().expect("a list");
        checks.iter().any(|line| line["name"] == name && line["ok"] == false)
    };
    assert!(failed("store") && failed("data folder"), "{check}");
    let pool = "/api/v1/agents/pools/made";
    let changes = [
        muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1})),
        muster.post("/api/v1/agents/pools", &json!({"pool_name": "another", "role_type": "developer"})),
        muster.patch(pool, &json!({"config": {"max_agents": 3}})),
        muster.post(&format!("{pool}/pause"), &json!({})),
        muster.post(&format!("{pool}/drain"), &json!({})),
        muster.post(&format!("{pool}/resume"), &json!({})),
        muster.post("/api/v1/system/pause", &json!({})),
        muster.post("/api/v1/system/resume", &json!({})),
        muster.delete(pool),
        muster.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({})),
    ];
    for refused in changes {
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.text("detail").contains("put the same file back"), "{refused:?}");
    }
    // Whatever was made at its place meanwhile, as the socket of a Redis.
    drop(std::fs::remove_dir_all(folder));
    std::fs::rename(&moved, folder).expect("put back");
    wait_until("all is well again", BOUND, || degraded(&muster).is_empty() && has_words(&muster, &id));
    assert_eq!((muster.spawn("p").status, muster.get("/ready").status), (201, 200));
}

#[test]
fn a_database_that_was_removed_is_named() {
    let muster = Muster::start(Options::default());
    let log = muster.data_dir().join("muster.db-wal");
    std::fs::rename(&log, muster.folder().join("wal")).expect("moved");
    wait_until("it is named", BOUND, || degraded(&muster).contains("muster.db-wal was removed"));
    std::fs::rename(muster.folder().join("wal"), &log).expect("put back");
    wait_until("that is over", BOUND, || degraded(&muster).is_empty());
    std::fs::remove_file(muster.data_dir().join("muster.db")).expect("removed");
    wait_until("it is named", BOUND, || degraded(&muster).contains("muster.db was removed"));
    assert_eq!(muster.spawn("developer_pool").status, 503);
}

/// Whether the server holds a lock on the database, which keeps other programs from taking themselves for its last user.
fn is_locked(muster: &Muster) -> bool {
    let file = std::fs::metadata(muster.data_dir().join("muster.db")).expect("the database");
    let (pid, inode) = (muster.pid().to_string(), format!(":{}", file.ino()));
    let locks = std::fs::read_to_string("/proc/locks").expect("the locks of the system");
    locks.lines().any(|lock| {
        let words = || lock.split_whitespace();
        words().any(|word| word == pid) && words().any(|word| word.ends_with(&inode))
    })
}

#[test]
fn a_database_is_looked_at_without_losing_its_lock_and_named_when_it_is_overwritten() {
    let muster = Muster::start(Options::default());
    assert_eq!(muster.spawn("developer_pool").status, 201);
    let (path, aside) = (muster.data_dir().join("muster.db"), muster.folder().join("db"));
    // So it was looked at, and then all was well again.
    std::fs::rename(&path, &aside).expect("moved");
    wait_until("it is named", BOUND, || degraded(&muster).contains("muster.db was removed"));
    std::fs::rename(&aside, &path).expect("put back");
    wait_until("that is over", BOUND, || degraded(&muster).is_empty());
    assert!(is_locked(&muster));
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the database");
    file.write_all_at(&[7; 100], 0).expect("overwritten");
    wait_until("it is named", BOUND, || degraded(&muster).contains("is no database any more"));
    assert_eq!(muster.spawn("developer_pool").status, 503);
}

/// The second one gets the lock before the first can make its own again, since that one stands still.
#[test]
fn of_two_servers_on_one_folder_whose_lock_was_removed_one_leads_and_the_other_stands_by() {
    let program = format!("run-once-{}", std::process::id());
    let first = Muster::start(talkers(&format!(": {program}; ")));
    let id = first.spawn("p").text("agent_id").to_owned();
    wait_until("its words are shown", BOUND, || has_words(&first, &id));
    first.sigstop();
    std::fs::remove_file(first.data_dir().join("muster.lock")).expect("removed");
    let second = first.standby();
    second.await_ready();
    first.sigcont();
    wait_until("the first stands by", BOUND, || {
        let answer = first.get("/api/v1/agents");
        answer.code() == "not_leader" && answer.text("leader") == second.address()
    });
    second.await_ready();
    let fence = || second.get("/api/v1/system/status").body["fence"].as_u64();
    let (before, since) = (fence().expect("it leads"), Instant::now());
    wait_until("three seconds have passed", BOUND, || {
        assert_eq!(fence(), Some(before), "the lead was taken");
        assert_eq!(first.get("/api/v1/agents").code(), "not_leader");
        since.elapsed() > Duration::from_secs(3)
    });
    let address = std::fs::read_to_string(second.data_dir().join("muster.addr")).expect("an address");
    assert_eq!(address, second.address());
    wait_until("the agent runs", BOUND, || agent(&second, &id)["state"] == "idle" && has_words(&second, &id));
    second.await_each_in_one_worker();
    // A second one is there for the moment in which a shell becomes a sleep.
    wait_until("it runs once", BOUND, || processes_with(&program).len() == 1);
    assert_eq!((second.all_workers().len(), degraded(&second)), (1, String::new()));
}

#[test]
fn the_address_and_the_lock_of_a_leader_are_made_again() {
    let muster = Muster::start(Options::default());
    let file = |name: &str| muster.data_dir().join(name);
    for name in ["muster.addr", "muster.lock"] {
        std::fs::remove_file(file(name)).expect("removed");
    }
    wait_until("both are there", BOUND, || {
        std::fs::read_to_string(file("muster.addr")).is_ok_and(|text| text == muster.address())
            && file("muster.lock").exists()
    });
    let standby = muster.standby();
    wait_until("another one finds the folder taken", BOUND, || standby.get("/api/v1/agents").code() == "not_leader");
    assert_eq!(degraded(&muster), "");
    // What nobody can lock is told by both, and ends neither.
    std::fs::remove_file(file("muster.lock")).expect("removed");
    std::fs::create_dir(file("muster.lock")).expect("a folder in its place");
    wait_until("the leader names it", BOUND, || degraded(&muster).contains("cannot lock"));
    wait_until("the standby names it", BOUND, || standby.get("/api/v1/agents").text("detail").contains("cannot lock"));
    std::fs::remove_dir(file("muster.lock")).expect("removed");
    // Whoever was first.
    wait_until("one leads and the other one stands by", BOUND, || {
        let [one, other] = [&muster, &standby].map(|server| server.get("/api/v1/agents"));
        [(one.status, other.code()), (other.status, one.code())].contains(&(200, "not_leader"))
    });
}

/// The password is in a file, and an agent can put anything in its place.
#[test]
fn what_is_put_in_the_place_of_the_password_is_removed_and_locks_nobody_out() {
    let mut muster = Muster::start(talkers(""));
    let id = muster.spawn("p").text("agent_id").to_owned();
    let path = muster.data_dir().join("redis/password");
    let secret = std::fs::read_to_string(&path).expect("a password");
    let replace = || {
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir_all(path.join("inner")).expect("a folder in its place");
    };
    replace();
    wait_until("it is a file again", BOUND, || std::fs::read_to_string(&path).is_ok_and(|text| text == secret));
    // Without a server nobody puts it back, and the worker knows the old one alone.
    let worker = muster.all_workers().remove(0).pid;
    muster.kill9();
    replace();
    muster.restart();
    wait_until("its words are shown", BOUND, || has_words(&muster, &id) && agent(&muster, &id)["state"] == "idle");
    assert_eq!(muster.all_workers().remove(0).pid, worker, "it goes on in its worker");
    assert_eq!(degraded(&muster), "");
}
