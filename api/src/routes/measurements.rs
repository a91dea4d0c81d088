//! What pools, workers and agents were and used over time.

use axum::Json;
use muster_domain::{PoolName, Words as _};
use muster_supervisor::{
    Interval, MetricKind, Metrics, PoolMetricsView, ResourceUseView, SeriesQuery, SeriesView, SupervisorError,
    TimeRange,
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::{Object, ObjectBuilder, Type};
use utoipa_axum::routes;

use super::Routes;
use crate::json::one_of;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{AgentPath, MAX_PAGE, PoolPath, StrictQuery, WorkerPath, page_limit, pool_name};

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(of_pool))
        .routes(routes!(of_cluster))
        .routes(routes!(timeseries))
        .routes(routes!(of_worker))
        .routes(routes!(of_agent))
}

/// How many measurements.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NewestQuery {
    /// At most this many, 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Shows what a pool was and did, measurement by measurement, the newest first
///
/// There is one each `metrics.interval` for a day. A time in which nothing could be measured has none.
#[utoipa::path(get, path = "/api/v1/agents/pools/{pool_name}/metrics", tag = "watching", params(PoolPath, NewestQuery),
    responses(
        (status = 200, description = "The measurements", body = [PoolMetricsView]),
        (status = 404, description = "There is no such pool (`unknown_pool`), and no measurement of it is kept"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn of_pool(
    Leader(caller): Leader,
    pool: PoolPath,
    StrictQuery(query): StrictQuery<NewestQuery>,
) -> Result<Json<Vec<PoolMetricsView>>, Problem> {
    newest(&caller.metrics()?, &pool.id()?, query).await
}

/// Shows the same as `/api/v1/agents/pools/{pool_name}/metrics`
#[utoipa::path(get, path = "/api/clusters/{pool_name}/metrics", tag = "watching", params(PoolPath, NewestQuery),
    responses(
        (status = 200, description = "The measurements", body = [PoolMetricsView]),
        (status = 404, description = "There is no such pool (`unknown_pool`), and no measurement of it is kept"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn of_cluster(
    Leader(caller): Leader,
    pool: PoolPath,
    StrictQuery(query): StrictQuery<NewestQuery>,
) -> Result<Json<Vec<PoolMetricsView>>, Problem> {
    newest(&caller.metrics()?, &pool.id()?, query).await
}

async fn newest(metrics: &Metrics, pool: &PoolName, query: NewestQuery) -> Result<Json<Vec<PoolMetricsView>>, Problem> {
    Ok(Json(metrics.of_pool(pool, page_limit(query.limit, MAX_PAGE)?).await?))
}

/// The word for the usual interval of a range.
const AUTO: &str = "auto";

/// Which figure.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TimeseriesQuery {
    /// What it shows.
    #[param(schema_with = one_of::<MetricKind>)]
    metric_type: MetricKind,
    /// How far back it goes. Default `1h`.
    #[param(schema_with = one_of::<TimeRange>, required = false)]
    time_range: Option<TimeRange>,
    /// The time of one point, or `auto`, which is the default: 30s of 1h, 5m of 6h, 15m of 24h, 1h of 7d, 1d of 30d, or longer where
    /// `metrics.interval` is. Steps of 30 s are kept for a day, of 5 min for a week.
    #[param(schema_with = interval_words, required = false)]
    interval: Option<String>,
    /// Only this pool. Default: all together.
    pool_name: Option<String>,
}

fn interval_words() -> Object {
    let words = std::iter::once(AUTO).chain(Interval::words());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

impl TimeseriesQuery {
    fn request(self) -> Result<SeriesQuery, Problem> {
        let wrong = |text: &str| {
            let words = format!("interval is {AUTO} or one of {}, not {text:?}", Interval::listed());
            Problem::invalid_parameter("interval", words)
        };
        let interval = match self.interval.as_deref() {
            None | Some(AUTO) => None,
            Some(text) => Some(Interval::of_word(text).ok_or_else(|| wrong(text))?),
        };
        Ok(SeriesQuery {
            kind: self.metric_type,
            range: self.time_range.unwrap_or(TimeRange::Hour),
            interval,
            pool: self.pool_name.as_deref().map(pool_name).transpose()?,
        })
    }
}

/// Shows a figure over time
///
/// A point without a value is a time in which nothing was measured.
#[utoipa::path(get, path = "/api/v1/agents/metrics/timeseries", tag = "watching", params(TimeseriesQuery),
    responses(
        (status = 200, description = "The curve", body = SeriesView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 422, description = "A parameter is wrong, or the interval is finer than what is kept of the range (`invalid_parameter`)"),
    ))]
async fn timeseries(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<TimeseriesQuery>,
) -> Result<Json<SeriesView>, Problem> {
    let series = caller.metrics()?.series(query.request()?).await;
    let wrong = |words| Problem::invalid_parameter("interval", words);
    Ok(Json(series.map_err(|error| match error {
        SupervisorError::Invalid(words) => wrong(words),
        error => error.into(),
    })?))
}

/// Shows what a worker with all that it has started used in the last hour, the newest first
#[utoipa::path(get, path = "/api/v1/workers/{process_id}/metrics", tag = "watching", params(WorkerPath),
    responses(
        (status = 200, description = "What it used; empty of one that was not measured", body = [ResourceUseView]),
        (status = 404, description = "There is no such worker (`unknown_worker`)"),
    ))]
async fn of_worker(Leader(caller): Leader, worker: WorkerPath) -> Result<Json<Vec<ResourceUseView>>, Problem> {
    Ok(Json(caller.metrics()?.of_worker(worker.id()?).await?))
}

/// Shows what an agent's processes used in the last hour, the newest first
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}/metrics", tag = "watching", params(AgentPath),
    responses(
        (status = 200, description = "What they used; empty of an agent without processes of its own", body = [ResourceUseView]),
        (status = 404, description = "There is no such agent (`unknown_agent`)"),
    ))]
async fn of_agent(Leader(caller): Leader, agent: AgentPath) -> Result<Json<Vec<ResourceUseView>>, Problem> {
    Ok(Json(caller.metrics()?.of_agent(agent.id()?).await?))
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;

    use super::*;

    fn query(text: &str) -> Result<SeriesQuery, Problem> {
        let uri: Uri = format!("/?{text}").parse().expect("a path");
        let query = axum::extract::Query::<TimeseriesQuery>::try_from_uri(&uri);
        query.map_err(|error| Problem::invalid_parameter("query", error.body_text()))?.0.request()
    }

    #[test]
    fn a_curve_is_of_an_hour_of_all_pools_where_nothing_else_is_said() {
        let asked = query("metric_type=wait").expect("a query");
        assert_eq!(
            (asked.kind, asked.range, asked.interval, asked.pool),
            (MetricKind::Wait, TimeRange::Hour, None, None)
        );
        let asked = query("metric_type=cpu&time_range=7d&interval=15m&pool_name=p").expect("a query");
        assert_eq!((asked.range, asked.interval), (TimeRange::Week, Some(Interval::QuarterHour)));
        assert_eq!(query("metric_type=cpu&interval=auto").expect("a query").interval, None);
        for wrong in
            ["", "metric_type=x", "metric_type=cpu&interval=2m", "metric_type=cpu&time_range=2h", "metric_type=cpu&a=1"]
        {
            assert!(query(wrong).is_err(), "{wrong}");
        }
    }
}
