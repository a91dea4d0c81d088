//! The names of keys and channels, spelled here and nowhere else: operators type them into redis-cli.

use std::fmt::Display;
use std::sync::Arc;

use muster_domain::{AgentId, PoolName, ProcessId};

/// What stands before the name of a pool.
const POOL: &str = "pool:";

/// Spells keys and channels, each behind the configured prefix (default: none).
///
/// `KEYS 'agent:*'` lists the agents' hashes and nothing else, `KEYS 'process:*'` the workers' hashes and nothing
/// else: what else is about a worker or an agent is named after the pool or the supervisor.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    /// Names behind `prefix`, which may be empty.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// Channel: commands to one worker.
    pub fn worker_commands(&self, worker: ProcessId) -> String {
        self.name(format_args!("process:{worker}:commands"))
    }

    /// Channel: copies of the commands to workers of a pool, for operators who watch. Workers of the previous version listen on
    /// it too.
    pub fn pool_commands(&self, pool: &PoolName) -> String {
        self.name(format_args!("pool:{pool}:commands"))
    }

    /// Channel: what happens in a pool, for operators who watch.
    pub fn events(&self, pool: &PoolName) -> String {
        self.name(format_args!("pool:{pool}:events"))
    }

    /// Stream: reports of a pool's workers.
    pub fn reports(&self, pool: &PoolName) -> String {
        self.name(format_args!("pool:{pool}:reports"))
    }

    /// Hash: an agent.
    pub fn agent(&self, agent: AgentId) -> String {
        self.name(format_args!("agent:{agent}"))
    }

    /// What stands before an agent's id in its key.
    pub fn agent_prefix(&self) -> String {
        self.name("agent:")
    }

    /// Hash: a worker.
    pub fn process(&self, worker: ProcessId) -> String {
        self.name(format_args!("process:{worker}"))
    }

    /// What stands before a worker's id in its key.
    pub fn process_prefix(&self) -> String {
        self.name("process:")
    }

    /// Sorted set: a pool's workers, scored by their free slots.
    pub fn slots(&self, pool: &PoolName) -> String {
        self.name(format_args!("pool:{pool}:processes"))
    }

    /// Set: a pool's agents.
    pub fn pool_agents(&self, pool: &PoolName) -> String {
        self.name(format_args!("pool:{pool}:agents"))
    }

    /// Set: the agents of one worker.
    pub fn worker_agents(&self, pool: &PoolName, worker: ProcessId) -> String {
        self.name(format_args!("pool:{pool}:process:{worker}:agents"))
    }

    /// The glob pattern of all keys that [`Keys::worker_agents`] makes for a pool.
    pub fn worker_agents_pattern(&self, pool: &PoolName) -> String {
        glob_literal(&self.name(format_args!("pool:{pool}:process:"))) + "*:agents"
    }

    /// The glob pattern of all keys about any pool.
    pub fn pool_pattern(&self) -> String {
        glob_literal(&self.name(POOL)) + "*"
    }

    /// The pool that a key is about; `None` where it is about something else.
    pub fn pool_of(&self, key: &str) -> Option<PoolName> {
        key.strip_prefix(&*self.prefix)?.strip_prefix(POOL)?.split(':').next()?.parse().ok()
    }

    /// The glob pattern of all keys that [`Keys::process`] makes.
    pub fn process_pattern(&self) -> String {
        glob_literal(&self.process_prefix()) + "*"
    }

    /// String: a mirror of who leads.
    pub fn leader(&self) -> String {
        self.name("supervisor:leader")
    }

    /// String: the life of the content; gone after a flush.
    pub fn generation(&self) -> String {
        self.name("supervisor:generation")
    }

    /// String: there while a worker is given up. Not a field of the worker's hash, which may be gone.
    pub fn condemned(&self, worker: ProcessId) -> String {
        self.name(format_args!("supervisor:condemned:{worker}"))
    }

    /// The patterns of all keys, behind the prefix: agents, workers, pools, the supervisor's own. Channels are named after
    /// workers and pools.
    pub(crate) fn patterns(&self) -> [String; 4] {
        ["agent:*", "process:*", "pool:*", "supervisor:*"].map(|pattern| self.name(pattern))
    }

    /// A key or channel of a pool that there can't be, to try rights on.
    pub(crate) fn of_no_pool(&self, what: &str) -> String {
        self.name(format_args!("{POOL}NONE:{what}"))
    }

    fn name(&self, rest: impl Display) -> String {
        format!("{}{rest}", self.prefix)
    }
}

/// `text` as a pattern that matches only itself: a prefix may hold characters that mean something in a pattern.
fn glob_literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_what_operators_type() {
        let keys = Keys::new("");
        let pool: PoolName = "developer_pool".parse().expect("a name");
        let worker = ProcessId::generate();
        let agent = AgentId::generate();
        assert_eq!(keys.worker_commands(worker), format!("process:{worker}:commands"));
        assert_eq!(keys.pool_commands(&pool), "pool:developer_pool:commands");
        assert_eq!(keys.events(&pool), "pool:developer_pool:events");
        assert_eq!(keys.reports(&pool), "pool:developer_pool:reports");
        assert_eq!(keys.agent(agent), format!("agent:{agent}"));
        assert_eq!(keys.process(worker), format!("process:{worker}"));
        assert_eq!(keys.slots(&pool), "pool:developer_pool:processes");
        assert_eq!(keys.pool_agents(&pool), "pool:developer_pool:agents");
        assert_eq!(keys.worker_agents(&pool, worker), format!("pool:developer_pool:process:{worker}:agents"));
        assert_eq!(keys.leader(), "supervisor:leader");
    }

    #[test]
    fn a_key_of_a_pool_says_which() {
        let keys = Keys::new("a:");
        let pool: PoolName = "p-1".parse().expect("a name");
        let worker = ProcessId::generate();
        for key in [keys.slots(&pool), keys.reports(&pool), keys.worker_agents(&pool, worker)] {
            assert_eq!(keys.pool_of(&key), Some(pool.clone()), "{key}");
        }
        for key in [keys.leader(), keys.process(worker), "pool:p-1:agents".to_owned(), "a:pool:No:agents".to_owned()] {
            assert_eq!(keys.pool_of(&key), None, "{key}");
        }
        assert_eq!(keys.pool_pattern(), "a:pool:*");
    }

    #[test]
    fn a_prefix_stands_before_every_name_and_means_only_itself_in_a_pattern() {
        let keys = Keys::new("a*[b]:");
        let pool: PoolName = "p-1".parse().expect("a name");
        assert_eq!(keys.leader(), "a*[b]:supervisor:leader");
        assert_eq!(keys.process_pattern(), r"a\*\[b\]:process:*");
        assert_eq!(keys.worker_agents_pattern(&pool), r"a\*\[b\]:pool:p\-1:process:*:agents");
    }
}
