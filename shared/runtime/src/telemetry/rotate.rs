//! A file that is set aside when it has grown, and the old ones removed by number and age.
//!
//! `cp.log` becomes `cp-2026-03-01T10-00-00.000.log`; the time in the name is when it was set
//! aside, and orders the files as text. A failure to set aside never loses a line: writing goes
//! on in the file that is open.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mesh_model::Timestamp;

/// When a file is set aside, and how long it is kept then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most bytes in the open file; a single larger write still goes through.
    pub(super) bytes: u64,
    /// The most files set aside; 0 is no limit.
    pub(super) files: usize,
    /// The most days since one was set aside; 0 is no limit.
    pub(super) days: u32,
}

/// The open file.
pub(super) struct RotatingFile {
    path: PathBuf,
    limits: Limits,
    now: fn() -> Timestamp,
    file: File,
    size: u64,
}

impl RotatingFile {
    /// Opens the file, and makes its directory if need be. What the file has is kept.
    pub(super) fn open(path: &Path, limits: Limits, now: fn() -> Timestamp) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        let this = Self {
            path: path.to_owned(),
            limits,
            now,
            file,
            size,
        };
        this.remove_old();
        Ok(this)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut at = (self.now)();
        let mut aside = self.aside(at);
        while aside.exists() {
            at = Timestamp::from_unix_nanos(at.unix_nanos().saturating_add(1_000_000));
            aside = self.aside(at);
        }
        match fs::rename(&self.path, &aside) {
            // Somebody else, such as logrotate, set it aside already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.file = append(&self.path)?;
        self.size = 0;
        self.remove_old();
        Ok(())
    }

    /// The name of the file if it is set aside at `at`.
    fn aside(&self, at: Timestamp) -> PathBuf {
        let (stem, extension) = self.name_parts();
        self.path
            .with_file_name(format!("{stem}{}{extension}", stamp(at)))
    }

    /// What is before and after the time in the name of a file set aside.
    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let stem = format!("{}-", text(self.path.file_stem()));
        let extension = match self.path.extension() {
            Some(extension) => format!(".{}", text(Some(extension))),
            None => String::new(),
        };
        (stem, extension)
    }

    /// Removes what is beyond the limits. A file that can't be removed is tried again next time.
    fn remove_old(&self) {
        let (stem, extension) = self.name_parts();
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut stamps: Vec<(String, PathBuf)> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let stamp = name.strip_prefix(&stem)?.strip_suffix(&extension)?;
                is_stamp(stamp).then(|| (stamp.to_owned(), entry.path()))
            })
            .collect();
        stamps.sort();
        let mut excess = match self.limits.files {
            0 => 0,
            files => stamps.len().saturating_sub(files),
        };
        if self.limits.days > 0 {
            let age = i64::from(self.limits.days) * 24 * 60 * 60 * 1_000_000_000;
            let oldest = (self.now)().unix_nanos().saturating_sub(age);
            let oldest = stamp(Timestamp::from_unix_nanos(oldest));
            excess = excess.max(stamps.partition_point(|(stamp, _)| *stamp < oldest));
        }
        for (_, path) in stamps.drain(..excess) {
            let _ = fs::remove_file(path);
        }
    }
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len() as u64;
        if self.size > 0 && self.size.saturating_add(len) > self.limits.bytes {
            // The line matters more than the size of the file. Trying again with each line
            // would cost a system call each, so wait until as much was written again.
            if self.rotate().is_err() {
                self.size = 0;
            }
        }
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// `2026-03-01T10-00-00.000`: no colons, which some file systems refuse, and of one length.
fn stamp(at: Timestamp) -> String {
    let seconds = Timestamp::from_unix_seconds(at.unix_seconds()).to_string();
    let millis = at.unix_nanos().rem_euclid(1_000_000_000) / 1_000_000;
    format!(
        "{}.{millis:03}",
        seconds.trim_end_matches('Z').replace(':', "-")
    )
}

fn is_stamp(text: &str) -> bool {
    let shape = "0000-00-00T00-00-00.000";
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(b, s)| match s {
            b'0' => b.is_ascii_digit(),
            _ => b == s,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00.5Z".parse().unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    const LIMITS: Limits = Limits {
        bytes: 10,
        files: 0,
        days: 0,
    };

    #[test]
    fn a_full_file_is_set_aside_and_no_line_is_lost_or_split() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cp.log");
        let mut file = RotatingFile::open(&path, LIMITS, noon).unwrap();
        for line in ["first\n", "second\n", "a much longer line\n", "end\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(
            names(dir.path()),
            [
                "cp-2026-03-01T12-00-00.500.log",
                "cp-2026-03-01T12-00-00.501.log",
                "cp-2026-03-01T12-00-00.502.log",
                "cp.log",
            ]
        );
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("cp-2026-03-01T12-00-00.500.log"), "first\n");
        assert_eq!(read("cp-2026-03-01T12-00-00.501.log"), "second\n");
        assert_eq!(read("cp.log"), "end\n");
    }

    #[test]
    fn a_file_that_is_there_is_continued_and_its_size_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "12345678").unwrap();
        let mut file = RotatingFile::open(&path, LIMITS, noon).unwrap();
        file.write_all(b"9").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "123456789");
        file.write_all(b"xx").unwrap();
        assert_eq!(names(dir.path()), ["log", "log-2026-03-01T12-00-00.500"]);
    }

    #[test]
    fn old_files_go_by_number_and_by_age_and_strangers_stay() {
        let dir = tempfile::tempdir().unwrap();
        let old = [
            "cp-2026-01-01T00-00-00.000.log",
            "cp-2026-02-27T00-00-00.000.log",
            "cp-2026-02-28T00-00-00.000.log",
            "cp-notes.log",
            "other-2026-01-01T00-00-00.000.log",
        ];
        let path = dir.path().join("cp.log");
        let kept = |limits| {
            for name in old {
                fs::write(dir.path().join(name), "").unwrap();
            }
            RotatingFile::open(&path, limits, noon).unwrap();
            let names = names(dir.path());
            old.map(|name| names.contains(&name.to_owned()))
        };
        assert_eq!(kept(LIMITS), [true; 5]);
        let days = Limits { days: 30, ..LIMITS };
        assert_eq!(kept(days), [false, true, true, true, true]);
        let files = Limits { files: 1, ..LIMITS };
        assert_eq!(kept(files), [false, false, true, true, true]);
    }

    #[test]
    fn a_file_that_somebody_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cp.log");
        let mut file = RotatingFile::open(&path, LIMITS, noon).unwrap();
        file.write_all(b"first line\n").unwrap();
        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        file.write_all(b"second line\n").unwrap();
        assert_eq!(fs::read_to_string(&moved).unwrap(), "first line\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "second line\n");
    }

    #[test]
    fn no_line_is_lost_when_a_file_cannot_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cp.log");
        let mut file = RotatingFile::open(&path, LIMITS, noon).unwrap();
        file.write_all(b"first line\n").unwrap();
        // Nothing can be begun in a directory that isn't there.
        file.path = dir.path().join("gone/cp.log");
        file.write_all(b"second line\n").unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "first line\nsecond line\n"
        );
    }
}
