//! Steps that are carried out apart from each other, where one of them has a value that the engine will never take.
//!
//! Each unit of steps has a savepoint of its own. One that is refused is tried again row by row, so that the poisoned row alone
//! is left out.

use std::sync::Arc;

use super::{RefusedRow, Statement, StatementResult};
use crate::StoreError;

/// Steps that stand or fall together.
#[derive(Debug)]
pub(crate) struct Unit(pub(crate) Vec<Arc<Statement>>);

impl Unit {
    /// Divides the steps of a transaction.
    pub(crate) fn divide(steps: &[Arc<Statement>]) -> Vec<Self> {
        steps.split_inclusive(|step| !step.with_next).map(|steps| Self(steps.to_vec())).collect()
    }

    /// The unit once per row. None where it is about one.
    pub(crate) fn rows(&self) -> Vec<Self> {
        let rows = self.0.first().map_or(0, |step| step.rows);
        if rows < 2 || self.0.iter().any(|step| step.rows != rows || step.many.is_none()) {
            return Vec::new();
        }
        let row = |row| self.0.iter().filter_map(|step| step.row(row)).map(Arc::new).collect();
        (0..rows).map(|number| Self(row(number))).collect()
    }
}

impl Statement {
    /// The same statement over one of its rows.
    fn row(&self, row: usize) -> Option<Self> {
        let many = self.many?;
        let fields = self.args.chunks_exact(many.columns()).nth(row)?.to_vec();
        Some(Self { with_next: self.with_next, ..many.step(fields) })
    }
}

/// The answers of a unit that was refused.
pub(crate) fn refuse(unit: &Unit, error: &StoreError) -> Vec<StatementResult> {
    let why: Arc<str> = error.to_string().into();
    let answer = |step: &Arc<Statement>| {
        let refused = (0..step.rows).map(|row| RefusedRow { row, why: why.clone() }).collect();
        StatementResult { refused, ..StatementResult::default() }
    };
    unit.0.iter().map(answer).collect()
}

/// Adds what one row of a unit did to the answers of the unit.
pub(crate) fn join(all: &mut Vec<StatementResult>, row: usize, answers: Vec<StatementResult>) {
    all.resize_with(answers.len().max(all.len()), StatementResult::default);
    for (sum, answer) in all.iter_mut().zip(answers) {
        sum.changed += answer.changed;
        sum.rows.extend(answer.rows);
        sum.refused.extend(answer.refused.into_iter().map(|refusal| RefusedRow { row, ..refusal }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::sql::{Batched, SqlValue};

    static MANY: LazyLock<Batched> = LazyLock::new(|| Batched::new(1, "DELETE ... IN (VALUES {rows})"));

    #[test]
    fn what_stands_or_falls_together_is_one_unit() {
        let step = |with_next| Arc::new(Statement { with_next, ..Statement::new("", Vec::new()) });
        let units = Unit::divide(&[step(false), step(true), step(false), step(false)]);
        assert_eq!(units.iter().map(|unit| unit.0.len()).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn a_unit_over_many_rows_is_one_per_row() {
        let fields: Vec<SqlValue> = (0..3).map(SqlValue::int).collect();
        let unit = Unit(vec![Arc::new(MANY.step(fields.clone()).with_next()), Arc::new(MANY.step(fields))]);
        let rows = unit.rows();
        assert_eq!(rows.len(), 3);
        for (number, row) in (0..).zip(&rows) {
            assert!(row.0.iter().all(|step| step.args == [SqlValue::int(number)] && step.rows == 1));
            assert_eq!(row.0.iter().map(|step| step.with_next).collect::<Vec<_>>(), [true, false]);
            assert!(row.rows().is_empty(), "it is one already");
        }
        assert!(Unit(vec![Arc::new(Statement::new("", Vec::new()))]).rows().is_empty());
    }

    #[test]
    fn a_refused_row_keeps_its_place() {
        let unit = Unit(vec![Arc::new(MANY.step(vec![SqlValue::int(1)]))]);
        let error = StoreError::Refused("too long".into());
        let mut all = Vec::new();
        join(&mut all, 0, vec![StatementResult { changed: 1, ..StatementResult::default() }]);
        join(&mut all, 1, refuse(&unit, &error));
        join(&mut all, 2, vec![StatementResult { changed: 1, ..StatementResult::default() }]);
        let [answer] = all.try_into().expect("one step");
        assert_eq!(answer.changed, 2);
        assert_eq!(answer.refused.iter().map(|refusal| refusal.row).collect::<Vec<_>>(), [1]);
    }
}
