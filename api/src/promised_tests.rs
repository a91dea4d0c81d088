//! What is promised of the API, as it is committed: `docs/openapi.json`, and `docs/api.md` with each path in a line. `make docs`
//! writes both, so that a path, a field or a status that is changed is seen in the change.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use muster_domain::PoolConfig;
use muster_domain::lengths::{MAX_PROJECT_ID, MAX_ROLE_TYPE, MAX_TENANT_NAME};
use muster_domain::schema::Described;
use serde_json::{Value, json};

use crate::openapi::{COMMON, DOCUMENT, WITH_BODY};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

const HEAD: &str = "# The paths of the API

Written by `make docs` from the routes; [openapi.json](openapi.json) has every field, and `GET /api/docs` shows it as a page. What \
any request may be answered with (401, 403, 503 and the like) is left out here.
";

fn document() -> Value {
    serde_json::from_str(&DOCUMENT.json).expect("JSON")
}

fn pretty() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("JSON");
    text.push('\n');
    text
}

/// The table of paths, by tag.
fn table(document: &Value) -> String {
    let mut tags: Vec<(String, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let tag = operation["tags"][0].as_str().expect("a tag");
            let place = tags.iter().position(|(name, _)| name == tag).unwrap_or_else(|| {
                tags.push((tag.to_owned(), String::new()));
                tags.len() - 1
            });
            let name = format!("{} {path}", method.to_uppercase());
            let cells = [words(operation), takes(operation), answers(operation)].map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(tags[place].1, "| `{name}` | {} |", cells.join(" | "));
        }
    }
    let mut text = HEAD.to_owned();
    for (tag, rows) in tags {
        let _ = write!(text, "\n## {tag}\n\n| path | what it does | takes | answers |\n|---|---|---|---|\n{rows}");
    }
    text
}

fn words(operation: &Value) -> String {
    let parts = ["summary", "description"].map(|name| operation[name].as_str().unwrap_or_default().trim());
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(". ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Its parameters but for those of the path, and its body.
fn takes(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten().filter_map(|parameter| {
        let name = parameter["name"].as_str().expect("a name");
        match parameter["in"].as_str() {
            Some("query") => Some(format!("`?{name}=`")),
            Some("header") => Some(format!("`{name}:`")),
            _ => None,
        }
    });
    let contents = operation["requestBody"]["content"].as_object().into_iter().flatten();
    let bodies = contents.map(|(kind, content)| match named(&content["schema"]) {
        Some(name) => format!("`{name}`"),
        None => format!("`{kind}`"),
    });
    parameters.chain(bodies).collect::<Vec<_>>().join(", ")
}

/// The type that a schema is, or is a list of, or may be.
fn named(schema: &Value) -> Option<String> {
    if let Some(target) = schema["$ref"].as_str() {
        return target.rsplit('/').next().map(str::to_owned);
    }
    if let Some(item) = schema.get("items").and_then(named) {
        return Some(format!("[{item}]"));
    }
    schema["oneOf"].as_array().into_iter().flatten().find_map(named)
}

/// What it says of its own answers; what holds for all requests is told once.
fn answers(operation: &Value) -> String {
    let told = operation["responses"].as_object().expect("responses").iter().filter(|(status, response)| {
        let is_common = |entry: &(&str, &str)| entry.0 == *status && response["description"] == entry.1;
        !COMMON.iter().chain(&WITH_BODY).any(is_common)
    });
    let row = |(status, response): (&String, &Value)| {
        let words = response["description"].as_str().unwrap_or_default();
        let contents = response["content"].as_object().into_iter().flatten();
        let body = contents.filter_map(|(_, content)| named(&content["schema"])).find(|name| name != "Problem");
        match body {
            Some(name) => format!("{status} `{name}`: {words}"),
            None => format!("{status}: {words}"),
        }
    };
    told.map(row).collect::<Vec<_>>().join("<br>")
}

#[test]
fn the_api_is_as_promised() {
    for (name, text) in [("openapi.json", pretty()), ("api.md", table(&document()))] {
        let path = Path::new(FOLDER).join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, text).expect("the document is written");
            continue;
        }
        let committed = std::fs::read_to_string(path).expect("what was promised");
        let line = committed.lines().zip(text.lines()).position(|(then, now)| then != now);
        assert!(committed == text, "docs/{name} differs from line {:?} on: run `make docs`", line.map(|line| line + 1));
    }
}

/// The upper bounds in a document, each with the field or parameter that has it.
fn bounds(value: &Value, found: &mut BTreeSet<(String, u64)>) {
    let mut note = |name: &str, schema: &Value| {
        let most = ["maxLength", "maximum"].iter().filter_map(|bound| schema[*bound].as_u64());
        found.extend(most.map(|most| (name.to_owned(), most)));
    };
    if let Some(name) = value["name"].as_str() {
        note(name, &value["schema"]);
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        note(name, inner);
    }
    let inner = value.as_object().into_iter().flat_map(|fields| fields.values());
    inner.chain(value.as_array().into_iter().flatten()).for_each(|inner| bounds(inner, found));
}

/// An attribute takes no constant, so these bounds are written again with each field that has them.
#[test]
fn a_bound_that_is_written_again_is_the_same() {
    let mut found = BTreeSet::new();
    bounds(&document(), &mut found);
    let attempts = PoolConfig::settings().iter().find(|setting| setting.key == "max_attempts").expect("a setting");
    let attempts = attempts.bounds.maximum.expect("a bound") as u64;
    let [tenant, project, role] = [MAX_TENANT_NAME, MAX_PROJECT_ID, MAX_ROLE_TYPE].map(|most| most as u64);
    for (name, most) in [("tenant", tenant), ("project_id", project), ("role_type", role), ("max_attempts", attempts)] {
        let written: Vec<u64> = found.iter().filter(|(known, _)| known == name).map(|(_, most)| *most).collect();
        assert_eq!(written, [most], "{name}");
    }
}

#[test]
fn a_row_says_what_a_path_takes_and_answers() {
    let operation = json!({
        "tags": ["tasks"], "summary": "Does it", "description": "At\nonce.",
        "parameters": [
            {"name": "task_id", "in": "path"}, {"name": "wait", "in": "query"}, {"name": "Idempotency-Key", "in": "header"},
        ],
        "requestBody": {"content": {"application/json": {"schema": {"oneOf": [{"type": "null"}, {"$ref": "#/x/Wish"}]}}}},
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": {"items": {"$ref": "#/x/Deed"}}}}},
            "401": {"description": COMMON[1].1},
        },
    });
    let table = table(&json!({"paths": {"/x": {"post": operation}}}));
    let head = "\n## tasks\n\n| path | what it does | takes | answers |\n|---|---|---|---|\n";
    let row = "| `POST /x` | Does it. At once. | `?wait=`, `Idempotency-Key:`, `Wish` | 200 `[Deed]`: Done |";
    assert!(table.ends_with(&format!("{head}{row}\n")), "{table}");
}
