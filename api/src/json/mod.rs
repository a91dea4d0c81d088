//! What bodies have in common: the rules for texts and durations in them, and the configuration of a pool; pages of lists; and how
//! the document describes enums.

mod page;
mod pool_config;
mod unseen;
mod variants;
mod words;

pub(crate) use page::page;
pub(crate) use pool_config::{ConfigPatch, describe as describe_pool_config};
pub(crate) use variants::describe as describe_variants;
pub(crate) use words::{describe as describe_words, one_of, some_of};

use std::time::Duration;

use muster_domain::time::LONGEST;

use crate::problem::Problem;

/// A number of seconds as a duration. What is too short is the supervisor's to say.
pub(crate) fn duration(field: &str, seconds: Option<f64>) -> Result<Option<Duration>, Problem> {
    match seconds {
        Some(seconds) if !(0.0..=LONGEST.as_secs_f64()).contains(&seconds) => {
            Err(Problem::invalid_field(field, format!("{field} is 0 to {} seconds, not {seconds}", LONGEST.as_secs())))
        }
        seconds => Ok(seconds.map(Duration::from_secs_f64)),
    }
}

/// Refuses a name with control characters, since no database keeps a NUL, and a line break would forge lines of a log; and one
/// with characters that nobody sees, since it looks like another one. How long it may be is the supervisor's to say.
pub(crate) fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid_field(field, format!("{field} may not have control characters")));
    }
    if let Some(unseen) = text.chars().find(|c| unseen::is_unseen(*c)) {
        let words = format!("{field} may not have characters that nobody sees, as U+{:04X} in it", u32::from(unseen));
        return Err(Problem::invalid_field(field, words));
    }
    Ok(())
}

/// The same of a name that is a part of a path: `.` and `..` never arrive there, since clients take them out.
pub(crate) fn check_path_text(field: &str, text: &str) -> Result<(), Problem> {
    if matches!(text, "." | "..") {
        return Err(Problem::invalid_field(field, format!("{field} may not be {text:?}")));
    }
    check_text(field, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_control_characters() {
        for good in ["p", "Projekt B\u{e4}r / 7", "\u{1f980}"] {
            assert!(check_text("project_id", good).is_ok(), "{good}");
        }
        let unseen = ["shop\u{202e}", "\u{feff}shop", "sh\u{ad}op", "sh\u{200b}op", "shop\u{e0041}", "a\u{2028}b"];
        for bad in ["a\u{0}b", "line\nbreak", "\u{7f}", "\u{85}"].into_iter().chain(unseen) {
            assert_eq!(check_text("project_id", bad).expect_err("refused").code(), "invalid_field", "{bad:?}");
        }
        let told = check_text("project_id", "shop\u{202e}").expect_err("refused");
        assert!(told.detail().contains("U+202E"), "{}", told.detail());
        for (name, is_good) in [(".", false), ("..", false), ("...", true), ("a.b", true)] {
            assert_eq!(check_path_text("project_id", name).is_ok(), is_good, "{name}");
        }
    }
}
