//! Reads JSON that the server carries for others. Half of a pair of surrogates, a number beyond those of a machine and lists
//! a hundred deep are JSON, and no values of ours: what is one of these is kept as the text that it is.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// Levels that are looked into for what can't be read. The server's own objects have fewer.
const LEVELS: usize = 16;

/// A value; what is none of ours in it is its text.
pub(super) fn value(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|_| Ok(part(serde_json::from_str(text)?, LEVELS)))
}

fn part(raw: &RawValue, levels: usize) -> Value {
    let text = raw.get();
    let kept = || Value::from(text);
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    if levels == 0 {
        return kept();
    }
    if text.starts_with('{') {
        let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
        fields.map_or_else(
            |_| kept(),
            |fields| fields.into_iter().map(|(name, raw)| (name, part(raw, levels - 1))).collect(),
        )
    } else {
        let items = serde_json::from_str::<Vec<&RawValue>>(text);
        items.map_or_else(|_| kept(), |items| items.into_iter().map(|raw| part(raw, levels - 1)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_no_value_of_ours_stays_its_text() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for odd in [r#""\ud83d x""#, "1e400", &deep] {
            let text = format!(r#"{{"items": [{{"task_id": "t", "input": {odd}, "n": 1.5}}]}}"#);
            let read = value(&text).expect("JSON");
            let item = &read["items"][0];
            assert_eq!((&item["task_id"], &item["n"]), (&json!("t"), &json!(1.5)), "{odd}");
            assert!(item["input"].to_string().len() >= odd.len().min(400), "{odd}: {item}");
        }
        assert_eq!(value(r#"{"input": 1e400}"#).expect("JSON"), json!({"input": "1e400"}));
        assert!(value("{").is_err() && value("no").is_err());
    }
}
