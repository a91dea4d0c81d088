//! What programs inherit, whoever makes their inits, and whatever is changed meanwhile. Alone in its file: it changes what this process
//! has.

mod support;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use muster_process::{Custody, ProcessExit, Program};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{all_means, only_zygote, output, run, shell, spawn, wait_until, zygotes};

fn oom_score(pid: u32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it lives");
    text.trim().parse().expect("a number")
}

/// One test, since each part changes this process.
#[test]
fn programs_follow_their_owner() {
    inits_are_ended_for_want_of_memory_after_programs();
    programs_have_what_their_owner_has_by_now();
}

fn inits_are_ended_for_want_of_memory_after_programs() {
    let own = oom_score(std::process::id());
    for means in all_means() {
        run(async {
            let child = spawn(shell("exec sleep 1000", Custody::Tree), means).await.expect("it starts");
            let zygote = only_zygote();
            let program = oom_score(child.pid);
            wait_until("the init has its own", || oom_score(child.root) < program);
            let inits = [zygote, child.root].map(oom_score);
            assert!(
                (inits == [-999; 2] && program == own) || (inits == [own; 2] && program == (own + 100).min(1000)),
                "{means:?}: own {own}, zygote and init {inits:?}, program {program}"
            );
            for custody in [Custody::Child, Custody::Free] {
                let other = spawn(shell("exec sleep 1000", custody), means).await.expect("it starts");
                assert_eq!(oom_score(other.pid), own, "{custody:?}");
                other.keeper.kill();
                other.exit.await;
            }
            child.keeper.kill();
            child.exit.await;
        });
    }
}

fn programs_have_what_their_owner_has_by_now() {
    // Less, and a higher value, is what any user may take.
    let stack = |soft| {
        let (_, hard) = getrlimit(Resource::RLIMIT_STACK).expect("a limit");
        setrlimit(Resource::RLIMIT_STACK, soft, hard).expect("set");
    };
    let main = std::process::id();
    // SAFETY: plain system calls. As `renice` does it, for the main thread.
    let own = unsafe { libc::getpriority(libc::PRIO_PROCESS, main) };
    // SAFETY: as above.
    let nice = |value| assert_eq!(unsafe { libc::setpriority(libc::PRIO_PROCESS, main, value) }, 0);
    let mask = |mask| nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    let before = mask(0o022);
    for (number, means) in (1_i32..).zip(all_means()) {
        run(async {
            let (megabytes, value) = (8 - number, (own + number).min(19));
            stack(megabytes as u64 * 1024 * 1024);
            nice(value);
            let show = || output(shell("ulimit -s; nice; umask", Custody::Tree), means);
            let (shown, exit) = show().await;
            let cheap = format!("{}\n{value}\n", megabytes * 1024);
            assert!(shown.starts_with(&cheap) && exit == ProcessExit::Code(0), "{means:?}: {shown}");
            mask(0o020 + number as u32);
            // What takes longer to find out is looked at once a second.
            std::thread::sleep(Duration::from_millis(1100));
            assert_eq!(show().await.0, format!("{cheap}002{number}\n"), "{means:?}");
            let zygote = only_zygote();
            show().await;
            assert_eq!(zygotes(), [zygote], "nothing has changed");
        });
    }
    mask(before.bits());
}

/// Becomes a user who owns nothing; for root only.
const NOBODY: [&str; 6] = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

#[test]
fn a_user_without_rights_has_programs_ended_first() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("this user is without rights anyhow");
        return;
    }
    let own = oom_score(std::process::id());
    // Where another user may run it.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("open to all");
    let executable = folder.path().join("tests");
    std::fs::copy(std::env::current_exe().expect("a path"), &executable).expect("copied");
    let line = NOBODY.map(OsString::from).into_iter().chain([executable.into_os_string()]);
    let test = ["scores_process", "--exact", "--ignored", "--nocapture"].map(OsString::from);
    let mut program = Program::new(line.chain(test), Custody::Child);
    program.env = vec![("ANOTHER_USER".into(), "yes".into())];
    program.env.extend(std::env::var_os("PATH").map(|path| ("PATH".into(), path)));
    let (shown, exit) = run(output(program, all_means()[0]));
    assert_eq!(exit, ProcessExit::Code(0), "{shown}");
    let scores: Vec<&str> = shown.lines().filter_map(|line| line.split_once("scores ")).map(|(_, rest)| rest).collect();
    let expected = format!("{own} {}", (own + 100).min(1000));
    assert!(!scores.is_empty() && scores.iter().all(|line| *line == expected), "{shown}");
}

#[test]
#[ignore = "the process that the test above starts as another user, not a test"]
fn scores_process() {
    if std::env::var_os("ANOTHER_USER").is_none() {
        return;
    }
    for means in all_means() {
        run(async {
            let child = spawn(Program::new(["/bin/sleep", "1000"], Custody::Tree), means).await.expect("it starts");
            let program = oom_score(child.pid);
            wait_until("the init has its own", || oom_score(child.root) < program || program == 1000);
            println!("scores {} {program}", oom_score(child.root));
            child.keeper.kill();
            child.exit.await;
        });
    }
}
