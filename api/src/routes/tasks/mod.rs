//! Tasks: one is taken in, looked at, called off, or sent again.

mod body;
mod events;
mod feed;
mod lines;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use muster_domain::{TaskId, TaskIdPrefix, TaskState};
use muster_supervisor::{CalledOff, ListOrder, RequestKey, Submitted, TaskQuery, TaskRequest, TaskView, Tasks};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use self::body::{MAX_INPUT, TaskBody};
use super::Routes;
use super::quota;
use crate::body::{BodyLimit, OptionalJson, ReadBody, parse, read};
use crate::budget::{BodyClass, MemoryReservation};
use crate::json::page;
use crate::json::some_of;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{EndQuery, KeyHeader, MAX_PAGE, StrictQuery, TaskPath, page_limit, page_start, pool_name};
use crate::state::ApiState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(submit, list))
        .routes(routes!(dead))
        .routes(routes!(redrive))
        .routes(routes!(get))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .merge(lines::routes())
        .merge(events::routes())
}

/// The largest body with a task: its input, and room for what is said beside it.
const TASK: BodyLimit = BodyLimit {
    bytes: MAX_INPUT + 64 * 1024,
    remedy: "the input of a task may have 1048576 bytes",
    share: BodyClass::Small,
};
/// Whole tasks in one answer at the most: each may have an input and an output of 1 MiB.
const MAX_FULL_PAGE: u32 = 100;

/// The route under which keys of tasks are kept, whichever way a task comes in.
const SUBMIT: &str = "POST /api/v1/tasks";

/// Takes in a task for the agents of a pool
///
/// It is stored when the answer goes out. An `Idempotency-Key` (kept for 24 h) makes a repeated request answer for the
/// same task. For a tenant that has limits the header `RateLimit` says what is left of them.
#[utoipa::path(post, path = "/api/v1/tasks", tag = "tasks", request_body = TaskBody,
    params(EndQuery, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 200, description = "The task, which was over within `wait`", body = TaskView),
        (status = 202, description = "It was taken in", body = Submitted),
        (status = 404, description = "There is no such pool (`unknown_pool`) or agent (`unknown_agent`)"),
        (status = 429, description = "As many tasks wait as may (`queue_full`), or the tenant has submitted as many as it may \
            (`quota_exceeded`); with `Retry-After`"),
    ))]
async fn submit(
    State(state): State<Arc<ApiState>>,
    Leader(caller): Leader,
    StrictQuery(wait): StrictQuery<EndQuery>,
    header: KeyHeader,
    request: Request,
) -> Result<Response, Problem> {
    let wait = wait.duration()?;
    let (request, room) = task_of(request, &header, &state).await?;
    let (tasks, tenant) = (caller.tasks(), request.tenant.clone());
    let answer = take_in(&tasks, request, room, wait).await.unwrap_or_else(Problem::into_response);
    Ok(quota::tell(&tasks, tenant, answer).await)
}

/// What is asked for, with the room that it takes in memory.
async fn task_of(
    request: Request,
    header: &KeyHeader,
    state: &ApiState,
) -> Result<(TaskRequest, MemoryReservation), Problem> {
    let ReadBody { bytes, room } = read(request, &TASK, state.budget()).await?;
    let mut body: TaskBody = parse(&bytes)?;
    let key = header.or_in_body(body.take_key()?)?;
    let key = key.map(|key| RequestKey { route: SUBMIT.to_owned(), key, body_hash: Sha256::digest(&bytes).into() });
    Ok((body.request(key)?, room))
}

async fn take_in(
    tasks: &Tasks,
    request: TaskRequest,
    room: MemoryReservation,
    wait: Duration,
) -> Result<Response, Problem> {
    let task = tasks.submit(request).await?;
    // Until then its input was in memory. It is stored now, and its end may be waited for without.
    drop(room);
    let location = [(LOCATION, format!("/api/v1/tasks/{}", task.task_id))];
    if !wait.is_zero()
        // Whatever goes wrong from here on, the task is stored, and the answer must not say otherwise.
        && let Ok(view) = tasks.get(task.task_id, wait).await
        && view.state.is_final()
    {
        return Ok((location, Json(view)).into_response());
    }
    Ok((StatusCode::ACCEPTED, location, Json(task)).into_response())
}

/// Shows a task; waits for its end if it is asked to
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}", tag = "tasks",
    params(TaskPath, EndQuery),
    responses(
        (status = 200, description = "The task", body = TaskView),
        (status = 404, description = "There is no such task (`unknown_task`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn get(
    Leader(caller): Leader,
    task: TaskPath,
    StrictQuery(wait): StrictQuery<EndQuery>,
) -> Result<Json<TaskView>, Problem> {
    Ok(Json(caller.tasks().get(task.id()?, wait.duration()?).await?))
}

/// Which tasks to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct TaskListQuery {
    /// Only this pool's.
    pool_name: Option<String>,
    /// Only this project's.
    project_id: Option<String>,
    /// Only this tenant's.
    tenant: Option<String>,
    /// Only those in this state, or in one of several with commas between them.
    #[param(schema_with = some_of::<TaskState>)]
    state: Option<String>,
    /// Only those whose id begins so: 8 hex digits or more, with the dashes or without.
    id_prefix: Option<String>,
    /// `asc`, the oldest first, or `desc`, the newest first. Default `asc`.
    #[param(inline, required = false)]
    order: TaskListOrder,
    /// At most this many: 1 to 1000; with `full=true` 1 to 100, and more is refused (`invalid_parameter`). Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before, for the same `order`.
    #[param(format = Uuid)]
    cursor: Option<String>,
    /// Whether inputs and outputs are shown too. Default false.
    #[param(required = false)]
    full: bool,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TaskListOrder {
    /// The oldest first.
    #[default]
    Asc,
    /// The newest first.
    Desc,
}

impl From<TaskListOrder> for ListOrder {
    fn from(order: TaskListOrder) -> Self {
        match order {
            TaskListOrder::Asc => Self::OldestFirst,
            TaskListOrder::Desc => Self::NewestFirst,
        }
    }
}

impl TaskListQuery {
    fn query(&self) -> Result<TaskQuery, Problem> {
        Ok(TaskQuery {
            pool: self.pool_name.as_deref().map(pool_name).transpose()?,
            project: self.project_id.clone(),
            tenant: self.tenant.clone(),
            states: self.state.as_deref().map(states).transpose()?.unwrap_or_default(),
            ids: self.id_prefix.as_deref().map(id_prefix).transpose()?,
            order: self.order.into(),
            after: page_start(self.cursor.as_deref())?,
            brief: !self.full,
            limit: page_limit(self.limit, if self.full { MAX_FULL_PAGE } else { MAX_PAGE })?,
        })
    }
}

fn states(text: &str) -> Result<Vec<TaskState>, Problem> {
    let states: Result<Vec<TaskState>, String> = text.split(',').map(str::parse).collect();
    states.map_err(|words| Problem::invalid_parameter("state", words))
}

fn id_prefix(text: &str) -> Result<TaskIdPrefix, Problem> {
    text.parse().map_err(|words: String| Problem::invalid_parameter("id_prefix", words))
}

page! {
    /// One page of tasks.
    TaskPage of TaskView, from TaskId
}

/// Lists tasks in the order in which they were asked for, or the other way round, those that are over included
#[utoipa::path(get, path = "/api/v1/tasks", tag = "tasks", params(TaskListQuery), responses(
    (status = 200, description = "One page", body = TaskPage),
    (status = 404, description = "There is no such pool (`unknown_pool`), and no task of it is kept"),
    (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
))]
async fn list(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<TaskListQuery>,
) -> Result<Json<TaskPage>, Problem> {
    Ok(Json(caller.tasks().list(query.query()?).await?.into()))
}

/// Which dead tasks to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct DeadQuery {
    /// Only this pool's.
    pool_name: Option<String>,
    /// `asc`, the oldest first, or `desc`, the newest first. Default `asc`.
    #[param(inline, required = false)]
    order: TaskListOrder,
    /// At most this many: 1 to 1000; with `full=true` 1 to 100, and more is refused (`invalid_parameter`). Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before, for the same `order`.
    #[param(format = Uuid)]
    cursor: Option<String>,
    /// Whether inputs and outputs are shown too. Default false.
    #[param(required = false)]
    full: bool,
}

/// Lists the tasks that were given up and wait for a person
#[utoipa::path(get, path = "/api/v1/tasks/dead", tag = "tasks", params(DeadQuery), responses(
    (status = 200, description = "One page", body = TaskPage),
    (status = 404, description = "There is no such pool (`unknown_pool`), and no task of it is kept"),
    (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
))]
async fn dead(Leader(caller): Leader, StrictQuery(query): StrictQuery<DeadQuery>) -> Result<Json<TaskPage>, Problem> {
    let DeadQuery { pool_name, order, limit, cursor, full } = query;
    let state = Some(TaskState::Dead.to_string());
    let query = TaskListQuery { pool_name, state, order, limit, cursor, full, ..TaskListQuery::default() };
    Ok(Json(caller.tasks().list(query.query()?).await?.into()))
}

/// Calls a task off
///
/// Its state is `cancelled` once its work has stopped; before that it is `running` with `halting` "cancelled". Calling off
/// one that is over changes nothing.
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/cancel", tag = "tasks",
    params(TaskPath, EndQuery),
    responses(
        (status = 200, description = "The task", body = CalledOff),
        (status = 404, description = "There is no such task (`unknown_task`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn cancel(
    Leader(caller): Leader,
    task: TaskPath,
    StrictQuery(wait): StrictQuery<EndQuery>,
) -> Result<Json<CalledOff>, Problem> {
    let (id, wait) = (task.id()?, wait.duration()?);
    Ok(Json(caller.tasks().cancel(id, wait).await?))
}

/// Sends a task that is dead or failed to the queue again
#[utoipa::path(post, path = "/api/v1/tasks/{task_id}/retry", tag = "tasks",
    params(TaskPath),
    responses(
        (status = 200, description = "The task, which waits again", body = TaskView),
        (status = 404, description = "There is no such task (`unknown_task`)"),
        (status = 409, description = "It is neither dead nor failed (`wrong_state`)"),
    ))]
async fn retry(Leader(caller): Leader, task: TaskPath) -> Result<Json<TaskView>, Problem> {
    Ok(Json(caller.tasks().retry(task.id()?).await?))
}

/// Dead tasks to send to the queue again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct RedriveBody {
    /// Only this pool's. Default: those of all pools.
    pool_name: Option<String>,
}

/// Dead tasks that were sent to the queue again.
#[derive(Debug, Serialize, ToSchema)]
struct RedrivenJson {
    /// How many.
    redriven: u64,
}

/// Sends the dead tasks of a pool, or of all pools, to the queue again
#[utoipa::path(post, path = "/api/v1/tasks/dead/redrive", tag = "tasks", request_body = Option<RedriveBody>, responses(
    (status = 200, description = "How many there were", body = RedrivenJson),
    (status = 404, description = "There is no such pool (`unknown_pool`)"),
))]
async fn redrive(
    Leader(caller): Leader,
    OptionalJson(body): OptionalJson<RedriveBody>,
) -> Result<Json<RedrivenJson>, Problem> {
    let pool = body.pool_name.as_deref().map(pool_name).transpose()?;
    Ok(Json(RedrivenJson { redriven: caller.tasks().redrive(pool).await? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Query;

    fn query(text: &str) -> Result<TaskQuery, Problem> {
        let uri = format!("/x?{text}").parse().expect("a URI");
        Query::<TaskListQuery>::try_from_uri(&uri).expect("a query").0.query()
    }

    #[test]
    fn a_list_is_asked_for_within_bounds() {
        assert_eq!(query("").expect("all").limit, 100);
        let id = TaskId::generate();
        let asked = query(&format!("pool_name=p&project_id=a%20b&tenant=t&state=dead,failed&limit=1000&cursor={id}"));
        let asked = asked.expect("a query");
        assert_eq!((asked.limit, asked.after, asked.order), (1000, Some(id), ListOrder::OldestFirst));
        assert_eq!(asked.states, [TaskState::Dead, TaskState::Failed]);
        let named = query(&format!("id_prefix={}", &id.to_string()[..13])).expect("a query").ids;
        assert!(named.is_some_and(|ids| ids.begins(id)), "{named:?}");
        assert_eq!(query("order=desc").expect("a query").order, ListOrder::NewestFirst);
        assert_eq!((asked.project.as_deref(), asked.tenant.as_deref()), (Some("a b"), Some("t")));
        assert_eq!(query("full=true&limit=100").expect("whole ones").limit, 100);
        for (text, code) in [
            ("limit=0", "invalid_parameter"),
            ("limit=1001", "invalid_parameter"),
            ("limit=101&full=true", "invalid_parameter"),
            ("state=asleep", "invalid_parameter"),
            ("state=dead,", "invalid_parameter"),
            ("id_prefix=019aa00", "invalid_parameter"),
            ("cursor=17", "invalid_parameter"),
            ("pool_name=No%20Pool", "unknown_pool"),
        ] {
            assert_eq!(query(text).expect_err(text).code(), code, "{text}");
        }
        let detail = query("state=queued,asleep").expect_err("no state").detail().to_owned();
        assert!(detail.starts_with("\"asleep\" is no state of a task; there are: queued, running,"), "{detail}");
    }

    #[tokio::test]
    async fn a_task_keeps_its_room_until_it_is_let_go() {
        let state = ApiState::new(crate::config::ApiConfig::new(([127, 0, 0, 1], 0).into(), "0"), None);
        let free = || state.budget().free(BodyClass::Small);
        let (all, body) = (free(), r#"{"pool_name": "p", "input": "words"}"#);
        let header = KeyHeader(None);
        let (_task, room) = task_of(Request::new(body.into()), &header, &state).await.expect("a task");
        assert_eq!(all - free(), body.len(), "it is in memory until it is stored");
        drop(room);
        assert_eq!(free(), all);
    }

    #[test]
    fn the_bound_of_a_body_says_the_bound_of_an_input() {
        assert!(TASK.remedy.contains(&MAX_INPUT.to_string()));
    }
}
