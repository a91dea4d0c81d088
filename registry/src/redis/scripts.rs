//! The Lua scripts. Each file says its KEYS, its ARGV and what it returns.

use std::sync::LazyLock;

use redis::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal)+;)+) => {
        $($(#[$doc])* pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));)+
    };
}

scripts! {
    /// A worker's heartbeat.
    BEAT = "lua/own.lua" "lua/agents.lua" "lua/beat.lua";
    /// A worker's reports.
    REPORT = "lua/own.lua" "lua/agents.lua" "lua/report.lua";
    /// The latest beats of workers.
    PICTURES = "lua/own.lua" "lua/pictures.lua";
    /// Tries the rights to commands.
    RIGHTS = "lua/rights.lua";
    /// Settles reports.
    SETTLE = "lua/own.lua" "lua/settle.lua";
    /// Removes a worker.
    FORGET = "lua/own.lua" "lua/forget.lua";
    /// Removes a pool.
    FORGET_POOL = "lua/own.lua" "lua/forget_pool.lua";
    /// Deletes keys of another type than ours.
    MEND = "lua/mend.lua";
}

/// Computes the names of the scripts that every worker calls.
pub(super) fn warm_up() {
    LazyLock::force(&BEAT);
    LazyLock::force(&REPORT);
}
