//! The supervisor itself, and how it is.

use std::time::Duration;

use muster_domain::{Fence, PoolName, Timestamp};
use muster_supervisor::{Alert, AlertKind, CheckLine, Mode, PoolView, Reach, SystemView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::AlertJson;
use super::holds::HoldsJson;
use super::words;

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthJson {
    /// `ok` or `degraded`.
    #[schema(value_type = String)]
    pub(crate) status: &'static str,
    /// How it runs; null where this server does not lead.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(words::<Mode>()))))]
    pub(crate) mode: Option<&'static str>,
    /// Why it runs so.
    pub(crate) mode_reason: Option<String>,
    /// The program's version.
    pub(crate) version: String,
    /// `leading`, `standby` or `waiting`.
    #[schema(value_type = String)]
    pub(crate) state: &'static str,
    /// The HTTP address of the supervisor that leads, where this one stands by and knows it.
    pub(crate) leader: Option<String>,
    /// Every way in which it is less than it should be. Empty is healthy.
    pub(crate) degraded: Vec<String>,
    /// Alerts that last, also about single pools; null where this server does not lead.
    pub(crate) alerts_firing: Option<usize>,
    /// What they are about, each once. `GET /api/v1/alerts` and `muster alerts` say the rest.
    pub(crate) alerts: Vec<AlertTopicJson>,
}

/// What an alert is about. Not its message: that may have a program's words, and `/health` needs no key.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AlertTopicJson {
    /// As in `GET /api/v1/alerts`.
    #[schema(value_type = String, example = "quarantine", extensions(("x-enum" = json!(words::<AlertKind>()))))]
    kind: AlertKind,
    #[schema(value_type = Option<String>)]
    pool_name: Option<PoolName>,
}

impl AlertTopicJson {
    /// Each once.
    pub(crate) fn of(alerts: Vec<Alert>) -> Vec<Self> {
        let mut topics: Vec<Self> = Vec::new();
        for Alert { kind, pool, .. } in alerts {
            let topic = Self { kind, pool_name: pool };
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }
}

/// The server leads, and its registry and store answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadyJson {
    pub(crate) ready: bool,
}

/// A deep check: what was asked, and whether it answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeepHealthJson {
    /// `ok`, or `failed` where one check failed.
    #[schema(value_type = String)]
    status: &'static str,
    checks: Vec<ReachJson>,
}

impl DeepHealthJson {
    pub(crate) fn new(checks: Vec<ReachJson>) -> Self {
        let ok = checks.iter().all(|check| check.ok);
        Self { status: if ok { "ok" } else { "failed" }, checks }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.status == "ok"
    }
}

/// Whether something answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReachJson {
    /// `registry`, `store`, `canary:` and a pool, or `supervisor` where none answers.
    name: String,
    ok: bool,
    /// How long the answer took, in milliseconds.
    took_ms: Option<f64>,
    /// What happened, where it does not answer.
    error: Option<String>,
}

impl ReachJson {
    pub(crate) fn new(name: impl Into<String>, result: Result<Duration, String>) -> Self {
        let name = name.into();
        match result {
            Ok(took) => Self { name, ok: true, took_ms: Some(millis(took)), error: None },
            Err(error) => Self { name, ok: false, took_ms: None, error: Some(error) },
        }
    }

    pub(crate) fn of(name: &str, reach: Reach) -> Self {
        Self::new(
            name,
            match reach {
                Reach::Ok(took) => Ok(took),
                Reach::Away(error) => Err(error),
            },
        )
    }
}

/// Everything about the supervisor.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusJson {
    version: String,
    /// How it runs.
    #[schema(value_type = String, extensions(("x-enum" = json!(words::<Mode>()))))]
    mode: &'static str,
    mode_reason: String,
    /// The number of its leadership.
    #[schema(value_type = u64)]
    fence: Fence,
    /// Its HTTP address.
    address: String,
    #[schema(value_type = String, format = DateTime)]
    leads_since: Timestamp,
    uptime_seconds: f64,
    /// For `redis-cli`: a URL without secrets or a socket's path; null in memory.
    registry_address: Option<String>,
    registry: ReachJson,
    store_description: String,
    store: ReachJson,
    /// How process trees are owned.
    ownership: String,
    data_dir: String,
    /// Every way in which it is less than it should be. Empty is healthy.
    degraded: Vec<String>,
    /// Whether the tasks of all pools wait until it is resumed.
    paused: bool,
    /// Alerts that last.
    alerts_firing: usize,
    /// They, the newest first.
    alerts: Vec<AlertJson>,
    /// The pools whose tasks are held up, but for a pause of all pools.
    held_pools: Vec<HeldPoolJson>,
    pools: u32,
    workers: u32,
    /// Of these, the ones that start programs by an older definition of their runtime: they are replaced as their agents end.
    outdated_workers: u32,
    agents: u32,
    /// Agents asked for since this supervisor leads.
    spawns: u64,
    /// Of these, those that ran.
    spawns_succeeded: u64,
    /// Of these, those whose program failed at its first start.
    spawns_failed: u64,
}

impl StatusJson {
    pub(crate) fn new(version: &str, view: SystemView) -> Self {
        Self {
            version: version.to_owned(),
            mode: view.mode.as_str(),
            mode_reason: view.mode_reason,
            fence: view.fence,
            address: view.address,
            leads_since: view.leads_since,
            uptime_seconds: view.uptime.as_secs_f64(),
            registry_address: view.registry_address,
            registry: ReachJson::of("registry", view.registry),
            store_description: view.store_description,
            store: ReachJson::of("store", view.store),
            ownership: view.ownership,
            data_dir: view.data_dir,
            degraded: view.degraded,
            paused: view.paused,
            alerts_firing: view.alerts.len(),
            alerts: view.alerts.into_iter().map(AlertJson::from).collect(),
            held_pools: view.held_pools.into_iter().map(HeldPoolJson::from).collect(),
            pools: view.pools,
            workers: view.workers,
            outdated_workers: view.outdated_workers,
            agents: view.agents,
            spawns: view.spawns,
            spawns_succeeded: view.spawns_succeeded,
            spawns_failed: view.spawns_failed,
        }
    }
}

/// A pool whose tasks are held up.
#[derive(Debug, Serialize, ToSchema)]
struct HeldPoolJson {
    #[schema(value_type = String)]
    pool_name: PoolName,
    #[serde(flatten)]
    holds: HoldsJson,
}

impl From<PoolView> for HeldPoolJson {
    fn from(view: PoolView) -> Self {
        Self { pool_name: view.pool_name, holds: view.holds.into() }
    }
}

/// A check of the whole installation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckJson {
    /// Whether every line is.
    ok: bool,
    checks: Vec<CheckLineJson>,
}

/// One line of it.
#[derive(Debug, Serialize, ToSchema)]
struct CheckLineJson {
    name: String,
    ok: bool,
    took_ms: f64,
    /// What was found.
    detail: String,
    /// What to do about it, where it is not ok.
    remedy: Option<String>,
}

impl From<Vec<CheckLine>> for CheckJson {
    fn from(lines: Vec<CheckLine>) -> Self {
        Self {
            ok: lines.iter().all(|line| line.ok),
            checks: lines
                .into_iter()
                .map(|line| CheckLineJson {
                    name: line.name,
                    ok: line.ok,
                    took_ms: millis(line.took),
                    detail: line.detail,
                    remedy: line.remedy,
                })
                .collect(),
        }
    }
}

/// How to stop.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StopBody {
    /// Leave the workers and their agents to the next supervisor. Default false: all that was started is stopped.
    pub(crate) keep_workers: bool,
}

/// The supervisor is stopping.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoppingJson {
    #[schema(value_type = String)]
    pub(crate) message: &'static str,
    pub(crate) keep_workers: bool,
}

/// How work is held up: of the whole system, or of a pool that is drained.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HoldBody {
    /// Stop the tasks that run and hand them back to the queue. Default false: they go on to their end.
    pub(crate) hand_back: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use muster_domain::AlertId;
    use serde_json::json;

    use crate::json::pools::tests::pool;

    pub(crate) fn system() -> SystemView {
        SystemView {
            mode: Mode::MultiProcess,
            mode_reason: "a private redis-server was found".to_owned(),
            fence: Fence(3),
            address: "127.0.0.1:8000".to_owned(),
            leads_since: Timestamp::from_millis(0),
            registry_address: Some("/data/redis.sock".to_owned()),
            registry: Reach::Away("connection refused".to_owned()),
            store_description: "sqlite at /data/muster.db".to_owned(),
            store: Reach::Ok(Duration::from_micros(250)),
            ownership: "best effort".to_owned(),
            data_dir: "/data".to_owned(),
            uptime: Duration::from_millis(1500),
            degraded: vec!["ownership: best effort".to_owned()],
            paused: false,
            alerts: vec![alert("q", "an agent ended"), alert("q", "another"), alert("p", "one more")],
            held_pools: vec![pool("p")],
            pools: 4,
            workers: 2,
            outdated_workers: 0,
            agents: 15,
            spawns: 15,
            spawns_succeeded: 15,
            spawns_failed: 0,
        }
    }

    fn alert(pool: &str, message: &str) -> Alert {
        Alert {
            id: AlertId::generate(),
            kind: AlertKind::Quarantine,
            pool: Some(pool.parse().expect("a name")),
            subject: String::new(),
            message: message.to_owned(),
            since: Timestamp::from_millis(0),
            until: None,
            count: 1,
        }
    }

    #[test]
    fn health_says_what_alerts_are_about_once_and_no_word_of_a_program() {
        let json = serde_json::to_value(AlertTopicJson::of(system().alerts)).expect("a list");
        assert_eq!(json, json!([{"kind": "quarantine", "pool_name": "q"}, {"kind": "quarantine", "pool_name": "p"}]));
    }

    #[test]
    fn a_status_says_all() {
        let json = serde_json::to_value(StatusJson::new("0.1.0", system())).expect("an object");
        assert_eq!((&json["mode"], &json["fence"]), (&json!("multi-process"), &json!(3)));
        assert_eq!((&json["uptime_seconds"], &json["paused"]), (&json!(1.5), &json!(false)));
        assert_eq!(json["store"], json!({"name": "store", "ok": true, "took_ms": 0.25, "error": null}));
        assert_eq!(json["registry"]["error"], "connection refused");
        assert_eq!((&json["alerts_firing"], &json["alerts"][1]["message"]), (&json!(3), &json!("another")));
        let held = json!([{"pool_name": "p", "draining": false, "being_removed": false, "paused": true, "all_paused": false, "intake_closed": false,
            "breaker": {"state": "closed", "reason": null, "since": null, "next_probe_at": null}, "lacks": null}]);
        assert_eq!(json["held_pools"], held);
    }

    #[test]
    fn one_failed_check_fails_the_whole() {
        let good = || ReachJson::new("store", Ok(Duration::from_millis(1)));
        assert!(DeepHealthJson::new(vec![good()]).is_ok());
        let bad = DeepHealthJson::new(vec![good(), ReachJson::of("registry", Reach::Away("gone".to_owned()))]);
        assert!(!bad.is_ok());
        let line = |ok| CheckLine {
            name: "redis".to_owned(),
            ok,
            took: Duration::from_millis(2),
            detail: String::new(),
            remedy: (!ok).then(|| "start it".to_owned()),
        };
        assert!(CheckJson::from(vec![line(true)]).ok);
        let json = serde_json::to_value(CheckJson::from(vec![line(true), line(false)])).expect("an object");
        assert_eq!((&json["ok"], &json["checks"][1]["remedy"]), (&json!(false), &json!("start it")));
        assert_eq!(json["checks"][0]["took_ms"], 2.0);
    }
}
