//! A server with the Redis, the database and the programs of one cell.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::row::{Cell, Registry, Row, Skip, Store};
use crate::harness::disk::SmallDisk;
use crate::harness::faults::{Agent, Postgres, RedisServer, starts};
use crate::harness::group::ProcessGroup;
use crate::harness::{Answer, BOUND, Muster, Options, wait_until};

/// Slots of a worker. All are taken before the fault: the next agent needs another worker.
const SLOTS: usize = 2;

/// A program that does tasks; one that is told to say a NUL as its last word ends with it. While a file beside it says so it
/// reads tasks and never answers.
pub(super) const PROGRAM: &str = r#"#!/bin/sh
echo '{"type":"ready"}'
while IFS= read -r line; do
    case $line in
    *'last words'*) printf 'a \000 in the middle\n'; exit 1 ;;
    '{"type":"task","id":"'*)
        [ -e "$0.mute" ] && continue
        id=${line#'{"type":"task","id":"'}
        echo "{\"type\":\"result\",\"id\":\"${id%%'"'*}\",\"output\":1}" ;;
    *'"type":"stop"'*) exit 0 ;;
    esac
done
"#;

/// What a row may change before the server starts.
pub(super) struct Plan {
    pub(super) options: Options,
    /// Holds the program, and what a row puts beside it. It outlives the server.
    pub(super) folder: tempfile::TempDir,
    /// Where the data folder is, if on a disk of its own.
    pub(super) disk: Option<SmallDisk>,
    /// What all processes of the server are in, if in a control group of their own.
    pub(super) group: Option<ProcessGroup>,
    /// Further lines of the pool.
    pub(super) pool: String,
    /// Further lines of the runtime.
    pub(super) runtime: String,
}

/// All of it. The server ends first, then what it stands on.
pub(super) struct Site {
    pub(super) muster: Muster,
    pub(super) redis: Option<RedisServer>,
    pub(super) postgres: Option<Postgres>,
    pub(super) plan: Plan,
}

/// How all was before the fault.
pub(super) struct Before {
    agents: BTreeMap<String, Run>,
    degraded: Value,
    alerts: Value,
}

/// One run of an agent's program: its worker, its epoch, its pid.
#[derive(Clone, Debug, PartialEq)]
struct Run(String, u64, Option<u32>);

impl Site {
    /// Starts everything, fills as many workers as the cell wants, and looks that a task is done.
    pub(super) fn build(row: &Row, cell: Cell) -> Result<Self, Skip> {
        let folder = tempfile::Builder::new().prefix("mf").tempdir_in("/tmp").expect("a folder");
        let options = clocks();
        let mut plan = Plan { options, folder, disk: None, group: None, pool: String::new(), runtime: String::new() };
        (row.prepare)(&mut plan)?;
        plan.write_program(PROGRAM);
        let redis = (cell.registry == Registry::Configured).then(RedisServer::start);
        let postgres = (cell.store == Store::Postgres).then(Postgres::start);
        if let Some(redis) = &redis {
            super::redis::add_user(redis);
            plan.set("MUSTER_REDIS_URL", super::redis::user_url(redis));
        }
        if let Some(postgres) = &postgres {
            super::store::add_role(postgres);
            plan.set("MUSTER_DATABASE_URL", super::store::role_url(postgres));
        }
        if cell.registry == Registry::Memory {
            plan.options.args.push("--single-process".to_owned());
        }
        plan.options.config = plan.config();
        let muster = Muster::start(plan.options.clone());
        let site = Self { muster, redis, postgres, plan };
        site.muster.spawn_many("p", SLOTS * cell.workers);
        assert_eq!(site.muster.all_workers().len(), cell.workers, "as many workers as are wanted");
        wait_until("a task is done", BOUND, || site.task_is_done());
        Ok(site)
    }

    /// How it is now.
    pub(super) fn observe(&self) -> Before {
        let agents = self.agents().expect("a list").iter().map(|agent| (agent.id.clone(), Run::of(agent))).collect();
        let health = self.muster.get("/health").body;
        Before { agents, degraded: health["degraded"].clone(), alerts: health["alerts"].clone() }
    }

    /// Every agent that is wanted; none where the server does not say.
    pub(super) fn agents(&self) -> Option<Vec<Agent>> {
        let answer = self.muster.ask("GET", "/api/v1/agents?limit=500").try_send().ok()?;
        let agents = answer.body["items"].as_array()?.iter().map(Agent::read);
        Some(agents.filter(|agent| !matches!(agent.state.as_str(), "terminated" | "failed")).collect())
    }

    /// Whether every agent that is wanted runs, and says otherwise which don't.
    pub(super) fn all_run(&self) -> Result<(), String> {
        let agents = self.agents().ok_or("the agents are not listed")?;
        let mut idle = String::new();
        for agent in agents.iter().filter(|agent| !matches!(agent.state.as_str(), "idle" | "busy")) {
            let _ = write!(idle, " {} is {};", agent.id, agent.state);
        }
        if idle.is_empty() { Ok(()) } else { Err(format!("not all agents run:{idle}")) }
    }

    /// Fails where an agent of before is not the same run any more. Where nothing is listed, nothing is judged.
    pub(super) fn spared(&self, before: &Before) -> Result<(), String> {
        let Some(agents) = self.agents() else { return Ok(()) };
        let now: BTreeMap<&str, Run> = agents.iter().map(|agent| (agent.id.as_str(), Run::of(agent))).collect();
        let other = before.agents.iter().find(|(id, run)| now.get(id.as_str()) != Some(*run));
        other.map_or(Ok(()), |(id, run)| {
            Err(format!("a healthy agent was ended: {id} was {run:?}, is {:?}", now.get(id.as_str())))
        })
    }

    /// Whether health says no more than it did before.
    pub(super) fn health_is_back(&self, row: &Row, before: &Before) -> Result<(), String> {
        let health = self.muster.ask("GET", "/health").try_send().map_err(|error| error.to_string())?;
        let remembered = |said: &&Value| row.remembers.is_some_and(|words| starts(said, words));
        let said = health.body["degraded"].as_array().ok_or("health says nothing")?.iter();
        let degraded: Vec<&Value> = said.filter(|said| !remembered(said)).collect();
        if json!(degraded) != before.degraded {
            return Err(format!("health says {degraded:?}"));
        }
        // Where programs failed, some alerts last until a person has seen to their tasks. That workers were lost is told for a minute.
        let told = |alerts: &Value| -> Vec<Value> {
            let all = alerts.as_array().into_iter().flatten();
            all.filter(|alert| alert["kind"] != "workers_lost").cloned().collect()
        };
        let alerts = told(&health.body["alerts"]);
        let is_back = alerts == told(&before.alerts) || row.remembers.is_some() || !row.spares;
        if is_back { Ok(()) } else { Err(format!("alerts last: {alerts:?}")) }
    }

    fn task_is_done(&self) -> bool {
        let answer = self.muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1}));
        let done = |task: Answer| self.muster.get(&format!("/api/v1/tasks/{}?wait=5", task.text("task_id")));
        answer.status == 202 && done(answer).text("state") == "succeeded"
    }

    /// The private Redis, or the configured one.
    pub(super) fn redis_pid(&self) -> Option<u32> {
        self.redis.as_ref().map_or_else(|| self.muster.redis_pid(), RedisServer::pid)
    }
}

impl Run {
    fn of(agent: &Agent) -> Self {
        Self(agent.process_id.clone(), agent.epoch, agent.pid)
    }
}

impl Plan {
    /// Sets a variable of the server.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.options.env.push((name.to_owned(), value.into()));
    }

    /// Where the program of the agents is.
    pub(super) fn program(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// Puts another program in its place: agents that run keep theirs.
    pub(super) fn write_program(&self, script: &str) {
        let new = self.folder.path().join("agent.new");
        std::fs::write(&new, script).expect("a file");
        allow_to_run(&new);
        std::fs::rename(new, self.program()).expect("a file");
    }

    fn config(&self) -> String {
        format!(
            "[runtimes.program]\nkind = \"exec\"\ncommand = ['{}']\nstop_deadline = 1\nstart_timeout = 3\n{}\n\
             [pools.p]\nrole_type = \"developer\"\nruntime = \"program\"\nmax_agents = {SLOTS}\nmax_attempts = 20\n\
             breaker.enabled = false\nretry.backoff_min = 0.05\nretry.backoff_max = 0.5\n\
             restart.backoff_min = 0.05\nrestart.backoff_max = 0.5\n{}\n",
            self.program().display(),
            self.runtime,
            self.pool,
        )
    }
}

/// Clocks that make faults known within seconds, and by which what a busy machine holds up is not taken for dead.
fn clocks() -> Options {
    let clocks = [("HEARTBEAT", "0.2"), ("STALE", "1.5"), ("LEASE", "2")];
    clocks
        .iter()
        .fold(Options::default(), |options, (name, value)| options.env(&format!("MUSTER_CLOCKS_{name}"), *value))
}

fn allow_to_run(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a file of ours");
}
