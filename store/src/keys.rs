//! Idempotency keys: what the first request made, an agent or a task, and its body, kept in the transaction that made it.

use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use muster_domain::{PoolName, TaskId, Timestamp};

use crate::sql::{Batched, RowFields, SqlValue, Statement};
use crate::{IdempotencyKey, StoreError};

// Whether the key is new or not, its row comes back: the update changes nothing, and makes RETURNING speak of it.
const CLAIM: &str = "INSERT INTO idempotency_keys (caller, route, idempotency_key, body_hash, made_id, created_at) \
    SELECT $1, $2, $3, $4, $5, $6 FROM pools WHERE pool_name = $7 \
    ON CONFLICT (caller, route, idempotency_key) DO UPDATE SET caller = excluded.caller RETURNING made_id, body_hash";

/// The same for many, of which no two have the same key. The rows that come back say which keys they are.
pub(crate) static CLAIM_MANY: LazyLock<Batched> = LazyLock::new(|| {
    Batched::new(
        CLAIM_FIELDS,
        "WITH e (caller, route, idempotency_key, body_hash, made_id, at, pool_name) AS (VALUES {rows}) \
         INSERT INTO idempotency_keys (caller, route, idempotency_key, body_hash, made_id, created_at) \
         SELECT e.caller, e.route, e.idempotency_key, e.body_hash, e.made_id, e.at FROM e \
         JOIN pools p ON p.pool_name = e.pool_name WHERE e.made_id IS NOT NULL \
         ON CONFLICT (caller, route, idempotency_key) DO UPDATE SET caller = excluded.caller \
         RETURNING caller, route, idempotency_key, made_id, body_hash",
    )
});

/// Fields of a row of [`CLAIM_MANY`].
pub(crate) const CLAIM_FIELDS: usize = 7;

const HOLDER: &str = "SELECT made_id, body_hash FROM idempotency_keys \
    WHERE caller = $1 AND route = $2 AND idempotency_key = $3";

static FORGET: LazyLock<Batched> =
    LazyLock::new(|| Batched::new(1, "DELETE FROM idempotency_keys WHERE made_id IN (VALUES {rows})"));

const PRUNE: &str = "DELETE FROM idempotency_keys WHERE (caller, route, idempotency_key) IN \
    (SELECT caller, route, idempotency_key FROM idempotency_keys WHERE created_at < $1 LIMIT CAST($2 AS BIGINT))";

/// Deletes the keys with which those were made that the question finds.
macro_rules! delete_keys_of {
    ($question:expr) => {
        concat!("DELETE FROM idempotency_keys WHERE made_id IN (", $question, ")")
    };
}
pub(crate) use delete_keys_of;

/// Takes the key for this agent or task where it is free, and answers whose it is. No row where the pool does not exist.
pub(crate) fn claim(key: &IdempotencyKey, made_id: impl ToString, pool: &PoolName, at: Timestamp) -> Statement {
    Statement::new(CLAIM, claim_fields(key, made_id, pool, at))
}

/// The arguments of [`claim`], and a row of [`CLAIM_MANY`].
pub(crate) fn claim_fields(
    key: &IdempotencyKey,
    made_id: impl ToString,
    pool: &PoolName,
    at: Timestamp,
) -> Vec<SqlValue> {
    vec![
        SqlValue::text(&key.caller),
        SqlValue::text(&key.route),
        SqlValue::text(&key.key),
        SqlValue::text(to_hex(&key.body_hash)),
        SqlValue::text(made_id),
        SqlValue::int(at.as_millis()),
        SqlValue::text(pool),
    ]
}

/// What tells one key from another, as one text.
pub(crate) fn name_of(caller: &str, route: &str, key: &str) -> Arc<str> {
    // No part of it has a line break.
    format!("{caller}\n{route}\n{key}").into()
}

/// Reads a row of [`CLAIM_MANY`]: which key, whose it is, and the hash of that request's body.
pub(crate) fn read_many<T: FromStr<Err: ToString>>(
    mut fields: RowFields,
) -> Result<(Arc<str>, T, [u8; 32]), StoreError> {
    let name = name_of(&fields.text()?, &fields.text()?, &fields.text()?);
    let (made_id, hash) = read(fields)?;
    Ok((name, made_id, hash))
}

/// Asks whose the key is.
pub(crate) fn holder(key: &IdempotencyKey) -> Statement {
    Statement::new(HOLDER, vec![SqlValue::text(&key.caller), SqlValue::text(&key.route), SqlValue::text(&key.key)])
}

pub(crate) fn prune(before: Timestamp, limit: u32) -> Statement {
    Statement::new(PRUNE, vec![SqlValue::int(before.as_millis()), SqlValue::count(limit)])
}

/// Forgets the keys with which these tasks were made, at most [`MAX_ROWS`](crate::sql::MAX_ROWS) of them.
pub(crate) fn forget(tasks: &[TaskId]) -> Statement {
    FORGET.step(tasks.iter().map(SqlValue::text).collect())
}

/// Reads a row of [`claim`] or of [`holder`].
pub(crate) fn read<T: FromStr<Err: ToString>>(mut fields: RowFields) -> Result<(T, [u8; 32]), StoreError> {
    Ok((fields.parsed()?, from_hex(&fields.text()?)?))
}

fn to_hex(hash: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    hash.iter().flat_map(|b| [b >> 4, b & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Result<[u8; 32], StoreError> {
    let corrupt = || StoreError::Corrupt(format!("no hash: {text:?}"));
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()
        .ok_or_else(corrupt)?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().map_err(|_| corrupt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back_and_rubbish_is_not() {
        let hash: [u8; 32] = std::array::from_fn(|i| (i * 37 % 256) as u8);
        assert_eq!(from_hex(&to_hex(&hash)).expect("its own output"), hash);
        for bad in ["", "0", &"0".repeat(62), &"x".repeat(64)] {
            assert!(matches!(from_hex(bad), Err(StoreError::Corrupt(_))), "{bad:?} is no hash");
        }
    }
}
