//! What serde says of a value that does not fit, in plain words. Its own speak of Rust's types (`invalid type: integer
//! 5, expected a string`), and readers of an error of their file or request know none of them.

/// The usual messages of serde in plain words; any other is handed back as it is. What names the place is kept: a field,
/// and the ` at line 1 column 7` behind a message about JSON.
pub fn plain(message: &str) -> String {
    let (words, place) = match message.rfind(" at line ") {
        Some(at) => message.split_at(at),
        None => (message, ""),
    };
    format!("{}{place}", translated(words).unwrap_or_else(|| words.to_owned()))
}

fn translated(words: &str) -> Option<String> {
    if let Some(rest) = words.strip_prefix("invalid type: ").or_else(|| words.strip_prefix("invalid value: ")) {
        let (found, expected) = rest.rsplit_once(", expected ")?;
        return Some(format!("{} is expected, not {}", wanted(expected), given(found)));
    }
    if let Some(field) = words.strip_prefix("missing field ") {
        return Some(format!("{} is missing", bare(field)));
    }
    if let Some(field) = words.strip_prefix("duplicate field ") {
        return Some(format!("{} is there twice", bare(field)));
    }
    if let Some(rest) = words.strip_prefix("unknown field ") {
        let (field, known) = rest.split_once(", ")?;
        return Some(format!("there is no field {}{}", bare(field), choice("; there are: ", known)));
    }
    if let Some(rest) = words.strip_prefix("unknown variant ") {
        let (found, known) = rest.split_once(", ")?;
        return Some(format!("{:?} is not known{}", bare(found), choice("; it is one of: ", known)));
    }
    match words {
        "invalid digit found in string" | "number too large to fit in target type" => {
            Some("a whole number is expected".to_owned())
        }
        "invalid float literal" => Some("a number is expected".to_owned()),
        "provided string was not `true` or `false`" => Some("true or false is expected".to_owned()),
        "cannot parse integer from empty string" | "cannot parse float from empty string" => {
            Some("a number is expected, not an empty text".to_owned())
        }
        _ => None,
    }
}

/// A type of Rust, as a reader would call what is written for it.
fn wanted(expected: &str) -> &str {
    match expected {
        "a string" | "a borrowed string" => "a text",
        "path string" => "a path",
        "a boolean" => "true or false",
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a sequence" => "a list",
        "a map" => "a table of names and values",
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => "a table of fields",
        other if other.starts_with("enum ") || other.starts_with("string or map") => "a word",
        other => other,
    }
}

/// What was found there: the kind of it, and the value where serde says it.
fn given(found: &str) -> String {
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        // Of one that is too large for most of its types serde says which one it is in: "`9` as i128".
        Some(("integer", number)) => format!("the number {}", number.split('`').nth(1).unwrap_or(number)),
        Some(("boolean", flag)) => bare(flag).to_owned(),
        Some(("floating", rest)) => format!("the number {}", bare(rest.strip_prefix("point ").unwrap_or(rest))),
        _ => match found {
            "map" => "a table".to_owned(),
            "sequence" => "a list".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn bare(quoted: &str) -> &str {
    quoted.trim_matches('`')
}

/// What serde says about that which is known: "expected one of `a`, `b`", "expected `a` or `b`", "there are no fields".
fn choice(lead: &str, known: &str) -> String {
    let names: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    if names.is_empty() { String::new() } else { format!("{lead}{}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only its errors are of interest")]
    struct Sample {
        name: String,
        #[serde(default)]
        count: u32,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        on: bool,
        #[serde(default)]
        items: Vec<String>,
        #[serde(default)]
        names: std::collections::BTreeMap<String, String>,
        kind: Option<ExpectedKind>,
        path: Option<std::path::PathBuf>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum ExpectedKind {
        First,
        Second,
    }

    /// The real messages of serde: where it changes its words, this fails.
    #[test]
    fn the_usual_messages_are_plain() {
        let rows = [
            (r#"{"name": 5}"#, "a text is expected, not the number 5"),
            (r#"{"name": null}"#, "a text is expected, not null"),
            (r#"{"name": ["a"]}"#, "a text is expected, not a list"),
            (r#"{"name": "a", "count": "2"}"#, r#"a whole number from 0 to 4294967295 is expected, not the text "2""#),
            (r#"{"name": "a", "count": -1}"#, "a whole number from 0 to 4294967295 is expected, not the number -1"),
            (r#"{"name": "a", "count": 1.5}"#, "a whole number from 0 to 4294967295 is expected, not the number 1.5"),
            (r#"{"name": "a", "share": true}"#, "a number is expected, not true"),
            (r#"{"name": "a", "on": "yes, expected"}"#, r#"true or false is expected, not the text "yes, expected""#),
            (r#"{"name": "a", "items": "x"}"#, r#"a list is expected, not the text "x""#),
            (r#"{"name": "a", "names": 1}"#, "a table of names and values is expected, not the number 1"),
            (r#"{"name": "a", "path": 1}"#, "a path is expected, not the number 1"),
            (r#"{"name": "a", "kind": "third"}"#, r#""third" is not known; it is one of: first, second"#),
            (r#"{"count": 1}"#, "name is missing"),
            (r#"{"name": "a", "name": "b"}"#, "name is there twice"),
            (r#"{"nam": "a"}"#, "there is no field nam; there are: name, count, share, on, items, names, kind, path"),
            ("7", "a table of fields is expected, not the number 7"),
        ];
        for (json, expected) in rows {
            let said = serde_json::from_str::<Sample>(json).expect_err(json).to_string();
            let words = plain(&said);
            let (words, place) = words.split_once(" at line 1 column ").expect("a place");
            assert_eq!(words, expected, "{said}");
            assert!(place.parse::<u32>().is_ok(), "{said}");
        }
    }

    #[test]
    fn words_that_are_no_type_of_rust_are_kept() {
        for words in ["a pool name has no spaces", "max_agents must be 1 to 1000", "invalid type: odd"] {
            assert_eq!(plain(words), words);
        }
        assert_eq!(plain("invalid digit found in string"), "a whole number is expected");
        assert_eq!(plain("provided string was not `true` or `false`"), "true or false is expected");
        assert_eq!(plain("invalid float literal"), "a number is expected");
        let huge = "invalid type: integer `99999999999999999999` as i128, expected u32";
        assert_eq!(plain(huge), "a whole number from 0 to 4294967295 is expected, not the number 99999999999999999999");
    }
}
