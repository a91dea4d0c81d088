//! What a database can hold of a text.
//!
//! PostgreSQL holds no NUL in a text, and only characters that the encoding of the database has. What programs print is not
//! chosen with that in mind, so a character that can't be held is written as JSON writes it: `\u0000`, `\ud83d\ude00`. JSON is
//! then read back as what it was; other text shows what it was.

use std::borrow::Cow;
use std::fmt::Write;

/// The characters that a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// All of them: UTF8, and SQL_ASCII, which looks at no byte.
    All,
    /// Those of LATIN1.
    Latin1,
    /// Those that every encoding has.
    Ascii,
}

impl Charset {
    /// That of a server's encoding, by its name.
    pub(super) fn of(server_encoding: &str) -> Self {
        match server_encoding {
            "UTF8" | "SQL_ASCII" => Self::All,
            "LATIN1" => Self::Latin1,
            _ => Self::Ascii,
        }
    }

    const fn holds(self, character: char) -> bool {
        character != '\0'
            && match self {
                Self::All => true,
                Self::Latin1 => (character as u32) < 0x100,
                Self::Ascii => character.is_ascii(),
            }
    }

    /// The text in a form that can be stored.
    pub(super) fn storable(self, text: &str) -> Cow<'_, str> {
        // Of all the texts that are stored hardly any has a NUL, and looking at bytes is quicker.
        let whole = match self {
            Self::All => !text.as_bytes().contains(&0),
            _ => text.chars().all(|character| self.holds(character)),
        };
        if whole {
            return Cow::Borrowed(text);
        }
        let mut storable = String::with_capacity(text.len() + 16);
        for character in text.chars() {
            if self.holds(character) {
                storable.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string can't fail.
                let _ = write!(storable, "\\u{unit:04x}");
            }
        }
        Cow::Owned(storable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_lacks_is_written_as_json_writes_it() {
        let text = "a\0b é 日 😀 \u{85}";
        assert_eq!(Charset::of("UTF8").storable(text), "a\\u0000b é 日 😀 \u{85}");
        assert_eq!(Charset::of("LATIN1").storable(text), "a\\u0000b é \\u65e5 \\ud83d\\ude00 \u{85}");
        assert_eq!(Charset::of("WIN1252").storable(text), "a\\u0000b \\u00e9 \\u65e5 \\ud83d\\ude00 \\u0085");
        assert!(matches!(Charset::of("UTF8").storable("é 日 😀"), Cow::Borrowed(_)), "nothing is copied");
        assert!(matches!(Charset::of("LATIN9").storable("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let json = serde_json::to_string("é 日 😀 \0").expect("JSON");
        for encoding in ["UTF8", "LATIN1", "EUC_JP"] {
            let stored = Charset::of(encoding).storable(&json).into_owned();
            assert_eq!(serde_json::from_str::<String>(&stored).expect("JSON"), "é 日 😀 \0", "{encoding}");
        }
    }
}
