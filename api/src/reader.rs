//! The page that shows the OpenAPI document: one file without scripts, fonts or anything from elsewhere, so that it
//! works where there is no network.

use std::fmt::Write;

use serde_json::{Map, Value};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1c2430;background:#fff}code,pre{font:14px/1.45 ui-monospace,monospace}h2{margin-top:2.5rem}\
details{border:1px solid #d5dbe3;border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}summary{cursor:pointer}\
table{border-collapse:collapse;margin:.5rem 0;width:100%}td,th{border-top:1px solid #e3e8ee;padding:.25rem .6rem;\
text-align:left;vertical-align:top}.m{display:inline-block;width:4.5rem;font-weight:600;color:#0a5ba8}\
@media(prefers-color-scheme:dark){body{background:#14181d;color:#dde3ea}details,td,th{border-color:#333c47}\
.m{color:#7ab8f5}a{color:#7ab8f5}}";

/// The page for a document.
pub(crate) fn render(document: &Value) -> String {
    let info = &document["info"];
    let mut page = format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport \
         content=\"width=device-width,initial-scale=1\"><title>{title} API</title><style>{STYLE}</style></head><body>\
         <h1>{title} API <small>{version}</small></h1><p>{words}</p>\
         <p><a href=openapi.json>openapi.json</a> is the same for programs.</p>",
        title = text(&info["title"]),
        version = text(&info["version"]),
        words = text(&info["description"]),
    );
    for tag in tags(document) {
        let _ = write!(page, "<h2>{}</h2>", escape(&tag));
        for (path, method, operation) in operations(document).filter(|(.., operation)| operation["tags"][0] == tag) {
            write_operation(&mut page, path, method, operation);
        }
    }
    page.push_str("<h2>schemas</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(page, "<details id=\"{0}\"><summary><code>{0}</code></summary>", escape(name));
        write_schema(&mut page, schema);
        page.push_str("</details>");
    }
    page.push_str("</body></html>");
    page
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    entries(&document["paths"])
        .flat_map(|(path, item)| entries(item).map(move |(method, operation)| (path, method, operation)))
}

/// The tags in the order in which the paths bring them up.
fn tags(document: &Value) -> Vec<String> {
    let mut tags = Vec::new();
    for (.., operation) in operations(document) {
        let tag = operation["tags"][0].as_str().unwrap_or_default().to_owned();
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn write_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        page,
        "<details><summary><span class=m>{}</span><code>{}</code> {}</summary><p>{}</p>",
        escape(&method.to_uppercase()),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    );
    if items(&operation["parameters"]).next().is_some() {
        page.push_str("<table><tr><th>parameter<th>in<th>type<th>");
        for parameter in items(&operation["parameters"]) {
            write_row(
                page,
                [
                    code(&text(&parameter["name"])),
                    text(&parameter["in"]),
                    type_of(&parameter["schema"]),
                    text(&parameter["description"]),
                ],
            );
        }
        page.push_str("</table>");
    }
    for (_, content) in entries(&operation["requestBody"]["content"]) {
        let _ = write!(page, "<p>body: {}</p>", type_of(&content["schema"]));
    }
    page.push_str("<table><tr><th>status<th>answer<th>");
    for (status, response) in entries(&operation["responses"]) {
        let types: Vec<String> =
            entries(&response["content"]).map(|(_, content)| type_of(&content["schema"])).collect();
        write_row(page, [code(&escape(status)), types.join(" "), text(&response["description"])]);
    }
    page.push_str("</table></details>");
}

fn write_schema(page: &mut String, schema: &Value) {
    let _ = write!(page, "<p>{}</p>", text(&schema["description"]));
    let parts: Vec<&Value> = items(&schema["allOf"]).chain([schema]).collect();
    page.push_str("<table><tr><th>field<th>type<th>");
    for part in parts {
        let required: Vec<&Value> = items(&part["required"]).collect();
        for (name, field) in entries(&part["properties"]) {
            let optional = if required.contains(&&Value::from(name.as_str())) { "" } else { " (optional)" };
            let kind = format!("{}{optional}", type_of(field));
            write_row(page, [code(&escape(name)), kind, text(&field["description"])]);
        }
        if part["$ref"].is_string() {
            write_row(page, [String::new(), type_of(part), "and its fields".to_owned()]);
        }
    }
    page.push_str("</table>");
}

fn write_row<const N: usize>(page: &mut String, cells: [String; N]) {
    page.push_str("<tr>");
    for cell in cells {
        let _ = write!(page, "<td>{cell}");
    }
}

/// A schema in a word, with a link where it has a name.
fn type_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    let alternatives: Vec<String> = items(&schema["oneOf"]).chain(items(&schema["anyOf"])).map(type_of).collect();
    if !alternatives.is_empty() {
        return alternatives.join(" or ");
    }
    let names: Vec<String> = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).collect(),
        one => vec![text(one)],
    };
    let name = names.join(" or ");
    let words: Vec<String> =
        items(&schema["enum"]).filter(|word| word.is_string()).map(|word| code(&text(word))).collect();
    if !words.is_empty() {
        return format!("{name}: {}", words.join(", "));
    }
    match name.as_str() {
        "array" => format!("list of {}", type_of(&schema["items"])),
        _ => name,
    }
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn code(escaped: &str) -> String {
    format!("<code>{escaped}</code>")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_shows_operations_and_schemas() {
        let page = render(&json!({
            "info": {"title": "Muster", "version": "1", "description": "a <b> & c"},
            "paths": {"/pools/{name}": {"get": {
                "tags": ["pools"], "summary": "Shows a pool",
                "parameters": [{"name": "name", "in": "path", "schema": {"type": "string"}, "description": "The pool"}],
                "responses": {"200": {"description": "ok", "content": {"application/json": {
                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Pool"}}}}}}
            }}},
            "components": {"schemas": {"Pool": {"description": "A pool", "required": ["size"], "properties": {
                "size": {"type": "integer"}, "next": {"oneOf": [{"type": "null"}, {"type": "string"}]},
                "mood": {"type": ["string", "null"], "enum": ["good", "bad", null]}}}}},
        }));
        for part in [
            "a &lt;b&gt; &amp; c",
            "<h2>pools</h2>",
            "<span class=m>GET</span><code>/pools/{name}</code> Shows a pool",
            "<td><code>name</code><td>path<td>string<td>The pool",
            "<td><code>200</code><td>list of <a href=\"#Pool\">Pool</a><td>ok",
            "<td><code>size</code><td>integer<td>",
            "<td><code>mood</code><td>string or null: <code>good</code>, <code>bad</code> (optional)<td>",
            "<td><code>next</code><td>null or string (optional)<td>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = &crate::openapi::DOCUMENT.page;
        assert!(page.contains("/api/v1/agents/spawn") && page.contains("id=\"AgentJson\""));
        for outside in ["<script", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
