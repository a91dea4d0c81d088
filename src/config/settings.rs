//! The one table of settings. The environment, the file's known keys, `muster config` and the README's table all
//! follow from it, so a setting that is not here does not exist.

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the file, with dots for tables.
    pub(crate) key: &'static str,
    /// Its environment variables: the first that is set counts.
    pub(crate) env: &'static [&'static str],
    /// Its flag of `muster serve`, where it has one.
    pub(crate) flag: Option<&'static str>,
    /// What its value looks like.
    pub(crate) kind: Kind,
    /// Its default as one would write it; empty where there is none, or where it depends on the machine.
    pub(crate) default: &'static str,
    /// What it does, in one line.
    pub(crate) doc: &'static str,
}

/// What a value looks like. Environment and flags give text; the file must give the TOML type that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A URL, of which user and password are never shown.
    Url,
    /// A path; a relative one counts from the file's folder, or from the current folder where it is not from a file.
    Path,
    /// `true` or `false`.
    Bool,
    /// A number of seconds, fractions allowed.
    Seconds,
    /// A whole number.
    Count,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of texts; separated by commas outside of the file.
    List,
    /// API keys: tables of `name` and `sha256` in the file, `NAME=SHA256` separated by commas elsewhere.
    Keys,
}

const fn setting(
    key: &'static str,
    env: &'static [&'static str],
    flag: Option<&'static str>,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    Setting { key, env, flag, kind, default, doc }
}

/// Every setting that has one value, in the order in which people read about them. Pools and runtimes are tables of
/// the file: see [`TABLES`].
#[rustfmt::skip]
pub(crate) static SETTINGS: &[Setting] = &[
    setting("listen", &["MUSTER_LISTEN"], Some("--listen"), Kind::Text, "127.0.0.1:8000",
        "Address of the HTTP API. Port 0 takes a free one. Any address but loopback needs `api.keys`"),
    setting("data_dir", &["MUSTER_DATA_DIR"], Some("--data-dir"), Kind::Path, "",
        "Folder of everything that Muster writes. Default: `$XDG_DATA_HOME/muster`, else `~/.local/share/muster`; for root `/var/lib/muster`"),
    setting("single_process", &["MUSTER_SINGLE_PROCESS"], Some("--single-process"), Kind::Bool, "false",
        "Everything in one process, without Redis; `USE_MULTIPROCESSING=false` says the same where it is absent"),
    setting("log_format", &["MUSTER_LOG_FORMAT"], Some("--log-format"), Kind::Choice(&["text", "json"]), "text",
        "Form of the log"),
    setting("log_level", &["MUSTER_LOG_LEVEL"], None, Kind::Text, "info",
        "What is logged: `error`, `warn`, `info`, `debug`, `trace`, or per module, as in `info,muster_supervisor=debug`"),
    setting("durability", &["MUSTER_DURABILITY"], None, Kind::Choice(&["process", "full"]), "process",
        "What an acknowledged change survives: the death of any `process`, or, with `full`, a power cut too"),
    setting("redis.url", &["MUSTER_REDIS_URL"], Some("--redis-url"), Kind::Url, "",
        "Redis to use; `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB` make one where it is absent. Default: a private server in the data folder"),
    setting("redis.prefix", &["MUSTER_REDIS_PREFIX"], None, Kind::Text, "",
        "Put before every key and channel; servers with different stores need different ones on one Redis"),
    setting("redis.ca_file", &["MUSTER_REDIS_CA_FILE"], None, Kind::Path, "",
        "Certificates (PEM) that vouch for a `rediss://` server. Default: those of `SSL_CERT_FILE`, else the public ones"),
    setting("redis.server", &["MUSTER_REDIS_SERVER"], None, Kind::Path, "",
        "Program of the private server. Default: `valkey-server` or `redis-server` of the PATH or the data folder"),
    setting("redis.fallback", &["MUSTER_REDIS_FALLBACK"], None, Kind::Choice(&["wait", "single-process"]), "wait",
        "What to do when a configured Redis does not answer at start"),
    setting("redis.fallback_heal", &["MUSTER_REDIS_FALLBACK_HEAL"], None, Kind::Bool, "false",
        "Whether a server that runs in a single process for that reason changes back as soon as that Redis answers; each agent is restarted once. Else it says so, and goes on until somebody restarts it"),
    setting("database.url", &["MUSTER_DATABASE_URL"], Some("--database-url"), Kind::Url, "",
        "`postgresql://...` or `sqlite:PATH`. Default: the file `muster.db` in the data folder"),
    setting("database.pgbouncer_url", &["MUSTER_PGBOUNCER_URL", "PGBOUNCER_URL"], None, Kind::Url, "",
        "PgBouncer for all statements but migrations, which use `database.url`"),
    setting("database.max_connections", &["MUSTER_DATABASE_MAX_CONNECTIONS"], None, Kind::Count, "10",
        "Connections to the database at the most, 2 to 10"),
    setting("api.keys", &["MUSTER_API_KEYS"], None, Kind::Keys, "",
        "Keys that the API accepts (`Authorization: Bearer`), each a `name` and the `sha256` of the key in hex; `NAME=SHA256,...` in the variable"),
    setting("api.hosts", &["MUSTER_API_HOSTS"], None, Kind::List, "",
        "Further names by which the server may be addressed (Host and Origin headers)"),
    setting("alerts.webhook", &["MUSTER_ALERTS_WEBHOOK"], None, Kind::Url, "",
        "URL that is told (POST) when an alert begins and when it ends; needs a secret"),
    setting("alerts.secret_file", &["MUSTER_ALERTS_SECRET_FILE"], None, Kind::Path, "",
        "File with the secret that signs what the webhook gets"),
    setting("alerts.secret_env", &["MUSTER_ALERTS_SECRET_ENV"], None, Kind::Text, "",
        "Name of a variable with that secret, instead of the file; not `MUSTER_...`"),
    setting("alerts.min_interval", &["MUSTER_ALERTS_MIN_INTERVAL"], None, Kind::Seconds, "60",
        "An alert that comes back within so many seconds is the same one, and its end is told only after them"),
    setting("skip_phrase", &["MUSTER_SKIP_PHRASE", "AGENT_SKIP_PHRASE"], None, Kind::Text, "",
        "A task whose input has this text in one of its strings becomes a check, in pools that name no other. Default: off"),
    setting("clocks.heartbeat", &["MUSTER_CLOCKS_HEARTBEAT"], None, Kind::Seconds, "2",
        "Seconds between two heartbeats of a worker"),
    setting("clocks.stale", &["MUSTER_CLOCKS_STALE"], None, Kind::Seconds, "10",
        "Silence after which a worker is condemned, at least 3 heartbeats"),
    setting("clocks.lease", &["MUSTER_CLOCKS_LEASE"], None, Kind::Seconds, "15",
        "How long a worker or the leader may act without renewing its claim, at least `clocks.stale`"),
    setting("clocks.orphan_after", &["MUSTER_CLOCKS_ORPHAN_AFTER"], None, Kind::Seconds, "600",
        "A worker without any master drains and exits after this time, at least `clocks.lease`"),
    setting("clocks.start_timeout", &["MUSTER_CLOCKS_START_TIMEOUT"], None, Kind::Seconds, "30",
        "A worker that is not ready by then is condemned"),
    setting("clocks.stop_deadline", &["MUSTER_CLOCKS_STOP_DEADLINE"], None, Kind::Seconds, "10",
        "From the request to stop to the kill, for a worker as a whole"),
    setting("clocks.retention", &["MUSTER_CLOCKS_RETENTION"], None, Kind::Seconds, "345600",
        "How long tasks, agents and workers are kept after their end (4 days)"),
    setting("clocks.resend", &["MUSTER_CLOCKS_RESEND"], None, Kind::Seconds, "0.25",
        "A command without an answer is sent again after this time, then with doubling waits"),
    setting("clocks.pass", &["MUSTER_CLOCKS_PASS"], None, Kind::Seconds, "1",
        "Seconds between two full passes over a pool"),
];

/// One key of a table that the file may hold any number of, by name.
pub(crate) struct TableKey {
    /// The table: `runtimes`, `pools`, `tenants` or `budgets`.
    pub(crate) table: &'static str,
    /// The key within one entry.
    pub(crate) key: &'static str,
    /// The default as one would write it; empty where there is none.
    pub(crate) default: &'static str,
    /// What it does, in one line.
    pub(crate) doc: &'static str,
}

const fn table_key(table: &'static str, key: &'static str, default: &'static str, doc: &'static str) -> TableKey {
    TableKey { table, key, default, doc }
}

/// The keys of `[runtimes.NAME]`, `[pools.NAME]`, `[tenants.NAME]` and `[[budgets]]`, which only the file can say.
#[rustfmt::skip]
pub(crate) static TABLES: &[TableKey] = &[
    table_key("runtimes", "kind", "", "`exec`: a program per agent. (`echo` is built in, and always there by that name)"),
    table_key("runtimes", "command", "", "The program and its arguments, as a list"),
    table_key("runtimes", "mode", "agent", "Whose life a program has: `agent` (it is started with the agent, and gets tasks as JSON lines) or `oneshot` (each task starts one)"),
    table_key("runtimes", "cwd", "", "Its folder; a relative one counts from the file's folder. Default: one per agent under the data folder"),
    table_key("runtimes", "env", "{}", "Variables set for it"),
    table_key("runtimes", "pass_env", "[]", "Variables of the supervisor that are handed on, by name"),
    table_key("runtimes", "ready", "message", "When it counts as started: `message` (it says so) or `started` (it runs)"),
    table_key("runtimes", "start_timeout", "30", "Seconds to become ready"),
    table_key("runtimes", "stop_deadline", "10", "Seconds from the stop message to the kill; SIGTERM comes after a tenth of them, 1 s at the most"),
    table_key("runtimes", "budget_grace", "2", "Seconds from the cancel to the kill where a task has passed a budget: an agent that ignores it goes on spending"),
    table_key("runtimes", "allow_new_privileges", "false", "Whether it may gain privileges, e.g. by sudo"),
    table_key("pools", "role_type", "", "The role of its agents; needed"),
    table_key("pools", "runtime", "echo", "What its agents run: the name of a runtime"),
    table_key("pools", "max_agents", "10", "Agents that one worker holds, 1 to 1,000"),
    table_key("pools", "max_workers", "20", "Workers at the most; 0 is no bound"),
    table_key("pools", "min_workers", "0", "Workers kept ready even when they are empty"),
    table_key("pools", "health_check_interval", "", "Seconds between a worker's heartbeats, up to a third of `clocks.lease`. Where three of them are longer than `clocks.stale`, a worker is condemned after three. Default: `clocks.heartbeat`"),
    table_key("pools", "worker_idle_timeout", "300", "An empty worker ends after this many seconds"),
    table_key("pools", "max_idle_time", "300", "An agent that is idle for longer ends, in seconds"),
    table_key("pools", "restart.kind", "permanent", "Which endings are followed by a restart: `permanent` (all), `transient` (abnormal ones), `temporary` (none)"),
    table_key("pools", "restart.max_restarts", "5", "Restarts within the window; one more and the agent is quarantined"),
    table_key("pools", "restart.window", "60", "Seconds over which restarts are counted"),
    table_key("pools", "restart.backoff_min", "0.2", "Seconds before the first restart; doubles with each further one"),
    table_key("pools", "restart.backoff_max", "30", "The longest wait before a restart, in seconds"),
    table_key("pools", "tasks_per_agent", "1", "Tasks that one agent has at a time, 1 to 1,000; more than 1 is for agents that keep ids apart"),
    table_key("pools", "on_demand.max_agents", "0", "Agents that the pool may have when it starts one by itself for a waiting task; 0 is no bound but the pool's. Without `on_demand` none is started"),
    table_key("pools", "on_demand.reuse", "true", "Whether such agents take further tasks and end after `max_idle_time`; else each agent of the pool does one task and ends"),
    table_key("pools", "max_queued", "0", "Tasks that may wait; 0 is no bound"),
    table_key("pools", "max_attempts", "3", "Attempts at a task that does not say otherwise"),
    table_key("pools", "task_timeout", "", "Seconds that one attempt may take, where the task does not say otherwise. Default: no bound"),
    table_key("pools", "task_lease", "900", "Seconds without a sign of progress after which a running task loses its agent"),
    table_key("pools", "retry.backoff_min", "1", "Seconds before the second attempt; doubles with each further one"),
    table_key("pools", "retry.backoff_max", "300", "The longest wait before an attempt, in seconds"),
    table_key("pools", "retry.poison_bound", "5", "Attempts that may end with their worker, or be ended by Muster; one more and the task is dead"),
    table_key("pools", "breaker.enabled", "true", "Whether tasks wait when too many of them fail"),
    table_key("pools", "breaker.share", "0.1", "The share of attempts that may fail, 0 to 1"),
    table_key("pools", "breaker.window", "300", "Seconds over which attempts are counted; also the longest pause"),
    table_key("pools", "breaker.least", "20", "Attempts within the window before their share says anything"),
    table_key("pools", "breaker.pause", "30", "Seconds without any task before some are tried; doubles while these fail"),
    table_key("pools", "breaker.probes", "1", "Tasks that are tried: so many may run, and so many must succeed"),
    table_key("pools", "dependencies", "{}", "What its agents need, by name: URLs (`http`, `https`, `tcp`, `redis`, `rediss`, `amqp`, `amqps`) that a check tries"),
    table_key("pools", "skip_phrase", "", "A task whose input has this text in one of its strings becomes a check. Default: `skip_phrase`"),
    table_key("tenants", "weight", "1", "Its share while others wait too, 1 to 1,000"),
    table_key("tenants", "max_running", "", "Tasks that run at a time; others wait. Default: no bound"),
    table_key("tenants", "rate", "", "Tasks per second that it may submit, and one second's worth of them at once. Default: no bound"),
    table_key("tenants", "per_day", "", "Tasks that it may submit in a day of UTC. Where the server's clock is set, a day has 12 to 36 hours for it. Default: no bound"),
    table_key("budgets", "scope", "", "Whose usage is summed: `task`, `agent`, `project`, `tenant` or `pool`; needed"),
    table_key("budgets", "name", "", "Its id or name, or `*` for each that has no budget of its own; needed"),
    table_key("budgets", "tokens", "", "Tokens read and written at the most"),
    table_key("budgets", "cost_usd", "", "Cost at the most, in US dollars"),
];

/// Variables of the name space that are no settings: for the commands, and those that agents see.
pub(crate) const OTHER_VARIABLES: &[&str] = &[
    "MUSTER_CONFIG",
    "MUSTER_URL",
    "MUSTER_API_KEY",
    "MUSTER_OWNERSHIP",
    "MUSTER_AGENT_ID",
    "MUSTER_POOL",
    "MUSTER_ROLE",
    "MUSTER_PROJECT_ID",
    "MUSTER_PROCESS_ID",
    "MUSTER_TASK_ID",
];

/// The setting of this key. The keys that the code asks for are all in the table: a test loads every one of them.
pub(crate) fn find(key: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no setting has the key {key}"))
}

/// The candidate that needs the fewest changes to become `word`, with that number. One that needs more than a change per three
/// characters is not what was meant.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let most = (own_part(word).chars().count() / 3).max(1);
    let counted = candidates.into_iter().map(|candidate| (candidate, distance(word, candidate)));
    counted.min_by_key(|(_, changes)| *changes).filter(|(_, changes)| *changes <= most)
}

/// What a key or a variable has for itself: what stands before it is that of many others, and makes no two of them alike.
fn own_part(word: &str) -> &str {
    match word.rsplit_once('.') {
        Some((_, last)) => last,
        None => word.strip_prefix("MUSTER_").unwrap_or(word),
    }
}

/// The distance of optimal string alignment: insertions, deletions and replacements of one character, and swaps of two that are
/// neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let replaced = row[j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(next[j] + 1).min(row[j + 1] + 1);
            if i > 0 && j > 0 && (a[i], a[i - 1]) == (b[j - 1], b[j]) {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_variable_is_there_once() {
        let mut keys: Vec<_> = SETTINGS.iter().map(|s| s.key).collect();
        let mut names: Vec<_> = SETTINGS.iter().flat_map(|s| s.env).collect();
        let counts = (keys.len(), names.len());
        keys.sort_unstable();
        keys.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((keys.len(), names.len()), counts);
    }

    #[test]
    fn a_variable_is_its_key_in_capitals() {
        for setting in SETTINGS {
            let expected = format!("MUSTER_{}", setting.key.replace('.', "_").to_uppercase());
            let shortened = expected.replace("MUSTER_DATABASE_PGBOUNCER", "MUSTER_PGBOUNCER");
            assert_eq!(setting.env[0], shortened);
        }
    }

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        let keys = || SETTINGS.iter().map(|s| s.key);
        assert_eq!(nearest("redis.ulr", keys()), Some(("redis.url", 1)));
        assert_eq!(nearest("listen", keys()), Some(("listen", 0)));
        assert_eq!(nearest("data-dir", keys()), Some(("data_dir", 1)));
        for far in ["redis.foo", "colour", "x", "MUSTER_FOO"] {
            assert_eq!(nearest(far, keys().chain(["MUSTER_URL"])), None, "{far}");
        }
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ulr", "url"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
