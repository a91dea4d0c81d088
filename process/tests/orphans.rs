//! What outlives a killed owner whose parent is nobody special: a free process does, a child and a tree do not.
//!
//! This test process has no spawner, so it may use the standard library's commands, and orphans do not come to it.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::process::parent_id;
use std::process::{Command, Stdio as Std};

use muster_process::{Custody, Means, Pidfd, Signal};
use support::{all_means, await_wicked, new_tag, run, shell, spawn, tagged, wait_until, wicked};

#[test]
#[ignore = "the process that the test of this file kills, not a test"]
fn owner_process() {
    let Ok(tag) = std::env::var("OWNER_TAG") else { return };
    let best_effort = std::env::var_os("OWNER_BEST_EFFORT").is_some();
    let means = if best_effort { Means::BestEffort } else { all_means()[0] };
    run(async {
        let _tree = spawn(wicked(&tag), means).await.expect("it starts");
        let _child = spawn(shell(&format!("exec sleep {tag}4"), Custody::Child), means).await.expect("it starts");
        let _free = spawn(shell(&format!("exec sleep {tag}5"), Custody::Free), means).await.expect("it starts");
        await_wicked(&tag);
        println!("ready");
        std::future::pending::<()>().await;
    });
}

#[test]
fn only_a_free_process_outlives_its_owner() {
    for means in all_means() {
        let tag = new_tag();
        let mut owner = Command::new(std::env::current_exe().expect("a path"));
        owner.args(["owner_process", "--exact", "--ignored", "--nocapture"]).env("OWNER_TAG", &tag);
        if means == Means::BestEffort {
            owner.env("OWNER_BEST_EFFORT", "yes");
        }
        let mut owner = owner.stdout(Std::piped()).spawn().expect("it starts");
        let lines = BufReader::new(owner.stdout.take().expect("a pipe")).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")), "it said that it is ready");
        wait_until("all five run", || tagged(&format!("sleep\0{tag}")).len() == 5);
        owner.kill().expect("killed");
        owner.wait().expect("reaped");
        wait_until("all but one are gone", || tagged(&tag).len() == 1);
        let free = tagged(&format!("{tag}5"));
        assert_eq!(free.len(), 1, "{means:?}");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", free[0])).expect("it lives");
        assert_ne!(stat.split(' ').nth(3), Some(owner.id().to_string().as_str()), "it has another parent");
        assert_ne!(parent_id(), owner.id());
        Pidfd::open(free[0]).expect("it lives").signal(Signal::SIGKILL).expect("sent");
        wait_until("the last is gone", || tagged(&tag).is_empty());
    }
}
