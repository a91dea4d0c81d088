//! Words in the document: a field whose value is one of some words has them from the type that they belong to.

use muster_domain::Words;
use serde_json::{Value, json};
use utoipa::openapi::{Object, ObjectBuilder, Type};

/// The extension under which a field names its words. utoipa knows enums as types of their own only; a field that is described as
/// a text would lose its description to one.
const NAMED: &str = "x-enum";

/// The schema of one word, or of several with commas between them.
pub(crate) fn some_of<W: Words>() -> Object {
    let one = W::words().join("|");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^({one})(,({one}))*$"))).build()
}

/// The schema of one word.
pub(crate) fn one_of<W: Words>() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(W::words())).build()
}

/// Makes the words that fields name their enums, in all of a document. A field that may be null has null among them.
pub(crate) fn describe(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Array(mut words)) = object.remove(NAMED) {
                let is_nullable = object.get("type").is_some_and(|kind| *kind == json!(["string", "null"]));
                words.extend(is_nullable.then_some(Value::Null));
                object.insert("enum".to_owned(), Value::Array(words));
            }
            object.values_mut().for_each(describe);
        }
        Value::Array(items) => items.iter_mut().for_each(describe),
        _ => {}
    }
}
