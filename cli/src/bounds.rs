//! The bounds of a pool on the command line: `KEY=VALUE` for every one, and flags for some. What there is, what it means and
//! what it may be is read from the type itself.

use std::ffi::OsStr;
use std::sync::LazyLock;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use muster_domain::schema::{Described, FieldSchema, ValueKind};
use muster_domain::{PoolConfig, nearest};
use serde_json::{Value, json};

/// Flags, and the keys that they stand for.
const FLAGS: [(&str, &str); 13] = [
    ("max-agents", "max_agents"),
    ("max-workers", "max_workers"),
    ("min-workers", "min_workers"),
    ("health-check-interval", "health_check_interval"),
    ("worker-idle-timeout", "worker_idle_timeout"),
    ("max-idle-time", "max_idle_time"),
    ("restart", "restart.kind"),
    ("max-restarts", "restart.max_restarts"),
    ("tasks-per-agent", "tasks_per_agent"),
    ("on-demand", "on_demand.max_agents"),
    ("max-queued", "max_queued"),
    ("max-attempts", "max_attempts"),
    ("task-timeout", "task_timeout"),
];
const NO_ON_DEMAND: &str = "no-on-demand";
const PAIRS: &str = "settings";

/// What is to be changed of a pool's bounds, as the API reads it: a JSON merge patch.
#[derive(Clone, Debug, Default)]
pub(super) struct BoundsPatch {
    patch: Value,
    said: Vec<SpokenFor>,
}

/// That a word of the command line speaks of a setting, or of a table.
#[derive(Clone, Debug)]
struct SpokenFor {
    word: String,
    path: Vec<String>,
    is_table: bool,
}

impl BoundsPatch {
    /// Whether nothing is to be changed.
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// The patch.
    pub(super) fn into_json(self) -> Value {
        if self.is_empty() { json!({}) } else { self.patch }
    }

    /// Notes what a word says, unless another one speaks of the same: what of them counts would be a guess. Tables are merged.
    fn set(&mut self, word: &str, path: &[String], value: &Value) -> Result<(), clap::Error> {
        let is_table = value.is_object();
        let is_same = |said: &&SpokenFor| {
            (!said.is_table && path.starts_with(&said.path)) || (!is_table && said.path.starts_with(path))
        };
        if let Some(SpokenFor { word: other, .. }) = self.said.iter().find(is_same) {
            let message = format!("{other} and {word} speak of the same setting ({})\n", path.join("."));
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
        }
        self.said.push(SpokenFor { word: word.to_owned(), path: path.to_owned(), is_table });
        let place = path.iter().fold(&mut self.patch, |table, name| &mut table[name.as_str()]);
        let Value::Object(values) = value else {
            *place = value.clone();
            return Ok(());
        };
        if place.is_null() {
            *place = json!({});
        }
        values.iter().try_for_each(|(name, value)| self.set(word, &[path, std::slice::from_ref(name)].concat(), value))
    }
}

impl Args for BoundsPatch {
    fn augment_args(command: Command) -> Command {
        let flags = FLAGS.into_iter().filter_map(|(flag, key)| Some(flag_of(flag, setting(key)?)));
        command.args(flags).arg(no_on_demand()).arg(pairs())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for BoundsPatch {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut bounds = Self::default();
        for (flag, key) in FLAGS {
            if let Some(value) = matches.get_one::<Value>(flag) {
                bounds.set(&format!("--{flag}"), &steps(key), value)?;
            }
        }
        if matches.get_flag(NO_ON_DEMAND) {
            bounds.set(&format!("--{NO_ON_DEMAND}"), &steps("on_demand"), &Value::Null)?;
        }
        for Pair { word, path, value } in matches.get_many::<Pair>(PAIRS).into_iter().flatten() {
            bounds.set(word, path, value)?;
        }
        Ok(bounds)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn steps(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}

fn setting(key: &str) -> Option<&'static FieldSchema> {
    PoolConfig::settings().iter().find(|setting| setting.key == key)
}

fn flag_of(flag: &'static str, setting: &'static FieldSchema) -> Arg {
    let arg = Arg::new(flag).long(flag).help(setting.doc.clone());
    match &setting.kind {
        ValueKind::Choice(words) => {
            let words = PossibleValuesParser::new(words.iter().map(String::as_str));
            arg.value_name("KIND").value_parser(words.map(Value::from))
        }
        kind => {
            let name = if *kind == ValueKind::Seconds { "SECONDS" } else { "N" };
            arg.value_name(name).value_parser(move |text: &str| setting.parse(text))
        }
    }
}

fn no_on_demand() -> Arg {
    let arg = Arg::new(NO_ON_DEMAND).long(NO_ON_DEMAND).action(ArgAction::SetTrue).conflicts_with("on-demand");
    arg.help("Start no agents for tasks that wait")
}

fn pairs() -> Arg {
    let arg = Arg::new(PAIRS).value_name("KEY=VALUE").num_args(0..).action(ArgAction::Append);
    // All of them would be more than a screen; the long help has them with their meaning.
    arg.value_parser(Pairs)
        .hide_possible_values(true)
        .help("Any setting; null is back to its default (--help lists them)")
}

/// A word of the command line: a path into the bounds, and the value there.
#[derive(Clone, Debug)]
struct Pair {
    word: String,
    path: Vec<String>,
    value: Value,
}

/// `KEY=VALUE`, whose keys can be completed.
#[derive(Clone)]
struct Pairs;

impl TypedValueParser for Pairs {
    type Value = Pair;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Pair, clap::Error> {
        let parse: fn(&str) -> Result<Pair, String> = pair;
        parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        static KEYS: LazyLock<Vec<String>> =
            LazyLock::new(|| PoolConfig::settings().iter().map(|setting| format!("{}=", setting.key)).collect());
        let settings = KEYS.iter().zip(PoolConfig::settings());
        Some(Box::new(settings.map(|(key, setting)| PossibleValue::new(key.as_str()).help(setting.doc.clone()))))
    }
}

fn pair(word: &str) -> Result<Pair, String> {
    let of = |path: Vec<String>, value| Pair { word: word.to_owned(), path, value };
    let (key, text) = word.split_once('=').ok_or("KEY=VALUE is expected, as in max_agents=4")?;
    let within = |outer: &FieldSchema| {
        (outer.kind == ValueKind::Map).then_some(key)?.strip_prefix(&outer.key)?.strip_prefix('.')
    };
    if let Some(setting) = setting(key) {
        let value = if text == "null" { Ok(Value::Null) } else { setting.parse(text) };
        return value.map(|value| of(steps(key), value));
    }
    if let Some((map, name)) = PoolConfig::settings().iter().find_map(|setting| Some((setting, within(setting)?))) {
        // A name may have dots in it.
        let path = map.key.split('.').chain([name]).map(str::to_owned).collect();
        return Ok(of(path, if text == "null" { Value::Null } else { text.into() }));
    }
    let inner = format!("{key}.");
    if PoolConfig::settings().iter().any(|setting| setting.key.starts_with(&inner)) {
        return match serde_json::from_str(text) {
            Ok(value @ (Value::Null | Value::Object(_))) => Ok(of(steps(key), value)),
            _ => Err(format!("null or a JSON object is expected, not {text:?}")),
        };
    }
    let near = nearest(key, PoolConfig::settings().iter().map(|setting| setting.key.as_str()));
    let hint = near.map_or_else(|| "--help lists them".to_owned(), |(near, _)| format!("the nearest is {near}"));
    Err(format!("there is no setting {key}; {hint}"))
}

/// The settings with what they mean, for the end of a help text.
pub(super) fn help() -> String {
    let line = |setting: &FieldSchema| {
        let default =
            if setting.default.is_null() { String::new() } else { format!(" [default: {}]", setting.default_text()) };
        format!("  {}\n          {} ({}){default}\n", setting.key, setting.doc, setting.words())
    };
    let lines: String = PoolConfig::settings().iter().map(line).collect();
    format!("Settings, as KEY=VALUE:\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, clap::Parser)]
    struct HelpLine {
        #[command(flatten)]
        bounds: BoundsPatch,
    }

    fn read(words: &str) -> Result<Value, String> {
        let line = <HelpLine as clap::Parser>::try_parse_from(std::iter::once("set").chain(words.split(' ')));
        line.map(|line| line.bounds.into_json()).map_err(|error| error.to_string())
    }

    #[test]
    fn pairs_are_a_patch() {
        let words = "max_agents=4 restart.kind=transient on_demand.reuse=no task_lease=1.5 skip_phrase=a=b dependencies.db.eu=tcp://d:1";
        let patch = json!({"max_agents": 4, "restart": {"kind": "transient"}, "on_demand": {"reuse": false}, "task_lease": 1.5,
            "skip_phrase": "a=b", "dependencies": {"db.eu": "tcp://d:1"}});
        assert_eq!(read(words), Ok(patch));
        let words = "max_agents=null on_demand=null dependencies.db=null retry={\"poison_bound\":1}";
        let patch =
            json!({"max_agents": null, "on_demand": null, "dependencies": {"db": null}, "retry": {"poison_bound": 1}});
        assert_eq!(read(words), Ok(patch));
        assert_eq!(read("--max-agents 3 min_workers=1"), Ok(json!({"max_agents": 3, "min_workers": 1})));
    }

    #[test]
    fn what_can_not_be_is_refused_before_it_is_sent() {
        for (words, expected) in [
            ("max_agents", "KEY=VALUE is expected, as in max_agents=4"),
            ("max_agents=0", "a whole number from 1 to 1000 is expected, not \"0\""),
            ("--max-agents 0", "a whole number from 1 to 1000 is expected, not \"0\""),
            ("max_agentz=1", "there is no setting max_agentz; the nearest is max_agents"),
            ("colour=1", "there is no setting colour; --help lists them"),
            ("restart.kind=often", "permanent or transient or temporary is expected, not \"often\""),
            ("restart=often", "null or a JSON object is expected, not \"often\""),
        ] {
            let refused = read(words).expect_err(words);
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn two_words_about_one_setting_are_refused() {
        for (words, one, other) in [
            ("--no-on-demand on_demand.max_agents=3", "--no-on-demand", "on_demand.max_agents=3"),
            ("--no-on-demand on_demand.reuse=no", "--no-on-demand", "on_demand.reuse=no"),
            ("--no-on-demand on_demand={\"reuse\":false}", "--no-on-demand", "on_demand={\"reuse\":false}"),
            ("--on-demand 3 on_demand=null", "--on-demand", "on_demand=null"),
            ("--on-demand 3 on_demand={\"max_agents\":4}", "--on-demand", "on_demand={\"max_agents\":4}"),
            ("--max-agents 3 max_agents=4", "--max-agents", "max_agents=4"),
            ("--max-agents 3 max_agents=3", "--max-agents", "max_agents=3"),
            ("max_agents=4 max_agents=5", "max_agents=4", "max_agents=5"),
            ("max_agents=null max_agents=5", "max_agents=null", "max_agents=5"),
            ("on_demand=null on_demand={}", "on_demand=null", "on_demand={}"),
            ("on_demand={} on_demand=null", "on_demand={}", "on_demand=null"),
            ("retry=null retry.poison_bound=5", "retry=null", "retry.poison_bound=5"),
            ("retry.poison_bound=5 retry={\"poison_bound\":6}", "retry.poison_bound=5", "retry={\"poison_bound\":6}"),
            (
                "dependencies.a=tcp://a:1 dependencies.a=tcp://b:1",
                "dependencies.a=tcp://a:1",
                "dependencies.a=tcp://b:1",
            ),
            ("dependencies=null dependencies.a=tcp://b:1", "dependencies=null", "dependencies.a=tcp://b:1"),
        ] {
            let refused = <HelpLine as clap::Parser>::try_parse_from(std::iter::once("set").chain(words.split(' ')));
            let refused = refused.expect_err(words);
            let said = refused.to_string();
            assert!(said.contains(one) && said.contains(other), "{words}: {said}");
            assert_eq!(refused.exit_code(), 2, "{words}");
        }
        let words = "retry={\"poison_bound\":1} retry.backoff_min=2 on_demand={} on_demand.reuse=no";
        let patch = json!({"retry": {"poison_bound": 1, "backoff_min": 2}, "on_demand": {"reuse": false}});
        assert_eq!(read(words), Ok(patch), "what fits together is one table");
    }

    #[test]
    fn every_setting_is_in_the_help_and_the_completions() {
        let mut command = <super::super::Cli as clap::CommandFactory>::command();
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Zsh, &mut command, "muster", &mut script);
        let script = String::from_utf8(script).expect("a text");
        for setting in PoolConfig::settings() {
            let key = &setting.key;
            assert!(help().contains(&format!("  {key}\n")), "{key}");
            assert!(script.contains(&format!("{key}=")), "{key}");
            assert!(pair(&format!("{key}=null")).is_ok(), "{key}");
        }
    }
}
