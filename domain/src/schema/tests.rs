//! The list of settings, and changes of them.

use serde_json::json;

use super::*;
use crate::runtime::ExecProfile;
use crate::{OnDemand, PoolConfig, RestartKind, TenantLimits};

fn setting(key: &str) -> &'static FieldSchema {
    PoolConfig::settings().iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no setting {key}"))
}

#[test]
fn a_setting_is_what_its_field_says() {
    let max_agents = setting("max_agents");
    assert_eq!((&max_agents.kind, max_agents.words().as_str()), (&ValueKind::Count, "a whole number from 1 to 1000"));
    assert_eq!((&max_agents.default, max_agents.doc.as_str()), (&json!(10), "Agents that one worker holds"));
    let kind = setting("restart.kind");
    let words = ["permanent", "transient", "temporary"].map(str::to_owned).to_vec();
    assert_eq!((&kind.kind, &kind.default), (&ValueKind::Choice(words), &json!("permanent")));
    let window = setting("restart.window");
    assert_eq!(
        (&window.kind, window.words().as_str(), &window.default),
        (&ValueKind::Seconds, "seconds above 0", &json!(60))
    );
    assert_eq!(window.bounds.maximum, Some(1e9), "no duration is longer");
    let reuse = setting("on_demand.reuse");
    assert_eq!((&reuse.kind, &reuse.default), (&ValueKind::Flag, &json!(true)), "what counts once the table is there");
    let timeout = setting("task_timeout");
    assert_eq!((&timeout.kind, timeout.nullable, timeout.default.is_null()), (&ValueKind::Seconds, true, true));
    assert_eq!(
        (&setting("dependencies").kind, setting("dependencies").default_text().as_str()),
        (&ValueKind::Map, "{}")
    );
    assert_eq!(
        (&setting("skip_phrase").kind, setting("skip_phrase").bounds.shortest),
        (&ValueKind::Text(None), Some(1))
    );
    let share = setting("breaker.share");
    assert_eq!((&share.kind, share.words().as_str()), (&ValueKind::Number, "a number from 0 to 1"));
}

#[test]
fn the_list_has_the_order_of_the_fields_and_a_doc_for_each() {
    let keys: Vec<&str> = PoolConfig::settings().iter().map(|setting| setting.key.as_str()).collect();
    assert_eq!(keys[..4], ["max_agents", "max_workers", "min_workers", "health_check_interval"]);
    for setting in PoolConfig::settings().iter().chain(ExecProfile::settings()).chain(TenantLimits::settings()) {
        assert!(!setting.doc.is_empty(), "{}", setting.key);
        assert!(setting.default.is_null() || setting.check(&setting.default).is_ok(), "{}", setting.key);
        assert!(!setting.default.is_null() || setting.nullable || setting.needed, "{} has no default", setting.key);
    }
    let needed: Vec<_> = ExecProfile::settings().iter().filter(|setting| setting.needed).map(|s| &s.key).collect();
    assert_eq!(needed, ["command"]);
}

#[test]
fn a_text_becomes_a_value_within_bounds() {
    let read = |key: &str, text: &str| setting(key).parse(text);
    assert_eq!(read("max_agents", "1_000"), Ok(json!(1000)));
    assert_eq!(read("task_lease", "1.5"), Ok(json!(1.5)));
    assert_eq!(read("task_lease", "60"), Ok(json!(60)));
    assert_eq!(read("on_demand.reuse", "no"), Ok(json!(false)));
    assert_eq!(read("dependencies", r#"{"a": "tcp://h:1"}"#), Ok(json!({"a": "tcp://h:1"})));
    for (key, text, words) in [
        ("max_agents", "0", "a whole number from 1 to 1000 is expected, not \"0\""),
        ("max_agents", "_4_", "a whole number from 1 to 1000 is expected, not \"_4_\""),
        ("max_agents", "4_", "a whole number from 1 to 1000 is expected, not \"4_\""),
        ("max_agents", "_4", "a whole number from 1 to 1000 is expected, not \"_4\""),
        ("max_agents", "1__0", "a whole number from 1 to 1000 is expected, not \"1__0\""),
        ("task_lease", "1_.5", "a number of seconds above 0 is expected, not \"1_.5\""),
        ("breaker.share", "0._5", "a number from 0 to 1 is expected, not \"0._5\""),
        ("max_agents", "x", "a whole number from 1 to 1000 is expected, not \"x\""),
        ("max_idle_time", "0.5", "max_idle_time must be at least 1 s, not 0.5 s"),
        ("task_lease", "-1", "a number of seconds above 0 is expected, not \"-1\""),
        ("breaker.share", "nan", "a number from 0 to 1 is expected, not \"nan\""),
        ("restart.kind", "often", "permanent or transient or temporary is expected, not \"often\""),
        ("on_demand.reuse", "maybe", "true or false is expected, not \"maybe\""),
        ("skip_phrase", "", "skip_phrase must have at least one character"),
        ("dependencies", "x", "names and values are expected, as in dependencies.NAME, not \"x\""),
    ] {
        assert_eq!(read(key, text), Err(words.to_owned()), "{key} {text}");
    }
}

#[test]
fn a_patch_changes_what_it_names_and_null_is_the_default() {
    let config = PoolConfig { min_workers: 1, health_check_interval: Some(2.0), ..PoolConfig::default() };
    let after = |config: &PoolConfig, patch| changed(config, &patch).expect("a change");
    let some = after(&config, json!({"max_agents": 4, "max_idle_time": 1.5, "restart": {"kind": "transient"}}));
    assert_eq!((some.max_agents, some.min_workers, some.health_check_interval), (4, 1, Some(2.0)));
    assert_eq!((some.restart.kind, some.restart.max_restarts), (RestartKind::Transient, 5));
    assert_eq!(after(&some, json!({})), some);
    let back = after(&some, json!({"max_agents": null, "health_check_interval": null, "restart": null}));
    assert_eq!(back, PoolConfig { min_workers: 1, max_idle_time: some.max_idle_time, ..PoolConfig::default() });
    let demand = after(&config, json!({"on_demand": {"max_agents": 7}}));
    assert_eq!(demand.on_demand, Some(OnDemand { max_agents: 7, reuse: true }));
    let once = after(&demand, json!({"on_demand": {"reuse": false}}));
    assert_eq!(once.on_demand, Some(OnDemand { max_agents: 7, reuse: false }), "the rest stays");
    assert_eq!(after(&once, json!({"on_demand": {"reuse": null}})).on_demand, demand.on_demand);
    assert_eq!(after(&once, json!({"on_demand": null})).on_demand, None);
    let two = after(&config, json!({"dependencies": {"a": "tcp://a:1", "b": "tcp://b:1"}}));
    let one = after(&two, json!({"dependencies": {"a": null, "c": "tcp://c:1"}}));
    assert_eq!(one.dependencies.keys().collect::<Vec<_>>(), ["b", "c"], "they are merged by name");
    assert!(after(&one, json!({"dependencies": null})).dependencies.is_empty());
}

#[test]
fn what_does_not_fit_is_named_by_its_path() {
    for (patch, path, words) in [
        (json!({"restart": {"kind": "x"}}), "restart.kind", "unknown variant"),
        (json!({"max_agents": 2.5}), "max_agents", "invalid type"),
        (json!({"max_agentz": 1}), "max_agentz", "unknown field"),
        (json!({"max_agentz": null}), "max_agentz", "unknown field"),
        (json!({"on_demand": {"max": null}}), "on_demand.max", "unknown field"),
        (json!({"restart.kind": null}), "restart.kind", "unknown field"),
        (json!({"dependencies": {"a": "ftp://h"}}), "dependencies.a", "http://"),
        (json!({"dependencies": ["tcp://h:1"]}), "dependencies", "invalid type: sequence"),
        (json!({"restart": ["temporary", 0]}), "restart", "invalid type: sequence"),
        (json!({"retry": []}), "retry", "invalid type: sequence"),
        (json!({"breaker": []}), "breaker", "invalid type: sequence"),
        (json!({"on_demand": [7]}), "on_demand", "invalid type: sequence"),
        (json!([4]), ".", "invalid type: sequence"),
    ] {
        let error = changed(&PoolConfig::default(), &patch).expect_err("a misfit");
        assert_eq!(error.path().to_string(), path, "{patch}");
        assert!(error.inner().to_string().starts_with(words), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_the_bounds_of_its_setting() {
    let said = |patch: serde_json::Value| {
        let error = changed::<PoolConfig>(&PoolConfig::default(), &patch).expect_err("a misfit");
        misfit::<PoolConfig>(&error.path().to_string(), &error.inner().to_string())
    };
    for (patch, words) in [
        (json!({"max_agents": "2"}), "a whole number from 1 to 1000 is expected, not the text \"2\""),
        (json!({"tasks_per_agent": 1.5}), "a whole number from 1 to 1000 is expected, not the number 1.5"),
        (json!({"max_workers": -1}), "a whole number from 0 to 4294967295 is expected, not the number -1"),
        (json!({"max_idle_time": -1}), "a number of seconds from 1 is expected, not -1"),
        (json!({"max_idle_time": true}), "a number of seconds from 1 is expected, not true"),
        (json!({"restart": {"window": "x"}}), "a number of seconds above 0 is expected, not the text \"x\""),
        (json!({"breaker": {"share": "x"}}), "a number from 0 to 1 is expected, not the text \"x\""),
        (json!({"skip_phrase": 1}), "a text is expected, not the number 1"),
        (json!({"on_demand": [7]}), "a table of fields is expected, not a list"),
    ] {
        assert_eq!(said(patch), words);
    }
    let limits =
        changed::<TenantLimits>(&TenantLimits::default(), &json!({"max_running": 0.5})).expect_err("no number");
    let words = misfit::<TenantLimits>("max_running", &limits.inner().to_string());
    assert_eq!(words, "a whole number from 1 to 4294967295 is expected, not the number 0.5");
}

#[test]
fn one_setting_bounds_a_value_of_another_name() {
    assert_eq!(check_one::<PoolConfig>("task_timeout", "timeout", &json!(1)), Ok(()));
    let refused = check_one::<PoolConfig>("task_timeout", "timeout", &json!(0)).expect_err("no time");
    assert_eq!(refused, "timeout must be above 0 s, not 0 s");
    assert!(check_one::<PoolConfig>("task_timeoutz", "timeout", &json!(1)).is_err(), "nothing would bound it");
}
