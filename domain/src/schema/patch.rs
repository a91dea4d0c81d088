//! Changes of some settings: JSON merge patches.

use serde_json::Value;

use super::Described;
use crate::tables::Tables;

/// A JSON merge patch (RFC 7396): what is null is taken out, tables are merged, all else is replaced. What is null where
/// `known` does not hold for its path is written down, so that whoever reads the result refuses it by name.
pub fn merge(target: &mut Value, patch: &Value, known: &dyn Fn(&[&str]) -> bool) {
    merge_at(target, patch, known, &[]);
}

fn merge_at(target: &mut Value, patch: &Value, known: &dyn Fn(&[&str]) -> bool, path: &[&str]) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(values) = target else { return };
    for (name, change) in changes {
        let path = [path, &[name.as_str()]].concat();
        if change.is_null() && known(&path) {
            values.remove(name);
        } else if change.is_null() {
            values.insert(name.clone(), Value::Null);
        } else {
            merge_at(values.entry(name.as_str()).or_insert(Value::Null), change, known, &path);
        }
    }
}

/// A value with a change: null is back to the default. An error names the path of what does not fit; bounds are not looked at.
pub fn changed<T: Described>(value: &T, patch: &Value) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    // What is set becomes JSON: it came from there.
    let mut changed = serde_json::to_value(value).unwrap_or_default();
    merge(&mut changed, patch, &is_known::<T>);
    serde_path_to_error::deserialize(Tables(changed))
}

/// Whether there is a setting of this key, a table around one, or a value within one.
fn is_known<T: Described>(path: &[&str]) -> bool {
    T::settings().iter().any(|setting| {
        let key: Vec<&str> = setting.key.split('.').collect();
        key.starts_with(path) || (setting.kind == super::ValueKind::Map && path.starts_with(&key))
    })
}
