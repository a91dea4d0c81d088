//! Commands over pub/sub, reports over streams.

use std::collections::BTreeMap;

use async_trait::async_trait;
use muster_domain::{AgentId, AgentPicture, Envelope, PoolName, ProcessId, Report, ReportBody};

use super::reports::RedisReports;
use super::subscription::Subscription;
use super::{RedisRegistry, agents, scripts};
use crate::known::Changes;
use crate::{Bus, CommandStream, FreeSlots, Known, RegistryError, ReportPost, ReportStream, wire};

/// Entries, or workers, that one call settles: Redis is kept from others for less than a millisecond.
const SETTLED_PER_CALL: usize = 500;

#[async_trait]
impl Bus for RedisRegistry {
    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError> {
        let mut journey = redis::pipe();
        for (pool, slots) in slots.iter().filter(|(_, slots)| !slots.is_empty()) {
            let slots: Vec<(u32, String)> = slots.iter().map(|(worker, free)| (*free, worker.to_string())).collect();
            journey.zadd_multiple(self.keys().slots(pool), &slots).ignore();
        }
        for (worker, envelope) in batch {
            journey.publish(self.keys().worker_commands(*worker), wire::write(envelope)?).ignore();
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

    async fn send_to_pool(&self, pool: &PoolName, envelope: &Envelope) -> Result<(), RegistryError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.keys().pool_commands(pool)).arg(wire::write(envelope)?);
        self.link().command(&publish).await
    }

    async fn report(
        &self,
        reports: &[Report],
        pictures: &[AgentPicture],
        gone: &[AgentId],
        known: &mut Known,
    ) -> Result<(), RegistryError> {
        let Some(first) = reports.first() else { return Ok(()) };
        let changes = known.changes_of_report(pictures, gone);
        match self.send_reports(first, reports, &changes).await {
            Ok(replaced) => {
                known.record(&changes);
                if !replaced.is_empty() {
                    known.doubt_all();
                }
                self.sentry().replaced(&replaced);
                Ok(())
            }
            Err(error) => {
                known.doubt(&changes);
                Err(error)
            }
        }
    }

    async fn commands(&self, worker: ProcessId, pool: &PoolName) -> Result<CommandStream, RegistryError> {
        let channels = [self.keys().worker_commands(worker), self.keys().pool_commands(pool)];
        let limit = self.shared.options.timeout;
        let (stream, subscription) = Subscription::stand(self.shared.client.clone(), channels, limit).await?;
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
        let (client, keys, sentry) = (shared.client.clone(), shared.keys.clone(), shared.sentry.clone());
        let reports = RedisReports::new(client, keys, sentry, shared.options.timeout, pools);
        Ok(Box::new(reports))
    }

    async fn settle(&self, entries: &[ReportPost], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
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
    /// Whether any of the pools' mirrors was no sorted set; it is gone then.
    async fn mend_slots(&self, slots: &[FreeSlots]) -> Result<bool, RegistryError> {
        let mut call = scripts::MEND.prepare_invoke();
        for (pool, _) in slots {
            call.key(self.keys().slots(pool)).arg("zset");
        }
        let replaced: Vec<String> = self.link().script(&call).await?;
        self.sentry().replaced(&replaced);
        Ok(!replaced.is_empty())
    }

    /// Answers with the keys that had to be replaced.
    async fn send_reports(
        &self,
        first: &Report,
        reports: &[Report],
        changes: &Changes<'_>,
    ) -> Result<Vec<String>, RegistryError> {
        let keys = self.keys();
        let mut call = scripts::REPORT.prepare_invoke();
        agents::begin(&mut call, keys, &first.pool_name, first.process_id);
        call.key(keys.reports(&first.pool_name)).arg(keys.events(&first.pool_name)).arg(reports.len());
        for report in reports {
            // The channel is for people who watch agents; tasks come by the thousand, with their outputs.
            let is_published = !matches!(report.body, ReportBody::Tasks { .. });
            call.arg(wire::write(report)?).arg(u8::from(is_published));
        }
        agents::finish(&mut call, keys, changes);
        self.link().script(&call).await
    }

    async fn call_settle(&self, entries: &[ReportPost], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
        let mut streams: BTreeMap<&PoolName, Vec<&str>> = BTreeMap::new();
        for post in entries {
            streams.entry(&post.pool).or_default().push(&post.entry);
        }
        let mut call = scripts::SETTLE.prepare_invoke();
        call.arg(streams.len());
        for (pool, entries) in &streams {
            call.key(self.keys().reports(pool)).arg(entries.len()).arg(entries);
        }
        for (worker, number) in settled {
            call.key(self.keys().process(*worker)).arg(*number);
        }
        self.run(&call).await
    }
}
