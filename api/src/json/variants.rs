//! Types with variants in the document: each is one object, since generators of clients know no sums of objects. The word for the
//! variant is an enum, and whatever some variant has may be there.

use serde_json::{Map, Value, json};

/// The field with the word for the variant.
const KIND: &str = "kind";

/// Makes one object of each schema that is a list of variants.
pub(crate) fn describe(schemas: &mut Value) {
    let schemas = schemas.as_object_mut().into_iter().flat_map(Map::values_mut);
    for schema in schemas {
        if let Some(object) = schema["oneOf"].as_array().and_then(|variants| object_of(variants)) {
            let description = schema["description"].take();
            *schema = object;
            schema["description"] = description;
        }
    }
}

/// None where some of them is no variant.
fn object_of(variants: &[Value]) -> Option<Value> {
    let (mut words, mut meanings, mut fields) = (Vec::new(), Vec::new(), Map::new());
    for variant in variants {
        for (name, field) in variant["properties"].as_object()? {
            if name != KIND {
                let mut field = field.clone();
                allow_null(&mut field);
                fields.insert(name.clone(), field);
            }
        }
        let word = variant["properties"][KIND]["enum"][0].as_str()?;
        words.push(word);
        meanings.push(format!("`{word}`: {}", variant["description"].as_str()?));
    }
    let kind = json!({"type": "string", "enum": words, "description": meanings.join(" ")});
    fields.insert(KIND.to_owned(), kind);
    Some(json!({"type": "object", "required": [KIND], "properties": fields}))
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
