//! Trees that will not die, under every order of deaths: nothing stays that no agent owns, and no agent runs twice.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::faults::{Process, Wicked, kill9, lives, process};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(30);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Program,
    Init,
    Worker,
    Master,
}
use Victim::{Init, Master, Program, Worker};

const ORDERS: &[&[Victim]] = &[
    &[Program],
    &[Init],
    &[Worker],
    &[Program, Worker, Master],
    &[Program, Master, Worker],
    &[Worker, Program, Master],
    &[Worker, Master, Program],
    &[Master, Program, Worker],
    &[Master, Worker, Program],
    &[Init, Worker, Master],
    &[Init, Master, Worker],
    &[Worker, Init, Master],
    &[Worker, Master, Init],
    &[Master, Init, Worker],
    &[Master, Worker, Init],
];

/// Agents that will not die, of which no two of one id may ever be seen.
struct Stage {
    muster: Muster,
    wicked: Wicked,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set(best_effort: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("mw").tempdir_in("/tmp").expect("a folder");
        let wicked = Wicked::new(folder.path());
        let config = format!(
            "[runtimes.wicked]\nkind = \"exec\"\ncommand = {}\nready = \"started\"\nstop_deadline = 0.5\n\
             [pools.wild]\nrole_type = \"developer\"\nruntime = \"wicked\"\nmax_agents = 2\n\
             restart.max_restarts = 1000\nrestart.backoff_min = 0.01\nrestart.backoff_max = 0.02\n",
            wicked.command()
        );
        let mut env = Vec::new();
        if best_effort {
            env.push(("MUSTER_OWNERSHIP".to_owned(), "best-effort".to_owned()));
        }
        let muster = Muster::start(Options { config, env, ..Options::default() });
        muster.spawn_many("wild", 2);
        let stage = Self { muster, wicked, _folder: folder };
        stage.await_calm();
        stage
    }

    /// Waits until both agents run, each with its program and its grandchild below a worker of this master, and nothing
    /// else of the kind is left.
    fn await_calm(&self) {
        wait_until("both trees stand, and nothing is left of others", BOUND, || {
            let agents = self.muster.all_agents();
            let workers: Vec<u32> = self.muster.all_workers().iter().map(|worker| worker.pid).collect();
            let (mains, grandchildren) = (self.wicked.mains(), self.wicked.grandchildren());
            let all = self.wicked.all();
            agents.iter().all(|agent| agent.state == "idle")
                && all.len() == 4
                && mains.len() == 2
                && grandchildren.len() == 2
                && all.iter().all(|process| ancestors(process).iter().any(|pid| workers.contains(pid)))
                && mains.iter().all(|main| agents.iter().any(|agent| agent.pid == Some(main.pid)))
        });
    }

    fn strike(&mut self, victim: Victim, scene: &Scene) {
        match victim {
            Program => scene.mains.iter().for_each(|main| kill9(main.pid)),
            Init => scene.mains.iter().for_each(|main| kill9(main.parent)),
            Worker => scene.workers.iter().for_each(|pid| kill9(*pid)),
            Master => self.muster.kill9(),
        }
    }

    fn scene(&self) -> Scene {
        Scene {
            mains: self.wicked.mains(),
            workers: self.muster.all_workers().into_iter().map(|worker| worker.pid).collect(),
        }
    }

    /// One order of deaths, with or without the time to act in between.
    fn play(&mut self, order: &[Victim], in_turn: bool) {
        let scene = self.scene();
        for victim in order {
            self.strike(*victim, &scene);
            if in_turn {
                self.await_effect(*victim, &scene);
            }
        }
        if order.contains(&Master) {
            self.muster.restart();
        }
        self.await_calm();
    }

    fn await_effect(&self, victim: Victim, scene: &Scene) {
        wait_until("the victims are dead", BOUND, || match victim {
            Program | Init => scene.mains.iter().all(|main| !lives(main.pid)),
            Worker => scene.workers.iter().all(|pid| !lives(*pid)),
            Master => true,
        });
    }

    fn end(mut self) {
        self.muster.stop();
        let left = self.wicked.all();
        assert!(left.is_empty(), "after the stop something is left: {left:?}");
    }
}

struct Scene {
    mains: Vec<Process>,
    workers: Vec<u32>,
}

fn ancestors(of: &Process) -> Vec<u32> {
    let mut parents = Vec::new();
    let mut next = Some(of.clone());
    while let Some(child) = next {
        parents.push(child.parent);
        next = process(child.parent);
    }
    parents
}

/// Watches, while `play` goes on, that no agent's program is there twice.
fn never_twice(fifo: &Wicked, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let mut seen: HashMap<String, Vec<Process>> = HashMap::new();
        for main in fifo.mains() {
            let id = main.command_line.split_whitespace().last().expect("a marked one").to_owned();
            seen.entry(id).or_default().push(main);
        }
        // The look at all processes takes time, in which one may have ended and the next begun: both must still live.
        for twins in seen.values().filter(|mains| mains.len() > 1) {
            let alive: Vec<&Process> = twins.iter().filter(|twin| lives(twin.pid)).collect();
            assert!(alive.len() < 2, "an agent runs twice: {alive:?}");
        }
        std::thread::yield_now();
    }
}

fn play_all(orders: &[&[Victim]], best_effort: bool, in_turn: bool) {
    let mut stage = Stage::set(best_effort);
    let watched = stage.wicked.clone();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| never_twice(&watched, &over));
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for order in orders {
                eprintln!("order of deaths: {order:?}");
                stage.play(order, in_turn);
            }
        }));
        over.store(true, Ordering::Relaxed);
        watch.join().expect("no agent ran twice");
        if let Err(panic) = played {
            std::panic::resume_unwind(panic);
        }
    });
    stage.end();
}

#[test]
fn no_order_of_deaths_leaves_anything_or_runs_an_agent_twice() {
    play_all(ORDERS, false, true);
}

#[test]
fn deaths_in_the_same_moment_leave_nothing_either() {
    play_all(ORDERS, false, false);
}

#[test]
fn best_effort_holds_in_every_order_of_deaths() {
    play_all(ORDERS, true, true);
}

#[test]
fn best_effort_holds_when_init_and_worker_die_in_the_same_moment() {
    // The second time the worker is one that this master has adopted: what its trees leave does not come to it.
    play_all(&[&[Init, Worker], &[Master], &[Init, Worker], &[Worker, Init], &[Init, Worker, Master]], true, false);
}

/// The long form of that, for `make kills`: as many kills as it is told.
#[test]
#[ignore = "it takes many minutes; make kills runs it"]
fn best_effort_holds_however_often() {
    let kills = std::env::var("KILLS").map_or(1_000, |kills| kills.parse().expect("KILLS is a number"));
    let orders: [&[Victim]; 5] =
        [&[Init, Worker], &[Worker, Init], &[Init, Worker, Master], &[Master, Init, Worker], &[Master]];
    let played: Vec<&[Victim]> = orders.into_iter().cycle().take(kills).collect();
    play_all(&played, true, false);
}

/// A process that bears the mark of a worker and is none of its.
struct Pretender(std::process::Child);

impl Pretender {
    /// Of another user, or of our own. `None` where this user may not start processes of another one.
    fn start(worker: &str, is_another: bool) -> Option<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new("/bin/sleep");
        command.arg("1000.5").env_clear().env("MUSTER_PROCESS_ID", worker).current_dir("/");
        if is_another {
            command.uid(65_534).gid(65_534);
        }
        command.spawn().ok().map(Self)
    }
}

impl Drop for Pretender {
    fn drop(&mut self) {
        drop(self.0.kill().and_then(|()| self.0.wait()));
    }
}

/// The worker dies while such a process is there: its agent runs again at once, and the process goes on.
fn a_copied_mark_counts_for_nothing(is_another: bool) {
    let muster = Muster::start(Options::config(
        "[runtimes.r]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''echo '{\"type\":\"ready\"}'; exec cat''']\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"r\"\n",
    ));
    let agent = muster.spawn_many("p", 1).remove(0);
    let worker = muster.all_workers().remove(0);
    let Some(mut pretender) = Pretender::start(&worker.id, is_another) else {
        eprintln!("not tested: only root may start a process of another user");
        return;
    };
    kill9(worker.pid);
    wait_until("the agent runs again", BOUND, || {
        let now = muster.one_agent(&agent);
        (now.state.as_str(), now.epoch) == ("idle", 2)
    });
    assert!(pretender.0.try_wait().expect("asked").is_none(), "it was none of ours to kill");
}

#[test]
fn the_mark_of_another_users_process_counts_for_nothing() {
    a_copied_mark_counts_for_nothing(true);
}

#[test]
fn a_mark_that_a_process_of_our_own_user_has_copied_counts_for_nothing() {
    a_copied_mark_counts_for_nothing(false);
}

/// A folder of the version 1 freezer: what is in it neither runs nor dies. Thawed and removed on drop.
struct Freezer(std::path::PathBuf);

impl Freezer {
    /// `None` where there is none that this user may use.
    fn new() -> Option<Self> {
        let name = format!("muster-e2e-{}", std::process::id());
        let folder = std::path::Path::new("/sys/fs/cgroup/freezer").join(name);
        std::fs::create_dir(&folder).ok().map(|()| Self(folder))
    }

    fn freeze(&self, pids: &[u32]) {
        pids.iter().for_each(|pid| self.write("cgroup.procs", &pid.to_string()));
        self.write("freezer.state", "FROZEN");
        wait_until("they are frozen", BOUND, || {
            std::fs::read_to_string(self.0.join("freezer.state")).is_ok_and(|state| state == "FROZEN\n")
        });
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).expect("written");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.write("freezer.state", "THAWED");
        wait_until("the freezer is empty", BOUND, || std::fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn what_cannot_die_is_not_started_anew_however_long_that_takes() {
    let Some(freezer) = Freezer::new() else {
        eprintln!("not tested: there is no freezer here that this user may use");
        return;
    };
    let mut stage = Stage::set(false);
    let (scene, old) = (stage.scene(), stage.muster.all_agents());
    freezer.freeze(&scene.mains.iter().map(|main| main.pid).collect::<Vec<_>>());
    stage.strike(Master, &scene);
    stage.strike(Worker, &scene);
    stage.await_effect(Worker, &scene);
    // It leads at once, takes in a new agent, and says why the old ones do not run.
    stage.muster.restart();
    stage.muster.spawn_many("wild", 1);
    wait_until("the log tells of them", BOUND, || stage.muster.log().contains("what a dead worker left does not die"));
    let are = |state: &str, epoch: u64| {
        let now: Vec<_> = old.iter().map(|agent| stage.muster.one_agent(&agent.id)).collect();
        now.iter().all(|agent| (agent.state.as_str(), agent.epoch) == (state, epoch))
    };
    assert!(are("spawning", 1), "they keep their places");
    assert_eq!(stage.wicked.mains().len(), 3, "two that can't die, and the new one");
    drop(freezer);
    wait_until("they run again", BOUND, || are("idle", 2));
    assert!(!scene.mains.iter().any(|main| lives(main.pid)));
    stage.end();
}
