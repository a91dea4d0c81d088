//! Strays: children of this process that it did not start. It is a subreaper, so they are what somebody orphaned: a
//! worker that died, or the init of a tree. Nobody else can ever own them, so they are killed.

use std::io;

use crate::census::{Census, kill_descendants};

/// Finds and kills strays.
pub(crate) struct Strays {
    own: u32,
    /// Children that this process had before it had a nursery, as a shell has that ends with `exec`. They are left alone.
    inherited: Vec<u32>,
}

impl Strays {
    /// Takes every child that there is as inherited.
    pub(crate) fn new() -> Self {
        Self { own: std::process::id(), inherited: children().unwrap_or_default() }
    }

    /// Those that live, or are zombies yet to be reaped. `is_ours` says which children were started here. Who can't look
    /// (too many open files) gets an error: that is not the same as that there is none.
    pub(crate) fn find(&self, is_ours: impl Fn(u32) -> bool) -> io::Result<Vec<u32>> {
        Ok(children()?.into_iter().filter(|pid| !is_ours(*pid) && !self.inherited.contains(pid)).collect())
    }

    /// Kills these strays. What they orphan comes to this process and is a stray itself.
    pub(crate) fn kill(&self, strays: &[u32]) {
        for pid in strays {
            // SAFETY: a plain system call. It is a child that only the caller reaps, so its pid cannot be another's.
            unsafe { libc::kill(*pid as libc::pid_t, libc::SIGKILL) };
        }
    }

    /// Stops, then kills all children but ours and the inherited ones, with all their descendants. Reads every process.
    pub(crate) fn kill_thoroughly(&self, ours: impl Iterator<Item = u32>) {
        let spared: Vec<u32> = ours.chain(self.inherited.iter().copied()).collect();
        kill_descendants(self.own, &spared);
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
            Err(_) => return children_by_census(),
        }
    }
    Ok(children)
}

fn children_by_census() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut census = Census::take()?;
    census.mark_descendants(own, &[]);
    Ok(census.marked().filter(|entry| entry.parent == own).map(|entry| entry.pid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strays_are_killed() {
        let sleep = || std::process::Command::new("sleep").arg("1000").spawn().expect("a child");
        let mut inherited = sleep();
        let strays = Strays { own: std::process::id(), inherited: vec![inherited.id()] };
        for thorough in [false, true] {
            let (mut ours, mut stray) = (sleep(), sleep());
            // Other tests of this process have children too, so all but one are said to be ours.
            let found = strays.find(|pid| pid != stray.id() && pid != inherited.id()).expect("a list");
            assert_eq!(found, [stray.id()]);
            if thorough {
                let others = children().expect("a list").into_iter().filter(|pid| *pid != stray.id());
                strays.kill_thoroughly(others);
            } else {
                strays.kill(&found);
            }
            assert!(!stray.wait().expect("reaped").success());
            assert!(ours.try_wait().expect("asked").is_none() && inherited.try_wait().expect("asked").is_none());
            ours.kill().and_then(|()| ours.wait()).expect("reaped");
        }
        inherited.kill().and_then(|()| inherited.wait()).expect("reaped");
    }

    #[test]
    fn both_ways_see_the_same_children() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("a child");
        let seen = [children().expect("a list"), children_by_census().expect("a list")];
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(seen.iter().all(|list| list.contains(&child.id())), "{seen:?}");
    }
}
