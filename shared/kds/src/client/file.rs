//! Small files of the operator's, which may change while a zone runs.

use std::io;
use std::path::Path;
use std::time::Duration;

use mesh_runtime::small_file;
use tokio::sync::oneshot;

/// How long a file may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Reads a file on a thread of its own: a mount may hang that the path leads to.
pub(super) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let (done, result) = oneshot::channel();
    let path = path.to_owned();
    let thread = std::thread::Builder::new().name("file".to_owned());
    drop(thread.spawn(move || {
        // Nobody may be left to hear it.
        let _ = done.send(small_file::read(&path));
    })?);
    match tokio::time::timeout(DEADLINE, result).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) | Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it takes longer than 2 s",
        )),
    }
}
