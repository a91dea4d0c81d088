//! Whoever dies, in whatever order, nothing stays behind.
//!
//! The owner of the processes is another process: this test binary again, which runs [`owner_process`] alone.

mod support;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use muster_process::{Child, Custody, Means, Pidfd, ProcessExit, Program, Signal, Spawner, detach, mark};
use support::{Freezer, all_means, await_wicked, new_tag, run, shell, spawn, tagged, wait_until, wicked};

/// What an owner does.
#[derive(Clone, Copy)]
enum Role {
    /// Owns a tree, a child and a free process.
    Family,
    /// Starts trees, one after the other.
    Busy,
    /// Holds a lock.
    Lock,
}

/// Starts an owner. It tells about itself in files of the folder.
async fn start_owner(role: Role, means: Means, tag: &str, folder: &Path) -> Child {
    let own = std::env::current_exe().expect("a path");
    let line: [OsString; 4] = [own.into(), "owner_process".into(), "--exact".into(), "--ignored".into()];
    let mut program = Program::new(line, Custody::Free);
    program.env = [
        ("PATH", std::env::var("PATH").unwrap_or_default()),
        ("OWNER_ROLE", (role as u8).to_string()),
        ("OWNER_BEST_EFFORT", (means == Means::BestEffort).to_string()),
        ("OWNER_TAG", tag.to_owned()),
        ("OWNER_FOLDER", folder.to_str().expect("text").to_owned()),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    Spawner::start().expect("a nursery").spawn(program).await.expect("it starts")
}

#[test]
#[ignore = "the process that the tests of this file kill, not a test"]
fn owner_process() {
    let Ok(tag) = std::env::var("OWNER_TAG") else { return };
    let folder = std::path::PathBuf::from(std::env::var_os("OWNER_FOLDER").expect("a folder"));
    let role = std::env::var("OWNER_ROLE").expect("a role").parse::<u8>().expect("a number");
    let best_effort = std::env::var("OWNER_BEST_EFFORT").is_ok_and(|word| word == "true");
    let means = if best_effort { Means::BestEffort } else { all_means()[0] };
    detach().expect("a session");
    run(async {
        let (mut kept, lock) = (Vec::new(), muster_process::DataLock::acquire(&folder.join("lock")).expect("a lock"));
        if role == Role::Family as u8 {
            kept.push(spawn(wicked(&tag), means).await.expect("it starts"));
            for (custody, number) in [(Custody::Child, 4), (Custody::Free, 5)] {
                let script = format!("exec sleep {tag}{number}");
                kept.push(spawn(shell(&script, custody), means).await.expect("it starts"));
            }
            await_wicked(&tag);
        }
        let init = kept.first().map_or(0, |tree| tree.root);
        std::fs::write(folder.join("new"), init.to_string()).expect("written");
        std::fs::rename(folder.join("new"), folder.join("ready")).expect("renamed");
        if role == Role::Busy as u8 {
            loop {
                kept.push(spawn(wicked(&tag), means).await.expect("it starts"));
            }
        }
        std::future::pending::<()>().await;
        drop((kept, lock));
    });
}

fn await_ready(folder: &Path) -> u32 {
    let ready = folder.join("ready");
    wait_until("the owner is ready", || ready.exists());
    std::fs::read_to_string(ready).expect("read").parse().expect("a pid")
}

/// Kills all of these; stopped first, so that none can act on the death of another before its own.
fn kill_together(pids: &[u32]) {
    let held: Vec<Pidfd> = pids.iter().map(|pid| Pidfd::open(*pid).expect("it lives")).collect();
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        held.iter().for_each(|pidfd| pidfd.signal(signal).expect("sent"));
    }
}

/// Starts a family, kills some of it, and asserts that nothing is left in the moment that the owner's end is told. (Its
/// free process goes too: this process is a subreaper that has not started it.)
fn nothing_stays(victims: impl Fn(u32, u32) -> Vec<u32>) {
    for means in all_means() {
        let folder = tempfile::tempdir().expect("a folder");
        let tag = new_tag();
        run(async {
            let owner = start_owner(Role::Family, means, &tag, folder.path()).await;
            let init = await_ready(folder.path());
            kill_together(&victims(owner.pid, init));
            assert_eq!(owner.exit.await, ProcessExit::Signal(libc::SIGKILL));
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
        });
    }
}

#[test]
fn the_owner_is_killed() {
    nothing_stays(|owner, _| vec![owner]);
}

#[test]
fn the_owner_and_the_init_are_killed() {
    nothing_stays(|owner, init| vec![owner, init]);
    nothing_stays(|owner, init| vec![init, owner]);
}

#[test]
fn an_owner_is_killed_in_the_middle_of_starting() {
    for (means, _) in all_means().into_iter().flat_map(|means| (0..5).map(move |round| (means, round))) {
        let folder = tempfile::tempdir().expect("a folder");
        let tag = new_tag();
        run(async {
            let owner = start_owner(Role::Busy, means, &tag, folder.path()).await;
            await_ready(folder.path());
            wait_until("some trees run", || tagged(&tag).len() > 5);
            kill_together(&[owner.pid]);
            assert_eq!(owner.exit.await, ProcessExit::Signal(libc::SIGKILL));
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
        });
    }
}

#[test]
fn a_lock_ends_with_its_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lock");
    run(async {
        let owner = start_owner(Role::Lock, Means::BestEffort, &new_tag(), folder.path()).await;
        await_ready(folder.path());
        assert!(muster_process::lock::is_held(&path).expect("asked"));
        assert!(muster_process::DataLock::acquire(&path).expect("tried").is_none());
        kill_together(&[owner.pid]);
        owner.exit.await;
        assert!(!muster_process::lock::is_held(&path).expect("asked"));
        assert!(muster_process::DataLock::acquire(&path).expect("tried").is_some());
    });
}

/// Starts a script as the worker of this id.
async fn worker(id: &str, script: &str) -> Child {
    let mut program = shell(script, Custody::Free);
    program.env.push((mark::WORKER.into(), id.into()));
    spawn(program, Means::BestEffort).await.expect("it starts")
}

/// Whether the end was told. Polls once.
async fn is_told(exit: &mut muster_process::ExitWatch) -> bool {
    tokio::select! {
        biased;
        _ = exit => true,
        () = std::future::ready(()) => false,
    }
}

/// A worker leaves something that cannot die, which does or does not tell whose it is; another one ends cleanly.
fn play_with_a_frozen_stray(mark_is_kept: bool) {
    let (tag, other) = (new_tag(), new_tag());
    let Some(freezer) = Freezer::new(&tag) else {
        eprintln!("not tested: there is no freezer here that this user may use");
        return;
    };
    run(async {
        let clear = if mark_is_kept { "" } else { "env -i " };
        // The fifo holds it until it is frozen.
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
        let script = format!("setsid {clear}sleep {tag}1 & read go < {}", fifo.display());
        let mut first = worker(&tag, &script).await;
        // Not yet as the `setsid` or the `env` that becomes it: their environment is still the worker's.
        let is_sleep =
            |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"));
        let sleeper = || tagged(&format!("sleep\0{tag}1")).into_iter().find(is_sleep);
        wait_until("it runs", || sleeper().is_some());
        freezer.freeze(sleeper().expect("it sleeps for long"));
        std::fs::write(&fifo, "go\n").expect("written");
        first.keeper.pidfd().dead().await.expect("it ends");
        let mut second = worker(&other, &format!("setsid sleep {other}1 & exit 0")).await;
        second.keeper.pidfd().dead().await.expect("it ends");
        if mark_is_kept {
            let told = tokio::time::timeout(Duration::from_secs(20), &mut second.exit).await;
            assert_eq!(told, Ok(ProcessExit::Code(0)), "nothing of it is left");
            assert!(!is_told(&mut first.exit).await, "what it left lives");
            assert_eq!(tagged(&other), [0; 0]);
            drop(freezer);
        } else {
            wait_until("what can die is dead", || tagged(&other).is_empty());
            assert!(!is_told(&mut second.exit).await && !is_told(&mut first.exit).await, "it may be of either");
            drop(freezer);
            second.exit.await;
        }
        first.exit.await;
        assert_eq!(tagged(&tag), [0; 0]);
    });
}

#[test]
fn what_does_not_die_holds_up_the_end_of_its_own_worker() {
    play_with_a_frozen_stray(true);
}

#[test]
fn what_does_not_tell_whose_it_is_holds_up_all() {
    play_with_a_frozen_stray(false);
}
