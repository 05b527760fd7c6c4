//! Files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The end of the name of a file that is not finished. After a crash there may be one.
pub const UNFINISHED: &str = "new";

/// Writes a file whole or not at all; it is on disk, under its name, when this returns. A reader
/// never sees a part of it, nor does a crash leave one.
///
/// `mode` is that of the new file, less the process's umask. One writer at a time: the unfinished
/// file is beside the other, under its name and [`UNFINISHED`].
///
/// # Errors
/// When it cannot be written. What was there before stays, and no unfinished file if that can be
/// helped.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = path.with_added_extension(UNFINISHED);
    write(&unfinished, content, mode)
        .and_then(|()| fs::rename(&unfinished, path))
        .inspect_err(|_| {
            // Best effort: the error to report is the one that stopped us.
            let _ = fs::remove_file(&unfinished);
        })?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // Left by a crash, perhaps with another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_a_crash_left_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let unfinished = dir.path().join("a.json.new");
        fs::write(&path, "old").unwrap();
        fs::write(&unfinished, "half").unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!unfinished.exists());
    }

    #[test]
    fn what_cannot_be_replaced_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new", 0o600).is_err());
        assert!(path.is_dir());
        assert!(!dir.path().join("folder.new").exists());
    }
}
