//! The database fails, in each way that it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use super::row::Store::{Postgres as Pg, Sqlite};
use super::row::{Mend, Row, Skip};
use super::site::{Plan, Site};
use crate::harness::disk::SmallDisk;
use crate::harness::faults::Postgres;
use crate::harness::wait_until;

/// The role as whom the server comes: the bounds of a role don't hold for who may do all.
pub(super) fn add_role(postgres: &Postgres) {
    execute(postgres, "CREATE ROLE muster LOGIN");
    execute(postgres, "GRANT ALL ON SCHEMA public TO muster");
}

/// The address with that role.
pub(super) fn role_url(postgres: &Postgres) -> String {
    postgres.url().replace("//postgres@", "//muster@")
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("store: gone", gone).stores(&[Pg]).says(&["no such file", "refused", "does not answer"]),
        Row::new("store: hung", hung).stores(&[Pg]).says(&["does not answer", "timed out", "took longer"]),
        Row::new("store: read-only", read_only).stores(&[Pg]).says(&["read-only"]),
        Row::new("store: full", full).stores(&[Sqlite]).prepare(on_a_small_disk).says(&["full"]),
        Row::new("store: refuses a value", refused_value).harms_programs(),
        Row::new("store: slow", slow_postgres).stores(&[Pg]).says(&["slow"]),
        Row::new("store: slow for another's locks", slow_sqlite).stores(&[Sqlite]).says(&["slow", "locked"]),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn execute(postgres: &Postgres, sql: &'static str) {
    runtime().block_on(async {
        let mut database = PgConnection::connect(&postgres.url()).await.expect("the database answers");
        database.execute(sqlx::raw_sql(sql)).await.expect("it is done");
        database.close().await.expect("closed");
    });
}

fn postgres(site: &Site) -> &Postgres {
    site.postgres.as_ref().expect("a cell with PostgreSQL")
}

fn gone(site: &mut Site) -> Result<Mend, Skip> {
    site.postgres.iter_mut().for_each(Postgres::stop);
    Ok(Box::new(|site| site.postgres.iter_mut().for_each(Postgres::resume)))
}

fn hung(site: &mut Site) -> Result<Mend, Skip> {
    postgres(site).hang();
    Ok(Box::new(|site| postgres(site).go_on()))
}

fn read_only(site: &mut Site) -> Result<Mend, Skip> {
    let set = |site: &Site, sql| {
        execute(postgres(site), sql);
        execute(postgres(site), "SELECT pg_reload_conf()");
    };
    set(site, "ALTER SYSTEM SET default_transaction_read_only = on");
    Ok(Box::new(move |site| {
        set(site, "ALTER SYSTEM RESET default_transaction_read_only");
    }))
}

/// Every table, so that every write takes a third of a second.
fn slow_postgres(site: &mut Site) -> Result<Mend, Skip> {
    execute(
        postgres(site),
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END';
         DO $$ DECLARE name text; BEGIN
             FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
                 EXECUTE format('CREATE TRIGGER dawdle AFTER INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT
                                 EXECUTE FUNCTION dawdle()', name);
             END LOOP;
         END $$",
    );
    Ok(Box::new(|site| execute(postgres(site), "DROP FUNCTION dawdle CASCADE")))
}

fn sqlite(site: &Site) -> String {
    format!("sqlite:{}", site.muster.data_dir().join("muster.db").display())
}

/// Holds the lock of the database again and again for a while, until `over`.
fn hold_locks(url: String, over: Arc<AtomicBool>) {
    runtime().block_on(async {
        let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
        database.execute("PRAGMA busy_timeout = 10000").await.expect("a setting");
        while !over.load(Ordering::Relaxed) {
            if database.execute("BEGIN IMMEDIATE").await.is_err() {
                continue;
            }
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) && turn < 6 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                turn += 1;
            }
            database.execute("ROLLBACK").await.expect("the lock is given back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        database.close().await.expect("closed");
    });
}

fn slow_sqlite(site: &mut Site) -> Result<Mend, Skip> {
    let (url, over) = (sqlite(site), Arc::new(AtomicBool::new(false)));
    let told = over.clone();
    let other = std::thread::spawn(move || hold_locks(url, told));
    Ok(Box::new(move |_| {
        over.store(true, Ordering::Relaxed);
        other.join().expect("no panic there");
    }))
}

fn on_a_small_disk(plan: &mut Plan) -> Result<(), Skip> {
    let disk = SmallDisk::mount().map_err(|error| Skip(format!("only root can mount a file system ({error})")))?;
    plan.options.data_dir = Some(disk.path().join("d"));
    plan.disk = Some(disk);
    Ok(())
}

fn full(site: &mut Site) -> Result<Mend, Skip> {
    site.plan.disk.iter().for_each(SmallDisk::fill);
    // What is free inside of the database's files may take some more.
    wait_until("nothing more is taken in", Duration::from_secs(20), || {
        site.muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": "x".repeat(20_000)})).status == 503
    });
    Ok(Box::new(|site| site.plan.disk.iter().for_each(SmallDisk::free)))
}

/// A program ends with a byte in its last words that PostgreSQL has no place for.
fn refused_value(site: &mut Site) -> Result<Mend, Skip> {
    let answer =
        site.muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": "last words", "max_attempts": 1}));
    assert_eq!(answer.status, 202, "{answer:?}");
    Ok(Box::new(|_| {}))
}
