//! JSON that Muster carries for others.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// JSON text: a task's input, an agent's output. It was found to be JSON where it came in, and nobody on the way looks into
/// it again: it travels between processes as a string that holds the text, and is stored as that text. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Arc<str>);

impl Payload {
    /// Takes text that is JSON.
    ///
    /// # Errors
    /// Where it is not, with the place at which it stops being so.
    pub fn parse(text: &str) -> Result<Self, String> {
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes text that was found to be JSON before, e.g. what the store holds.
    pub fn trusted(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text as a JSON string: how output that is no JSON becomes JSON.
    pub fn quoted(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string().into())
    }

    /// Whether one of its strings, or of the names in its objects, has this text in it.
    pub fn mentions(&self, text: &str) -> bool {
        let mut rest = &*self.0;
        while let Some(begin) = rest.find('"') {
            let string = &rest[begin..];
            let end = end_of_string(string);
            // Half of a pair of surrogates is JSON and no text: there it is compared as it is written.
            let found = match serde_json::from_str::<String>(&string[..end]) {
                Ok(string) => string.contains(text),
                Err(_) => string[..end].contains(text),
            };
            if found {
                return true;
            }
            rest = &string[end..];
        }
        false
    }

    /// The most lists and objects that may be in one another in what is taken in: what many readers of JSON can read.
    pub const MAX_DEPTH: usize = 128;

    /// How many lists and objects are in one another at the most.
    pub fn depth(&self) -> usize {
        let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
        let bytes = self.0.as_bytes();
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' => at += end_of_string(&self.0[at..]) - 1,
                _ => {}
            }
            deepest = deepest.max(depth);
            at += 1;
        }
        deepest
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all, which is no JSON.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where the JSON string ends that this text begins with.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

impl From<Payload> for Arc<str> {
    fn from(payload: Payload) -> Self {
        payload.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It is somebody's data, and may be long: a log shows how much there is of it.
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        for (text, depth) in [("1", 0), ("[]", 1), (r#"{"a": [1, [2]], "b": {}}"#, 3), (r#"["[[[\"[[", []]"#, 2)] {
            assert_eq!(Payload::parse(text).expect(text).depth(), depth, "{text}");
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(Payload::parse(&deep).expect("JSON").depth(), 100_000);
    }

    #[test]
    fn json_is_carried_as_it_is() {
        let text = r#" {"b": 1.50, "a": "\u00e4", "b": 2} "#;
        let payload = Payload::parse(text).expect("JSON");
        assert_eq!(payload.as_str(), text);
        let wire = serde_json::to_string(&payload).expect("a string");
        assert_eq!(serde_json::from_str::<Payload>(&wire).expect("its own output"), payload);
    }

    #[test]
    fn what_is_no_json_is_refused_or_quoted() {
        for text in ["", "{", "hello", "1 2", "{'a': 1}"] {
            assert!(Payload::parse(text).is_err(), "{text:?}");
            assert!(Payload::parse(Payload::quoted(text).as_str()).is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_text_is_found_in_decoded_strings_and_only_there() {
        let phrase = "say \"hü\"";
        for found in [
            r#""say \"hü\"""#,
            r#"{"a": [1, {"b": "please \u0073ay \"h\u00fc\" now"}]}"#,
            r#"{"say \"hü\"": 1}"#,
            r#"["\\", "say \"hü\""]"#,
        ] {
            assert!(Payload::parse(found).expect("JSON").mentions(phrase), "{found}");
        }
        for other in ["null", "7", r#""say \\\"hü\\\"""#, r#"["say ", "\"hü\""]"#, r#""\"""#, r#""say \"hu\"""#] {
            assert!(!Payload::parse(other).expect("JSON").mentions(phrase), "{other}");
        }
        assert!(!Payload::parse("[true, 12]").expect("JSON").mentions("true"), "no string");
        assert!(Payload::parse(r#"["\ud800 here"]"#).expect("JSON").mentions("here"), "half of a pair");
        let deep = format!("{}\"deep\"{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(Payload::parse(&deep).expect("JSON").mentions("deep"));
    }

    #[test]
    fn a_log_does_not_show_it() {
        assert_eq!(format!("{:?}", Payload::quoted("secret")), "Payload(8 bytes)");
    }
}
