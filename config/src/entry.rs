//! Tables of the file that there may be any number of, entry by entry.

use std::borrow::Cow;
use std::ops::Range;

use muster_domain::schema::{Described, FieldSchema, ValueKind, misfit};
use muster_domain::{Tables, nearest};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::file::{File, described, key_at, unknown};
use super::mistake::{Mistake, ValueOrigin};
use super::settings::keys_of;

/// What is wrong with a value that was read.
pub(super) struct Wrong {
    key: String,
    message: String,
}

impl Wrong {
    pub(super) fn new(key: &str, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), message: message.into() }
    }
}

/// Of a message that begins with the key that it is about, as those of the domain do.
impl From<String> for Wrong {
    fn from(message: String) -> Self {
        let key = message.split([' ', ',']).next().unwrap_or_default().to_owned();
        Self { key, message }
    }
}

/// One `[TABLE.NAME]`, or one `[[TABLE]]`.
pub(super) struct TableEntry<'a> {
    /// The file that it is in.
    pub(super) file: &'a File<'a>,
    /// The table's word in the file.
    kind: &'static str,
    /// `TABLE.NAME`; only `TABLE` where entries have no names.
    path: String,
    /// Its name; empty where entries have none.
    pub(super) name: String,
    /// Where it begins.
    span: Range<usize>,
    /// Its keys, without those that nobody knows.
    pub(super) table: DeTable<'a>,
    /// Keys that may have been meant by those: that they are missing is no mistake of its own.
    meant: Vec<String>,
}

impl TableEntry<'_> {
    /// A mistake at a key of the entry, or at its head where that key is not written.
    pub(super) fn mistake(&self, key: &str, message: impl Into<String>) -> Mistake {
        let origin = self.place(key).unwrap_or_else(|| self.file.origin(&self.span));
        let key = if key.is_empty() { self.path.clone() } else { format!("{}.{key}", self.path) };
        Mistake::new(origin, key, message)
    }

    /// Where a key of the entry is, if it is written.
    fn place(&self, key: &str) -> Option<ValueOrigin> {
        let mut table = &self.table;
        let (tables, name) = key.rsplit_once('.').map_or((None, key), |(tables, name)| (Some(tables), name));
        for outer in tables.into_iter().flat_map(|tables| tables.split('.')) {
            table = match table.get(outer).map(Spanned::get_ref) {
                Some(DeValue::Table(inner)) => inner,
                _ => return None,
            };
        }
        let span = table.get_key_value(name).map(|(key, _)| key.span());
        span.map(|span| self.file.origin(&span))
    }

    /// The settings of `values` that the entry says, as they may be shown: key, value and place of each.
    pub(super) fn rows<T: Described>(&self, values: &T) -> Vec<[String; 3]> {
        let values = serde_json::to_value(values).unwrap_or_default();
        let row = |setting: &FieldSchema| {
            let (value, place) = (setting.find(&values)?, self.place(&setting.key)?);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Some([format!("{}.{}", self.path, setting.key), text, place.to_string()])
        };
        T::settings().iter().filter_map(row).collect()
    }

    /// Tells keys that such an entry does not have, also those of its inner tables, and takes them out.
    fn drop_unknown_keys(&mut self, mistakes: &mut Vec<Mistake>) {
        for key in self.unknown_keys() {
            // A table in it may be meant, too.
            let tables = || keys_of(self.kind).filter_map(|key| Some(key.split_once('.')?.0));
            let known = || keys_of(self.kind).chain(tables());
            mistakes.push(self.mistake(&key, unknown(&key, known())));
            let near = nearest(&key, known()).map(|(near, _)| near.to_owned());
            self.meant.extend(near);
            take_out(&mut self.table, &key);
        }
    }

    fn unknown_keys(&self) -> Vec<String> {
        let mut found = Vec::new();
        unknown_in(&self.table, "", self.kind, &mut found);
        found
    }

    /// What is left of the table after `without` was taken out, if `check` finds it good too. A value that is wrong is told and
    /// taken out, and the rest is looked at again, so that all that is wrong is told at once.
    pub(super) fn read<T: Described>(
        &self,
        without: &[&str],
        check: impl Fn(&T) -> Result<(), Wrong>,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        let (mut table, mut wrong) = (self.table.clone(), self.meant.clone());
        for key in without {
            table.remove(*key);
        }
        let (before, mut stood_in) = (mistakes.len(), Vec::new());
        loop {
            let value = Spanned::new(self.span.clone(), DeValue::Table(table.clone()));
            let (key, mistake) = match T::deserialize(Tables(ValueDeserializer::from(value))) {
                Ok(value) => match check(&value) {
                    Ok(()) => return (mistakes.len() == before).then_some(value),
                    // It may be about a value that is the default only because what was written was taken out.
                    Err(found) if wrong.contains(&found.key) || mentions(&found.message, &wrong) => {
                        (Some(found.key), None)
                    }
                    Err(found) => (Some(found.key.clone()), Some(self.invalid(found))),
                },
                Err(error) => match error.span().and_then(|span| key_at(&table, &span, "")) {
                    None if mentions(error.message(), &wrong) => (None, None),
                    None => (None, Some(self.file.mistake(&error, &self.path, &self.span))),
                    Some(key) => (Some(key.clone()), Some(self.misfit::<T>(key, &error))),
                },
            };
            mistakes.extend(mistake);
            let key = key.filter(|key| take_out(&mut table, key));
            // What can't be taken out would be found again; that a list is missing is told, and the rest read with an empty one.
            wrong.push(key.or_else(|| empty_list::<T>(&mut table, &mut stood_in))?);
        }
    }

    /// What serde says of the value of a key.
    fn misfit<T: Described>(&self, key: String, error: &toml::de::Error) -> Mistake {
        let span = error.span().unwrap_or_else(|| self.span.clone());
        let words = misfit::<T>(&key, error.message());
        Mistake::new(self.file.origin(&span), format!("{}.{key}", self.path), words)
    }

    /// A text of the table.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Mistake> {
        match self.table.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) if text.is_empty() => {
                Err(self.mistake(key, format!("{key} must have at least one character")))
            }
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.mistake(key, format!("a text in quotes is expected, not {}", described(other)))),
        }
    }

    /// That a key is missing is a mistake, unless another one seems to stand for it.
    pub(super) fn missing(&self, key: &str, message: &str) -> Option<Mistake> {
        (!self.meant.iter().any(|meant| meant == key)).then(|| self.mistake("", message))
    }

    /// A mistake that a check found; at the head where it is about no key of such an entry.
    fn invalid(&self, found: Wrong) -> Mistake {
        // One of a list is where the list is.
        let key = found.key.split('[').next().unwrap_or_default();
        let is_known = keys_of(self.kind).any(|known| known == key);
        self.mistake(if is_known { key } else { "" }, found.message)
    }
}

/// The keys of a table, and of those in it, that an entry of this kind does not have; `prefix` is the table's own key with a dot.
fn unknown_in(table: &DeTable<'_>, prefix: &str, kind: &str, found: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let inner = format!("{key}.");
        match value.get_ref() {
            _ if keys_of(kind).any(|known| known == key) => {}
            DeValue::Table(table) if keys_of(kind).any(|known| known.starts_with(&inner)) => {
                unknown_in(table, &inner, kind, found);
            }
            _ if keys_of(kind).any(|known| known.starts_with(&inner)) => {}
            _ => found.push(key),
        }
    }
}

/// Whether one of these keys is named in a message.
fn mentions(message: &str, keys: &[String]) -> bool {
    let mut words = message.split(|c: char| !c.is_alphanumeric() && !"_.".contains(c));
    words.any(|word| keys.iter().any(|key| key == word))
}

/// Puts an empty list where one is needed, once. Says where.
fn empty_list<T: Described>(table: &mut DeTable<'_>, stood_in: &mut Vec<&'static str>) -> Option<String> {
    let is_missing = |setting: &&FieldSchema| {
        setting.needed && setting.kind == ValueKind::List && !table.contains_key(setting.key.as_str())
    };
    let missing = T::settings().iter().find(is_missing).filter(|setting| !stood_in.contains(&setting.key.as_str()))?;
    stood_in.push(&missing.key);
    let (key, list) = (Cow::Borrowed(missing.key.as_str()), DeValue::Array(DeArray::new()));
    table.insert(Spanned::new(0..0, key), Spanned::new(0..0, list));
    Some(missing.key.clone())
}

/// Takes the value of a key, with a dot within an inner table, out. Says whether it was there.
fn take_out(table: &mut DeTable<'_>, key: &str) -> bool {
    if table.remove(key).is_some() {
        return true;
    }
    let Some((outer, inner)) = key.split_once('.') else { return false };
    match table.get_mut(outer).map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => take_out(table, inner),
        _ => false,
    }
}

/// The entries `[KIND.NAME]`, without keys that nobody knows: those are told.
pub(super) fn entries<'a>(
    file: Option<&'a File<'a>>,
    kind: &'static str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<TableEntry<'a>> {
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
                let (name, table) = (name.get_ref().to_string(), table.clone());
                found.push(TableEntry { file, kind, path, name, span, table, meant: Vec::new() });
            }
            _ => {
                let message = format!("a table is expected, as in [{path}]");
                mistakes.push(Mistake::new(file.origin(&span), path, message));
            }
        }
    }
    found.iter_mut().for_each(|entry| entry.drop_unknown_keys(mistakes));
    found
}

/// The entries `[[KIND]]`, likewise.
pub(super) fn nameless_entries<'a>(
    file: Option<&'a File<'a>>,
    kind: &'static str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<TableEntry<'a>> {
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
                let (name, table) = (String::new(), table.clone());
                found.push(TableEntry { file, kind, path, name, span, table, meant: Vec::new() });
            }
            _ => wrong(&span),
        }
    }
    found.iter_mut().for_each(|entry| entry.drop_unknown_keys(mistakes));
    found
}
