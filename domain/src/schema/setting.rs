//! One setting, and what its schema says about its values.

use serde_json::{Number, Value};

/// One thing that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSchema {
    /// Its key, with dots for tables.
    pub key: String,
    /// What its value looks like.
    pub kind: ValueKind,
    /// What its value may be.
    pub bounds: ValueBounds,
    /// Whether it may be unset.
    pub nullable: bool,
    /// Whether it has to be said.
    pub needed: bool,
    /// What counts where nothing is said; null where that is nothing.
    pub default: Value,
    /// What it does: the doc comment of its field, in one line.
    pub doc: String,
}

/// What a value looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// True or false.
    Flag,
    /// A whole number.
    Count,
    /// A number.
    Number,
    /// A number of seconds.
    Seconds,
    /// A text; its `format` says more about some.
    Text(Option<String>),
    /// One of these words.
    Choice(Vec<String>),
    /// A list of texts.
    List,
    /// A list of tables.
    Tables,
    /// Texts by names.
    Map,
}

/// What a number, or the length of a text, may be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueBounds {
    /// The least number.
    pub minimum: Option<f64>,
    /// A number has to be above it.
    pub above: Option<f64>,
    /// The greatest number.
    pub maximum: Option<f64>,
    /// Characters of a text at the least.
    pub shortest: Option<u64>,
    /// Characters of a text at the most.
    pub longest: Option<u64>,
}

impl FieldSchema {
    /// Its value in a table of all of them.
    pub fn find<'v>(&self, values: &'v Value) -> Option<&'v Value> {
        self.key.split('.').try_fold(values, |value, name| value.get(name))
    }

    /// Sets it in a table of all of them.
    pub fn put(&self, values: &mut Value, value: Value) {
        let place = self.key.split('.').fold(values, |table, name| &mut table[name]);
        *place = value;
    }

    /// Refuses a value out of bounds, in words that begin with the key.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        match self.kind {
            ValueKind::Count | ValueKind::Number | ValueKind::Seconds => self.check_number(value),
            ValueKind::Text(_) => self.check_text(value.as_str().unwrap_or_default()),
            ValueKind::Flag | ValueKind::Choice(_) | ValueKind::List | ValueKind::Tables | ValueKind::Map => Ok(()),
        }
    }

    fn check_number(&self, value: &Value) -> Result<(), String> {
        let ValueBounds { minimum, above, maximum, .. } = self.bounds;
        // What is no number of JSON is in no bounds.
        let number = value.as_f64();
        let fits = number.is_some_and(|number| {
            minimum.is_none_or(|least| number >= least)
                && above.is_none_or(|bound| number > bound)
                && maximum.is_none_or(|most| number <= most)
        });
        if fits {
            return Ok(());
        }
        let seconds = self.kind == ValueKind::Seconds;
        let unit = if seconds { " s" } else { "" };
        let too_great = number.zip(maximum).is_some_and(|(number, most)| number > most);
        let words = match (minimum, above, maximum) {
            (Some(least), _, Some(most)) if !seconds || number.is_none() => format!("{least}{unit} to {most}{unit}"),
            (_, _, Some(most)) if too_great => format!("at most {most}{unit}"),
            (_, Some(bound), _) => format!("above {bound}{unit}"),
            (Some(least), ..) => format!("at least {least}{unit}"),
            (None, None, Some(most)) => format!("at most {most}{unit}"),
            (None, None, None) => "a number".to_owned(),
        };
        let given = number.map_or_else(|| plain(value), |number| number.to_string());
        Err(format!("{} must be {words}, not {given}{unit}", self.key))
    }

    fn check_text(&self, text: &str) -> Result<(), String> {
        let length = text.chars().count() as u64;
        let (key, ValueBounds { shortest, longest, .. }) = (&self.key, self.bounds);
        match (shortest, longest) {
            (Some(1), _) if length == 0 => Err(format!("{key} must have at least one character")),
            (Some(least), _) if length < least => Err(format!("{key} must have at least {least} characters")),
            (_, Some(most)) if length > most => Err(format!("{key} must have at most {most} characters")),
            _ => Ok(()),
        }
    }

    /// The value that a text stands for, within bounds. Lists are separated by commas.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = self.value_of(text)?;
        match self.check(&value) {
            Err(_) if self.kind == ValueKind::Count => Err(format!("{} is expected, not {text:?}", self.words())),
            checked => checked.map(|()| value),
        }
    }

    fn value_of(&self, text: &str) -> Result<Value, String> {
        let digits = without_underscores(text);
        match &self.kind {
            ValueKind::Flag => truth(text).map(Value::Bool),
            ValueKind::Count => {
                let number = digits.and_then(|digits| digits.parse::<u64>().ok());
                number.map(Value::from).ok_or_else(|| format!("{} is expected, not {text:?}", self.words()))
            }
            ValueKind::Number | ValueKind::Seconds => {
                let number = digits.and_then(|digits| digits.parse::<f64>().ok());
                let number = number.filter(|number| *number >= 0.0 || self.kind == ValueKind::Number);
                let noun = if self.kind == ValueKind::Seconds { "a number of seconds" } else { "a number" };
                let what = self.number_within(noun).unwrap_or_else(|| noun.to_owned());
                number.and_then(as_number).ok_or_else(|| format!("{what} is expected, not {text:?}"))
            }
            ValueKind::Choice(words) if !words.iter().any(|word| word == text) => {
                Err(format!("{} is expected, not {text:?}", words.join(" or ")))
            }
            ValueKind::Text(_) | ValueKind::Choice(_) => Ok(text.into()),
            ValueKind::List => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
            ValueKind::Tables => {
                let tables = serde_json::from_str::<Value>(text).ok().filter(Value::is_array);
                tables
                    .ok_or_else(|| format!("a list of tables is expected, as in {}=[{{...}}], not {text:?}", self.key))
            }
            ValueKind::Map => {
                let map = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
                map.ok_or_else(|| format!("names and values are expected, as in {}.NAME, not {text:?}", self.key))
            }
        }
    }

    /// What its value looks like, in words.
    pub fn words(&self) -> String {
        let ValueBounds { minimum, above, maximum, shortest, longest } = self.bounds;
        let least = minimum.filter(|least| *least > 0.0);
        let numbers = |noun: &str| match (least, above, maximum) {
            (_, _, Some(most)) if self.kind != ValueKind::Seconds => {
                format!("{noun} from {} to {most}", minimum.unwrap_or_default())
            }
            (Some(least), ..) => format!("{noun} from {least}"),
            (None, Some(bound), _) => format!("{noun} above {bound}"),
            (None, None, _) => noun.to_owned(),
        };
        match &self.kind {
            ValueKind::Flag => "true or false".to_owned(),
            ValueKind::Count => numbers("a whole number"),
            ValueKind::Number => numbers("a number"),
            ValueKind::Seconds => numbers("seconds"),
            ValueKind::Choice(words) => words.join(", "),
            ValueKind::Text(Some(format)) => format!("a {format}"),
            ValueKind::Text(None) => match (shortest, longest) {
                (shortest, Some(most)) => format!("a text of {} to {most} characters", shortest.unwrap_or(0)),
                _ => "a text".to_owned(),
            },
            ValueKind::List => "a list of texts".to_owned(),
            ValueKind::Tables => "a list of tables".to_owned(),
            ValueKind::Map => "names and texts".to_owned(),
        }
    }

    /// What number its value is, where it has bounds of its own. `wanted` says that of its type.
    pub fn number_within(&self, wanted: &str) -> Option<String> {
        let ValueBounds { minimum, above, maximum, .. } = self.bounds;
        let nouns = ["a whole number", "a number of seconds", "a number"];
        let (noun, of_type) = nouns.iter().find_map(|noun| Some((noun, wanted.strip_prefix(noun)?)))?;
        // Others say what they count, as in "a number of US dollars".
        if !(of_type.is_empty() || of_type.starts_with(" from ")) {
            return None;
        }
        let noun = if self.kind == ValueKind::Seconds { nouns[1] } else { noun };
        let least =
            minimum.map(|least| format!(" from {least}")).or_else(|| above.map(|bound| format!(" above {bound}")))?;
        let most = maximum.filter(|_| self.kind != ValueKind::Seconds).map(|most| most.to_string());
        let most = most.or_else(|| of_type.split_once(" to ").map(|(_, most)| most.to_owned()));
        Some(format!("{noun}{least}{}", most.map(|most| format!(" to {most}")).unwrap_or_default()))
    }

    /// The default as one would write it; empty where there is none.
    pub fn default_text(&self) -> String {
        if self.default.is_null() { String::new() } else { plain(&self.default) }
    }
}

/// A truth value, as people write it.
pub fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("true or false is expected, not {text:?}")),
    }
}

/// The digits of a number. As in TOML, each underscore has to be between two of them.
fn without_underscores(text: &str) -> Option<String> {
    let is_digit =
        |place: Option<usize>| place.and_then(|place| text.as_bytes().get(place)).is_some_and(u8::is_ascii_digit);
    let between = |place: usize| is_digit(place.checked_sub(1)) && is_digit(place.checked_add(1));
    text.match_indices('_').all(|(place, _)| between(place)).then(|| text.replace('_', ""))
}

/// A whole one as a whole number, as people write it.
fn as_number(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && (0.0..EXACT).contains(&number) {
        return Some(Value::from(number as u64));
    }
    Number::from_f64(number).map(Value::Number)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
