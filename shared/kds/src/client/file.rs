//! Small files of the operator's, which may change while a zone runs.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long a file may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than any token has, or any bundle of certificates.
const LARGEST: u64 = 1 << 20;

/// Reads a file on a thread of its own: a mount may hang that the path leads to.
pub(super) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (done, result) = oneshot::channel();
    let path = path.to_owned();
    let thread = std::thread::Builder::new().name("file".to_owned());
    drop(thread.spawn(move || {
        // Nobody may be left to hear it.
        let _ = done.send(read_now(&path));
    })?);
    match tokio::time::timeout(DEADLINE, result).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it takes longer than 2 s",
        )),
    }
}

fn read_now(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    if metadata.len() > LARGEST {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    fs::read(path)
}
