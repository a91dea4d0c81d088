//! JSON that is nested deeper than is taken in today, as an earlier version has stored it: it is shown, run and retried.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use super::python;
use crate::harness::Muster;

/// Lists in one another, as deep as programs still read.
const DEPTH: usize = 300;

/// Puts it into the database, where its task has another input.
fn store(muster: &Muster, task: &str, input: &str) {
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
        let update = sqlx::query("UPDATE tasks SET input = $1 WHERE task_id = $2").bind(input).bind(task);
        let done = update.execute(&mut database).await.expect("it is written");
        assert_eq!(done.rows_affected(), 1);
        database.close().await.expect("closed");
    });
}

#[test]
fn what_an_earlier_version_took_in_is_shown_run_and_retried() {
    let deep = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    let works = format!("{{\"quiet\":true,\"deep\":{deep}}}");
    let fails = format!("{{\"fail\":\"no\",\"retryable\":false,\"deep\":{deep}}}");
    let mut muster = Muster::start(python("max_agents = 1"));
    let gate = |muster: &Muster, what: &str| muster.post(&format!("/api/v1/agents/pools/p/{what}"), &json!({})).status;
    assert_eq!(gate(&muster, "pause"), 200);
    let body = format!("{{\"pool_name\":\"p\",\"input\":{deep}}}");
    let refused = muster.ask("POST", "/api/v1/tasks").header("content-type", "application/json").body(body).send();
    assert_eq!(refused.status, 422, "new ones are refused: {refused:?}");
    let (good, bad) = (muster.submit(&json!(1)), muster.submit(&json!(2)));
    muster.stop();
    store(&muster, &good, &works);
    store(&muster, &bad, &fails);
    muster.restart();
    muster.spawn_many("p", 1);

    let shown = |muster: &Muster, id: &str| muster.get_text(&format!("/api/v1/tasks/{id}"));
    assert!(shown(&muster, &good).contains(&deep), "{}", shown(&muster, &good));
    assert!(muster.get_text("/api/v1/tasks?full=true").contains(&fails));
    let printed = muster.command(&["task", &good, "--json"]).expect(0).stdout;
    assert!(printed.contains(&deep), "{printed}");

    assert_eq!(gate(&muster, "resume"), 200);
    let ended = |muster: &Muster, id: &str| muster.get_text(&format!("/api/v1/tasks/{id}?wait=60"));
    let done = ended(&muster, &good);
    assert!(done.contains("\"state\":\"succeeded\"") && done.contains(&deep), "{done}");
    let failed = ended(&muster, &bad);
    assert!(failed.contains("\"state\":\"failed\"") && failed.contains("\"number\":1"), "{failed}");
    let retried = muster.ask("POST", &format!("/api/v1/tasks/{bad}/retry")).send_for_text();
    assert!(retried.contains(&bad), "{retried}");
    let again = ended(&muster, &bad);
    assert!(again.contains("\"state\":\"failed\"") && again.contains("\"number\":2"), "{again}");
}
