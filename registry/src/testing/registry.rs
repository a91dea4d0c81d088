//! What was seen, behind the faults.

use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{Generation, Heartbeat, HeartbeatReply, PoolName, ProcessId, Tampering};

use super::{FaultyRegistry, SLOW};
use crate::{HeartbeatReadings, LeaderMirror, Registry, RegistryError, WrittenState};

#[async_trait]
impl Registry for FaultyRegistry {
    async fn ping(&self) -> Result<Duration, RegistryError> {
        self.admit("ping")?;
        self.memory.ping().await
    }

    async fn examine(&self) -> Result<(), RegistryError> {
        self.admit("examine")?;
        self.memory.examine().await
    }

    async fn beat(&self, beat: &Heartbeat, known: &mut WrittenState) -> Result<HeartbeatReply, RegistryError> {
        self.admit("beat")?;
        self.memory.beat(beat, known).await
    }

    async fn read_heartbeats(&self, workers: &[(ProcessId, u64)]) -> Result<HeartbeatReadings, RegistryError> {
        self.admit("pictures")?;
        let refusal = self.faults().read_only.then(|| "it is read-only".to_owned());
        Ok(HeartbeatReadings { refusal, ..self.memory.read_heartbeats(workers).await? })
    }

    async fn present(&self) -> Result<Vec<ProcessId>, RegistryError> {
        self.admit("present")?;
        self.memory.present().await
    }

    async fn pools(&self) -> Result<Vec<PoolName>, RegistryError> {
        self.admit("pools")?;
        self.memory.pools().await
    }

    async fn forget(&self, pool: &PoolName, worker: ProcessId) -> Result<(), RegistryError> {
        self.admit("forget")?;
        let slow = self.faults().forgets_slowly;
        if slow {
            tokio::time::sleep(SLOW).await;
        }
        self.memory.forget(pool, worker).await
    }

    async fn forget_pool(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.admit("forget_pool")?;
        self.memory.forget_pool(pool).await
    }

    async fn condemn(&self, worker: ProcessId) -> Result<(), RegistryError> {
        self.admit("condemn")?;
        self.memory.condemn(worker).await
    }

    async fn announce_leader(&self, leader: &LeaderMirror, lease: Duration) -> Result<(), RegistryError> {
        self.admit("announce_leader")?;
        self.memory.announce_leader(leader, lease).await
    }

    async fn generation(&self) -> Result<Generation, RegistryError> {
        self.admit("generation")?;
        self.memory.generation().await
    }

    async fn remove_strangers(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.admit("weed")?;
        self.memory.remove_strangers(pool).await
    }

    fn tampering(&self) -> Tampering {
        self.memory.tampering()
    }
}
