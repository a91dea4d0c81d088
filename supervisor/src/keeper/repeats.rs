//! Repeated requests are told from new ones before anybody is placed: a repeat needs no slot, so it is answered also where
//! the pool is full by now, and it leaves no trace of an agent that never was.

use std::collections::HashSet;

use super::mailbox::{KeeperMessage, SpawnAnswer, SpawnAsk};
use crate::context::Context;
use crate::directory::Mailbox;
use crate::error::SupervisorError;

/// Answers those whose idempotency key is taken, and returns the others. Another pool's keeper may take a key after
/// this look: then the write, which is conditional on the key, says so.
pub(super) async fn answer_repeats(context: &Context, mailbox: &Mailbox, spawns: Vec<SpawnAsk>) -> Vec<SpawnAsk> {
    let mut new = Vec::with_capacity(spawns.len());
    let mut claimed = HashSet::new();
    for spawn in spawns {
        let Some(key) = &spawn.key else {
            new.push(spawn);
            continue;
        };
        match context.store.key_holder(key).await {
            Ok(Some((agent, body_hash))) => {
                let same = key.body_hash == body_hash;
                let answer = if same { Ok(SpawnAnswer::Replayed(agent)) } else { Err(SupervisorError::KeyReused) };
                drop(spawn.reply.send(answer));
            }
            Ok(None) if claimed.insert((key.caller.clone(), key.route.clone(), key.key.clone())) => new.push(spawn),
            // The second of two at once: the next turn knows what became of the first.
            Ok(None) => drop(mailbox.send(KeeperMessage::Spawn(Box::new(spawn)))),
            Err(error) => drop(spawn.reply.send(Err(context.store_failed(&error)))),
        }
    }
    new
}
