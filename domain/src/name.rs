//! Names for people: an agent is easier to talk about as "Ada Brook" than as a UUID.

const FIRST: [&str; 48] = [
    "Ada", "Alan", "Amal", "Anna", "Barbara", "Boris", "Carla", "Chen", "Clara", "Dana", "Diego", "Edsger", "Elif",
    "Emil", "Erna", "Farah", "Felix", "Grace", "Hana", "Hugo", "Ida", "Ines", "Ivan", "Jana", "Joan", "Kaito", "Karen",
    "Lars", "Lea", "Leslie", "Linus", "Maya", "Mei", "Mira", "Nadia", "Nils", "Noor", "Olga", "Omar", "Paula", "Radia",
    "Rosa", "Samir", "Sofia", "Tara", "Tomas", "Vera", "Yuki",
];
const LAST: [&str; 40] = [
    "Alder", "Ash", "Bay", "Beck", "Birch", "Brook", "Cedar", "Cliff", "Cove", "Dale", "Dune", "Elm", "Fern", "Field",
    "Fjord", "Ford", "Glen", "Grove", "Heath", "Hill", "Holm", "Isle", "Juniper", "Lake", "Larch", "Lind", "Marsh",
    "Meadow", "Moor", "Oak", "Pine", "Reed", "Ridge", "Rowan", "Shore", "Stone", "Thorn", "Vale", "Wood", "Yew",
];

/// A name at random, e.g. `Ada Brook`. Names are not unique; ids are.
pub fn human_name() -> String {
    let pick = |names: &[&'static str]| names[fastrand::usize(..names.len())];
    format!("{} {}", pick(&FIRST), pick(&LAST))
}

/// How an agent is shown: its name and its role, e.g. `Ada Brook (business analyst)`.
pub fn display_name(human_name: &str, role_type: &str) -> String {
    format!("{human_name} ({})", role_type.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_two_words_and_shown_with_its_role() {
        let name = human_name();
        assert_eq!(name.split(' ').count(), 2, "{name}");
        assert_eq!(display_name("Ada Brook", "business_analyst"), "Ada Brook (business analyst)");
    }
}
