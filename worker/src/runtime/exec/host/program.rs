//! What is started: the command, its folder and its whole environment; and the start itself, the same for both kinds of agents.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use muster_domain::{AgentSpec, TaskId};
use muster_files::DataPath;
use muster_process::{Child, Custody, Program, Spawner, Stdio, look_at_program, mark};
use tracing::warn;

use crate::runtime::exec::{Common, RunContext, blocking};

/// Variables of the worker's own environment that every program gets, and all that begin with `LC_`.
const INHERITED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// The variable that tells the program of a single task which one that is.
const TASK: &str = "MUSTER_TASK_ID";

/// Starts the program of an agent, or of a single task of it. Where it can't, says why.
pub(crate) async fn start(run: Arc<RunContext>, task: Option<TaskId>) -> Result<Child, String> {
    // Makes a folder and a process: neither is for the loop's thread.
    let begun = blocking::run(&blocking::STARTS, move || {
        let program = prepare(&run.common, &run.order.agent, task)?;
        spawner()?.begin(program).map_err(|error| error.to_string())
    });
    let starting = begun.await.map_err(|error| error.to_string())??;
    starting.runs().await.map_err(|error| error.to_string())
}

/// Makes ready what the first program needs. Where that fails, the first program says so.
pub(crate) async fn warm_up() {
    let warm_up = || spawner()?.warm_up().map_err(|error| error.to_string());
    if let Ok(Err(error)) = blocking::run(&blocking::STARTS, warm_up).await {
        warn!(error, "programs may not start");
    }
}

fn spawner() -> Result<Spawner, String> {
    Spawner::start().map_err(|error| format!("cannot start processes: {error}"))
}

/// Whether the program of an agent could be started, as far as that shows without starting it; in the words of [`start`].
pub(crate) async fn look(run: Arc<RunContext>) -> Result<(), String> {
    let looked = blocking::run(&blocking::STARTS, move || {
        let program = prepare(&run.common, &run.order.agent, None)?;
        look_at_program(&program).map_err(|error| error.to_string())
    });
    looked.await.map_err(|error| error.to_string())?
}

/// The program of an agent, or of a single task of it. Makes its folder, where the profile names none.
fn prepare(common: &Common, agent: &AgentSpec, task: Option<TaskId>) -> Result<Program, String> {
    let profile = &common.profile;
    let mut env = environment(common, agent, std::env::vars_os());
    env.extend(task.map(|task_id| (TASK.into(), task_id.to_string().into())));
    Ok(Program {
        file: None,
        argv: profile.command.iter().map(OsString::from).collect(),
        search_path: env.get(OsStr::new("PATH")).cloned(),
        template: None,
        env: env.into_iter().collect(),
        cwd: Some(folder(common, agent)?),
        stdin: Stdio::Pipe,
        stdout: Stdio::Pipe,
        stderr: Stdio::Pipe,
        custody: Custody::Tree,
        allow_new_privileges: profile.allow_new_privileges,
    })
}

fn folder(common: &Common, agent: &AgentSpec) -> Result<PathBuf, String> {
    if let Some(cwd) = &common.profile.cwd {
        return Ok(cwd.clone());
    }
    let folder = DataPath::agent_folder(&common.data_dir, agent.agent_id);
    folder.make().map_err(|error| format!("cannot make its folder {}: {error}", folder.path().display()))
}

/// The whole environment: some of the worker's own, what the profile passes on and sets, and who the agent is. The last
/// can't be overridden, since the owner of a leftover process is found by it.
fn environment(
    common: &Common,
    agent: &AgentSpec,
    own: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let profile = &common.profile;
    let handed_on = |name: &OsStr| {
        INHERITED.iter().any(|inherited| name == *inherited)
            || name.as_encoded_bytes().starts_with(b"LC_")
            || profile.pass_env.iter().any(|passed| name == passed.as_str())
    };
    let mut env: BTreeMap<OsString, OsString> = own.filter(|(name, _)| handed_on(name)).collect();
    env.extend(profile.env.iter().map(|(name, value)| (name.into(), value.into())));
    let identity = [
        ("MUSTER_AGENT_ID", agent.agent_id.to_string()),
        ("MUSTER_POOL", common.pool_name.to_string()),
        ("MUSTER_ROLE", agent.role_type.clone()),
        ("MUSTER_PROJECT_ID", agent.project_id.clone()),
        (mark::WORKER, common.process_id.to_string()),
    ];
    env.extend(identity.map(|(name, value)| (name.into(), value.into())));
    env
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::{AgentId, ExecProfile, ProcessId};
    use tokio::time::Instant;

    use super::*;

    fn common(profile: serde_json::Value) -> Common {
        let profile: ExecProfile = serde_json::from_value(profile).expect("a profile");
        let (news, _) = tokio::sync::mpsc::unbounded_channel();
        let process_id = ProcessId::generate();
        let data_dir = tempfile::tempdir().expect("a folder").keep();
        let (pool_name, worker_deadline) = ("p".parse().expect("a name"), Duration::from_secs(10));
        Common { profile, process_id, pool_name, data_dir, news, worker_deadline, since: Instant::now() }
    }

    fn agent() -> AgentSpec {
        AgentSpec {
            agent_id: AgentId::generate(),
            pool_name: "p".parse().expect("a name"),
            role_type: "developer".into(),
            project_id: "shop = \"x\"".into(),
            human_name: "Ada Brook".into(),
            heartbeat_interval: Duration::from_secs(30),
            max_idle_time: Duration::from_secs(300),
            on_demand: false,
        }
    }

    #[test]
    fn a_program_sees_the_documented_variables_and_no_others() {
        let common = common(serde_json::json!({
            "command": ["x"], "env": {"MODE": "fast", "MUSTER_AGENT_ID": "forged", "LANG": "C"}, "pass_env": ["TOKEN", "ABSENT"],
        }));
        let agent = agent();
        let own = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("LANG", "de"),
            ("LC_ALL", "C"),
            ("TOKEN", "t"),
            ("SECRET", "s"),
            ("MUSTER_REDIS_URL", "redis://:pw@h"),
            ("LD_PRELOAD", "x.so"),
        ];
        let env = environment(&common, &agent, own.into_iter().map(|(name, value)| (name.into(), value.into())));
        let names: Vec<&str> = env.keys().filter_map(|name| name.to_str()).collect();
        assert_eq!(
            names,
            [
                "HOME",
                "LANG",
                "LC_ALL",
                "MODE",
                "MUSTER_AGENT_ID",
                "MUSTER_POOL",
                "MUSTER_PROCESS_ID",
                "MUSTER_PROJECT_ID",
                "MUSTER_ROLE",
                "PATH",
                "TOKEN",
            ]
        );
        assert_eq!(env[OsStr::new("LANG")], "C", "the profile wins over what is inherited");
        assert_eq!(env[OsStr::new("MUSTER_AGENT_ID")], agent.agent_id.to_string().as_str(), "but not over who it is");
        std::fs::remove_dir_all(common.data_dir).expect("removed");
    }

    #[test]
    fn a_program_starts_in_a_folder_of_its_own_or_where_the_profile_says() {
        use std::os::unix::fs::PermissionsExt;
        let own = common(serde_json::json!({"command": ["x"]}));
        let agent = agent();
        let program = prepare(&own, &agent, None).expect("a program");
        let folder = own.data_dir.join("agents").join(agent.agent_id.to_string());
        assert_eq!(program.cwd.as_ref(), Some(&folder));
        assert_eq!(folder.metadata().expect("made").permissions().mode() & 0o777, 0o700);
        let named = common(serde_json::json!({"command": ["x"], "cwd": "/somewhere"}));
        assert_eq!(prepare(&named, &agent, None).expect("a program").cwd, Some(PathBuf::from("/somewhere")));
        assert!(!named.data_dir.join("agents").exists());
        for common in [own, named] {
            std::fs::remove_dir_all(common.data_dir).expect("removed");
        }
    }
}
