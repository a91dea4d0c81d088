//! The engine for worker processes: one Redis (or Valkey) server that master and workers share.
//!
//! # Connections
//! Commands go over one multiplexed connection (`command_connection`), which is made on first use and made again whenever it broke;
//! every call is bounded in time. A worker has a second one for its subscription (`subscription`), the master a
//! second one for its blocking reads (`reports`). Neither relies on the client library to come back: they reconnect
//! themselves, for ever, and say so.
//!
//! # One reader of reports
//! Only the leader reads reports, and it deletes what it settled. So what is on a stream is what is not settled, a new
//! leader begins with the oldest entry, and consumer groups would add nothing but a state that a flush loses.
//!
//! # What others write
//! Whoever can write to the server can make something else of a key of ours. The key is ours nevertheless: whoever of us
//! comes upon it deletes it and writes it anew (`lua/own.lua`; `mend.lua` where a plain command comes upon it), and a
//! worker writes all of its agents again every few beats. So each heals by itself, and no pool harms another. `sentry`
//! counts it.

mod agents;
mod backoff;
mod bus;
mod command_connection;
mod heartbeats;
mod reach;
mod refusal;
mod reports;
mod rights;
mod scripts;
mod strangers;
mod subscription;
mod tampering;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{Generation, Heartbeat, HeartbeatReply, PoolName, ProcessId, RegistryTarget, Tampering, WorkerKey};
use redis::{Client, ScriptInvocation};
use uuid::Uuid;

use crate::peers::Peers;
use crate::signer::{MessageSigner, Purpose};
use crate::{HeartbeatReadings, Keys, LeaderMirror, Registry, RegistryError, WrittenState, wire};
use command_connection::CommandConnection;
pub use reach::{Unreached, reach};
use subscription::Subscription;
use tampering::TamperingLog;

/// How long the mark of a condemned worker stays, in milliseconds: a day, longer than any worker that nobody proved
/// dead goes on without a heartbeat.
const CONDEMNED_FOR_MS: u64 = 24 * 60 * 60 * 1000;
/// Keys that one step of a scan looks at.
const SCAN_STEP: usize = 1000;

/// Does what each process has to do once for its first beat and report: for one that is forked into many afterwards.
pub fn warm_up() {
    scripts::warm_up();
    let nobody = MessageSigner::new(ProcessId::from_uuid(Uuid::nil()), WorkerKey::generate());
    let _ = nobody.code(Purpose::Picture, b"");
    let _ = redis::parse_redis_value(b"$2\r\nOK\r\n");
}

/// How the engine behaves.
#[derive(Clone, Copy, Debug)]
pub struct RedisOptions {
    /// Past this time a call fails with [`RegistryError::Unavailable`]. Default 2 s.
    pub timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(2) }
    }
}

/// The Redis engine. Clones share its connections.
#[derive(Clone)]
pub struct RedisRegistry {
    shared: Arc<RedisShared>,
}

struct RedisShared {
    client: Client,
    keys: Keys,
    options: RedisOptions,
    link: CommandConnection,
    subscriptions: Mutex<HashMap<ProcessId, Subscription>>,
    tampering_log: Arc<TamperingLog>,
    peers: Arc<Peers>,
    /// The number of the latest signed command.
    commands: AtomicU64,
}

impl RedisRegistry {
    /// The registry at this address. Connects with the first call, so that a worker's first beat and its subscription
    /// connect at the same time, and a server that is away is an error of that call.
    ///
    /// Fails with [`RegistryError::InvalidAddress`] where the URL is none: `redis://host:port/db`, `rediss://...`,
    /// `redis+unix:///path` or `unix:///path`.
    pub fn connect(target: &RegistryTarget, options: RedisOptions) -> Result<Self, RegistryError> {
        let client = command_connection::open(target)?;
        let shared = RedisShared {
            link: CommandConnection::new(client.clone(), options.timeout),
            client,
            keys: Keys::new(&target.prefix),
            options,
            subscriptions: Mutex::default(),
            tampering_log: Arc::default(),
            peers: Arc::default(),
            commands: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    fn keys(&self) -> &Keys {
        &self.shared.keys
    }

    fn tampering_log(&self) -> &TamperingLog {
        &self.shared.tampering_log
    }

    fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    fn link(&self) -> &CommandConnection {
        &self.shared.link
    }

    fn subscriptions(&self) -> MutexGuard<'_, HashMap<ProcessId, Subscription>> {
        self.shared.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a script that answers with the keys that it had to replace.
    async fn run(&self, call: &ScriptInvocation<'_>) -> Result<(), RegistryError> {
        let replaced: Vec<String> = self.link().script(call).await?;
        self.tampering_log().replaced(&replaced);
        Ok(())
    }

    /// All keys that match a pattern.
    async fn scan(&self, pattern: &str) -> Result<HashSet<String>, RegistryError> {
        let mut found = HashSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut step = redis::cmd("SCAN");
            step.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_STEP);
            let (next, keys): (u64, Vec<String>) = self.link().command(&step).await?;
            found.extend(keys);
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }
}

/// A generation to take where there is none.
fn candidate() -> String {
    Uuid::new_v4().to_string()
}

fn read_generation(text: &str) -> Result<Generation, RegistryError> {
    let parsed = Uuid::parse_str(text).map(Generation);
    parsed.map_err(|error| RegistryError::Unexpected(format!("no generation: {text:?} ({error})")))
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn ping(&self) -> Result<Duration, RegistryError> {
        self.link().ping().await
    }

    async fn examine(&self) -> Result<(), RegistryError> {
        self.try_rights().await
    }

    async fn beat(&self, beat: &Heartbeat, known: &mut WrittenState) -> Result<HeartbeatReply, RegistryError> {
        self.write_beat(beat, known).await
    }

    async fn read_heartbeats(&self, workers: &[(ProcessId, u64)]) -> Result<HeartbeatReadings, RegistryError> {
        self.read_pictures(workers).await
    }

    async fn present(&self) -> Result<Vec<ProcessId>, RegistryError> {
        let before = self.keys().process_prefix();
        let keys = self.scan(&self.keys().process_pattern()).await?;
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&before)?.parse().ok()).collect())
    }

    async fn pools(&self) -> Result<Vec<PoolName>, RegistryError> {
        let keys = self.scan(&self.keys().pool_pattern()).await?;
        let pools: BTreeSet<PoolName> = keys.iter().filter_map(|key| self.keys().pool_of(key)).collect();
        Ok(pools.into_iter().collect())
    }

    async fn forget(&self, pool: &PoolName, worker: ProcessId) -> Result<(), RegistryError> {
        let keys = self.keys();
        let mut call = scripts::FORGET.prepare_invoke();
        call.key(keys.pool_agents(pool)).key(keys.worker_agents(pool, worker)).key(keys.process(worker));
        call.key(keys.condemned(worker)).key(keys.slots(pool));
        call.arg(worker.to_string()).arg(keys.agent_prefix());
        self.run(&call).await?;
        self.peers().depart(worker);
        Ok(())
    }

    async fn forget_pool(&self, pool: &PoolName) -> Result<(), RegistryError> {
        let keys = self.keys();
        let mut call = scripts::FORGET_POOL.prepare_invoke();
        call.key(keys.pool_agents(pool)).key(keys.slots(pool)).key(keys.reports(pool));
        for set in self.scan(&keys.worker_agents_pattern(pool)).await? {
            call.key(set);
        }
        call.arg(pool.as_str()).arg(keys.agent_prefix());
        self.run(&call).await
    }

    async fn remove_strangers(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.weed_mirrors(pool).await
    }

    async fn condemn(&self, worker: ProcessId) -> Result<(), RegistryError> {
        // A worker of the previous version takes anything for it.
        let mark = self.peers().seal(worker).map_or_else(|| "1".to_owned(), |seal| seal.code(Purpose::Condemned, b""));
        let mut set = redis::cmd("SET");
        set.arg(self.keys().condemned(worker)).arg(mark).arg("PX").arg(CONDEMNED_FOR_MS);
        self.link().command(&set).await
    }

    async fn announce_leader(&self, leader: &LeaderMirror, lease: Duration) -> Result<(), RegistryError> {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut set = redis::cmd("SET");
        set.arg(self.keys().leader()).arg(wire::write(leader)?).arg("PX").arg(lease_ms);
        self.link().command(&set).await
    }

    async fn generation(&self) -> Result<Generation, RegistryError> {
        Ok(self.read_pictures(&[]).await?.generation)
    }

    fn tampering(&self) -> Tampering {
        self.tampering_log().tampering()
    }
}
