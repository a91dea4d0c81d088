//! Versions of runtimes: by them a new supervisor knows which of the workers that it finds start programs by another definition
//! than the configuration has now. A worker gets its definition at its start and keeps it for its life.

use muster_domain::RuntimeProfile;
use sha2::{Digest, Sha256};

/// Bytes of a version: no two definitions of one runtime meet by chance.
const LENGTH: usize = 8;

/// The version of a definition: equal for equal ones, over restarts and upgrades of Muster. (So a field that a later Muster adds
/// must not be written where it has its default, else every upgrade makes all workers look old.)
pub(crate) fn version(profile: &RuntimeProfile) -> Option<String> {
    let text = serde_json::to_vec(profile).ok()?;
    Some(Sha256::digest(text).iter().take(LENGTH).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(text: &str) -> RuntimeProfile {
        serde_json::from_str(text).expect("a profile")
    }

    #[test]
    fn a_version_follows_the_definition_and_nothing_else() {
        let one = exec(r#"{"kind": "exec", "command": ["a"], "env": {"X": "1", "Y": "2"}}"#);
        let same = exec(r#"{"env": {"Y": "2", "X": "1"}, "command": ["a"], "start_timeout": 30, "kind": "exec"}"#);
        let env = exec(r#"{"kind": "exec", "command": ["a"], "env": {"X": "1", "Y": "3"}}"#);
        let command = exec(r#"{"kind": "exec", "command": ["a", "b"], "env": {"X": "1", "Y": "2"}}"#);
        assert_eq!(version(&one), version(&same));
        assert!(version(&one) != version(&env) && version(&one) != version(&command));
        // Kept in stores of installations: another text would make all their workers look old.
        assert_eq!(version(&RuntimeProfile::Echo).as_deref(), Some("063638b549d539a1"));
    }
}
