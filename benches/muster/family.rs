//! A process and all that descends from it, read from /proc: who they are, what they cost.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The descendants of a process, itself first.
pub(crate) fn members(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| pid.parse().ok())
            .collect();
        found.extend(pids);
        next += 1;
    }
    found
}

/// Whether a process is a Redis server.
pub(crate) fn is_redis(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .is_ok_and(|name| name.starts_with("redis-server") || name.starts_with("valkey-server"))
}

/// Whether a process runs this program.
pub(crate) fn is_named(pid: u32, program: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == program)
}

/// What all threads of a process have run so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ran = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(ran.sum())
}

/// Memory of a process, in KiB, its share of shared pages included (PSS).
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss line")?;
    line.trim().trim_end_matches(" kB").parse().context("a number of kB")
}

/// Memory of these processes together, in KiB. What they share with each other counts once, also where several run in one memory, for
/// each of which the kernel shows all of it.
pub(crate) fn memory_of(pids: impl IntoIterator<Item = u32>) -> anyhow::Result<u64> {
    let mut counted: Vec<u32> = Vec::new();
    let mut sum = 0;
    for pid in pids {
        if !counted.iter().any(|other| share_memory(*other, pid)) {
            sum += memory(pid)?;
            counted.push(pid);
        }
    }
    Ok(sum)
}

/// Whether two processes run in one memory, where the kernel tells.
fn share_memory(one: u32, other: u32) -> bool {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0 }
}

/// Resident memory of a process, in MiB.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// Sends a signal; one who is gone already needs none.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

/// Waits until none of these runs (a zombie does not), and says who still does.
pub(crate) fn wait_gone(pids: &[u32], patience: Duration) -> Vec<u32> {
    let until = Instant::now() + patience;
    loop {
        let left: Vec<u32> = pids.iter().copied().filter(|pid| runs(*pid)).collect();
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
