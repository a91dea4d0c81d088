//! How long the texts may be by which people know their projects, tenants and roles.

/// The longest id of a project, in characters.
pub const MAX_PROJECT_ID: usize = 128;
/// The longest name of a tenant, in characters.
pub const MAX_TENANT_NAME: usize = 128;
/// The longest role of a pool's agents, in characters.
pub const MAX_ROLE_TYPE: usize = 64;

/// Whether a text has 1 to `most` characters.
pub fn has_length(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count())
}

/// Refuses a text that is empty or has more than `most` characters, in words that begin with the field's name.
pub fn check_length(field: &str, text: &str, most: usize) -> Result<(), String> {
    if has_length(text, most) {
        return Ok(());
    }
    Err(format!("{field} must have 1 to {most} characters, not {}", text.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_in_characters() {
        for good in ["x", &"ü".repeat(MAX_PROJECT_ID)] {
            assert_eq!(check_length("project_id", good, MAX_PROJECT_ID), Ok(()));
        }
        let refused = check_length("project_id", "", MAX_PROJECT_ID).expect_err("nothing");
        assert_eq!(refused, "project_id must have 1 to 128 characters, not 0");
        assert!(check_length("role_type", &"x".repeat(65), MAX_ROLE_TYPE).is_err());
    }
}
