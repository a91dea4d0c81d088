//! Where the store is: `[database]`.

use std::path::{Path, PathBuf};

use muster_domain::described;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::reader::Reader;

/// What `[database]` says.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatabaseSection {
    /// Database to use: `postgresql://...` or `sqlite:PATH`. Default: the file `muster.db` in the data folder.
    #[schema(format = "URL")]
    url: Option<String>,
    /// PgBouncer for all statements but migrations, which use `database.url`.
    #[schema(format = "URL")]
    pgbouncer_url: Option<String>,
    /// Connections to the database at the most.
    #[default = 10]
    #[schema(minimum = 2, maximum = 10)]
    max_connections: u32,
}

described!(DatabaseSection);

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
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

/// Reads `[database]`: the store, and the connections to it at the most.
pub(super) fn read(reader: &mut Reader<'_>, data_dir: &Path) -> (Database, u32) {
    let section: DatabaseSection = reader.section("database");
    (store(section.url, section.pgbouncer_url, reader, data_dir), section.max_connections)
}

fn store(url: Option<String>, pgbouncer_url: Option<String>, reader: &mut Reader<'_>, data_dir: &Path) -> Database {
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
