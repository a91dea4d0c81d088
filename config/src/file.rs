//! The configuration file: TOML, with the line of everything in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use muster_domain::schema::{self, ValueKind};
use muster_domain::{Tables, nearest, plain};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{ConfigError, Mistake, ValueOrigin};
use super::settings::{KEYS, SETTINGS, Setting};

/// Tables of the file that are read by [`super::pools`] and [`super::limits`].
const NAMED_TABLES: [&str; 4] = ["runtimes", "pools", "tenants", "budgets"];

/// A parsed file. It borrows the text.
pub(crate) struct File<'a> {
    path: &'a Path,
    text: &'a str,
    /// Its content.
    pub(crate) root: DeTable<'a>,
}

impl<'a> File<'a> {
    /// Parses a text. Where it is no TOML there is a mistake for each such line: what follows the first in a line may only
    /// follow from it.
    pub(crate) fn parse(path: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut lines = BTreeMap::new();
        for error in &errors {
            let line = line_of(text, error.span().unwrap_or(0..0).start);
            lines.entry(line).or_insert_with(|| format!("this is no TOML: {}", error.message()));
        }
        let mistake = |(line, message)| Mistake::new(ValueOrigin::Line { path: path.to_owned(), line }, "", message);
        let mistakes: Vec<Mistake> = lines.into_iter().map(mistake).collect();
        if mistakes.is_empty() { Ok(Self { path, text, root: root.into_inner() }) } else { Err(ConfigError(mistakes)) }
    }

    /// The file's folder: relative paths in it count from there.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Whether there is an entry of this name in a table of entries.
    pub(super) fn has(&self, table: &str, name: &str) -> bool {
        let entries = self.root.get(table).and_then(|found| found.get_ref().as_table());
        entries.is_some_and(|entries| entries.contains_key(name))
    }

    /// The place of a span.
    pub(crate) fn origin(&self, span: &Range<usize>) -> ValueOrigin {
        ValueOrigin::Line { path: self.path.to_owned(), line: line_of(self.text, span.start) }
    }

    /// What a serde error of a part of the file means: its key is found by the place that it names.
    pub(crate) fn mistake(&self, error: &toml::de::Error, part: &str, default: &Range<usize>) -> Mistake {
        let span = error.span().filter(|span| !span.is_empty()).unwrap_or_else(|| default.clone());
        let key = key_at(&self.root, &span, "").unwrap_or_else(|| part.to_owned());
        Mistake::new(self.origin(&span), key, plain(error.message()))
    }

    /// Every key that nobody knows.
    pub(crate) fn unknown_keys(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        self.walk(&self.root, "", &mut mistakes);
        mistakes
    }

    fn walk(&self, table: &DeTable<'_>, prefix: &str, mistakes: &mut Vec<Mistake>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            if SETTINGS.iter().any(|s| s.key == key) || (prefix.is_empty() && NAMED_TABLES.contains(&key.as_str())) {
                continue;
            }
            let inner = format!("{key}.");
            match value.get_ref() {
                DeValue::Table(table) if SETTINGS.iter().any(|s| s.key.starts_with(&inner)) => {
                    self.walk(table, &inner, mistakes);
                }
                _ if SETTINGS.iter().any(|s| s.key.starts_with(&inner)) => {
                    let message = format!("a table is expected, as in [{key}]");
                    mistakes.push(Mistake::new(self.origin(&name.span()), key, message));
                }
                _ => {
                    // At the top one may have meant a table as a whole.
                    let tables = SETTINGS.iter().filter_map(|s| s.key.split_once('.')).map(|(table, _)| table);
                    let tables = tables.chain(NAMED_TABLES).filter(|_| prefix.is_empty());
                    let known = SETTINGS.iter().map(|s| s.key.as_str()).chain(tables);
                    mistakes.push(Mistake::new(self.origin(&name.span()), key.clone(), unknown(&key, known)));
                }
            }
        }
    }

    /// What the file says about a setting, as the text that the environment would give, and where it says so.
    pub(crate) fn given(&self, setting: &Setting) -> Result<Option<(String, ValueOrigin)>, Mistake> {
        let mut segments = setting.key.split('.');
        let mut value = self.root.get(segments.next().unwrap_or_default());
        for segment in segments {
            // What is no table here is told once, by `unknown_keys`.
            value = value.and_then(|found| found.get_ref().as_table()).and_then(|table| table.get(segment));
        }
        let Some(value) = value else { return Ok(None) };
        let origin = self.origin(&value.span());
        let text = match &setting.field.kind {
            // What is wrong within a list is told with its own line.
            ValueKind::List => list(value).map_err(|error| self.mistake(&error, &setting.key, &value.span())),
            ValueKind::Text(Some(format)) if format == KEYS => {
                keys(value).map_err(|error| self.mistake(&error, &setting.key, &value.span()))
            }
            _ => as_text(setting.field, value).map_err(|message| Mistake::new(origin.clone(), &setting.key, message)),
        };
        text.map(|text| Some((text, origin)))
    }
}

/// So many keys are named where none is near; more are no help.
const FEW: usize = 8;

/// What to say about a key that nobody knows.
pub(crate) fn unknown<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(key, known.iter().copied()) {
        Some((near, _)) => format!("there is no such key; the nearest is {near}"),
        None if known.len() <= FEW => format!("there is no such key; there are: {}", known.join(", ")),
        None => "there is no such key".to_owned(),
    }
}

/// A value of the file as text, where its TOML type is the one of the setting.
fn as_text(field: &schema::FieldSchema, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    let found = value.get_ref();
    let text = match &field.kind {
        ValueKind::Text(_) | ValueKind::Choice(_) => found.as_str().map(str::to_owned),
        ValueKind::Flag => found.as_bool().map(|flag| flag.to_string()),
        ValueKind::Seconds | ValueKind::Number => found
            .as_float()
            .map(|number| number.as_str().to_owned())
            .or_else(|| found.as_integer().map(ToString::to_string)),
        ValueKind::Count => found.as_integer().map(ToString::to_string),
        // A list is read as a whole, by `list`; no section has a map or tables.
        ValueKind::List | ValueKind::Tables | ValueKind::Map => None,
    };
    text.ok_or_else(|| {
        let kind = expected(&field.kind);
        let wanted = field.number_within(kind).unwrap_or_else(|| kind.to_owned());
        format!("{wanted} is expected, not {}", described(found))
    })
}

fn list(value: &Spanned<DeValue<'_>>) -> Result<String, toml::de::Error> {
    let items = Vec::<String>::deserialize(toml::de::ValueDeserializer::from(value.clone()))?;
    Ok(items.join(","))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    name: String,
    sha256: String,
}

fn keys(value: &Spanned<DeValue<'_>>) -> Result<String, toml::de::Error> {
    let keys = Vec::<FileKey>::deserialize(Tables(toml::de::ValueDeserializer::from(value.clone())))?;
    Ok(keys.iter().map(|key| format!("{}={}", key.name, key.sha256)).collect::<Vec<_>>().join(","))
}

const fn expected(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Text(_) | ValueKind::Choice(_) => "a text in quotes",
        ValueKind::Flag => "true or false",
        ValueKind::Seconds => "a number of seconds",
        ValueKind::Number => "a number",
        ValueKind::Count => "a whole number",
        ValueKind::List | ValueKind::Tables => "a list",
        ValueKind::Map => "a table",
    }
}

pub(super) fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a text".to_owned(),
        DeValue::Integer(_) | DeValue::Array(_) => format!("an {}", value.type_str()),
        other => format!("a {}", other.type_str()),
    }
}

/// The line of a byte, from 1.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// The key of the smallest entry that a span lies in: a key itself, or its value.
pub(super) fn key_at(table: &DeTable<'_>, span: &Range<usize>, prefix: &str) -> Option<String> {
    let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(found) = key_at(inner, span, &format!("{key}."))
        {
            return Some(found);
        }
        if within(name.span()) || within(value.span()) {
            return Some(key);
        }
    }
    None
}
