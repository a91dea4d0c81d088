//! Removes from sets of ours what somebody else put there.

use muster_domain::{AgentId, PoolName, ProcessId};
use redis::{Cmd, cmd};

use super::{RedisRegistry, SCAN_STEP};
use crate::RegistryError;

/// A set of ours, by the command that goes through it.
#[derive(Clone, Copy)]
enum Members {
    /// A set of agents.
    Agents,
    /// A sorted set of workers.
    Workers,
}

impl Members {
    fn scan(self) -> Cmd {
        match self {
            Self::Agents => cmd("SSCAN"),
            Self::Workers => cmd("ZSCAN"),
        }
    }

    fn remove(self) -> Cmd {
        match self {
            Self::Agents => cmd("SREM"),
            Self::Workers => cmd("ZREM"),
        }
    }

    fn weeds(self, page: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let is_weed = |member: &Vec<u8>| {
            let text = std::str::from_utf8(member);
            text.is_ok_and(|text| match self {
                Self::Agents => text.parse::<AgentId>().is_err(),
                Self::Workers => text.parse::<ProcessId>().is_err(),
            }) || text.is_err()
        };
        let step = match self {
            Self::Agents => 1,
            // Each with its score.
            Self::Workers => 2,
        };
        page.into_iter().step_by(step).filter(is_weed).collect()
    }
}

impl RedisRegistry {
    /// A set of another type is no matter of this: whoever of us writes to it replaces it.
    pub(super) async fn weed_mirrors(&self, pool: &PoolName) -> Result<(), RegistryError> {
        self.weed_one(&self.keys().slots(pool), Members::Workers).await?;
        self.weed_one(&self.keys().pool_agents(pool), Members::Agents).await?;
        for set in self.scan(&self.keys().worker_agents_pattern(pool)).await? {
            self.weed_one(&set, Members::Agents).await?;
        }
        Ok(())
    }

    async fn weed_one(&self, key: &str, members: Members) -> Result<(), RegistryError> {
        let mut cursor = 0_u64;
        loop {
            let mut step = members.scan();
            step.arg(key).arg(cursor).arg("COUNT").arg(SCAN_STEP);
            let (next, page): (u64, Vec<Vec<u8>>) = match self.link().command(&step).await {
                Err(error) if error.is_of_type() => return Ok(()),
                answer => answer?,
            };
            let weeds = members.weeds(page);
            if !weeds.is_empty() {
                let mut remove = members.remove();
                remove.arg(key).arg(&weeds);
                self.link().command::<()>(&remove).await?;
                self.tampering_log().replaced(&[key.to_owned()]);
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
