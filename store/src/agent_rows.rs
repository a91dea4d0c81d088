//! Agents: their rows, one by one and in pages.

use std::time::Duration;

use muster_domain::{AgentId, AgentSpec, AgentState, Assignment, FinalState, Intent, ProcessId, StopReason, Timestamp};

use crate::sql::{RowFields, SqlValue, Statement};
use crate::{AgentFilter, AgentRow, StoreError};

macro_rules! select_agents {
    ($($rest:literal),+) => {
        concat!(
            "SELECT agent_id, pool_name, role_type, project_id, human_name, heartbeat_interval_ms, max_idle_time_ms, \
             on_demand, intent, stop_reason, process_id, epoch, rest, last_ending, restarts, created_at, updated_at, \
             restart_of FROM agents ",
            $($rest),+
        )
    };
}

/// A page: `$1` after which id, `$2` how many, `$3` at rest in which way: '*' for any, '' for not at rest. The filters by
/// pool and project are texts of their own, since only so an index serves them.
macro_rules! page {
    ($filter:literal) => {
        select_agents!(
            "WHERE agent_id > $1 AND ($3 = '*' OR COALESCE(rest, '') = $3) ",
            $filter,
            " ORDER BY agent_id LIMIT CAST($2 AS BIGINT)"
        )
    };
}

const LIVE: &str = select_agents!("WHERE ended_at IS NULL ORDER BY agent_id");
const ONE: &str = select_agents!("WHERE agent_id = $1");
const PAGE: &str = page!("");
const PAGE_OF_POOL: &str = page!("AND pool_name = $4");
const PAGE_OF_PROJECT: &str = page!("AND project_id = $4");
const PAGE_OF_BOTH: &str = page!("AND pool_name = $4 AND project_id = $5");

pub(crate) const fn live() -> Statement {
    Statement::new(LIVE, Vec::new())
}

pub(crate) fn one(agent_id: AgentId) -> Statement {
    Statement::new(ONE, vec![SqlValue::text(agent_id)])
}

pub(crate) fn page(filter: &AgentFilter, after: Option<AgentId>, limit: u32) -> Statement {
    let rest = match filter.final_state {
        None => "*",
        Some(None) => "",
        Some(Some(state)) => state.as_str(),
    };
    // The empty text sorts before every id.
    let after = after.map_or_else(String::new, |id| id.to_string());
    let mut args = vec![SqlValue::text(after), SqlValue::count(limit), SqlValue::text(rest)];
    args.extend(filter.pool.as_ref().map(SqlValue::text));
    args.extend(filter.project.as_ref().map(SqlValue::text));
    let sql = match (&filter.pool, &filter.project) {
        (None, None) => PAGE,
        (Some(_), None) => PAGE_OF_POOL,
        (None, Some(_)) => PAGE_OF_PROJECT,
        (Some(_), Some(_)) => PAGE_OF_BOTH,
    };
    Statement::new(sql, args)
}

/// Reads a row of [`live`], [`one`] or [`page`].
pub(crate) fn read(mut fields: RowFields) -> Result<AgentRow, StoreError> {
    let spec = AgentSpec {
        agent_id: fields.parsed()?,
        pool_name: fields.parsed()?,
        role_type: fields.text()?,
        project_id: fields.text()?,
        human_name: fields.text()?,
        heartbeat_interval: Duration::from_millis(fields.count()?),
        max_idle_time: Duration::from_millis(fields.count()?),
        on_demand: fields.int()? != 0,
    };
    let intent = read_intent(&mut fields)?;
    let process_id: Option<ProcessId> = fields.parsed_or_null()?;
    let epoch = muster_domain::Epoch(fields.count()?);
    Ok(AgentRow {
        spec,
        intent,
        assignment: process_id.map(|process_id| Assignment { process_id, epoch }),
        epoch,
        final_state: fields.text_or_null()?.map(|word| read_final(&word, intent)).transpose()?.flatten(),
        last_ending: fields.json_or_null()?,
        restarts: fields.count()?,
        created_at: Timestamp::from_millis(fields.int()?),
        updated_at: Timestamp::from_millis(fields.int()?),
        // A mark of an earlier epoch was obeyed when that epoch ended.
        restart: fields.int_or_null()?.is_some_and(|of| process_id.is_some() && u64::try_from(of) == Ok(epoch.0)),
    })
}

fn read_intent(fields: &mut RowFields) -> Result<Intent, StoreError> {
    let word = fields.text()?;
    let reason: Option<StopReason> = fields.parsed_or_null()?;
    match (word.as_str(), reason) {
        ("run", None) => Ok(Intent::Run),
        ("stop", Some(reason)) => Ok(Intent::Stop(reason)),
        (word, reason) => Err(StoreError::Corrupt(format!("no intent: {word:?} with reason {reason:?}"))),
    }
}

fn read_final(word: &str, intent: Intent) -> Result<Option<FinalState>, StoreError> {
    let state = word.parse().ok().filter(|state: &AgentState| state.is_final());
    let state = state.ok_or_else(|| StoreError::Corrupt(format!("no rest of an agent: {word:?}")))?;
    Ok(FinalState::of(state, intent))
}
