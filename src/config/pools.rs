//! The tables of the file that there may be any number of: what agents run, and the pools that run it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use muster_domain::pool::{PoolConfig, PoolOrigin, PoolSpec};
use muster_domain::runtime::{ECHO, ExecProfile};
use muster_domain::{PoolName, RuntimeProfile};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::file::{File, unknown};
use super::mistake::Mistake;
use super::settings::TABLES;
use super::sources::Environment;

/// Variables by which an agent's processes are known; a profile must not forge them.
const MARKS: [&str; 6] =
    ["MUSTER_AGENT_ID", "MUSTER_POOL", "MUSTER_ROLE", "MUSTER_PROJECT_ID", "MUSTER_PROCESS_ID", "MUSTER_TASK_ID"];

/// One `[TABLE.NAME]`.
struct Entry<'a> {
    file: &'a File<'a>,
    /// `runtimes.NAME` or `pools.NAME`.
    path: String,
    name: String,
    /// Where it begins.
    span: Range<usize>,
    table: DeTable<'a>,
}

impl Entry<'_> {
    /// A mistake at a key of the entry, or at its head where that key is not written.
    fn mistake(&self, key: &str, message: impl Into<String>) -> Mistake {
        let place = |table: &DeTable<'_>, name: &str| table.get_key_value(name).map(|(key, _)| key.span());
        let span = match key.split_once('.') {
            Some((outer, inner)) => self.table.get(outer).and_then(|value| match value.get_ref() {
                DeValue::Table(table) => place(table, inner),
                _ => None,
            }),
            None => place(&self.table, key),
        };
        let origin = self.file.origin(&span.unwrap_or_else(|| self.span.clone()));
        let key = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        Mistake::new(origin, key, message)
    }

    /// Keys that such an entry does not have, also those of its inner tables.
    fn unknown_keys(&self, kind: &str) -> Vec<Mistake> {
        let known = || TABLES.iter().filter(move |key| key.table == kind).map(|key| key.key);
        let mut mistakes = Vec::new();
        for (name, value) in &self.table {
            let name = name.get_ref().as_ref();
            let inner = format!("{name}.");
            match value.get_ref() {
                _ if known().any(|key| key == name) => {}
                DeValue::Table(table) if known().any(|key| key.starts_with(&inner)) => {
                    let keys = table.keys().map(|key| format!("{inner}{}", key.get_ref()));
                    mistakes.extend(
                        keys.filter(|key| !known().any(|known| known == key))
                            .map(|key| self.mistake(&key, unknown(&key, known()))),
                    );
                }
                _ if known().any(|key| key.starts_with(&inner)) => {}
                _ => mistakes.push(self.mistake(name, unknown(name, known()))),
            }
        }
        mistakes
    }

    /// What is left of the table after `without` was taken out.
    fn read<T: DeserializeOwned>(&self, without: &[&str]) -> Result<T, Mistake> {
        let mut table = self.table.clone();
        for key in without {
            table.remove(*key);
        }
        let value = Spanned::new(self.span.clone(), DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.file.mistake(&error, &self.path, &self.span))
    }

    /// A text of the table.
    fn text(&self, key: &str) -> Result<Option<&str>, Mistake> {
        match self.table.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.mistake(key, "a text in quotes is expected")),
        }
    }
}

/// The entries of `[runtimes]` or `[pools]`.
fn entries<'a>(file: &'a File<'a>, kind: &str, mistakes: &mut Vec<Mistake>) -> Vec<Entry<'a>> {
    let Some(tables) = file.root.get(kind) else { return Vec::new() };
    let DeValue::Table(tables) = tables.get_ref() else {
        let message = format!("a table with a name is expected, as in [{kind}.NAME]");
        mistakes.push(Mistake::new(file.origin(&tables.span()), kind, message));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, value) in tables {
        let path = format!("{kind}.{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => found.push(Entry {
                file,
                path,
                name: name.get_ref().to_string(),
                span: name.span(),
                table: table.clone(),
            }),
            _ => mistakes.push(Mistake::new(
                file.origin(&name.span()),
                path.clone(),
                format!("a table is expected, as in [{path}]"),
            )),
        }
    }
    found
}

/// What agents can run: the file's profiles and the built-in one.
pub(crate) fn runtimes(
    file: Option<&File<'_>>,
    environment: &Environment,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, RuntimeProfile> {
    let mut profiles = BTreeMap::from([(ECHO.to_owned(), RuntimeProfile::Echo)]);
    let Some(file) = file else { return profiles };
    for entry in entries(file, "runtimes", mistakes) {
        let unknown = entry.unknown_keys("runtimes");
        if !unknown.is_empty() {
            mistakes.extend(unknown);
            continue;
        }
        match runtime(&entry, environment) {
            Ok(profile) => {
                profiles.insert(entry.name, profile);
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    profiles
}

fn runtime(entry: &Entry<'_>, environment: &Environment) -> Result<RuntimeProfile, Mistake> {
    if entry.name == ECHO {
        return Err(entry.mistake("", "echo is built in; give this runtime another name"));
    }
    match entry.text("kind")? {
        Some("exec") => {}
        Some("echo") if entry.table.len() == 1 => return Ok(RuntimeProfile::Echo),
        Some("echo") => return Err(entry.mistake("kind", "a runtime of kind echo has no other keys")),
        Some(other) => return Err(entry.mistake("kind", format!("exec or echo is expected, not {other:?}"))),
        None => return Err(entry.mistake("", "kind is missing: exec or echo")),
    }
    let mut profile: ExecProfile = entry.read(&["kind"])?;
    if profile.command.first().is_none_or(|program| program.is_empty()) {
        return Err(entry.mistake("command", "the program is missing"));
    }
    if profile.start_timeout < Duration::from_millis(1) {
        return Err(entry.mistake("start_timeout", "a time above 0 s is expected"));
    }
    check_names(entry, "env", profile.env.keys())?;
    check_names(entry, "pass_env", profile.pass_env.iter())?;
    if let Some(cwd) = &mut profile.cwd {
        let folder = entry.file.folder();
        *cwd = environment.absolute(&cwd.to_string_lossy(), folder);
    }
    Ok(RuntimeProfile::Exec(profile))
}

fn check_names<'n>(entry: &Entry<'_>, key: &str, names: impl Iterator<Item = &'n String>) -> Result<(), Mistake> {
    for name in names {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(entry.mistake(key, format!("{name:?} is no name of a variable")));
        }
        if MARKS.contains(&name.as_str()) {
            return Err(entry.mistake(key, format!("{name} is set by Muster for every agent")));
        }
    }
    Ok(())
}

/// The pools of the file. `stale` is the clock that three heartbeats of a pool's workers must fit into.
pub(crate) fn pools(
    file: Option<&File<'_>>,
    runtimes: &BTreeMap<String, RuntimeProfile>,
    stale: Duration,
    mistakes: &mut Vec<Mistake>,
) -> Vec<PoolSpec> {
    let Some(file) = file else { return Vec::new() };
    let mut pools = Vec::new();
    for entry in entries(file, "pools", mistakes) {
        let unknown = entry.unknown_keys("pools");
        if !unknown.is_empty() {
            mistakes.extend(unknown);
            continue;
        }
        match pool(&entry, runtimes, stale) {
            Ok(pool) => pools.push(pool),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    pools
}

fn pool(entry: &Entry<'_>, runtimes: &BTreeMap<String, RuntimeProfile>, stale: Duration) -> Result<PoolSpec, Mistake> {
    let pool_name: PoolName = entry
        .name
        .parse()
        .map_err(|error: muster_domain::pool::InvalidPoolName| entry.mistake("", error.to_string()))?;
    let role_type = entry.text("role_type")?.ok_or_else(|| entry.mistake("", "role_type is missing"))?.to_owned();
    let runtime = entry.text("runtime")?.unwrap_or(ECHO).to_owned();
    if !runtimes.contains_key(&runtime) {
        let known: Vec<&str> = runtimes.keys().map(String::as_str).collect();
        let message = format!("there is no runtime {runtime:?}; there are: {}", known.join(", "));
        return Err(entry.mistake("runtime", message));
    }
    let config: PoolConfig = entry.read(&["role_type", "runtime"])?;
    config.validate().map_err(|message| {
        // The message begins with the key that it is about.
        let key = message.split([' ', ',']).next().unwrap_or_default().to_owned();
        let known = TABLES.iter().any(|known| known.table == "pools" && known.key == key);
        entry.mistake(if known { &key } else { "" }, message)
    })?;
    if let Some(interval) = config.health_check_interval
        && interval * 3.0 > stale.as_secs_f64()
    {
        let message = format!("3 x {interval} s is above clocks.stale ({} s)", stale.as_secs_f64());
        return Err(entry.mistake("health_check_interval", message));
    }
    Ok(PoolSpec { pool_name, role_type, runtime, config, origin: PoolOrigin::File })
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
