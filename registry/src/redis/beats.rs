//! Heartbeats: written by workers, read by the leader.

use std::sync::PoisonError;
use std::time::Duration;

use muster_domain::{Beat, BeatAnswer, ProcessId, Timestamp};

use super::{RedisRegistry, agents, candidate, read_generation, refusal, scripts};
use crate::known::Changes;
use crate::{Heard, Known, Pictures, RegistryError, wire};

/// A worker's hash goes by itself when nobody beat or forgot it for an hour.
const EXPIRE_SECONDS: u32 = 3600;
/// Workers per script call: a call for 200 keeps Redis from others for less than a millisecond.
const PICTURES_PER_CALL: usize = 200;

/// What `pictures.lua` says of one worker: its place in KEYS, number, age in milliseconds, picture.
type SeenRow = (usize, u64, u64, Option<Vec<u8>>);
/// What `beat.lua` answers: see there.
type BeatReply = (String, u64, bool, bool, u64, Vec<String>);

impl RedisRegistry {
    pub(super) async fn write_beat(&self, beat: &Beat, known: &mut Known) -> Result<BeatAnswer, RegistryError> {
        known.count_beat();
        let answer = self.call_beat(beat, known).await?;
        if known.enter(answer.generation) {
            // What was left out as unchanged is gone, so all of it is written again.
            return self.call_beat(beat, known).await;
        }
        Ok(answer)
    }

    async fn call_beat(&self, beat: &Beat, known: &mut Known) -> Result<BeatAnswer, RegistryError> {
        let changes = known.changes_of_beat(beat);
        match self.send_beat(beat, &changes).await {
            Ok((answer, has_replaced)) => {
                known.record(&changes);
                if has_replaced {
                    known.doubt_all();
                }
                Ok(answer)
            }
            Err(error) => {
                known.doubt(&changes);
                Err(error)
            }
        }
    }

    /// Also answers whether something of ours had to be replaced.
    async fn send_beat(&self, beat: &Beat, changes: &Changes<'_>) -> Result<(BeatAnswer, bool), RegistryError> {
        let keys = self.keys();
        let mut call = scripts::BEAT.prepare_invoke();
        agents::begin(&mut call, keys, &beat.pool_name, beat.process_id);
        call.key(keys.process(beat.process_id)).key(keys.generation()).key(keys.leader());
        call.key(keys.condemned(beat.process_id));
        call.arg(candidate()).arg(beat.number).arg(EXPIRE_SECONDS);
        let fields = worker_fields(beat)?;
        call.arg(fields.len() * 2);
        for (name, value) in &fields {
            call.arg(*name).arg(value);
        }
        agents::finish(&mut call, keys, changes);
        let (generation, settled, fenced, leader_present, number, replaced): BeatReply =
            self.link().script(&call).await?;
        self.sentry().replaced(&replaced);
        let answer = BeatAnswer { settled, fenced, leader_present, number, generation: read_generation(&generation)? };
        Ok((answer, !replaced.is_empty()))
    }

    pub(super) async fn read_pictures(&self, workers: &[(ProcessId, u64)]) -> Result<Pictures, RegistryError> {
        let (first, rest) = workers.split_at(workers.len().min(PICTURES_PER_CALL));
        let mut pictures = self.call_pictures(first).await?;
        for chunk in rest.chunks(PICTURES_PER_CALL) {
            let more = self.call_pictures(chunk).await?;
            // Flushed between two calls: the earlier ones read what is no more.
            if more.generation != pictures.generation {
                pictures = Pictures { generation: more.generation, seen: Vec::new(), refusal: None };
            }
            pictures.refusal = more.refusal.or(pictures.refusal);
            pictures.seen.extend(more.seen);
        }
        Ok(pictures)
    }

    async fn call_pictures(&self, workers: &[(ProcessId, u64)]) -> Result<Pictures, RegistryError> {
        let keys = self.keys();
        let mut call = scripts::PICTURES.prepare_invoke();
        call.key(keys.generation()).arg(candidate());
        for (worker, number) in workers {
            call.key(keys.process(*worker)).arg(*number);
        }
        let (generation, rows, refusal, replaced): (String, Vec<SeenRow>, Option<String>, Vec<String>) =
            self.link().script(&call).await?;
        self.sentry().replaced(&replaced);
        // The first worker is the second key, and Lua counts from 1.
        let worker_at = |place: usize| workers.get(place.checked_sub(2)?).map(|(worker, _)| *worker);
        let seen = rows.into_iter().filter_map(|row| Some(self.heard(worker_at(row.0)?, row))).collect();
        let refusal = refusal.map(|refusal| refusal::explain(&refusal));
        Ok(Pictures { generation: read_generation(&generation)?, seen, refusal })
    }

    fn heard(&self, process_id: ProcessId, (_, number, age_ms, picture): SeenRow) -> Heard {
        let beat = picture.and_then(|picture| match wire::read_beat(&picture) {
            Ok(beat) => Some(Box::new(beat)),
            Err(why) => {
                self.note_unreadable(process_id, &why);
                None
            }
        });
        Heard { process_id, number, age: Duration::from_millis(age_ms), beat }
    }

    /// One worker that speaks another language must not hide the others, nor fill the log with every beat.
    fn note_unreadable(&self, worker: ProcessId, why: &str) {
        let mut unreadable = self.shared.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if unreadable.insert(worker) {
            tracing::warn!(process.id = %worker, "the picture of a worker cannot be read: {why}");
        }
    }
}

/// The fields of a worker's hash beside those that the script adds.
fn worker_fields(beat: &Beat) -> Result<[(&'static str, String); 11], RegistryError> {
    Ok([
        ("pid", beat.identity.pid.to_string()),
        ("host", beat.identity.host.clone()),
        ("pool_name", beat.pool_name.to_string()),
        ("agent_count", beat.agents.len().to_string()),
        ("capacity", beat.capacity.to_string()),
        ("status", beat.status.to_string()),
        ("started_at", beat.started_at.to_string()),
        ("last_heartbeat", Timestamp::now().to_string()),
        ("cpu_percent", beat.cpu_percent.to_string()),
        ("rss_bytes", beat.rss_bytes.to_string()),
        ("picture", wire::write(beat)?),
    ])
}
