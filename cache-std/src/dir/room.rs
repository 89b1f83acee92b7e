//! The limit on all files together.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::files::Files;

/// How many bytes there may be, and about how many there are.
pub(super) struct Room {
    most: u64,
    used: Mutex<Used>,
    evicted: AtomicU64,
}

#[derive(Default)]
struct Used {
    /// Bytes by the last look at all files and what was done since; `None` before the first.
    bytes: Option<u64>,
    /// Bytes written since that look.
    written: u64,
    /// Somebody is looking.
    looking: bool,
}

impl Room {
    pub(super) fn new(most: u64) -> Self {
        Self { most, used: Mutex::default(), evicted: AtomicU64::new(0) }
    }

    pub(super) fn fits(&self, bytes: usize) -> bool {
        bytes as u64 <= self.most
    }

    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.most).unwrap_or(usize::MAX)
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file's size has changed.
    pub(super) fn changed(&self, before: u64, after: u64) {
        let mut used = self.used();
        used.bytes = used.bytes.map(|bytes| bytes.saturating_sub(before) + after);
        used.written = used.written.saturating_add(after);
    }

    /// What is known is not so any more.
    pub(super) fn forget(&self) {
        self.used().bytes = None;
    }

    /// Where there is too much, removes what was written longest ago, down to nine tenths: so that
    /// this, which looks at all files, is seldom done.
    pub(super) fn make(&self, files: &Files) -> io::Result<()> {
        if !self.begin_look() {
            return Ok(());
        }
        // Not under this lock: who holds a file's may wait for it.
        let left = self.evict(files);
        let mut used = self.used();
        *used = Used { bytes: left.as_ref().ok().copied(), ..Used::default() };
        left.map(drop)
    }

    /// Whether it is time to look at all files, and nobody else does.
    fn begin_look(&self) -> bool {
        let mut used = self.used();
        let known = used.bytes.filter(|_| used.written <= self.most / 10);
        if used.looking || known.is_some_and(|bytes| bytes <= self.most) {
            return false;
        }
        used.looking = true;
        true
    }

    /// Returns how many bytes there are afterwards.
    fn evict(&self, files: &Files) -> io::Result<u64> {
        let mut all = written(files)?;
        let mut bytes: u64 = all.iter().map(|file| file.bytes).sum();
        if bytes > self.most {
            all.sort_unstable_by_key(|file| file.at);
            for file in all {
                if bytes <= self.most / 10 * 9 {
                    break;
                }
                if files.evict(&file.path, file.at)? {
                    bytes = bytes.saturating_sub(file.bytes);
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(bytes)
    }
}

struct Written {
    at: SystemTime,
    bytes: u64,
    path: PathBuf,
}

fn written(files: &Files) -> io::Result<Vec<Written>> {
    let mut all = Vec::new();
    files.visit(|path| {
        // One that is gone by now takes up no room.
        if let Ok(found) = fs::metadata(path) {
            let (at, bytes) = (found.modified()?, found.len());
            all.push(Written { at, bytes, path: path.to_owned() });
        }
        Ok(())
    })?;
    Ok(all)
}
