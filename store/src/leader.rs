//! Leadership: one row, whose fence rises with every change of leader.

use std::time::Duration;

use muster_domain::Fence;

use crate::sql::{Engine, Row, SqlValue, Statement};
use crate::{Leadership, StoreError};

/// What the engines do not share, since only one of them has a lease.
#[derive(Debug)]
pub struct LeaderSql {
    /// `$1` holder, `$2` address, `$3` lease in milliseconds; returns the new fence where the caller leads.
    lead: &'static str,
    /// `$1` fence, `$2` lease in milliseconds; changes the row where the fence is in force.
    renew: &'static str,
}

/// The caller holds the lock of the data folder, so nobody else leads.
pub(crate) static SQLITE: LeaderSql = LeaderSql {
    lead: "UPDATE leader SET fence = fence + 1, holder = $1, address = $2, until_ms = $3 WHERE id = 1 RETURNING fence",
    renew: "UPDATE leader SET until_ms = $2 WHERE id = 1 AND fence = $1",
};

/// By the database's clock only: two supervisors' clocks are never compared. A leader whose lease has passed may renew it
/// as long as nobody took over, since its fence is still the one in force.
pub(crate) static POSTGRES: LeaderSql = LeaderSql {
    lead: "UPDATE leader SET fence = fence + 1, holder = $1, address = $2, \
        until_ms = CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + $3 \
        WHERE id = 1 AND until_ms <= CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) RETURNING fence",
    renew: "UPDATE leader SET until_ms = CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + $2 \
        WHERE id = 1 AND fence = $1",
};

// The fence rises here too: what its former leader still has in flight is refused from now on, not only when somebody
// else leads.
const RESIGN: &str =
    "UPDATE leader SET fence = fence + 1, holder = '', address = '', until_ms = 0 WHERE id = 1 AND fence = $1";

const CURRENT: &str = "SELECT fence, holder, address FROM leader WHERE id = 1";

pub(crate) async fn lead(
    engine: &impl Engine,
    holder: &str,
    address: &str,
    lease: Duration,
) -> Result<Leadership, StoreError> {
    let args = vec![SqlValue::text(holder), SqlValue::text(address), SqlValue::count(lease.as_millis())];
    let answer = engine.update(Statement::new(engine.leader_sql().lead, args)).await?;
    if let Some(row) = answer.rows.into_iter().next() {
        return Ok(Leadership::Leads(Fence(row.into_fields().count()?)));
    }
    let (_, holder, address) = current(engine).await?;
    Ok(Leadership::Held { address, holder })
}

pub(crate) async fn renew(engine: &impl Engine, fence: Fence, lease: Duration) -> Result<(), StoreError> {
    let args = vec![SqlValue::count(fence.0), SqlValue::count(lease.as_millis())];
    let answer = engine.update(Statement::new(engine.leader_sql().renew, args)).await?;
    if answer.changed == 1 {
        return Ok(());
    }
    let (current, ..) = current(engine).await?;
    Err(StoreError::Fenced { ours: fence, current })
}

pub(crate) async fn resign(engine: &impl Engine, fence: Fence) -> Result<(), StoreError> {
    engine.update(Statement::new(RESIGN, vec![SqlValue::count(fence.0)])).await.map(drop)
}

async fn current(engine: &impl Engine) -> Result<(Fence, String, String), StoreError> {
    read(engine.read(current_step()).await?)
}

/// Asks for the leader's row.
pub(crate) const fn current_step() -> Statement {
    Statement::new(CURRENT, Vec::new())
}

/// Reads the leader's row: fence, holder, address.
pub(crate) fn read(rows: Vec<Row>) -> Result<(Fence, String, String), StoreError> {
    let row = rows.into_iter().next().ok_or_else(|| StoreError::Corrupt("the leader's row is missing".to_owned()))?;
    let mut fields = row.into_fields();
    Ok((Fence(fields.count()?), fields.text()?, fields.text()?))
}
