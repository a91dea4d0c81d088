//! A pool: a named kind of agent, and the bounds within which it lives.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::check::{Dependency, check_dependencies};
use crate::queue::{BreakerPolicy, OnDemand, RetryPolicy};
use crate::restart::RestartPolicy;
use crate::time::{optional_seconds, seconds};
use crate::words::Words;
use crate::{CapacityTiers, Clocks, PlacementStrategy, ScalingConfig, described, number, schema};

/// The name of a pool: 1 to 64 characters of `a-z`, `0-9`, `-` and `_`. It is part of keys and channel names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PoolName(String);

/// Why a text is no [`PoolName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pool name is 1 to 64 characters of a-z, 0-9, '-' and '_', not {0:?}")]
pub struct InvalidPoolName(String);

impl PoolName {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PoolName {
    type Err = InvalidPoolName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        let plain = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(InvalidPoolName(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for PoolName {
    type Error = InvalidPoolName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PoolName> for String {
    fn from(name: PoolName) -> Self {
        name.0
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

crate::words! {
    /// Who made a pool, and so who may change it.
    pub enum PoolOrigin {
        /// Made once in a new store that had no configuration.
        Default = "default",
        /// Made over the API, which may change and delete it.
        Api = "api",
        /// Written in the configuration file: the API answers 409 to changes.
        File = "file",
    }
}

impl FromStr for PoolOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no origin of a pool: {text:?}"))
    }
}

/// A pool as somebody asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Its name; the key of everything about it.
    pub pool_name: PoolName,
    /// The role of its agents, e.g. `developer`. A spawn must name the same.
    pub role_type: String,
    /// The runtime profile that its agents run: a name of the configuration (default `echo`), never a command.
    pub runtime: String,
    /// Its bounds.
    pub config: PoolConfig,
    /// Who made it.
    pub origin: PoolOrigin,
}

/// The bounds of a pool. Every field has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// Agents that one worker holds.
    #[default = 10]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_agents: u32,
    /// Workers at the most; 0 is no bound. A spawn past it is refused (429).
    #[default = 20]
    pub max_workers: u32,
    /// Workers kept ready even when they are empty.
    #[schema(maximum = 10000)]
    pub min_workers: u32,
    /// Seconds between a worker's heartbeats, up to a third of `clocks.lease`. Where three of them are longer than `clocks.stale`, a
    /// worker is condemned after three. Default: `clocks.heartbeat`.
    #[serde(with = "number::optional")]
    #[schema(format = "seconds", minimum = 0.05)]
    pub health_check_interval: Option<f64>,
    /// Who starts its workers: the name of a launcher. `local` starts them on the supervisor's own host. Workers that there are stay
    /// with theirs when it changes.
    #[default(crate::launcher::LOCAL.to_owned())]
    #[schema(min_length = 1)]
    pub launcher: String,
    /// Which worker an agent gets, of those that have room: the fullest (`pack`: the fewest workers), the one with the fewest agents
    /// (`spread`), or the one that uses the least of the host's processors and memory (`least_loaded`; without `metrics` it is `spread`).
    pub placement: PlacementStrategy,
    /// Whether an agent goes to a worker that has agents of its project, where one of these has room; `placement` chooses among them.
    pub project_affinity: bool,
    /// An empty worker ends after this time.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(300))]
    pub worker_idle_timeout: Duration,
    /// An agent that is idle for longer ends, where its spawn does not say otherwise.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 1)]
    #[default(Duration::from_secs(300))]
    pub max_idle_time: Duration,
    /// When and how often an agent is started again.
    pub restart: RestartPolicy,
    /// Tasks that one agent has at a time; more than 1 is for agents that keep ids apart.
    #[default = 1]
    #[schema(minimum = 1, maximum = 1000)]
    pub tasks_per_agent: u32,
    /// How agents are started by themselves for tasks that wait. Default: they are not.
    pub on_demand: Option<OnDemand>,
    /// Tasks that may wait, the delayed ones among them; 0 is no bound. A task past it is refused (429).
    pub max_queued: u64,
    /// Attempts at a task that does not say otherwise.
    #[default = 3]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_attempts: u32,
    /// How long one attempt at a task may take, where the task does not say otherwise. Default: no bound.
    #[serde(with = "optional_seconds")]
    #[schema(value_type = Option<f64>, format = "seconds", exclusive_minimum = 0)]
    pub task_timeout: Option<Duration>,
    /// A running task whose agent shows no sign of progress for this time loses its agent.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", exclusive_minimum = 0)]
    #[default(Duration::from_secs(900))]
    pub task_lease: Duration,
    /// When a task is tried again.
    pub retry: RetryPolicy,
    /// When tasks wait because too many of them fail.
    pub breaker: BreakerPolicy,
    /// What its agents need, by name: URLs (`http`, `https`, `tcp`, `redis`, `rediss`, `amqp`, `amqps`) of which a check tells
    /// whether a worker of the pool reaches them. Shown with scheme, host and port: the rest may be secret.
    #[schema(value_type = BTreeMap<String, String>)]
    pub dependencies: BTreeMap<String, Dependency>,
    /// A task whose input has this text in one of its strings becomes a check. Default: `skip_phrase` of all pools.
    #[schema(min_length = 1)]
    pub skip_phrase: Option<String>,
    /// How it grows and shrinks with what is measured. With `mode = "on"` agents are started for tasks within the workers that its
    /// policies want, and workers are kept as many.
    pub scaling: ScalingConfig,
    /// Of what its workers are: a base that is always there, spot that is cheap and may be taken away, and burst for what neither holds.
    /// Default: all workers are alike, and cost nothing.
    pub tiers: Option<CapacityTiers>,
}

described!(PoolConfig);

/// Why a pool can't live under a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolMistake {
    /// Its bounds are wrong, in words that begin with the field.
    #[error("{0}")]
    Bounds(String),
    /// Its workers would beat too rarely for the supervisor's clocks.
    #[error("{0}")]
    Interval(String),
    /// There is no such launcher.
    #[error("there is no launcher {name:?}; there are: {}", .known.join(", "))]
    UnknownLauncher {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

impl PoolConfig {
    /// Workers that are kept whatever the load is: `min_workers`, or those of its tiers where these are more.
    pub fn least_workers(&self) -> u32 {
        self.min_workers.max(self.tiers.as_ref().map_or(0, CapacityTiers::least))
    }

    /// Workers at the most: `max_workers`, or what its tiers hold where that is less. 0 is no bound.
    pub fn most_workers(&self) -> u32 {
        let bound = if self.max_workers == 0 { u32::MAX } else { self.max_workers };
        let most = bound.min(self.tiers.as_ref().map_or(u32::MAX, CapacityTiers::most));
        if most == u32::MAX { 0 } else { most }
    }

    /// Every launcher that its workers may come from.
    pub fn launchers(&self) -> impl Iterator<Item = &str> {
        let of_tiers = self.tiers.iter().flat_map(CapacityTiers::used).flat_map(|(_, tier)| &tier.launchers);
        std::iter::once(&self.launcher).chain(of_tiers).map(String::as_str)
    }

    /// Says what is wrong with these bounds under a supervisor with these clocks and these launchers.
    pub fn check_under(&self, clocks: &Clocks, launchers: &[impl AsRef<str>]) -> Result<(), PoolMistake> {
        self.validate().map_err(PoolMistake::Bounds)?;
        self.health_check_interval
            .map_or(Ok(()), |interval| clocks.check_interval(interval))
            .map_err(PoolMistake::Interval)?;
        let is_unknown = |name: &&str| !launchers.iter().any(|known| known.as_ref() == *name);
        let Some(unknown) = self.launchers().find(is_unknown) else { return Ok(()) };
        let known = launchers.iter().map(|known| known.as_ref().to_owned()).collect();
        Err(PoolMistake::UnknownLauncher { name: unknown.to_owned(), known })
    }

    /// Says what is wrong with these bounds, in words that begin with the field.
    pub fn validate(&self) -> Result<(), String> {
        schema::check(self)?;
        if self.max_workers > 0 && self.min_workers > self.max_workers {
            return Err(format!("min_workers ({}) is above max_workers ({})", self.min_workers, self.max_workers));
        }
        self.restart.validate()?;
        self.retry.validate()?;
        self.breaker.validate()?;
        check_dependencies(&self.dependencies)?;
        self.scaling.validate()?;
        self.tiers.as_ref().map_or(Ok(()), CapacityTiers::validate)?;
        let (least, most) = (self.least_workers(), self.most_workers());
        if most > 0 && least > most {
            return Err(match self.min_workers > most {
                true => format!("min_workers ({least}) is above what tiers hold ({most})"),
                false => format!("tiers: min_workers of all of them ({least}) are above max_workers ({most})"),
            });
        }
        self.scaling.check_within(most, self.on_demand.as_ref())
    }

    /// Whether each worker is filled before the next one, whoever comes: only then does it help to move agents, so that one gets empty.
    pub const fn packs(&self) -> bool {
        matches!(self.placement, PlacementStrategy::Pack) && !self.project_affinity
    }

    /// These bounds as they may be shown: without the secrets in them.
    #[must_use]
    pub fn shown(mut self) -> Self {
        self.dependencies.values_mut().for_each(|dependency| *dependency = dependency.without_secrets());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::SHORTEST_INTERVAL;
    use crate::schema::Described;

    #[test]
    fn pool_names_are_what_a_key_may_hold() {
        for good in ["a", "developer_pool", "x-1", &"p".repeat(64)] {
            assert_eq!(good.parse::<PoolName>().expect(good).as_str(), good);
        }
        for bad in ["", "Developer", "a b", "pool:1", "ü", &"p".repeat(65), "a\n"] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad:?} is no name");
        }
    }

    #[test]
    fn a_config_may_name_only_what_it_changes() {
        let config: PoolConfig = serde_json::from_str(r#"{"max_agents": 2}"#).expect("one field");
        assert_eq!(config, PoolConfig { max_agents: 2, ..PoolConfig::default() });
        assert!(serde_json::from_str::<PoolConfig>(r#"{"max_agentz": 2}"#).is_err());
    }

    #[test]
    fn an_agent_is_idle_for_as_long_as_its_pool_may_say() {
        let setting = PoolConfig::settings().iter().find(|setting| setting.key == "max_idle_time").expect("a setting");
        assert_eq!(setting.bounds.minimum, Some(SHORTEST_INTERVAL.as_secs_f64()));
    }

    #[test]
    fn what_a_supervisor_lacks_for_a_pool_is_named() {
        let check = |config: &PoolConfig| config.check_under(&Clocks::default(), &["local", "cluster"]);
        let mut config = PoolConfig::default();
        assert_eq!(check(&config), Ok(()));
        config.launcher = "moon".to_owned();
        let told = check(&config).expect_err("nobody has it").to_string();
        assert_eq!(told, "there is no launcher \"moon\"; there are: local, cluster");
        config.health_check_interval = Some(6.0);
        assert!(matches!(check(&config), Err(PoolMistake::Interval(words)) if words.contains("clocks.lease (15 s)")));
        config.max_agents = 0;
        assert!(matches!(check(&config), Err(PoolMistake::Bounds(words)) if words.starts_with("max_agents ")));
    }

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        let wrong = |change: fn(&mut PoolConfig)| {
            let mut config = PoolConfig::default();
            change(&mut config);
            config.validate().expect_err("a contradiction")
        };
        assert!(wrong(|c| c.max_agents = 0).contains("max_agents"));
        assert!(wrong(|c| (c.min_workers, c.max_workers) = (3, 2)).contains("min_workers"));
        assert!(
            wrong(|c| (c.min_workers, c.max_workers) = (u32::MAX, 0)).contains("min_workers"),
            "no machine has so many"
        );
        assert!(wrong(|c| c.health_check_interval = Some(0.0)).contains("health_check_interval"));
        assert!(wrong(|c| c.max_idle_time = Duration::ZERO).contains("max_idle_time"));
        assert!(wrong(|c| c.tasks_per_agent = 0).contains("tasks_per_agent"));
        assert!(wrong(|c| c.max_attempts = 0).contains("max_attempts"));
        assert!(wrong(|c| c.task_lease = Duration::ZERO).contains("task_lease"));
        assert!(wrong(|c| c.retry.backoff_min = Duration::from_secs(1_000)).contains("retry.backoff_min"));
        assert!(wrong(|c| c.breaker.share = -0.1).contains("breaker.share"));
        assert!(wrong(|c| c.skip_phrase = Some(String::new())).contains("skip_phrase"));
        let name_store = |c: &mut PoolConfig| {
            c.dependencies.insert("store".to_owned(), "tcp://h:1".parse().expect("a URL"));
        };
        assert!(wrong(name_store).contains("dependencies"));
        let ages = Duration::from_secs(10_000_000_000_000_000_000);
        for (message, field) in [
            (wrong(|c| c.health_check_interval = Some(1e19)), "health_check_interval"),
            (wrong(|c| c.health_check_interval = Some(f64::NAN)), "health_check_interval"),
            (
                PoolConfig { worker_idle_timeout: ages, ..PoolConfig::default() }.validate().expect_err("too long"),
                "worker_idle_timeout",
            ),
            (
                PoolConfig { max_idle_time: ages, ..PoolConfig::default() }.validate().expect_err("too long"),
                "max_idle_time",
            ),
        ] {
            assert!(message.starts_with(field) && message.contains("1000000000 s"), "{message}");
        }
        let unbounded = PoolConfig { max_workers: 0, min_workers: 5, ..PoolConfig::default() };
        assert_eq!(unbounded.validate(), Ok(()));
    }
}
