//! Files that an operator writes by hand or by script: tokens, keys, certificates.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// More than any token has, or any bundle of certificates.
const LARGEST: u64 = 1 << 20;

/// What is in a file. May take as long as the file system does: a mount may hang that the path
/// leads to.
///
/// # Errors
/// When it cannot be read, is no regular file, or has more than 1 MiB.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    // Before it is opened, for opening a pipe waits.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    // The kernel says that its own are empty, which are made up while they are read, and may wait.
    if metadata.len() == 0 {
        return Ok(content);
    }
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > LARGEST) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_small_file_is_refused_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (length, is_read) in [
            (0, true),
            (1, true),
            (1 << 20, true),
            ((1 << 20) + 1, false),
        ] {
            fs::write(&path, vec![b'x'; length]).unwrap();
            match read(&path) {
                Ok(content) => assert_eq!((content.len(), true), (length, is_read)),
                Err(error) => {
                    assert!(!is_read);
                    assert_eq!(error.to_string(), "it is larger than 1 MiB");
                }
            }
        }
        assert_eq!(
            read(dir.path()).unwrap_err().to_string(),
            "it is not a file"
        );
        assert_eq!(
            read("/dev/zero").unwrap_err().to_string(),
            "it is not a file"
        );
        let missing = read(dir.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
