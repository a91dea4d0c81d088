//! Heartbeats: written by workers, read by the leader.

use std::time::Duration;

use muster_domain::{Heartbeat, HeartbeatReply, ProcessId, Timestamp};
use redis::ScriptInvocation;

use super::{RedisRegistry, agents, candidate, read_generation, refusal, scripts};
use crate::signer::{MessageSigner, Purpose};
use crate::written_state::{BEATS_PER_WHOLE, FieldChanges, PendingChanges, SteadyFields};
use crate::{HeartbeatReading, HeartbeatReadings, RegistryError, WrittenState, wire};

/// A worker's hash goes by itself when nobody beat or forgot it for an hour...
const EXPIRE_SECONDS: u64 = 3600;
/// ... or for so many of the beats with which that hour begins anew, where they are far apart.
const EXPIRE_WHOLES: u32 = 4;
/// Workers per script call: a call for 200 keeps Redis from others for less than a millisecond.
const PICTURES_PER_CALL: usize = 200;

/// What `pictures.lua` says of one worker: its place in KEYS, number, age in milliseconds, picture, the picture's code.
type SeenRow = (usize, u64, u64, Option<Vec<u8>>, Option<Vec<u8>>);
/// What `beat.lua` answers: see there.
type BeatReply = (String, u64, Vec<u8>, Vec<u8>, bool, u64, bool, Vec<String>);

/// How a call of `beat.lua` went.
struct BeatOutcome {
    reply: HeartbeatReply,
    /// Nothing was written: what was left out as known is not there.
    lacks_fields: bool,
    /// Something of ours had to be replaced.
    has_replaced: bool,
}

impl RedisRegistry {
    pub(super) async fn write_beat(
        &self,
        beat: &Heartbeat,
        known: &mut WrittenState,
    ) -> Result<HeartbeatReply, RegistryError> {
        known.count_beat();
        let first = self.call_beat(beat, known).await?;
        let is_emptied = known.enter(first.reply.generation);
        if is_emptied || first.lacks_fields {
            // What was left out as unchanged is gone, so all of it is written again.
            return Ok(self.call_beat(beat, known).await?.reply);
        }
        Ok(first.reply)
    }

    async fn call_beat(&self, beat: &Heartbeat, known: &mut WrittenState) -> Result<BeatOutcome, RegistryError> {
        let (changes, steady) = (known.changes_of_beat(beat), steady_fields(beat));
        match self.send_beat(beat, &known.changes_of_fields(&steady), &changes).await {
            Ok(outcome) => {
                known.record(&changes);
                known.record_fields(steady);
                // Where another beat's picture stands, this one has written nothing.
                if outcome.has_replaced || outcome.lacks_fields || outcome.reply.number != beat.number {
                    known.mark_all_unknown();
                }
                Ok(outcome)
            }
            Err(error) => {
                known.mark_unknown(&changes);
                Err(error)
            }
        }
    }

    async fn send_beat(
        &self,
        beat: &Heartbeat,
        fields: &FieldChanges<'_>,
        changes: &PendingChanges<'_>,
    ) -> Result<BeatOutcome, RegistryError> {
        let keys = self.keys();
        let seal = self.peers().seal(beat.process_id);
        let mut call = scripts::BEAT.prepare_invoke();
        agents::begin(&mut call, keys, &beat.pool_name, beat.process_id);
        call.key(keys.process(beat.process_id)).key(keys.generation()).key(keys.leader());
        call.key(keys.condemned(beat.process_id));
        call.arg(candidate()).arg(beat.number).arg(expiry(beat, fields)).arg(beat.reported).arg(beat.agents.len());
        add_fields(&mut call, beat, seal, fields)?;
        agents::finish(&mut call, keys, changes);
        let (generation, settled, code, mark, leader_present, number, lacks_fields, replaced): BeatReply =
            self.link().script(&call).await?;
        self.tampering_log().replaced(&replaced);
        let settled = self.believed_settled(beat.process_id, seal, settled, &code).await;
        let fenced = self.believed_mark(beat.process_id, seal, &mark).await;
        let reply =
            HeartbeatReply { settled, fenced, leader_present, number, generation: read_generation(&generation)? };
        Ok(BeatOutcome { reply, lacks_fields, has_replaced: !replaced.is_empty() })
    }

    pub(super) async fn read_pictures(&self, workers: &[(ProcessId, u64)]) -> Result<HeartbeatReadings, RegistryError> {
        let (first, rest) = workers.split_at(workers.len().min(PICTURES_PER_CALL));
        let mut pictures = self.call_pictures(first).await?;
        for chunk in rest.chunks(PICTURES_PER_CALL) {
            let more = self.call_pictures(chunk).await?;
            // Flushed between two calls: the earlier ones read what is no more.
            if more.generation != pictures.generation {
                pictures = HeartbeatReadings { generation: more.generation, seen: Vec::new(), refusal: None };
            }
            pictures.refusal = more.refusal.or(pictures.refusal);
            pictures.seen.extend(more.seen);
        }
        Ok(pictures)
    }

    async fn call_pictures(&self, workers: &[(ProcessId, u64)]) -> Result<HeartbeatReadings, RegistryError> {
        let keys = self.keys();
        let mut call = scripts::PICTURES.prepare_invoke();
        call.key(keys.generation()).arg(candidate());
        for (worker, number) in workers {
            call.key(keys.process(*worker)).arg(*number);
        }
        let (generation, rows, refusal, replaced): (String, Vec<SeenRow>, Option<String>, Vec<String>) =
            self.link().script(&call).await?;
        self.tampering_log().replaced(&replaced);
        // The first worker is the second key, and Lua counts from 1.
        let worker_at = |place: usize| workers.get(place.checked_sub(2)?).copied();
        let seen = rows.into_iter().filter_map(|row| Some(self.reading(worker_at(row.0)?, row))).collect();
        let refusal = refusal.map(|refusal| refusal::explain(&refusal));
        Ok(HeartbeatReadings { generation: read_generation(&generation)?, seen, refusal })
    }

    fn reading(
        &self,
        (process_id, known): (ProcessId, u64),
        (_, number, age_ms, picture, code): SeenRow,
    ) -> HeartbeatReading {
        let age = Duration::from_millis(age_ms);
        if number == known {
            return HeartbeatReading { process_id, number, age, beat: None };
        }
        let seal = self.peers().seal(process_id);
        let is_ours = |picture: &[u8]| {
            let Some(seal) = seal else { return true };
            // Its number is in it, so that one which was ours once is not believed when it is put there again.
            seal.is_code(code.as_deref().unwrap_or_default(), Purpose::Picture, picture)
                && wire::number_of(picture) == Some(number)
                && number > known
        };
        let Some(picture) = picture.filter(|picture| is_ours(picture)) else {
            self.tampering_log().forged(&self.keys().process(process_id));
            return HeartbeatReading { process_id, number: known, age, beat: None };
        };
        match wire::read_beat(&picture) {
            Ok(beat) => HeartbeatReading { process_id, number, age, beat: Some(Box::new(beat)) },
            Err(why) => {
                // One that speaks another language must not hide the others.
                self.tampering_log().unreadable(process_id, &why);
                HeartbeatReading { process_id, number, age, beat: None }
            }
        }
    }

    /// The number up to which a worker's reports are settled, where a leader wrote it. What somebody else wrote is taken away, so
    /// that it is not met with every beat; the number comes again with the next settlement.
    async fn believed_settled(&self, worker: ProcessId, seal: Option<MessageSigner>, settled: u64, code: &[u8]) -> u64 {
        let Some(seal) = seal.filter(|_| settled > 0) else { return settled };
        if seal.is_code(code, Purpose::Settled, settled.to_string().as_bytes()) {
            return settled;
        }
        let key = self.keys().process(worker);
        self.tampering_log().forged(&key);
        let mut remove = redis::cmd("HDEL");
        remove.arg(&key).arg("settled").arg("settled_code");
        // Where that fails it is met again.
        let _ = self.link().command::<()>(&remove).await;
        0
    }

    /// Whether a leader has given the worker up.
    async fn believed_mark(&self, worker: ProcessId, seal: Option<MessageSigner>, mark: &[u8]) -> bool {
        let Some(seal) = seal.filter(|_| !mark.is_empty()) else { return !mark.is_empty() };
        if seal.is_code(mark, Purpose::Condemned, b"") {
            return true;
        }
        let key = self.keys().condemned(worker);
        self.tampering_log().forged(&key);
        let mut remove = redis::cmd("DEL");
        remove.arg(&key);
        let _ = self.link().command::<()>(&remove).await;
        false
    }
}

/// The fields of a worker's hash that seldom change.
fn steady_fields(beat: &Heartbeat) -> SteadyFields {
    [
        ("pid", beat.identity.pid().map(|pid| pid.to_string()).unwrap_or_default()),
        ("host", beat.identity.host().to_owned()),
        ("pool_name", beat.pool_name.to_string()),
        ("capacity", beat.capacity.to_string()),
        ("status", beat.status.to_string()),
        ("started_at", beat.started_at.to_string()),
        ("cpu_percent", beat.cpu_percent.to_string()),
        ("rss_bytes", beat.rss_bytes.to_string()),
    ]
}

/// The seconds until the worker's hash goes, where all of it is written; nothing where it stays as it was.
fn expiry(beat: &Heartbeat, fields: &FieldChanges<'_>) -> String {
    let FieldChanges::Whole(_) = fields else { return String::new() };
    let wholes = beat.interval.unwrap_or_default().saturating_mul(BEATS_PER_WHOLE * EXPIRE_WHOLES);
    EXPIRE_SECONDS.max(wholes.as_secs()).to_string()
}

/// Adds the fields of a worker's hash beside those that the script adds.
fn add_fields(
    call: &mut ScriptInvocation<'_>,
    beat: &Heartbeat,
    seal: Option<MessageSigner>,
    fields: &FieldChanges<'_>,
) -> Result<(), RegistryError> {
    let picture = wire::write(beat)?;
    let code = seal.map_or_else(String::new, |seal| seal.code(Purpose::Picture, picture.as_bytes()));
    let steady: Vec<&(&str, String)> = match fields {
        FieldChanges::Whole(all) => all.iter().collect(),
        FieldChanges::Some(changed) => changed.clone(),
    };
    call.arg((steady.len() + 3) * 2);
    call.arg("last_heartbeat").arg(Timestamp::now().to_string());
    call.arg("picture").arg(picture).arg("picture_code").arg(code);
    for (name, value) in steady {
        call.arg(*name).arg(value);
    }
    Ok(())
}
