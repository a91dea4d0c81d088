//! Which of several real workers gets an agent.

use serde_json::{Value, json};

use crate::harness::faults::kill9;
use crate::harness::{BOUND, Muster, Options, wait_until};

/// Two workers each, of programs that rest; in the last pool those of the project `busy` work without a rest.
const POOLS: &str = r#"
[metrics]
interval = 1
[runtimes.resting]
kind = "exec"
command = ["sh", "-c", '''echo '{"type":"ready"}'; exec sleep 600''']
[runtimes.uneven]
kind = "exec"
command = ["sh", "-c", '''echo '{"type":"ready"}'; [ "$MUSTER_PROJECT_ID" = busy ] && while :; do :; done; exec sleep 600''']
[pools.packed]
role_type = "developer"
runtime = "resting"
min_workers = 2
[pools.even]
role_type = "developer"
runtime = "resting"
min_workers = 2
placement = "spread"
[pools.together]
role_type = "developer"
runtime = "resting"
min_workers = 2
placement = "spread"
project_affinity = true
[pools.measured]
role_type = "developer"
runtime = "uneven"
min_workers = 2
placement = "least_loaded"
"#;

/// A supervisor each of whose workers is ready.
fn start() -> Muster {
    let muster = Muster::start(Options::config(POOLS));
    let ready = |pool: &str| muster.pool(pool)["active_worker_processes"] == 2;
    wait_until("all workers are ready", BOUND, || ["packed", "even", "together", "measured"].into_iter().all(ready));
    muster
}

/// Spawns an agent of a project, and says which worker has it.
fn spawn(muster: &Muster, pool: &str, project: &str) -> String {
    let body = json!({"project_id": project, "role_type": "developer", "pool_name": pool});
    let answer = muster.post("/api/v1/agents/spawn", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.text("process_id").to_owned()
}

/// How many agents each worker of a pool has, the fullest first.
fn shares(muster: &Muster, pool: &str) -> Vec<u64> {
    let processes = muster.get("/api/v1/agents/metrics/processes").body["processes"].clone();
    let of_pool = |process: &&Value| process["pool_name"] == pool;
    let held = |process: &Value| process["agent_count"].as_u64().expect("a number");
    let mut shares: Vec<u64> = processes.as_array().into_iter().flatten().filter(of_pool).map(held).collect();
    shares.sort_unstable_by(|one, other| other.cmp(one));
    shares
}

#[test]
fn a_pool_packs_its_workers_or_spreads_over_them_and_restores_in_the_same_way() {
    let mut muster = start();
    for _ in 0..6 {
        spawn(&muster, "packed", "shop");
        spawn(&muster, "even", "shop");
    }
    assert_eq!((shares(&muster, "packed"), shares(&muster, "even")), (vec![6, 0], vec![3, 3]));
    assert_eq!(muster.pool("even")["config"]["placement"], "spread");
    let workers = muster.all_workers();
    muster.kill9();
    workers.iter().for_each(|worker| kill9(worker.pid));
    muster.restart();
    let run = || muster.all_agents().iter().filter(|agent| agent.state == "idle" && agent.epoch > 1).count();
    wait_until("all run again, in other workers", BOUND, || run() == 12);
    assert_eq!((shares(&muster, "packed"), shares(&muster, "even")), (vec![6, 0], vec![3, 3]));
}

#[test]
fn agents_of_one_project_are_together_and_none_waits_for_that() {
    let muster = start();
    let shop = spawn(&muster, "together", "shop");
    let blog = spawn(&muster, "together", "blog");
    assert_ne!(shop, blog);
    for _ in 0..9 {
        assert_eq!(spawn(&muster, "together", "shop"), shop);
    }
    assert_eq!(spawn(&muster, "together", "shop"), blog, "the worker of the project is full");
    assert_eq!(shares(&muster, "together"), [10, 2]);
}

#[test]
fn agents_avoid_the_worker_that_works() {
    let muster = start();
    (0..4).for_each(|_| drop(spawn(&muster, "measured", "rest")));
    let busy = spawn(&muster, "measured", "busy");
    let works = || {
        let newest = muster.get(&format!("/api/v1/workers/{busy}/metrics")).body[0]["cpu_percent"].as_f64();
        newest.is_some_and(|percent| percent > 10.0)
    };
    wait_until("its work is measured", BOUND, works);
    // By numbers they would go round; by load three more count less than the one that works, even until they are measured.
    let given: Vec<String> = (0..3).map(|_| spawn(&muster, "measured", "rest")).collect();
    assert!(given.iter().all(|worker| *worker != busy), "{busy}: {given:?}");
}

#[test]
fn a_pool_is_made_with_a_placement_and_given_another_one() {
    let muster = Muster::start(Options::default());
    let config = json!({"placement": "spread", "min_workers": 2, "max_agents": 4});
    let made =
        muster.post("/api/v1/agents/pools", &json!({"role_type": "developer", "pool_name": "mine", "config": config}));
    assert_eq!((made.status, &made.body["config"]["placement"]), (201, &json!("spread")), "{made:?}");
    assert_eq!(made.body["config"]["project_affinity"], false);
    wait_until("its workers are ready", BOUND, || muster.pool("mine")["active_worker_processes"] == 2);
    muster.spawn_many("mine", 2);
    assert_eq!(shares(&muster, "mine"), [1, 1]);
    let set = muster.command(&["pools", "set", "mine", "placement=pack", "project_affinity=yes"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let now = muster.pool("mine")["config"].clone();
    assert_eq!((&now["placement"], &now["project_affinity"]), (&json!("pack"), &json!(true)));
    let refused = muster.patch("/api/v1/agents/pools/mine", &json!({"config": {"placement": "random"}}));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(spawn(&muster, "mine", "shop"), spawn(&muster, "mine", "shop"), "packed");
    assert_eq!(shares(&muster, "mine"), [3, 1]);
}
