//! Statements over many rows: one text per size, so that the texts are few and stay prepared.

use std::collections::HashSet;
use std::hash::Hash;

use super::{SqlValue, Statement};

/// Rows of the largest text: 2^8.
pub(crate) const MAX_ROWS: usize = 256;
const SIZES: usize = MAX_ROWS.trailing_zeros() as usize + 1;

/// A statement over a list of rows. There is a text for 1, 2, 4, ... rows; where fewer are given, the rest is filled with
/// nulls, which the statement must pass over: a null is nobody's id.
#[derive(Debug)]
pub(crate) struct Batched {
    texts: [String; SIZES],
    columns: usize,
}

impl Batched {
    /// Makes the texts: `{rows}` in the template stands for the list, as it follows the word VALUES.
    pub(crate) fn new(columns: usize, template: &str) -> Self {
        let texts = std::array::from_fn(|size| template.replace("{rows}", &placeholders(1 << size, columns)));
        Self { texts, columns }
    }

    /// A step over these rows, 1 to [`MAX_ROWS`] of them, given field by field.
    pub(crate) fn step(&'static self, mut fields: Vec<SqlValue>) -> Statement {
        let rows = fields.len() / self.columns;
        let size = rows.next_power_of_two().trailing_zeros() as usize;
        for field in fields.len()..self.columns << size {
            fields.push(fields[field % self.columns].null_like());
        }
        Statement { sql: &self.texts[size], args: fields, rows, many: Some(self), with_next: false }
    }

    /// Steps over any number of rows, each with the keys and places of its own. A key that comes twice is in two steps, one
    /// after the other, since within one only one of its rows would count.
    pub(crate) fn steps<K: Clone + Eq + Hash>(
        &'static self,
        rows: impl Iterator<Item = (usize, K, Vec<SqlValue>)>,
    ) -> Vec<(Statement, Vec<(K, usize)>)> {
        let (mut steps, mut chunk, mut fields, mut seen) = (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
        for (place, key, row) in rows {
            if chunk.len() == MAX_ROWS || !seen.insert(key.clone()) {
                steps.push((self.step(std::mem::take(&mut fields)), std::mem::take(&mut chunk)));
                seen = HashSet::from([key.clone()]);
            }
            chunk.push((key, place));
            fields.extend(row);
        }
        if !chunk.is_empty() {
            steps.push((self.step(fields), chunk));
        }
        steps
    }

    pub(super) const fn columns(&self) -> usize {
        self.columns
    }
}

/// `($1, $2), ($3, $4)`
fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let numbers: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", numbers.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static TWO: LazyLock<Batched> = LazyLock::new(|| Batched::new(2, "WITH e (a, b) AS (VALUES {rows}) DELETE"));

    fn fields(rows: i64) -> Vec<SqlValue> {
        (0..rows).flat_map(|row| [SqlValue::int(row), SqlValue::text(row)]).collect()
    }

    #[test]
    fn a_text_has_the_next_power_of_two_of_rows_and_nulls_fill_it() {
        let step = TWO.step(fields(1));
        assert_eq!(step.sql, "WITH e (a, b) AS (VALUES ($1, $2)) DELETE");
        assert_eq!((step.args, step.rows), (fields(1), 1));
        let step = TWO.step(fields(3));
        assert_eq!(step.sql, "WITH e (a, b) AS (VALUES ($1, $2), ($3, $4), ($5, $6), ($7, $8)) DELETE");
        assert_eq!(step.args[..6], fields(3));
        assert_eq!(step.args[6..], [SqlValue::Int(None), SqlValue::Text(None)]);
        assert_eq!(step.rows, 3);
    }

    #[test]
    fn as_many_rows_as_fit_need_no_filling() {
        let most = i64::try_from(MAX_ROWS).expect("a small number");
        assert_eq!(TWO.step(fields(most)).args, fields(most));
        assert!(TWO.step(fields(most)).sql.ends_with("($511, $512)) DELETE"));
    }
}
