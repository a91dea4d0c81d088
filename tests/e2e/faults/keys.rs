//! Somebody writes into the keys of ours: another type, and garbage of the right one.

use redis::{Connection, cmd};

use super::redis::admin;
use super::row::Registry::{Configured, Private};
use super::row::{Mend, Row, Skip};
use super::site::Site;

/// Every kind of key, as a pattern of Redis.
const KEYS: [&str; 8] = [
    "agent:*",
    "process:*",
    "pool:p:agents",
    "pool:p:processes",
    "pool:p:process:*:agents",
    "pool:p:reports",
    "supervisor:generation",
    "supervisor:leader",
];

const GARBAGE: &str = "{\"garbage\": \u{fffd}";

/// Writes over one key.
type Spoil = fn(&mut Connection, &str);

pub(super) fn rows() -> Vec<Row> {
    let ways: [(&str, Spoil); 2] = [("wrong type of", wrong_type), ("garbage in", garbage)];
    let rows = ways.iter().flat_map(|&(words, spoil)| {
        KEYS.iter().map(move |&pattern| {
            Row::new(format!("key: {words} {pattern}"), move |site| spoil_all(site, pattern, spoil))
                .registries(&[Private, Configured])
                .says(&["somebody else writes"])
                .remembers("tampering: ")
        })
    });
    rows.collect()
}

/// Spoils every key of the pattern. It stays so: nobody is to come and clean up.
fn spoil_all(site: &mut Site, pattern: &str, spoil: Spoil) -> Result<Mend, Skip> {
    let mut redis = admin(site);
    let keys: Vec<String> = cmd("KEYS").arg(pattern).query(&mut redis).expect("keys");
    // Endings that were settled are deleted, and the stream with the last of them may be away.
    let keys = if keys.is_empty() && !pattern.contains('*') { vec![pattern.to_owned()] } else { keys };
    assert!(!keys.is_empty(), "there is no key {pattern}");
    keys.iter().for_each(|key| spoil(&mut redis, key));
    Ok(Box::new(move |site| {
        // Where it is named, a person takes it away as the words say.
        let mut redis = admin(site);
        for key in keys {
            let _: Result<(), _> = cmd("DEL").arg(key).exec(&mut redis);
        }
    }))
}

fn wrong_type(redis: &mut Connection, key: &str) {
    let kind: String = cmd("TYPE").arg(key).query(redis).expect("a type");
    // In one step: a heartbeat must not come between.
    let mut script = redis::pipe();
    script.atomic().cmd("DEL").arg(key);
    match kind.as_str() {
        "string" => script.cmd("RPUSH").arg(key).arg("1"),
        _ => script.cmd("SET").arg(key).arg("1"),
    };
    script.exec(redis).expect("another type");
}

fn garbage(redis: &mut Connection, key: &str) {
    let kind: String = cmd("TYPE").arg(key).query(redis).expect("a type");
    match kind.as_str() {
        "string" => cmd("SET").arg(key).arg(GARBAGE).exec(redis),
        "set" => cmd("SADD").arg(key).arg(GARBAGE).exec(redis),
        "zset" => cmd("ZADD").arg(key).arg("-1e300").arg(GARBAGE).exec(redis),
        "stream" | "none" => cmd("XADD").arg(key).arg("*").arg("body").arg(GARBAGE).exec(redis),
        "hash" => {
            let fields: Vec<String> = cmd("HKEYS").arg(key).query(redis).expect("fields");
            let pairs: Vec<&str> = fields.iter().flat_map(|field| [field.as_str(), GARBAGE]).collect();
            cmd("HSET").arg(key).arg(pairs).exec(redis)
        }
        other => panic!("{key} is a {other}"),
    }
    .expect("written");
}
