//! Makes one text of a transaction.

use std::fmt::Write;

use crate::sql::{Step, Value};

/// Opens the transaction, and stops it here unless `$1` is the fence in force.
const BEGIN: &str = "BEGIN IMMEDIATE; INSERT INTO fence_in_force (fence) VALUES ($1)";
/// Statements of [`BEGIN`].
pub(super) const STATEMENTS_OF_BEGIN: usize = 2;

/// Several statements as one text, with the arguments of all.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) sql: String,
    pub(super) args: Vec<Value>,
}

impl Text {
    pub(super) fn begin(&mut self, fence: Value) {
        self.sql.push_str(BEGIN);
        self.args.push(fence);
    }

    /// Adds a statement; its parameters count on from those before.
    pub(super) fn add(&mut self, step: &Step) {
        self.separate();
        let mut parts = step.sql.split('$');
        self.sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (number, rest) = part.split_at(end);
            let number = number.parse::<usize>().unwrap_or(0) + self.args.len();
            // Writing to a string does not fail.
            let _ = write!(self.sql, "${number}{rest}");
        }
        self.args.extend(step.args.iter().cloned());
    }

    pub(super) fn commit(&mut self) {
        self.separate();
        self.sql.push_str("COMMIT");
    }

    fn separate(&mut self) {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_count_on_from_statement_to_statement() {
        let mut text = Text::default();
        text.begin(Value::int(7));
        text.add(&Step::new("UPDATE t SET a = $2, b = $2 WHERE c = $1", vec![Value::int(1), Value::int(2)]));
        text.add(&Step::new("DELETE FROM t WHERE a=$1", vec![Value::int(3)]));
        text.commit();
        assert_eq!(
            text.sql,
            format!("{BEGIN}; UPDATE t SET a = $3, b = $3 WHERE c = $2; DELETE FROM t WHERE a=$4; COMMIT")
        );
        assert_eq!(text.args, [7, 1, 2, 3].map(Value::int));
        assert_eq!(BEGIN.split(';').count(), STATEMENTS_OF_BEGIN);
    }
}
