//! Tables of the file that there may be any number of, entry by entry.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::file::{File, unknown};
use super::mistake::Mistake;
use super::settings::TABLES;

/// One `[TABLE.NAME]`, or one `[[TABLE]]`.
pub(super) struct Entry<'a> {
    /// The file that it is in.
    pub(super) file: &'a File<'a>,
    /// The table's word in [`TABLES`].
    kind: &'static str,
    /// `TABLE.NAME`; only `TABLE` where entries have no names.
    path: String,
    /// Its name; empty where entries have none.
    pub(super) name: String,
    /// Where it begins.
    span: Range<usize>,
    /// Its keys.
    pub(super) table: DeTable<'a>,
}

impl Entry<'_> {
    /// A mistake at a key of the entry, or at its head where that key is not written.
    pub(super) fn mistake(&self, key: &str, message: impl Into<String>) -> Mistake {
        let place = |table: &DeTable<'_>, name: &str| table.get_key_value(name).map(|(key, _)| key.span());
        let span = match key.split_once('.') {
            Some((outer, inner)) => self.table.get(outer).and_then(|value| match value.get_ref() {
                DeValue::Table(table) => place(table, inner),
                _ => None,
            }),
            None => place(&self.table, key),
        };
        let origin = self.file.origin(&span.unwrap_or_else(|| self.span.clone()));
        let key = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        Mistake::new(origin, key, message)
    }

    /// Keys that such an entry does not have, also those of its inner tables.
    fn unknown_keys(&self) -> Vec<Mistake> {
        let known = || TABLES.iter().filter(|key| key.table == self.kind).map(|key| key.key);
        let mut mistakes = Vec::new();
        for (name, value) in &self.table {
            let name = name.get_ref().as_ref();
            let inner = format!("{name}.");
            match value.get_ref() {
                _ if known().any(|key| key == name) => {}
                DeValue::Table(table) if known().any(|key| key.starts_with(&inner)) => {
                    let keys = table.keys().map(|key| format!("{inner}{}", key.get_ref()));
                    mistakes.extend(
                        keys.filter(|key| !known().any(|known| known == key))
                            .map(|key| self.mistake(&key, unknown(&key, known()))),
                    );
                }
                _ if known().any(|key| key.starts_with(&inner)) => {}
                _ => mistakes.push(self.mistake(name, unknown(name, known()))),
            }
        }
        mistakes
    }

    /// What is left of the table after `without` was taken out.
    pub(super) fn read<T: DeserializeOwned>(&self, without: &[&str]) -> Result<T, Mistake> {
        let mut table = self.table.clone();
        for key in without {
            table.remove(*key);
        }
        let value = Spanned::new(self.span.clone(), DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.file.mistake(&error, &self.path, &self.span))
    }

    /// A text of the table.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Mistake> {
        match self.table.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.mistake(key, "a text in quotes is expected")),
        }
    }

    /// A mistake that the value's own check found. Its message begins with the key that it is about.
    pub(super) fn invalid(&self, message: String) -> Mistake {
        let key = message.split([' ', ',']).next().unwrap_or_default().to_owned();
        let known = TABLES.iter().any(|known| known.table == self.kind && known.key == key);
        self.mistake(if known { &key } else { "" }, message)
    }
}

/// The entries `[KIND.NAME]`. Those with keys that nobody knows are left out, and told.
pub(super) fn entries<'a>(
    file: Option<&'a File<'a>>,
    kind: &'static str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Entry<'a>> {
    let Some(file) = file else { return Vec::new() };
    let Some(tables) = file.root.get(kind) else { return Vec::new() };
    let DeValue::Table(tables) = tables.get_ref() else {
        let message = format!("a table with a name is expected, as in [{kind}.NAME]");
        mistakes.push(Mistake::new(file.origin(&tables.span()), kind, message));
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, value) in tables {
        let (path, span) = (format!("{kind}.{}", name.get_ref()), name.span());
        match value.get_ref() {
            DeValue::Table(table) => {
                found.push(Entry { file, kind, path, name: name.get_ref().to_string(), span, table: table.clone() });
            }
            _ => {
                let message = format!("a table is expected, as in [{path}]");
                mistakes.push(Mistake::new(file.origin(&span), path, message));
            }
        }
    }
    without_unknown_keys(found, mistakes)
}

/// The entries `[[KIND]]`, likewise.
pub(super) fn nameless_entries<'a>(
    file: Option<&'a File<'a>>,
    kind: &'static str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Entry<'a>> {
    let Some(file) = file else { return Vec::new() };
    let Some(list) = file.root.get(kind) else { return Vec::new() };
    let mut wrong = |span: &Range<usize>| {
        let message = format!("a list of tables is expected, as in [[{kind}]]");
        mistakes.push(Mistake::new(file.origin(span), kind, message));
    };
    let DeValue::Array(items) = list.get_ref() else {
        wrong(&list.span());
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in items.iter() {
        let (path, span) = (kind.to_owned(), item.span());
        match item.get_ref() {
            DeValue::Table(table) => {
                found.push(Entry { file, kind, path, name: String::new(), span, table: table.clone() });
            }
            _ => wrong(&span),
        }
    }
    without_unknown_keys(found, mistakes)
}

fn without_unknown_keys<'a>(entries: Vec<Entry<'a>>, mistakes: &mut Vec<Mistake>) -> Vec<Entry<'a>> {
    let is_known = |entry: &Entry<'a>| {
        let unknown = entry.unknown_keys();
        let is_known = unknown.is_empty();
        mistakes.extend(unknown);
        is_known
    };
    entries.into_iter().filter(is_known).collect()
}
