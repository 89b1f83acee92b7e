//! What came of an export or an import.

use core::fmt;
use std::io;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Entries that were written.
    pub entries: u64,
    /// Bytes that were written, all in all.
    pub bytes: u64,
    /// Entries that were left out: their codec failed, or they are too large.
    pub refused: u64,
    /// Entries that left the cache while it was written.
    pub gone: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Entries that were put into the cache. What it had no room for may be evicted already.
    pub entries: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Entries left out because nothing may serve them any more.
    pub expired: u64,
    /// Entries left out because of what the cache knows of their keys: a fresh entry, or one that is
    /// no older; that the origin has none; a load under way.
    pub present: u64,
    /// Entries that the cache did not take: too heavy for it, or it keeps nothing.
    pub not_kept: u64,
    /// Entries left out because they are larger than is read.
    pub too_large: u64,
    /// Entries left out because they are of another codec, schema or type, or written by a later
    /// version of the library.
    pub foreign: u64,
    /// Places where bytes are damaged or missing. Each costs an entry, or a few that follow one
    /// another.
    pub corrupt: u64,
    /// Every entry of the snapshot was met, left out or not.
    pub whole: bool,
}

/// Why a snapshot was not written to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ExportError {
    /// The writer failed. What it has taken can be imported, up to where it ends.
    Write(io::Error),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(error) => write!(f, "the snapshot could not be written: {error}"),
        }
    }
}

impl core::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Write(error) => Some(error),
        }
    }
}

/// Why a snapshot was not read. Damage to a part of it is no error: see [`Imported`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The bytes are no snapshot. Nothing was imported.
    Foreign,
    /// The first bytes are damaged, or there are too few. Nothing was imported.
    Damaged,
    /// A later version of the library wrote it, in this version of the format. Nothing was imported.
    #[non_exhaustive]
    Newer {
        /// The format's version.
        version: u8,
    },
    /// The reader failed.
    #[non_exhaustive]
    Read {
        /// What it said.
        error: io::Error,
        /// What was imported before.
        imported: Imported,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("this is no snapshot of a cache"),
            Self::Damaged => f.write_str("the start of the snapshot is damaged"),
            Self::Newer { version } => {
                write!(f, "the snapshot is of version {version}, which only later versions read")
            }
            Self::Read { error, .. } => write!(f, "the snapshot could not be read: {error}"),
        }
    }
}

impl core::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}
