//! The stream of events.

mod feed;

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use muster_supervisor::Event;
use utoipa_axum::routes;

use self::feed::Feed;
pub(super) use self::feed::{streamed, with_data};
use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(stream))
}

/// Streams events (Server-Sent Events), from now on or after `Last-Event-ID`
///
/// A message's `event` is the kind, its `id` the number, its data JSON. `reset` says that events were missed.
#[utoipa::path(get, path = "/api/v1/events", tag = "watching",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The id of the last message that was received")),
    responses(
        (status = 200, description = "The stream", body = Event, content_type = "text/event-stream"),
        (status = 400, description = "`Last-Event-ID` is no number (`invalid_header`)"),
    ))]
async fn stream(Leader(caller): Leader, headers: HeaderMap) -> Result<Response, Problem> {
    let last_id = last_event_id(&headers)?;
    let events = caller.events()?;
    let signal = events.signal();
    let feed = Feed::begin(events, signal, caller.shutdown_token(), last_id).await?;
    Ok(streamed(feed.stream()))
}

/// The number after which a client wants to go on.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).map(Some).ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_header", "Last-Event-ID is the id of a message: a number")
            .field("Last-Event-ID")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_id_is_a_number() {
        let read = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([("last-event-id".parse().expect("a name"), value.parse().expect("a value"))]);
            last_event_id(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(last_event_id(&HeaderMap::new()).expect("none"), None);
        assert_eq!((read("17"), read("0")), (Ok(Some(17)), Ok(Some(0))));
        for bad in ["", "-1", "x", "1.5"] {
            assert_eq!(read(bad), Err("invalid_header"), "{bad:?}");
        }
    }
}
