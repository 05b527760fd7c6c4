//! The marker file, by which a directory is known to be ours before anything in it is touched.
//!
//! It is the first file of a store and says its format, role and identity. It is replaced by
//! writing a temporary file, syncing it, renaming it and syncing the directory. While it says
//! `creating`, nothing was ever acknowledged; once it says `ready`, a missing log is a loss and
//! not a first start.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::{self, io_error};
use super::{OpenError, Role};
use crate::StoreId;

/// The marker's name in the store's directory.
pub(super) const NAME: &str = "meridian-store.json";
const TEMPORARY: &str = "meridian-store.json.new";

/// The format that this release writes, and the newest that it reads.
const FORMAT: u64 = 1;

/// How far the creation of a store has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stage {
    /// It holds nothing yet.
    Creating,
    /// It was opened once; its log is there.
    Ready,
}

/// What the marker says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marker {
    pub(super) role: Role,
    pub(super) id: StoreId,
    pub(super) stage: Stage,
}

/// The part that every format has.
#[derive(Deserialize)]
struct Head {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Text {
    format: u64,
    role: String,
    id: Uuid,
    stage: Stage,
}

impl Marker {
    /// A new store's.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            id: StoreId::random(),
            stage: Stage::Creating,
        }
    }

    /// Reads the marker of `dir`; `None` when the directory is empty or holds only what an
    /// interrupted first start can leave.
    pub(super) fn read(dir: &Path, role: Role) -> Result<Option<Self>, OpenError> {
        let path = dir.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let names = files::names(dir).map_err(io_error("list", dir))?;
                let foreign = names
                    .iter()
                    .find(|n| n.as_os_str() != OsStr::new(TEMPORARY));
                return match foreign {
                    None => Ok(None),
                    Some(name) => Err(OpenError::Foreign {
                        path,
                        found: name.to_string_lossy().into_owned(),
                    }),
                };
            }
            Err(source) => return Err(io_error("read", path)(source)),
        };
        let damaged = |source| OpenError::Marker {
            path: path.clone(),
            source,
        };
        let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
        if head.format > FORMAT {
            return Err(OpenError::Newer {
                path,
                found: head.format,
                known: FORMAT,
            });
        }
        let text: Text = serde_json::from_slice(&text).map_err(damaged)?;
        if text.role != role.as_str() {
            return Err(OpenError::OtherRole {
                path,
                found: text.role,
                expected: role,
            });
        }
        Ok(Some(Self {
            role,
            id: StoreId(text.id),
            stage: text.stage,
        }))
    }

    /// Writes the marker of `dir`, durably and in one step.
    pub(super) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let text = serde_json::to_string(&Text {
            format: FORMAT,
            role: self.role.as_str().to_owned(),
            id: self.id.0,
            stage: self.stage,
        })
        .expect("text, numbers and a UUID have a JSON form");
        let temporary = dir.join(TEMPORARY);
        File::create(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.write_all(b"\n")?;
                file.sync_all()
            })
            .map_err(io_error("write", &temporary))?;
        let path = dir.join(NAME);
        fs::rename(&temporary, &path).map_err(io_error("create", &path))?;
        files::sync_path(dir).map_err(io_error("sync", dir))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
