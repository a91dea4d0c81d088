//! Bodies, read strictly: one JSON value of the right shape within the bound, and nothing after it.

mod read;

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use muster_domain::{Tables, plain};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use sha2::{Digest, Sha256};

use crate::problem::Problem;
use crate::state::ApiState;
pub(crate) use read::{BodyLimit, ReadBody, read};

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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

impl<T: DeserializeOwned> FromRequest<Arc<ApiState>> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let body = read(request, &BodyLimit::usual(state), state.budget()).await?;
        Ok(Self { value: parse(&body.bytes)?, hash: Sha256::digest(&body.bytes).into() })
    }
}

/// A body that may be left out.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<Arc<ApiState>> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let body = read(request, &BodyLimit::usual(state), state.budget()).await?;
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
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Tables(&mut deserializer)).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| explain::<T>(bytes, &error))
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
    match serde_path_to_error::deserialize::<_, T>(Tables(&mut deserializer)) {
        Err(error) => misfit(&error),
        Ok(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", plain(&error.to_string())),
    }
}

/// One item of a list that was read as JSON before.
pub(crate) fn parse_item<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Problem> {
    if !value.is_object() {
        return Err(no_object());
    }
    serde_path_to_error::deserialize(Tables(value)).map_err(|error| misfit(&error))
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct OuterBody {
        name: String,
        #[serde(default)]
        bounds: InnerBody,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct InnerBody {
        max_agents: u32,
    }

    fn refusal(text: &str) -> (u16, &'static str, String) {
        let problem = parse::<OuterBody>(text.as_bytes()).expect_err(text);
        (problem.status().as_u16(), problem.code(), problem.detail().to_owned())
    }

    #[test]
    fn what_is_no_json_is_400_with_its_position() {
        for text in ["", "{", "{\"name\": \"a\",}", "name=a", "{\"name\": \"a\"} {}", "{\"name\": \"a\"}x", "\u{0}"] {
            let (status, code, _) = refusal(text);
            assert_eq!((status, code), (400, "invalid_json"), "{text:?}");
        }
        assert!(refusal("{\"name\": \"a\"} x").2.contains("trailing characters at line 1 column 15"));
        assert!(parse::<OuterBody>(b"{\"name\": \"\xff\"}").is_err(), "a string is UTF-8");
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
            let problem =
                serde_json::to_value(parse::<OuterBody>(text.as_bytes()).expect_err(text)).expect("an object");
            assert_eq!(problem["field"].as_str(), field, "{text}: {problem}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        let list = br#" ["a", {"max_agents": 1}]"#;
        assert!(serde_json::from_slice::<OuterBody>(list).is_ok(), "or there is nothing to refuse");
        assert_eq!(parse::<OuterBody>(list).expect_err("a list").status().as_u16(), 422);
        for short in ["[]", "[1]", "7"] {
            let (status, code, detail) = refusal(short);
            assert_eq!(
                (status, code, detail.as_str()),
                (422, "invalid_field", "this must be a JSON object"),
                "{short}"
            );
        }
        for inner in ["[1]", "[]"] {
            let (status, code, detail) = refusal(&format!(r#"{{"name": "a", "bounds": {inner}}}"#));
            assert_eq!((status, code), (422, "invalid_field"), "{inner}");
            assert!(detail.starts_with("bounds: a table of fields is expected, not a list"), "{detail}");
        }
        assert!(parse_item::<OuterBody>(serde_json::json!(["a", {"max_agents": 1}])).is_err());
        assert!(parse_item::<OuterBody>(serde_json::json!({"name": "a", "bounds": [1]})).is_err());
        assert!(parse::<OuterBody>(b"\n {\"name\": \"a\"} ").is_ok());
        assert!(parse::<OuterBody>("\u{feff}{\"name\": \"a\"}".as_bytes()).is_ok(), "a byte order mark says nothing");
    }

    #[test]
    fn an_item_names_its_field_too() {
        let item = serde_json::json!({"name": "a", "bounds": {"max_agents": true}});
        let problem = parse_item::<OuterBody>(item).expect_err("a wrong type");
        assert!(problem.detail().starts_with("bounds.max_agents: a whole number"), "{}", problem.detail());
    }

    fn state() -> Arc<ApiState> {
        ApiState::new(crate::config::ApiConfig::new(([127, 0, 0, 1], 0).into(), "0"), None)
    }

    #[tokio::test]
    async fn a_body_that_may_be_left_out_is_read_as_strictly() {
        let read = async |text: &'static str| {
            let body = OptionalJson::<InnerBody>::from_request(Request::new(Body::from(text)), &state()).await;
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
            let body = StrictJson::<InnerBody>::from_request(Request::new(Body::from(text)), &state()).await;
            body.map(|body| body.hash()).expect("a body")
        };
        assert_eq!(hash(r#"{"max_agents": 3}"#).await, hash(r#"{"max_agents": 3}"#).await);
        assert_ne!(hash(r#"{"max_agents": 3}"#).await, hash(r#"{"max_agents": 4}"#).await);
    }
}
