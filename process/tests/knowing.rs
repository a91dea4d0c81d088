//! Knowing a process: who it is, whether it lives, what it uses, what carries a mark; and who holds the lock.

mod support;

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use muster_process::census::Census;
use muster_process::{
    Custody, DataLock, LeftoverSearch, Lineage, Means, Pidfd, Presence, ProcessExit, Program, Signal, Spawner,
    identity, lock, mark, ownership, usage,
};
use support::{Freezer, all_means, new_tag, output, run, shell, spawn, tagged, wait_until};

fn is_dead(identity: &muster_domain::LocalIdentity) -> bool {
    matches!(identity::find(identity).expect("asked"), Presence::Dead)
}

#[test]
fn a_living_process_is_found_and_a_dead_one_is_not() {
    run(async {
        let child = spawn(shell("exec sleep 1000", Custody::Child), all_means()[0]).await.expect("it starts");
        let own = child.identity.expect("it is alone");
        assert_eq!(identity::of(child.pid).expect("it lives"), own);
        let Presence::Alive(pidfd) = identity::find(&own).expect("asked") else { panic!("it lives") };
        assert!(!pidfd.is_dead());
        pidfd.signal(Signal::SIGKILL).expect("sent");
        tokio::try_join!(pidfd.dead(), pidfd.dead()).expect("two may wait");
        assert!(pidfd.is_dead() && is_dead(&own));
        child.exit.await;
        assert!(pidfd.is_dead() && is_dead(&own));
        assert!(child.keeper.pidfd().is_dead(), "this one can be had however late");
        assert_eq!(pidfd.signal(Signal::SIGKILL).expect_err("reaped").raw_os_error(), Some(libc::ESRCH));
        assert_eq!(identity::of(child.pid).expect_err("gone").kind(), std::io::ErrorKind::NotFound);
    });
}

#[test]
fn another_process_with_the_same_pid_is_dead() {
    let own = identity::own().expect("this one");
    assert!(matches!(identity::find(&own), Ok(Presence::Alive(_))));
    let mut reused = own.clone();
    reused.start_time -= 1;
    assert!(is_dead(&reused));
    let mut nobody = own.clone();
    nobody.pid = 0;
    assert!(is_dead(&nobody));
    let mut contained = own;
    contained.pid_namespace += 1;
    assert!(matches!(identity::find(&contained), Ok(Presence::Elsewhere)));
}

#[test]
fn a_lock_has_one_holder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lock");
    assert!(!lock::is_held(&path).expect("no file, no lock"));
    assert!(!path.exists());
    let held = DataLock::acquire(&path).expect("tried").expect("free");
    assert_eq!(std::fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o600);
    assert!(lock::is_held(&path).expect("asked"));
    assert!(DataLock::acquire(&path).expect("tried").is_none());
    // What is started meanwhile does not keep it.
    for (means, custody) in all_means().into_iter().flat_map(|means| [(means, Custody::Tree), (means, Custody::Free)]) {
        run(async {
            let held = DataLock::acquire(&folder.path().join("other")).expect("tried").expect("free");
            let child = spawn(shell("exec sleep 1000", custody), means).await.expect("it starts");
            drop(held);
            assert!(!lock::is_held(&folder.path().join("other")).expect("asked"), "{custody:?}");
            child.keeper.kill();
            child.exit.await;
        });
    }
    drop(held);
    assert!(!lock::is_held(&path).expect("asked"));
    assert!(DataLock::acquire(&folder.path().join("no/folder")).is_err());
}

/// A shell script that bears a worker's mark.
fn marked_shell(script: &str, custody: Custody, worker: &str) -> Program {
    let mut program = shell(script, custody);
    program.env.push((mark::WORKER.into(), worker.into()));
    program
}

/// Becomes a user who owns nothing; for root only.
const NOBODY: [&str; 6] = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

/// What a search for one worker came to.
#[derive(Debug, PartialEq, Eq)]
struct Sweep {
    killed: usize,
    clean: bool,
}

const NOTHING: Sweep = Sweep { killed: 0, clean: true };

/// Makes passes until nothing of the worker is left, or two seconds are over.
fn sweep(worker: &str) -> Sweep {
    sweep_those_of(worker, Lineage::default())
}

fn sweep_those_of(worker: &str, lineage: Lineage) -> Sweep {
    let (mut hunt, begun) = (LeftoverSearch::default(), Instant::now());
    hunt.add(OsStr::new(worker), lineage);
    while begun.elapsed() < Duration::from_secs(2) {
        if let Some((_, killed)) = hunt.pass().expect("the processes can be read").clean.pop() {
            return Sweep { killed, clean: true };
        }
    }
    Sweep { killed: 0, clean: false }
}

#[test]
fn marked_processes_are_found_and_killed() {
    for means in all_means() {
        run(async {
            let tag = new_tag();
            let worker = OsStr::new(&tag);
            let marked = |worker| mark::marked(worker).expect("read");
            let script = format!("setsid sleep {tag}1 & ( trap '' TERM; sleep {tag}2 ) & exec sleep {tag}3");
            let child = spawn(marked_shell(&script, Custody::Child, &tag), means).await.expect("it starts");
            wait_until("all run", || tagged(&format!("sleep\0{tag}")).len() == 3);
            wait_until("all are found", || marked(worker).len() >= 3);
            assert_eq!(marked(OsStr::new(&tag[1..])), [0; 0], "the whole value counts");
            assert!(mark::workers().expect("read").contains(worker));
            let swept = sweep(&tag);
            assert!(swept.killed >= 3 && swept.clean, "{swept:?}");
            assert!(!mark::workers().expect("read").contains(worker));
            assert_eq!(tagged(&tag), [0; 0]);
            assert_eq!(sweep(&tag), NOTHING);
            child.exit.await;
        });
    }
}

#[test]
fn what_is_older_than_a_worker_is_none_of_its() {
    run(async {
        let tag = new_tag();
        let child = spawn(marked_shell(&format!("exec sleep {tag}"), Custody::Child, &tag), all_means()[0]);
        let child = child.await.expect("it starts");
        wait_until("it runs", || tagged(&format!("sleep\0{tag}")).len() == 1);
        let (born, start) =
            (|ticks| Lineage { born: Some(ticks), limited: false }, child.identity.expect("it is alone").start_time);
        assert_eq!(sweep_those_of(&tag, born(start + 1)), NOTHING);
        assert_eq!(tagged(&format!("sleep\0{tag}")).len(), 1, "it goes on");
        let swept = sweep_those_of(&tag, born(start));
        assert!(swept.killed >= 1 && swept.clean, "{swept:?}");
        child.exit.await;
    });
}

#[test]
fn a_sweep_is_not_clean_while_something_does_not_die() {
    let tag = new_tag();
    let Some(freezer) = Freezer::new(&tag) else {
        eprintln!("not tested: there is no freezer here that this user may use");
        return;
    };
    run(async {
        let child = spawn(marked_shell(&format!("exec sleep {tag}"), Custody::Child, &tag), all_means()[0]);
        let child = child.await.expect("it starts");
        wait_until("it runs", || !tagged(&format!("sleep\0{tag}")).is_empty());
        freezer.freeze(child.pid);
        assert_eq!(sweep(&tag), Sweep { killed: 0, clean: false });
        drop(freezer);
        assert!(sweep(&tag).clean);
        child.exit.await;
    });
}

/// All that bears the worker's mark has cleared its environment, but for the init, which nobody but root can read.
fn assert_an_init_is_swept() {
    for means in all_means() {
        run(async {
            let tag = new_tag();
            let script = format!("exec env -i sleep {tag}");
            let child = spawn(marked_shell(&script, Custody::Tree, &tag), means).await.expect("it starts");
            wait_until("it runs", || !tagged(&format!("sleep\0{tag}")).is_empty());
            // The `env` that becomes it bears the mark still.
            wait_until("its mark is gone", || mark::marked(OsStr::new(&tag)).expect("read").is_empty());
            let other = spawn(marked_shell("sleep 1000", Custody::Tree, "another"), means).await.expect("it starts");
            let swept = sweep(&tag);
            assert!(swept.killed >= 1 && swept.clean, "{means:?}: {swept:?}");
            assert_eq!(child.exit.await, ProcessExit::Signal(libc::SIGKILL));
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
            assert!(!other.keeper.pidfd().is_dead(), "another worker's is left alone");
            other.keeper.kill();
            other.exit.await;
        });
    }
}

#[test]
fn an_init_is_found_by_its_name() {
    assert_an_init_is_swept();
}

#[test]
#[ignore = "the process that the test below starts as another user, not a test"]
fn another_user() {
    if std::env::var_os("ANOTHER_USER").is_some() {
        assert_an_init_is_swept();
    }
}

#[test]
fn an_init_is_found_by_its_name_without_root() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("open to all");
    let program = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().expect("a path"), &program).expect("copied");
    let test = ["another_user", "--exact", "--ignored", "--nocapture"].map(OsString::from);
    let line = NOBODY.map(OsString::from).into_iter().chain([program.into()]).chain(test);
    let mut program = Program::new(line, Custody::Free);
    program.env =
        vec![("ANOTHER_USER".into(), "yes".into()), ("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
    let (said, exit) = run(output(program, all_means()[0]));
    assert_eq!(exit, ProcessExit::Code(0), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

/// A script bears its file's name. This one waits until it is killed.
#[test]
fn an_inits_name_is_not_believed_of_everybody() {
    let (folder, tag) = (tempfile::tempdir().expect("a folder"), format!("worker-{}", new_tag()));
    let (script, fifo) = (folder.path().join(format!("mi-{}", &tag[tag.len() - 12..])), folder.path().join("fifo"));
    std::fs::write(&script, format!("#!/bin/sh\nread go < {}\n", fifo.display())).expect("written");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    for path in [folder.path(), &script, &fifo] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("open to all");
    }
    let foreign: &[&str] = if nix::unistd::geteuid().is_root() { &NOBODY } else { &[] };
    for (user, mark, is_struck) in
        [(&[][..], None, true), (&[], Some("another"), false), (foreign, None, foreign.is_empty())]
    {
        run(async {
            let line = user.iter().map(OsString::from).chain([OsString::from(&script)]);
            let mut program = Program::new(line, Custody::Child);
            program.env = mark.map(|mark| (mark::WORKER.into(), mark.into())).into_iter().collect();
            let child = spawn(program, Means::BestEffort).await.expect("it starts");
            let name = format!("/proc/{}/comm", child.pid);
            let expected = format!("{}\n", script.file_name().and_then(OsStr::to_str).expect("a name"));
            wait_until("it has its name", || std::fs::read_to_string(&name).is_ok_and(|name| name == expected));
            assert_eq!(sweep(&tag), Sweep { killed: usize::from(is_struck), clean: true }, "{user:?} {mark:?}");
            child.keeper.kill();
            child.exit.await;
        });
    }
}

#[test]
fn a_process_that_asks_again_and_again_hears_of_itself_what_others_read_of_it() {
    let mut gauge = usage::OwnUsage::default();
    let (own, read) = (gauge.read().expect("this one"), usage::of(std::process::id()).expect("this one"));
    // Others are tested meanwhile; and what others read is in clock ticks.
    assert!(own.rss_bytes.abs_diff(read.rss_bytes) < 16 << 20, "{own:?}, {read:?}");
    assert!(own.cpu < read.cpu + Duration::from_secs(1) && read.cpu < own.cpu + Duration::from_secs(1));
    let more = std::hint::black_box(vec![1_u8; 64 << 20]);
    assert!(gauge.read().expect("this one").rss_bytes > own.rss_bytes + more.len() as u64 / 2);
}

#[test]
fn usage_is_that_of_the_tree() {
    let own = usage::of(std::process::id()).expect("this one");
    assert!(own.rss_bytes > 500_000 && own.processes == 1, "{own:?}");
    assert_eq!(usage::of(0), None);
    for means in all_means() {
        run(async {
            let script = "while :; do :; done & sleep 1000 & wait";
            let child = spawn(shell(script, Custody::Tree), means).await.expect("it starts");
            let root = child.root;
            let count = || Census::take().expect("a census");
            wait_until("it works", || {
                let census = count();
                let tree = census.tree(root);
                // Its init has worked before there is a program.
                tree.len() == 4 && census.cpu(&tree) > Duration::from_millis(20)
            });
            let census = count();
            let tree = census.tree(root);
            let memory = census.memory(&tree, std::process::id());
            assert!(tree.len() == 4 && memory.len() == 4, "init, two shells, sleep: {memory:?}");
            assert!(memory.values().sum::<u64>() > 300_000, "{memory:?}");
            assert_eq!(census.branch_of(std::process::id(), child.pid), Some(root));
            assert!(usage::of_all([child.pid, 0]).processes == 1);
            child.keeper.kill();
            child.exit.await;
            assert!(count().tree(root).is_empty());
        });
    }
}

#[test]
fn there_is_one_nursery_and_it_says_what_the_host_gives() {
    Spawner::start().expect("started");
    Spawner::start().expect("the same");
    let nurseries = || {
        let threads = std::fs::read_dir("/proc/self/task").expect("a folder");
        let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        names.filter(|name| name == "muster-nursery\n").count()
    };
    // A thread names itself, some time after its start.
    wait_until("it has its name", || nurseries() > 0);
    assert_eq!(nurseries(), 1);
    assert!(!ownership().to_string().is_empty());
}

/// Not a judgement, since machines differ: figures for the reader, with bounds that only a fault breaks.
#[test]
fn a_tree_is_cheap() {
    for means in all_means() {
        run(async {
            let mut times = Vec::new();
            for _ in 0..50 {
                let start = Instant::now();
                let child = spawn(Program::new(["/bin/true"], Custody::Tree), means).await.expect("it starts");
                let started = start.elapsed();
                child.exit.await;
                times.push((started, start.elapsed()));
            }
            times.sort();
            let child = spawn(Program::new(["/bin/sleep", "1000"], Custody::Tree), means).await.expect("it starts");
            let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.root)).unwrap_or_default();
            let field = |name: &str| rollup.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            let memory = ["Pss:", "Private_Dirty:", "Private_Clean:"].map(field);
            let own = usage::of(std::process::id()).expect("this one").rss_bytes / 1024;
            println!("{means:?}: median start and end {:?}, init {memory:?}, parent {own} kB", times[25]);
            assert!(times[25].1 < Duration::from_millis(500));
            assert!(Pidfd::open(child.pid).is_ok());
            child.keeper.kill();
            child.exit.await;
        });
    }
}
