//! A master that is gone for good: its workers wait, then end, and leave nothing.

use std::time::Duration;

use crate::harness::faults::{Wicked, lives};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(30);

#[test]
fn workers_without_a_master_end_with_their_agents() {
    let folder = tempfile::Builder::new().prefix("mo").tempdir_in("/tmp").expect("a folder");
    let wicked = Wicked::new(folder.path());
    let config = format!(
        "[runtimes.wicked]\nkind = \"exec\"\ncommand = {}\nready = \"started\"\nstop_deadline = 0.3\n\
         [pools.wild]\nrole_type = \"developer\"\nruntime = \"wicked\"\nmax_agents = 2\n\
         [pools.calm]\nrole_type = \"developer\"\n",
        wicked.command()
    );
    let env = vec![("MUSTER_CLOCKS_ORPHAN_AFTER".to_owned(), "1.5".to_owned())];
    let mut muster = Muster::start(Options { config, env, ..Options::default() });
    muster.spawn_many("wild", 3);
    muster.spawn_many("calm", 2);
    wait_until("three trees stand", BOUND, || wicked.all().len() == 6);
    let workers: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    assert_eq!(workers.len(), 3);
    muster.kill9();
    assert!(workers.iter().all(|pid| lives(*pid)), "they outlive it");
    wait_until("they end when nobody has come", BOUND, || !workers.iter().any(|pid| lives(*pid)));
    assert!(wicked.all().is_empty(), "with all that they owned");
    // The next master finds nobody, and starts all again.
    muster.restart();
    wait_until("all run again", BOUND, || {
        let agents = muster.all_agents();
        agents.len() == 5 && agents.iter().all(|agent| (agent.state.as_str(), agent.epoch) == ("idle", 2))
    });
    wait_until("three trees stand", BOUND, || wicked.all().len() == 6);
}
