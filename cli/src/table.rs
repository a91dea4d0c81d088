//! Tables and figures for people.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets};
use muster_domain::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::terminal::printable;

/// An aligned table without lines, with a head. Columns whose head is in `right` are flushed right.
pub(super) fn table(head: &[&str], right: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)).collect::<Vec<_>>());
    }
    for (column, name) in table.column_iter_mut().zip(head) {
        column.set_padding((0, 2));
        if right.contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// A field as text; `-` where it is missing.
pub(super) fn field(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// How long ago a field's moment was, as in `5m`; `-` where it is missing.
pub(super) fn age(value: &Value, name: &str, now: Timestamp) -> String {
    let moment = value[name].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    moment.map_or_else(|| "-".to_owned(), |at| duration((now.as_millis() - at.as_millis()).max(0) as f64 / 1000.0))
}

/// Seconds in the largest unit that fits.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0}s"),
        s if s < 7_200.0 => format!("{:.0}m", (s / 60.0).floor()),
        s if s < 172_800.0 => format!("{:.0}h", (s / 3_600.0).floor()),
        s => format!("{:.0}d", (s / 86_400.0).floor()),
    }
}

/// A short time with the digits that matter.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0}ms", s * 1_000.0),
        s if s < 10.0 => format!("{s:.1}s"),
        s => duration(s),
    }
}

/// A field of seconds as a short time; `-` where it is missing.
pub(super) fn span_field(value: &Value, name: &str) -> String {
    value[name].as_f64().map_or_else(|| "-".to_owned(), span)
}

/// Bytes in the unit that people read.
pub(super) fn bytes(value: &Value, name: &str) -> String {
    let Some(bytes) = value[name].as_f64() else { return "-".to_owned() };
    match bytes / 1_048_576.0 {
        mebibytes if mebibytes < 10.0 => format!("{mebibytes:.1} MiB"),
        mebibytes if mebibytes < 1024.0 => format!("{mebibytes:.0} MiB"),
        mebibytes => format!("{:.1} GiB", mebibytes / 1024.0),
    }
}

/// A share of 0 to 1 in percent.
pub(super) fn percent(value: &Value, name: &str) -> String {
    value[name].as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", share * 100.0))
}

/// An object that the server wrote, for programs: what its fields hold stays as it was written, so that no number or name
/// of somebody's work is changed on the way. A text that is no object is left alone.
pub(super) fn faithful(text: &str) -> String {
    let fields = serde_json::from_str::<BTreeMap<String, &RawValue>>(text);
    fields.and_then(|fields| serde_json::to_string_pretty(&fields)).unwrap_or_else(|_| text.to_owned()) + "\n"
}

/// JSON for programs.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_aligned_and_ends_without_spaces() {
        let rows = vec![
            vec!["a".to_owned(), "7".to_owned(), "x".to_owned()],
            vec!["long name".to_owned(), "12".to_owned(), "y\u{1b}[2Jz\n".to_owned()],
        ];
        let expected = "NAME       COUNT  END\na              7  x\nlong name     12  y\u{fffd}[2Jz\u{fffd}\n";
        assert_eq!(table(&["NAME", "COUNT", "END"], &["COUNT"], rows), expected);
    }

    #[test]
    fn what_is_somebodys_is_not_changed() {
        let text = r#"{"state":"succeeded","output":{"z": 1.50, "a": 12345678901234567890123}}"#;
        let expected =
            "{\n  \"output\": {\"z\": 1.50, \"a\": 12345678901234567890123},\n  \"state\": \"succeeded\"\n}\n";
        assert_eq!(faithful(text), expected);
        assert_eq!(faithful("[1]"), "[1]\n");
    }

    #[test]
    fn figures_are_short() {
        let value =
            json!({"at": "2025-11-21T03:20:00Z", "rss": 12_582_912, "big": 3_221_225_472_u64, "u": 0.754, "e": ""});
        let now: Timestamp = "2025-11-21T03:29:59Z".parse().expect("a moment");
        assert_eq!(age(&value, "at", now), "9m");
        assert_eq!((age(&value, "none", now), field(&value, "e")), ("-".to_owned(), "-".to_owned()));
        assert_eq!((bytes(&value, "rss"), bytes(&value, "big")), ("12 MiB".to_owned(), "3.0 GiB".to_owned()));
        assert_eq!(percent(&value, "u"), "75%");
        let spans = [0.0004, 0.0123, 0.999, 1.0, 9.94, 10.0, 125.0].map(span);
        assert_eq!(spans, ["0ms", "12ms", "999ms", "1.0s", "9.9s", "10s", "2m"]);
        assert_eq!((span_field(&value, "u"), span_field(&value, "none")), ("754ms".to_owned(), "-".to_owned()));
        let durations = [0.4, 119.0, 120.0, 7_199.0, 7_200.0, 172_800.0].map(duration);
        assert_eq!(durations, ["0s", "119s", "2m", "119m", "2h", "2d"]);
    }
}
