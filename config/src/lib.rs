//! The configuration: read whole and checked before anything starts.
//!
//! Values come from five places, and the first that says something counts: a flag, the environment, the `.env` beside
//! the configuration, the file `muster.toml`, the default. The file is the one of `--config`, else of
//! `MUSTER_CONFIG`, else `./muster.toml`, else `muster.toml` in the data folder. Every value remembers its place, so
//! that a mistake is told with file, line and key, and `muster config` can say where a value is from. All mistakes are
//! told at once, and nothing starts.
//!
//! | file | what it does |
//! |---|---|
//! | `settings` | the list of all settings, read from the types of the sections |
//! | `general`, `redis`, `database`, `api`, `alerts`, `metrics`, `autoscaler` | the sections: their settings, and what is made of them (`clocks` are the domain's) |
//! | `sources` | flags, environment, `.env`, file: finds them and keeps their order |
//! | `file`, `dotenv` | the two forms of text, with their lines |
//! | `reader` | from text to values; collects mistakes |
//! | `entry` | tables that there may be any number of |
//! | `pools` | the tables `[runtimes.NAME]` and `[pools.NAME]` |
//! | `limits` | the tables `[tenants.NAME]` and `[[budgets]]` |
//! | `programs` | whether the programs and folders of the runtimes are there |
//! | `show` | `muster config`, and the README's table |

mod alerts;
mod api;
mod autoscaler;
mod database;
mod dotenv;
mod entry;
mod file;
mod general;
mod limits;
mod metrics;
mod mistake;
mod pools;
mod programs;
mod reader;
mod redis;
mod settings;
mod show;
mod sources;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;

pub use alerts::{AlertsConfig, WebhookConfig, presentable_webhook};
pub use api::{ApiSettings, ConfiguredKey};
pub use database::Database;
pub use general::{DurabilitySetting, LogFormat};
pub use mistake::{ConfigError, Mistake, ValueOrigin};
pub use redis::{Fallback, RedisConfig};
pub use show::markdown;
pub use sources::{Environment, Flags, Sources};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_domain::{Budgets, Clocks, PoolSpec, RuntimeProfile, Tenants};
use tracing_subscriber::filter::Targets;

use file::File;
use general::General;
use reader::{Reader, Shown};

/// Everything that a supervisor is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// Folder of everything that is written; absolute.
    pub data_dir: PathBuf,
    /// Whether everything is to run in one process, without Redis.
    pub single_process: bool,
    /// Form of the log.
    pub log_format: LogFormat,
    /// What is logged: levels, of all and of single modules.
    pub log_level: Targets,
    /// What an acknowledged change survives.
    pub durability: DurabilitySetting,
    /// The registry.
    pub redis: RedisConfig,
    /// The store.
    pub database: Database,
    /// Connections to the database at the most, 2 to 10.
    pub max_connections: u32,
    /// Who may use the API.
    pub api: ApiSettings,
    /// Shared durations.
    pub clocks: Clocks,
    /// What agents can run, by name; `echo` is always there.
    pub runtimes: BTreeMap<String, RuntimeProfile>,
    /// Pools of the file. Without any, a new store gets the default pools.
    pub pools: Vec<PoolSpec>,
    /// What the file says of their bounds, as it may be shown: key, value and place of each.
    pub(crate) pool_rows: Vec<[String; 3]>,
    /// What makes a task a check, in pools that do not say so themselves.
    pub skip_phrase: Option<String>,
    /// What tenants may do.
    pub tenants: Tenants,
    /// What may be used.
    pub budgets: Budgets,
    /// Whom alerts are told.
    pub alerts: AlertsConfig,
    /// How often metrics are stored; none where they are not collected.
    pub metrics_interval: Option<Duration>,
    /// Whether the policies of pools decide anything.
    pub autoscaler: bool,
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// Every setting with its value and place, in the order of the table.
    pub(crate) shown: Vec<Shown>,
    /// What is odd and no mistake: told as a warning when `serve` starts, and by `muster config`.
    pub notes: Vec<String>,
}

/// Reads and checks everything.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Config, ConfigError> {
    let sources = Sources::open(flags, environment)?;
    let file = sources.file.as_ref().map(|(path, text)| File::parse(path, text)).transpose()?;
    let mut reader = Reader::new(&sources, file.as_ref());
    reader.mistakes.extend(sources.unknown_variables());
    reader.mistakes.extend(file.iter().flat_map(File::unknown_keys));

    let clocks = read_clocks(&mut reader);
    let general: General = reader.section("");
    let data_dir = general::read_data_dir(general.data_dir, &mut reader, &sources);
    let api = api::read(&mut reader);
    let runtimes = pools::runtimes(file.as_ref(), environment, &mut reader.mistakes);
    let pools = pools::pools(file.as_ref(), &runtimes, &clocks, &mut reader.mistakes);
    let pool_rows = pools.iter().flat_map(|pool| pool.rows.clone()).collect();
    let pools: Vec<PoolSpec> = pools.into_iter().map(|pool| pool.spec).collect();
    let tenants = limits::tenants(file.as_ref(), &mut reader.mistakes);
    let budgets = limits::budgets(file.as_ref(), &mut reader.mistakes);
    let (database, max_connections) = database::read(&mut reader, &data_dir);
    let mut notes = sources.notes();
    notes.extend(programs::notes(&runtimes, &pools, environment));
    let config = Config {
        listen: general::read_listen(&general.listen, &mut reader, !api.keys.is_empty()),
        single_process: general::read_single_process(general.single_process, &mut reader, &sources),
        log_format: general.log_format,
        log_level: general::read_log_level(&general.log_level, &mut reader),
        durability: general.durability,
        redis: redis::read(&mut reader, &sources),
        database,
        max_connections,
        data_dir,
        api,
        clocks,
        runtimes,
        pools,
        pool_rows,
        skip_phrase: general.skip_phrase,
        tenants,
        budgets,
        alerts: alerts::read(&mut reader, &sources),
        metrics_interval: metrics::read(&mut reader),
        autoscaler: autoscaler::read(&mut reader),
        file: sources.file.as_ref().map(|(path, _)| path.clone()),
        shown: settings::SETTINGS
            .iter()
            .filter_map(|s| reader.shown.iter().find(|r| r.key == s.key).cloned())
            .collect(),
        notes,
    };
    if reader.mistakes.is_empty() { Ok(config) } else { Err(ConfigError(reader.mistakes)) }
}

/// The data folder alone, for the commands that look for a server there. The rest of the file is not judged.
pub fn data_dir(sources: &Sources<'_>) -> Result<PathBuf, ConfigError> {
    let file = sources.file.as_ref().map(|(path, text)| File::parse(path, text)).transpose()?;
    let mut reader = Reader::new(sources, file.as_ref());
    let named = reader.optional("data_dir");
    let data_dir = general::read_data_dir(named, &mut reader, sources);
    if reader.mistakes.is_empty() { Ok(data_dir) } else { Err(ConfigError(reader.mistakes)) }
}

fn read_clocks(reader: &mut Reader<'_>) -> Clocks {
    let clocks: Clocks = reader.section("clocks");
    for (names, message) in clocks.contradictions() {
        // Somebody said something about one of them at least.
        let named = |key: &str| names.contains(&key);
        let said = reader.shown.iter().filter(|shown| shown.origin != ValueOrigin::Default);
        let mut culprit =
            said.filter_map(|shown| shown.key.strip_prefix("clocks.").filter(|key| named(key)).map(|_| shown.key));
        let key = culprit.next_back().unwrap_or("clocks.heartbeat");
        reader.refuse(key, message);
    }
    clocks
}
