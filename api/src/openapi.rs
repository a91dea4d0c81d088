//! The OpenAPI document, made from the routes themselves, and the page that shows it.

use std::sync::LazyLock;

use serde_json::{Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, PathItem, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::json::{describe_pool_config, describe_variants, describe_words};
use crate::problem::{PROBLEM_JSON, Problem};
use crate::reader;
use crate::routes;

/// The document as JSON and as a page, made once: neither changes while the program runs.
pub(crate) struct Document {
    pub(crate) json: String,
    pub(crate) page: String,
}

/// The one document.
pub(crate) static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let document = describe(routes::all().into_openapi());
    let mut value = serde_json::to_value(&document).unwrap_or(Value::Null);
    describe_pool_config(&mut value["components"]["schemas"]);
    describe_variants(&mut value["components"]["schemas"]);
    describe_words(&mut value);
    // What no attribute can say: only one of the two may be there, and null is not there.
    value["components"]["schemas"]["TaskBody"]["not"] = json!({
        "required": ["delay", "not_before"],
        "properties": {"delay": {"type": "number"}, "not_before": {"type": "string"}},
    });
    Document { json: value.to_string(), page: reader::render(&value) }
});

/// Errors that any request may meet, before its route sees it.
pub(crate) const COMMON: [(&str, &str); 5] = [
    ("400", "The request is broken (`invalid_host`, `invalid_header`, `invalid_path`)"),
    ("401", "The API key is missing or unknown (`unauthorized`)"),
    ("403", "The `Host` is unknown (`unknown_host`) or the `Origin` foreign (`foreign_origin`)"),
    ("500", "A fault of the server (`internal`)"),
    (
        "503",
        "Nobody leads here (`starting`, `registry_away`, `store_away`, `not_leader` with the address of the `leader`), \
         something is away (`unavailable`), the pool is drained (`intake_closed`), or it is stopping (`stopping`); with \
         `Retry-After`",
    ),
];

/// Errors of requests with a body.
pub(crate) const WITH_BODY: [(&str, &str); 5] = [
    ("400", "The body is no JSON (`invalid_json`) or ended early (`broken_body`)"),
    ("408", "The body did not come in time (`slow_body`)"),
    ("413", "The body is too large (`body_too_large`)"),
    ("415", "The body is not declared as application/json (`not_json`)"),
    (
        "422",
        "A field (`invalid_field`, named in `field`) or a parameter (`invalid_parameter`) is wrong, the runtime is \
         unknown (`unknown_runtime`), or the `Idempotency-Key` was used with another body (`key_reused`)",
    ),
];

/// Adds to the routes' own words what holds for all of them.
fn describe(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Muster")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Supervises pools of AI agents. Every error is a problem detail (RFC 9457) with a stable `code`. Times are \
             RFC 3339 in UTC, durations are seconds.",
        ))
        .build();
    for (path, item) in &mut document.paths.paths {
        for operation in operations_mut(item) {
            // A function's name is unique within its resource only.
            let resource = operation.tags.as_ref().and_then(|tags| tags.first()).cloned().unwrap_or_default();
            operation.operation_id = operation.operation_id.take().map(|name| format!("{resource}_{name}"));
            add_errors(operation, path);
        }
    }
    let components = document.components.get_or_insert_with(Components::default);
    let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    components.add_security_scheme("key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    // Without keys in the configuration nothing is needed, which the empty requirement says.
    document.security =
        Some(vec![SecurityRequirement::default(), SecurityRequirement::new::<_, [&str; 0], &str>("key", [])]);
    document
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}

fn add_errors(operation: &mut Operation, path: &str) {
    let is_open = path == "/health";
    let with_body = operation.request_body.as_ref().map_or(&[][..], |_| &WITH_BODY);
    for (status, words) in with_body.iter().chain(&COMMON) {
        let skipped = is_open && matches!(*status, "401" | "503");
        if !skipped {
            operation
                .responses
                .responses
                .entry((*status).to_owned())
                .or_insert_with(|| ResponseBuilder::new().description(*words).build().into());
        }
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && status.as_str() >= "400"
        {
            add_problem(response);
        }
    }
}

/// An error has the problem as its content, unless its route says otherwise.
fn add_problem(response: &mut Response) {
    if response.content.is_empty() {
        let schema = Ref::from_schema_name(Problem::name());
        response.content.insert(PROBLEM_JSON.to_owned(), ContentBuilder::new().schema(Some(schema)).build().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use muster_domain::scaling::{DecisionState, Direction, ScalingActor, Season, TargetMetric};
    use muster_domain::{
        AgentState, AttemptEnd, Cause, EventKind, Halt, HoldKind, PlacementStrategy, PoolOrigin, ScalingMode,
        ScalingPreset, TaskState, TierName, Words, WorkerCause, WorkerState,
    };
    use muster_supervisor::{
        AlertKind, BreakerState, Interval, Lack, MetricKind, Mode, PoolStatus, TimeRange, WaitCode,
    };

    use crate::state::StageName;

    fn document() -> Value {
        serde_json::from_str(&DOCUMENT.json).expect("JSON")
    }

    fn operations(document: &Value) -> Vec<(String, String, Value)> {
        let paths = document["paths"].as_object().expect("paths");
        let of_path = |(path, item): (&String, &Value)| {
            let item = item.as_object().expect("operations").clone();
            item.into_iter().map(|(method, operation)| (path.clone(), method, operation)).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    #[test]
    fn every_operation_is_described() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["title"], "Muster");
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&document) {
            let name = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
            assert!(operation["tags"].is_array(), "{name} has no tag");
            assert!(ids.insert(operation["operationId"].to_string()), "{name}: its operationId is taken");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{name} has no success");
            assert!(responses.contains_key("403") && responses.contains_key("500"), "{name} has no errors");
            assert_eq!(responses.contains_key("401"), path != "/health", "{name}");
            assert_eq!(responses.contains_key("415"), operation["requestBody"].is_object(), "{name}");
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{name} {status}");
                let is_problem = response["content"][PROBLEM_JSON]["schema"]["$ref"] == "#/components/schemas/Problem";
                assert_eq!(is_problem, status.as_str() >= "400" && !(path.ends_with("docker") && status == "503"));
            }
            for part in path.split('/').filter(|part| part.starts_with('{')) {
                let parameters = operation["parameters"].as_array().expect("parameters");
                let named = parameters
                    .iter()
                    .any(|p| p["in"] == "path" && part == format!("{{{}}}", p["name"].as_str().unwrap_or_default()));
                assert!(named, "{name} does not describe {part}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(object) => {
                    found.extend(object.get("$ref").and_then(|target| target.as_str()).map(str::to_owned));
                    object.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    /// One of two types with the same name would silently describe both.
    #[test]
    fn no_two_types_have_the_same_name() {
        fn files(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { files(&path, found) } else { found.push(path) }
            }
        }
        let mut sources = Vec::new();
        for room in ["src", "../domain/src", "../supervisor/src"] {
            files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(room), &mut sources);
        }
        let mut names = BTreeSet::new();
        for source in sources {
            let text = std::fs::read_to_string(&source).expect("a source");
            for described in text.split("ToSchema)]").skip(1) {
                let mut words = described.split_whitespace().skip_while(|word| !matches!(*word, "struct" | "enum"));
                // An answer has the name that was promised for it.
                let promised =
                    described.trim_start().strip_prefix("#[schema(as = ").and_then(|rest| rest.split(')').next());
                let name = promised.or_else(|| words.nth(1)).unwrap_or_default();
                let name = name.trim_end_matches([';', '{']).split(['(', '<']).next().unwrap_or_default().to_owned();
                // The macro of the bulk bodies names each of its types itself.
                assert!(name == "$name" || names.insert(name.clone()), "{name} of {source:?} is there twice");
            }
        }
        assert!(names.len() > 50, "{names:?}");
    }

    /// Generators of clients make an empty class of an object that says nothing.
    #[test]
    fn every_object_says_what_is_in_it() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                let bare = schema["type"] == "object" && schema["properties"].is_null();
                assert!(!bare || !schema["additionalProperties"].is_null(), "{name}.{field}: {schema}");
            }
            for part in schema["allOf"].as_array().into_iter().flatten() {
                let target = part["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
                let part = target.and_then(|pointer| document.pointer(pointer)).unwrap_or(part);
                assert!(part["type"] == "object" || part["allOf"].is_array(), "{name} is all of {part}");
            }
        }
    }

    /// What a field may be is said by the type of its value. A list that somebody wrote here or there would be named by this.
    #[test]
    fn every_enum_is_the_list_of_a_type() {
        fn enums(value: &Value, path: &str, found: &mut Vec<(String, Vec<Value>)>) {
            let Some(object) = value.as_object() else {
                return value.as_array().into_iter().flatten().for_each(|item| enums(item, path, found));
            };
            if let Some(Value::Array(words)) = object.get("enum") {
                let words = words.iter().filter(|word| !word.is_null()).cloned().collect();
                found.push((path.to_owned(), words));
            }
            for (name, value) in object {
                let is_name = !["properties", "allOf", "schema", "parameters", "get", "items"].contains(&name.as_str());
                let inner = if is_name { format!("{path}.{name}") } else { path.to_owned() };
                enums(value, &inner, found);
            }
        }
        let of_type = |name: &str| match name {
            "AgentJson.state" | "TerminatedJson.state" | "ProjectAgentJson.status" | "AgentHealthJson.status" => {
                AgentState::words()
            }
            "ProcessJson.status" | "EndedProcessJson.status" => WorkerState::words(),
            "ProcessJson.tier" => TierName::words(),
            "TaskJson.state" | "SubmittedJson.state" | "TaskLine.state" => TaskState::words(),
            "TaskJson.halting" => Halt::words(),
            "AlertJson.kind" | "AlertTopicJson.kind" => AlertKind::words(),
            "HealthJson.mode" | "StatusJson.mode" | "MonitorJson.mode" => Mode::words(),
            "HoldsJson.lacks" => Lack::words(),
            "PoolJson.origin" => PoolOrigin::words(),
            "MetricSeriesJson.metric_type" => MetricKind::words(),
            "MetricSeriesJson.time_range" => TimeRange::words(),
            "MetricSeriesJson.interval" => Interval::words(),
            "PoolScaleJson.status" => PoolStatus::words(),
            "PoolScaleJson.held" | "ScalingDecisionJson.hold" | "WhatIfJson.hold" => HoldKind::words(),
            "PlacementStrategy" => PlacementStrategy::words(),
            "PoolScalingJson.mode" | "ScalingMode" => ScalingMode::words(),
            "ScalingDecisionJson.actor" => ScalingActor::words(),
            "ScalingDecisionJson.state" => DecisionState::words(),
            "ScalingDecisionJson.direction" | "WhatIfJson.direction" => Direction::words(),
            "ScalingPreset" => ScalingPreset::words(),
            "ScalingPolicy.kind" => vec!["step", "target", "proactive", "schedule", "predictive"],
            "Season" => Season::words(),
            "TargetMetric" => TargetMetric::words(),
            "BreakerJson.state" => BreakerState::words(),
            "CauseJson.kind" => Cause::KINDS.to_vec(),
            "WorkerCauseJson.kind" => WorkerCause::KINDS.to_vec(),
            "AttemptJson.end" => AttemptEnd::words(),
            "WaitingForJson.code" => WaitCode::words(),
            "EventFields.kind" => EventKind::words(),
            "HealthJson.status" => vec!["ok", "degraded"],
            "HealthJson.state" => StageName::words(),
            "DeepHealthJson.status" => vec!["ok", "failed"],
            // Made by its derive.
            "RestartKind" => vec!["permanent", "transient", "temporary"],
            other => panic!("{other} has words of nobody"),
        };
        let document = document();
        let mut found = Vec::new();
        enums(&document["components"]["schemas"], "", &mut found);
        assert_eq!(found.len(), 46, "{found:?}");
        for (path, words) in found {
            assert_eq!(words, of_type(path.trim_start_matches('.')), "{path}");
        }
        assert!(!document.to_string().contains("x-enum"), "every one is made");
        let parameters = &document["paths"]["/api/v1/agents"]["get"]["parameters"];
        let state = parameters.as_array().into_iter().flatten().find(|parameter| parameter["name"] == "state");
        let pattern = state.expect("a parameter")["schema"]["pattern"].to_string();
        assert!(AgentState::words().iter().all(|word| pattern.contains(word)), "{pattern}");
    }

    #[test]
    fn a_start_is_said_in_one_way() {
        let task = &document()["components"]["schemas"]["TaskBody"];
        assert_eq!(task["not"]["required"], serde_json::json!(["delay", "not_before"]));
    }

    #[test]
    fn a_problem_lists_its_extras() {
        let schema = document()["components"]["schemas"]["Problem"].to_string();
        for field in ["\"code\"", "\"detail\"", "\"status\"", "\"type\""] {
            assert!(schema.contains(field), "{field} in {schema}");
        }
    }
}
