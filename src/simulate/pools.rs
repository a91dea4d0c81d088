//! The pool that is simulated, as the configuration has it.

use std::collections::BTreeMap;
use std::path::Path;

use muster_cli::CommandFailure;
use muster_config::{Environment, Flags, Sources};
use muster_domain::{PoolConfig, PoolName, ScalingConfig, ScalingPreset};
use muster_simulator::Setup;
use serde::Deserialize;

/// A pool with its policies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SimulatedPool {
    /// How it is called in the report.
    pub(super) name: String,
    pub(super) setup: Setup,
    pub(super) scaling: ScalingConfig,
    /// What is odd about it.
    pub(super) note: Option<String>,
}

/// Of the file as much as a simulation needs.
#[derive(Deserialize)]
struct PoolsFile {
    #[serde(default)]
    pools: BTreeMap<PoolName, toml::Table>,
}

/// The pool of this name, or the first that has scaling, or the first; without any the pool that there is by default.
pub(super) fn read(
    flags: &Flags,
    environment: &Environment,
    pool: Option<&PoolName>,
) -> Result<SimulatedPool, CommandFailure> {
    let wrong = |mistakes: String| CommandFailure::Config { mistakes, undone: Some("nothing was simulated") };
    let sources = Sources::open(flags, environment)
        .map_err(|mistake| wrong(muster_config::ConfigError::from(mistake).to_string()))?;
    match (sources.text(), pool) {
        (Some((path, text)), _) => {
            pool_of(path, text, pool).map_err(|words| wrong(format!("{}{words}", path.display())))
        }
        (None, Some(pool)) => Err(CommandFailure::NotFound(format!("there is no configuration with a pool {pool}"))),
        (None, None) => Ok(with_policies("a pool".to_owned(), Setup::default(), ScalingConfig::default())),
    }
}

fn pool_of(path: &Path, text: &str, wanted: Option<&PoolName>) -> Result<SimulatedPool, String> {
    let file: PoolsFile = toml::from_str(text).map_err(|error| told(&error, text))?;
    let has_scaling = |(_, table): &(&PoolName, &toml::Table)| table.contains_key("scaling");
    let found = match wanted {
        Some(name) => file.pools.get_key_value(name),
        None => file.pools.iter().find(has_scaling).or_else(|| file.pools.iter().next()),
    };
    let file_name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let Some((name, table)) = found else {
        return match wanted {
            Some(name) => Err(format!(": there is no pool {name}")),
            None => Ok(with_policies(file_name, Setup::default(), ScalingConfig::default())),
        };
    };
    let told = |words: String| format!(": pools.{name}.{words}");
    let config = bounds_of(table).map_err(told)?;
    let setup = Setup::of_pool(&config);
    Ok(with_policies(format!("{file_name}: {name}"), setup, config.scaling))
}

/// What a pool's table says: its bounds with its policies, and its tiers. What is wrong with it begins with the key in the pool.
fn bounds_of(table: &toml::Table) -> Result<PoolConfig, String> {
    let mut bounds = table.clone();
    // What is no bound is nothing to a simulation.
    bounds.retain(|key, _| !matches!(key, "role_type" | "runtime"));
    let config: PoolConfig = bounds.try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    config.validate()?;
    Ok(config)
}

/// A pool without policies would stay as it is: one preset is better to look at, and said.
fn with_policies(name: String, setup: Setup, scaling: ScalingConfig) -> SimulatedPool {
    if !scaling.all_policies().is_empty() {
        return SimulatedPool { name, setup, scaling, note: None };
    }
    let note = Some(format!("{name} has no scaling policies: the preset target was simulated"));
    let scaling = ScalingConfig { preset: Some(ScalingPreset::Target), ..scaling };
    SimulatedPool { name, setup, scaling, note }
}

/// What is wrong with a text, with the line.
fn told(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!(":{}: {}", before.matches('\n').count() + 1, error.message())
}
