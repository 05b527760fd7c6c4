//! The zone token with which a zone shows its global who it is.

use std::io;
use std::path::{Path, PathBuf};

use mesh_runtime::config::SecretText;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};

use super::file;

/// Where a zone's token is.
#[derive(Debug, Clone)]
pub enum Token {
    /// Here.
    Inline(SecretText),
    /// In a file, which is read for every connection: what is written there counts from the next
    /// one on.
    File(PathBuf),
}

/// Why there is no token. It is not shown.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the zone token in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has something else than a token.
    #[error("{origin} holds no zone token: {reason}")]
    NoToken {
        /// Where it should be.
        origin: String,
        /// What is there.
        reason: &'static str,
    },
}

impl Token {
    /// What a call says of it, under `authorization`.
    ///
    /// # Errors
    /// When it cannot be read, or is nothing that could be said.
    pub(super) async fn to_metadata(&self) -> Result<AsciiMetadataValue, TokenError> {
        let (text, origin) = match self {
            Self::Inline(text) => (text.clone(), "the configuration".to_owned()),
            Self::File(path) => (read(path).await?, path.display().to_string()),
        };
        let token = text.expose().trim();
        let no_token = |reason| TokenError::NoToken {
            origin: origin.clone(),
            reason,
        };
        if token.is_empty() {
            return Err(no_token("it is empty"));
        }
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_not_ascii| no_token("it has other characters than a token"))?;
        // Kept out of logs, and out of the tables of header compression.
        value.set_sensitive(true);
        Ok(value)
    }
}

async fn read(path: &Path) -> Result<SecretText, TokenError> {
    let failed = |source| TokenError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = file::read(path).await.map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_not_text| TokenError::NoToken {
        origin: path.display().to_string(),
        reason: "it is not text",
    })?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn said(token: &Token) -> Result<String, String> {
        let value = token.to_metadata().await;
        value
            .map(|value| value.to_str().unwrap().to_owned())
            .map_err(|error| {
                let source = std::error::Error::source(&error);
                format!(
                    "{error}: {}",
                    source.map(ToString::to_string).unwrap_or_default()
                )
            })
    }

    #[tokio::test]
    async fn a_file_is_read_anew_each_time_and_errors_do_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::File(path.clone());
        let missing = said(&token).await.unwrap_err();
        assert!(missing.contains(&path.display().to_string()), "{missing}");
        fs::write(&path, "first\n").unwrap();
        assert_eq!(said(&token).await.unwrap(), "Bearer first");
        fs::write(&path, "second").unwrap();
        assert_eq!(said(&token).await.unwrap(), "Bearer second");
        fs::write(&path, " \n").unwrap();
        assert!(said(&token).await.unwrap_err().contains("it is empty"));
        fs::write(&path, "hid\nden").unwrap();
        let odd = said(&token).await.unwrap_err();
        assert!(
            odd.contains("holds no zone token") && !odd.contains("hid"),
            "{odd}"
        );
        let folder = Token::File(folder.path().to_owned());
        assert!(said(&folder).await.unwrap_err().contains("not a file"));
    }

    #[tokio::test]
    async fn a_token_is_sensitive_and_never_debugged() {
        let token = Token::Inline("hidden".to_owned().into());
        let value = token.to_metadata().await.unwrap();
        assert!(value.is_sensitive());
        assert!(!format!("{token:?} {value:?}").contains("hidden"));
    }
}
