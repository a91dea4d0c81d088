//! The bounds of a pool: as they are changed, and as they are in force.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::check::Dependency;
use muster_domain::restart::{RestartKind, RestartPolicy};
use muster_domain::time::seconds;
use muster_domain::{BreakerPolicy, OnDemand, PoolConfig, RetryPolicy};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

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
    /// Tasks that one agent has at a time, 1 to 1000. More than 1 is for agents that keep ids apart. Default 1.
    #[schema(minimum = 1, maximum = 1000)]
    tasks_per_agent: Option<u32>,
    /// How agents are started by themselves for tasks that wait; null: they are not. Default null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<OnDemandChange>)]
    on_demand: Option<Option<OnDemandChange>>,
    /// Tasks that may wait; 0 is no bound. Default 0.
    max_queued: Option<u64>,
    /// Attempts at a task that does not say otherwise, 1 to 1000. Default 3.
    #[schema(minimum = 1, maximum = 1000)]
    max_attempts: Option<u32>,
    /// How long one attempt may take, in seconds, where the task does not say otherwise; null: no bound. Default null.
    #[serde(default, deserialize_with = "given_seconds")]
    #[schema(value_type = Option<f64>)]
    task_timeout: Option<Option<Duration>>,
    /// A running task whose agent shows no sign of progress for this time loses its agent, in seconds. Default 900.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    task_lease: Option<Duration>,
    /// When a task is tried again.
    retry: Option<RetryChange>,
    /// When tasks wait because too many of them fail.
    breaker: Option<BreakerChange>,
    /// What its agents need, by name: a check tells whether a worker of the pool reaches it. URLs of `http`, `https`, `tcp`,
    /// `redis`, `rediss`, `amqp` or `amqps`. They take the place of all that there were.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    dependencies: Option<BTreeMap<String, Dependency>>,
    /// A task whose input has this text in one of its strings becomes a check; null: the configuration's. Default null.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, min_length = 1)]
    skip_phrase: Option<Option<String>>,
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

/// When agents are started by themselves for tasks that wait. Every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OnDemandChange {
    /// Agents that the pool may have when it starts one by itself; 0 is no bound but the pool's. Default 0.
    max_agents: Option<u32>,
    /// Whether such agents take further tasks and end after their `max_idle_time`; else each agent of the pool does one task
    /// and ends. Default true.
    reuse: Option<bool>,
}

/// When a task is tried again. Every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryChange {
    /// Wait before the second attempt, in seconds; it doubles with each further one. Default 1.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    backoff_min: Option<Duration>,
    /// The longest wait, in seconds. Default 300.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    backoff_max: Option<Duration>,
    /// Attempts that may end with their worker, or be ended by Muster, 0 to 1000; one more and the task is dead. Default 5.
    #[schema(maximum = 1000)]
    poison_bound: Option<u32>,
}

/// When tasks wait because too many of them fail. Every field may be left out.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BreakerChange {
    /// Whether they do at all. Default true.
    enabled: Option<bool>,
    /// The share of attempts that may fail, 0 to 1. Default 0.1.
    #[schema(minimum = 0, maximum = 1)]
    share: Option<f64>,
    /// Seconds over which attempts are counted, at least 1; also the longest pause. Default 300.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    window: Option<Duration>,
    /// Attempts within the window before their share says anything. Default 20.
    least: Option<u32>,
    /// Seconds without any task before some are tried; it doubles while these fail. Default 30.
    #[serde(default, deserialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pause: Option<Duration>,
    /// Tasks that are tried: so many may run, and so many must succeed, 1 to 1000. Default 1.
    #[schema(minimum = 1, maximum = 1000)]
    probes: Option<u32>,
}

/// Tells null from left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Seconds(#[serde(with = "seconds")] Duration);

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|Seconds(value)| value))
}

fn given_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Duration>>, D::Error> {
    optional_seconds(deserializer).map(Some)
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
        set(&mut config.tasks_per_agent, self.tasks_per_agent);
        if let Some(on_demand) = self.on_demand {
            config.on_demand = on_demand.map(|change| change.apply(config.on_demand.unwrap_or_default()));
        }
        set(&mut config.max_queued, self.max_queued);
        set(&mut config.max_attempts, self.max_attempts);
        set(&mut config.task_timeout, self.task_timeout);
        set(&mut config.task_lease, self.task_lease);
        if let Some(retry) = self.retry {
            retry.apply(&mut config.retry);
        }
        if let Some(breaker) = self.breaker {
            breaker.apply(&mut config.breaker);
        }
        set(&mut config.dependencies, self.dependencies);
        set(&mut config.skip_phrase, self.skip_phrase);
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

impl OnDemandChange {
    fn apply(self, mut policy: OnDemand) -> OnDemand {
        set(&mut policy.max_agents, self.max_agents);
        set(&mut policy.reuse, self.reuse);
        policy
    }
}

impl RetryChange {
    fn apply(self, policy: &mut RetryPolicy) {
        set(&mut policy.backoff_min, self.backoff_min);
        set(&mut policy.backoff_max, self.backoff_max);
        set(&mut policy.poison_bound, self.poison_bound);
    }
}

impl BreakerChange {
    fn apply(self, policy: &mut BreakerPolicy) {
        set(&mut policy.enabled, self.enabled);
        set(&mut policy.share, self.share);
        set(&mut policy.window, self.window);
        set(&mut policy.least, self.least);
        set(&mut policy.pause, self.pause);
        set(&mut policy.probes, self.probes);
    }
}

/// The bounds of a pool, as they are in force. Durations are seconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigJson {
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
    tasks_per_agent: u32,
    /// Null where no agent is started by itself.
    on_demand: Option<OnDemandJson>,
    max_queued: u64,
    max_attempts: u32,
    #[serde(with = "muster_domain::time::optional_seconds")]
    #[schema(value_type = Option<f64>)]
    task_timeout: Option<Duration>,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    task_lease: Duration,
    retry: RetryJson,
    breaker: BreakerConfigJson,
    /// Scheme, host and port of each: the rest may be secret.
    dependencies: BTreeMap<String, String>,
    skip_phrase: Option<String>,
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

/// When agents are started by themselves, as it is in force.
#[derive(Debug, Serialize, ToSchema)]
struct OnDemandJson {
    max_agents: u32,
    reuse: bool,
}

/// When a task is tried again, as it is in force. Durations are seconds.
#[derive(Debug, Serialize, ToSchema)]
struct RetryJson {
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    backoff_min: Duration,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    backoff_max: Duration,
    poison_bound: u32,
}

/// When tasks wait because too many of them fail, as it is in force. Durations are seconds.
#[derive(Debug, Serialize, ToSchema)]
struct BreakerConfigJson {
    enabled: bool,
    share: f64,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    window: Duration,
    least: u32,
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    pause: Duration,
    probes: u32,
}

impl From<PoolConfig> for ConfigJson {
    fn from(config: PoolConfig) -> Self {
        Self {
            max_agents: config.max_agents,
            max_workers: config.max_workers,
            min_workers: config.min_workers,
            health_check_interval: config.health_check_interval,
            worker_idle_timeout: config.worker_idle_timeout,
            max_idle_time: config.max_idle_time,
            restart: config.restart.into(),
            tasks_per_agent: config.tasks_per_agent,
            on_demand: config.on_demand.map(|OnDemand { max_agents, reuse }| OnDemandJson { max_agents, reuse }),
            max_queued: config.max_queued,
            max_attempts: config.max_attempts,
            task_timeout: config.task_timeout,
            task_lease: config.task_lease,
            retry: config.retry.into(),
            breaker: config.breaker.into(),
            dependencies: config.dependencies.into_iter().map(|(name, url)| (name, url.to_string())).collect(),
            skip_phrase: config.skip_phrase,
        }
    }
}

impl From<RestartPolicy> for RestartJson {
    fn from(policy: RestartPolicy) -> Self {
        let RestartPolicy { kind, max_restarts, window, backoff_min, backoff_max } = policy;
        Self { kind, max_restarts, window, backoff_min, backoff_max }
    }
}

impl From<RetryPolicy> for RetryJson {
    fn from(policy: RetryPolicy) -> Self {
        let RetryPolicy { backoff_min, backoff_max, poison_bound } = policy;
        Self { backoff_min, backoff_max, poison_bound }
    }
}

impl From<BreakerPolicy> for BreakerConfigJson {
    fn from(policy: BreakerPolicy) -> Self {
        let BreakerPolicy { enabled, share, window, least, pause, probes } = policy;
        Self { enabled, share, window, least, pause, probes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;
    use crate::json::ChangePoolBody;
    use serde_json::json;

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

    fn changed(config: &PoolConfig, change: &str) -> PoolConfig {
        let body: ChangePoolBody = parse(format!("{{\"config\": {change}}}").as_bytes()).expect(change);
        let mut config = config.clone();
        body.config.apply(&mut config);
        config
    }

    #[test]
    fn how_tasks_are_treated_is_changed_field_by_field() {
        let change = r#"{"tasks_per_agent": 4, "on_demand": {"max_agents": 7}, "max_queued": 100, "max_attempts": 2,
            "task_timeout": 1.5, "task_lease": 60, "retry": {"poison_bound": 1}, "breaker": {"share": 0.5}}"#;
        let config = changed(&PoolConfig::default(), change);
        assert_eq!((config.tasks_per_agent, config.max_queued, config.max_attempts), (4, 100, 2));
        assert_eq!(config.on_demand, Some(OnDemand { max_agents: 7, reuse: true }));
        assert_eq!(config.task_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(config.task_lease, Duration::from_secs(60));
        assert_eq!(config.retry, RetryPolicy { poison_bound: 1, ..RetryPolicy::default() });
        assert_eq!(config.breaker, BreakerPolicy { share: 0.5, ..BreakerPolicy::default() });
        assert_eq!(changed(&config, "{}"), config);
        let once = changed(&config, r#"{"on_demand": {"reuse": false}}"#);
        assert_eq!(once.on_demand, Some(OnDemand { max_agents: 7, reuse: false }), "the rest stays");
        let none = changed(&config, r#"{"on_demand": null, "task_timeout": null}"#);
        assert_eq!((none.on_demand, none.task_timeout), (None, None));
        let json = serde_json::to_value(ConfigJson::from(config)).expect("an object");
        assert_eq!(
            (&json["on_demand"], &json["task_timeout"]),
            (&json!({"max_agents": 7, "reuse": true}), &json!(1.5))
        );
        assert_eq!(json["retry"], json!({"backoff_min": 1, "backoff_max": 300, "poison_bound": 1}));
        let breaker = json!({"enabled": true, "share": 0.5, "window": 300, "least": 20, "pause": 30, "probes": 1});
        assert_eq!(json["breaker"], breaker);
        assert_eq!(serde_json::to_value(ConfigJson::from(none)).expect("an object")["on_demand"], json!(null));
    }

    #[test]
    fn dependencies_are_taken_and_shown_without_their_secrets() {
        let text = r#"{"dependencies": {"broker": "amqp://u:s3cret@rabbit/s3cret"}, "skip_phrase": "just test"}"#;
        let config = changed(&PoolConfig::default(), text);
        assert_eq!(config.dependencies["broker"].url(), "amqp://u:s3cret@rabbit/s3cret");
        let other = changed(&config, r#"{"dependencies": {"db": "tcp://db:1"}, "skip_phrase": null}"#);
        assert_eq!(
            (other.dependencies.keys().map(String::as_str).collect::<Vec<_>>(), other.skip_phrase),
            (vec!["db"], None)
        );
        let json = serde_json::to_value(ConfigJson::from(config)).expect("an object");
        assert_eq!(json["dependencies"], json!({"broker": "amqp://rabbit:5672"}));
        assert_eq!(json["skip_phrase"], "just test");
        let bad = br#"{"config": {"dependencies": {"broker": "ftp://u:s3cret@rabbit"}}}"#;
        let refused = serde_json::to_value(parse::<ChangePoolBody>(bad).expect_err("no such protocol")).expect("JSON");
        let text = refused.to_string();
        assert!(refused["field"] == "config.dependencies.broker" && !text.contains("s3cret"), "{text}");
    }

    /// A bound that the API can't change would be left out of an answer too.
    #[test]
    fn every_bound_is_shown() {
        let config = PoolConfig {
            health_check_interval: Some(1.0),
            on_demand: Some(OnDemand::default()),
            task_timeout: Some(Duration::from_secs(1)),
            dependencies: [("db".to_owned(), "tcp://db:5432".parse().expect("a URL"))].into(),
            skip_phrase: Some("test".to_owned()),
            ..PoolConfig::default()
        };
        let kept = serde_json::to_value(&config).expect("an object");
        let shown = serde_json::to_value(ConfigJson::from(config)).expect("an object");
        assert_eq!(shown, kept);
    }
}
