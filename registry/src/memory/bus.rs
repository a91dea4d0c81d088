//! Commands and reports within one process.

use std::collections::HashMap;

use async_trait::async_trait;
use muster_domain::{Envelope, Generation, PoolName, ProcessId, Report};

use super::MemoryRegistry;
use crate::{
    AgentNews, Bus, CommandStream, FreeSlots, Peer, RegistryError, ReportDelivery, ReportStream, WrittenState,
};

#[async_trait]
impl Bus for MemoryRegistry {
    /// Nobody else can write here, so everything is believed.
    fn introduce(&self, _worker: ProcessId, _peer: Peer) {}

    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError> {
        let mut state = self.state();
        for (pool, slots) in slots {
            state.content.mirror_slots(pool, slots);
        }
        for (worker, envelope) in batch {
            state.delivery.send(*worker, envelope);
        }
        Ok(())
    }

    async fn report(
        &self,
        reports: &[Report],
        agents: &AgentNews,
        known: &mut WrittenState,
    ) -> Result<(), RegistryError> {
        let Some(first) = reports.first() else { return Ok(()) };
        let changes = known.changes_of_report(&agents.pictures, &agents.gone);
        {
            let mut state = self.state();
            state.content.write_agents(first.process_id, &first.pool_name, &changes);
            for report in reports {
                state.content.add_report(report);
            }
        }
        known.record(&changes);
        self.shared.news.notify_waiters();
        Ok(())
    }

    async fn commands(&self, worker: ProcessId) -> Result<CommandStream, RegistryError> {
        Ok(self.state().delivery.subscribe(worker))
    }

    async fn check_commands(&self, worker: ProcessId) -> Result<(), RegistryError> {
        if self.state().delivery.is_subscribed(worker) {
            Ok(())
        } else {
            Err(RegistryError::Unexpected(format!("worker {worker} has no subscription")))
        }
    }

    async fn reports(&self, pools: Vec<PoolName>) -> Result<Box<dyn ReportStream>, RegistryError> {
        Ok(Box::new(MemoryReports { registry: self.clone(), pools, generation: None, cursors: HashMap::new() }))
    }

    async fn settle(&self, entries: &[ReportDelivery], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
        let mut state = self.state();
        for delivery in entries {
            let entry = delivery.entry.parse();
            let entry = entry.map_err(|_| RegistryError::Unexpected(format!("no entry: {:?}", delivery.entry)))?;
            state.content.remove_report(&delivery.pool, entry);
        }
        for (worker, number) in settled {
            state.content.settle(*worker, *number);
        }
        Ok(())
    }
}

/// Reads reports, and remembers of each pool up to which entry.
struct MemoryReports {
    registry: MemoryRegistry,
    pools: Vec<PoolName>,
    generation: Option<Generation>,
    cursors: HashMap<PoolName, u64>,
}

impl MemoryReports {
    fn read(&mut self) -> Vec<ReportDelivery> {
        let state = self.registry.state();
        let generation = state.content.generation();
        if self.generation.replace(generation) != Some(generation) {
            // Entries are counted anew after a flush.
            self.cursors.clear();
        }
        let mut deliveries = Vec::new();
        for pool in &self.pools {
            let cursor = self.cursors.entry(pool.clone()).or_default();
            for (entry, report) in state.content.reports_after(pool, *cursor) {
                *cursor = entry;
                deliveries.push(ReportDelivery {
                    pool: pool.clone(),
                    entry: entry.to_string(),
                    report: Some(report.clone()),
                });
            }
        }
        deliveries
    }
}

#[async_trait]
impl ReportStream for MemoryReports {
    async fn next(&mut self) -> Result<Vec<ReportDelivery>, RegistryError> {
        let shared = self.registry.shared.clone();
        loop {
            // Listens before it looks, so that a report between the two is not slept over.
            let news = shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let deliveries = self.read();
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
            news.await;
        }
    }

    fn watch(&mut self, pools: Vec<PoolName>) {
        self.pools = pools;
    }
}
