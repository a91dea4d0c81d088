//! The programs of the agents fail. Those that run are left alone, where it is the next that fails.

use std::fs;

use super::row::{Mend, Row, Skip};
use super::site::{PROGRAM, Site};
use crate::harness::faults::signal;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("program: not found", not_found).alert("start_failed").says(&["no such file"]),
        Row::new("program: exits at once", |site| replaced(site, "#!/bin/sh\necho no licence >&2\nexit 3\n"))
            .alert("start_failed")
            .says(&["exited with code 3"]),
        Row::new("program: never ready", |site| replaced(site, "#!/bin/sh\nexec cat\n"))
            .alert("start_failed")
            .says(&["did not say that it is ready"]),
        Row::new("program: hangs", stands_still)
            .prepare(|plan| {
                plan.pool.push_str("task_lease = 2\n");
                Ok(())
            })
            .harms_programs(),
        Row::new("program: never answers", mute)
            .prepare(|plan| {
                plan.pool.push_str("task_timeout = 1\nbreaker.least = 3\n");
                Ok(())
            })
            .alert("failure_rate")
            .names(&["took longer than its timeout"])
            .harms_programs(),
    ]
}

fn not_found(site: &mut Site) -> Result<Mend, Skip> {
    fs::remove_file(site.plan.program()).expect("a program");
    Ok(Box::new(|site| site.plan.write_program(PROGRAM)))
}

/// Another program is in its place for whoever starts next.
fn replaced(site: &mut Site, script: &str) -> Result<Mend, Skip> {
    site.plan.write_program(script);
    Ok(Box::new(|site| site.plan.write_program(PROGRAM)))
}

/// Two programs read nothing more, and answer no task: each costs it the pool's own clock.
fn stands_still(site: &mut Site) -> Result<Mend, Skip> {
    let agents = site.agents().expect("a list");
    let pids: Vec<u32> = agents.into_iter().filter_map(|agent| agent.pid).take(2).collect();
    assert_eq!(pids.len(), 2, "programs run");
    pids.iter().for_each(|&pid| signal(pid, libc::SIGSTOP));
    Ok(Box::new(move |_| pids.into_iter().for_each(|pid| signal(pid, libc::SIGCONT))))
}

/// All read their tasks and never answer.
fn mute(site: &mut Site) -> Result<Mend, Skip> {
    let switch = site.plan.program().with_extension("mute");
    fs::write(&switch, "").expect("a file");
    Ok(Box::new(move |_| fs::remove_file(switch).expect("there is one")))
}
