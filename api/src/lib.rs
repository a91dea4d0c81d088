//! HTTP over the supervisor's handle. This room reads requests and writes answers; it decides nothing.
//!
//! # How a request travels
//! [`serve`] takes the connection. The guard looks at its headers: is the `Host` one of ours, the `Origin` not a foreign
//! page's, the key known, the body declared as JSON. A route then reads the rest strictly (an unknown field is an
//! error, since a misspelt one would silently be a default), asks the [`Handle`](muster_supervisor::Handle) that stands
//! behind the [`ApiState`] in the name of who asks, and writes the view that it gets as JSON.
//!
//! # What is served
//! Not always a supervisor: one that starts, waits for its registry, or stands by for another has the port open too, and
//! says so with 503. The composition root moves the [`ApiState`] from one [`ApiStage`] to the next; `/health` answers in all of
//! them.
//!
//! # Who does what
//! | module | its part |
//! |---|---|
//! | `router`, `serve` | the routes together, and the server with its connections and its end |
//! | `guard`, `principal` | who may come in, and who asks |
//! | `state` | what stands behind the API at the moment |
//! | `body`, `query` | strict reading |
//! | `budget` | how much of bodies may be in memory at once |
//! | `problem` | errors (RFC 9457), and the one map from the supervisor's refusals to them |
//! | `json` | what bodies have in common, and the words of enums in the document |
//! | `routes` | one file a resource: query, body, answer, handler and their words; the answers are the supervisor's views |
//! | `logs`, `metrics` | what agents printed, and the page for Prometheus |
//! | `openapi`, `reader` | the description, made from the routes, and the page that shows it; `docs/openapi.json` is what of it is promised |

mod blocking;
mod body;
mod budget;
mod config;
mod guard;
mod json;
mod logs;
mod metrics;
mod openapi;
mod principal;
mod problem;
#[cfg(test)]
mod promised_tests;
mod query;
mod reader;
mod router;
mod routes;
mod serve;
mod state;

pub use config::{ApiConfig, ApiKey, MAX_BODY};
pub use metrics::install_metrics;
pub use problem::Problem;
pub use router::router;
pub use serve::serve;
pub use state::{ApiStage, ApiState};
