//! Work that somebody asks for.

use axum::http::StatusCode;
use muster_domain::{Payload, Priority, Timestamp};
use muster_supervisor::{NotBefore, RequestKey, TaskRequest};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::json::{check_path_text, check_text, duration};
use crate::problem::Problem;
use crate::query::{agent_id, key_in_body, pool_name};

/// The largest input, in bytes.
pub(super) const MAX_INPUT: usize = 1024 * 1024;

/// A wish for work.
// Its fields are those of the request, so it has one more than other types.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskBody {
    /// The pool whose agents do it.
    #[schema(example = "developer_pool")]
    pool_name: String,
    /// The work: any JSON of at most 1 MiB and 128 levels of lists and objects, null included. It is kept and handed on as it is written. Only a check may do
    /// without.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Value>)]
    input: Option<Box<RawValue>>,
    /// Whether it only tests the way to an agent: its worker answers it with what it reaches, and the agent is not asked.
    #[serde(default)]
    check: bool,
    /// The project that it belongs to, 1 to 128 characters; agents of the same project are preferred.
    #[schema(min_length = 1, max_length = 128, example = "shop")]
    project_id: Option<String>,
    /// The one agent that is to do it; of this pool.
    #[schema(format = Uuid)]
    agent_id: Option<String>,
    /// How urgent it is: 0 to 9, the higher the sooner. Default 5.
    #[schema(value_type = Option<u8>, minimum = 0, maximum = 9)]
    priority: Option<Priority>,
    /// Attempts at the most, 1 to 1000. Default: the pool's.
    #[schema(minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long one attempt may take, in seconds. Default: the pool's.
    timeout: Option<f64>,
    /// It is not started before this many seconds from now. Not together with `not_before`.
    #[schema(minimum = 0)]
    delay: Option<f64>,
    /// It is not started before this moment.
    #[schema(format = DateTime)]
    not_before: Option<String>,
    /// Not started by this moment, it fails.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// On whose account it runs, 1 to 128 characters without control and format characters. Default `default`.
    #[schema(min_length = 1, max_length = 128, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    tenant: Option<String>,
    /// Makes a repeated request answer as the first did, in place of the header `Idempotency-Key`: 1 to 255 visible ASCII
    /// characters. Of a single task, not another one than the header's where both are given.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: Option<String>,
}

impl TaskBody {
    /// Takes the key that the body itself has.
    pub(super) fn take_key(&mut self) -> Result<Option<String>, Problem> {
        self.idempotency_key.take().map(key_in_body).transpose()
    }

    /// The wish in the supervisor's words.
    pub(super) fn request(self, key: Option<RequestKey>) -> Result<TaskRequest, Problem> {
        self.project_id.as_deref().map_or(Ok(()), |text| check_path_text("project_id", text))?;
        self.tenant.as_deref().map_or(Ok(()), |text| check_text("tenant", text))?;
        let not_before = self.not_before()?;
        Ok(TaskRequest {
            pool_name: pool_name(&self.pool_name)?,
            input: self.input()?,
            check: self.check,
            tenant: self.tenant,
            project_id: self.project_id,
            agent_id: self.agent_id.as_deref().map(agent_id).transpose()?,
            priority: self.priority,
            max_attempts: self.max_attempts,
            timeout: duration("timeout", self.timeout)?,
            not_before,
            expires_at: moment("expires_at", self.expires_at.as_deref())?,
            key,
        })
    }

    fn input(&self) -> Result<Payload, Problem> {
        match &self.input {
            Some(input) => payload(input),
            None if self.check => Ok(Payload::trusted("null")),
            None => Err(Problem::invalid_field("input", "input is missing")),
        }
    }

    fn not_before(&self) -> Result<Option<NotBefore>, Problem> {
        match (duration("delay", self.delay)?, moment("not_before", self.not_before.as_deref())?) {
            (Some(_), Some(_)) => {
                Err(Problem::invalid_field("delay", "delay and not_before say the same in two ways: give one of them"))
            }
            (Some(delay), None) => Ok(Some(NotBefore::Delay(delay))),
            (None, moment) => Ok(moment.map(NotBefore::Moment)),
        }
    }
}

/// Tells null from left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

fn payload(input: &RawValue) -> Result<Payload, Problem> {
    let text = input.get();
    if text.len() > MAX_INPUT {
        let detail = format!("the input has {} bytes, and may have {MAX_INPUT}", text.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail).field("input"));
    }
    // It was read as JSON a moment ago.
    let payload = Payload::trusted(text);
    match payload.depth() {
        depth if depth > Payload::MAX_DEPTH => {
            let most = Payload::MAX_DEPTH;
            let detail = format!("input: {depth} lists and objects are in one another, and {most} may be");
            Err(Problem::invalid_field("input", detail))
        }
        _ => Ok(payload),
    }
}

fn moment(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    let read = |text: &str| text.parse::<Timestamp>();
    text.map(read).transpose().map_err(|error| Problem::invalid_field(field, format!("{field}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::body::parse;
    use muster_domain::AgentId;

    fn request(text: &str) -> Result<TaskRequest, Problem> {
        parse::<TaskBody>(text.as_bytes()).and_then(|body| body.request(None))
    }

    #[test]
    fn a_body_becomes_a_request() {
        let agent = AgentId::generate();
        let text = format!(
            r#"{{"pool_name": "p", "input": {{"n": 1}}, "project_id": "shop", "agent_id": "{agent}", "priority": 9,
                 "max_attempts": 3, "timeout": 1.5, "not_before": "2026-01-31T10:00:00+01:00",
                 "expires_at": "2026-01-31T10:00:00.5Z", "tenant": "acme"}}"#
        );
        let request = request(&text).expect("a request");
        assert_eq!((request.pool_name.as_str(), request.agent_id), ("p", Some(agent)));
        assert_eq!((request.project_id.as_deref(), request.tenant.as_deref()), (Some("shop"), Some("acme")));
        assert_eq!((request.priority, request.max_attempts), (Some(Priority::HIGHEST), Some(3)));
        assert_eq!(request.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(
            request.not_before.and_then(NotBefore::moment).map(|at| at.to_string()).as_deref(),
            Some("2026-01-31T09:00:00.000Z")
        );
        assert_eq!(request.expires_at.map(|at| at.to_string()).as_deref(), Some("2026-01-31T10:00:00.500Z"));
    }

    #[test]
    fn an_input_is_kept_byte_for_byte() {
        let inputs = [
            "null",
            r#"{"b": 1.50, "a": "\u00e4\/", "b": 12345678901234567890123}"#,
            "[ 1,\r\n\t2 ]",
            r#""text""#,
            "-0.0",
        ];
        for input in inputs {
            let request = request(&format!(r#"{{"input":  {input} , "pool_name": "p"}}"#)).expect(input);
            assert_eq!(request.input.as_str(), input);
        }
        assert!(parse::<TaskBody>(b"{\"pool_name\": \"p\", \"input\": \"\xff\"}").is_err(), "it is UTF-8");
    }

    #[test]
    fn a_check_may_do_without_an_input() {
        let check = request(r#"{"pool_name": "p", "check": true}"#).expect("a check");
        assert_eq!((check.check, check.input.as_str()), (true, "null"));
        let check = request(r#"{"pool_name": "p", "check": true, "input": {"n":  1}}"#).expect("a check");
        assert_eq!((check.check, check.input.as_str()), (true, r#"{"n":  1}"#));
        assert!(!request(r#"{"pool_name": "p", "input": null}"#).expect("no check").check);
    }

    #[test]
    fn a_delay_counts_from_now() {
        let start = |fields: &str| request(&format!(r#"{{"pool_name": "p", "input": 1, {fields}}}"#));
        let delayed = start(r#""delay": 2.5"#).expect("a delay");
        assert_eq!(delayed.not_before, Some(NotBefore::Delay(Duration::from_millis(2500))));
        assert_eq!(start(r#""delay": null"#).expect("none").not_before, None);
        let both = start(r#""delay": 1, "not_before": "2026-01-31T09:00:00Z""#).expect_err("both");
        assert_eq!((both.status().as_u16(), both.code()), (422, "invalid_field"));
    }

    #[test]
    fn a_bad_body_is_refused_by_name() {
        let rows = [
            (r#""pool_name": "p""#, "invalid_field", "input is missing"),
            (r#""input": 1"#, "invalid_field", "pool_name is missing"),
            (r#""pool_name": "P P", "input": 1"#, "unknown_pool", "there is no pool P P"),
            (r#""pool_name": "p", "check": false"#, "invalid_field", "input is missing"),
            (r#""pool_name": "p", "input": 1, "check": 1"#, "invalid_field", "check: true or false"),
            (r#""pool_name": "p", "input": 1, "input": 2"#, "invalid_field", "input is there twice"),
            (r#""pool_name": "p", "input": 1, "agent_id": "a""#, "unknown_agent", "there is no agent a"),
            (r#""pool_name": "p", "input": 1, "priority": 10"#, "invalid_field", "priority: a priority is a number"),
            (r#""pool_name": "p", "input": 1, "priority": 2.5"#, "invalid_field", "priority: a whole number"),
            (r#""pool_name": "p", "input": 1, "max_attempts": -1"#, "invalid_field", "max_attempts: a whole number"),
            (r#""pool_name": "p", "input": 1, "timeout": -1"#, "invalid_field", "timeout is 0 to"),
            (r#""pool_name": "p", "input": 1, "delay": 1e10"#, "invalid_field", "delay is 0 to"),
            (r#""pool_name": "p", "input": 1, "not_before": "soon""#, "invalid_field", "not_before: a moment"),
            (r#""pool_name": "p", "input": 1, "not_before": "2026-01-31T09:00:00""#, "invalid_field", "not_before: a"),
            (r#""pool_name": "p", "input": 1, "expires_at": 5"#, "invalid_field", "expires_at: a text is expected"),
            (r#""pool_name": "p", "input": 1, "tenant": "a\nb""#, "invalid_field", "tenant may not have control"),
            (r#""pool_name": "p", "input": 1, "project_id": "\u0000""#, "invalid_field", "project_id may not have"),
            (r#""pool_name": "p", "input": {"a": [1, }"#, "invalid_json", "the body is no JSON"),
        ];
        for (fields, code, words) in rows {
            let problem = request(&format!("{{{fields}}}")).expect_err(fields);
            assert_eq!(problem.code(), code, "{fields}: {}", problem.detail());
            assert!(problem.detail().contains(words), "{fields}: {}", problem.detail());
        }
    }

    #[test]
    fn an_input_is_not_too_deep() {
        let text =
            |depth: usize| format!(r#"{{"pool_name": "p", "input": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert_eq!(request(&text(128)).expect("just so").input.depth(), 128);
        let problem = request(&text(129)).expect_err("too deep");
        assert_eq!((problem.status().as_u16(), problem.code()), (422, "invalid_field"));
        assert_eq!(problem.detail(), "input: 129 lists and objects are in one another, and 128 may be");
    }

    #[test]
    fn an_input_has_a_bound() {
        let text = |length: usize| format!(r#"{{"pool_name": "p", "input": "{}"}}"#, "x".repeat(length - 2));
        assert_eq!(request(&text(MAX_INPUT)).expect("just so").input.len(), MAX_INPUT);
        let problem = request(&text(MAX_INPUT + 1)).expect_err("too large");
        assert_eq!((problem.status().as_u16(), problem.code()), (413, "body_too_large"));
        assert_eq!(problem.detail(), "the input has 1048577 bytes, and may have 1048576");
    }

    #[test]
    fn a_key_in_the_body_is_checked() {
        let mut body: TaskBody =
            parse(br#"{"pool_name": "p", "input": 1, "idempotency_key": "order-7"}"#).expect("a body");
        assert_eq!(body.take_key().expect("a key").as_deref(), Some("order-7"));
        assert_eq!(body.take_key().expect("no more"), None);
        let mut body: TaskBody = parse(br#"{"pool_name": "p", "input": 1, "idempotency_key": ""}"#).expect("a body");
        assert_eq!(body.take_key().expect_err("empty").code(), "invalid_field");
    }
}
