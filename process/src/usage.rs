//! What processes use: a small file per process, for heartbeats.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::process_list::Stat;

/// What a process or a tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceUsage {
    /// Processor time so far, of user and kernel, in steps of a clock tick (usually 10 ms). That of members of a tree
    /// that have ended is not in it, so for a tree it can fall.
    pub cpu: Duration,
    /// Resident memory in bytes, shared pages counted in each process that has them.
    pub rss_bytes: u64,
    /// Processes counted.
    pub processes: u32,
}

impl ResourceUsage {
    /// The sum of both.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    fn add(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.rss_bytes += other.rss_bytes;
        self.processes += other.processes;
    }
}

/// What one process uses; `None` where there is none.
pub fn of(pid: u32) -> Option<ResourceUsage> {
    let stat = Stat::of(pid)?;
    Some(ResourceUsage { cpu: ticks(stat.cpu), rss_bytes: stat.rss.saturating_mul(units().1), processes: 1 })
}

/// What this process uses, for one that asks again and again: from a clock and a file that stays open, which takes a tenth of the time
/// of [`of`].
#[derive(Debug, Default)]
pub struct OwnUsage {
    memory: Option<File>,
}

impl OwnUsage {
    /// What it uses now; `None` where that can't be read.
    pub fn read(&mut self) -> Option<ResourceUsage> {
        if self.memory.is_none() {
            self.memory = File::open("/proc/self/statm").ok();
        }
        let mut text = [0; 128];
        let length = self.memory.as_ref()?.read_at(&mut text, 0).ok()?;
        // Pages: of the whole, then of what is resident.
        let resident = std::str::from_utf8(text.get(..length)?).ok()?.split_ascii_whitespace().nth(1)?;
        let rss_bytes = resident.parse::<u64>().ok()?.saturating_mul(units().1);
        let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).ok()?.into();
        Some(ResourceUsage { cpu, rss_bytes, processes: 1 })
    }
}

/// What these processes use together; those that have ended count nothing.
pub fn of_all(pids: impl IntoIterator<Item = u32>) -> ResourceUsage {
    pids.into_iter().filter_map(of).fold(ResourceUsage::default(), |mut sum, usage| {
        sum.add(usage);
        sum
    })
}

/// So many clock ticks.
pub(crate) fn ticks(count: u64) -> Duration {
    let nanos = u128::from(count) * (1_000_000_000 / u128::from(units().0));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Clock ticks a second, and bytes a page.
pub(crate) fn units() -> (u64, u64) {
    static UNITS: OnceLock<(u64, u64)> = OnceLock::new();
    let read = |name, usual| sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(usual);
    *UNITS.get_or_init(|| (read(SysconfVar::CLK_TCK, 100).max(1), read(SysconfVar::PAGE_SIZE, 4096)))
}
