//! The Dataplane's token: given as a file or as text, checked for what can be seen from here.
//!
//! Whether it is valid only the control plane knows; but a file that holds something else is
//! better told at the start than by streams that fail.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A token and the file that it lies in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub text: String,
    pub path: PathBuf,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.path.display())
    }
}

/// Why there is no token to send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot read the token from {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write the token to {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the token in {} {fault}; `meridian generate dataplane-token` makes one", path.display())]
    NotAToken { path: PathBuf, fault: &'static str },
}

impl Token {
    /// Reads a token from a file.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let text = fs::read_to_string(path).map_err(|source| TokenError::Read {
            path: path.to_owned(),
            source,
        })?;
        let text = text.trim().to_owned();
        check(&text).map_err(|fault| TokenError::NotAToken {
            path: path.to_owned(),
            fault,
        })?;
        Ok(Self {
            text,
            path: path.to_owned(),
        })
    }

    /// Writes a token given as text to a file that only this user can read.
    pub(crate) fn write(text: &str, path: &Path) -> Result<Self, TokenError> {
        private_file(path, text.as_bytes()).map_err(|source| TokenError::Write {
            path: path.to_owned(),
            source,
        })?;
        Self::read(path)
    }
}

/// Writes a file that only this user can read, also where one with other rights is there.
pub(crate) fn private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(content)
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err("has more than one line");
    }
    let header = text.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).ok();
    let header: Option<Value> = header.and_then(|json| serde_json::from_slice(&json).ok());
    match header {
        Some(Value::Object(_)) => Ok(()),
        _ => Err("is not a JSON web token"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";

    #[test]
    fn what_is_no_token_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (content, expected) in [
            ("", "is empty"),
            ("\n", "is empty"),
            ("garbage", "is not a JSON web token"),
            ("eyJhbGciOiJSUzI1NiJ9.e30\n.c2ln", "has more than one line"),
            ("eyJhbGciOiJSUzI1NiJ9.e30\0.c2ln", "has more than one line"),
            ("W10.e30.c2ln", "is not a JSON web token"),
        ] {
            fs::write(file.path(), content).unwrap();
            let error = Token::read(file.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{content:?}: {error}");
        }
        fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
        assert_eq!(Token::read(file.path()).unwrap().text, TOKEN);
    }

    #[test]
    fn a_token_given_as_text_lies_where_only_we_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("edge");
        fs::write(&path, "left by somebody, readable by all").unwrap();
        let token = Token::write(TOKEN, &path).unwrap();
        assert_eq!(token.text, TOKEN);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!format!("{token:?}").contains(TOKEN));
    }
}
