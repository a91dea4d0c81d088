//! Somebody writes into the keys of ours: another type, and garbage of the right one.

use std::time::Duration;

use redis::{Connection, cmd};

use super::redis::admin;
use super::row::Registry::{Configured, Private};
use super::row::{Mend, Row, Skip};
use super::site::Site;
use crate::harness::wait_until;

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

/// Sets are looked through every half minute.
const HEALED: Duration = Duration::from_secs(45);

/// Writes over one key.
type Spoil = fn(&mut Connection, &str);

pub(super) fn rows() -> Vec<Row> {
    let ways: [(&str, Spoil); 2] = [("wrong type of", wrong_type), ("garbage in", garbage)];
    let rows = ways.iter().flat_map(|&(words, spoil)| {
        KEYS.iter().map(move |&pattern| {
            let row = Row::new(format!("key: {words} {pattern}"), move |site| spoil_all(site, pattern, spoil))
                .registries(&[Private, Configured])
                .remembers("tampering: ");
            let said = &["somebody else writes"];
            if is_told(words, pattern) { row.names(said) } else { row.says(said) }
        })
    });
    rows.collect()
}

/// Whether it is noticed as soon as the key is used. The mirrors of the leader and of agents are written over unread, and who is in
/// a set is looked at by the half minute.
fn is_told(way: &str, pattern: &str) -> bool {
    let is_set = ["pool:p:agents", "pool:p:processes", "pool:p:process:*:agents"].contains(&pattern);
    let is_unread = is_set || pattern == "agent:*";
    pattern != "supervisor:leader" && !(is_unread && way == "garbage in")
}

/// Spoils every key of the pattern. It stays so until the server puts it right: nobody comes and cleans up.
fn spoil_all(site: &mut Site, pattern: &str, spoil: Spoil) -> Result<Mend, Skip> {
    let mut redis = admin(site);
    let keys: Vec<String> = cmd("KEYS").arg(pattern).query(&mut redis).expect("keys");
    // Endings that were settled are deleted, and the stream with the last of them may be away.
    let keys = if keys.is_empty() && !pattern.contains('*') { vec![pattern.to_owned()] } else { keys };
    assert!(!keys.is_empty(), "there is no key {pattern}");
    // The one that may be away is a stream.
    let expected = |kind: String| if kind == "none" { "stream".to_owned() } else { kind };
    let kinds: Vec<String> = keys.iter().map(|key| expected(kind_of(&mut redis, key))).collect();
    keys.iter().for_each(|key| spoil(&mut redis, key));
    Ok(Box::new(move |site| {
        let mut redis = admin(site);
        for (key, kind) in keys.iter().zip(kinds) {
            wait_until(&format!("{key} is what it was"), HEALED, || {
                let now = kind_of(&mut redis, key);
                now == "none" || (now == kind && !content(&mut redis, key, &now).contains(GARBAGE))
            });
        }
    }))
}

fn kind_of(redis: &mut Connection, key: &str) -> String {
    cmd("TYPE").arg(key).query(redis).expect("a type")
}

/// All that is in a key, in a text of no particular form; nothing where it became another kind meanwhile.
fn content(redis: &mut Connection, key: &str, kind: &str) -> String {
    let (name, rest): (&str, &[&str]) = match kind {
        "string" => ("GET", &[]),
        "set" => ("SMEMBERS", &[]),
        "zset" => ("ZRANGE", &["0", "-1"]),
        "stream" => ("XRANGE", &["-", "+"]),
        _ => ("HGETALL", &[]),
    };
    let value: redis::Value = cmd(name).arg(key).arg(rest).query(redis).unwrap_or(redis::Value::Nil);
    text_of(&value)
}

fn text_of(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        redis::Value::Array(all) | redis::Value::Set(all) => all.iter().map(text_of).collect(),
        redis::Value::Map(all) => all.iter().map(|(key, value)| text_of(key) + &text_of(value)).collect(),
        _ => String::new(),
    }
}

fn wrong_type(redis: &mut Connection, key: &str) {
    let kind = kind_of(redis, key);
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
    let kind = kind_of(redis, key);
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
