//! Every process of the host with its parent, and what trees of them use, from one pass over `/proc`.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::process_list::Stat;
use crate::usage::{ticks, units};

/// Memories that several children of one process may share, at the most: usually there is one.
const FEW: usize = 4;

/// The processes of one moment.
#[derive(Debug, Default)]
pub struct Census {
    /// When it was begun, in clock ticks since boot.
    taken_at: u64,
    processes: HashMap<u32, Counted>,
    children: HashMap<u32, Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    parent: u32,
    start_time: u64,
    /// Of itself.
    cpu: Duration,
    /// Of the children that it has waited for.
    waited: Duration,
    /// Resident pages.
    rss: u64,
}

impl Census {
    /// Counts them all. May block for some tens of milliseconds where there are thousands.
    pub fn take() -> io::Result<Self> {
        let mut census = Self { taken_at: now_in_ticks(), ..Self::default() };
        for entry in std::fs::read_dir("/proc")? {
            let pid = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok());
            // One that ends meanwhile is none.
            if let Some((pid, stat)) = pid.and_then(|pid| Some((pid, Stat::of(pid)?))) {
                let Stat { parent, start_time, cpu, waited, rss, .. } = stat;
                // A clock tick is more than a worker at rest runs for in many a look.
                let cpu = exact_cpu(pid).unwrap_or_else(|| ticks(cpu));
                census.processes.insert(pid, Counted { parent, start_time, cpu, waited: ticks(waited), rss });
                census.children.entry(parent).or_default().push(pid);
            }
        }
        Ok(census)
    }

    /// When it was begun, in clock ticks since boot: what began later was not there.
    pub const fn taken_at(&self) -> u64 {
        self.taken_at
    }

    /// When a process began, in clock ticks since boot; none where there is no such process.
    pub fn start_time(&self, pid: u32) -> Option<u64> {
        self.processes.get(&pid).map(|counted| counted.start_time)
    }

    /// The children of a process.
    pub fn children(&self, pid: u32) -> &[u32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// A process and all that descends from it, itself first.
    pub fn tree(&self, root: u32) -> Vec<u32> {
        let mut found: Vec<u32> = self.processes.contains_key(&root).then_some(root).into_iter().collect();
        // The pass is no single moment, so that two may seem to descend from each other.
        let mut seen: HashSet<u32> = found.iter().copied().collect();
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            let children: Vec<u32> = self.children(*pid).iter().copied().filter(|child| seen.insert(*child)).collect();
            found.extend(children);
            next += 1;
        }
        found
    }

    /// The child of `owner` that a process descends from, or is; none where it does not descend from it.
    pub fn branch_of(&self, owner: u32, mut pid: u32) -> Option<u32> {
        // The chain is no longer than all there are: a process is not its own ancestor, but the pass is no single moment.
        for _ in 0..self.processes.len() {
            let parent = self.processes.get(&pid)?.parent;
            if parent == owner {
                return Some(pid);
            }
            pid = parent;
        }
        None
    }

    /// Processor time of these processes so far, with that of the children that they have waited for. So that of a whole tree falls
    /// only where a process is not waited for by anybody (a parent that ignores SIGCHLD).
    pub fn cpu(&self, pids: &[u32]) -> Duration {
        let known = pids.iter().filter_map(|pid| self.processes.get(pid));
        known.fold(Duration::ZERO, |sum, one| sum.saturating_add(one.cpu).saturating_add(one.waited))
    }

    /// Processor time of a process itself.
    pub fn own_cpu(&self, pid: u32) -> Duration {
        self.processes.get(&pid).map_or(Duration::ZERO, |counted| counted.cpu)
    }

    /// Memory of each of these processes in bytes (PSS): a page that several processes share counts for each by its share. Where the
    /// kernel does not show that, resident memory. Reads a file of each, which takes some tens of microseconds.
    ///
    /// Children of `owner` may run in one memory, as the inits of trees do: the first of them has it, the others have none.
    pub fn memory(&self, pids: &[u32], owner: u32) -> HashMap<u32, u64> {
        // One of each memory that several may share.
        let mut memories: Vec<u32> = Vec::new();
        let mut found = HashMap::new();
        for pid in pids {
            let Some(Counted { parent, rss, .. }) = self.processes.get(pid) else { continue };
            if *parent == owner {
                if memories.iter().any(|other| share_memory(*other, *pid)) {
                    continue;
                }
                // A few are enough to know the one that inits share; each program without an init has one of its own.
                if memories.len() < FEW {
                    memories.push(*pid);
                }
            }
            found.insert(*pid, proportional(*pid).unwrap_or_else(|| rss.saturating_mul(units().1)));
        }
        found
    }
}

/// Processor time of all threads of a process, from its clock.
fn exact_cpu(pid: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into().ok()?)).ok()?;
    clock_gettime(clock).ok().map(Duration::from)
}

fn now_in_ticks() -> u64 {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
    let ticks = since_boot.as_nanos() * u128::from(units().0) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Proportional set size in bytes; none of one that is gone, or whose memory may not be looked at.
fn proportional(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether two processes run in one memory, where the kernel tells.
fn share_memory(one: u32, other: u32) -> bool {
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: no pointers.
    unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_VM, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of these, each with its parent.
    fn of(processes: &[(u32, u32)]) -> Census {
        let mut census = Census::default();
        for (pid, parent) in processes {
            census.processes.insert(
                *pid,
                Counted { parent: *parent, start_time: 1, cpu: Duration::from_secs(1), waited: Duration::ZERO, rss: 1 },
            );
            census.children.entry(*parent).or_default().push(*pid);
        }
        census
    }

    #[test]
    fn a_tree_is_all_that_descends_from_its_root() {
        let census = of(&[(10, 1), (11, 10), (12, 11), (13, 10), (20, 1)]);
        let mut tree = census.tree(10);
        tree.sort_unstable();
        assert_eq!((tree, census.tree(20), census.tree(99)), (vec![10, 11, 12, 13], vec![20], vec![]));
        assert_eq!(census.cpu(&census.tree(10)), Duration::from_secs(4));
    }

    #[test]
    fn a_process_is_of_the_branch_that_it_descends_from() {
        let census = of(&[(10, 1), (11, 10), (12, 11), (13, 12), (20, 1)]);
        assert_eq!([11, 12, 13].map(|pid| census.branch_of(10, pid)), [Some(11); 3]);
        assert_eq!([10, 20, 99].map(|pid| census.branch_of(10, pid)), [None; 3]);
        let circle = of(&[(5, 6), (6, 5)]);
        assert_eq!((circle.branch_of(10, 5), circle.tree(5)), (None, vec![5, 6]), "a chain without an end ends");
    }

    #[test]
    fn this_process_is_counted_with_its_memory() {
        let (census, own) = (Census::take().expect("a census"), std::process::id());
        assert!(census.children(std::os::unix::process::parent_id()).contains(&own));
        assert!(census.start_time(own).is_some_and(|began| began <= census.taken_at()));
        let memory = census.memory(&[own, u32::MAX], own);
        assert!(memory.len() == 1 && memory[&own] > 1 << 20, "{memory:?}");
    }

    /// Time that an ended child has used is its parent's once that has waited for it.
    #[test]
    fn what_was_waited_for_counts() {
        let census = || Census::take().expect("a census");
        let used = || census().cpu(&[std::process::id()]);
        let (first, second) = (used(), used());
        assert!(second > first && second - first < Duration::from_secs(1), "not in steps of a clock tick");
        let before = second;
        let ended =
            std::process::Command::new("sh").args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]).status();
        assert!(ended.is_ok_and(|ended| ended.success()));
        assert!(used() > before);
    }
}
