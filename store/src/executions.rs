//! Attempts at tasks that are over, counted since the store was made.

use muster_domain::Executions;

use crate::StoreError;
use crate::sql::{RowFields, SqlValue, Statement};

const ADD: &str = "UPDATE system SET executions = executions + $1, executions_succeeded = executions_succeeded + $2, \
    executions_failed = executions_failed + $3 WHERE id = 1";

const READ: &str = "SELECT executions, executions_succeeded, executions_failed FROM system WHERE id = 1";

pub(crate) fn add(added: &Executions) -> Statement {
    let Executions { total, succeeded, failed } = added;
    Statement::new(ADD, vec![SqlValue::count(*total), SqlValue::count(*succeeded), SqlValue::count(*failed)])
}

pub(crate) const fn all() -> Statement {
    Statement::new(READ, Vec::new())
}

/// Reads the row of [`all`].
pub(crate) fn read(mut fields: RowFields) -> Result<Executions, StoreError> {
    Ok(Executions { total: fields.count()?, succeeded: fields.count()?, failed: fields.count()? })
}
