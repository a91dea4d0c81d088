//! Turns what was given into values. It goes on after a mistake, so that all of them are told at once.

use std::path::{Path, PathBuf};

use muster_domain::orders::redact_url;
use muster_domain::schema::{self, Described, ValueKind, misfit};
use serde_json::{Value, json};

use super::file::File;
use super::mistake::{Mistake, ValueOrigin};
use super::settings::{KEYS, Setting, URL, find};
use super::sources::Sources;

/// One line of `muster config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The key.
    pub(crate) key: &'static str,
    /// The value as it may be shown; empty where there is none.
    pub(crate) value: String,
    /// Where it is from.
    pub(crate) origin: ValueOrigin,
}

/// Reads settings one by one.
pub(crate) struct Reader<'a> {
    sources: &'a Sources<'a>,
    file: Option<&'a File<'a>>,
    /// What was wrong so far.
    pub(crate) mistakes: Vec<Mistake>,
    /// What was read so far.
    pub(crate) shown: Vec<Shown>,
}

impl<'a> Reader<'a> {
    /// Over these sources; `file` is their file, parsed.
    pub(crate) fn new(sources: &'a Sources<'a>, file: Option<&'a File<'a>>) -> Self {
        Self { sources, file, mistakes: Vec::new(), shown: Vec::new() }
    }

    /// Notes a mistake of a setting that was read before.
    pub(crate) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let origin = self.origin(key);
        self.mistakes.push(Mistake::new(origin, key, message));
    }

    /// Where a setting that was read before is from.
    pub(crate) fn origin(&self, key: &str) -> ValueOrigin {
        self.shown.iter().find(|shown| shown.key == key).map_or(ValueOrigin::Default, |shown| shown.origin.clone())
    }

    /// Whether nobody said anything about a setting that was read before.
    pub(crate) fn origin_is_default(&self, key: &str) -> bool {
        self.origin(key) == ValueOrigin::Default
    }

    /// Replaces what is shown of a setting, where its default is made of others.
    pub(crate) fn show(&mut self, key: &str, value: String) {
        if let Some(shown) = self.shown.iter_mut().find(|shown| shown.key == key) {
            shown.value = value;
        }
    }

    /// The text of a setting; empty where it has neither a value nor a default.
    pub(crate) fn text(&mut self, key: &'static str) -> String {
        let setting = find(key);
        // The file is read also where something goes before it: a mistake in it is told before the day on which it counts.
        let in_file = self.file.map_or(Ok(None), |file| file.given(setting)).unwrap_or_else(|mistake| {
            self.mistakes.push(mistake);
            None
        });
        let found = self.sources.given(setting).or(in_file);
        let (text, origin) = found.unwrap_or_else(|| (setting.default(), ValueOrigin::Default));
        self.note(setting, text, origin)
    }

    /// What the file says about a setting although something else goes before it.
    fn overridden(&self, key: &str) -> Option<(String, ValueOrigin)> {
        let setting = find(key);
        self.sources.given(setting)?;
        self.file?.given(setting).ok()?
    }

    /// Records a text that was found in another way than by its own names.
    pub(crate) fn note(&mut self, setting: &'static Setting, text: String, origin: ValueOrigin) -> String {
        self.shown.retain(|shown| shown.key != setting.key);
        self.shown.push(Shown { key: &setting.key, value: presentable(setting, &text), origin });
        text
    }

    /// A text, where there is one.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A text that was read, where `parse` understands it; else the mistake is noted. What the file says is looked at also where
    /// something else goes before it.
    pub(crate) fn understood<T>(
        &mut self,
        key: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if let Some((unused, origin)) = self.overridden(key)
            && let Err(message) = parse(&unused)
        {
            self.mistakes.push(Mistake::new(origin, key, message));
        }
        parse(text).map_err(|message| self.refuse(key, message)).ok()
    }

    /// A section: the settings of a table of the file, or with an empty name those outside of any, each from where it is said first
    /// and within its bounds; its default otherwise, after the mistake was noted.
    pub(crate) fn section<T: Described + Default>(&mut self, table: &str) -> T {
        let mut values = json!({});
        let whole = |key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
        for field in T::settings() {
            let key = &find(&whole(&field.key)).key;
            let text = self.text(key);
            let value = if text.is_empty() && field.nullable {
                Some(Value::Null)
            } else {
                self.understood(key, &text, |text| field.parse(text))
            };
            field.put(&mut values, value.unwrap_or(Value::Null));
        }
        loop {
            let error = match schema::changed(&T::default(), &values) {
                Ok(section) => return section,
                Err(error) => error,
            };
            // The bounds of a setting may let through what the type of its field can't be.
            let key = error.path().to_string();
            self.refuse(&whole(&key), misfit::<T>(&key, &error.inner().to_string()));
            let field = T::settings().iter().find(|field| field.key == key);
            let Some(field) = field.filter(|field| field.find(&values).is_some_and(|value| !value.is_null())) else {
                return T::default();
            };
            field.put(&mut values, Value::Null);
        }
    }

    /// A path, made absolute.
    pub(crate) fn path(&mut self, key: &str, text: Option<String>) -> Option<PathBuf> {
        let path = self.absolute(key, &text?);
        self.show(key, path.display().to_string());
        Some(path)
    }

    /// The path that a setting speaks of. What a file says counts from its folder, wherever the command was started.
    pub(crate) fn absolute(&self, key: &str, path: &str) -> PathBuf {
        let folder = match self.origin(key) {
            ValueOrigin::Line { path, .. } => path.parent().unwrap_or(Path::new("")).to_owned(),
            _ => PathBuf::new(),
        };
        self.sources.environment.absolute(path, &folder)
    }
}

fn presentable(setting: &Setting, text: &str) -> String {
    let ValueKind::Text(Some(format)) = &setting.field.kind else { return text.to_owned() };
    match format.as_str() {
        URL => redact_url(text),
        // A hash is no secret, but there is no use in showing it in full either.
        KEYS => {
            text.split(',').map(|key| key.split('=').next().unwrap_or_default().trim()).collect::<Vec<_>>().join(", ")
        }
        _ => text.to_owned(),
    }
}
