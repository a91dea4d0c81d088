//! Enums whose values are words: in the store, in JSON, in the API's document and for people. A value and its word are there once;
//! so are a variant with data and the word for it.

/// A type whose values are words.
pub trait Words: Copy + Sized + 'static {
    /// Every value, in the order in which they are listed.
    fn all() -> impl Iterator<Item = Self>;

    /// The word for it.
    fn word(self) -> &'static str;

    /// The value of this word.
    fn of_word(text: &str) -> Option<Self> {
        Self::all().find(|value| value.word() == text)
    }

    /// Every word.
    fn words() -> Vec<&'static str> {
        Self::all().map(Self::word).collect()
    }

    /// Every word, with commas between them.
    fn listed() -> String {
        Self::words().join(", ")
    }
}

/// Makes an enum whose values are words: `Variant = "word"`. Its JSON is the word.
#[macro_export]
macro_rules! words {
    (
        $(#[$doc:meta])*
        $vis:vis enum $name:ident { $($(#[$of_variant:meta])* $variant:ident = $word:tt),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$of_variant])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All of them.
            $vis const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word for it, in the store, in JSON and for people.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl $crate::words::Words for $name {
            fn all() -> impl Iterator<Item = Self> {
                Self::ALL.into_iter()
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

/// Makes an enum whose variants are named by words, and may hold data: `Variant { .. } = "word"`. Its JSON is an object with the word as
/// its `kind`.
#[macro_export]
macro_rules! kinds {
    (
        $(#[$doc:meta])*
        $vis:vis enum $name:ident {
            $($(#[$of_variant:meta])* $variant:ident $({ $($field:tt)* })? = $word:tt),+ $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind")]
        $vis enum $name {
            // The word is a token tree, since utoipa overlooks a name that is a macro's literal.
            $($(#[$of_variant])* #[serde(rename = $word)] $variant $({ $($field)* })?),+
        }

        impl $name {
            /// The words of all variants.
            $vis const KINDS: [&'static str; [$($word),+].len()] = [$($word),+];

            /// The word of its variant.
            $vis const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $word),+
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    crate::words! {
        /// Some.
        enum Colour {
            /// One.
            Red = "red",
            /// Another.
            DarkBlue = "dark-blue",
        }
    }

    crate::kinds! {
        /// Some.
        enum Shape {
            /// One without data.
            Dot = "dot",
            /// One with data.
            Circle {
                /// How wide.
                radius: u32,
            } = "round",
        }
    }

    #[test]
    fn a_variant_is_named_by_its_word() {
        assert_eq!(Shape::KINDS, ["dot", "round"]);
        for (shape, json) in
            [(Shape::Dot, json!({"kind": "dot"})), (Shape::Circle { radius: 2 }, json!({"kind": "round", "radius": 2}))]
        {
            assert_eq!(json["kind"], shape.kind());
            assert_eq!(serde_json::to_value(&shape).expect("an object"), json);
            assert_eq!(serde_json::from_value::<Shape>(json).expect("its own output"), shape);
        }
    }

    #[test]
    fn a_value_is_its_word() {
        assert_eq!(Colour::listed(), "red, dark-blue");
        assert_eq!((Colour::of_word("dark-blue"), Colour::of_word("blue")), (Some(Colour::DarkBlue), None));
        let json = serde_json::to_string(&Colour::DarkBlue).expect("a word");
        assert_eq!(json, "\"dark-blue\"");
        assert_eq!(serde_json::from_str::<Colour>(&json).expect("its own output"), Colour::DarkBlue);
    }
}
