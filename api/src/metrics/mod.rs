//! The Prometheus page. What it may say is the supervisor's table of metric families ([`muster_supervisor::prometheus`]); here it is put
//! together of what the process counted and of what the supervisor shows at each scrape, so that a pool that is gone leaves no series
//! behind.
//!
//! | file | what |
//! |---|---|
//! | `format` | the two formats, and which one a scraper gets |
//! | `page` | the page under construction: lines, family by family |
//! | `counted` | what the macros of the `metrics` crate counted |
//! | `figures` | what of the supervisor's views is shown |
//! | `process` | what this process itself uses |

mod counted;
mod figures;
mod format;
mod page;
mod process;
#[cfg(test)]
mod tests;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use muster_supervisor::prometheus::families;

pub(crate) use self::format::Format;
pub(crate) use self::page::MetricsPage;

/// Bounds of the histogram of starts, in seconds: from what a warm start takes to what a caller waits at the most.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 300.0,
];

/// Makes this process record what the `metrics` macros say. Fails where something else does already. Opens no port.
pub fn install_metrics() -> Result<PrometheusHandle, BuildError> {
    builder()?.install_recorder()
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(families::AGENT_START.name.to_owned()), &SECONDS)
}
