//! Tests that each question about tasks is a range of the index that was made for it, and stays prepared.

use muster_domain::{AgentId, PoolName, Priority, TaskId, TaskState, Timestamp};
use rusqlite::types::Null;
use rusqlite::{Connection, StatementStatus};

use crate::sql::{SqlValue, Statement};
use crate::{ListOrder, QueueKey, QueueSlice, TaskFilter, agents, pools, task_lists, task_pages, tasks};

/// How the bundled SQLite would carry it out.
fn explain(connection: &Connection, step: &Statement) -> String {
    let question = format!("EXPLAIN QUERY PLAN {}", step.sql.replace('$', "?"));
    let mut statement = connection.prepare(&question).expect(step.sql);
    for index in 1..=step.args.len() {
        statement.raw_bind_parameter(index, Null).expect("a parameter");
    }
    let details = statement.raw_query().mapped(|row| row.get::<_, String>("detail"));
    details.map(|detail| detail.expect("a detail") + "\n").collect()
}

/// How often it is planned anew while it is asked again and again.
fn plans_anew(connection: &Connection, step: &Statement) -> i32 {
    let ask = || {
        let mut statement = connection.prepare_cached(&step.sql.replace('$', "?")).expect(step.sql);
        for index in 1..=step.args.len() {
            statement.raw_bind_parameter(index, 1).expect("a parameter");
        }
        statement.raw_query().next().expect("an answer");
        statement.get_status(StatementStatus::RePrepare)
    };
    (ask(), ask(), ask()).2
}

fn filter(pool: Option<&PoolName>, project: Option<&str>, states: &[TaskState], order: ListOrder) -> TaskFilter {
    let (pool, project) = (pool.cloned(), project.map(str::to_owned));
    TaskFilter { pool, project, tenant: None, states: states.to_vec(), brief: false, order }
}

/// A question, and the range of an index that answers it.
type Question = (Statement, &'static str);

fn dev() -> PoolName {
    "dev".parse().expect("a name")
}

fn of_the_queue() -> Vec<Question> {
    let (dev, id, at) = (dev(), TaskId::generate(), Timestamp::now());
    let shared = QueueKey::Shared { tenant: String::new(), priority: Priority::NORMAL };
    let agent = AgentId::generate();
    vec![
        (
            task_lists::slice(&dev, &QueueSlice { queue: shared, after: Some(id), limit: 9 }),
            "tasks_shared (pool_name=? AND tenant=? AND (priority,task_id)>(?,?) AND priority<?)",
        ),
        (
            task_lists::slice(&dev, &QueueSlice { queue: QueueKey::Own(agent), after: None, limit: 9 }),
            "tasks_of_agent (pool_name=? AND (agent_id,task_id)>(?,?) AND agent_id<?)",
        ),
        (
            task_lists::of_agent(&dev, agent, 9),
            "tasks_of_agent (pool_name=? AND (agent_id,task_id)>(?,?) AND agent_id<?)",
        ),
        (task_lists::due(&dev, at, 9), "tasks_delayed (pool_name=? AND due_at<?)"),
        (task_lists::next_due(&dev, at), "COVERING INDEX tasks_delayed (pool_name=? AND due_at>?)"),
        (task_lists::expired(&dev, at, 9), "tasks_expiring (pool_name=? AND expires_at<?)"),
        (task_lists::next_expiry(&dev, at), "tasks_expiring (pool_name=? AND expires_at>?)"),
        (task_lists::running(&dev), "tasks_by_state (pool_name=? AND state=?)"),
        (task_lists::ready_queues(&dev), "COVERING INDEX tasks_shared (pool_name=?)"),
        (task_lists::ready_queues(&dev), "COVERING INDEX tasks_of_agent (pool_name=? AND agent_id>?)"),
        (task_lists::counts(&dev), "COVERING INDEX tasks_delayed (pool_name=?)"),
        (task_lists::counts(&dev), "COVERING INDEX tasks_by_state (pool_name=? AND state=?)"),
        (task_lists::made_since("acme", at), "COVERING INDEX tasks_of_tenant (tenant=? AND task_id>?)"),
        (task_lists::inputs(&[id]), "sqlite_autoindex_tasks_1 (task_id=?)"),
    ]
}

fn of_pages() -> Vec<Question> {
    let (dev, id) = (dev(), TaskId::generate());
    let (all, dead, over): (&[_], _, _) = (&[], &[TaskState::Dead][..], &[TaskState::Dead, TaskState::Failed][..]);
    let listed = |pool, project, states, order| task_pages::page(&filter(pool, project, states, order), Some(id), 10);
    let page = |pool, project, states| listed(pool, project, states, ListOrder::OldestFirst);
    let newest = |pool, project, states| listed(pool, project, states, ListOrder::NewestFirst);
    let of_tenant = |pool, states, order| {
        let filter = TaskFilter { tenant: Some("acme".to_owned()), ..filter(pool, None, states, order) };
        task_pages::page(&filter, Some(id), 10)
    };
    vec![
        (task_pages::one(id), "sqlite_autoindex_tasks_1 (task_id=?)"),
        (page(None, None, all), "sqlite_autoindex_tasks_1 (task_id>?)"),
        (page(None, Some("p"), dead), "tasks_of_project ((project_id,task_id)>(?,?) AND project_id<?)"),
        (page(Some(&dev), None, dead), "tasks_by_state (pool_name=? AND (state,task_id)>(?,?) AND state<?)"),
        (page(Some(&dev), None, over), "tasks_by_state (pool_name=? AND state=? AND task_id>? AND task_id<?)"),
        (page(Some(&dev), None, all), "tasks_by_state (pool_name=? AND state=? AND task_id>? AND task_id<?)"),
        (page(None, None, over), "tasks_by_state (pool_name=? AND state=? AND task_id>? AND task_id<?)"),
        (newest(None, None, all), "sqlite_autoindex_tasks_1 (task_id<?)"),
        (newest(None, Some("p"), dead), "tasks_of_project (project_id>? AND (project_id,task_id)<(?,?))"),
        (newest(Some(&dev), None, dead), "tasks_by_state (pool_name=? AND state>? AND (state,task_id)<(?,?))"),
        (newest(Some(&dev), None, all), "tasks_by_state (pool_name=? AND state=? AND task_id>? AND task_id<?)"),
        (of_tenant(None, all, ListOrder::OldestFirst), "tasks_of_tenant ((tenant,task_id)>(?,?) AND tenant<?)"),
        (of_tenant(Some(&dev), all, ListOrder::NewestFirst), "tasks_of_tenant (tenant>? AND (tenant,task_id)<(?,?))"),
        (
            of_tenant(Some(&dev), dead, ListOrder::NewestFirst),
            "tasks_by_state (pool_name=? AND state>? AND (state,task_id)<(?,?))",
        ),
        (newest(None, None, over), "tasks_by_state (pool_name=? AND state=? AND task_id>? AND task_id<?)"),
    ]
}

fn of_changes() -> Vec<Question> {
    let (dev, id, at) = (dev(), TaskId::generate(), Timestamp::now());
    vec![
        (tasks::promote(&[id]).steps.remove(0), "sqlite_autoindex_tasks_1 (task_id=?)"),
        (tasks::redrive(&[id]).steps.remove(0), "sqlite_autoindex_tasks_1 (task_id=?)"),
        (tasks::withdraw(&[id, id]).steps.remove(0), "idempotency_keys_by_made (made_id=?)"),
        (tasks::prune(at, 9).remove(0), "tasks_ended (finished_at<?)"),
        (tasks::prune(at, 9).remove(0), "idempotency_keys_by_made (made_id=?)"),
        (tasks::prune(at, 9).remove(1), "tasks_ended (finished_at<?)"),
        (agents::ADD_KEYED.step(vec![SqlValue::int(1); agents::ADD_FIELDS]), "idempotency_keys_by_made (made_id=?)"),
        (agents::prune(at, 9).remove(0), "agents_ended (ended_at<?)"),
        (pools::remove(&dev), "tasks_by_state (pool_name=? AND state=?)"),
    ]
}

#[tokio::test]
async fn each_question_about_tasks_is_a_range_of_an_index_and_stays_prepared() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("muster.db");
    super::migrate(&path).await.expect("a new file");
    let connection = Connection::open(&path).expect("a connection");
    for (question, range) in [of_the_queue(), of_pages(), of_changes()].concat() {
        let plan = explain(&connection, &question);
        assert!(plan.contains(range), "{range} is not used:\n{plan}");
        assert!(!plan.contains("SCAN tasks") && !plan.contains("SCAN t\n"), "{range}:\n{plan}");
        assert_eq!(plans_anew(&connection, &question), 0, "{}", question.sql);
    }
}
