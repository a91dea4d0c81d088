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
    BEAT = "lua/agents.lua" "lua/beat.lua";
    /// A worker's reports.
    REPORT = "lua/agents.lua" "lua/report.lua";
    /// The latest beats of workers.
    PICTURES = "lua/pictures.lua";
    /// Settles reports.
    SETTLE = "lua/settle.lua";
    /// Removes a worker.
    FORGET = "lua/forget.lua";
    /// Removes a pool.
    FORGET_POOL = "lua/forget_pool.lua";
}
