//! The tables of the file that there may be any number of: what agents run, and the pools that run it.

use std::collections::BTreeMap;
use std::path::Path;

use muster_domain::lengths::{MAX_ROLE_TYPE, check_length};
use muster_domain::pool::{PoolConfig, PoolMistake, PoolOrigin, PoolSpec};
use muster_domain::runtime::{ECHO, ExecProfile};
use muster_domain::{Clocks, PoolName, RuntimeProfile, described, launcher, schema};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entry::{TableEntry, Wrong, entries};
use super::file::File;
use super::mistake::Mistake;
use super::sources::Environment;

/// Variables by which an agent's processes are known; a profile must not forge them.
const MARKS: [&str; 6] =
    ["MUSTER_AGENT_ID", "MUSTER_POOL", "MUSTER_ROLE", "MUSTER_PROJECT_ID", "MUSTER_PROCESS_ID", "MUSTER_TASK_ID"];

/// What `[runtimes.NAME]` says beside a program's profile.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct RuntimeHead {
    /// `exec`: a program per agent, or per task. (`echo` is built in, and always there by that name.)
    kind: String,
}

described!(RuntimeHead, {"kind": ""});

/// What `[pools.NAME]` says beside its bounds.
#[derive(Deserialize, Serialize, ToSchema)]
pub(super) struct PoolHead {
    /// The role of its agents.
    role_type: String,
    /// What its agents run: the name of a runtime.
    #[serde(default = "echo")]
    runtime: String,
}

described!(PoolHead, {"role_type": ""});

fn echo() -> String {
    ECHO.to_owned()
}

/// What agents can run: the file's profiles and the built-in one.
pub(crate) fn runtimes(
    file: Option<&File<'_>>,
    environment: &Environment,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, RuntimeProfile> {
    let mut profiles = BTreeMap::from([(ECHO.to_owned(), RuntimeProfile::Echo)]);
    for entry in entries(file, "runtimes", mistakes) {
        if let Some(profile) = runtime(&entry, environment, mistakes) {
            profiles.insert(entry.name, profile);
        }
    }
    profiles
}

fn runtime(entry: &TableEntry<'_>, environment: &Environment, mistakes: &mut Vec<Mistake>) -> Option<RuntimeProfile> {
    if entry.name == ECHO {
        mistakes.push(entry.mistake("", "echo is built in; give this runtime another name"));
        return None;
    }
    let before = mistakes.len();
    match entry.text("kind") {
        Ok(Some("exec")) => {}
        Ok(Some("echo")) if entry.table.len() == 1 => return Some(RuntimeProfile::Echo),
        Ok(Some("echo")) => {
            mistakes.push(entry.mistake("kind", "a runtime of kind echo has no other keys"));
            return None;
        }
        Ok(Some(other)) => mistakes.push(entry.mistake("kind", format!("exec or echo is expected, not {other:?}"))),
        Ok(None) => mistakes.extend(entry.missing("kind", "kind is missing: exec or echo")),
        Err(mistake) => mistakes.push(mistake),
    }
    let mut profile: ExecProfile = entry.read(&["kind"], check, mistakes)?;
    if let Some(cwd) = &mut profile.cwd {
        let folder = entry.file.folder();
        *cwd = environment.absolute(&cwd.to_string_lossy(), folder);
    }
    (mistakes.len() == before).then_some(RuntimeProfile::Exec(profile))
}

fn check(profile: &ExecProfile) -> Result<(), Wrong> {
    schema::check(profile)?;
    check_names("env", profile.env.keys())?;
    check_names("pass_env", profile.pass_env.iter())?;
    // Last: without it no profile can be read.
    if profile.command.first().is_none_or(|program| program.is_empty()) {
        return Err(Wrong::new("command", "the program is missing"));
    }
    Ok(())
}

fn check_names<'n>(key: &str, names: impl Iterator<Item = &'n String>) -> Result<(), Wrong> {
    let wrong = |name: &String| match name.as_str() {
        name if name.is_empty() || name.contains(['=', '\0']) => Some(format!("{name:?} is no name of a variable")),
        name if MARKS.contains(&name) => Some(format!("{name} is set by Muster for every agent")),
        _ => None,
    };
    // All that are wrong are told at once.
    let wrong: Vec<String> = names.filter_map(wrong).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Wrong::new(key, wrong.join("; "))) }
}

/// The pools of the file. The `clocks` bound the heartbeats of a pool's workers.
pub(crate) fn pools(
    file: Option<&File<'_>>,
    runtimes: &BTreeMap<String, RuntimeProfile>,
    clocks: &Clocks,
    mistakes: &mut Vec<Mistake>,
) -> Vec<FilePool> {
    let entries = entries(file, "pools", mistakes);
    let pool = |entry| {
        let spec = pool(entry, runtimes, clocks, mistakes)?;
        let rows = entry.rows(&spec.config.clone().shown());
        Some(FilePool { spec, rows })
    };
    entries.iter().filter_map(pool).collect()
}

/// A pool of the file.
pub(crate) struct FilePool {
    pub(crate) spec: PoolSpec,
    /// The bounds that are written, as they may be shown: key, value and place of each.
    pub(crate) rows: Vec<[String; 3]>,
}

fn pool(
    entry: &TableEntry<'_>,
    runtimes: &BTreeMap<String, RuntimeProfile>,
    clocks: &Clocks,
    mistakes: &mut Vec<Mistake>,
) -> Option<PoolSpec> {
    let pool_name = entry.name.parse::<PoolName>().map_err(|error| entry.mistake("", error.to_string()));
    let pool_name = or_told(pool_name, mistakes);
    let role_type = or_told(role_of(entry), mistakes);
    if role_type == Some(None) {
        mistakes.extend(entry.missing("role_type", "role_type is missing"));
    }
    let runtime = or_told(runtime_of(entry, runtimes), mistakes);
    let config = entry.read(&["role_type", "runtime"], |config| check_pool(config, clocks), mistakes);
    Some(PoolSpec {
        pool_name: pool_name?,
        role_type: role_type??.to_owned(),
        runtime: runtime?,
        config: config?,
        origin: PoolOrigin::File,
    })
}

fn or_told<T>(result: Result<T, Mistake>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn role_of<'e>(entry: &'e TableEntry<'_>) -> Result<Option<&'e str>, Mistake> {
    let Some(role) = entry.text("role_type")? else { return Ok(None) };
    let checked = check_length("role_type", role, MAX_ROLE_TYPE);
    checked.map(|()| Some(role)).map_err(|message| entry.mistake("role_type", message))
}

/// The name of the runtime that a pool has. One with mistakes of its own is there all the same.
fn runtime_of(entry: &TableEntry<'_>, runtimes: &BTreeMap<String, RuntimeProfile>) -> Result<String, Mistake> {
    let runtime = entry.text("runtime")?.unwrap_or(ECHO);
    if runtimes.contains_key(runtime) || entry.file.has("runtimes", runtime) {
        return Ok(runtime.to_owned());
    }
    let known: Vec<&str> = runtimes.keys().map(String::as_str).collect();
    let message = format!("there is no runtime {runtime:?}; there are: {}", known.join(", "));
    Err(entry.mistake("runtime", message))
}

fn check_pool(config: &PoolConfig, clocks: &Clocks) -> Result<(), Wrong> {
    config.check_under(clocks, &launcher::KNOWN).map_err(|mistake| match mistake {
        PoolMistake::Bounds(message) => message.into(),
        PoolMistake::Interval(message) => Wrong::new("health_check_interval", message),
        PoolMistake::UnknownLauncher { .. } => Wrong::new("launcher", mistake.to_string()),
    })
}

/// A pool as it may be shown: of its dependencies scheme, host and port.
pub(crate) fn presentable_pool(pool: &PoolSpec) -> String {
    let mut text = format!("role {}, runtime {}", pool.role_type, pool.runtime);
    let needs: Vec<String> = pool.config.dependencies.iter().map(|(name, url)| format!("{name} ({url})")).collect();
    if !needs.is_empty() {
        text.push_str(&format!(", needs {}", needs.join(", ")));
    }
    if let Some(phrase) = &pool.config.skip_phrase {
        text.push_str(&format!(", a task that mentions {phrase:?} is a check"));
    }
    text
}

/// A profile as it may be shown: names of variables, not their values.
pub(crate) fn presentable(profile: &RuntimeProfile) -> String {
    match profile {
        RuntimeProfile::Echo => "built in".to_owned(),
        RuntimeProfile::Exec(exec) => {
            let mut text = exec.command.join(" ");
            if let Some(cwd) = exec.cwd.as_deref().map(Path::display) {
                text.push_str(&format!(" (in {cwd})"));
            }
            let names: Vec<String> =
                exec.env.keys().map(|name| format!("{name}=***")).chain(exec.pass_env.iter().cloned()).collect();
            if !names.is_empty() {
                text.push_str(&format!(" (with {})", names.join(", ")));
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestFolder, mistake_of};

    const POOL: &str = "[pools.p]\nrole_type = 'x'\nskip_phrase = 'of p'\n[pools.p.dependencies]\n\
                        broker = 'amqp://me:s3cret@rabbit/s3cret'\n'the model' = 'https://api.example?k=s3cret'\n";

    #[test]
    fn dependencies_are_read_and_shown_without_their_secrets() {
        let config = TestFolder::with_file(POOL).load();
        let pool = &config.pools[0].config;
        assert_eq!(pool.dependencies["the model"].url(), "https://api.example?k=s3cret");
        assert_eq!((pool.skip_phrase.as_deref(), config.skip_phrase.as_deref()), (Some("of p"), None));
        let shown = config.rows().into_iter().find(|row| row[0] == "pools.p").expect("a row");
        let words = "role x, runtime echo, needs broker (amqp://rabbit:5672), the model (https://api.example:443), \
                     a task that mentions \"of p\" is a check";
        assert_eq!(shown[1], words);
        for shown in [format!("{config:?}"), config.to_json().to_string()] {
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }

    #[test]
    fn a_wrong_dependency_is_named_without_its_secrets() {
        for (from, to, expected) in [
            (
                "amqp://",
                "ftp://",
                "muster.toml:5: pools.p.dependencies.broker: http://..., https://..., tcp://HOST:PORT,",
            ),
            ("broker", "store", "muster.toml:4: pools.p.dependencies: dependencies can't have the name \"store\""),
            ("'of p'", "''", "muster.toml:3: pools.p.skip_phrase: skip_phrase must have at least one character"),
        ] {
            let mistake = mistake_of(&POOL.replace(from, to));
            assert!(mistake.starts_with(expected) && !mistake.contains("s3cret"), "{mistake}");
        }
    }

    #[test]
    fn a_skip_phrase_of_all_pools_comes_from_the_environment_too() {
        let place = TestFolder::with_file("").env("AGENT_SKIP_PHRASE", "just a test");
        assert_eq!(place.load().skip_phrase.as_deref(), Some("just a test"));
        let place = TestFolder::with_file("skip_phrase = 'of the file'\n");
        assert_eq!(place.load().skip_phrase.as_deref(), Some("of the file"));
        assert_eq!(TestFolder::with_file("").load().skip_phrase, None, "it is off");
    }
}
