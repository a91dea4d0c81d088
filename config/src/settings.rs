//! The list of settings, read from the types of the sections. The environment, the file's known keys, `muster config` and the
//! README's table all follow from it. The keys of the tables of entries are the fields of their types, too.

use std::sync::LazyLock;

use muster_domain::schema::{self, Described};
use muster_domain::{Budget, Clocks, ExecProfile, PoolConfig, TenantLimits};

use super::api::Api;
use super::general::General;
use super::limits::BudgetHead;
use super::pools::{PoolHead, RuntimeHead};
use super::{alerts, autoscaler, database, metrics, redis};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in the file, with dots for tables.
    pub(crate) key: String,
    /// Its environment variables: the first that is set counts.
    pub(crate) env: Vec<String>,
    /// Its flag of `muster serve`, where it has one.
    pub(crate) flag: Option<&'static str>,
    /// What its field says: what its value looks like, its bounds, its default, its meaning.
    pub(crate) field: &'static schema::FieldSchema,
}

impl Setting {
    fn new(table: &str, field: &'static schema::FieldSchema) -> Self {
        let key = if table.is_empty() { field.key.clone() } else { format!("{table}.{}", field.key) };
        let of_key =
            |names: &[(&str, &'static str)]| names.iter().find(|(known, _)| *known == key).map(|(_, name)| *name);
        let own = of_key(&OTHER_NAMES).map(str::to_owned);
        let own = own.unwrap_or_else(|| format!("MUSTER_{}", key.replace('.', "_").to_uppercase()));
        let env = std::iter::once(own).chain(of_key(&FURTHER_NAMES).map(str::to_owned)).collect();
        Self { env, flag: of_key(&FLAGS), key, field }
    }

    /// The default as the environment would give it; empty where there is none, or where it depends on the machine.
    pub(crate) fn default(&self) -> String {
        match &self.field.default {
            serde_json::Value::Array(items) if items.is_empty() => String::new(),
            _ => self.field.default_text(),
        }
    }
}

/// Variables that are not called after their key.
const OTHER_NAMES: [(&str, &str); 3] = [
    ("database.pgbouncer_url", "MUSTER_PGBOUNCER_URL"),
    ("metrics.enabled", "MUSTER_ENABLE_METRICS_COLLECTOR"),
    ("autoscaler.enabled", "MUSTER_ENABLE_AUTOSCALER"),
];
/// Names of variables by which a setting is known elsewhere.
const FURTHER_NAMES: [(&str, &str); 4] = [
    ("database.pgbouncer_url", "PGBOUNCER_URL"),
    ("skip_phrase", "AGENT_SKIP_PHRASE"),
    ("metrics.enabled", "ENABLE_METRICS_COLLECTOR"),
    ("autoscaler.enabled", "ENABLE_AUTOSCALER"),
];
/// Flags of `muster serve`.
const FLAGS: [(&str, &str); 6] = [
    ("listen", "--listen"),
    ("data_dir", "--data-dir"),
    ("single_process", "--single-process"),
    ("log_format", "--log-format"),
    ("redis.url", "--redis-url"),
    ("database.url", "--database-url"),
];

/// A text that is a URL, of which user and password are never shown.
pub(crate) const URL: &str = "URL";
/// A text that is API keys: tables of `name` and `sha256` in the file, `NAME=SHA256` separated by commas elsewhere.
pub(crate) const KEYS: &str = "list of keys";

/// Every setting that has one value, in the order in which people read about them: the fields of the sections.
pub(crate) static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let sections = [
        ("", General::settings()),
        ("redis", redis::RedisSection::settings()),
        ("database", database::DatabaseSection::settings()),
        ("api", Api::settings()),
        ("alerts", alerts::AlertsSection::settings()),
        ("metrics", metrics::MetricsSection::settings()),
        ("autoscaler", autoscaler::AutoscalerSection::settings()),
        ("clocks", Clocks::settings()),
    ];
    let of_section = |(table, fields): (&'static str, &'static [schema::FieldSchema])| {
        fields.iter().map(move |field| Setting::new(table, field))
    };
    sections.into_iter().flat_map(of_section).collect()
});

/// A table that the file may hold any number of entries of.
pub(crate) struct TableSetting {
    /// Its word in the file.
    pub(crate) name: &'static str,
    /// How an entry of it begins in the file.
    pub(crate) title: &'static str,
    /// The keys of an entry; those of inner tables with dots.
    pub(crate) keys: Vec<&'static schema::FieldSchema>,
}

/// The tables of entries, which only the file can say: each key is a field of a type.
pub(crate) static TABLES: LazyLock<[TableSetting; 4]> = LazyLock::new(|| {
    let table = |name, title, head: &'static [_], rest: &'static [_]| TableSetting {
        name,
        title,
        keys: head.iter().chain(rest).collect(),
    };
    [
        table("runtimes", "[runtimes.NAME]", RuntimeHead::settings(), ExecProfile::settings()),
        table("pools", "[pools.NAME]", PoolHead::settings(), PoolConfig::settings()),
        table("tenants", "[tenants.NAME]", &[], TenantLimits::settings()),
        table("budgets", "[[budgets]]", BudgetHead::settings(), Budget::settings()),
    ]
});

/// The keys of an entry of this table.
pub(crate) fn keys_of(table: &str) -> impl Iterator<Item = &'static str> + Clone {
    let found = TABLES.iter().find(move |known| known.name == table);
    found.into_iter().flat_map(|table| &table.keys).map(|setting| setting.key.as_str())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use muster_domain::nearest;

    #[test]
    fn every_key_and_variable_is_there_once() {
        let mut keys: Vec<_> = SETTINGS.iter().map(|s| s.key.as_str()).collect();
        let mut names: Vec<_> = SETTINGS.iter().flat_map(|s| &s.env).collect();
        let counts = (keys.len(), names.len());
        keys.sort_unstable();
        keys.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((keys.len(), names.len()), counts);
    }

    #[test]
    fn a_variable_is_its_key_in_capitals() {
        for setting in SETTINGS.iter() {
            let expected = format!("MUSTER_{}", setting.key.replace('.', "_").to_uppercase());
            let shortened = expected.replace("MUSTER_DATABASE_PGBOUNCER", "MUSTER_PGBOUNCER");
            let shortened = shortened.replace("MUSTER_METRICS_ENABLED", "MUSTER_ENABLE_METRICS_COLLECTOR");
            let shortened = shortened.replace("MUSTER_AUTOSCALER_ENABLED", "MUSTER_ENABLE_AUTOSCALER");
            assert_eq!(setting.env[0], shortened);
        }
    }

    #[test]
    fn the_nearest_key_is_the_one_meant() {
        let keys = || SETTINGS.iter().map(|s| s.key.as_str());
        assert_eq!(nearest("redis.ulr", keys()), Some(("redis.url", 1)));
        assert_eq!(nearest("listen", keys()), Some(("listen", 0)));
        assert_eq!(nearest("data-dir", keys()), Some(("data_dir", 1)));
        for far in ["redis.foo", "colour", "x", "MUSTER_FOO"] {
            assert_eq!(nearest(far, keys().chain(["MUSTER_URL"])), None, "{far}");
        }
    }
}
