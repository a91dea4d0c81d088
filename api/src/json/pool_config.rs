//! The bounds of a pool: as they are changed, and how the document describes them. What they are is said in
//! [`PoolConfig`] alone.

use std::fmt;

use muster_domain::PoolConfig;
use muster_domain::schema::{self, components, misfit};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::variants::allow_null;
use crate::problem::Problem;

/// A change of the bounds of a pool: a JSON merge patch (RFC 7396). What is left out stays as it is, and null is back to the
/// default.
#[derive(Debug, ToSchema)]
#[schema(as = PoolConfigPatch, value_type = Object)]
pub(crate) struct ConfigPatch(Value);

/// No change.
impl Default for ConfigPatch {
    fn default() -> Self {
        Self(Value::Object(Map::new()))
    }
}

impl ConfigPatch {
    /// The bounds with this change, where each value has the type of its field; who keeps the pool looks at the rest.
    pub(crate) fn applied(&self, config: &PoolConfig) -> Result<PoolConfig, Problem> {
        schema::changed(config, &self.0).map_err(|error| {
            let path = error.path().to_string();
            let words = misfit::<PoolConfig>(&path, &error.inner().to_string());
            Problem::invalid_field(&format!("config.{path}"), format!("config.{path}: {words}"))
        })
    }

    /// The patch, where it fits.
    pub(crate) fn checked(self) -> Result<Value, Problem> {
        self.applied(&PoolConfig::default()).map(|_| self.0)
    }
}

impl<'de> Deserialize<'de> for ConfigPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Once).map(|values| Self(Value::Object(values)))
    }
}

/// An object in which no name is there twice: JSON's own values would keep the last.
struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("struct PoolConfig")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut values = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if values.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate field `{name}`")));
            }
            let InnerJson(value) = entries.next_value()?;
            values.insert(name, value);
        }
        Ok(values)
    }
}

/// Any value, whose objects are read like the outer one.
struct InnerJson(Value);

impl<'de> Deserialize<'de> for InnerJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        Once.visit_map(entries).map(Value::Object)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(InnerJson(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Writes the schemas of the bounds into those of the document: as they are answered, and as they are changed.
pub(crate) fn describe(schemas: &mut Value) {
    let made = components::<PoolConfig>();
    let made: Vec<(String, Value)> =
        made.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default())).collect();
    for (name, schema) in &made {
        if schema["properties"].is_object() {
            let mut patch = patch_of(schema, &made);
            if name == "PoolConfig" {
                patch["description"] = schemas["PoolConfigPatch"]["description"].clone();
            }
            schemas[format!("{name}Patch")] = patch;
        }
        schemas[name] = answer_of(schema);
    }
}

/// A table as it is answered: everything is there.
fn answer_of(schema: &Value) -> Value {
    let mut answer = schema.clone();
    if let Some(properties) = schema["properties"].as_object() {
        answer["required"] = properties.keys().cloned().collect();
    }
    // A later version may answer more.
    if let Some(answer) = answer.as_object_mut().filter(|answer| answer.contains_key("properties")) {
        answer.remove("additionalProperties");
    }
    properties_of(&mut answer).for_each(tell_default);
    answer
}

fn properties_of(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut)
}

/// Tells a default in words: generators make a value of one that the schema names, which a client then sends.
fn tell_default(property: &mut Value) {
    if let Some(default) = property.as_object_mut().and_then(|property| property.remove("default")) {
        let words = property["description"].as_str().unwrap_or_default();
        property["description"] = format!("{words} Default `{}`.", text_of(&default)).trim_start().into();
    }
}

/// A table as it is changed: nothing has to be there, and everything may be null.
fn patch_of(schema: &Value, all: &[(String, Value)]) -> Value {
    let mut patch = schema.clone();
    if let Some(patch) = patch.as_object_mut() {
        patch.remove("required");
        // Each of its fields is told by itself, and one that is unknown is refused.
        patch.insert("additionalProperties".to_owned(), false.into());
    }
    for property in properties_of(&mut patch) {
        tell_default(property);
        let is_table = |reference: &str| {
            let name = reference.rsplit('/').next().unwrap_or_default();
            all.iter().any(|(known, schema)| known == name && schema["properties"].is_object())
        };
        let patched = |reference: &str| match is_table(reference) {
            true => serde_json::json!({"$ref": format!("{reference}Patch")}),
            false => serde_json::json!({"$ref": reference}),
        };
        if let Some(reference) = property["$ref"].as_str().map(patched) {
            let description = property["description"].clone();
            *property = serde_json::json!({"oneOf": [{"type": "null"}, reference]});
            if description.is_string() {
                property["description"] = description;
            }
        } else if let Some(choices) = property.get_mut("oneOf").and_then(Value::as_array_mut) {
            for choice in choices {
                if let Some(reference) = choice["$ref"].as_str().map(patched) {
                    *choice = reference;
                }
            }
        } else {
            allow_null(property);
            property.get_mut("additionalProperties").into_iter().for_each(allow_null);
        }
    }
    patch
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use muster_domain::{CapacityTier, CapacityTiers};

    use super::*;
    use crate::body::parse;
    use crate::openapi::DOCUMENT;
    use crate::routes::pools::ChangePoolBody;
    use muster_domain::schema::Described;
    use serde_json::json;

    fn patch(text: &str) -> Result<Value, Problem> {
        parse::<ChangePoolBody>(format!("{{\"config\": {text}}}").as_bytes())?.config.checked()
    }

    #[test]
    fn a_change_is_taken_as_it_is_where_it_fits() {
        let text = r#"{"max_agents": 4, "restart": {"kind": "transient"}, "on_demand": null, "dependencies": {"db": "tcp://db:1"}}"#;
        assert_eq!(patch(text).expect("a change"), serde_json::from_str::<Value>(text).expect("JSON"));
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_field() {
        for (text, field, words) in [
            (r#"{"max_agents": "2"}"#, "config.max_agents", "a whole number from 1 to 1000 is expected"),
            (r#"{"restart": {"kind": "x"}}"#, "config.restart.kind", "it is one of: permanent, transient, temporary"),
            (r#"{"max_idle_time": -1}"#, "config.max_idle_time", "a number of seconds from 1 is expected, not -1"),
            (r#"{"max_agentz": 1}"#, "config.max_agentz", "there is no field max_agentz; there are: max_agents"),
            (r#"{"max_agentz": null}"#, "config.max_agentz", "there is no field max_agentz"),
            (r#"{"max_agents": 1, "max_agents": 2}"#, "config.max_agents", "is there twice"),
            (r#"{"retry": {"poison_bound": 1, "poison_bound": 2}}"#, "config.retry.poison_bound", "is there twice"),
            (r#"{"restart": ["temporary", 0]}"#, "config.restart", "a table of fields is expected, not a list"),
            (r#"{"on_demand": [7]}"#, "config.on_demand", "a table of fields is expected, not a list"),
            (r#"{"breaker": []}"#, "config.breaker", "a table of fields is expected, not a list"),
            (r#"{"retry": []}"#, "config.retry", "a table of fields is expected, not a list"),
            (r#"{"dependencies": []}"#, "config.dependencies", "a table of names and values is expected, not a list"),
            ("null", "config", "a table of fields is expected, not null"),
            ("[]", "config", "a table of fields is expected, not a list"),
        ] {
            let refused = serde_json::to_value(patch(text).expect_err(text)).expect("JSON");
            let detail = refused["detail"].as_str().expect("words");
            assert_eq!((&refused["field"], &refused["code"]), (&field.into(), &"invalid_field".into()), "{refused}");
            assert!(detail.contains(words), "{detail}");
        }
    }

    #[test]
    fn dependencies_are_taken_and_shown_without_their_secrets() {
        let patch = patch(r#"{"dependencies": {"broker": "amqp://u:s3cret@rabbit/s3cret"}}"#).expect("a change");
        let config = schema::changed(&PoolConfig::default(), &patch).expect("it fits");
        assert_eq!(config.dependencies["broker"].url(), "amqp://u:s3cret@rabbit/s3cret");
        let shown = serde_json::to_value(config.shown()).expect("JSON");
        assert_eq!(shown["dependencies"], json!({"broker": "amqp://rabbit:5672"}));
        let refused =
            self::patch(r#"{"dependencies": {"broker": "ftp://u:s3cret@rabbit"}}"#).expect_err("no such protocol");
        let text = serde_json::to_string(&refused).expect("JSON");
        assert!(text.contains("config.dependencies.broker") && !text.contains("s3cret"), "{text}");
    }

    #[test]
    fn every_bound_is_answered_and_described_and_may_be_changed() {
        let document: Value = serde_json::from_str(&DOCUMENT.json).expect("JSON");
        let property = |root: &str, key: &str| {
            let mut schema = &document["components"]["schemas"][root];
            for name in key.split('.') {
                let choices =
                    schema["oneOf"].as_array().and_then(|choices| choices.iter().find(|one| one["$ref"].is_string()));
                let reference = choices.unwrap_or(schema)["$ref"].as_str().map(str::to_owned);
                schema = reference.map_or(schema, |reference| {
                    document.pointer(reference.strip_prefix('#').expect("a local reference")).expect("a schema")
                });
                schema = &schema["properties"][name];
            }
            schema.clone()
        };
        let tier = || Some(CapacityTier::default());
        let tiers = CapacityTiers { base: tier(), spot: tier(), burst: tier(), ..CapacityTiers::default() };
        let config = PoolConfig { on_demand: Some(Default::default()), tiers: Some(tiers), ..PoolConfig::default() };
        let answer = serde_json::to_value(config.shown()).expect("JSON");
        for setting in PoolConfig::settings() {
            assert!(setting.find(&answer).is_some(), "{} is not answered", setting.key);
            for root in ["PoolConfig", "PoolConfigPatch"] {
                let described = property(root, &setting.key);
                assert!(described["description"].is_string(), "{} of {root}: {described}", setting.key);
                assert!(described["default"].is_null(), "a client would send it: {described}");
            }
            let nullable = property("PoolConfigPatch", &setting.key).to_string();
            assert!(nullable.contains("\"null\""), "{}: {nullable}", setting.key);
        }
    }
}
