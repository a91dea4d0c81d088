//! The stream of events: it begins where the client left off, tells it when it has missed some, and keeps nothing for
//! it. A client that does not read holds only its place; what it missed beyond what the store keeps is a `reset`, and
//! one that takes no byte at all is cut off by the server ([`serve`](crate::serve)).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use muster_supervisor::{Event, EventLine, Events, SupervisorError};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Events that are read from the store at once.
const BATCH: u32 = 500;
/// How long to wait before the store is asked again after it failed.
const RETRY: Duration = Duration::from_secs(1);

/// Where events come from.
pub(crate) trait EventSource: Send + Sync + 'static {
    /// Events with a number above `seq`, at most `limit`, in order.
    fn after(&self, seq: u64, limit: u32) -> impl Future<Output = Result<Vec<Arc<EventLine>>, SupervisorError>> + Send;
    /// The lowest and the highest number of the events kept.
    fn bounds(&self) -> impl Future<Output = Result<(u64, u64), SupervisorError>> + Send;
}

impl EventSource for Events {
    async fn after(&self, seq: u64, limit: u32) -> Result<Vec<Arc<EventLine>>, SupervisorError> {
        Self::after(self, seq, limit).await
    }

    async fn bounds(&self) -> Result<(u64, u64), SupervisorError> {
        Self::bounds(self).await
    }
}

/// One client's stream.
pub(crate) struct Feed<S> {
    source: S,
    signal: watch::Receiver<u64>,
    end: CancellationToken,
    /// The number of the last event that was given out.
    seq: u64,
    ready: VecDeque<Arc<EventLine>>,
}

/// What goes to the client next.
#[derive(Debug, PartialEq)]
enum NextMessage {
    Event(Arc<EventLine>),
    /// Events were missed; the stream goes on after this number.
    Reset(u64),
}

/// Whether somebody who has seen everything up to `seq` has missed events, given the numbers of those kept. Also where
/// the number is from the future: then it is from another store.
const fn has_missed(seq: u64, (lowest, highest): (u64, u64)) -> bool {
    if seq > highest {
        return true;
    }
    // Where nothing is kept, `lowest` says nothing: everything up to the highest is gone.
    let first_kept = if lowest == 0 { highest + 1 } else { lowest };
    seq + 1 < first_kept
}

impl<S: EventSource> Feed<S> {
    /// A stream that goes on after `last_id`; without one it begins with what comes next.
    pub(crate) async fn begin(
        source: S,
        signal: watch::Receiver<u64>,
        end: CancellationToken,
        last_id: Option<u64>,
    ) -> Result<Self, SupervisorError> {
        let seq = match last_id {
            Some(seq) => seq,
            None => source.bounds().await?.1,
        };
        Ok(Self { source, signal, end, seq, ready: VecDeque::new() })
    }

    /// The messages.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Message, Infallible>> + Send {
        unfold(self, |mut feed| async move {
            let next = feed.next().await?;
            Some((Ok(message(next)), feed))
        })
    }

    /// The next message; `None` when the server ends.
    async fn next(&mut self) -> Option<NextMessage> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                self.seq = line.event.seq;
                return Some(NextMessage::Event(line));
            }
            if self.end.is_cancelled() {
                return None;
            }
            // Seen before the store is asked: what is written after that changes the signal again.
            self.signal.borrow_and_update();
            match self.fetch().await {
                Ok(Some(reset)) => return Some(reset),
                Ok(None) if self.ready.is_empty() => self.wait().await,
                Ok(None) => {}
                Err(_) => self.pause(RETRY).await,
            }
        }
    }

    /// Reads the next events, or finds that the client has missed some.
    async fn fetch(&mut self) -> Result<Option<NextMessage>, SupervisorError> {
        let events = self.source.after(self.seq, BATCH).await?;
        // Numbers without a gap prove that nothing was missed, and spare the question.
        if events.first().is_none_or(|first| first.event.seq != self.seq + 1) {
            let bounds = self.source.bounds().await?;
            if has_missed(self.seq, bounds) {
                self.seq = bounds.1;
                return Ok(Some(NextMessage::Reset(bounds.1)));
            }
        }
        self.ready = events.into();
        Ok(None)
    }

    async fn wait(&mut self) {
        tokio::select! {
            changed = self.signal.changed() => {
                // The supervisor is gone, and its token says so in a moment.
                if changed.is_err() {
                    self.end.cancelled().await;
                }
            }
            () = self.end.cancelled() => {}
        }
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.end.cancelled() => {}
        }
    }
}

/// The data of a `reset`: events were missed, so the client reads the lists anew and goes on from `seq`.
#[derive(Debug, Serialize)]
struct ResetJson {
    /// The number from which the stream goes on.
    seq: u64,
    /// What to do.
    detail: &'static str,
}

fn message(next: NextMessage) -> Message {
    match next {
        NextMessage::Event(line) => {
            let Event { seq, event } = &line.event;
            with_line(Message::default().id(seq.to_string()).event(event.kind.as_str()), &line.json)
        }
        NextMessage::Reset(seq) => {
            let detail = "events were missed that are not kept any more: read the lists anew, and go on from here";
            with_data(Message::default().id(seq.to_string()).event("reset"), &ResetJson { seq, detail })
        }
    }
}

/// A comment goes out after this time without an event, so that a client or proxy can tell silence from death.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream of messages as an answer. axum's own keep-alive is a comment and an empty line, which some clients (httpx-sse) take
/// for the end of an event without data once they have seen an id: this one is the comment alone.
pub(crate) fn streamed(messages: impl Stream<Item = Result<Message, Infallible>> + Send + 'static) -> Response {
    let (parts, body) = Sse::new(messages).into_response().into_parts();
    let kept_alive = unfold(body.into_data_stream(), |mut bytes| async move {
        let next = match timeout(KEEP_ALIVE, bytes.next()).await {
            Ok(next) => next?,
            Err(_) => Ok(Bytes::from_static(b":\n")),
        };
        Some((next, bytes))
    });
    Response::from_parts(parts, Body::from_stream(kept_alive))
}

/// A message with JSON as its one line of data.
pub(crate) fn with_data<T: serde::Serialize>(message: Message, data: &T) -> Message {
    with_line(message, &serde_json::to_string(data).unwrap_or_default())
}

/// A message with this JSON as its one line of data.
fn with_line(message: Message, json: &str) -> Message {
    // JSON has no line break inside of strings, and ours none outside; a task's input is somebody else's.
    if json.contains(['\n', '\r']) { message.data(json.replace(['\n', '\r'], " ")) } else { message.data(json) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use muster_domain::{EventDraft, EventKind, Timestamp};
    use std::sync::Mutex;

    /// Events as a store keeps them.
    #[derive(Clone, Default)]
    struct KeptEvents(Arc<Mutex<(Vec<Event>, u64)>>);

    impl KeptEvents {
        fn add(&self, seqs: impl IntoIterator<Item = u64>) {
            let mut kept = self.0.lock().expect("no panic");
            for seq in seqs {
                kept.1 = seq;
                kept.0.push(event(seq));
            }
        }

        fn prune(&self, below: u64) {
            self.0.lock().expect("no panic").0.retain(|event| event.seq >= below);
        }
    }

    impl EventSource for KeptEvents {
        async fn after(&self, seq: u64, limit: u32) -> Result<Vec<Arc<EventLine>>, SupervisorError> {
            let kept = self.0.lock().expect("no panic");
            Ok(kept.0.iter().filter(|event| event.seq > seq).take(limit as usize).cloned().map(line).collect())
        }

        async fn bounds(&self) -> Result<(u64, u64), SupervisorError> {
            let kept = self.0.lock().expect("no panic");
            Ok((kept.0.first().map_or(0, |event| event.seq), kept.1))
        }
    }

    fn line(event: Event) -> Arc<EventLine> {
        Arc::new(event.into())
    }

    fn event(seq: u64) -> Event {
        let event = EventDraft {
            at: Timestamp::from_millis(0),
            kind: EventKind::AgentStarted,
            pool_name: None,
            agent_id: None,
            process_id: None,
            reason: "two\nlines".to_owned(),
        };
        Event { seq, event }
    }

    struct TestClient {
        kept: KeptEvents,
        signal: watch::Sender<u64>,
        end: CancellationToken,
        feed: Feed<KeptEvents>,
    }

    async fn client(kept: KeptEvents, last_id: Option<u64>) -> TestClient {
        let (signal, end) = (watch::Sender::new(0), CancellationToken::new());
        let feed = Feed::begin(kept.clone(), signal.subscribe(), end.clone(), last_id).await.expect("bounds");
        TestClient { kept, signal, end, feed }
    }

    impl TestClient {
        async fn next(&mut self) -> String {
            match self.feed.next().await {
                Some(NextMessage::Event(line)) => line.event.seq.to_string(),
                Some(NextMessage::Reset(seq)) => format!("reset {seq}"),
                None => "end".to_owned(),
            }
        }
    }

    #[test]
    fn the_table_of_what_was_missed() {
        for (seq, bounds, missed) in [
            (0, (0, 0), false),
            (0, (1, 3), false),
            (3, (1, 3), false),
            (4, (1, 3), true),
            (0, (2, 3), true),
            (1, (2, 3), false),
            (8, (0, 9), true),
            (9, (0, 9), false),
            (u64::MAX, (1, 3), true),
        ] {
            assert_eq!(has_missed(seq, bounds), missed, "{seq} {bounds:?}");
        }
    }

    #[tokio::test]
    async fn a_new_client_gets_what_comes_next() {
        let kept = KeptEvents::default();
        kept.add(1..=3);
        let mut client = client(kept, None).await;
        client.kept.add([4, 6]);
        client.signal.send_replace(6);
        assert_eq!([client.next().await, client.next().await], ["4", "6"], "numbers may have gaps");
        client.end.cancel();
        assert_eq!(client.next().await, "end");
    }

    #[tokio::test]
    async fn a_client_goes_on_where_it_left_off() {
        let kept = KeptEvents::default();
        kept.add(1..=3);
        let mut client = client(kept, Some(1)).await;
        assert_eq!([client.next().await, client.next().await], ["2", "3"]);
        let signal = client.signal.clone();
        let kept = client.kept.clone();
        let (next, ()) = tokio::join!(client.next(), async {
            kept.add([4]);
            signal.send_replace(4);
        });
        assert_eq!(next, "4", "woken by the signal");
    }

    #[tokio::test]
    async fn a_client_that_missed_events_is_told_so_once() {
        let kept = KeptEvents::default();
        kept.add(1..=9);
        kept.prune(6);
        let mut client = client(kept, Some(2)).await;
        assert_eq!(client.next().await, "reset 9");
        client.kept.add([10]);
        assert_eq!(client.next().await, "10");
        // It falls behind while the stream is open.
        client.kept.add(11..=20);
        client.kept.prune(15);
        assert_eq!(client.next().await, "reset 20");
        client.kept.prune(21);
        client.end.cancel();
        assert_eq!(client.next().await, "end", "nothing is missed where everything was seen");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_comment_and_never_an_event() {
        let messages = stream::iter([NextMessage::Event(line(event(7)))]).chain(stream::once(async {
            tokio::time::sleep(KEEP_ALIVE * 5 / 2).await;
            NextMessage::Event(line(event(8)))
        }));
        let response = streamed(messages.map(|next| Ok(message(next))));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        let text = std::str::from_utf8(&body).expect("text");
        assert_eq!(text.lines().filter(|line| *line == ":").count(), 2, "{text}");
        // What stands between two empty lines has data: nothing else is an event to any client.
        assert_eq!(text.split_terminator("\n\n").count(), 2, "{text}");
        assert!(text.split_terminator("\n\n").all(|event| event.contains("\ndata: ")), "{text}");
    }

    #[tokio::test]
    async fn a_message_is_one_line_of_data() {
        let messages =
            [NextMessage::Event(line(event(7))), NextMessage::Reset(9)].map(|next| Ok::<_, Infallible>(message(next)));
        let response = Sse::new(stream::iter(messages)).into_response();
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        let text = std::str::from_utf8(&body).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["id: 7", "event: agent.started"], "{text}");
        let data: serde_json::Value =
            serde_json::from_str(lines[2].strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!((&data["seq"], &data["reason"]), (&7.into(), &"two\nlines".into()));
        assert_eq!(lines[3..6], ["", "id: 9", "event: reset"], "{text}");
    }
}
