//! Idempotency keys, of agents and of tasks.

use std::collections::BTreeMap;
use std::str::FromStr;

use muster_domain::Timestamp;

use crate::{IdempotencyKey, StoreError};

#[derive(Default)]
pub(super) struct IdempotencyKeys {
    held: BTreeMap<Name, Held>,
}

/// Caller, route and key.
type Name = (String, String, String);

struct Held {
    /// The agent or the task that was made.
    made: String,
    body_hash: [u8; 32],
    at: Timestamp,
}

fn name_of(key: &IdempotencyKey) -> Name {
    (key.caller.clone(), key.route.clone(), key.key.clone())
}

impl IdempotencyKeys {
    /// What was made with this key, and the hash of that request's body.
    pub(super) fn holder<T: FromStr<Err: ToString>>(
        &self,
        key: &IdempotencyKey,
    ) -> Result<Option<(T, [u8; 32])>, StoreError> {
        let Some(Held { made, body_hash, .. }) = self.held.get(&name_of(key)) else { return Ok(None) };
        let made = made.parse().map_err(|error: T::Err| StoreError::Corrupt(error.to_string()))?;
        Ok(Some((made, *body_hash)))
    }

    /// Takes the key where it is free. Whose it is, where that is another's.
    pub(super) fn claim<T: FromStr<Err: ToString> + ToString + PartialEq>(
        &mut self,
        key: &IdempotencyKey,
        id: T,
        at: Timestamp,
    ) -> Option<(T, [u8; 32])> {
        let ours = || Held { made: id.to_string(), body_hash: key.body_hash, at };
        self.held.entry(name_of(key)).or_insert_with(ours);
        self.holder(key).ok().flatten().filter(|(made, _)| *made != id)
    }

    /// Forgets the keys with which this was made.
    pub(super) fn forget(&mut self, made: impl ToString) {
        let made = made.to_string();
        self.held.retain(|_, held| held.made != made);
    }

    pub(super) fn bring_back(&mut self, to: Timestamp) {
        self.held.values_mut().for_each(|held| held.at = held.at.min(to));
    }

    /// Removes those that are older; how many.
    pub(super) fn prune(&mut self, before: Timestamp) -> u64 {
        self.held.extract_if(.., |_, held| held.at < before).count() as u64
    }
}
