//! The size of SQLite's file.

use std::path::Path;

use muster_domain::{Fence, FollowUp, Payload, TaskId};
use muster_store::sqlite::SqliteStore;
use muster_store::{Durability, Leadership, NewTask, Store, TaskOutcome, TaskVerdict, Write, WriteOutcome};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};

use crate::conformance::tasks::new_task;
use crate::conformance::{LEASE, add_pool, at};

const TASKS: usize = 2_000;

async fn open(path: &Path) -> (SqliteStore, Fence) {
    let store = SqliteStore::open(path, Durability::Process).await.expect("a file");
    let Leadership::Leads(fence) = store.lead("the test", "", LEASE).await.expect("an answer") else {
        panic!("nobody else leads");
    };
    (store, fence)
}

/// Many tasks, of 4 KiB each, that ended.
async fn fill(store: &SqliteStore, fence: Fence) {
    let input = Payload::quoted(&"x".repeat(4_096));
    let new: Vec<NewTask> = (0..TASKS).map(|_| NewTask { input: input.clone(), ..new_task("dev") }).collect();
    let ids: Vec<TaskId> = new.iter().map(|task| task.spec.task_id).collect();
    let verdicts = ids.iter().map(|id| TaskVerdict { task_id: *id, then: FollowUp::Cancel, at: at(1) }).collect();
    let outcomes = store.apply(fence, &[Write::AddTasks(new), Write::SettleTasks(verdicts)]).await.expect("a batch");
    let done = WriteOutcome::Tasks(vec![TaskOutcome::Applied; TASKS]);
    assert_eq!(outcomes, [done.clone(), done]);
}

/// Closes the store, which folds the log into the file, and looks at its size in bytes.
async fn size_of(path: &Path, store: SqliteStore) -> u64 {
    store.close().await;
    std::fs::metadata(path).expect("a file").len()
}

#[tokio::test]
async fn the_file_shrinks_after_pruning() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let (store, fence) = open(&path).await;
    store.apply(fence, &[add_pool("dev")]).await.expect("a batch");
    fill(&store, fence).await;
    let full = size_of(&path, store).await;
    assert!(full > 8 << 20, "{full} bytes hold {TASKS} inputs of 4 KiB");

    let (store, fence) = open(&path).await;
    assert_eq!(store.prune(fence, at(0), at(2)).await.expect("pruned").tasks, TASKS as u64);
    let pruned = size_of(&path, store).await;
    assert!(pruned < full / 10, "{full} bytes became {pruned}");
}

/// The log is folded while the store is open, and commits go on meanwhile.
#[tokio::test]
async fn the_log_is_folded_while_commits_go_on() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let log = folder.path().join("muster.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |file| file.len());
    let (store, fence) = open(&path).await;
    store.apply(fence, &[add_pool("dev")]).await.expect("a batch");
    let mut largest = 0;
    for _ in 0..12 {
        fill(&store, fence).await;
        largest = largest.max(size());
    }
    assert!(largest > 8 << 20, "it was large: {largest} bytes");
    // A log that is small is left as it is: commits of some weight make it large again, wherever it was.
    let input = Payload::quoted(&"x".repeat(64 << 10));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while size() > 1 << 20 {
        assert!(std::time::Instant::now() < deadline, "{} bytes are not folded", size());
        let task = NewTask { input: input.clone(), ..new_task("dev") };
        store.apply(fence, &[Write::AddTasks(vec![task])]).await.expect("commits go on");
    }
    let in_file = std::fs::metadata(&path).expect("a file").len();
    assert!(in_file > 96 << 20, "{in_file} bytes in the file");
    store.close().await;
}

/// A file whose `auto_vacuum` is off, as an older version made it, can't shrink; what is free in it is used again.
#[tokio::test]
async fn an_older_file_uses_its_room_again() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    let mut older =
        SqliteConnectOptions::new().filename(&path).create_if_missing(true).connect().await.expect("a file");
    older.execute("CREATE TABLE not_empty (id INTEGER)").await.expect("a table");
    older.close().await.expect("a goodbye");
    let (store, fence) = open(&path).await;
    store.apply(fence, &[add_pool("dev")]).await.expect("a batch");
    fill(&store, fence).await;
    assert_eq!(store.prune(fence, at(0), at(2)).await.expect("pruned").tasks, TASKS as u64);
    let first = size_of(&path, store).await;
    assert!(first > 8 << 20, "{first} bytes");
    let (store, fence) = open(&path).await;
    fill(&store, fence).await;
    let second = size_of(&path, store).await;
    assert!(second < first + first / 10, "{first} bytes became {second}");
}
