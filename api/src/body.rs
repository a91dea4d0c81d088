//! Bodies, read strictly: one JSON value of the right shape within the bound, and nothing after it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use futures_util::StreamExt;
use muster_domain::plain;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::budget::{Budget, Share};
use crate::door::Door;
use crate::problem::Problem;

/// A client that does not send its body within this time is told so.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes for which it gets a second more: a large body over a slow line takes longer, and one that comes a byte at a time
/// is no body.
const SLOWEST: u32 = 16 * 1024;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// What is read and thrown away of a body that is too large, so that the client is still there for the answer: one
/// that writes into a closed connection sees a reset instead of the 413.
const DISCARD: usize = 16 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

/// How large a body may be.
pub(crate) struct Bound {
    /// In bytes.
    pub(crate) bytes: usize,
    /// What to do where it is larger.
    pub(crate) remedy: &'static str,
    /// Where the memory for it comes from.
    pub(crate) share: Share,
}

impl Bound {
    /// The bound of bodies of which nothing else is said.
    fn usual(door: &Door) -> Self {
        Self { bytes: door.config().max_body, remedy: "send less at once", share: Share::Small }
    }
}

/// A body, and the room in memory that it takes until it is dropped.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    pub(crate) room: OwnedSemaphorePermit,
}

/// A body as a value of `T`. Unknown fields are refused where `T` says so, as all bodies of the API do.
pub(crate) struct StrictJson<T> {
    pub(crate) value: T,
    /// Of the body as it came: it tells two requests apart.
    hash: [u8; 32],
}

impl<T> StrictJson<T> {
    pub(crate) const fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Door>> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, door: &Arc<Door>) -> Result<Self, Problem> {
        let body = read(request, &Bound::usual(door), door.budget()).await?;
        Ok(Self { value: parse(&body.bytes)?, hash: Sha256::digest(&body.bytes).into() })
    }
}

/// A body that may be left out.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<Door>> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, door: &Arc<Door>) -> Result<Self, Problem> {
        let body = read(request, &Bound::usual(door), door.budget()).await?;
        // To clients made of the document null is a body that is left out.
        let is_left_out = matches!(body.bytes.trim_ascii(), b"" | b"null");
        if is_left_out { Ok(Self(T::default())) } else { parse(&body.bytes).map(Self) }
    }
}

/// Reads one of several lines, each a JSON object: of what is wrong it is said where it is in that line.
pub(crate) fn parse_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, Problem> {
    // Whoever reads it knows another number as that of the line.
    let in_line = |detail: &str| match detail.rsplit_once(" at line 1 column ") {
        Some((words, column)) => format!("{words} at column {column}"),
        None => detail.to_owned(),
    };
    parse(line).map_err(|problem| problem.reworded(in_line))
}

/// Reads JSON, and says of what is wrong where it is.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Editors of another system begin a file with it, and it says nothing.
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let value = serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))?;
    // serde takes a list for an object too, field by field in their order, which nobody promised.
    if is_object(bytes) { Ok(value) } else { Err(no_object()) }
}

fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{")
}

fn no_object() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", "this must be a JSON object")
}

/// The second look at a body that is wrong: slower, and able to name the field.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Problem {
    if bytes.is_empty() {
        return Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "the body is empty: send a JSON object");
    }
    // A value of the wrong shape may be met before the place where the text stops being JSON.
    let syntax = serde_json::from_slice::<IgnoredAny>(bytes).err().map(|error| error.to_string());
    if let Some(syntax) = syntax.or_else(|| (error.classify() != Category::Data).then(|| error.to_string())) {
        return Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is no JSON: {syntax}"));
    }
    if !is_object(bytes) {
        return no_object();
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => misfit(&error),
        Ok(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", plain(&error.to_string())),
    }
}

/// One item of a list that was read as JSON before.
pub(crate) fn parse_item<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(no_object());
    }
    serde_path_to_error::deserialize(value).map_err(|error| misfit(&error))
}

fn misfit(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let (path, words) = (error.path().to_string(), error.inner().to_string());
    match (path.as_str(), about_itself(&words)) {
        (".", None) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", plain(&words)),
        (".", Some(field)) => Problem::invalid_field(field, plain(&words)),
        (path, None) => Problem::invalid_field(path, format!("{path}: {}", plain(&words))),
        (path, Some(field)) => Problem::invalid_field(&format!("{path}.{field}"), format!("{path}: {}", plain(&words))),
    }
}

/// The field that serde names in its words only: its path ends at the object around one that is not there, or there twice.
fn about_itself(words: &str) -> Option<&str> {
    let rest = words.strip_prefix("missing field `").or_else(|| words.strip_prefix("duplicate field `"))?;
    rest.split_once('`').map(|(field, _)| field)
}

/// The whole body, within the bound.
pub(crate) async fn read(request: Request, bound: &Bound, budget: &Budget) -> Result<Held, Problem> {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut body = request.into_body();
    if announced.is_some_and(|announced| announced > bound.bytes as u64) {
        discard(&mut body, DISCARD).await;
        return Err(too_large(bound));
    }
    // One that does not say how large it is may be as large as any.
    let room = match announced {
        None if body.is_end_stream() => 0,
        None => bound.bytes,
        Some(announced) => announced as usize,
    };
    let room = match budget.take(bound.share, room).await {
        Ok(room) => room,
        Err(problem) => {
            discard(&mut body, bound.bytes).await;
            return Err(problem);
        }
    };
    match collect(&mut body, bound.bytes).await {
        Ok(Some(bytes)) => Ok(Held { bytes, room }),
        Ok(None) => {
            discard(&mut body, DISCARD).await;
            Err(too_large(bound))
        }
        Err(Broken::Ended(error)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "broken_body", format!("the body ended early: {error}")))
        }
        Err(Broken::Slow) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow_body",
            format!("the body did not come within {} s and a second for every {SLOWEST} bytes", BODY_TIMEOUT.as_secs()),
        )),
    }
}

/// Why there is no whole body.
enum Broken {
    Ended(axum::Error),
    Slow,
}

/// The whole body, or `None` where it is larger than `limit`.
async fn collect(body: &mut Body, limit: usize) -> Result<Option<Bytes>, Broken> {
    let begun = Instant::now();
    let mut stream = std::mem::take(body).into_data_stream();
    let mut next = async |length: usize| {
        let deadline = begun + BODY_TIMEOUT + Duration::from_secs(1) * length as u32 / SLOWEST;
        let chunk = timeout_at(deadline, stream.next()).await.map_err(|_| Broken::Slow)?;
        chunk.transpose().map_err(Broken::Ended)
    };
    let first = next(0).await?.unwrap_or_default();
    let mut whole = Vec::new();
    let mut length = first.len();
    while length <= limit {
        let Some(chunk) = next(length).await? else {
            // Most bodies are one chunk, and need no copy.
            return Ok(Some(if whole.is_empty() { first } else { whole.into() }));
        };
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        length += chunk.len();
        whole.extend_from_slice(&chunk);
    }
    *body = Body::from_stream(stream);
    Ok(None)
}

async fn discard(body: &mut Body, most: usize) {
    let mut stream = std::mem::take(body).into_data_stream();
    let drop_it = async {
        let mut length = 0;
        while let Some(Ok(chunk)) = stream.next().await {
            length += chunk.len();
            if length > most {
                return;
            }
        }
    };
    // Whether it came to its end changes nothing: the answer is the same.
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, drop_it).await;
}

fn too_large(bound: &Bound) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body is larger than {} bytes: {}", bound.bytes, bound.remedy),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        #[serde(default)]
        bounds: Inner,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        max_agents: u32,
    }

    fn refusal(text: &str) -> (u16, &'static str, String) {
        let problem = parse::<Outer>(text.as_bytes()).expect_err(text);
        (problem.status().as_u16(), problem.code(), problem.detail().to_owned())
    }

    #[test]
    fn what_is_no_json_is_400_with_its_position() {
        for text in ["", "{", "{\"name\": \"a\",}", "name=a", "{\"name\": \"a\"} {}", "{\"name\": \"a\"}x", "\u{0}"] {
            let (status, code, _) = refusal(text);
            assert_eq!((status, code), (400, "invalid_json"), "{text:?}");
        }
        assert!(refusal("{\"name\": \"a\"} x").2.contains("trailing characters at line 1 column 15"));
        assert!(parse::<Outer>(b"{\"name\": \"\xff\"}").is_err(), "a string is UTF-8");
    }

    #[test]
    fn what_does_not_fit_is_422_and_names_the_field() {
        let rows = [
            (r#"{"nam": "a"}"#, "there is no field nam; there are: name, bounds"),
            (r#"{}"#, "name is missing"),
            (r#"{"name": 7}"#, "name: a text is expected, not the number 7"),
            (r#"{"name": "a", "name": "b"}"#, "name is there twice"),
            (
                r#"{"name": "a", "bounds": {"max_agents": "2"}}"#,
                "bounds.max_agents: a whole number from 0 to 4294967295 is expected, not the text \"2\"",
            ),
            (r#"{"name": "a", "bounds": {"max_agents": -1}}"#, "not the number -1"),
            (r#"{"name": "a", "bounds": {"max_agentz": 1}}"#, "bounds.max_agentz: there is no field max_agentz"),
        ];
        for (text, words) in rows {
            let (status, code, detail) = refusal(text);
            assert_eq!((status, code), (422, "invalid_field"), "{text}");
            assert!(detail.contains(words), "{text}: {detail}");
            assert!(detail.contains("line 1 column"), "{text}: {detail}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let rows = [
            (r#"{}"#, Some("name")),
            (r#"{"name": "a", "name": "b"}"#, Some("name")),
            (r#"{"name": 7}"#, Some("name")),
            (r#"{"name": "a", "bounds": {"max_agents": 1, "max_agents": 2}}"#, Some("bounds.max_agents")),
            ("7", None),
        ];
        for (text, field) in rows {
            let problem = serde_json::to_value(parse::<Outer>(text.as_bytes()).expect_err(text)).expect("an object");
            assert_eq!(problem["field"].as_str(), field, "{text}: {problem}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        let list = br#" ["a", {"max_agents": 1}]"#;
        assert!(serde_json::from_slice::<Outer>(list).is_ok(), "or there is nothing to refuse");
        assert_eq!(parse::<Outer>(list).expect_err("a list").status().as_u16(), 422);
        for short in ["[]", "[1]", "7"] {
            let (status, code, detail) = refusal(short);
            assert_eq!(
                (status, code, detail.as_str()),
                (422, "invalid_field", "this must be a JSON object"),
                "{short}"
            );
        }
        assert!(parse_item::<Outer>(serde_json::json!(["a", {"max_agents": 1}])).is_err());
        assert!(parse::<Outer>(b"\n {\"name\": \"a\"} ").is_ok());
        assert!(parse::<Outer>("\u{feff}{\"name\": \"a\"}".as_bytes()).is_ok(), "a byte order mark says nothing");
    }

    #[test]
    fn an_item_names_its_field_too() {
        let item = serde_json::json!({"name": "a", "bounds": {"max_agents": true}});
        let problem = parse_item::<Outer>(item).expect_err("a wrong type");
        assert!(problem.detail().starts_with("bounds.max_agents: a whole number"), "{}", problem.detail());
    }

    fn door() -> Arc<Door> {
        Door::new(crate::config::ApiConfig::new(([127, 0, 0, 1], 0).into(), "0"), None)
    }

    #[tokio::test]
    async fn a_body_that_may_be_left_out_is_read_as_strictly() {
        let read = async |text: &'static str| {
            let body = OptionalJson::<Inner>::from_request(Request::new(Body::from(text)), &door()).await;
            body.map(|OptionalJson(inner)| inner.max_agents)
        };
        for left_out in ["", "null", " null\n"] {
            assert_eq!(read(left_out).await.expect("the default"), 0, "{left_out:?}");
        }
        assert_eq!(read(r#"{"max_agents": 3}"#).await.expect("a value"), 3);
        assert_eq!(read("{}x").await.expect_err("rubbish").code(), "invalid_json");
        assert_eq!(read(r#"{"max_agentz": 3}"#).await.expect_err("unknown").code(), "invalid_field");
    }

    #[tokio::test]
    async fn two_bodies_differ_in_their_hash() {
        let hash = async |text: &'static str| {
            let body = StrictJson::<Inner>::from_request(Request::new(Body::from(text)), &door()).await;
            body.map(|body| body.hash()).expect("a body")
        };
        assert_eq!(hash(r#"{"max_agents": 3}"#).await, hash(r#"{"max_agents": 3}"#).await);
        assert_ne!(hash(r#"{"max_agents": 3}"#).await, hash(r#"{"max_agents": 4}"#).await);
    }

    fn chunks(sizes: &[usize]) -> Body {
        let chunks: Vec<Result<Bytes, std::io::Error>> = sizes.iter().map(|n| Ok(vec![b' '; *n].into())).collect();
        Body::from_stream(stream::iter(chunks))
    }

    const TEN: Bound = Bound { bytes: 10, remedy: "say it in fewer words", share: Share::Small };

    async fn refused(body: Body, bound: &Bound) -> Problem {
        read(Request::new(body), bound, &Budget::default()).await.map(drop).expect_err("refused")
    }

    /// A body of `count` times `size` bytes, with `pause` between them.
    fn slow(count: usize, size: usize, pause: Duration) -> Body {
        Body::from_stream(stream::unfold(0, move |sent| async move {
            tokio::time::sleep(pause).await;
            (sent < count).then(|| (Ok::<_, std::io::Error>(Bytes::from(vec![b' '; size])), sent + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_that_goes_on_is_read_and_one_that_trickles_is_not() {
        let large = Bound { bytes: 64 << 20, remedy: "send less", share: Share::Lines };
        let body = slow(100, 256 * 1024, Duration::from_secs(10));
        let read = read(Request::new(body), &large, &Budget::default()).await;
        assert_eq!(read.map(|body| body.bytes.len()).expect("a thousand seconds of it"), 100 * 256 * 1024);
        assert_eq!(refused(slow(1_000, 1, Duration::from_secs(1)), &large).await.code(), "slow_body");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_has_no_room_is_read_all_the_same() {
        let budget = Budget::default();
        let _all = budget.take(Share::Small, 64 << 20).await.expect("room");
        let read_to_its_end = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = Arc::clone(&read_to_its_end);
        let end = stream::once(async move {
            seen.store(true, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_static(b"}"))
        });
        let request = Request::new(Body::from_stream(end));
        assert_eq!(read(request, &TEN, &budget).await.map(drop).expect_err("no room").code(), "busy");
        assert!(read_to_its_end.load(std::sync::atomic::Ordering::SeqCst), "or the client would see a reset");
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_the_bound_and_no_further() {
        for (sizes, expected) in [
            (&[][..], Ok(0)),
            (&[10][..], Ok(10)),
            (&[4, 0, 6][..], Ok(10)),
            (&[11][..], Err(413)),
            (&[5, 5, 1][..], Err(413)),
        ] {
            let read = read(Request::new(chunks(sizes)), &TEN, &Budget::default()).await;
            assert_eq!(read.map(|body| body.bytes.len()).map_err(|p| p.status().as_u16()), expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_announced_too_large_is_refused() {
        let request = Request::builder().header(CONTENT_LENGTH, "11").body(chunks(&[11])).expect("a request");
        let problem = read(request, &TEN, &Budget::default()).await.map(drop).expect_err("too large");
        assert_eq!(problem.code(), "body_too_large");
        assert_eq!(problem.detail(), "the body is larger than 10 bytes: say it in fewer words");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_not_waited_for() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(refused(body, &TEN).await.status().as_u16(), 408);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_said_so() {
        let body = Body::from_stream(stream::iter([Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]));
        assert_eq!(refused(body, &TEN).await.code(), "broken_body");
    }
}
