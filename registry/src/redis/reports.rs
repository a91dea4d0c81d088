//! The leader's reading of reports, on a connection of its own: blocking reads would hold up everything else.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use muster_domain::{PoolName, ProcessId};
use redis::aio::MultiplexedConnection;
use redis::{Client, Pipeline, RedisResult, ScriptInvocation};
use tokio::time::{Instant, sleep_until, timeout};

use super::backoff::Backoff;
use super::command_connection::{dial, is_wrong_type, late, registry_error, within};
use super::tampering::TamperingLog;
use super::{candidate, scripts};
use crate::peers::{MessageTrust, Peers};
use crate::signer::Purpose;
use crate::{Keys, RegistryError, ReportDelivery, ReportStream, wire};

/// How long one read waits for reports, in milliseconds: so soon after a flush the new generation is seen at the latest.
const BLOCK_MS: u64 = 1000;
/// Entries of one pool that one read takes. One may hold the ends of hundreds of tasks, or an output of a mebibyte.
const ENTRIES_PER_READ: usize = 100;
/// Before the first entry.
const OLDEST: &str = "0";

/// The names of an entry's fields and their values by turns.
type EntryFields = Vec<Vec<u8>>;
/// What `XREAD` says: streams with their entries, or nothing.
type Streams = Option<Vec<(String, Vec<(String, EntryFields)>)>>;
/// The highest id that there is. Behind it a stream takes nothing more, and is replaced by the next one who writes.
const LAST: &str = "18446744073709551615-18446744073709551615";

/// What came of a read, with its connection.
type StreamRead = (MultiplexedConnection, ReadOutcome);

enum ReadOutcome {
    /// The generation before the read, and what was read.
    Read(String, Streams),
    /// These keys were none of ours, and are gone.
    Replaced(Vec<String>),
}

/// The stream of all pools' reports.
pub(super) struct RedisReports {
    client: Client,
    keys: Keys,
    verifier: ReportVerifier,
    limit: Duration,
    pools: Vec<PoolName>,
    /// The latest entry that was returned of each pool.
    cursors: HashMap<PoolName, String>,
    generation: Option<String>,
    /// There between two reads; a read takes it along.
    connection: Option<MultiplexedConnection>,
    /// The read that is under way. It is kept over a cancelled `next`, and a cursor moves only when its entries are
    /// returned: so nothing is lost, whenever a caller stops waiting.
    reading: Option<BoxFuture<'static, Result<StreamRead, RegistryError>>>,
    outage: Option<Outage>,
}

/// A time in which the server does not answer.
struct Outage {
    backoff: Backoff,
    retry_at: Instant,
    /// Not at the first failure: a connection that broke is made anew, and that is all.
    told: bool,
}

impl RedisReports {
    pub(super) fn new(
        client: Client,
        keys: Keys,
        verifier: ReportVerifier,
        limit: Duration,
        pools: Vec<PoolName>,
    ) -> Self {
        Self {
            client,
            keys,
            verifier,
            limit,
            pools,
            cursors: HashMap::new(),
            generation: None,
            connection: None,
            reading: None,
            outage: None,
        }
    }

    /// Begins to read. The generation is read before, in the same round trip: then entries that it does not cover are
    /// never taken for older than they are.
    fn begin(&mut self) -> BoxFuture<'static, Result<StreamRead, RegistryError>> {
        let request = self.request();
        let mend = self.mend();
        let connection = self.connection.take();
        let client = self.client.clone();
        let limit = self.limit;
        Box::pin(async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => within(limit, dial(&client)).await?,
            };
            // A server that stands still keeps the connection open and answers nothing.
            let longest = limit + Duration::from_millis(BLOCK_MS);
            let reply: RedisResult<(String, Streams)> =
                timeout(longest, request.query_async(&mut connection)).await.map_err(|_| late(longest))?;
            match reply {
                Ok((generation, streams)) => Ok((connection, ReadOutcome::Read(generation, streams))),
                Err(error) if is_wrong_type(&error) => {
                    let replaced: Vec<String> = within(limit, mend.invoke_async(&mut connection)).await?;
                    if replaced.is_empty() {
                        return Err(registry_error(&error));
                    }
                    Ok((connection, ReadOutcome::Replaced(replaced)))
                }
                Err(error) => Err(registry_error(&error)),
            }
        })
    }

    /// Deletes whatever of the keys that are read is no such thing: one read is about all pools, and fails for all of them.
    /// What was on a stream comes again, since its workers keep it until it is settled.
    fn mend(&self) -> ScriptInvocation<'static> {
        let mut mend = scripts::MEND.prepare_invoke();
        mend.key(self.keys.generation()).arg("string");
        for pool in &self.pools {
            mend.key(self.keys.reports(pool)).arg("stream");
        }
        mend
    }

    /// A stream that begins anew is read from its beginning.
    fn note_replaced(&mut self, replaced: &[String]) {
        self.verifier.tampering_log.replaced(replaced);
        let keys = &self.keys;
        self.cursors.retain(|pool, _| !replaced.contains(&keys.reports(pool)));
    }

    fn request(&self) -> Pipeline {
        let generation = self.keys.generation();
        let mut request = redis::pipe();
        request.cmd("SET").arg(&generation).arg(candidate()).arg("NX").ignore();
        request.cmd("GET").arg(&generation);
        request.cmd("XREAD").arg("COUNT").arg(ENTRIES_PER_READ).arg("BLOCK").arg(BLOCK_MS).arg("STREAMS");
        for pool in &self.pools {
            request.arg(self.keys.reports(pool));
        }
        for pool in &self.pools {
            request.arg(self.cursors.get(pool).map_or(OLDEST, String::as_str));
        }
        request
    }

    /// Takes what was read, and moves the cursors behind it.
    fn take(&mut self, generation: String, streams: Streams) -> Vec<ReportDelivery> {
        let before = self.generation.replace(generation);
        if before.is_some() && before != self.generation {
            // Flushed: the entries are counted anew, even from a lower number where the server's clock was set back. All
            // are read again from the oldest, these too.
            self.cursors.clear();
            return Vec::new();
        }
        let mut deliveries = Vec::new();
        for (stream, entries) in streams.into_iter().flatten() {
            // A pool that is no longer watched while the read was under way is passed over.
            let Some(pool) = self.pools.iter().find(|pool| self.keys.reports(pool) == stream) else { continue };
            match entries.last() {
                Some((last, _)) if last == LAST => drop(self.cursors.remove(pool)),
                Some((last, _)) => drop(self.cursors.insert(pool.clone(), last.clone())),
                None => {}
            }
            let verifier = &self.verifier;
            deliveries.extend(entries.into_iter().map(|(entry, fields)| verifier.read(pool, entry, &fields, &stream)));
        }
        deliveries
    }

    /// Notes a failed read; returns whether it is time to tell.
    fn note_failure(&mut self) -> bool {
        let Some(outage) = &mut self.outage else {
            let backoff = Backoff::new();
            self.outage = Some(Outage { backoff, retry_at: Instant::now(), told: false });
            return false;
        };
        outage.retry_at = Instant::now() + outage.backoff.wait();
        !std::mem::replace(&mut outage.told, true)
    }
}

/// Tells which reports are believed.
pub(super) struct ReportVerifier {
    pub(super) tampering_log: Arc<TamperingLog>,
    pub(super) peers: Arc<Peers>,
}

impl ReportVerifier {
    fn read(&self, pool: &PoolName, entry: String, fields: &[Vec<u8>], stream: &str) -> ReportDelivery {
        let field = |name: &[u8]| fields.chunks_exact(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_slice());
        let text = field(b"report").unwrap_or_default();
        let report = match (wire::sender_of(text), wire::read_report(text)) {
            (Some(sender), read) if self.believes(sender, text, field(b"code")) => match read {
                Ok(report) => Some(report),
                Err(why) => {
                    self.tampering_log.unreadable(sender, &why);
                    None
                }
            },
            (_, read) => {
                if let Err(why) = read {
                    tracing::debug!(pool.name = %pool, entry, "an entry on a pool's stream is no report: {why}");
                }
                self.tampering_log.forged(stream);
                None
            }
        };
        ReportDelivery { pool: pool.clone(), entry, report }
    }

    fn believes(&self, sender: ProcessId, text: &[u8], code: Option<&[u8]>) -> bool {
        match self.peers.trust(sender) {
            MessageTrust::Signed(seal) => code.is_some_and(|code| seal.is_code(code, Purpose::Report, text)),
            MessageTrust::Unsigned => true,
            MessageTrust::Stranger => false,
        }
    }
}

#[async_trait]
impl ReportStream for RedisReports {
    async fn next(&mut self) -> Result<Vec<ReportDelivery>, RegistryError> {
        loop {
            if self.pools.is_empty() {
                // Until the caller stops waiting and names some.
                pending::<()>().await;
            }
            if self.reading.is_none() {
                if let Some(outage) = &self.outage {
                    sleep_until(outage.retry_at).await;
                }
                self.reading = Some(self.begin());
            }
            let Some(reading) = &mut self.reading else { continue };
            let outcome = reading.await;
            self.reading = None;
            match outcome {
                Ok((connection, outcome)) => {
                    self.connection = Some(connection);
                    let is_over = self.outage.take().is_some_and(|outage| outage.told);
                    let deliveries = match outcome {
                        ReadOutcome::Read(generation, streams) => self.take(generation, streams),
                        ReadOutcome::Replaced(keys) => {
                            self.note_replaced(&keys);
                            Vec::new()
                        }
                    };
                    if is_over || !deliveries.is_empty() {
                        return Ok(deliveries);
                    }
                }
                Err(error) => {
                    if self.note_failure() {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn watch(&mut self, pools: Vec<PoolName>) {
        if pools.iter().any(|pool| !self.pools.contains(pool)) {
            // A read under way does not know the new pool, and a blocked one can't be changed. It ends with its
            // connection, whose successor costs less than the new pool's first report would wait.
            self.reading = None;
        }
        self.cursors.retain(|pool, _| pools.contains(pool));
        self.pools = pools;
    }
}
