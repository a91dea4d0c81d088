//! Where a worker comes from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A launcher and an instance type. Written `local` or `local/c6g.2xlarge`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WorkerSource {
    /// The launcher's name.
    pub launcher: String,
    /// The name of the instance type; none where the launcher has no choice.
    pub instance_type: Option<String>,
}

impl fmt::Display for WorkerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.launcher)?;
        self.instance_type.as_ref().map_or(Ok(()), |name| write!(f, "/{name}"))
    }
}
