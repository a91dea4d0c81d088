//! The tables of pools and runtimes as people write them, good and bad.

use std::time::Duration;

use super::tests::{Place, mistake_of};
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
    let config = Place::with_file(POOLS).load();
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
    assert_eq!(Place::with_file(&file).load().pools[0].config, defaults, "the table says the defaults that hold");
}

#[test]
fn mistakes_of_pools_and_runtimes_name_their_line() {
    let cases = [
        (
            "runtime = 'py'",
            "runtime = 'rb'",
            "muster.toml:11: pools.coders.runtime: there is no runtime \"rb\"; there are: echo, py",
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
            "muster.toml:12: pools.coders.max_agents: a whole number from 0 to 4294967295 is expected, not the text \"x\"",
        ),
        (
            "max_agents = 4",
            "health_check_interval = 6",
            "muster.toml:12: pools.coders.health_check_interval: 3 x health_check_interval (6 s) is above clocks.lease (15 s)",
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
            "muster.toml:7: runtimes.py.start_timeout: a number of seconds from 0 is expected, not -1",
        ),
    ];
    for (from, to, expected) in cases {
        let file = POOLS.replace(from, to);
        assert_ne!(file, POOLS, "{from}");
        assert_eq!(Place::with_file(&file).mistakes()[0], expected);
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
    let mut mistakes = Place::with_file(file).mistakes();
    mistakes.sort_by_key(|mistake| mistake.split(':').nth(1).and_then(|line| line.parse::<u32>().ok()));
    let lines: Vec<&str> = mistakes.iter().map(|mistake| mistake.split(':').nth(1).expect("a line")).collect();
    let expected = ["3", "4", "5", "6", "7", "9", "10", "11", "12", "13", "15", "16", "16", "16", "19", "20", "21"];
    assert_eq!(lines, expected, "each once, and none that only follows from another: {mistakes:#?}");
}

#[test]
fn a_pool_of_a_runtime_with_mistakes_has_none_itself() {
    assert_eq!(Place::with_file(&POOLS.replace("kind = 'exec'", "kind = 'shell'")).mistakes().len(), 1);
}
