//! Orphans: children of this process that it did not start. It is a subreaper, so they are what somebody orphaned: a
//! worker that died, or the init of a tree. Nobody else can ever own them, so they are killed.

use std::io;

use crate::process_list::{ProcessList, kill_descendants};

/// Finds and kills orphans.
pub(crate) struct Orphans {
    own: u32,
    /// Children that this process had before it had a spawner, as a shell has that ends with `exec`. They are left alone.
    inherited: Vec<u32>,
}

impl Orphans {
    /// Takes every child that there is as inherited.
    pub(crate) fn new() -> Self {
        Self { own: std::process::id(), inherited: children().unwrap_or_default() }
    }

    /// Takes all that is not ours as an orphan.
    #[cfg(test)]
    pub(crate) fn without_inherited() -> Self {
        Self { own: std::process::id(), inherited: Vec::new() }
    }

    /// Those that live, or are zombies yet to be reaped. `is_ours` says which children were started here. Who can't look
    /// (too many open files) gets an error: that is not the same as that there is none.
    pub(crate) fn find(&self, is_ours: impl Fn(u32) -> bool) -> io::Result<Vec<u32>> {
        Ok(children()?.into_iter().filter(|pid| !is_ours(*pid) && !self.inherited.contains(pid)).collect())
    }

    /// Kills these orphans. What they orphan comes to this process and is a orphan itself.
    pub(crate) fn kill(&self, orphans: &[u32]) {
        for pid in orphans {
            // SAFETY: a plain system call. It is a child that only the caller reaps, so its pid cannot be another's.
            unsafe { libc::kill(*pid as libc::pid_t, libc::SIGKILL) };
        }
    }

    /// Stops, then kills all children but ours and the inherited ones, with all their descendants. Reads every process; who is ours is
    /// asked after that.
    pub(crate) fn kill_thoroughly(&self, is_ours: impl Fn(u32) -> bool) {
        kill_descendants(self.own, |pid| is_ours(pid) || self.inherited.contains(&pid));
    }
}

/// The children of this process. The kernel lists them per thread; where it is built without that, all processes are read.
fn children() -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        match std::fs::read_to_string(thread?.path().join("children")) {
            Ok(list) => children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // A thread that ended between the two; its children went to another one.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(_) => return listed_children(),
        }
    }
    Ok(children)
}

fn listed_children() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut processes = ProcessList::take()?;
    processes.mark_descendants(own, |_| false);
    Ok(processes.marked().filter(|entry| entry.parent == own).map(|entry| entry.pid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_orphans_are_killed() {
        let sleep = || std::process::Command::new("sleep").arg("1000").spawn().expect("a child");
        let mut inherited = sleep();
        let orphans = Orphans { own: std::process::id(), inherited: vec![inherited.id()] };
        for thorough in [false, true] {
            let (mut ours, mut orphan) = (sleep(), sleep());
            // Other tests of this process have children too, so all but one are said to be ours.
            let found = orphans.find(|pid| pid != orphan.id() && pid != inherited.id()).expect("a list");
            assert_eq!(found, [orphan.id()]);
            if thorough {
                orphans.kill_thoroughly(|pid| pid != orphan.id());
            } else {
                orphans.kill(&found);
            }
            assert!(!orphan.wait().expect("reaped").success());
            assert!(ours.try_wait().expect("asked").is_none() && inherited.try_wait().expect("asked").is_none());
            ours.kill().and_then(|()| ours.wait()).expect("reaped");
        }
        inherited.kill().and_then(|()| inherited.wait()).expect("reaped");
    }

    #[test]
    fn both_ways_see_the_same_children() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("a child");
        let seen = [children().expect("a list"), listed_children().expect("a list")];
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(seen.iter().all(|list| list.contains(&child.id())), "{seen:?}");
    }
}
