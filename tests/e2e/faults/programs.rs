//! The programs of the agents fail. Those that run are left alone, where it is the next that fails.

use super::row::{Mend, Row, Skip};
use super::site::Site;
use crate::harness::faults::signal;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("program: hangs", stands_still)
            .prepare(|plan| {
                plan.pool.push_str("task_lease = 2\n");
                Ok(())
            })
            .harms_programs(),
    ]
}

/// Two programs read nothing more, and answer no task: each costs it the pool's own clock.
fn stands_still(site: &mut Site) -> Result<Mend, Skip> {
    let agents = site.agents().expect("a list");
    let pids: Vec<u32> = agents.into_iter().filter_map(|agent| agent.pid).take(2).collect();
    assert_eq!(pids.len(), 2, "programs run");
    pids.iter().for_each(|&pid| signal(pid, libc::SIGSTOP));
    Ok(Box::new(move |_| pids.into_iter().for_each(|pid| signal(pid, libc::SIGCONT))))
}
