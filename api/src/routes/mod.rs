//! The routes, one file a resource. A route reads the request, asks the supervisor's handle, and writes the answer;
//! what is decided is decided behind the handle.

mod agents;
mod bulk;
mod docs;
mod events;
mod logs;
mod metrics;
mod monitor;
mod pools;
mod system;
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
        .routes(routes!(system::stop))
        .routes(routes!(system::status))
        .routes(routes!(system::check))
        .routes(routes!(watching::health))
        .routes(routes!(watching::api_health))
        .routes(routes!(watching::ready))
        .routes(routes!(watching::deep_health))
        .routes(routes!(monitor::agents))
        .routes(routes!(monitor::system))
        .routes(routes!(monitor::processes))
        .routes(routes!(events::stream))
        .routes(routes!(metrics::scrape))
        .routes(routes!(docs::document))
        .routes(routes!(docs::page))
}
