//! What the tests of this crate share.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::future::Future;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use muster_process::{Child, Custody, Means, Program, SpawnError, Spawner, Stdio, ownership};

/// All means that this host gives: the best, the same with a user namespace, as where Muster is not root, and best effort.
pub(crate) fn all_means() -> Vec<Means> {
    let best = ownership();
    match best.means() {
        Means::BestEffort => {
            eprintln!("pid namespaces are not tested: {best}");
            vec![Means::BestEffort]
        }
        Means::PidNamespace { private_proc, .. } => {
            let most = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
            let apart = (most.trim() != "0").then_some(Means::PidNamespace { user_namespace: true, private_proc });
            let mut all: Vec<Means> = [best.means()].into_iter().chain(apart).chain([Means::BestEffort]).collect();
            all.dedup();
            all
        }
    }
}

/// Runs a test's future.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// A number that is in the command lines of one test's processes and nowhere else.
pub(crate) fn new_tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", 7_000_000 + std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed) + 1000)
}

/// The living processes with this tag in their command line.
pub(crate) fn tagged(tag: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("a /proc");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(tag)
    })
    .collect()
}

/// The zygotes of this process that live.
pub(crate) fn zygotes() -> Vec<u32> {
    let pids = tagged("muster-init").into_iter();
    pids.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "muster-zygote\n"))
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(&format!(" {} ", std::process::id()))
        })
        .collect()
}

/// The one zygote that this process has. Another may be dying yet.
pub(crate) fn only_zygote() -> u32 {
    wait_until("there is one zygote", || zygotes().len() == 1);
    zygotes()[0]
}

/// Polls a condition, and fails after 20 s.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A shell script as a program.
pub(crate) fn shell(script: &str, custody: Custody) -> Program {
    let mut program = Program::new(["/bin/sh", "-c", script], custody);
    program.env = vec![("PATH".into(), std::env::var_os("PATH").unwrap_or_default())];
    program
}

/// Starts it by these means.
pub(crate) async fn spawn(program: Program, means: Means) -> Result<Child, SpawnError> {
    Spawner::start().expect("a nursery").spawn_by(program, means).await
}

/// Three processes: the program, which ignores SIGTERM; one that forked twice, left the session, cleared its environment
/// and ignores signals; and one that a parent in between still holds.
pub(crate) fn wicked(tag: &str) -> Program {
    let detached = format!("trap '' TERM HUP INT; exec sleep {tag}1");
    let script = format!(
        "( ( setsid env -i /bin/sh -c \"{detached}\" & ) & )
         ( trap '' TERM; setsid sleep {tag}2 & wait ) &
         trap '' TERM HUP
         exec sleep {tag}3"
    );
    shell(&script, Custody::Tree)
}

/// Waits until the three of [`wicked`] run.
pub(crate) fn await_wicked(tag: &str) {
    wait_until("the wicked tree stands", || (1..=3).all(|number| !tagged(&format!("sleep\0{tag}{number}")).is_empty()));
}

/// Reads a piped descriptor to its end.
pub(crate) fn read_all(end: OwnedFd) -> String {
    nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).expect("blocking");
    let mut text = String::new();
    std::fs::File::from(end).read_to_string(&mut text).expect("its output");
    text
}

/// Runs a program to its end, with its output.
pub(crate) async fn output(mut program: Program, means: Means) -> (String, muster_process::ProcessExit) {
    program.stdout = Stdio::Pipe;
    let mut child = spawn(program, means).await.expect("it starts");
    let stdout = child.stdout.take().expect("a pipe");
    let exit = (&mut child.exit).await;
    (read_all(stdout), exit)
}

/// A folder of the version 1 freezer, which keeps its processes from dying; thawed and removed on drop.
pub(crate) struct Freezer(std::path::PathBuf);

impl Freezer {
    /// `None` where there is none that this user may use.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let folder = std::path::Path::new("/sys/fs/cgroup/freezer").join(format!("muster-test-{name}"));
        std::fs::create_dir(&folder).ok().map(|()| Self(folder))
    }

    /// This process neither runs nor dies any more.
    pub(crate) fn freeze(&self, pid: u32) {
        self.write("cgroup.procs", &pid.to_string());
        self.write("freezer.state", "FROZEN");
        wait_until("it is frozen", || {
            std::fs::read_to_string(self.0.join("freezer.state")).is_ok_and(|state| state == "FROZEN\n")
        });
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).expect("written");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.write("freezer.state", "THAWED");
        wait_until("the freezer is empty", || std::fs::remove_dir(&self.0).is_ok());
    }
}
