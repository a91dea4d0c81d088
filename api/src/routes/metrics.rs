//! The page that Prometheus scrapes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use muster_supervisor::Caller;
use utoipa_axum::routes;

use super::Routes;
use crate::metrics::{Format, MetricsPage};
use crate::principal::Leader;
use crate::problem::Problem;
use crate::state::ApiState;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(scrape))
}

/// Metrics in the text format of Prometheus, or in OpenMetrics where that is asked for
///
/// One that does not lead has only figures of its own process. While the store does not answer, there are none of the queues.
#[utoipa::path(get, path = "/metrics", tag = "watching", responses(
    (status = 200, description = "The page", content((String = "text/plain"), (String = "application/openmetrics-text"))),
))]
async fn scrape(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    leader: Result<Leader, Problem>,
) -> Result<impl IntoResponse, Problem> {
    let mut page = MetricsPage::default();
    page.process(state.started(), leader.is_ok(), state.connections().count());
    let counted = state.metrics().map(PrometheusHandle::render).unwrap_or_default();
    match leader {
        Ok(Leader(caller)) => show(&caller, &counted, &mut page).await?,
        Err(_) => page.counted(&counted, None),
    }
    let format = Format::accepted(&headers);
    Ok(([(CONTENT_TYPE, format.content_type()), (VARY, ACCEPT.as_str())], page.into_text(format)))
}

/// What the supervisor that leads shows.
async fn show(caller: &Caller, counted: &str, page: &mut MetricsPage) -> Result<(), Problem> {
    let (pools, system) = (caller.pools()?, caller.system()?.view().await);
    let views = pools.list().await;
    let names: Vec<&str> = views.iter().map(|pool| pool.pool_name.as_str()).collect();
    page.system(&system, &names);
    page.pools(&views);
    for (pool, totals) in pools.task_totals().await {
        page.tasks(&pool, &totals);
    }
    // What they say of the rest is most needed while the store is away.
    if let Ok(queues) = pools.queues().await {
        page.queues(&queues);
    }
    if let Ok(workers) = caller.workers()?.list(None).await {
        page.workers(&workers);
    }
    if let Some((at, used)) = caller.metrics()?.latest() {
        page.measured(at, &used);
    }
    page.counted(counted, Some(&names));
    Ok(())
}
