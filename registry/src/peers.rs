//! The workers that an engine speaks with or for, and what is known of each.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use muster_domain::{PoolName, ProcessId, WorkerKey};

use crate::signer::MessageSigner;

/// Dead workers that are remembered: what they said last may still be read.
const REMEMBERED: usize = 4096;

/// A worker, as whoever started or found it introduces it to an engine.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its pool.
    pub pool: PoolName,
    /// What its messages are signed with; none for a worker of the previous version, which is spoken with unsigned.
    pub key: Option<WorkerKey>,
}

/// Who was introduced.
#[derive(Default)]
pub(crate) struct Peers(RwLock<KnownPeer>);

#[derive(Default)]
struct KnownPeer {
    peers: HashMap<ProcessId, Peer>,
    /// How many of each pool have no key.
    keyless: HashMap<PoolName, usize>,
    departed: VecDeque<ProcessId>,
}

/// How a message of a worker is to be read.
pub(crate) enum MessageTrust {
    /// It is believed with the right code.
    Signed(MessageSigner),
    /// It is believed.
    Unsigned,
    /// Nobody introduced it.
    Stranger,
}

impl Peers {
    pub(crate) fn introduce(&self, worker: ProcessId, peer: Peer) {
        let mut known = self.write();
        if peer.key.is_none() {
            *known.keyless.entry(peer.pool.clone()).or_default() += 1;
        }
        let before = known.peers.insert(worker, peer);
        known.count_out(before.as_ref());
    }

    /// It is dead. Its key is kept for a while.
    pub(crate) fn depart(&self, worker: ProcessId) {
        let mut known = self.write();
        // Forgetting is tried until it succeeds.
        if !known.peers.contains_key(&worker) || known.departed.contains(&worker) {
            return;
        }
        known.departed.push_back(worker);
        while known.departed.len() > REMEMBERED {
            let Some(oldest) = known.departed.pop_front() else { break };
            known.peers.remove(&oldest);
        }
        let pool = known.peers.get(&worker).filter(|peer| peer.key.is_none()).map(|peer| peer.pool.clone());
        if let Some(pool) = pool {
            known.count_out_of(&pool);
        }
    }

    /// How it is spoken with.
    pub(crate) fn trust(&self, worker: ProcessId) -> MessageTrust {
        match self.read().peers.get(&worker) {
            Some(Peer { key: Some(key), .. }) => MessageTrust::Signed(MessageSigner::new(worker, *key)),
            Some(Peer { key: None, .. }) => MessageTrust::Unsigned,
            None => MessageTrust::Stranger,
        }
    }

    /// Its seal, where it has one.
    pub(crate) fn seal(&self, worker: ProcessId) -> Option<MessageSigner> {
        match self.trust(worker) {
            MessageTrust::Signed(seal) => Some(seal),
            MessageTrust::Unsigned | MessageTrust::Stranger => None,
        }
    }

    /// The pool of a worker, where copies of commands to it may be shown: workers of the previous version still listen on the
    /// channel for that, and each copy would wake all of them.
    pub(crate) fn shown_pool(&self, worker: ProcessId) -> Option<PoolName> {
        let known = self.read();
        let pool = &known.peers.get(&worker)?.pool;
        (!known.keyless.contains_key(pool)).then(|| pool.clone())
    }

    fn read(&self) -> RwLockReadGuard<'_, KnownPeer> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KnownPeer> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownPeer {
    fn count_out(&mut self, peer: Option<&Peer>) {
        if let Some(peer) = peer.filter(|peer| peer.key.is_none()) {
            self.count_out_of(&peer.pool);
        }
    }

    fn count_out_of(&mut self, pool: &PoolName) {
        if let Some(count) = self.keyless.get_mut(pool) {
            *count -= 1;
            if *count == 0 {
                self.keyless.remove(pool);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(key: Option<WorkerKey>) -> Peer {
        Peer { pool: "p".parse().expect("a name"), key }
    }

    #[test]
    fn commands_of_a_pool_are_shown_when_no_worker_without_a_key_is_left() {
        let (peers, new, old) = (Peers::default(), ProcessId::generate(), ProcessId::generate());
        peers.introduce(new, peer(Some(WorkerKey::generate())));
        assert!(peers.shown_pool(new).is_some() && peers.shown_pool(old).is_none());
        for _ in 0..2 {
            peers.introduce(old, peer(None));
        }
        assert!(peers.shown_pool(new).is_none() && matches!(peers.trust(old), MessageTrust::Unsigned));
        peers.depart(old);
        peers.depart(old);
        assert!(peers.shown_pool(new).is_some());
        assert!(matches!(peers.trust(old), MessageTrust::Unsigned), "its last words are read");
    }

    #[test]
    fn the_dead_are_forgotten_in_the_end() {
        let (peers, first) = (Peers::default(), ProcessId::generate());
        peers.introduce(first, peer(Some(WorkerKey::generate())));
        peers.depart(first);
        assert!(matches!(peers.trust(first), MessageTrust::Signed(_)));
        for _ in 0..REMEMBERED {
            let worker = ProcessId::generate();
            peers.introduce(worker, peer(None));
            peers.depart(worker);
        }
        assert!(matches!(peers.trust(first), MessageTrust::Stranger));
    }
}
