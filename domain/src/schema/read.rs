//! From the schema that is derived of a type to the list of its settings.

use serde_json::{Map, Value};
use utoipa::openapi::schema::{Object, Schema};
use utoipa::openapi::{Ref, RefOr};

use super::Described;
use super::patch::merge;
use super::setting::{FieldSchema, ValueBounds, ValueKind};
use crate::time::LONGEST;

/// What a schema says of a duration.
const SECONDS: &str = "seconds";

/// The schemas of a type and of those in it, by name, with defaults and with the bounds of durations. The type's own is the first.
pub fn components<T: Described>() -> Vec<(String, RefOr<Schema>)> {
    let mut all = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut all);
    let before = all.clone();
    let known = NamedSchemas(&before);
    let mut defaults = Value::Object(known.skeleton(&before[0].1));
    merge(&mut defaults, &T::least(), &|_| true);
    let defaults = serde_json::from_value::<T>(defaults).and_then(serde_json::to_value).unwrap_or(Value::Null);
    known.complete(&before[0].0, &defaults, &mut all);
    all
}

/// The settings of a type.
pub fn list<T: Described>() -> Vec<FieldSchema> {
    let all = components::<T>();
    let mut settings = Vec::new();
    NamedSchemas(&all).walk(&all[0].1, "", &mut settings);
    settings
}

/// Schemas that may be referred to.
struct NamedSchemas<'a>(&'a [(String, RefOr<Schema>)]);

impl<'a> NamedSchemas<'a> {
    fn named(&self, reference: &Ref) -> Option<&'a (String, RefOr<Schema>)> {
        let name = reference.ref_location.rsplit('/').next()?;
        self.0.iter().find(|(known, _)| known == name)
    }

    /// What a property really is: its reference followed, and without the null that it may be.
    fn target(&self, property: &'a RefOr<Schema>) -> Option<&'a Schema> {
        match property {
            RefOr::Ref(reference) => self.target(&self.named(reference)?.1),
            RefOr::T(Schema::OneOf(one)) => {
                one.items.iter().find(|item| !is_null(item)).and_then(|item| self.target(item))
            }
            RefOr::T(schema) => Some(schema),
        }
    }

    /// The inner table that a property is, if it is one.
    fn table(&self, property: &'a RefOr<Schema>) -> Option<&'a Object> {
        match self.target(property)? {
            Schema::Object(object) if !object.properties.is_empty() => Some(object),
            _ => None,
        }
    }

    fn properties(&self, schema: &'a RefOr<Schema>) -> impl Iterator<Item = (&'a String, &'a RefOr<Schema>)> {
        self.table(schema).into_iter().flat_map(|object| &object.properties)
    }

    /// An empty table for each one that may be unset: its defaults are known only where it is there.
    fn skeleton(&self, schema: &'a RefOr<Schema>) -> Map<String, Value> {
        let tables = self.properties(schema).filter(|(_, property)| self.table(property).is_some());
        tables.map(|(name, property)| (name.clone(), self.skeleton(property).into())).collect()
    }

    /// Writes defaults and the bounds of durations into the schema called `name` and those in it.
    fn complete(&self, name: &str, defaults: &Value, all: &mut [(String, RefOr<Schema>)]) {
        let Some(place) = self.0.iter().position(|(known, _)| known == name) else { return };
        for (field, property) in self.properties(&self.0[place].1) {
            let inner = match property {
                RefOr::Ref(reference) => Some(reference),
                RefOr::T(Schema::OneOf(one)) => one.items.iter().find_map(|item| match item {
                    RefOr::Ref(reference) => Some(reference),
                    RefOr::T(_) => None,
                }),
                RefOr::T(_) => None,
            };
            if let Some((inner, _)) = inner.and_then(|reference| self.named(reference)) {
                self.complete(inner, &defaults[field], all);
            }
            let RefOr::T(Schema::Object(table)) = &mut all[place].1 else { return };
            let default = Some(&defaults[field]).filter(|default| !default.is_null() && !default.is_object()).cloned();
            match table.properties.get_mut(field) {
                Some(RefOr::T(Schema::Object(property))) => complete_one(property, default),
                Some(RefOr::T(Schema::Array(property))) => property.default = default,
                Some(RefOr::Ref(reference)) => reference.default = default,
                _ => {}
            }
        }
    }

    fn walk(&self, schema: &'a RefOr<Schema>, prefix: &str, settings: &mut Vec<FieldSchema>) {
        let Some(table) = self.table(schema) else { return };
        for (name, property) in &table.properties {
            let key = format!("{prefix}{name}");
            if self.table(property).is_some() {
                self.walk(property, &format!("{key}."), settings);
            } else if let Some(target) = self.target(property) {
                let words = details(property);
                let target = serde_json::to_value(target).unwrap_or_default();
                let kind = kind_of(&target);
                // What is empty may be left out where it is written.
                let empty = match kind {
                    ValueKind::List | ValueKind::Tables => Value::Array(Vec::new()),
                    ValueKind::Map => Value::Object(Map::new()),
                    _ => Value::Null,
                };
                let default = words.get("default").or_else(|| target.get("default")).cloned();
                settings.push(FieldSchema {
                    key,
                    kind,
                    bounds: bounds_of(&target),
                    nullable: matches!(property, RefOr::T(Schema::OneOf(_))) || has_type(&target, "null"),
                    needed: table.required.contains(name),
                    default: default.unwrap_or(empty),
                    doc: one_line(words["description"].as_str().or(target["description"].as_str()).unwrap_or_default()),
                });
            }
        }
    }
}

fn is_null(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(object)) if serde_json::to_value(object).is_ok_and(|json| json["type"] == "null"))
}

fn details(property: &RefOr<Schema>) -> Value {
    serde_json::to_value(property).unwrap_or_default()
}

fn complete_one(property: &mut Object, default: Option<Value>) {
    let json = serde_json::to_value(&*property).unwrap_or_default();
    if json["format"] == SECONDS {
        if json["minimum"].is_null() && json["exclusiveMinimum"].is_null() {
            property.minimum = Some(0.into());
        }
        if json["maximum"].is_null() {
            property.maximum = Some((LONGEST.as_secs() as i32).into());
        }
    }
    property.default = default;
}

fn has_type(schema: &Value, name: &str) -> bool {
    let types = &schema["type"];
    types == name || types.as_array().is_some_and(|types| types.iter().any(|one| one == name))
}

fn kind_of(schema: &Value) -> ValueKind {
    let words = |value: &Value| {
        value.as_array().map(|words| words.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    if let Some(words) = words(&schema["enum"]) {
        return ValueKind::Choice(words);
    }
    let format = schema["format"].as_str();
    match () {
        () if has_type(schema, "boolean") => ValueKind::Flag,
        () if has_type(schema, "integer") => ValueKind::Count,
        () if has_type(schema, "number") && format == Some(SECONDS) => ValueKind::Seconds,
        () if has_type(schema, "number") => ValueKind::Number,
        () if has_type(schema, "array") && has_type(&schema["items"], "string") => ValueKind::List,
        () if has_type(schema, "array") => ValueKind::Tables,
        () if has_type(schema, "object") => ValueKind::Map,
        () => ValueKind::Text(format.map(str::to_owned)),
    }
}

fn bounds_of(schema: &Value) -> ValueBounds {
    let (number, count) = (|name: &str| schema[name].as_f64(), |name: &str| schema[name].as_u64());
    ValueBounds {
        minimum: number("minimum"),
        above: number("exclusiveMinimum"),
        maximum: number("maximum"),
        shortest: count("minLength"),
        longest: count("maxLength"),
    }
}

/// A doc comment without its line breaks and its last full stop.
fn one_line(doc: &str) -> String {
    let words: Vec<&str> = doc.split_whitespace().collect();
    let line = words.join(" ");
    line.strip_suffix('.').map_or_else(|| line.clone(), str::to_owned)
}
