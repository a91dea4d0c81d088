//! Redis fails, in each way that it can.

use std::fs;

use redis::{Connection, cmd};

use super::row::Registry::{Configured, Private};
use super::row::{Mend, Row, Skip};
use super::site::Site;
use crate::harness::faults::{RedisServer, signal};

const USER: &str = "muster";
const PASSWORD: &str = "first";

/// The user as whom the server comes, with every right.
pub(super) fn add_user(redis: &RedisServer) {
    let mut admin = connect(&redis.url());
    acl(&mut admin, &["on", ">first", "~*", "&*", "+@all"]);
}

/// The address with that user and the password.
pub(super) fn user_url(redis: &RedisServer) -> String {
    format!("{}?user={USER}&pass={PASSWORD}", redis.url())
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new("redis: gone", gone).registries(&[Private, Configured]).says(&[
            "does not answer",
            "no such file",
            "refused",
        ]),
        Row::new("redis: hung", hung).registries(&[Private, Configured]).says(&["no answer within"]),
        Row::new("redis: read-only", read_only).registries(&[Private, Configured]).says(&["read only", "read-only"]),
        Row::new("redis: full", full).registries(&[Private, Configured]).says(&["maxmemory"]),
        Row::new("redis: no rights for keys", |site| without(site, "resetkeys", "~*"))
            .registries(&[Configured])
            .says(&["permission", "no right"]),
        Row::new("redis: no rights for scripts", |site| without(site, "-@scripting", "+@all"))
            .registries(&[Configured])
            .says(&["permission", "no right"]),
        Row::new("redis: no rights for channels", |site| without(site, "resetchannels", "&*"))
            .registries(&[Configured])
            .says(&["no right to the channels"]),
        Row::new("redis: password changed", password).registries(&[Private, Configured]).says(&["password"]),
        Row::new("redis: socket removed", socket)
            .registries(&[Private, Configured])
            .says(&["no such file", "does not answer"]),
        Row::new("redis: flushed", flushed).registries(&[Private, Configured]),
    ]
}

fn connect(url: &str) -> Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("Redis answers")
}

/// A connection with every right.
pub(super) fn admin(site: &Site) -> Connection {
    site.redis.as_ref().map_or_else(|| site.muster.redis(), |redis| connect(&redis.url()))
}

fn acl(admin: &mut Connection, rules: &[&str]) {
    cmd("ACL").arg("SETUSER").arg(USER).arg(rules).exec(admin).expect("a rule");
}

/// Closes every connection but this one.
fn hang_up(admin: &mut Connection) {
    for kind in ["normal", "pubsub"] {
        cmd("CLIENT").arg(&["KILL", "TYPE", kind, "SKIPME", "yes"]).exec(admin).expect("hung up");
    }
}

fn configure(admin: &mut Connection, name: &str, value: &str) {
    cmd("CONFIG").arg(&["SET", name, value]).exec(admin).expect("a setting");
}

fn gone(site: &mut Site) -> Result<Mend, Skip> {
    match &mut site.redis {
        Some(redis) => redis.stop(),
        None => signal(site.muster.redis_pid().expect("a private one runs"), libc::SIGKILL),
    }
    Ok(Box::new(|site| site.redis.iter_mut().for_each(start_again)))
}

/// Empty, and with its user.
fn start_again(redis: &mut RedisServer) {
    redis.stop();
    redis.resume();
    add_user(redis);
}

fn hung(site: &mut Site) -> Result<Mend, Skip> {
    let pid = site.redis_pid().expect("it runs");
    signal(pid, libc::SIGSTOP);
    Ok(Box::new(move |_| signal(pid, libc::SIGCONT)))
}

fn read_only(site: &mut Site) -> Result<Mend, Skip> {
    // A replica of nobody's answers reads all the same.
    cmd("REPLICAOF").arg(&["127.0.0.1", "1"]).exec(&mut admin(site)).expect("a replica");
    Ok(Box::new(|site| drop(cmd("REPLICAOF").arg(&["NO", "ONE"]).exec(&mut admin(site)))))
}

fn full(site: &mut Site) -> Result<Mend, Skip> {
    configure(&mut admin(site), "maxmemory", "1");
    Ok(Box::new(|site| configure(&mut admin(site), "maxmemory", "0")))
}

fn without(site: &mut Site, right: &str, back: &'static str) -> Result<Mend, Skip> {
    acl(&mut admin(site), &[right]);
    Ok(Box::new(move |site| acl(&mut admin(site), &[back])))
}

/// Nobody is let in any more as before, and all that were are sent away.
fn password(site: &mut Site) -> Result<Mend, Skip> {
    let mut admin = admin(site);
    if site.redis.is_none() {
        configure(&mut admin, "requirepass", "another");
        hang_up(&mut admin);
        return Ok(Box::new(|_| {}));
    }
    acl(&mut admin, &["resetpass", ">another"]);
    hang_up(&mut admin);
    Ok(Box::new(move |site| acl(&mut self::admin(site), &["resetpass", ">first"])))
}

fn socket(site: &mut Site) -> Result<Mend, Skip> {
    let mut admin = admin(site);
    let own = site.muster.data_dir().join("redis").join("redis.sock");
    fs::remove_file(site.redis.as_ref().map_or(own, RedisServer::socket)).expect("a socket");
    hang_up(&mut admin);
    Ok(Box::new(|site| site.redis.iter_mut().for_each(start_again)))
}

fn flushed(site: &mut Site) -> Result<Mend, Skip> {
    cmd("FLUSHALL").exec(&mut admin(site)).expect("flushed");
    Ok(Box::new(|_| {}))
}
