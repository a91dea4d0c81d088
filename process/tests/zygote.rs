//! What makes inits may be killed or stopped by anybody. Alone in its file, since all tests of a file share it.

mod support;

use std::os::unix::fs::FileExt;

use muster_process::{Custody, Pidfd, ProcessExit, Signal, Spawner};
use support::{all_means, new_tag, run, shell, spawn, tagged, wait_until};

/// The zygotes of this process that live.
fn zygotes() -> Vec<u32> {
    let pids = tagged("muster-init").into_iter();
    pids.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "muster-zygote\n"))
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(&format!(" {} ", std::process::id()))
        })
        .collect()
}

/// One test, since a start that somebody kills the zygote of may fail.
#[test]
fn it_is_replaced_and_told_anything() {
    trees_outlive_it_and_others_are_made_without_it();
    one_that_has_no_room_refuses_and_makes_way();
    an_order_of_any_length_arrives();
    it_keeps_no_environment();
}

fn trees_outlive_it_and_others_are_made_without_it() {
    run(async {
        Spawner::start().and_then(|spawner| spawner.warm_up()).expect("a zygote");
        for means in all_means() {
            for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTERM] {
                let tag = new_tag();
                let older = spawn(shell(&format!("exec sleep {tag}1"), Custody::Tree), means).await.expect("it starts");
                let [zygote] = zygotes()[..] else { panic!("one zygote, not {:?}", zygotes()) };
                Pidfd::open(zygote).expect("it lives").signal(signal).expect("sent");
                if signal == Signal::SIGKILL {
                    wait_until("it is gone", || !zygotes().contains(&zygote));
                }
                let exit = spawn(shell("exit 7", Custody::Tree), means).await.expect("it starts").exit.await;
                assert_eq!(exit, ProcessExit::Code(7), "{means:?} after {signal:?}");
                let survives = signal == Signal::SIGTERM;
                assert_eq!(zygotes() == [zygote], survives, "{means:?} after {signal:?}: {:?}", zygotes());
                assert_eq!(tagged(&tag).len(), 1, "the older one runs on");
                older.keeper.kill();
                assert_eq!(older.exit.await, ProcessExit::Signal(libc::SIGKILL));
                assert_eq!(tagged(&tag), [0; 0]);
            }
        }
    });
}

fn one_that_has_no_room_refuses_and_makes_way() {
    run(async {
        for means in all_means() {
            for (limit, value) in [(libc::RLIMIT_NOFILE, 6), (libc::RLIMIT_AS, 4096)] {
                spawn(shell("exit 0", Custody::Tree), means).await.expect("it starts").exit.await;
                let [zygote] = zygotes()[..] else { panic!("one zygote, not {:?}", zygotes()) };
                let mut its = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: valid structs to fill and to read.
                let done = unsafe {
                    libc::prlimit(zygote as libc::pid_t, limit, std::ptr::null(), &raw mut its);
                    its.rlim_cur = value;
                    libc::prlimit(zygote as libc::pid_t, limit, &raw const its, std::ptr::null_mut())
                };
                assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
                let mut program = shell("exit 0", Custody::Tree);
                program.env.push(("LONG".into(), "x".repeat(100_000).into()));
                let error = spawn(program, means).await.expect_err("there is no room").to_string();
                assert!(error.contains("no more open files") || error.contains("no memory left"), "{error}");
                let exit = spawn(shell("exit 7", Custody::Tree), means).await.expect("another has room").exit.await;
                assert_eq!(exit, ProcessExit::Code(7));
            }
        }
    });
}

fn an_order_of_any_length_arrives() {
    for means in all_means() {
        for bytes in [0, 100_000, 1_500_000] {
            run(async {
                let mut program = shell("env | wc -c | grep -q . && exit $((${#LAST} + 3))", Custody::Tree);
                let one = "x".repeat(100_000.min(bytes));
                program
                    .env
                    .extend((0..bytes / 100_000).map(|number| (format!("V{number}").into(), one.clone().into())));
                program.env.push(("LAST".into(), "abcd".into()));
                let exit = spawn(program, means).await.expect("it starts").exit.await;
                assert_eq!(exit, ProcessExit::Code(7), "{bytes} bytes, {means:?}");
            });
        }
        run(async {
            let mut program = shell("exit 0", Custody::Tree);
            program.env.extend((0..100).map(|number| (format!("V{number}").into(), "x".repeat(100_000).into())));
            let error = spawn(program, means).await.expect_err("too long").to_string();
            assert_eq!(error, "cannot run /bin/sh: Argument list too long (os error 7)");
            assert_eq!(
                spawn(shell("exit 3", Custody::Tree), means).await.expect("it starts").exit.await,
                ProcessExit::Code(3)
            );
        });
    }
}

/// What an agent is told must not be found where agents of later are held.
fn it_keeps_no_environment() {
    for means in all_means() {
        run(async {
            let canary = format!("canary-{}", new_tag());
            for script in ["exit 0", "exec sleep 1000"] {
                let mut program = shell(script, Custody::Tree);
                program.env.push(("SECRET".into(), canary.clone().into()));
                let child = spawn(program, means).await.expect("it starts");
                let [zygote] = zygotes()[..] else { panic!("one zygote, not {:?}", zygotes()) };
                // Its init lets go of it in the moment after the start.
                let is_there = |memory: Vec<u8>| memory.windows(canary.len()).any(|part| part == canary.as_bytes());
                let what = format!("{means:?}, {script}: nothing of the environment is kept");
                wait_until(&what, || !memory_of(zygote).is_some_and(is_there));
                child.keeper.kill();
                child.exit.await;
            }
        });
    }
}

/// All that a process may write to in its memory; `None` where this user may not look.
fn memory_of(pid: u32) -> Option<Vec<u8>> {
    let file = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let [start, end] = [start, end].map(|digits| u64::from_str_radix(digits, 16).expect("an address"));
        let mut piece = vec![0; (end - start) as usize];
        file.read_exact_at(&mut piece, start).expect("readable");
        memory.extend(piece);
    }
    assert!(!memory.is_empty());
    Some(memory)
}
