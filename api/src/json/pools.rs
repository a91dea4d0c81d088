//! Pools.

use std::time::Duration;

use muster_domain::restart::{RestartKind, RestartPolicy};
use muster_domain::time::seconds;
use muster_domain::{PoolConfig, PoolName, PoolOrigin, Timestamp};
use muster_supervisor::{NewPool, PoolView};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::check_text;
use crate::problem::Problem;

/// A new pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePoolBody {
    /// The role of its agents, e.g. `developer`: 1 to 64 characters without control characters.
    #[schema(min_length = 1, max_length = 64, example = "reviewer")]
    role_type: String,
    /// Its name: 1 to 64 characters of a-z, 0-9, '-' and '_'.
    #[schema(pattern = "^[a-z0-9_-]{1,64}$", example = "reviewer_pool")]
    pool_name: String,
    /// What its agents run: a runtime profile of the configuration. Default `echo`.
    runtime: Option<String>,
    /// Its bounds; what is left out has its default.
    config: Option<ConfigChange>,
}

impl CreatePoolBody {
    /// The pool in the supervisor's words.
    pub(crate) fn request(self) -> Result<NewPool, Problem> {
        check_text("role_type", &self.role_type)?;
        let pool_name = self
            .pool_name
            .parse::<PoolName>()
            .map_err(|error| Problem::invalid_field("pool_name", error.to_string()))?;
        let mut config = PoolConfig::default();
        self.config.unwrap_or_default().apply(&mut config);
        Ok(NewPool { pool_name, role_type: self.role_type, runtime: self.runtime, config })
    }
}

/// A change of a pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePoolBody {
    /// The bounds to change; what is left out stays as it is.
    pub(crate) config: ConfigChange,
}

/// Bounds of a pool. Every field may be left out; null is the same as left out where nothing else is said.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigChange {
    /// Agents that one worker holds, 1 to 1000. Default 10.
    #[schema(minimum = 1, maximum = 1000)]
    max_agents: Option<u32>,
    /// Workers at the most; 0 is no bound. Default 20.
    max_workers: Option<u32>,
    /// Workers kept ready even when they are empty. Default 0.
    min_workers: Option<u32>,
    /// Seconds between a worker's heartbeats, at least 0.05; null: the supervisor's.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<f64>, minimum = 0.05)]
    health_check_interval: Option<Option<f64>>,
    /// An empty worker ends after this time, in seconds. Default 300.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>, minimum = 0)]
    worker_idle_timeout: Option<Duration>,
    /// An agent that is idle longer ends, in seconds, at least 1. Default 300.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>, minimum = 1)]
    max_idle_time: Option<Duration>,
    /// When and how often an agent is started again.
    restart: Option<RestartChange>,
}

/// When and how often an agent is started again. Every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartChange {
    /// `permanent` (always), `transient` (after an abnormal end) or `temporary` (never). Default `permanent`.
    #[schema(value_type = Option<String>)]
    kind: Option<RestartKind>,
    /// Restarts allowed within `window`; one more and the agent is quarantined. Default 5.
    max_restarts: Option<u32>,
    /// Seconds over which restarts are counted. Default 60.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    window: Option<Duration>,
    /// Wait before the first restart, in seconds; it doubles with each further one. Default 0.2.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    backoff_min: Option<Duration>,
    /// The longest wait, in seconds. Default 30.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    backoff_max: Option<Duration>,
}

/// Tells null from left out.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<f64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Seconds(#[serde(with = "seconds")] Duration);
    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|Seconds(value)| value))
}

fn set<T>(field: &mut T, wanted: Option<T>) {
    if let Some(value) = wanted {
        *field = value;
    }
}

impl ConfigChange {
    /// Writes what is given over `config`.
    pub(crate) fn apply(self, config: &mut PoolConfig) {
        set(&mut config.max_agents, self.max_agents);
        set(&mut config.max_workers, self.max_workers);
        set(&mut config.min_workers, self.min_workers);
        set(&mut config.health_check_interval, self.health_check_interval);
        set(&mut config.worker_idle_timeout, self.worker_idle_timeout);
        set(&mut config.max_idle_time, self.max_idle_time);
        if let Some(restart) = self.restart {
            restart.apply(&mut config.restart);
        }
    }
}

impl RestartChange {
    fn apply(self, policy: &mut RestartPolicy) {
        set(&mut policy.kind, self.kind);
        set(&mut policy.max_restarts, self.max_restarts);
        set(&mut policy.window, self.window);
        set(&mut policy.backoff_min, self.backoff_min);
        set(&mut policy.backoff_max, self.backoff_max);
    }
}

/// A pool with its figures. A slot counts from the moment it is taken, so that the figures are right at once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolJson {
    #[schema(value_type = String, example = "developer_pool")]
    pub(crate) pool_name: PoolName,
    role_type: String,
    /// The runtime profile that its agents run.
    runtime: String,
    /// `default` (made once in a new store), `api`, or `file` (the configuration's: the API does not change it).
    #[schema(value_type = String)]
    origin: PoolOrigin,
    /// Whether it is being removed.
    draining: bool,
    /// Workers that may have a process: starting, ready, draining.
    process_count: u32,
    /// Of these, the ones that are ready.
    active_worker_processes: u32,
    /// Slots.
    total_capacity: u32,
    /// Taken slots.
    used_capacity: u32,
    /// Free slots.
    available_capacity: u32,
    /// Agents that are wanted or still hold a slot.
    agent_count: u32,
    /// Of these, those that wait for a slot or for their backoff.
    pending_agents: u32,
    /// Agents that crashed too often and wait for a person.
    quarantined_agents: u32,
    /// Taken slots as a share of all, 0 to 1.
    utilization: f64,
    /// Workers ever started for it.
    total_workers_spawned: u64,
    /// Workers of it that ended.
    total_workers_terminated: u64,
    /// For how long this supervisor has kept it.
    manager_uptime_seconds: f64,
    /// Its bounds.
    config: ConfigJson,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<PoolView> for PoolJson {
    fn from(view: PoolView) -> Self {
        Self {
            available_capacity: view.available_capacity(),
            utilization: view.utilization(),
            pool_name: view.pool_name,
            role_type: view.role_type,
            runtime: view.runtime,
            origin: view.origin,
            draining: view.draining,
            process_count: view.process_count,
            active_worker_processes: view.active_worker_processes,
            total_capacity: view.total_capacity,
            used_capacity: view.used_capacity,
            agent_count: view.agent_count,
            pending_agents: view.pending_agents,
            quarantined_agents: view.quarantined_agents,
            total_workers_spawned: view.total_workers_spawned,
            total_workers_terminated: view.total_workers_terminated,
            manager_uptime_seconds: view.manager_uptime.as_secs_f64(),
            config: view.config.into(),
            created_at: view.created_at,
        }
    }
}

/// The bounds of a pool, as they are in force. Durations are seconds.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigJson {
    max_agents: u32,
    max_workers: u32,
    min_workers: u32,
    health_check_interval: Option<f64>,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    worker_idle_timeout: Duration,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    max_idle_time: Duration,
    restart: RestartJson,
}

/// When and how often an agent is started again, as it is in force. Durations are seconds.
#[derive(Debug, Serialize, ToSchema)]
struct RestartJson {
    #[schema(value_type = String)]
    kind: RestartKind,
    max_restarts: u32,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    window: Duration,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    backoff_min: Duration,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    backoff_max: Duration,
}

impl From<PoolConfig> for ConfigJson {
    fn from(config: PoolConfig) -> Self {
        let RestartPolicy { kind, max_restarts, window, backoff_min, backoff_max } = config.restart;
        Self {
            max_agents: config.max_agents,
            max_workers: config.max_workers,
            min_workers: config.min_workers,
            health_check_interval: config.health_check_interval,
            worker_idle_timeout: config.worker_idle_timeout,
            max_idle_time: config.max_idle_time,
            restart: RestartJson { kind, max_restarts, window, backoff_min, backoff_max },
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::body::parse;

    pub(crate) fn pool(name: &str) -> PoolView {
        PoolView {
            pool_name: name.parse().expect("a name"),
            role_type: "developer".to_owned(),
            runtime: "echo".to_owned(),
            config: PoolConfig::default(),
            origin: PoolOrigin::Default,
            draining: false,
            process_count: 2,
            active_worker_processes: 2,
            total_capacity: 20,
            used_capacity: 15,
            agent_count: 15,
            pending_agents: 0,
            quarantined_agents: 1,
            total_workers_spawned: 3,
            total_workers_terminated: 1,
            manager_uptime: Duration::from_millis(12_500),
            created_at: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_pool_reads_as_promised() {
        let json = serde_json::to_value(PoolJson::from(pool("developer_pool"))).expect("an object");
        for (field, value) in [
            ("process_count", 2.0),
            ("active_worker_processes", 2.0),
            ("total_capacity", 20.0),
            ("used_capacity", 15.0),
            ("available_capacity", 5.0),
            ("agent_count", 15.0),
            ("utilization", 0.75),
            ("total_workers_spawned", 3.0),
            ("total_workers_terminated", 1.0),
            ("manager_uptime_seconds", 12.5),
        ] {
            assert_eq!(json[field].as_f64(), Some(value), "{field}");
        }
        assert_eq!(
            (json["pool_name"].as_str(), json["role_type"].as_str()),
            (Some("developer_pool"), Some("developer"))
        );
        assert_eq!(json["config"]["worker_idle_timeout"], 300);
        assert_eq!(json["config"]["restart"]["kind"], "permanent");
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut config = PoolConfig { min_workers: 1, health_check_interval: Some(2.0), ..PoolConfig::default() };
        let body: ChangePoolBody =
            parse(br#"{"config": {"max_agents": 4, "max_idle_time": 0.5, "restart": {"kind": "transient"}}}"#)
                .expect("a change");
        body.config.apply(&mut config);
        assert_eq!((config.max_agents, config.min_workers, config.health_check_interval), (4, 1, Some(2.0)));
        assert_eq!(config.max_idle_time, Duration::from_millis(500));
        assert_eq!((config.restart.kind, config.restart.max_restarts), (RestartKind::Transient, 5));
        let body: ChangePoolBody =
            parse(br#"{"config": {"health_check_interval": null, "max_workers": null}}"#).expect("a change");
        body.config.apply(&mut config);
        assert_eq!((config.health_check_interval, config.max_workers), (None, 20));
    }

    #[test]
    fn a_new_pool_has_the_defaults_and_what_it_says() {
        let body: CreatePoolBody =
            parse(br#"{"role_type": "reviewer", "pool_name": "r", "config": {"max_agents": 2}}"#).expect("a pool");
        let pool = body.request().expect("a request");
        assert_eq!(pool.config, PoolConfig { max_agents: 2, ..PoolConfig::default() });
        assert_eq!(pool.runtime, None);
    }

    #[test]
    fn a_bad_pool_is_refused_by_name() {
        let rows = [
            (r#"{"role_type": "r", "pool_name": "No"}"#, "pool_name"),
            (r#"{"role_type": "a\nb", "pool_name": "p"}"#, "role_type"),
            (r#"{"role_type": "r", "pool_name": "p", "config": {"max_agents": 2.5}}"#, "config.max_agents"),
            (r#"{"role_type": "r", "pool_name": "p", "config": {"max_idle_time": -1}}"#, "config.max_idle_time"),
            (r#"{"role_type": "r", "pool_name": "p", "config": {"restart": {"kind": "x"}}}"#, "config.restart.kind"),
            (r#"{"role_type": "r", "pool_name": "p", "command": "sh"}"#, "command"),
        ];
        for (text, field) in rows {
            let refused = parse::<CreatePoolBody>(text.as_bytes()).and_then(CreatePoolBody::request).expect_err(text);
            let json = serde_json::to_value(&refused).expect("an object");
            assert_eq!(json["field"], field, "{json}");
        }
    }
}
