//! The routes, one file a resource: what a request may say, what is answered, the handlers with their words for the document,
//! and `routes()`, which lists them. A route reads the request, asks the supervisor's handle, and writes the view that it gets;
//! what is decided is decided behind the handle.

mod agents;
mod alerts;
mod docs;
mod events;
mod health;
mod measurements;
mod metrics;
mod monitor;
pub(crate) mod pools;
mod queue;
mod quota;
mod scale;
mod scaling;
mod system;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod usage;
mod workers;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;

use crate::state::ApiState;

/// The routes of a resource, with their descriptions.
type Routes = OpenApiRouter<Arc<ApiState>>;

/// Every route with its description. There is no other way in, so that none can be missing in the document.
pub(crate) fn all() -> Routes {
    let resources = [
        pools::routes(),
        scale::routes(),
        scaling::routes(),
        agents::routes(),
        tasks::routes(),
        quota::routes(),
        usage::routes(),
        system::routes(),
        health::routes(),
        monitor::routes(),
        workers::routes(),
        queue::routes(),
        measurements::routes(),
        alerts::routes(),
        events::routes(),
        metrics::routes(),
        docs::routes(),
    ];
    resources.into_iter().fold(Routes::new(), Routes::merge)
}
