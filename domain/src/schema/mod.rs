//! What can be set, as the types themselves say it.
//!
//! A type that people configure ([`PoolConfig`](crate::PoolConfig), [`Clocks`](crate::Clocks), ...) is the only place where its settings
//! are defined. The field has the name and the type, its doc comment says what it does, `#[default]` is its default and
//! `#[schema]` has its bounds. utoipa's derive makes a JSON schema of that, and this module reads the schema:
//!
//! | function | what follows from it |
//! |---|---|
//! | [`Described::settings`] | the list of settings: the keys of the configuration file, the tables of the docs, `muster pools set` |
//! | [`check`] | the bounds of each value |
//! | [`changed`] | a change of some of them: a JSON merge patch |
//! | [`misfit`] | what to say of a value that its field can't have |
//! | [`components`] | the schemas for the API's document, with defaults |
//!
//! A duration is a number whose `format` is `seconds`; it is 0 to [`LONGEST`](crate::time::LONGEST) where nothing else is said.

mod patch;
mod read;
mod setting;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::plain::plain;

pub use patch::{changed, merge};
pub use read::{components, list};
pub use setting::{FieldSchema, ValueBounds, ValueKind, truth};

/// A type of which people set the fields.
pub trait Described: ToSchema + Serialize + DeserializeOwned {
    /// What must be said of it at the least, with any value: its defaults are those of what is left out then.
    fn least() -> Value {
        json!({})
    }

    /// Its settings, in the order of the fields; those of an inner table one by one. Made once: [`list`] makes them.
    fn settings() -> &'static [FieldSchema];
}

/// Makes a type [`Described`].
#[macro_export]
macro_rules! described {
    ($type:ty) => {
        $crate::described!($type, {});
    };
    ($type:ty, $least:tt) => {
        impl $crate::schema::Described for $type {
            fn least() -> ::serde_json::Value {
                ::serde_json::json!($least)
            }

            fn settings() -> &'static [$crate::schema::FieldSchema] {
                static SETTINGS: ::std::sync::LazyLock<::std::vec::Vec<$crate::schema::FieldSchema>> =
                    ::std::sync::LazyLock::new($crate::schema::list::<$type>);
                &SETTINGS
            }
        }
    };
}

/// Refuses a value that is out of its bounds, in words that begin with its key.
pub fn check<T: Described>(value: &T) -> Result<(), String> {
    let value = serde_json::to_value(value).map_err(|error| error.to_string())?;
    let given = |setting: &FieldSchema| setting.find(&value).filter(|given| !given.is_null()).cloned();
    T::settings().iter().try_for_each(|setting| given(setting).map_or(Ok(()), |given| setting.check(&given)))
}

/// The same for one setting, by the name that its value has elsewhere: what bounds a pool's default for tasks bounds a task's own
/// value too.
pub fn check_one<T: Described>(key: &str, name: &str, value: &Value) -> Result<(), String> {
    match T::settings().iter().find(|setting| setting.key == key) {
        Some(setting) => FieldSchema { key: name.to_owned(), ..setting.clone() }.check(value),
        None => Err(format!("{name} has the bounds of {key}, and there is no such setting")),
    }
}

/// What serde said of a value that the field of a setting can't have, in plain words. It knows the bounds of the field's type; the
/// setting's own are told instead.
pub fn misfit<T: Described>(key: &str, message: &str) -> String {
    let words = plain(message);
    let setting = T::settings().iter().find(|setting| setting.key == key);
    let bounded = setting.zip(words.split_once(" is expected, not ")).and_then(|(setting, (wanted, given))| {
        Some(format!("{} is expected, not {given}", setting.number_within(wanted)?))
    });
    bounded.unwrap_or(words)
}

#[cfg(test)]
mod tests;
