//! Commands and reports, behind the faults.

use async_trait::async_trait;
use muster_domain::{Envelope, PoolName, ProcessId, Report};

use super::FaultyRegistry;
use crate::{
    AgentNews, Bus, CommandStream, FreeSlots, Peer, RegistryError, ReportDelivery, ReportStream, WrittenState,
};

#[async_trait]
impl Bus for FaultyRegistry {
    fn introduce(&self, worker: ProcessId, peer: Peer) {
        self.memory.introduce(worker, peer);
    }

    async fn send(&self, slots: &[FreeSlots], batch: &[(ProcessId, Envelope)]) -> Result<(), RegistryError> {
        self.admit("send")?;
        // A part of it may fail alone.
        let mirror = if slots.is_empty() { Ok(()) } else { self.admit("mirror") };
        let slots = if mirror.is_ok() { slots } else { &[] };
        let batch = if self.faults().drops_commands { &[] } else { batch };
        self.memory.send(slots, batch).await?;
        mirror
    }

    async fn report(
        &self,
        reports: &[Report],
        agents: &AgentNews,
        known: &mut WrittenState,
    ) -> Result<(), RegistryError> {
        self.admit("report")?;
        self.memory.report(reports, agents, known).await
    }

    async fn commands(&self, worker: ProcessId) -> Result<CommandStream, RegistryError> {
        self.admit("commands")?;
        self.memory.commands(worker).await
    }

    async fn check_commands(&self, worker: ProcessId) -> Result<(), RegistryError> {
        self.admit("check_commands")?;
        self.memory.check_commands(worker).await
    }

    /// The stream itself goes on through every fault: it waits where there is nothing to read.
    async fn reports(&self, pools: Vec<PoolName>) -> Result<Box<dyn ReportStream>, RegistryError> {
        self.admit("reports")?;
        self.memory.reports(pools).await
    }

    async fn settle(&self, entries: &[ReportDelivery], settled: &[(ProcessId, u64)]) -> Result<(), RegistryError> {
        self.admit("settle")?;
        self.memory.settle(entries, settled).await
    }
}
