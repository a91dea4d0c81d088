//! Whether what the runtimes name is there: programs and folders. It is looked at once, at a start. What is missing may
//! come before it is needed, so it is worth a warning and is no mistake.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use muster_domain::{ExecProfile, PoolSpec, RuntimeProfile};
use muster_process::SpawnError;

use super::sources::Environment;

/// One note for each program and folder that is not there, with the pools that run it.
pub(crate) fn notes(
    runtimes: &BTreeMap<String, RuntimeProfile>,
    pools: &[PoolSpec],
    environment: &Environment,
) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, profile) in runtimes {
        let RuntimeProfile::Exec(exec) = profile else { continue };
        let users: Vec<&str> =
            pools.iter().filter(|pool| &pool.runtime == name).map(|pool| pool.pool_name.as_str()).collect();
        let whose = match users.as_slice() {
            [] => String::new(),
            [one] => format!(" of the pool {one}"),
            several => format!(" of the pools {}", several.join(", ")),
        };
        let missing = [missing_folder(exec), missing_program(exec, environment)];
        notes.extend(
            missing.into_iter().flatten().map(|what| format!("agents{whose} can't start: runtimes.{name}: {what}")),
        );
    }
    notes
}

fn missing_folder(exec: &ExecProfile) -> Option<String> {
    let folder = exec.cwd.as_deref()?;
    (!folder.is_dir()).then(|| format!("there is no folder {} (cwd)", folder.display()))
}

fn missing_program(exec: &ExecProfile, environment: &Environment) -> Option<String> {
    let program = exec.command.first()?;
    if !program.contains('/') {
        // The PATH that the program gets is the one in which it is looked up.
        let path = exec.env.get("PATH").or_else(|| environment.variables.get("PATH")).map(OsString::from);
        let found = muster_process::find_program(OsStr::new(program), path.as_deref());
        return found.err().map(|error| match error {
            // Here alone with its folders: this is said once, and not with each agent.
            SpawnError::NotFound { searched, .. } => {
                format!("{program:?} is not in PATH ({})", searched.to_string_lossy())
            }
            error => error.to_string(),
        });
    }
    // A relative path counts from the agent's folder. Where that is one of its own, it is empty.
    let path: PathBuf = exec.cwd.as_deref().unwrap_or(Path::new("")).join(program);
    (!path.is_absolute() || !path.is_file()).then(|| format!("there is no program {} (command)", path.display()))
}
