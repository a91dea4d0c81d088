//! Identities are types, so that an agent's id is never passed for a worker's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id. UUIDv7 (RFC 9562): later ids sort after earlier ones.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id behind a UUID that was stored before.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id! {
    /// One agent, for all of its life and over all of its restarts.
    AgentId
}
id! {
    /// One worker process. It is chosen before the fork, so that the store knows of the worker before the kernel does.
    ProcessId
}
id! {
    /// One task, over all of its attempts.
    TaskId
}
id! {
    /// One decision about how many workers a pool is to have.
    DecisionId
}
id! {
    /// One alert, from its beginning to its end.
    AlertId
}
id! {
    /// One command to a worker. A re-sent command keeps its id.
    CommandId
}

impl TaskId {
    /// An id that sorts before every one that was made at this moment or later.
    pub fn first_at(at: Timestamp) -> Self {
        // The first 48 bits of a UUIDv7 are the milliseconds since 1970.
        let millis = u64::try_from(at.as_millis()).unwrap_or(0).min((1 << 48) - 1);
        Self(Uuid::from_u128(u128::from(millis) << 80))
    }

    /// When it was made, to the millisecond, by the clock of its maker.
    pub const fn made_at(self) -> Timestamp {
        Timestamp::from_millis((self.0.as_u128() >> 80) as i64)
    }
}

/// How ids of tasks begin. Those that begin so are side by side in the order of the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskIdPrefix {
    /// The lowest that begins so.
    first: u128,
    /// The highest.
    last: u128,
}

impl TaskIdPrefix {
    /// Hex digits that it has at least. So many are the same for all tasks of about a minute.
    pub const SHORTEST: usize = 8;

    /// Whether an id begins so.
    pub const fn begins(&self, id: TaskId) -> bool {
        let id = id.0.as_u128();
        self.first <= id && id <= self.last
    }

    /// The id before all that begin so.
    pub const fn before(&self) -> TaskId {
        TaskId(Uuid::from_u128(self.first.saturating_sub(1)))
    }

    /// The id behind all that begin so.
    pub const fn behind(&self) -> TaskId {
        TaskId(Uuid::from_u128(self.last.saturating_add(1)))
    }
}

impl FromStr for TaskIdPrefix {
    type Err = String;

    /// Reads it as it is written in an id, with the dashes or without.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("the beginning of a task's id has {} to 32 hex digits, not {text:?}", Self::SHORTEST);
        let digits = text.replace('-', "");
        if !(Self::SHORTEST..=32).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let left = 4 * (32 - digits.len());
        let first = u128::from_str_radix(&digits, 16).map_err(|_| wrong())? << left;
        let in_place = Uuid::from_u128(first).hyphenated().to_string().starts_with(&text.to_ascii_lowercase());
        if text.contains('-') && !in_place {
            return Err(wrong());
        }
        Ok(Self { first, last: first | ((1 << left) - 1) })
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Rises with every assignment of an agent, also when it restarts in place. 0 is "never assigned"; the first
    /// assignment is 1. Whoever speaks with an older epoch is refused.
    Epoch
}
number! {
    /// Rises with every change of leader (a fencing token). A store refuses the writes and a worker the commands of a
    /// lower fence than the highest it has seen.
    Fence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_they_were_made() {
        let ids: Vec<AgentId> = (0..100).map(|_| AgentId::generate()).collect();
        assert!(ids.is_sorted());
    }

    #[test]
    fn the_first_id_of_a_moment_sorts_before_all_that_follow() {
        let before = TaskId::generate();
        let now = Timestamp::now();
        assert!(TaskId::first_at(now) < TaskId::generate());
        assert!(TaskId::first_at(Timestamp::from_millis(now.as_millis() + 1_000)) > before);
        assert!(TaskId::first_at(Timestamp::from_millis(-1)) < before);
        assert!(TaskId::first_at(Timestamp::from_millis(i64::MIN)) < before);
        for far in [1 << 48, 1 << 49, i64::MAX] {
            assert!(TaskId::first_at(Timestamp::from_millis(far)) > before, "{far}");
        }
    }

    #[test]
    fn a_beginning_is_a_range_of_ids() {
        let id: TaskId = "019aa000-0000-7000-8000-0000000000ff".parse().expect("an id");
        for text in ["019aa000", "019AA000-0", "019aa000-0000-", "019aa00000007", &id.to_string()] {
            let prefix: TaskIdPrefix = text.parse().expect(text);
            assert!(prefix.begins(id) && prefix.before() < id && id < prefix.behind(), "{text}");
            assert!(!prefix.begins(prefix.before()) && !prefix.begins(prefix.behind()), "{text}");
        }
        let other: TaskIdPrefix = "019aa001".parse().expect("a beginning");
        assert!(!other.begins(id));
        assert!(
            "ffffffff".parse::<TaskIdPrefix>().is_ok_and(|last| last.begins(last.behind())),
            "there is none behind"
        );
        for text in ["", "019aa00", "019aa00g", "019a-a000", "019aa0000-0", "+19aa0000", &format!("{id}0")] {
            assert!(text.parse::<TaskIdPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_id_survives_text_and_json() {
        let id = ProcessId::generate();
        assert_eq!(id.to_string().parse::<ProcessId>().ok(), Some(id));
        let json = serde_json::to_string(&id).expect("an id is a string");
        assert_eq!(json, format!("\"{id}\""));
    }

    #[test]
    fn epochs_and_fences_count_up_from_never() {
        assert_eq!(Epoch::default().next(), Epoch(1));
        assert!(Fence(7) < Fence(7).next());
    }
}
