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
//! | `settings` | the one table of settings, which all others follow |
//! | `sources` | flags, environment, `.env`, file: finds them and keeps their order |
//! | `file`, `dotenv` | the two forms of text, with their lines |
//! | `reader` | from text to values; collects mistakes |
//! | `entry` | tables that there may be any number of |
//! | `pools` | the tables `[runtimes.NAME]` and `[pools.NAME]` |
//! | `alerts` | whom alerts are told |
//! | `limits` | the tables `[tenants.NAME]` and `[[budgets]]` |
//! | `programs` | whether the programs and folders of the runtimes are there |
//! | `show` | `muster config`, and the README's table |

mod alerts;
mod dotenv;
mod entry;
mod file;
mod limits;
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

pub(crate) use alerts::{AlertsConfig, WebhookConfig, presentable_webhook};
pub(crate) use mistake::{ConfigError, Origin};
pub(crate) use show::markdown;
pub(crate) use sources::{Environment, Flags, Sources};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use muster_domain::{Budgets, Clocks, PoolSpec, RuntimeProfile, Tenants};

use file::File;
use mistake::Mistake;
use reader::{Reader, Shown};
pub(crate) use redis::Fallback;
pub(crate) use redis::RedisConfig;

/// Everything that a supervisor is told, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Address of the HTTP API.
    pub(crate) listen: SocketAddr,
    /// Folder of everything that is written; absolute.
    pub(crate) data_dir: PathBuf,
    /// Whether everything is to run in one process, without Redis.
    pub(crate) single_process: bool,
    /// Form of the log.
    pub(crate) log_format: LogFormat,
    /// What is logged: a filter of tracing.
    pub(crate) log_level: String,
    /// What an acknowledged change survives.
    pub(crate) durability: Durability,
    /// The registry.
    pub(crate) redis: RedisConfig,
    /// The store.
    pub(crate) database: Database,
    /// Connections to the database at the most, 2 to 10.
    pub(crate) max_connections: u32,
    /// The doors.
    pub(crate) api: ApiConfig,
    /// Shared durations.
    pub(crate) clocks: Clocks,
    /// What agents can run, by name; `echo` is always there.
    pub(crate) runtimes: BTreeMap<String, RuntimeProfile>,
    /// Pools of the file. Without any, a new store gets the default pools.
    pub(crate) pools: Vec<PoolSpec>,
    /// What makes a task a check, in pools that do not say so themselves.
    pub(crate) skip_phrase: Option<String>,
    /// What tenants may do.
    pub(crate) tenants: Tenants,
    /// What may be used.
    pub(crate) budgets: Budgets,
    /// Whom alerts are told.
    pub(crate) alerts: AlertsConfig,
    /// The file, where there is one.
    pub(crate) file: Option<PathBuf>,
    /// Every setting with its value and place, in the order of the table.
    pub(crate) shown: Vec<Shown>,
    /// What is odd and no mistake: told as a warning when `serve` starts, and by `muster config`.
    pub(crate) notes: Vec<String>,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What an acknowledged change survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of any process.
    Process,
    /// A power cut too.
    Full,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// This file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres {
        /// Its URL, for migrations, and for all else where there is no PgBouncer.
        url: String,
        /// PgBouncer in front of it, for all else.
        pgbouncer_url: Option<String>,
    },
}

/// The doors of the API.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiConfig {
    /// Keys that it accepts; none: everybody on loopback is let in.
    pub(crate) keys: Vec<ApiKey>,
    /// Further names of the server in Host and Origin headers.
    pub(crate) hosts: Vec<String>,
}

/// A key of the API, hashed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey {
    /// Whose it is, for the log.
    pub(crate) name: String,
    /// SHA-256 of the key.
    pub(crate) sha256: [u8; 32],
}

/// The name only.
impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads and checks everything.
pub(crate) fn load(flags: &Flags, environment: &Environment) -> Result<Config, ConfigError> {
    let sources = Sources::open(flags, environment)?;
    let file = sources.file.as_ref().map(|(path, text)| File::parse(path, text)).transpose()?;
    let mut reader = Reader::new(&sources, file.as_ref());
    reader.mistakes.extend(sources.unknown_variables());
    reader.mistakes.extend(file.iter().flat_map(File::unknown_keys));

    let data_dir = read_data_dir(&mut reader, &sources);
    let clocks = read_clocks(&mut reader);
    let api = read_api(&mut reader);
    let runtimes = pools::runtimes(file.as_ref(), environment, &mut reader.mistakes);
    let pools = pools::pools(file.as_ref(), &runtimes, &clocks, &mut reader.mistakes);
    let tenants = limits::tenants(file.as_ref(), &mut reader.mistakes);
    let budgets = limits::budgets(file.as_ref(), &mut reader.mistakes);
    let mut notes = sources.notes();
    notes.extend(programs::notes(&runtimes, &pools, environment));
    let config = Config {
        listen: read_listen(&mut reader, !api.keys.is_empty()),
        single_process: read_single_process(&mut reader, &sources),
        log_format: [LogFormat::Text, LogFormat::Json][reader.choice("log_format")],
        log_level: reader.parsed("log_level", log_filter).unwrap_or_default(),
        durability: [Durability::Process, Durability::Full][reader.choice("durability")],
        redis: redis::read(&mut reader, &sources),
        database: read_database(&mut reader, &data_dir),
        max_connections: reader.count("database.max_connections", 2..=10),
        data_dir,
        api,
        clocks,
        runtimes,
        pools,
        skip_phrase: reader.optional("skip_phrase"),
        tenants,
        budgets,
        alerts: alerts::read(&mut reader, &sources),
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
pub(crate) fn data_dir(sources: &Sources<'_>) -> Result<PathBuf, ConfigError> {
    let file = sources.file.as_ref().map(|(path, text)| File::parse(path, text)).transpose()?;
    let mut reader = Reader::new(sources, file.as_ref());
    let data_dir = read_data_dir(&mut reader, sources);
    if reader.mistakes.is_empty() { Ok(data_dir) } else { Err(ConfigError(reader.mistakes)) }
}

fn read_data_dir(reader: &mut Reader<'_>, sources: &Sources<'_>) -> PathBuf {
    let data_dir = reader.path("data_dir").unwrap_or_else(|| sources.environment.default_data_dir());
    reader.show("data_dir", data_dir.display().to_string());
    if sources.found_in_data_dir
        && let Some((path, _)) = &sources.file
        && path.parent() != Some(&data_dir)
    {
        let message = format!("{} was found in the data folder, so it can't name another one", path.display());
        reader.refuse("data_dir", message);
    }
    data_dir
}

/// `single_process`, or the opposite of `USE_MULTIPROCESSING`, by which it is known elsewhere. That belongs to the environment, so
/// it goes before the file and after anything that is said by the setting's own name.
fn read_single_process(reader: &mut Reader<'_>, sources: &Sources<'_>) -> bool {
    const OTHER: &str = "USE_MULTIPROCESSING";
    let single = reader.flag("single_process");
    let setting = settings::find("single_process");
    let Some((text, origin)) = sources.variable(OTHER).filter(|_| sources.given(setting).is_none()) else {
        return single;
    };
    match reader::truth(&text) {
        Ok(many) => {
            reader.note(setting, (!many).to_string(), origin);
            !many
        }
        Err(message) => {
            reader.mistakes.push(Mistake::new(origin, OTHER, message));
            single
        }
    }
}

fn read_clocks(reader: &mut Reader<'_>) -> Clocks {
    let clocks = Clocks {
        heartbeat: reader.seconds("clocks.heartbeat"),
        stale: reader.seconds("clocks.stale"),
        lease: reader.seconds("clocks.lease"),
        orphan_after: reader.seconds("clocks.orphan_after"),
        start_timeout: reader.seconds("clocks.start_timeout"),
        stop_deadline: reader.seconds("clocks.stop_deadline"),
        retention: reader.seconds("clocks.retention"),
        resend: reader.seconds("clocks.resend"),
        pass: reader.seconds("clocks.pass"),
    };
    if let Err(message) = clocks.validate() {
        // The message names the clocks that it is about. Somebody said something about one of them at least.
        let named = |key: &str| message.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key);
        let said = reader.shown.iter().filter(|shown| shown.origin != Origin::Default);
        let mut culprit =
            said.filter_map(|shown| shown.key.strip_prefix("clocks.").filter(|key| named(key)).map(|_| shown.key));
        let key = culprit.next_back().unwrap_or("clocks.heartbeat");
        reader.refuse(key, message);
    }
    clocks
}

fn read_listen(reader: &mut Reader<'_>, has_keys: bool) -> SocketAddr {
    let address = |text: &str| {
        let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse::<SocketAddr>().map_err(|_| format!("ADDRESS:PORT is expected, as in 127.0.0.1:8000, not {text:?}"))
    };
    let listen = reader.parsed("listen", address).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8000)));
    if !listen.ip().is_loopback() && !has_keys {
        reader.refuse("listen", format!("{listen} can be reached by others, so api.keys must hold at least one key"));
    }
    listen
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("a level is expected, as in info, not {text:?}: {error}")),
    }
}

fn read_api(reader: &mut Reader<'_>) -> ApiConfig {
    let mut keys: Vec<ApiKey> = Vec::new();
    for text in reader.list("api.keys") {
        match api_key(&text) {
            Some(key) if keys.iter().any(|known| known.name == key.name) => {
                reader.refuse("api.keys", format!("the name {:?} is there twice", key.name));
            }
            Some(key) => keys.push(key),
            None => reader.refuse(
                "api.keys",
                "a key is a name and the 64 hex digits that `printf %s KEY | sha256sum` prints, never the key itself",
            ),
        }
    }
    ApiConfig { keys, hosts: reader.list("api.hosts") }
}

fn api_key(text: &str) -> Option<ApiKey> {
    let (name, hex) = text.split_once('=')?;
    let (name, hex) = (name.trim(), hex.trim());
    if name.is_empty() || hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut sha256 = [0; 32];
    for (byte, digits) in sha256.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(ApiKey { name: name.to_owned(), sha256 })
}

fn read_database(reader: &mut Reader<'_>, data_dir: &Path) -> Database {
    let (url, pgbouncer_url) = (reader.optional("database.url"), reader.optional("database.pgbouncer_url"));
    let Some(url) = url else {
        let path = data_dir.join("muster.db");
        reader.show("database.url", format!("sqlite:{}", path.display()));
        if pgbouncer_url.is_some() {
            reader.refuse("database.pgbouncer_url", "database.url is missing: migrations need the database itself");
        }
        return Database::Sqlite(path);
    };
    if let Some(path) = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")) {
        if path.is_empty() || path.contains(":memory:") {
            reader.refuse("database.url", "the file is missing, as in sqlite:/var/lib/muster/muster.db");
        }
        if pgbouncer_url.is_some() {
            reader.refuse("database.pgbouncer_url", "there is no PgBouncer in front of SQLite");
        }
        return Database::Sqlite(reader.absolute("database.url", path));
    }
    let postgres = |url: &str| plain_postgres(url).ok_or("postgresql://... or sqlite:PATH is expected");
    let pgbouncer_url = pgbouncer_url.and_then(|url| match plain_postgres(&url) {
        Some(url) => Some(url),
        None => {
            reader.refuse("database.pgbouncer_url", "postgresql://... is expected");
            None
        }
    });
    match postgres(&url) {
        Ok(url) => Database::Postgres { url, pgbouncer_url },
        Err(message) => {
            reader.refuse("database.url", message);
            Database::Postgres { url, pgbouncer_url }
        }
    }
}

/// A PostgreSQL URL without the driver that other languages write into the scheme: `postgresql+psycopg://`.
fn plain_postgres(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let plain = scheme.split_once('+').map_or(scheme, |(plain, _)| plain);
    matches!(plain, "postgres" | "postgresql").then(|| format!("postgresql://{rest}"))
}
