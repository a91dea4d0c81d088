//! What SQLite's errors mean.

use rusqlite::ErrorCode;

use crate::StoreError;

/// Tells kinds of errors apart by their codes.
pub(super) fn explain(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        // A text beyond SQLite's bound, or one that breaks a constraint.
        Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => {
            StoreError::Refused(Box::new(error))
        }
        // SQLITE_ERROR: a statement that does not fit the schema.
        Some(ErrorCode::Unknown | ErrorCode::SchemaChanged | ErrorCode::ApiMisuse) | None => {
            StoreError::Failed(Box::new(error))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(Box::new(error)),
        Some(code) => match advice(code) {
            Some(advice) => StoreError::Unavailable(Box::new(Advised { advice, error })),
            None => StoreError::unavailable(error),
        },
    }
}

/// An outage with what it means for who can mend it.
#[derive(Debug, thiserror::Error)]
#[error("{advice} ({error})")]
struct Advised {
    advice: &'static str,
    error: rusqlite::Error,
}

const fn advice(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Some("another program holds the lock of the database: `fuser` on its file says which")
        }
        ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Some(
            "the files of the database can't be read, or may not be written: see to the disk, to how it is mounted and to their \
             rights",
        ),
        ErrorCode::DiskFull => Some("the disk of the database is full: make room"),
        _ => None,
    }
}

/// Whether the disk has no room left.
pub(super) fn is_full(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    let found = source.downcast_ref::<Advised>();
    found.and_then(|found| found.error.sqlite_error_code()) == Some(ErrorCode::DiskFull)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn of(code: i32) -> StoreError {
        explain(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))
    }

    #[test]
    fn kinds_are_told_apart_by_code() {
        for code in [ffi::SQLITE_TOOBIG, ffi::SQLITE_CONSTRAINT, ffi::SQLITE_CONSTRAINT_TRIGGER, ffi::SQLITE_MISMATCH] {
            assert!(matches!(of(code), StoreError::Refused(_)), "{code}");
        }
        let away = [
            ffi::SQLITE_FULL,
            ffi::SQLITE_BUSY,
            ffi::SQLITE_IOERR,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_CANTOPEN,
            ffi::SQLITE_NOMEM,
        ];
        for code in away {
            assert!(matches!(of(code), StoreError::Unavailable(_)), "{code}");
        }
        assert!(matches!(of(ffi::SQLITE_ERROR), StoreError::Failed(_)));
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB] {
            assert!(matches!(of(code), StoreError::Damaged(_)), "{code}");
        }
    }
}
