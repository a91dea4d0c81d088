//! Tasks as people see them: one by one, and in pages.

use std::ops::Bound::{Excluded, Unbounded};

use muster_domain::{Payload, TaskId};

use super::tasks::TaskTable;
use crate::{ListOrder, TaskFilter, TaskRow};

fn fits(filter: &TaskFilter, row: &TaskRow) -> bool {
    let TaskFilter { pool, project, tenant, states, .. } = filter;
    pool.as_ref().is_none_or(|pool| row.spec.pool_name == *pool)
        && (project.is_none() || row.spec.project_id == *project)
        && tenant.as_ref().is_none_or(|tenant| row.spec.tenant == *tenant)
        && (states.is_empty() || states.contains(&row.status.state()))
}

impl TaskTable {
    pub(super) fn one(&self, id: TaskId) -> Option<TaskRow> {
        self.rows.get(&id).cloned()
    }

    pub(super) fn page(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Vec<TaskRow> {
        let after = after.map_or(Unbounded, Excluded);
        let rows: Box<dyn Iterator<Item = _>> = match filter.order {
            ListOrder::OldestFirst => Box::new(self.rows.range((after, Unbounded))),
            ListOrder::NewestFirst => Box::new(self.rows.range((Unbounded, after)).rev()),
        };
        let read = |row: &TaskRow| match filter.brief {
            true => TaskRow { input: Payload::trusted("null"), output: None, ..row.clone() },
            false => row.clone(),
        };
        let found = rows.map(|(_, row)| row).filter(|row| fits(filter, row));
        found.take(limit as usize).map(read).collect()
    }
}
