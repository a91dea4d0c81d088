//! The routes, one file a resource. A route reads the request, asks the supervisor's handle, and writes the answer;
//! what is decided is decided behind the handle.

mod agents;
mod alerts;
mod bulk;
mod docs;
mod events;
mod logs;
mod metrics;
mod monitor;
mod pools;
mod queue;
mod quota;
mod system;
mod task_events;
mod task_lines;
mod tasks;
mod usage;
mod watching;

use std::sync::Arc;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::door::Door;

/// Every route with its description. There is no other way in, so that none can be missing in the document.
pub(crate) fn all() -> OpenApiRouter<Arc<Door>> {
    OpenApiRouter::new()
        .routes(routes!(pools::create, pools::list))
        .routes(routes!(pools::get, pools::change, pools::remove))
        .routes(routes!(pools::pause))
        .routes(routes!(pools::resume))
        .routes(routes!(pools::drain))
        .routes(routes!(agents::spawn))
        .routes(routes!(agents::terminate))
        .routes(routes!(agents::list))
        .routes(routes!(agents::get))
        .routes(routes!(agents::restart))
        .routes(routes!(agents::of_project))
        .routes(routes!(logs::read))
        .routes(routes!(bulk::spawn))
        .routes(routes!(bulk::terminate))
        .routes(routes!(bulk::restart))
        .routes(routes!(tasks::submit, tasks::list))
        .routes(routes!(task_lines::submit_many))
        .routes(routes!(tasks::dead))
        .routes(routes!(tasks::redrive))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::retry))
        .routes(routes!(task_events::events))
        .routes(routes!(quota::quota))
        .routes(routes!(usage::usage))
        .routes(routes!(system::stop))
        .routes(routes!(system::pause))
        .routes(routes!(system::resume))
        .routes(routes!(system::status))
        .routes(routes!(system::check))
        .routes(routes!(watching::health))
        .routes(routes!(watching::api_health))
        .routes(routes!(watching::ready))
        .routes(routes!(watching::deep_health))
        .routes(routes!(monitor::agents))
        .routes(routes!(monitor::system))
        .routes(routes!(monitor::processes))
        .routes(routes!(monitor::ended_processes))
        .routes(routes!(queue::queue))
        .routes(routes!(alerts::list))
        .routes(routes!(events::stream))
        .routes(routes!(metrics::scrape))
        .routes(routes!(docs::document))
        .routes(routes!(docs::page))
}
