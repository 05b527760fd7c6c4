//! Names as newtypes, parsed once where they enter.
//!
//! Every constructor checks; serde goes through the same check, so YAML cannot get round it.
//! Names are shared (`Arc<str>`): cloning one is a counter increment.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// The text is empty.
    #[error("cannot be empty")]
    Empty,
    /// The text is longer than the kind of name allows.
    #[error("must be no more than {max} characters long, this one has {actual}")]
    TooLong {
        /// The most characters allowed.
        max: usize,
        /// How many there were.
        actual: usize,
    },
    /// A character that the kind of name does not allow.
    #[error("invalid character {found:?}: {allowed}")]
    Character {
        /// The first offending character.
        found: char,
        /// What is allowed instead, as a sentence.
        allowed: &'static str,
    },
    /// The right characters in the wrong places.
    #[error("{rule}")]
    Shape {
        /// The rule, as a sentence.
        rule: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// The first rule of this kind of name that `text` breaks.
            pub fn parse(text: &str) -> Result<Self, ParseNameError> {
                $parse(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The name as shared text.
            pub fn to_shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseNameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.to_string()
            }
        }
    };
}

name! {
    /// The name of a mesh: digits, lower-case letters, `-`, `_`, `.`; 1 to 253 characters.
    MeshName, parse_lenient
}

name! {
    /// The name of a resource within its type and mesh: digits, lower-case letters, `-`, `_`,
    /// `.`; 1 to 253 characters.
    ///
    /// This is what a store or a peer may hold. Creating a resource through the admin API asks
    /// for more: see [`parse_strict`].
    ResourceName, parse_lenient
}

name! {
    /// The name of a zone: a DNS name of at most 63 characters.
    ZoneName, parse_zone
}

/// The most characters of a resource or mesh name.
pub const MAX_LEN: usize = 253;

const LENIENT: &str = "only digits, lower-case letters, '-', '_' and '.' are allowed";

fn parse_lenient(text: &str) -> Result<(), ParseNameError> {
    check_len(text, MAX_LEN)?;
    match text
        .chars()
        .find(|c| !matches!(c, '0'..='9' | 'a'..='z' | '-' | '_' | '.'))
    {
        Some(found) => Err(ParseNameError::Character {
            found,
            allowed: LENIENT,
        }),
        None => Ok(()),
    }
}

fn parse_zone(text: &str) -> Result<(), ParseNameError> {
    check_len(text, 63)?;
    parse_strict(text)
}

/// Checks the stricter rule for names of new resources: an RFC 1123 subdomain, that is
/// dot-separated labels of lower-case letters, digits and inner dashes, 1 to 253 characters.
///
/// # Errors
/// The first rule that `text` breaks.
pub fn parse_strict(text: &str) -> Result<(), ParseNameError> {
    check_len(text, MAX_LEN)?;
    for label in text.split('.') {
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
            return Err(ParseNameError::Shape {
                rule: "must start and end with a letter or digit, as must each part between dots",
            });
        }
        if let Some(found) = label
            .chars()
            .find(|c| !matches!(c, '0'..='9' | 'a'..='z' | '-'))
        {
            return Err(ParseNameError::Character {
                found,
                allowed: "only digits, lower-case letters, '-' and '.' are allowed",
            });
        }
    }
    Ok(())
}

fn check_len(text: &str, max: usize) -> Result<(), ParseNameError> {
    match text.chars().count() {
        0 => Err(ParseNameError::Empty),
        actual if actual > max => Err(ParseNameError::TooLong { max, actual }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_name_may_have_underscores_but_no_capitals_or_spaces() {
        assert!(ResourceName::parse("edge_1.zone-1").is_ok());
        assert!(ResourceName::parse("Edge").is_err());
        assert!(ResourceName::parse("a b").is_err());
        assert_eq!(ResourceName::parse(""), Err(ParseNameError::Empty));
        assert!(ResourceName::parse(&"a".repeat(254)).is_err());
    }

    #[test]
    fn a_new_name_is_an_rfc_1123_subdomain() {
        assert!(parse_strict("edge-1.zone-1").is_ok());
        for bad in ["edge_1", "-edge", "edge-", ".edge", "edge.", "a..b"] {
            assert!(parse_strict(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_zone_name_fits_a_dns_label() {
        assert!(ZoneName::parse("eu-west-1").is_ok());
        assert!(ZoneName::parse(&"z".repeat(64)).is_err());
        assert!(ZoneName::parse("Zone").is_err());
    }

    #[test]
    fn serde_checks_names() {
        assert!(serde_json::from_str::<MeshName>("\"default\"").is_ok());
        assert!(serde_json::from_str::<MeshName>("\"De fault\"").is_err());
    }
}
