//! Launchers by name: who starts the workers of a pool.

/// The launcher of a pool that names none: workers run on the supervisor's own host.
pub const LOCAL: &str = "local";

/// Every launcher that there is.
pub const KNOWN: [&str; 1] = [LOCAL];
