//! What pools were and did over a time: one row for each pool, tier and time, and one for all pools together, which has no name.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::pool_metrics::PoolMetrics;
use muster_domain::{Fence, MetricsTier, PoolName, Timestamp};

use crate::sql::{Batched, Engine, RowFields, SqlValue, Statement, TransactionMode};
use crate::sql_store::SqlStore;
use crate::{MetricsFilter, MetricsRound, MetricsStore, StoreError};

/// Rows that one round takes away at the most, of each tier: more than it adds, so that they go as fast as they come.
const FEW: u32 = 5_000;

/// The name that stands for all pools together.
const ALL_POOLS: &str = "";

/// A column beside the key.
struct Column {
    name: &'static str,
    get: fn(&PoolMetrics) -> SqlValue,
    set: fn(&mut PoolMetrics, &mut RowFields) -> Result<(), StoreError>,
}

/// A column of a number.
macro_rules! count {
    ($name:literal, $($field:ident).+) => {
        Column {
            name: $name,
            get: |metrics| SqlValue::count(metrics.$($field).+),
            set: |metrics, fields| fields.count().map(|number| metrics.$($field).+ = number),
        }
    };
}

/// A column of a duration, in milliseconds.
macro_rules! millis {
    ($name:literal, $($field:ident).+) => {
        Column {
            name: $name,
            get: |metrics| SqlValue::count(metrics.$($field).+.as_millis()),
            set: |metrics, fields| {
                fields.count().map(|millis| metrics.$($field).+ = Duration::from_millis(millis))
            },
        }
    };
}

/// A column of a histogram.
macro_rules! histogram {
    ($name:literal, $($field:ident).+) => {
        Column {
            name: $name,
            get: |metrics| SqlValue::text(&metrics.$($field).+),
            set: |metrics, fields| fields.parsed().map(|histogram| metrics.$($field).+ = histogram),
        }
    };
}

/// Every column beside the key.
const COLUMNS: [Column; 34] = [
    millis!("covers_ms", covers),
    count!("looks", looks),
    count!("workers", slots.workers),
    count!("slots", slots.slots),
    count!("taken_slots", slots.taken),
    count!("busy_slots", slots.busy),
    count!("health_millionths", slots.health),
    count!("active_agents", agents.active),
    count!("idle_agents", agents.idle),
    count!("busy_agents", agents.busy),
    count!("waiting_agents", agents.waiting),
    count!("failed_agents", agents.failed),
    count!("queue_depth", queue.depth),
    count!("running_tasks", queue.running),
    millis!("oldest_wait_ms", queue.oldest_wait),
    count!("attempts", work.attempts.total),
    count!("attempts_succeeded", work.attempts.succeeded),
    count!("attempts_failed", work.attempts.failed),
    count!("tasks_ended", work.tasks),
    millis!("response_ms", work.response),
    histogram!("waits", work.waits),
    histogram!("runs", work.runs),
    count!("input_tokens", work.usage.input_tokens),
    count!("output_tokens", work.usage.output_tokens),
    count!("cost_micros", work.usage.cost_micros),
    count!("measured_looks", resources.looks),
    count!("cpu_millionths", resources.cpu),
    count!("memory_bytes", resources.memory),
    count!("cpu_granted_millionths", resources.cpu_granted),
    count!("memory_granted_bytes", resources.memory_granted),
    count!("pressure_looks", resources.pressure.looks),
    count!("cpu_pressure", resources.pressure.cpu),
    count!("memory_pressure", resources.pressure.memory),
    count!("io_pressure", resources.pressure.io),
];

/// The names of all columns, with the key.
fn names() -> String {
    let columns = COLUMNS.iter().map(|column| column.name);
    ["pool_name", "tier", "at"].into_iter().chain(columns).collect::<Vec<_>>().join(", ")
}

/// A row that is there stays: it was written by a commit of which nobody heard.
static ADD: LazyLock<Batched> = LazyLock::new(|| {
    let names = names();
    let text = format!(
        "WITH e ({names}) AS (VALUES {{rows}}) INSERT INTO pool_metrics ({names}) \
         SELECT {names} FROM e WHERE e.pool_name IS NOT NULL ON CONFLICT (pool_name, tier, at) DO NOTHING"
    );
    Batched::new(COLUMNS.len() + 3, &text)
});

static OF_POOL: LazyLock<String> = LazyLock::new(|| {
    let names = names();
    format!(
        "SELECT {names} FROM pool_metrics WHERE pool_name = $1 AND tier = $2 AND at > $3 AND at <= $4 \
         ORDER BY at DESC LIMIT CAST($5 AS BIGINT)"
    )
});

static OF_ALL: LazyLock<String> = LazyLock::new(|| {
    let names = names();
    format!("SELECT {names} FROM pool_metrics WHERE tier = $1 AND at > $2 AND at <= $3 ORDER BY at")
});

const NEWEST: &str = "SELECT MAX(at) FROM pool_metrics WHERE tier = $1";

const NEXT: &str = "SELECT MIN(at) FROM pool_metrics WHERE tier = $1 AND at > $2";

const PRUNE: &str = "DELETE FROM pool_metrics WHERE (pool_name, tier, at) IN (SELECT m.pool_name, m.tier, m.at \
    FROM pool_metrics m WHERE m.tier = $1 AND m.at <= $2 LIMIT CAST($3 AS BIGINT))";

fn key(pool: Option<&PoolName>) -> SqlValue {
    pool.map_or_else(|| SqlValue::shared(ALL_POOLS), SqlValue::text)
}

fn time(at: Timestamp) -> SqlValue {
    SqlValue::int(at.as_millis())
}

fn word(tier: MetricsTier) -> SqlValue {
    SqlValue::shared(tier.as_str())
}

fn add(rows: &[(MetricsTier, PoolMetrics)]) -> Vec<Statement> {
    let rows = rows.iter().enumerate().map(|(place, (tier, metrics))| {
        let key = [key(metrics.pool_name.as_ref()), word(*tier), time(metrics.at)];
        let fields = key.into_iter().chain(COLUMNS.iter().map(|column| (column.get)(metrics))).collect();
        (place, (metrics.pool_name.clone(), tier.as_str(), metrics.at), fields)
    });
    ADD.steps(rows).into_iter().map(|(step, _)| step).collect()
}

fn read(mut fields: RowFields) -> Result<PoolMetrics, StoreError> {
    let (pool, _, at) = (fields.text()?, fields.text()?, Timestamp::from_millis(fields.int()?));
    let pool = match pool.as_str() {
        ALL_POOLS => None,
        name => Some(name.parse().map_err(|error| StoreError::Corrupt(format!("{name:?}: {error}")))?),
    };
    let mut metrics = PoolMetrics::new(pool, at);
    COLUMNS.iter().try_for_each(|column| (column.set)(&mut metrics, &mut fields))?;
    Ok(metrics)
}

fn read_time(mut fields: RowFields) -> Result<Option<Timestamp>, StoreError> {
    Ok(fields.int_or_null()?.map(Timestamp::from_millis))
}

#[async_trait]
impl<E: Engine> MetricsStore for SqlStore<E> {
    async fn record_metrics(&self, fence: Fence, round: &MetricsRound) -> Result<(), StoreError> {
        let mut steps = add(&round.rows);
        steps.extend(
            round
                .outdated
                .iter()
                .map(|(tier, until)| Statement::new(PRUNE, vec![word(*tier), time(*until), SqlValue::count(FEW)])),
        );
        self.commit_steps(fence, steps, TransactionMode::Together).await
    }

    async fn metrics(&self, filter: &MetricsFilter, limit: u32) -> Result<Vec<PoolMetrics>, StoreError> {
        let MetricsFilter { pool, tier, after, until } = filter;
        let args = vec![key(pool.as_ref()), word(*tier), time(*after), time(*until), SqlValue::count(limit)];
        self.all(Statement::new(&OF_POOL, args), read).await
    }

    async fn metrics_of_all(
        &self,
        tier: MetricsTier,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<PoolMetrics>, StoreError> {
        self.all(Statement::new(&OF_ALL, vec![word(tier), time(after), time(until)]), read).await
    }

    async fn newest_metrics(&self, tier: MetricsTier) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.first(Statement::new(NEWEST, vec![word(tier)]), read_time).await?.flatten())
    }

    async fn next_metrics(&self, tier: MetricsTier, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.first(Statement::new(NEXT, vec![word(tier), time(after)]), read_time).await?.flatten())
    }
}
