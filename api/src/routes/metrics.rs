//! The page that Prometheus scrapes.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use metrics_exporter_prometheus::PrometheusHandle;
use utoipa_axum::routes;

use super::Routes;
use crate::metrics::MetricsPage;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::state::ApiState;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(scrape))
}

/// Metrics in the text format of Prometheus
#[utoipa::path(get, path = "/metrics", tag = "watching", responses(
    (status = 200, description = "The page", body = String, content_type = "text/plain"),
))]
async fn scrape(
    State(state): State<Arc<ApiState>>,
    leader: Result<Leader, Problem>,
) -> Result<impl IntoResponse, Problem> {
    let mut page = MetricsPage::new(state.metrics().map(PrometheusHandle::render).unwrap_or_default());
    page.leading(leader.is_ok());
    page.connections(state.connections().count());
    if let Ok(Leader(caller)) = leader {
        let pools = caller.pools()?;
        page.system(&caller.system()?.view().await);
        page.pools(&pools.list().await);
        page.queues(&pools.queues().await?);
        page.workers(&caller.workers()?.list(None).await?);
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.into_text()))
}
