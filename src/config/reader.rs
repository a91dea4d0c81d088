//! Turns what was given into values. It goes on after a mistake, so that all of them are told at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_domain::orders::redact_url;

use super::file::File;
use super::mistake::{Mistake, Origin};
use super::settings::{Kind, Setting, find};
use super::sources::Sources;

/// One line of `muster config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The key.
    pub(crate) key: &'static str,
    /// The value as it may be shown; empty where there is none.
    pub(crate) value: String,
    /// Where it is from.
    pub(crate) origin: Origin,
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
    pub(crate) fn origin(&self, key: &str) -> Origin {
        self.shown.iter().find(|shown| shown.key == key).map_or(Origin::Default, |shown| shown.origin.clone())
    }

    /// Whether nobody said anything about a setting that was read before.
    pub(crate) fn origin_is_default(&self, key: &str) -> bool {
        self.origin(key) == Origin::Default
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
        let (text, origin) = found.unwrap_or_else(|| (setting.default.to_owned(), Origin::Default));
        self.note(setting, text, origin)
    }

    /// What the file says about a setting although something else goes before it.
    fn overridden(&self, key: &str) -> Option<(String, Origin)> {
        let setting = find(key);
        self.sources.given(setting)?;
        self.file?.given(setting).ok()?
    }

    /// Records a text that was found in another way than by its own names.
    pub(crate) fn note(&mut self, setting: &'static Setting, text: String, origin: Origin) -> String {
        self.shown.retain(|shown| shown.key != setting.key);
        self.shown.push(Shown { key: setting.key, value: presentable(setting.kind, &text), origin });
        text
    }

    /// A text, where there is one.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    /// A text that `parse` understands; its default otherwise, after the mistake was noted.
    pub(crate) fn parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key);
        if let Some((unused, origin)) = self.overridden(key)
            && let Err(message) = parse(&unused)
        {
            self.mistakes.push(Mistake::new(origin, key, message));
        }
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(key, message);
                parse(find(key).default).ok()
            }
        }
    }

    /// One of the words of a choice, by its place in the table.
    pub(crate) fn choice(&mut self, key: &'static str) -> usize {
        let Kind::Choice(words) = find(key).kind else { return 0 };
        let place = |text: &str| {
            let found = words.iter().position(|word| *word == text);
            found.ok_or_else(|| format!("{} is expected, not {text:?}", words.join(" or ")))
        };
        self.parsed(key, place).unwrap_or_default()
    }

    /// A flag.
    pub(crate) fn flag(&mut self, key: &'static str) -> bool {
        self.parsed(key, truth).unwrap_or_default()
    }

    /// A number of seconds.
    pub(crate) fn seconds(&mut self, key: &'static str) -> Duration {
        let seconds = |text: &str| {
            let number = text.replace('_', "").parse::<f64>().ok();
            let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
            duration.ok_or_else(|| format!("a number of seconds is expected, not {text:?}"))
        };
        self.parsed(key, seconds).unwrap_or_default()
    }

    /// A whole number within bounds.
    pub(crate) fn count(&mut self, key: &'static str, bounds: std::ops::RangeInclusive<u32>) -> u32 {
        let count = |text: &str| {
            let number = text.parse::<u32>().ok().filter(|number| bounds.contains(number));
            let (low, high) = (bounds.start(), bounds.end());
            number.ok_or_else(|| format!("a whole number from {low} to {high} is expected, not {text:?}"))
        };
        self.parsed(key, count).unwrap_or_default()
    }

    /// A path, made absolute.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.optional(key)?;
        let path = self.absolute(key, &text);
        self.show(key, path.display().to_string());
        Some(path)
    }

    /// The path that a setting speaks of. What a file says counts from its folder, wherever the command was started.
    pub(crate) fn absolute(&self, key: &str, path: &str) -> PathBuf {
        let folder = match self.origin(key) {
            Origin::Line { path, .. } => path.parent().unwrap_or(Path::new("")).to_owned(),
            _ => PathBuf::new(),
        };
        self.sources.environment.absolute(path, &folder)
    }

    /// A list of texts.
    pub(crate) fn list(&mut self, key: &'static str) -> Vec<String> {
        let text = self.text(key);
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

/// A truth value, as people write it.
pub(crate) fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("true or false is expected, not {text:?}")),
    }
}

fn presentable(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Url => redact_url(text),
        // A hash is no secret, but there is no use in showing it in full either.
        Kind::Keys => {
            text.split(',').map(|key| key.split('=').next().unwrap_or_default().trim()).collect::<Vec<_>>().join(", ")
        }
        _ => text.to_owned(),
    }
}
