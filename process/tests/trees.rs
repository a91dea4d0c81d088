//! A tree ends whole, by each means, however it ends; and its end is told only then.

mod support;

use muster_process::{Child, Custody, Pidfd, ProcessExit, Signal, Stdio, mark};
use support::{
    Freezer, all_means, await_wicked, new_tag, output, read_all, run, shell, spawn, tagged, wait_until, wicked,
};

const KILLED: ProcessExit = ProcessExit::Signal(libc::SIGKILL);

/// Starts a wicked tree by each means, ends it, and asserts that nothing is left in the moment that its end is told.
fn ends_whole(end: impl Fn(&Child)) {
    for means in all_means() {
        run(async {
            let tag = new_tag();
            let mut child = spawn(wicked(&tag), means).await.expect("it starts");
            await_wicked(&tag);
            end(&child);
            assert_eq!((&mut child.exit).await, KILLED, "{means:?}");
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
            assert_eq!(child.keeper.stuck(), None);
        });
    }
}

fn kill(pid: u32) {
    Pidfd::open(pid).expect("it lives").signal(Signal::SIGKILL).expect("sent");
}

#[test]
fn when_killed() {
    ends_whole(|child| child.keeper.kill());
}

#[test]
fn when_killed_twice_at_once() {
    ends_whole(|child| {
        child.keeper.kill();
        child.keeper.kill();
    });
}

#[test]
fn when_its_program_is_killed() {
    ends_whole(|child| kill(child.pid));
}

#[test]
fn when_its_init_is_killed() {
    ends_whole(|child| kill(child.root));
}

#[test]
fn when_its_init_is_stopped_and_it_is_killed() {
    ends_whole(|child| {
        Pidfd::open(child.root).expect("it lives").signal(Signal::SIGSTOP).expect("sent");
        child.keeper.kill();
    });
}

#[test]
fn when_its_keeper_is_dropped() {
    for means in all_means() {
        run(async {
            let tag = new_tag();
            let child = spawn(wicked(&tag), means).await.expect("it starts");
            await_wicked(&tag);
            drop(child.keeper);
            assert_eq!(child.exit.await, KILLED);
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
        });
    }
}

#[test]
fn when_its_start_is_given_up() {
    for means in all_means() {
        let tag = new_tag();
        run(async {
            // One poll sends the request, and the runtime is dropped with the future.
            let start = tokio::spawn(spawn(wicked(&tag), means));
            tokio::task::yield_now().await;
            start.abort();
        });
        // Another start goes through the same thread afterwards, so the one above was dealt with.
        run(async { spawn(shell("exit 0", Custody::Tree), means).await.expect("it starts").exit.await });
        wait_until("nothing is left", || tagged(&tag).is_empty());
    }
}

#[test]
fn when_its_program_ends_by_itself() {
    for means in all_means() {
        run(async {
            let tag = new_tag();
            let script = format!("( ( trap '' TERM; setsid env -i sleep {tag}1 & ) & ); exit 7");
            let child = spawn(shell(&script, Custody::Tree), means).await.expect("it starts");
            assert_eq!(child.exit.await, ProcessExit::Code(7), "{means:?}");
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
        });
    }
}

#[test]
fn asking_reaches_every_process() {
    for means in all_means() {
        run(async {
            let tag = new_tag();
            let hears = "trap 'echo heard; exit 3' TERM; echo ready; while :; do wait; done";
            let script = format!("setsid sh -c \"{hears}\" & sleep {tag}1 & {hears}");
            let mut program = shell(&script, Custody::Tree);
            program.stdout = Stdio::Pipe;
            let mut child = spawn(program, means).await.expect("it starts");
            let stdout =
                tokio::net::unix::pipe::Receiver::from_owned_fd(child.stdout.take().expect("a pipe")).expect("a pipe");
            let mut seen = Vec::new();
            while String::from_utf8_lossy(&seen).matches("ready").count() < 2 {
                stdout.readable().await.expect("readable");
                let _ = stdout.try_read_buf(&mut seen);
            }
            child.keeper.ask();
            assert_eq!((&mut child.exit).await, ProcessExit::Code(3), "{means:?}");
            let rest = read_all(stdout.into_nonblocking_fd().expect("a descriptor"));
            let heard = String::from_utf8_lossy(&seen).matches("heard").count() + rest.matches("heard").count();
            assert!(heard >= 1, "{means:?}: {rest}");
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
        });
    }
}

#[test]
fn a_stopped_one_hears_the_question() {
    for means in all_means() {
        run(async {
            let child = spawn(shell("kill -STOP $$; sleep 1000", Custody::Tree), means).await.expect("it starts");
            let stat = format!("/proc/{}/stat", child.pid);
            wait_until("it is stopped", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(" T ")));
            child.keeper.ask();
            assert_eq!(child.exit.await, ProcessExit::Signal(libc::SIGTERM), "{means:?}");
        });
    }
}

#[test]
fn a_bomb_ends() {
    for means in all_means() {
        run(async {
            let (tag, trace) = (new_tag(), tempfile::NamedTempFile::new().expect("a file"));
            // Each generation detaches and ends when it has made the next, so no pid that was seen lives for long. Nor does it on a
            // host with many processes, where to look at all takes longer than one lives: so each leaves a line.
            let file = trace.path().display();
            let step = format!("step() {{ ( : {tag}; echo >> {file}; sleep 0.002; step ) & }}");
            let script = format!("{step}; step; step; step; exec sleep {tag}1");
            let child = spawn(shell(&script, Custody::Tree), means).await.expect("it starts");
            wait_until("it goes on", || std::fs::read(trace.path()).is_ok_and(|lines| lines.len() > 10));
            child.keeper.kill();
            assert_eq!(child.exit.await, KILLED);
            assert_eq!(tagged(&tag), [0; 0], "{means:?}");
        });
    }
}

#[test]
fn an_init_has_its_own_name_and_no_descriptor_of_its_parent() {
    for means in all_means() {
        run(async {
            let mut program = shell("sleep 1000", Custody::Tree);
            program.env.push((mark::WORKER.into(), "01a1fc69-6e61-701a-8fcf-034646c8fef3".into()));
            let child = spawn(program, means).await.expect("it starts");
            let init = format!("/proc/{}", child.root);
            let line = std::fs::read_to_string(format!("{init}/cmdline")).expect("a command line");
            assert_eq!(line.trim_end_matches('\0'), "muster-init");
            assert_eq!(std::fs::read_to_string(format!("{init}/comm")).expect("a name"), "mi-034646c8fef3\n");
            let parent = std::fs::read_to_string(format!("/proc/{}/stat", child.pid)).expect("a stat");
            assert!(parent.contains(&format!(" {} ", child.root)), "its parent is the init: {parent}");
            // The init is not dumpable, so only root may look.
            if let Ok(open) = std::fs::read_dir(format!("{init}/fd")) {
                assert_eq!(open.count(), 2, "the cord and the signals");
            }
            child.keeper.kill();
            child.exit.await;
        });
    }
}

#[test]
fn in_a_namespace_proc_shows_the_tree_alone() {
    for means in all_means() {
        let muster_process::Means::PidNamespace { private_proc: true, .. } = means else { continue };
        let (shown, exit) = run(output(shell("ls /proc | grep -c '^[0-9]*$'; echo $$", Custody::Tree), means));
        assert_eq!(exit, ProcessExit::Code(0));
        let numbers: Vec<u32> = shown.lines().map(|line| line.parse().expect("a number")).collect();
        assert!(numbers[0] <= 4 && numbers[1] == 2, "{numbers:?}");
        assert!(std::fs::read_dir("/proc/1").is_ok(), "the host's is as it was");
    }
}

#[test]
fn one_that_cannot_die_is_named_and_its_end_not_told() {
    for means in all_means() {
        let tag = new_tag();
        let Some(freezer) = Freezer::new(&tag) else {
            eprintln!("not tested: there is no freezer here that this user may use");
            return;
        };
        run(async {
            let mut child = spawn(shell(&format!("exec sleep {tag}"), Custody::Tree), means).await.expect("it starts");
            wait_until("it runs", || !tagged(&format!("sleep\0{tag}")).is_empty());
            freezer.freeze(child.pid);
            assert_eq!(child.keeper.stuck(), None, "nobody wants it dead");
            child.keeper.kill();
            let expected = format!("process {} (sleep) is in uninterruptible sleep", child.pid);
            wait_until("it is named", || child.keeper.stuck().is_some_and(|stuck| stuck.contains(&expected)));
            tokio::select! {
                biased;
                exit = &mut child.exit => panic!("its end was told: {exit}"),
                () = std::future::ready(()) => {}
            }
            drop(freezer);
            assert_eq!((&mut child.exit).await, KILLED, "{means:?}");
            assert_eq!(child.keeper.stuck(), None);
        });
    }
}
