//! What somebody may have meant by a word that nobody knows.

use strsim::osa_distance;

/// The candidate that needs the fewest changes (insertions, deletions and replacements of one character, swaps of two neighbours) to
/// become `word`, with their number. One that needs more than a change per three characters is not what was meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    let most = (own_part(word).chars().count() / 3).max(1);
    let counted = candidates.into_iter().map(|candidate| (candidate, osa_distance(word, candidate)));
    counted.min_by_key(|(_, changes)| *changes).filter(|(_, changes)| *changes <= most)
}

/// What a key or a variable has for itself: what stands before it is that of many others, and makes no two of them alike.
fn own_part(word: &str) -> &str {
    match word.rsplit_once('.') {
        Some((_, last)) => last,
        None => word.strip_prefix("MUSTER_").unwrap_or(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_the_one_with_the_fewest_changes() {
        assert_eq!(nearest("max_agentz", ["max_workers", "max_agents"]), Some(("max_agents", 1)));
        assert_eq!(nearest("max_aegnts", ["max_workers", "max_agents"]), Some(("max_agents", 1)), "a swap is one");
        assert_eq!(nearest("colour", ["max_workers", "listen"]), None, "nothing is near");
        assert_eq!(nearest("x", []), None);
    }
}
