//! Values as both engines know them: 64-bit integers and text, each of which may be null.

use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StoreError;

/// An argument or a field. Nulls have a type, since PostgreSQL wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SqlValue {
    /// An id, a word, JSON. Shared, since it may be long and is handed on several times.
    Text(Option<Arc<str>>),
    /// A number, a time, a truth value.
    Int(Option<i64>),
}

impl SqlValue {
    pub(crate) fn text(value: impl ToString) -> Self {
        Self::Text(Some(value.to_string().into()))
    }

    pub(crate) fn text_or_null(value: Option<impl ToString>) -> Self {
        Self::Text(value.map(|v| v.to_string().into()))
    }

    /// A word that is known when this is compiled, or text that is shared already.
    pub(crate) fn shared(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Some(text.into()))
    }

    pub(crate) const fn int(value: i64) -> Self {
        Self::Int(Some(value))
    }

    pub(crate) const fn int_or_null(value: Option<i64>) -> Self {
        Self::Int(value)
    }

    /// Null, of the same type.
    pub(crate) const fn null_like(&self) -> Self {
        match self {
            Self::Text(_) => Self::Text(None),
            Self::Int(_) => Self::Int(None),
        }
    }

    pub(crate) fn json_or_null(value: Option<&impl Serialize>) -> Self {
        value.map_or(Self::Text(None), Self::json)
    }

    /// A value as one line of JSON, with the line break that ends it.
    pub(crate) fn json_line(value: &impl Serialize) -> Self {
        Self::Text(serde_json::to_string(value).ok().map(|json| (json + "\n").into()))
    }

    /// A count. Nothing that is counted here comes near 2^63, so the bound is never met.
    pub(crate) fn count(value: impl TryInto<i64>) -> Self {
        Self::Int(Some(value.try_into().unwrap_or(i64::MAX)))
    }

    /// A value as JSON. The types given have string keys and finite numbers only, so writing them can't fail; should it
    /// ever, the statement fails on a null instead of storing something else.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        Self::Text(serde_json::to_string(value).ok().map(Arc::from))
    }
}

/// A row: its fields in the order of the SELECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub(crate) Vec<SqlValue>);

impl Row {
    pub(crate) fn into_fields(self) -> RowFields {
        RowFields(self.0.into_iter())
    }
}

/// Takes a row's fields one after the other; a field that is not what it must be is [`StoreError::Corrupt`].
pub(crate) struct RowFields(std::vec::IntoIter<SqlValue>);

impl RowFields {
    pub(crate) fn text_or_null(&mut self) -> Result<Option<Arc<str>>, StoreError> {
        match self.0.next() {
            Some(SqlValue::Text(text)) => Ok(text),
            Some(SqlValue::Int(None)) => Ok(None),
            other => Err(StoreError::Corrupt(format!("text expected, found {other:?}"))),
        }
    }

    pub(crate) fn int_or_null(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(SqlValue::Int(int)) => Ok(int),
            Some(SqlValue::Text(None)) => Ok(None),
            other => Err(StoreError::Corrupt(format!("a number expected, found {other:?}"))),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, StoreError> {
        self.shared_text().map(|text| (*text).to_owned())
    }

    /// Text that may be long.
    pub(crate) fn shared_text(&mut self) -> Result<Arc<str>, StoreError> {
        self.text_or_null()?.ok_or_else(|| StoreError::Corrupt("text expected, found null".to_owned()))
    }

    pub(crate) fn int(&mut self) -> Result<i64, StoreError> {
        self.int_or_null()?.ok_or_else(|| StoreError::Corrupt("a number expected, found null".to_owned()))
    }

    /// A number that is never negative, as the type it must fit into.
    pub(crate) fn count<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        let int = self.int()?;
        T::try_from(int).map_err(|_| StoreError::Corrupt(format!("{int} is out of range")))
    }

    pub(crate) fn count_or_null<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, StoreError> {
        let read = |int| T::try_from(int).map_err(|_| StoreError::Corrupt(format!("{int} is out of range")));
        self.int_or_null()?.map(read).transpose()
    }

    /// A text that reads as an id, a name or a word.
    pub(crate) fn parsed<T: FromStr<Err: ToString>>(&mut self) -> Result<T, StoreError> {
        parse(&self.shared_text()?)
    }

    pub(crate) fn parsed_or_null<T: FromStr<Err: ToString>>(&mut self) -> Result<Option<T>, StoreError> {
        self.text_or_null()?.map(|text| parse(&text)).transpose()
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> Result<T, StoreError> {
        from_json(&self.shared_text()?)
    }

    pub(crate) fn json_or_null<T: DeserializeOwned>(&mut self) -> Result<Option<T>, StoreError> {
        self.text_or_null()?.map(|text| from_json(&text)).transpose()
    }
}

fn parse<T: FromStr<Err: ToString>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Corrupt(format!("{text:?}: {}", error.to_string())))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("{text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use muster_domain::{AgentId, StopReason};

    use super::*;

    #[test]
    fn fields_are_read_in_order_and_nulls_may_have_either_type() {
        let id = AgentId::generate();
        let row = Row(vec![
            SqlValue::text(id),
            SqlValue::int(7),
            SqlValue::Text(None),
            SqlValue::Int(None),
            SqlValue::count(3_u32),
        ]);
        let mut fields = row.into_fields();
        assert_eq!(fields.parsed::<AgentId>().expect("an id"), id);
        assert_eq!(fields.int().expect("a number"), 7);
        assert_eq!(fields.int_or_null().expect("null"), None);
        assert_eq!(fields.text_or_null().expect("null"), None);
        assert_eq!(fields.count::<u32>().expect("a count"), 3);
        assert!(matches!(fields.int(), Err(StoreError::Corrupt(_))), "there are no more fields");
    }

    #[test]
    fn what_is_not_what_it_must_be_is_named() {
        let corrupt = |value: SqlValue, read: fn(&mut RowFields) -> Result<(), StoreError>| {
            let error = read(&mut Row(vec![value]).into_fields()).expect_err("unreadable");
            assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
            error.to_string()
        };
        assert!(corrupt(SqlValue::text("x1"), |f| f.parsed::<AgentId>().map(drop)).contains("x1"));
        assert!(corrupt(SqlValue::text("tired"), |f| f.parsed::<StopReason>().map(drop)).contains("tired"));
        assert!(corrupt(SqlValue::int(-1), |f| f.count::<u32>().map(drop)).contains("-1"));
        assert!(corrupt(SqlValue::text("{"), |f| f.json::<Vec<u8>>().map(drop)).contains('{'));
        assert!(corrupt(SqlValue::int(1), |f| f.text().map(drop)).contains("text expected"));
        assert!(corrupt(SqlValue::Text(None), |f| f.text().map(drop)).contains("null"));
    }
}
