//! What PostgreSQL's errors mean, by their SQLSTATE.

use crate::StoreError;

/// Classes that lie in a value: data exceptions, broken constraints, limits of the server.
const OF_VALUES: [&str; 3] = ["22", "23", "54"];

/// Tells kinds of errors apart.
pub(super) fn explain(error: sqlx::Error) -> StoreError {
    if is_refusal(&error) {
        return StoreError::Refused(Box::new(error));
    }
    let Some(state) = sqlstate(&error) else {
        // The connection broke, or none was to be had.
        return StoreError::unavailable(error);
    };
    match (&state[..2], state.as_str()) {
        // A transaction of another one came in between.
        ("40", _) => StoreError::Conflict(Box::new(error)),
        (_, "25006") => StoreError::unavailable(format!(
            "the database is read-only: it is a standby, or default_transaction_read_only is on ({error})"
        )),
        (_, "53300") => StoreError::unavailable(format!(
            "PostgreSQL gives no connection ({error}): raise the limit of the role or of the server, or lower \
             database.max_connections"
        )),
        (_, "53100") => StoreError::unavailable(format!("the disk of the database is full ({error})")),
        // Connections, authorization, no such database, transaction states, resources, objects in use, operators'
        // interventions, errors of the system and of the server itself.
        ("08" | "28" | "3D" | "25" | "53" | "55" | "57" | "58" | "XX", _) => StoreError::unavailable(error),
        _ => StoreError::Failed(Box::new(error)),
    }
}

/// The five characters that say what went wrong, where the server said it.
fn sqlstate(error: &sqlx::Error) -> Option<String> {
    let state = error.as_database_error()?.code()?;
    (state.len() == 5 && state.is_ascii()).then(|| state.into_owned())
}

/// Whether a value is to blame, which no other try would make any better.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Encode(_)) || sqlstate(error).is_some_and(|state| OF_VALUES.contains(&&state[..2]))
}

/// Whether the server or the role has no connection left for us.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    sqlstate(error).as_deref() == Some("53300")
}
