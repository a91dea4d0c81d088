//! Pools.

use muster_domain::{PoolConfig, PoolName, PoolOrigin, Timestamp};
use muster_supervisor::{NewPool, PoolView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::holds::HoldsJson;
use super::pool_config::ConfigPatch;
use super::{check_text, words};
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
    config: Option<ConfigPatch>,
}

impl CreatePoolBody {
    /// The pool in the supervisor's words.
    pub(crate) fn request(self) -> Result<NewPool, Problem> {
        check_text("role_type", &self.role_type)?;
        let pool_name = self
            .pool_name
            .parse::<PoolName>()
            .map_err(|error| Problem::invalid_field("pool_name", error.to_string()))?;
        let config = self.config.unwrap_or_default().applied(&PoolConfig::default())?;
        Ok(NewPool { pool_name, role_type: self.role_type, runtime: self.runtime, config })
    }
}

/// A change of a pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePoolBody {
    /// The bounds to change: a JSON merge patch (RFC 7396). What is left out stays as it is, and null is back to the default.
    pub(crate) config: ConfigPatch,
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
    #[schema(value_type = String, extensions(("x-enum" = json!(words::<PoolOrigin>()))))]
    origin: PoolOrigin,
    #[serde(flatten)]
    holds: HoldsJson,
    /// Workers that may have a process: starting, ready, draining.
    process_count: u32,
    /// Of these, the ones that start programs by an older definition of the runtime: they are replaced as their agents end.
    outdated_workers: u32,
    /// Of all, the ones that are ready.
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
    config: PoolConfig,
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
            holds: view.holds.into(),
            process_count: view.process_count,
            outdated_workers: view.outdated_workers,
            active_worker_processes: view.active_worker_processes,
            total_capacity: view.total_capacity,
            used_capacity: view.used_capacity,
            agent_count: view.agent_count,
            pending_agents: view.pending_agents,
            quarantined_agents: view.quarantined_agents,
            total_workers_spawned: view.total_workers_spawned,
            total_workers_terminated: view.total_workers_terminated,
            manager_uptime_seconds: view.manager_uptime.as_secs_f64(),
            config: view.config.shown(),
            created_at: view.created_at,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::body::parse;
    use std::time::Duration;

    use muster_supervisor::{BreakerView, Holds};

    /// Those of a pool that is paused.
    pub(crate) fn holds() -> Holds {
        let breaker = BreakerView::Closed;
        Holds { draining: false, paused: true, all_paused: false, intake_closed: false, breaker, lacks: None }
    }

    pub(crate) fn pool(name: &str) -> PoolView {
        PoolView {
            pool_name: name.parse().expect("a name"),
            role_type: "developer".to_owned(),
            runtime: "echo".to_owned(),
            config: PoolConfig::default(),
            origin: PoolOrigin::Default,
            holds: holds(),
            process_count: 2,
            outdated_workers: 0,
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
        assert_eq!((json["paused"].as_bool(), json["intake_closed"].as_bool()), (Some(true), Some(false)));
        assert_eq!((&json["all_paused"], &json["breaker"]["state"]), (&false.into(), &"closed".into()));
        assert_eq!(json["config"]["worker_idle_timeout"], 300);
        assert_eq!(json["config"]["restart"]["kind"], "permanent");
    }

    #[test]
    fn a_new_pool_has_the_defaults_and_what_it_says() {
        let body: CreatePoolBody =
            parse(br#"{"role_type": "reviewer", "pool_name": "r", "config": {"max_agents": 2}}"#).expect("a pool");
        let pool = body.request().expect("a request");
        assert_eq!(pool.config, PoolConfig { max_agents: 2, ..PoolConfig::default() });
        assert_eq!(pool.runtime, None);
        for rest in ["", r#", "config": null"#, r#", "config": {}"#] {
            let body = format!(r#"{{"role_type": "reviewer", "pool_name": "r"{rest}}}"#);
            let pool = parse::<CreatePoolBody>(body.as_bytes()).expect("a pool").request().expect("a request");
            assert_eq!(pool.config, PoolConfig::default(), "{rest}");
        }
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
