//! Certificate files of this host: what they hold, and whether that has changed.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;

/// More than any certificate with its chain has.
const MAX_FILE: u64 = 1 << 20;

/// What a file holds, or why it cannot be read.
pub(super) type Read = Result<Bytes, String>;

/// The files that gateways name, and what was seen of each when it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(BTreeMap<String, Used>);

#[derive(Debug, Clone)]
struct Used {
    /// How many meshes name it.
    count: usize,
    seen: Seen,
}

/// What tells whether a file is another one than before, or was written to; links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    File {
        device: u64,
        inode: u64,
        length: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    },
    Nothing(io::ErrorKind),
}

impl Seen {
    fn at(path: &str) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::of(&metadata),
            Err(error) => Self::Nothing(error.kind()),
        }
    }

    fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Files {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a file that a mesh names from now on.
    pub(super) fn acquire(&mut self, path: &str) -> Read {
        let (seen, read) = read(path);
        let used = self.0.entry(path.to_owned());
        let used = used.or_insert(Used { count: 0, seen });
        used.count += 1;
        read
    }

    /// A mesh does not name the file any more.
    pub(super) fn release(&mut self, path: &str) {
        if let Some(used) = self.0.get_mut(path) {
            used.count -= 1;
            if used.count == 0 {
                self.0.remove(path);
            }
        }
    }

    /// Reads the files that differ from what was seen of them.
    pub(super) fn look(&self) -> Vec<(String, Seen, Read)> {
        let differs = |(path, used): &(&String, &Used)| Seen::at(path) != used.seen;
        let changed = self.0.iter().filter(differs);
        let read = changed.map(|(path, _)| {
            let (seen, read) = read(path);
            (path.clone(), seen, read)
        });
        read.collect()
    }

    /// Takes note of what was seen; `false` if nobody names the file any more.
    pub(super) fn set(&mut self, path: &str, seen: Seen) -> bool {
        match self.0.get_mut(path) {
            Some(used) => {
                used.seen = seen;
                true
            }
            None => false,
        }
    }
}

/// Reads a file. What was seen of it is from before it was read, so that a change meanwhile
/// makes a difference the next time.
fn read(path: &str) -> (Seen, Read) {
    let seen = Seen::at(path);
    let read = read_file(path).map_err(|error| match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    });
    (seen, read)
}

fn read_file(path: &str) -> io::Result<Bytes> {
    // Before it is opened, for opening a pipe waits.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(content.into())
}
