//! Types with variants in the document: each is one object, since generators of clients know no sums of objects. The word for the
//! variant is an enum, and whatever some variant has may be there.

use serde_json::{Map, Value, json};

/// The field with the word for the variant.
const KIND: &str = "kind";

/// Makes one object of each schema that is a list of variants.
pub(crate) fn describe(schemas: &mut Value) {
    let known = schemas.clone();
    let schemas = schemas.as_object_mut().into_iter().flat_map(Map::values_mut);
    for schema in schemas {
        if let Some(object) = schema["oneOf"].as_array().and_then(|variants| object_of(variants, &known)) {
            let description = schema["description"].take();
            *schema = object;
            schema["description"] = description;
        }
    }
}

/// None where some of them is no variant.
fn object_of(variants: &[Value], known: &Value) -> Option<Value> {
    let (mut words, mut meanings, mut fields) = (Vec::new(), Vec::new(), Map::new());
    for variant in variants {
        let mut word = None;
        for part in parts(variant, known) {
            for (name, field) in part["properties"].as_object().into_iter().flatten() {
                if name == KIND {
                    word = field["enum"][0].as_str();
                } else if !fields.contains_key(name) {
                    let mut field = field.clone();
                    allow_null(&mut field);
                    fields.insert(name.clone(), field);
                }
            }
        }
        let word = word?;
        words.push(word);
        meanings.push(format!("`{word}`: {}", variant["description"].as_str()?));
    }
    let kind = json!({"type": "string", "enum": words, "description": meanings.join(" ")});
    fields.insert(KIND.to_owned(), kind);
    Some(json!({"type": "object", "required": [KIND], "properties": fields}))
}

/// What a variant is made of: itself, or where it is the sum of a type and its word, both of these.
fn parts<'v>(variant: &'v Value, known: &'v Value) -> Vec<&'v Value> {
    let Some(parts) = variant["allOf"].as_array() else { return vec![variant] };
    let target = |part: &'v Value| {
        let name = part["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        name.map_or(part, |name| &known[name])
    };
    parts.iter().map(target).collect()
}

/// Adds null to the types that a value may have.
pub(super) fn allow_null(schema: &mut Value) {
    if let Some(kind) = schema.get("type").and_then(Value::as_str) {
        schema["type"] = json!([kind, "null"]);
    }
}

#[cfg(test)]
mod tests {
    use utoipa::{PartialSchema, ToSchema};

    use super::*;

    /// Some shape.
    #[derive(serde::Serialize, ToSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    #[allow(dead_code, reason = "it is only described")]
    enum Shape {
        /// A point.
        Dot,
        /// A ring.
        Circle {
            /// How wide.
            radius: u32,
        },
    }

    #[test]
    fn variants_are_one_object() {
        let mut schemas = json!({"Shape": Shape::schema()});
        describe(&mut schemas);
        let radius = json!({"type": ["integer", "null"], "format": "int32", "minimum": 0, "description": "How wide."});
        let words = "`dot`: A point. `circle`: A ring.";
        let kind = json!({"type": "string", "enum": ["dot", "circle"], "description": words});
        let expected = json!({"type": "object", "description": "Some shape.", "required": ["kind"],
            "properties": {"kind": kind, "radius": radius}});
        assert_eq!(schemas["Shape"], expected);
    }

    #[test]
    fn any_other_choice_stays() {
        let choice = json!({"oneOf": [{"type": "null"}, {"type": "object"}]});
        let mut schemas = json!({"Choice": choice});
        describe(&mut schemas);
        assert_eq!(schemas["Choice"], choice);
    }
}
