//! What a program may say on its stdout that is no log output.

use serde::Deserialize;

/// Whether a line is `{"type":"ready"}`. Objects with other types are log output here.
pub(super) fn is_ready(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
    }
    // Looked at first, since nearly every line of a program is text.
    line.trim_ascii_start().first() == Some(&b'{')
        && serde_json::from_slice::<Said<'_>>(line).is_ok_and(|said| said.kind == "ready")
}

/// What a program is told on its stdin before it is asked to end by a signal.
pub(super) const STOP: &[u8] = b"{\"type\":\"stop\"}\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_of_type_ready_is_ready() {
        for line in [r#"{"type":"ready"}"#, r#"  { "version": 2, "type": "ready" } "#, "{\"type\":\"ready\"}\r"] {
            assert!(is_ready(line.as_bytes()), "{line}");
        }
        for line in ["", "ready", r#""ready""#, r#"{"type":"progress"}"#, r#"{"type":7}"#, "{", r#"[{"type":"ready"}]"#]
        {
            assert!(!is_ready(line.as_bytes()), "{line}");
        }
        assert!(!is_ready(b"{\"type\":\"ready\xff\"}"));
    }
}
