//! What a server means that answers and refuses, in words that an operator acts on.

use redis::{ErrorKind, RedisError};

/// The code of a refusal, or what its text contains, and what helps.
const ADVICE: [(&str, &str); 14] = [
    (
        "OOM",
        "it has no memory left (maxmemory is reached, and its policy evicts nothing): raise maxmemory, e.g. `redis-cli CONFIG \
         SET maxmemory 1gb`, or remove what others keep in it",
    ),
    (
        "READONLY",
        "it is a read-only replica: let redis.url name the primary, or make this one the primary (`redis-cli REPLICAOF NO ONE`)",
    ),
    (
        "MISCONF",
        "it can't write to its disk, and refuses writes until it can: make room there and see its log, or let it go on without \
         (`redis-cli CONFIG SET stop-writes-on-bgsave-error no`)",
    ),
    ("NOREPLICAS", "it has fewer replicas than min-replicas-to-write asks for: bring them back, or lower that"),
    ("MASTERDOWN", "it is a replica that has lost its primary: let redis.url name the primary"),
    ("NOPERM", "the user of redis.url lacks a right: `muster check` says which, and how to give it"),
    ("WRONGPASS", "the user or the password of redis.url is wrong: the server may have got another one"),
    ("NOAUTH", "it wants a password: put it into redis.url, as in redis://:PASSWORD@HOST:PORT"),
    ("max number of clients", "it takes no more connections: raise its maxclients"),
    (
        "unknown command",
        "a command was renamed or taken away in its configuration (rename-command): Muster needs it by its name",
    ),
    ("NOSCRIPT", "it does not keep scripts, and Muster needs them: is it a Redis or Valkey server?"),
    ("CLUSTERDOWN", "its cluster is down; Muster needs a server that is no part of a cluster"),
    ("MOVED", "it is part of a cluster; Muster needs a server that is no part of one"),
    ("CROSSSLOT", "it is part of a cluster; Muster needs a server that is no part of one"),
];

/// What helps against a refusal with this text; none where it is not known.
pub(super) fn advice(text: &str) -> Option<&'static str> {
    ADVICE.iter().find(|(sign, _)| text.contains(sign)).map(|(_, advice)| *advice)
}

/// A refusal in words: what helps, and what the server said.
pub(super) fn explain(text: &str) -> String {
    let text = text.trim_start_matches('-');
    advice(text).map_or_else(|| text.to_owned(), |advice| format!("{advice} (it says: {text})"))
}

/// The same for an error; none where the server refused nothing.
pub(super) fn explain_error(error: &RedisError) -> Option<String> {
    if error.kind() == ErrorKind::AuthenticationFailed && error.code().is_none() {
        return Some(explain(&format!("WRONGPASS {error}")));
    }
    let code = error.code()?;
    let text = error.detail().map_or_else(|| code.to_owned(), |detail| format!("{code} {detail}"));
    advice(&text).map(|_| explain(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_explained_whoever_wraps_it() {
        let texts = [
            ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory"),
            ("-READONLY You can't write against a read only replica.", "primary"),
            ("ERR Error running script (call to f_1): @user_script: 1: -MISCONF Redis is configured to save", "disk"),
            ("ERR unknown command 'EVALSHA', with args beginning with: ", "rename-command"),
        ];
        for (text, word) in texts {
            let words = explain(text);
            assert!(
                words.contains(word) && words.ends_with(&format!("(it says: {})", text.trim_start_matches('-'))),
                "{words}"
            );
        }
        assert_eq!(explain("ERR something else"), "ERR something else");
    }
}
