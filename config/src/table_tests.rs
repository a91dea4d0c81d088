//! The tables of pools and runtimes as people write them, good and bad.

use std::time::Duration;

use muster_domain::CapacityTiers;

use super::tests::{TestFolder, mistake_of};
use super::*;

/// A runtime and a pool of it.
pub(super) const POOLS: &str = "
[runtimes.py]
kind = 'exec'
command = ['python3', 'agent.py']
env = { TOKEN = 's3cret' }
pass_env = ['API_TOKEN']
start_timeout = 2.5

[pools.coders]
role_type = 'developer'
runtime = 'py'
max_agents = 4
restart = { kind = 'transient', max_restarts = 2 }
";

#[test]
fn pools_and_runtimes_are_read() {
    let config = TestFolder::with_file(POOLS).load();
    let RuntimeProfile::Exec(py) = &config.runtimes["py"] else { panic!("an exec profile") };
    assert_eq!((py.start_timeout, py.stop_deadline), (Duration::from_millis(2500), Duration::from_secs(10)));
    let pool = &config.pools[0];
    assert_eq!((pool.pool_name.as_str(), pool.role_type.as_str(), pool.config.max_agents), ("coders", "developer", 4));
    assert_eq!((pool.config.restart.max_restarts, pool.config.max_workers), (2, 20));
    assert_eq!(pool.origin, muster_domain::PoolOrigin::File);
}

#[test]
fn every_documented_key_of_a_table_is_accepted() {
    let mut file = String::from("[runtimes.x]\nkind = 'exec'\ncommand = ['x']\ncwd = 'x'\n");
    let said = |table: &str| {
        let keys = settings::TABLES.iter().find(|known| known.name == table).expect("a table").keys.clone();
        keys.into_iter().filter(|key| !key.needed && !key.default.is_null() && key.default != serde_json::json!({}))
    };
    // A text of JSON is one of TOML too, and so are numbers, words and lists.
    said("runtimes").for_each(|key| file.push_str(&format!("{} = {}\n", key.key, key.default)));
    file.push_str("[pools.x]\nrole_type = 'x'\nhealth_check_interval = 1\n");
    said("pools").for_each(|key| file.push_str(&format!("{} = {}\n", key.key, key.default)));
    let mut defaults = muster_domain::PoolConfig { health_check_interval: Some(1.0), ..Default::default() };
    defaults.on_demand = Some(Default::default());
    let tier = || Some(Default::default());
    defaults.tiers = Some(CapacityTiers { base: tier(), spot: tier(), burst: tier(), ..Default::default() });
    assert_eq!(TestFolder::with_file(&file).load().pools[0].config, defaults, "the table says the defaults that hold");
}

#[test]
fn mistakes_of_pools_and_runtimes_name_their_line() {
    let cases = [
        (
            "runtime = 'py'",
            "runtime = 'rb'",
            "muster.toml:11: pools.coders.runtime: there is no runtime \"rb\"; there are: echo, py",
        ),
        (
            "max_agents = 4",
            "launcher = 'east'",
            "muster.toml:12: pools.coders.launcher: there is no launcher \"east\"; there are: local",
        ),
        ("role_type = 'developer'", "", "muster.toml:9: pools.coders: role_type is missing"),
        (
            "max_agents = 4",
            "max_agentz = 4",
            "muster.toml:12: pools.coders.max_agentz: there is no such key; the nearest is max_agents",
        ),
        (
            "max_agents = 4",
            "ondemand = {}",
            "muster.toml:12: pools.coders.ondemand: there is no such key; the nearest is on_demand",
        ),
        (
            "max_restarts = 2",
            "max_restart = 2",
            "muster.toml:13: pools.coders.restart.max_restart: there is no such key; the nearest is restart.max_restarts",
        ),
        (
            "max_agents = 4",
            "max_agents = 0",
            "muster.toml:12: pools.coders.max_agents: max_agents must be 1 to 1000, not 0",
        ),
        (
            "max_agents = 4",
            "max_agents = 'x'",
            "muster.toml:12: pools.coders.max_agents: a whole number from 1 to 1000 is expected, not the text \"x\"",
        ),
        (
            "max_agents = 4",
            "max_agents = 2.5",
            "muster.toml:12: pools.coders.max_agents: a whole number from 1 to 1000 is expected, not the number 2.5",
        ),
        (
            "max_agents = 4",
            "tasks_per_agent = 99999999999999999999",
            "muster.toml:12: pools.coders.tasks_per_agent: a whole number from 1 to 1000 is expected, not the number 99999999999999999999",
        ),
        (
            "max_agents = 4",
            "on_demand = [7]",
            "muster.toml:12: pools.coders.on_demand: a table of fields is expected, not a list",
        ),
        (
            "max_agents = 4",
            "breaker = []",
            "muster.toml:12: pools.coders.breaker: a table of fields is expected, not a list",
        ),
        (
            "max_agents = 4",
            "health_check_interval = 6",
            "muster.toml:12: pools.coders.health_check_interval: 3 x health_check_interval (3 x 6 s = 18 s) is above clocks.lease (15 s)",
        ),
        (
            "role_type = 'developer'",
            "role_type = 'ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd'",
            "muster.toml:10: pools.coders.role_type: role_type must have 1 to 64 characters, not 65",
        ),
        (
            "[pools.coders]",
            "[pools.Coders]",
            "muster.toml:9: pools.Coders: a pool name is 1 to 64 characters of a-z, 0-9, '-' and '_', not \"Coders\"",
        ),
        ("kind = 'exec'", "kind = 'shell'", "muster.toml:3: runtimes.py.kind: exec or echo is expected, not \"shell\""),
        ("kind = 'exec'", "", "muster.toml:2: runtimes.py: kind is missing: exec or echo"),
        (
            "command = ['python3', 'agent.py']",
            "command = []",
            "muster.toml:4: runtimes.py.command: the program is missing",
        ),
        (
            "command = ['python3', 'agent.py']",
            "command = 'x'",
            "muster.toml:4: runtimes.py.command: a list is expected, not the text \"x\"",
        ),
        ("command = ['python3', 'agent.py']", "", "muster.toml:2: runtimes.py: command is missing"),
        (
            "pass_env = ['API_TOKEN']",
            "pass_env = ['API_TOKEN', 5]",
            "muster.toml:6: runtimes.py.pass_env: a text is expected, not the number 5",
        ),
        (
            "kind = 'transient'",
            "kind = 'often'",
            "muster.toml:13: pools.coders.restart.kind: \"often\" is not known; it is one of: permanent, transient, temporary",
        ),
        (
            "TOKEN = 's3cret'",
            "MUSTER_POOL = 'x'",
            "muster.toml:5: runtimes.py.env: MUSTER_POOL is set by Muster for every agent",
        ),
        (
            "start_timeout = 2.5",
            "start_timeout = -1",
            "muster.toml:7: runtimes.py.start_timeout: a number of seconds from 0.001 is expected, not -1",
        ),
    ];
    for (from, to, expected) in cases {
        let file = POOLS.replace(from, to);
        assert_ne!(file, POOLS, "{from}");
        assert_eq!(TestFolder::with_file(&file).mistakes()[0], expected);
    }
    assert_eq!(
        mistake_of("[runtimes.echo]\nkind = 'echo'\n"),
        "muster.toml:1: runtimes.echo: echo is built in; give this runtime another name"
    );
    assert_eq!(mistake_of("pools = 1"), "muster.toml:1: pools: a table with a name is expected, as in [pools.NAME]");
    assert_eq!(mistake_of("[pools]\nx = 1"), "muster.toml:2: pools.x: a table is expected, as in [pools.x]");
}

#[test]
fn all_mistakes_of_a_table_are_told_at_once() {
    let file = "
[runtimes.py]
kind = 'python'
command = []
start_timeout = -1
env = { MUSTER_POOL = 'x' }
stop_deadlin = 1

[pools.Coders]
rol_type = 'developer'
runtime = 'rb'
max_agents = 0
max_workers = 'x'
min_workers = 30
max_attempts = 0
restart = { kind = 'often', max_restarts = 'x', windows = 1 }

[tenants.acme]
weight = 0
rate = 'x'
per_day = 0
";
    let mut mistakes = TestFolder::with_file(file).mistakes();
    mistakes.sort_by_key(|mistake| mistake.split(':').nth(1).and_then(|line| line.parse::<u32>().ok()));
    let lines: Vec<&str> = mistakes.iter().map(|mistake| mistake.split(':').nth(1).expect("a line")).collect();
    let expected = ["3", "4", "5", "6", "7", "9", "10", "11", "12", "13", "15", "16", "16", "16", "19", "20", "21"];
    assert_eq!(lines, expected, "each once, and none that only follows from another: {mistakes:#?}");
}

#[test]
fn a_pool_of_a_runtime_with_mistakes_has_none_itself() {
    assert_eq!(TestFolder::with_file(&POOLS.replace("kind = 'exec'", "kind = 'shell'")).mistakes().len(), 1);
}

#[test]
fn all_fields_of_a_table_that_are_wrong_are_told_at_once() {
    for (file, expected) in [
        (
            "[runtimes.x]\nkind = 'exec'\nstart_timeout = -1\nstop_deadline = 'x'\nenv = { MUSTER_POOL = 'x', 'A=' = 'y' }\npass_env = ['MUSTER_ROLE', 'B=']\n",
            vec!["1: command", "3: start_timeout", "4: stop_deadline", "5: env", "6: pass_env"],
        ),
        (
            "[runtimes.x]\nkind = 'exec'\ncommand = ['']\nstart_timeout = -1\ncwd = 5\nmode = 'x'\n",
            vec!["3: command", "4: start_timeout", "5: cwd", "6: mode"],
        ),
        (
            "[[budgets]]\nscope = 'x'\nname = 5\ntokens = -1\ncost_usd = 'x'\n",
            vec!["2: scope", "3: name", "4: tokens", "5: cost_usd"],
        ),
        (
            "[pools.x]\nrole_type = ''\nruntime = 5\nmax_agents = 0\nmax_idle_time = 0\nretry = 5\nrestart = { backoff_min = 5, backoff_max = 2, window = 0 }\n\
             on_demand = { max_agents = -1, reuse = 5 }\nbreaker = []\nmin_workers = 30\nhealth_check_interval = 9\ndependencies = { store = 'tcp://h:1', a = 'x', b = 5 }\n\
             skip_phrase = ''\ntask_timeout = 0\n",
            vec![
                "2: role_type",
                "3: runtime",
                "4: max_agents",
                "5: max_idle_time",
                "6: retry",
                "7: restart.backoff_min",
                "7: restart.window",
                "8: on_demand.max_agents",
                "8: on_demand.reuse",
                "9: breaker",
                "10: min_workers",
                "11: health_check_interval",
                "12: dependencies",
                "12: dependencies.a",
                "12: dependencies.b",
                "13: skip_phrase",
                "14: task_timeout",
            ],
        ),
    ] {
        let mut mistakes = TestFolder::with_file(file).mistakes();
        mistakes.sort_by_key(|mistake| mistake.split(':').nth(1).and_then(|line| line.parse::<u32>().ok()));
        let told: Vec<String> = mistakes
            .iter()
            .map(|mistake| {
                let mut parts = mistake.splitn(4, ": ");
                let line = parts.next().and_then(|place| place.strip_prefix("muster.toml:")).expect("a line");
                let key = parts.next().expect("a key");
                let key = ["runtimes.x", "pools.x", "budgets"]
                    .iter()
                    .find_map(|table| key.strip_prefix(table))
                    .expect("a table");
                let words = parts.next().unwrap_or_default();
                let key = if key.is_empty() { words.split(' ').next().unwrap_or_default() } else { &key[1..] };
                format!("{line}: {key}")
            })
            .collect();
        let mut told = told;
        told.sort_by_key(|line| (line.split(':').next().and_then(|line| line.parse::<u32>().ok()), line.clone()));
        assert_eq!(told, expected, "{mistakes:#?}");
    }
}

/// A pool with these lines of `[pools.x.scaling]`.
fn scaled(lines: &str) -> String {
    format!("[pools.x]\nrole_type = 'x'\non_demand = {{}}\n[pools.x.scaling]\nmode = 'on'\npreset = 'step'\n{lines}\n")
}

#[test]
fn the_scaling_of_a_pool_is_a_table_with_policies() {
    let lines = "check_interval = 5\nstabilization = { in = 300 }\npolicies = [\n\
                 { kind = 'target', metric = 'utilization', target = 70 },\n\
                 { kind = 'schedule', cron = '0 6 * * MON-FRI', timezone = 'America/Los_Angeles', min_workers = 5 },\n]";
    let config = TestFolder::with_file(&scaled(lines)).load();
    let scaling = &config.pools[0].config.scaling;
    assert_eq!(scaling.mode.as_str(), "on");
    assert_eq!(scaling.stabilization.scale_in.as_secs(), 300);
    let labels: Vec<String> = scaling.all_policies().iter().map(muster_domain::ScalingPolicy::label).collect();
    assert_eq!(labels, ["step", "target utilization", "schedule 0 6 * * MON-FRI"]);
}

#[test]
fn mistakes_of_a_pools_scaling_name_their_line() {
    for (lines, told) in [
        ("policies = [{ kind = 'step', cpu_abov = 80 }]", "muster.toml:7: pools.x.scaling.policies"),
        (
            "policies = [\n{ kind = 'schedule', cron = 'x', min_workers = 1 }]",
            "muster.toml:7: pools.x.scaling.policies: cron \"x\" is no schedule",
        ),
        (
            "policies = [{ kind = 'schedule', cron = '0 6 * * *', min_workers = 21 }]",
            "muster.toml:7: pools.x.scaling.policies: scaling.policies[0].min_workers (21) is above max_workers (20)",
        ),
        (
            "check_interval = 0",
            "muster.toml:7: pools.x.scaling.check_interval: scaling.check_interval must be at least 0.1 s",
        ),
        (
            "stabilization = { inn = 3 }",
            "muster.toml:7: pools.x.scaling.stabilization.inn: there is no such key; the nearest is scaling.stabilization.in",
        ),
        ("mod = 'on'", "muster.toml:7: pools.x.scaling.mod: there is no such key"),
    ] {
        let mistakes = TestFolder::with_file(&scaled(lines)).mistakes();
        assert!(mistakes.iter().any(|mistake| mistake.contains(told)), "{lines}: {mistakes:?}");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    }
}
