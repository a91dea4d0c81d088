//! The database fails, in each way that it can.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};

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
        Row::new("store: may not be written", immutable).stores(&[Sqlite]).says(&["may not be written"]),
        Row::new("store: full", full).stores(&[Sqlite]).prepare(on_a_small_disk).says(&["full"]),
        Row::new("store: disk of the server full", full_postgres).stores(&[Pg]).says(&["disk of the database is full"]),
        Row::new("store: locked", locked).stores(&[Sqlite]).says(&["locked"]),
        Row::new("store: no connections", no_connections).stores(&[Pg]).says(&["too many connections"]),
        Row::new("store: refuses a value", refused_value).harms_programs(),
        Row::new("store: slow", slow_postgres).stores(&[Pg]),
        Row::new("store: slow for another's locks", slow_sqlite).stores(&[Sqlite]),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn execute(postgres: &Postgres, sql: impl SqlSafeStr) {
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

/// Keeps out the server's transactions, all of which begin with that table: each would else hold one table and wait for another.
const ALONE: &str = "BEGIN; LOCK TABLE leader IN ACCESS EXCLUSIVE MODE;";

/// Has every write to any table do this before, in PL/pgSQL, until it is mended.
fn with_each_write(site: &mut Site, what: &str) -> Result<Mend, Skip> {
    let sql = format!(
        "{ALONE}
         CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {what}; RETURN NULL; END $f$;
         DO $$ DECLARE name text; BEGIN
             FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
                 EXECUTE format('CREATE TRIGGER meddle BEFORE INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT
                                 EXECUTE FUNCTION meddle()', name);
             END LOOP;
         END $$;
         COMMIT"
    );
    execute(postgres(site), AssertSqlSafe(sql));
    Ok(Box::new(|site| {
        execute(postgres(site), AssertSqlSafe(format!("{ALONE} DROP FUNCTION meddle CASCADE; COMMIT")));
    }))
}

/// Every write takes a third of a second.
fn slow_postgres(site: &mut Site) -> Result<Mend, Skip> {
    with_each_write(site, "PERFORM pg_sleep(0.3)")
}

/// Every write fails as on a disk without room.
fn full_postgres(site: &mut Site) -> Result<Mend, Skip> {
    with_each_write(site, "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'")
}

/// The role gets no connection any more, and loses those that it has.
fn no_connections(site: &mut Site) -> Result<Mend, Skip> {
    execute(postgres(site), "ALTER ROLE muster CONNECTION LIMIT 0");
    execute(postgres(site), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'muster'");
    Ok(Box::new(|site| execute(postgres(site), "ALTER ROLE muster CONNECTION LIMIT -1")))
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

/// Another process has the lock of the database, and keeps it.
fn locked(site: &mut Site) -> Result<Mend, Skip> {
    let url = sqlite(site);
    let (told, over) = std::sync::mpsc::channel::<()>();
    let (tell, holds) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        runtime().block_on(async {
            let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
            database.execute("PRAGMA busy_timeout = 10000").await.expect("a setting");
            database.execute("BEGIN EXCLUSIVE").await.expect("the lock");
            tell.send(()).expect("the test listens");
            // Also where the test is over without a word.
            let _ = over.recv();
            database.execute("ROLLBACK").await.expect("the lock is given back");
            database.close().await.expect("closed");
        });
    });
    holds.recv().expect("the lock is held");
    Ok(Box::new(move |_| {
        drop(told);
        other.join().expect("no panic there");
    }))
}

/// The files of the database take no writes, whoever has them open: as on a file system that was mounted anew for reading.
/// Rights alone would not keep root out.
fn immutable(site: &mut Site) -> Result<Mend, Skip> {
    let files = ["muster.db", "muster.db-wal"].map(|name| site.muster.data_dir().join(name));
    for file in &files {
        set_immutable(file, true).map_err(|error| Skip(format!("no file can be made immutable here ({error})")))?;
    }
    Ok(Box::new(move |_| files.iter().for_each(|file| set_immutable(file, false).expect("it was possible before"))))
}

/// What `chattr +i` and `-i` do.
fn set_immutable(path: &Path, is: bool) -> std::io::Result<()> {
    const IMMUTABLE: libc::c_long = 0x10;
    let file = std::fs::File::open(path)?;
    let mut flags: libc::c_long = 0;
    let done = |code: libc::c_int| if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: a descriptor and a number of ours.
    done(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    flags = if is { flags | IMMUTABLE } else { flags & !IMMUTABLE };
    // SAFETY: the same.
    done(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) })
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
