//! The file of SQLite: opening, modes, full disks, kills.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use muster_domain::Fence;
use muster_store::sqlite::{self, SqliteStore};
use muster_store::{Durability, Leadership, Migrated, Store, StoreError, Write};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};

use crate::conformance::{LEASE, NEWEST, add_pool, at, event, migrations_after, name};

const FILE: &str = "MUSTER_STORE_TEST_FILE";

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Durability::Process).await.expect("a file")
}

async fn lead(store: &SqliteStore) -> Fence {
    match store.lead("the test", "", LEASE).await.expect("an answer") {
        Leadership::Leads(fence) => fence,
        held @ Leadership::Held { .. } => panic!("{held:?}"),
    }
}

/// Runs an ignored test of this file in a process of its own.
fn child(test: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", &format!("sqlite_file::{test}"), "--ignored", "--nocapture"]).env(FILE, file);
    command
}

fn file_of_the_parent() -> PathBuf {
    std::env::var_os(FILE).map(PathBuf::from).expect("run by another test only")
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let store = open(&path).await;
    assert_eq!(store.describe(), format!("sqlite in {}", path.display()));
    let first = lead(&store).await;
    store.apply(first, &[add_pool("dev")]).await.expect("a batch");
    store.ping().await.expect("an answer");
    store.close().await;
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["muster.db"], "the log is folded in");
    assert!(matches!(store.apply(first, &[]).await, Err(StoreError::Unavailable(_))), "it is closed");
    assert!(matches!(store.pools().await, Err(StoreError::Unavailable(_))), "it is closed");

    let store = SqliteStore::open(&path, Durability::Full).await.expect("the same file");
    assert!(lead(&store).await > first);
    assert_eq!(store.pools().await.expect("pools")[0].spec.pool_name, name("dev"));
    store.close().await;
}

/// A caller that goes away in the middle of a transaction leaves nothing open behind it.
#[tokio::test]
async fn a_caller_may_go_away_at_any_moment() {
    const ROUNDS: u64 = 300;
    let folder = tempfile::tempdir().expect("a temp folder");
    let store = open(&folder.path().join("muster.db")).await;
    let fence = lead(&store).await;
    // Dropped a little later in every round, so before, in and after each of its transactions.
    for round in 0..ROUNDS {
        let batch: Vec<Write> = (0..30).map(|n| Write::Event(event(n))).collect();
        store.apply(fence, &batch).await.expect("a batch");
        let _ = tokio::time::timeout(Duration::from_micros(10 * round), store.prune(fence, at(1_000), at(0))).await;
    }
    let (_, highest) = store.event_bounds().await.expect("bounds");
    assert_eq!(highest, ROUNDS * 30, "every batch stands");
    store.prune(fence, at(1_000), at(0)).await.expect("pruned");
    assert_eq!(store.event_bounds().await.expect("bounds"), (highest + 1, highest));
    store.close().await;
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    std::fs::write(&path, "").expect("an empty file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let store = open(&path).await;
    let fence = lead(&store).await;
    store.apply(fence, &[add_pool("dev")]).await.expect("a batch");
    for entry in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
    store.close().await;
}

#[tokio::test]
async fn what_is_no_database_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, "this is no database, and long enough to be looked at as one: ".repeat(40))
        .expect("a file");
    let before = std::fs::read(&garbage).expect("a file");
    // The kernel refuses to open it for writing, to root too.
    let read_only = PathBuf::from("/proc/version");
    for path in [folder.path().to_owned(), folder.path().join("missing/muster.db"), garbage.clone(), read_only] {
        let error = SqliteStore::open(&path, Durability::Process).await.expect_err("no database");
        assert!(matches!(error, StoreError::InvalidAddress(_)), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    assert_eq!(std::fs::read(&garbage).expect("a file"), before, "it is left as it was");
}

/// Where a page of a table is no page any more, whoever meets it hears that the database is damaged, whether it reads or writes.
#[tokio::test]
async fn a_page_that_was_overwritten_is_told_as_damage() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let store = open(&path).await;
    let fence = lead(&store).await;
    store.apply(fence, &[add_pool("dev"), Write::Event(event(1))]).await.expect("a batch");
    store.close().await;
    let mut person = SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
    let number = async |person: &mut SqliteConnection, sql: &'static str| -> u64 {
        let found: i64 = sqlx::query_scalar(sql).fetch_one(person).await.expect("a number");
        u64::try_from(found).expect("a count")
    };
    let size = number(&mut person, "PRAGMA page_size").await;
    let page = number(&mut person, "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = 'pools'").await;
    person.close().await.expect("closed");
    let file = std::fs::File::options().write(true).open(&path).expect("the database");
    let rubbish = vec![0xa5; usize::try_from(size).expect("a size")];
    file.write_all_at(&rubbish, (page - 1) * size).expect("overwritten");

    let store = open(&path).await;
    let fence = lead(&store).await;
    let read = store.pools().await.map(drop);
    let written = store.apply(fence, &[add_pool("other")]).await.map(drop);
    for met in [read, written] {
        assert!(matches!(met, Err(StoreError::Damaged(_))), "{met:?}");
    }
    store.apply(fence, &[Write::Event(event(2))]).await.expect("the other tables are whole");
    store.close().await;
}

#[tokio::test]
async fn migrations_are_reported_and_newer_ones_refused() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let first = sqlite::migrate(&path).await.expect("a new file");
    assert_eq!(first, Migrated { before: 0, after: NEWEST, applied: migrations_after(0) });
    let second = sqlite::migrate(&path).await.expect("nothing to do");
    assert_eq!(second, Migrated { before: NEWEST, after: NEWEST, applied: vec![] });

    let mut person = SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (99, 'newer', true, '', 0)";
    person.execute(newer).await.expect("a newer migration");
    let refused = SqliteStore::open(&path, Durability::Process).await;
    assert!(matches!(refused, Err(StoreError::TooNew { found: 99, known: NEWEST })), "{refused:?}");
}

/// SQLite 3.40, which people have as `sqlite3`, else calls a healthy file damaged.
#[tokio::test]
async fn a_key_is_made_of_the_first_columns_of_its_table() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    sqlite::migrate(&path).await.expect("a new file");
    let mut person = SqliteConnectOptions::new().filename(&path).connect().await.expect("a connection");
    let keys = "SELECT t.name, group_concat(c.cid - c.pk + 1) FROM pragma_table_list AS t \
        JOIN pragma_table_info(t.name) AS c ON c.pk > 0 WHERE t.wr = 1 GROUP BY t.name";
    let tables: Vec<(String, String)> = sqlx::query_as(keys).fetch_all(&mut person).await.expect("an answer");
    assert!(tables.len() >= 8, "{tables:?}");
    for (table, distances) in tables {
        assert!(distances.split(',').all(|distance| distance == "0"), "{table}: {distances}");
    }
    let whole: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut person).await.expect("an answer");
    assert_eq!(whole, "ok");
}

#[test]
fn what_was_committed_survives_a_kill() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let mut child = child("commits_until_it_is_killed", &path).stdout(Stdio::piped()).spawn().expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let committed: Vec<String> =
        lines.filter_map(|line| line.strip_prefix("committed ").map(str::to_owned)).take(50).collect();
    child.kill().expect("SIGKILL");
    child.wait().expect("the child");
    assert_eq!(committed.len(), 50);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = open(&path).await;
        let pools = store.pools().await.expect("pools");
        for pool in committed {
            assert!(pools.iter().any(|row| row.spec.pool_name == name(&pool)), "{pool} is lost");
        }
        store.close().await;
    });
}

#[tokio::test]
#[ignore = "run in a process of its own by another test"]
async fn commits_until_it_is_killed() {
    let store = open(&file_of_the_parent()).await;
    let fence = lead(&store).await;
    for n in 0..u32::MAX {
        store.apply(fence, &[add_pool(&format!("pool-{n}"))]).await.expect("a batch");
        println!("\ncommitted pool-{n}");
    }
}

#[test]
fn a_full_disk_is_an_outage_that_heals() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let output = child("fills_its_disk", &folder.path().join("muster.db")).output().expect("a child");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("healed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// The disk is as full as a limit on the size of files makes it: writing past it fails.
#[tokio::test]
#[ignore = "run in a process of its own by another test"]
async fn fills_its_disk() {
    // SAFETY: no handler is installed; the signal is ignored, so that the write fails instead.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.expect("a signal");
    let store = open(&file_of_the_parent()).await;
    let fence = lead(&store).await;
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("a limit");
    setrlimit(Resource::RLIMIT_FSIZE, 512 * 1024, hard).expect("a lower limit");
    let mut long = event(1);
    long.reason = "x".repeat(20_000);
    let mut committed = 0;
    let error = loop {
        match store.apply(fence, &[add_pool(&format!("pool-{committed}")), Write::Event(long.clone())]).await {
            Ok(_) => committed += 1,
            Err(error) => break error,
        }
        assert!(committed < 1_000, "the limit is never met");
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(store.pools().await.expect("reading goes on").len(), committed, "all or nothing");
    let again = store.apply(fence, &[Write::Event(long.clone())]).await;
    assert!(matches!(again, Err(StoreError::Unavailable(_))), "{again:?}");

    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).expect("the old limit");
    store.apply(fence, &[add_pool("after"), Write::Event(long)]).await.expect("it heals by itself");
    assert_eq!(store.pools().await.expect("pools").len(), committed + 1);
    store.close().await;
    println!("\nhealed");
}
