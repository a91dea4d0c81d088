//! What makes inits may be killed or stopped by anybody. Alone in its file, since all tests of a file share it.

mod support;

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use muster_process::{Custody, Means, Pidfd, ProcessExit, Signal, Spawner};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{all_means, new_tag, only_zygote, run, shell, spawn, tagged, wait_until, zygotes};

/// One test, since a start that somebody kills the zygote of may fail.
#[test]
fn it_is_replaced_and_told_anything() {
    trees_outlive_it_and_others_are_made_without_it();
    one_that_has_no_room_refuses_and_makes_way();
    an_order_of_any_length_arrives();
    it_keeps_no_environment();
    while_one_hangs_others_are_reaped_proven_and_started();
    a_signal_to_its_group_reaches_no_init();
    a_full_queue_of_descriptors_condemns_none();
}

fn trees_outlive_it_and_others_are_made_without_it() {
    run(async {
        Spawner::start().and_then(|spawner| spawner.warm_up()).expect("a zygote");
        for means in all_means() {
            for signal in [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGTERM] {
                let tag = new_tag();
                let older = spawn(shell(&format!("exec sleep {tag}1"), Custody::Tree), means).await.expect("it starts");
                let zygote = only_zygote();
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
                let zygote = only_zygote();
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
                let zygote = only_zygote();
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

fn while_one_hangs_others_are_reaped_proven_and_started() {
    for means in all_means() {
        run(async {
            let older = spawn(shell("sleep 1000 & exec sleep 1000", Custody::Tree), Means::BestEffort).await;
            let older = older.expect("it starts");
            let zygote = only_zygote();
            Pidfd::open(zygote).expect("it lives").signal(Signal::SIGSTOP).expect("sent");
            let begun = Instant::now();
            let (tell, ends) = std::sync::mpsc::channel();
            // Whichever comes first waits for the zygote, and the other one only for a moment.
            let starts = [8, 9].map(|code| {
                let (tell, program) = (tell.clone(), shell(&format!("exit {code}"), Custody::Tree));
                std::thread::spawn(move || {
                    let exit = run(async { spawn(program, means).await.expect("it starts").exit.await });
                    tell.send((exit, begun.elapsed())).expect("heard");
                })
            });
            // Its init is killed, so that what it leaves comes here and has to be struck before its end is told.
            Pidfd::open(older.root).expect("it lives").signal(Signal::SIGKILL).expect("sent");
            assert_eq!(older.exit.await, ProcessExit::Signal(libc::SIGKILL));
            for custody in [Custody::Child, Custody::Free] {
                let exit = spawn(shell("exit 7", custody), means).await.expect("it starts").exit.await;
                assert_eq!(exit, ProcessExit::Code(7));
            }
            let (took, [first, last]) = (begun.elapsed(), [(); 2].map(|()| ends.recv().expect("it ends")));
            let soon = Duration::from_millis(2500);
            assert!(took < soon && first.1 < soon && last.1 > soon, "{means:?}: {took:?} {first:?} {last:?}");
            let mut exits = [first.0, last.0].map(|exit| format!("{exit:?}"));
            exits.sort_unstable();
            assert_eq!(exits, ["Code(8)", "Code(9)"], "{means:?}");
            starts.into_iter().for_each(|start| start.join().expect("no panic"));
            wait_until("one zygote is left", || zygotes().len() == 1);
        });
    }
}

fn a_signal_to_its_group_reaches_no_init() {
    run(async {
        for means in all_means() {
            let tag = new_tag();
            let tree = spawn(shell(&format!("exec sleep {tag}"), Custody::Tree), means).await.expect("it starts");
            let zygote = only_zygote();
            // SAFETY: a plain system call. It is the group of our own child, which leads it.
            assert_eq!(unsafe { libc::kill(-(zygote as libc::pid_t), libc::SIGKILL) }, 0);
            wait_until("it is gone", || !zygotes().contains(&zygote));
            assert_eq!(tagged(&tag).len(), 1, "{means:?}");
            assert!(!Pidfd::open(tree.root).expect("it lives").is_dead(), "{means:?}");
            tree.keeper.kill();
            assert_eq!(tree.exit.await, ProcessExit::Signal(libc::SIGKILL));
        }
    });
}

/// The kernel bounds how many descriptors of a user are on their way in sockets, for those without privileges.
fn a_full_queue_of_descriptors_condemns_none() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let few = soft.min(1024);
    setrlimit(Resource::RLIMIT_NOFILE, few, hard).expect("set");
    run(async {
        spawn(shell("exit 0", Custody::Tree), Means::BestEffort).await.expect("it starts").exit.await;
        wait_until("the one before is gone", || zygotes().len() == 1);
        let (before, means) = (zygotes(), all_means());
        let without_privileges = std::thread::spawn(move || {
            renounce_privileges();
            let (ours, _theirs) = UnixStream::pair().expect("a pair");
            let stray = std::fs::File::open("/dev/null").expect("opened");
            assert!((0..=few).any(|_| !send_descriptors(&ours, &stray)), "so many can't be on their way");
            for means in means {
                run(async {
                    let child = spawn(shell("exit 7", Custody::Tree), means).await.expect("it starts");
                    assert_eq!(child.exit.await, ProcessExit::Code(7), "{means:?}");
                });
            }
        });
        without_privileges.join().expect("no panic");
        assert_eq!(zygotes(), before, "it was well");
    });
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("set");
}

/// Takes from this thread alone what would let it do without bounds.
fn renounce_privileges() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION: u32 = 0x2008_0522;
    let (header, mut sets) = (Header { version: VERSION, pid: 0 }, [[0u32; 3]; 2]);
    // SAFETY: structs as this version of the calls has them.
    let done = unsafe {
        libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr());
        // CAP_SYS_ADMIN and CAP_SYS_RESOURCE, as they are in effect.
        sets[0][0] &= !(1 << 21 | 1 << 24);
        libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr())
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Puts as many copies of a descriptor on their way as go with one message; false where there are too many.
fn send_descriptors(socket: &UnixStream, file: &std::fs::File) -> bool {
    const COPIES: usize = 200;
    const BYTES: u32 = (COPIES * size_of::<i32>()) as u32;
    let mut control = [0u64; 128];
    // SAFETY: a header whose pointers are to locals, with their lengths, and room for a message of so many descriptors.
    let sent = unsafe {
        let mut part = libc::iovec { iov_base: (&raw const *b"x").cast_mut().cast(), iov_len: 1 };
        let mut header: libc::msghdr = std::mem::zeroed();
        (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
        (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), libc::CMSG_SPACE(BYTES) as usize);
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(BYTES) as usize;
        libc::CMSG_DATA(first).cast::<[i32; COPIES]>().write_unaligned([file.as_raw_fd(); COPIES]);
        libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT)
    };
    let error = std::io::Error::last_os_error();
    assert!(sent > 0 || error.raw_os_error() == Some(libc::ETOOMANYREFS), "{error}");
    sent > 0
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
