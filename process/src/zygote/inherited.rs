//! What programs inherit by way of a zygote, as far as it may change while this process runs.

use std::time::{Duration, Instant};

/// So often it is looked at what takes a file to look at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The kernel's limits are numbered from 0.
const LIMITS: usize = 16;

/// What a zygote has had from this process at its making. That of the main thread where each has its own, as those mean who change it
/// by this process's pid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inherited {
    cheap: Cheap,
    dear: Dear,
}

/// What takes a system call to look at.
#[derive(Debug, PartialEq, Eq)]
struct Cheap {
    limits: [(u64, u64); LIMITS],
    priority: i32,
}

/// What is in files. Where there are none there is nothing to compare.
#[derive(Debug, PartialEq, Eq)]
struct Dear {
    cgroup: Vec<u8>,
    oom_score: Vec<u8>,
    umask: Option<String>,
}

/// When that was looked at last.
#[derive(Debug)]
pub(crate) struct Look(Instant);

impl Look {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }
}

impl Inherited {
    pub(crate) fn now() -> Self {
        Self { cheap: Cheap::now(), dear: Dear::now() }
    }

    /// Whether this process has it so by now: what is in files, within a second.
    pub(crate) fn is_current(&self, look: &mut Look) -> bool {
        if Cheap::now() != self.cheap {
            return false;
        }
        if look.0.elapsed() < LOOK_EVERY {
            return true;
        }
        *look = Look::now();
        Dear::now() == self.dear
    }
}

impl Cheap {
    fn now() -> Self {
        let mut limits = [(0, 0); LIMITS];
        for (place, resource) in limits.iter_mut().zip(0..) {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a valid struct to fill. Of one that there is not, nothing is said.
            unsafe { libc::getrlimit(resource, &raw mut limit) };
            *place = (limit.rlim_cur, limit.rlim_max);
        }
        Self { limits, priority: priority() }
    }
}

/// That of the main thread.
pub(super) fn priority() -> i32 {
    // SAFETY: plain system calls.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, libc::getpid() as libc::id_t) }
}

impl Dear {
    fn now() -> Self {
        let read = |path| std::fs::read(path).unwrap_or_default();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find(|line| line.starts_with("Umask:")).map(str::to_owned);
        Self { cgroup: read("/proc/self/cgroup"), oom_score: read("/proc/self/oom_score_adj"), umask }
    }
}
