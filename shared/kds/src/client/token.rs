//! The zone token with which a zone shows its global who it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_runtime::config::SecretText;
use tokio::sync::oneshot;
use tonic::metadata::{AsciiMetadataValue, MetadataValue};

/// How long a file may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than any token has.
const LARGEST: u64 = 64 << 10;

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

/// Reads a file on a thread of its own: a mount may hang that the path leads to.
async fn read(path: &Path) -> Result<SecretText, TokenError> {
    let failed = |source| TokenError::Read {
        path: path.to_owned(),
        source,
    };
    let (done, result) = oneshot::channel();
    let file = path.to_owned();
    let thread = std::thread::Builder::new().name("zone-token".to_owned());
    let reading = thread.spawn(move || {
        // Nobody may be left to hear it.
        let _ = done.send(read_file(&file));
    });
    drop(reading.map_err(failed)?);
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it takes longer than 2 s");
    match tokio::time::timeout(DEADLINE, result).await {
        Ok(Ok(read)) => read.map(SecretText::from).map_err(failed),
        Ok(Err(_)) | Err(_) => Err(failed(late())),
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::other("it is larger than 64 KiB"));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
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
