//! A client of the HTTP API for the commands: blocking, and no more than they need.
//!
//! [`find()`] says where the server is: at a URL, or where `<data folder>/muster.addr` says, which the server writes when it
//! listens. A refusal of the server is a problem document (RFC 9457), and its `detail` says what to do,
//! so that is what people get to read.

mod error;
mod events;
#[cfg(test)]
pub(crate) mod fake_tests;
mod find;
mod lenient;

pub(crate) use error::ClientError;
pub(crate) use events::{SseReader, StreamEvent};
pub(crate) use find::{FoundServer, NotFound, find, read_address};

use std::io::Read;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::Response;
use ureq::{Agent, Body, RequestBuilder};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may think about an answer, on top of what it was asked to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
/// Items per page of a list: the most that the server gives.
const PAGE: usize = 1_000;

/// Names and values of a query string.
pub(crate) type QueryPairs<'a> = &'a [(&'a str, String)];

/// A body that goes out as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawBody<'a> {
    /// What it is.
    pub(crate) media_type: &'static str,
    /// Its Idempotency-Key, where it has one.
    pub(crate) key: Option<&'a str>,
    /// The body.
    pub(crate) text: &'a str,
}

/// Speaks to one server. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct ApiClient {
    agent: Agent,
    base: String,
    key: Option<String>,
}

impl ApiClient {
    /// A client of the server at `base`, as in `http://127.0.0.1:8000`, with an API key where it needs one.
    pub(crate) fn new(base: &str, key: Option<String>) -> Self {
        let base = base.trim_end_matches('/').to_owned();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT));
        // A proxy of the environment is for other hosts.
        if is_loopback(&base) {
            config = config.proxy(None);
        }
        Self { agent: config.build().new_agent(), base, key }
    }

    /// The server's address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Reads one thing.
    pub(crate) fn get(&self, path: &str, query: QueryPairs<'_>) -> Result<Value, ClientError> {
        self.read(self.prepare(self.agent.get(self.url(path)), query).call())
    }

    /// Reads a list that comes whole.
    pub(crate) fn get_list(&self, path: &str) -> Result<Value, ClientError> {
        let text = self.text(self.prepare(self.agent.get(self.url(path)), &[]).call())?;
        let value = self.parse_value(&text)?;
        if value.is_array() { Ok(value) } else { Err(self.unreadable("a list is expected")) }
    }

    /// Reads one thing, as the server wrote it.
    pub(crate) fn get_text(&self, path: &str, query: QueryPairs<'_>, wait: Duration) -> Result<String, ClientError> {
        let request = self.prepare(self.agent.get(self.url(path)), query);
        self.text(request.config().timeout_recv_response(Some(ANSWER_TIMEOUT + wait)).build().call())
    }

    /// Reads a list to its end, page by page.
    pub(crate) fn list(&self, path: &str, query: QueryPairs<'_>) -> Result<Vec<Value>, ClientError> {
        Ok(self.list_first(path, query, usize::MAX)?.0)
    }

    /// Reads the first `count` items of a list, page by page, and where the rest begins, if there is one.
    pub(crate) fn list_first(
        &self,
        path: &str,
        query: QueryPairs<'_>,
        count: usize,
    ) -> Result<(Vec<Value>, Option<String>), ClientError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut page_query = query.to_vec();
            page_query.push(("limit", PAGE.min(count - items.len()).to_string()));
            page_query.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &page_query)?;
            match page.get_mut("items").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => return Err(self.unreadable("there are no items in a list")),
            }
            let next = page["next_cursor"].as_str().map(str::to_owned);
            if next.is_some() && next == cursor {
                return Err(self.unreadable("a list does not go on"));
            }
            cursor = next;
            if cursor.is_none() || items.len() >= count {
                return Ok((items, cursor));
            }
        }
    }

    /// Sends a body as it is, and gives the answer as the server wrote it.
    pub(crate) fn send(&self, path: &str, content: &RawBody<'_>) -> Result<String, ClientError> {
        let request = self.prepare(self.agent.post(self.url(path)), &[]).content_type(content.media_type);
        let request = match content.key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        self.text(request.send(content.text))
    }

    /// Asks for something. `wait` is how long the server was told to wait with its answer.
    pub(crate) fn post(
        &self,
        path: &str,
        query: QueryPairs<'_>,
        body: &Value,
        wait: Duration,
    ) -> Result<Value, ClientError> {
        let request = self.prepare(self.agent.post(self.url(path)), query);
        self.read(request.config().timeout_recv_response(Some(ANSWER_TIMEOUT + wait)).build().send_json(body))
    }

    /// Changes something.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.read(self.prepare(self.agent.patch(self.url(path)), &[]).send_json(body))
    }

    /// Removes something.
    pub(crate) fn delete(&self, path: &str, query: QueryPairs<'_>) -> Result<Value, ClientError> {
        self.read(self.prepare(self.agent.delete(self.url(path)), query).call())
    }

    /// Opens a text that may go on for ever.
    pub(crate) fn stream(&self, path: &str, query: QueryPairs<'_>) -> Result<impl Read + use<>, ClientError> {
        self.open(self.prepare(self.agent.get(self.url(path)), query).call())
    }

    fn open(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<impl Read + use<>, ClientError> {
        let response = answer.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            Ok(response.into_body().into_with_config().limit(u64::MAX).reader())
        } else {
            Err(self.refusal(response))
        }
    }

    /// Opens a stream of events that goes on after the message with the id `after`.
    pub(crate) fn events(&self, path: &str, after: Option<&str>) -> Result<SseReader<impl Read + use<>>, ClientError> {
        let request = self.prepare(self.agent.get(self.url(path)), &[]);
        let response = match after {
            Some(id) => request.header("last-event-id", id).call(),
            None => request.call(),
        };
        let is_stream = |response: &Response<Body>| response.body().mime_type() == Some("text/event-stream");
        if response.as_ref().is_ok_and(|response| response.status().is_success() && !is_stream(response)) {
            return Err(self.unreadable("a stream of events is expected"));
        }
        Ok(SseReader::new(self.open(response)?))
    }

    /// Whether somebody answers at the address, be it with an error.
    pub(crate) fn answers(&self) -> bool {
        let request = self.agent.get(self.url("/health")).config().timeout_global(Some(CONNECT_TIMEOUT)).build();
        request.call().is_ok()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn prepare<B>(&self, mut request: RequestBuilder<B>, query: QueryPairs<'_>) -> RequestBuilder<B> {
        for (name, value) in query {
            request = request.query(*name, value);
        }
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    /// The JSON of an answer; null where it has no body.
    fn read(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<Value, ClientError> {
        let text = self.text(answer)?;
        if text.trim().is_empty() {
            return Ok(json!(null));
        }
        let value = self.parse_value(&text)?;
        if value.is_object() { Ok(value) } else { Err(self.unreadable("an object is expected")) }
    }

    /// The value of a text that the server wrote; what no program can read in it stays text.
    pub(crate) fn parse_value(&self, text: &str) -> Result<Value, ClientError> {
        lenient::value(text).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// The JSON of a text that the server wrote.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&self, text: &'a str) -> Result<T, ClientError> {
        serde_json::from_str(text).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// The body of an answer.
    fn text(&self, answer: Result<Response<Body>, ureq::Error>) -> Result<String, ClientError> {
        let mut response = answer.map_err(|error| self.unreachable(error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response));
        }
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string();
        text.map_err(|error| self.unreadable(&error.to_string()))
    }

    fn refusal(&self, mut response: Response<Body>) -> ClientError {
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().unwrap_or_default();
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let word = |name: &str| problem[name].as_str().filter(|word| !word.is_empty()).map(str::to_owned);
        let reason = response.status().canonical_reason().unwrap_or("no reason given");
        let detail = word("detail").or_else(|| word("title")).unwrap_or_else(|| reason.to_owned());
        ClientError::Refused { status, code: word("code"), detail }
    }

    fn unreachable(&self, error: ureq::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), source: Box::new(error) }
    }

    fn unreadable(&self, problem: &str) -> ClientError {
        ClientError::Unreadable { url: self.base.clone(), problem: problem.to_owned() }
    }
}

/// Whether a URL is one of this machine.
pub fn is_loopback(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"].iter().any(|name| host.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::fake_tests::FakeServer;
    use super::*;

    #[test]
    fn a_request_carries_key_query_and_body() {
        let server = FakeServer::start(vec![(201, r#"{"agent_id": "a"}"#)]);
        let client = ApiClient::new(&format!("{}/", server.url()), Some("s3cret".to_owned()));
        let query = [("wait", "1.5".to_owned()), ("project_id", "a b&c".to_owned())];
        let answer = client.post("/api/v1/agents/spawn", &query, &json!({"x": 1}), Duration::ZERO);
        assert_eq!(answer.expect("a good answer"), json!({"agent_id": "a"}));
        let request = server.requests().remove(0);
        assert_eq!(request.line, "POST /api/v1/agents/spawn?wait=1.5&project_id=a%20b%26c HTTP/1.1");
        assert!(request.head.contains("authorization: Bearer s3cret"), "{}", request.head);
        assert!(request.head.contains("content-type: application/json"), "{}", request.head);
        assert_eq!(serde_json::from_str::<Value>(&request.body).expect("a body"), json!({"x": 1}));
    }

    #[test]
    fn a_list_is_read_to_its_end() {
        let server = FakeServer::start(vec![
            (200, r#"{"items": [1, 2], "next_cursor": "c"}"#),
            (200, r#"{"items": [3], "next_cursor": null}"#),
        ]);
        let items = ApiClient::new(&server.url(), None).list("/x", &[("state", "idle".to_owned())]);
        assert_eq!(items.expect("two pages"), [json!(1), json!(2), json!(3)]);
        let lines: Vec<String> = server.requests().into_iter().map(|request| request.line).collect();
        let expected = ["GET /x?state=idle&limit=1000 HTTP/1.1", "GET /x?state=idle&limit=1000&cursor=c HTTP/1.1"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_is_no_answer_of_a_server_like_ours_is_told() {
        let same = r#"{"items": [1], "next_cursor": "c"}"#;
        let answers = [(200, "[]"), (200, "null"), (200, "7"), (200, "{}"), (200, same), (200, same), (200, "{}")];
        let server = FakeServer::start(answers.to_vec());
        let client = ApiClient::new(&server.url(), None);
        let is_told = |error: ClientError| matches!(error, ClientError::Unreadable { .. });
        assert!((0..3).all(|_| client.get("/x", &[]).is_err_and(is_told)), "no object");
        assert!(client.get_list("/x").is_err_and(is_told), "no list");
        assert!(client.list("/x", &[]).is_err_and(is_told), "a list without an end");
        assert!(client.events("/x", None).map(drop).is_err_and(is_told), "no stream");
    }

    #[test]
    fn the_beginning_of_a_list_is_enough() {
        let server = FakeServer::start(vec![(200, r#"{"items": [1, 2], "next_cursor": "c"}"#)]);
        let (items, rest) = ApiClient::new(&server.url(), None).list_first("/x", &[], 2).expect("a page");
        assert_eq!((items, rest.as_deref()), (vec![json!(1), json!(2)], Some("c")));
        assert_eq!(server.requests()[0].line, "GET /x?limit=2 HTTP/1.1");
    }

    #[test]
    fn a_body_goes_out_as_it_is() {
        let server = FakeServer::start(vec![(202, "{\"a\":  1.50}")]);
        let content = RawBody { media_type: "application/json", key: Some("k-1"), text: "{\"b\":  2.0}" };
        let answer = ApiClient::new(&server.url(), None).send("/x", &content);
        assert_eq!(answer.expect("an answer"), "{\"a\":  1.50}");
        let request = server.requests().remove(0);
        assert_eq!((request.line.as_str(), request.body.as_str()), ("POST /x HTTP/1.1", "{\"b\":  2.0}"));
        assert!(request.head.contains("idempotency-key: k-1"), "{}", request.head);
        assert!(request.head.contains("content-type: application/json"), "{}", request.head);
    }

    #[test]
    fn a_refusal_says_what_the_server_says() {
        let problem = r#"{"code": "pool_unknown", "title": "Not Found", "detail": "there is no pool x"}"#;
        let server = FakeServer::start(vec![(404, problem), (502, "<html>"), (200, "no json"), (204, "")]);
        let client = ApiClient::new(&server.url(), None);
        let error = client.get("/x", &[]).expect_err("404");
        assert!(matches!(&error, ClientError::Refused { status: 404, code: Some(code), .. } if code == "pool_unknown"));
        assert_eq!(error.to_string(), "there is no pool x");
        assert_eq!(client.get("/x", &[]).expect_err("502").to_string(), "Bad Gateway (HTTP 502)");
        assert!(client.get("/x", &[]).expect_err("no JSON").to_string().contains("can't be read"));
        assert_eq!(client.get("/x", &[]).expect("no body"), json!(null));
    }

    #[test]
    fn a_stream_is_read_as_it_comes() {
        let server = FakeServer::start(vec![(200, "one\ntwo\n"), (404, r#"{"detail": "gone"}"#)]);
        let client = ApiClient::new(&server.url(), None);
        let mut text = String::new();
        client.stream("/logs", &[]).expect("a stream").read_to_string(&mut text).expect("its text");
        assert_eq!(text, "one\ntwo\n");
        assert_eq!(client.stream("/logs", &[]).map(|_| ()).expect_err("404").to_string(), "gone (HTTP 404)");
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let url = FakeServer::start(Vec::new()).url();
        let client = ApiClient::new(&url, None);
        assert!(!client.answers());
        let error = client.get("/x", &[]).expect_err("nobody");
        assert!(matches!(error, ClientError::Unreachable { .. }));
        assert!(error.to_string().starts_with(&format!("no server reached at {url}: ")), "{error}");
    }

    #[test]
    fn a_proxy_is_not_asked_for_this_machine() {
        assert!(is_loopback("http://127.0.0.1:1") && is_loopback("http://[::1]:1"));
        assert!(!is_loopback("https://muster.example.org"));
    }
}
