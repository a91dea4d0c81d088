//! A zygote may be killed, or held up, at any moment of an order. Another process does so, step by step. Alone in its file, since all
//! tests of a file share the zygote.

mod support;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use muster_process::{Child, Custody, Means, Pidfd, ProcessExit, Program, Signal, Spawner, Stdio};
use support::{all_means, new_tag, only_zygote, run, shell, spawn, tagged, wait_until, zygotes};

/// For so long an order is held up at one step: a program is over by then.
const HELD_UP: Duration = Duration::from_millis(40);

#[test]
#[ignore = "the process that the tests of this file hold a zygote with, not a test"]
fn tracer_process() {
    let variable = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let (Some(zygote), Some(step)) = (variable("ZYGOTE"), variable("STEP")) else { return };
    let kill = std::env::var_os("KILL").is_some();
    let wait = || {
        let mut status = 0;
        // SAFETY: a valid int to fill.
        unsafe { libc::waitpid(zygote, &raw mut status, libc::__WALL) };
        libc::WIFSTOPPED(status)
    };
    let trace = |request, data: usize| {
        // SAFETY: requests that take no pointers.
        assert_eq!(unsafe { libc::ptrace(request, zygote, 0usize, data) }, 0, "{}", std::io::Error::last_os_error());
    };
    trace(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD as usize);
    trace(libc::PTRACE_INTERRUPT, 0);
    assert!(wait());
    println!("ready");
    for _ in 0..step {
        trace(libc::PTRACE_SYSCALL, 0);
        if !wait() {
            return;
        }
    }
    println!("there");
    if kill {
        // SAFETY: a plain system call; it is stopped here.
        unsafe { libc::kill(zygote, libc::SIGKILL) };
        while wait() {}
    } else {
        std::thread::sleep(HELD_UP);
        trace(libc::PTRACE_DETACH, 0);
    }
}

/// Holds the zygote from now on, until it has begun or ended so many system calls.
struct Tracer {
    child: Child,
    lines: std::io::Lines<BufReader<std::fs::File>>,
}

impl Tracer {
    async fn seize(zygote: u32, step: u32, kill: bool) -> Self {
        let executable = std::env::current_exe().expect("a path");
        let line = [executable.as_os_str(), "tracer_process".as_ref(), "--exact".as_ref()];
        let line = line.into_iter().chain(["--ignored".as_ref(), "--nocapture".as_ref()]);
        let mut program = Program::new(line, Custody::Child);
        program.env = vec![("ZYGOTE".into(), zygote.to_string().into()), ("STEP".into(), step.to_string().into())];
        program.env.extend(kill.then(|| ("KILL".into(), "yes".into())));
        program.stdout = Stdio::Pipe;
        let mut child = spawn(program, Means::BestEffort).await.expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        nix::fcntl::fcntl(&stdout, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).expect("blocking");
        let mut tracer = Self { child, lines: BufReader::new(std::fs::File::from(stdout)).lines() };
        assert!(tracer.says("ready"), "it holds the zygote");
        tracer
    }

    fn says(&mut self, word: &str) -> bool {
        self.lines.by_ref().map_while(Result::ok).any(|line| line.ends_with(word))
    }

    /// Lets go, and says whether the zygote has come so far.
    async fn end(mut self) -> bool {
        self.child.keeper.kill();
        self.child.exit.await;
        self.lines.by_ref().map_while(Result::ok).any(|line| line.ends_with("there"))
    }
}

/// One zygote, with no order.
async fn idle_zygote() -> u32 {
    Spawner::start().and_then(|spawner| spawner.warm_up()).expect("a zygote");
    only_zygote()
}

/// A program that says in a file that it has run.
fn leaves_a_line(file: &std::path::Path, tag: &str) -> Program {
    shell(&format!("echo {tag} >> {}; exit 7", file.display()), Custody::Tree)
}

/// One test, since there is one zygote.
#[test]
fn a_start_goes_on_without_it() {
    an_orphan_that_comes_meanwhile_is_no_init();
    whenever_it_dies_or_is_held_up_a_program_runs_once();
}

fn whenever_it_dies_or_is_held_up_a_program_runs_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for means in all_means() {
        for kill in [true, false] {
            let mut steps = 0;
            while run(one_step(folder.path(), means, kill, steps)) {
                steps += 1;
            }
            // Begin and end of: receive, read, make, let go of, close five times, answer.
            assert!((12..100).contains(&steps), "{steps} steps with {means:?}");
        }
    }
}

/// Has a program started while the zygote does not get beyond this step, or not at once. False where it has no such step.
async fn one_step(folder: &std::path::Path, means: Means, kill: bool, step: u32) -> bool {
    let (tag, what) = (new_tag(), format!("{means:?}, killed: {kill}, step {step}"));
    let file = folder.join(&tag);
    // Its init is killed meanwhile. Then there is somebody whose end has to be proven, by killing all that comes here.
    let other =
        spawn(shell("sleep 1000 & exec sleep 1000", Custody::Tree), Means::BestEffort).await.expect("it starts");
    let zygote = idle_zygote().await;
    let tracer = Tracer::seize(zygote, step, kill).await;
    let begins = {
        let program = leaves_a_line(&file, &tag);
        std::thread::spawn(move || run(async { spawn(program, means).await.expect("it starts").exit.await }))
    };
    Pidfd::open(other.root).expect("it lives").signal(Signal::SIGKILL).expect("sent");
    assert_eq!(other.exit.await, ProcessExit::Signal(libc::SIGKILL), "{what}");
    assert_eq!(begins.join().expect("no panic"), ProcessExit::Code(7), "{what}");
    assert_eq!(std::fs::read_to_string(&file).expect("it has run"), format!("{tag}\n"), "{what}");
    wait_until("nothing of it is left", || tagged(&tag).is_empty());
    let got_there = tracer.end().await;
    assert!(zygotes().len() <= 1, "{what}");
    got_there
}

/// An orphan is nothing that the zygote has made.
fn an_orphan_that_comes_meanwhile_is_no_init() {
    run(async {
        for means in all_means() {
            let tag = new_tag();
            let zygote = Pidfd::open(idle_zygote().await).expect("it lives");
            zygote.signal(Signal::SIGSTOP).expect("sent");
            let begins = std::thread::spawn(move || {
                run(async { spawn(shell("exit 7", Custody::Tree), means).await.expect("by another zygote").exit.await })
            });
            let parent = spawn(shell(&format!("setsid sleep {tag} & exit 0"), Custody::Child), means).await;
            parent.expect("it starts").exit.await;
            wait_until("it is an orphan", || tagged(&format!("sleep\0{tag}")).len() == 1);
            zygote.signal(Signal::SIGKILL).expect("sent");
            assert_eq!(begins.join().expect("no panic"), ProcessExit::Code(7), "{means:?}");
            for orphan in tagged(&tag) {
                Pidfd::open(orphan).expect("it lives").signal(Signal::SIGKILL).expect("sent");
            }
            wait_until("it is gone", || tagged(&tag).is_empty());
        }
    });
}
