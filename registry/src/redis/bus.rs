//! Commands over pub/sub, reports over streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use muster_domain::{Envelope, PoolName, ProcessId, Report, ReportBody, Timestamp};

use super::reports::{RedisReports, ReportVerifier};
use super::subscription::{CommandVerifier, Subscription};
use super::{RedisRegistry, agents, scripts};
use crate::command_filter::{self, CommandFilter};
use crate::copy::CommandCopy;
use crate::signer::{MessageSigner, Purpose};
use crate::written_state::PendingChanges;
use crate::{
    AgentNews, Bus, CommandStream, FreeSlots, Peer, RegistryError, ReportDelivery, ReportStream, WrittenState, wire,
};

/// Entries, or workers, that one call settles: Redis is kept from others for less than a millisecond.
const SETTLED_PER_CALL: usize = 500;

#[async_trait]
impl Bus for RedisRegistry {
    fn introduce(&self, worker: ProcessId, peer: Peer) {
        self.peers().introduce(worker, peer);
    }

    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError> {
        let mut journey = redis::pipe();
        for (pool, slots) in slots.iter().filter(|(_, slots)| !slots.is_empty()) {
            let slots: Vec<(u32, String)> = slots.iter().map(|(worker, free)| (*free, worker.to_string())).collect();
            journey.zadd_multiple(self.keys().slots(pool), &slots).ignore();
        }
        for (worker, envelope) in batch {
            journey.publish(self.keys().worker_commands(*worker), self.signed(*worker, envelope)?).ignore();
            if let Some(pool) = self.peers().shown_pool(*worker) {
                let copy = CommandCopy::of(*worker, envelope, Timestamp::now());
                journey.publish(self.keys().pool_commands(&pool), wire::write(&copy)?).ignore();
            }
        }
        if journey.is_empty() {
            return Ok(());
        }
        match self.link().pipeline(&journey).await {
            // Some pool's mirror is no sorted set. What went out nevertheless is known by its id.
            Err(error) if error.is_of_type() && self.mend_slots(slots).await? => self.link().pipeline(&journey).await,
            outcome => outcome,
        }
    }

    async fn report(
        &self,
        reports: &[Report],
        agents: &AgentNews,
        known: &mut WrittenState,
    ) -> Result<(), RegistryError> {
        if reports.is_empty() {
            return Ok(());
        }
        let changes = known.changes_of_report(&agents.pictures, &agents.gone);
        match self.send_reports(reports, agents.held, &changes).await {
            Ok(replaced) => {
                known.record(&changes);
                if !replaced.is_empty() {
                    known.mark_all_unknown();
                }
                self.tampering_log().replaced(&replaced);
                Ok(())
            }
            Err(error) => {
                known.mark_unknown(&changes);
                Err(error)
            }
        }
    }

    async fn commands(&self, worker: ProcessId) -> Result<CommandStream, RegistryError> {
        let channel = self.keys().worker_commands(worker);
        let guard = CommandVerifier {
            filter: CommandFilter::new(self.peers().seal(worker)),
            tampering_log: self.shared.tampering_log.clone(),
        };
        let limit = self.shared.options.timeout;
        // The first beat follows: its connection is made meanwhile. Where that fails the beat tries again, and says so.
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { shared.link.prepare().await });
        let (stream, subscription) = Subscription::stand(self.shared.client.clone(), channel, guard, limit).await?;
        let mut subscriptions = self.subscriptions();
        subscriptions.retain(|_, stood| stood.is_wanted());
        subscriptions.insert(worker, subscription);
        Ok(stream)
    }

    async fn check_commands(&self, worker: ProcessId) -> Result<(), RegistryError> {
        let check = self.subscriptions().get(&worker).map(Subscription::check);
        match check {
            Some(check) => check.await,
            None => Err(RegistryError::Unexpected(format!("worker {worker} has no subscription"))),
        }
    }

    async fn reports(&self, pools: Vec<PoolName>) -> Result<Box<dyn ReportStream>, RegistryError> {
        let shared = &self.shared;
        let trust = ReportVerifier { tampering_log: shared.tampering_log.clone(), peers: shared.peers.clone() };
        let (client, keys) = (shared.client.clone(), shared.keys.clone());
        let reports = RedisReports::new(client, keys, trust, shared.options.timeout, pools);
        Ok(Box::new(reports))
    }

    async fn settle(&self, entries: &[ReportDelivery], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
        // Deleted first: a worker that drops a report while its entry is still there would leave it to a next leader.
        for chunk in entries.chunks(SETTLED_PER_CALL) {
            self.call_settle(chunk, &[]).await?;
        }
        for chunk in settled.chunks(SETTLED_PER_CALL) {
            self.call_settle(&[], chunk).await?;
        }
        Ok(())
    }
}

impl RedisRegistry {
    /// A command as its worker believes it.
    fn signed(&self, worker: ProcessId, envelope: &Envelope) -> Result<String, RegistryError> {
        let text = wire::write(envelope)?;
        Ok(match self.peers().seal(worker) {
            Some(seal) => command_filter::sign(&seal, self.shared.commands.fetch_add(1, Ordering::Relaxed) + 1, &text),
            None => text,
        })
    }

    /// Whether any of the pools' mirrors was no sorted set; it is gone then.
    async fn mend_slots(&self, slots: &[FreeSlots]) -> Result<bool, RegistryError> {
        let mut call = scripts::MEND.prepare_invoke();
        for (pool, _) in slots {
            call.key(self.keys().slots(pool)).arg("zset");
        }
        let replaced: Vec<String> = self.link().script(&call).await?;
        self.tampering_log().replaced(&replaced);
        Ok(!replaced.is_empty())
    }

    /// Answers with the keys that had to be replaced.
    async fn send_reports(
        &self,
        reports: &[Report],
        held: usize,
        changes: &PendingChanges<'_>,
    ) -> Result<Vec<String>, RegistryError> {
        let Some(Report { process_id, pool_name, .. }) = reports.first() else { return Ok(Vec::new()) };
        let keys = self.keys();
        let seal = self.peers().seal(*process_id);
        let latest = reports.iter().map(|report| report.seq).max().unwrap_or(0);
        let mut call = scripts::REPORT.prepare_invoke();
        agents::begin(&mut call, keys, pool_name, *process_id);
        call.key(keys.reports(pool_name)).key(keys.process(*process_id));
        call.arg(keys.events(pool_name)).arg(latest).arg(held).arg(reports.len());
        for report in reports {
            // The channel is for people who watch agents; tasks come by the thousand, with their outputs.
            let is_published = !matches!(report.body, ReportBody::Tasks { .. });
            let text = wire::write(report)?;
            let code = seal.map_or_else(String::new, |seal| seal.code(Purpose::Report, text.as_bytes()));
            call.arg(text).arg(code).arg(u8::from(is_published));
        }
        agents::finish(&mut call, keys, changes);
        self.link().script(&call).await
    }

    async fn call_settle(&self, entries: &[ReportDelivery], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
        let mut streams: BTreeMap<&PoolName, Vec<&str>> = BTreeMap::new();
        for delivery in entries {
            streams.entry(&delivery.pool).or_default().push(&delivery.entry);
        }
        let mut call = scripts::SETTLE.prepare_invoke();
        call.arg(streams.len());
        for (pool, entries) in &streams {
            call.key(self.keys().reports(pool)).arg(entries.len()).arg(entries);
        }
        for (worker, number) in settled {
            let code = |seal: MessageSigner| seal.code(Purpose::Settled, number.to_string().as_bytes());
            let code = self.peers().seal(*worker).map_or_else(String::new, code);
            call.key(self.keys().process(*worker)).arg(*number).arg(code);
        }
        self.run(&call).await
    }
}
