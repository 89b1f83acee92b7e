//! Where files lie, what they are called, and how they are changed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_core::store::envelope::{self, EnvelopeError, HEADER, Header};
use twox_hash::XxHash3_128;

use super::room::Room;

/// Parts of a namespace, each with a lock of its own.
const PARTS: usize = 256;

/// The files of one namespace.
pub(super) struct Files {
    folder: PathBuf,
    namespace: PathBuf,
    /// The part at which the next clean-up starts.
    next: AtomicUsize,
}

/// A part that nobody else changes, in this process or another.
pub(super) struct Locked<'a> {
    files: &'a Files,
    part: usize,
    /// Closing it ends the lock.
    _lock: File,
}

pub(super) enum Found {
    Nothing,
    /// More bytes than any entry of the key may have.
    TooLong,
    Bytes(Vec<u8>),
}

impl Files {
    pub(super) fn new(folder: PathBuf, namespace: &str) -> Self {
        let namespace = folder.join(escaped(namespace));
        Self { folder, namespace, next: AtomicUsize::new(0) }
    }

    pub(super) fn renamed(self, namespace: &str) -> Self {
        Self::new(self.folder, namespace)
    }

    pub(super) fn namespace(&self) -> &Path {
        &self.namespace
    }

    pub(super) fn read(&self, key: &[u8], limit: u64) -> io::Result<Found> {
        let (part, name) = place(key);
        let Some(file) = if_there(File::open(self.part(part).join(name)))? else {
            return Ok(Found::Nothing);
        };
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(if bytes.len() as u64 > limit { Found::TooLong } else { Found::Bytes(bytes) })
    }

    /// Locks the part where a key's file belongs.
    pub(super) fn lock(&self, key: &[u8]) -> io::Result<Locked<'_>> {
        let (part, _) = place(key);
        match self.lock_part(part)? {
            Some(locked) => Ok(locked),
            None => {
                fs::create_dir_all(self.part(part))?;
                self.lock_part(part)?.ok_or_else(|| ErrorKind::NotFound.into())
            }
        }
    }

    /// The same, unless there is no such part yet.
    pub(super) fn lock_existing(&self, key: &[u8]) -> io::Result<Option<Locked<'_>>> {
        self.lock_part(place(key).0)
    }

    fn lock_part(&self, part: usize) -> io::Result<Option<Locked<'_>>> {
        let path = self.part(part).join("lock");
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let Some(lock) = if_there(open)? else { return Ok(None) };
        lock.lock()?;
        Ok(Some(Locked { files: self, part, _lock: lock }))
    }

    fn part(&self, part: usize) -> PathBuf {
        self.namespace.join(format!("{part:02x}"))
    }

    /// Every file of an entry.
    pub(super) fn visit(&self, mut visit: impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        (0..PARTS).try_for_each(|part| self.visit_part(part, &mut visit))
    }

    fn visit_part(
        &self,
        part: usize,
        mut visit: impl FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(files) = if_there(fs::read_dir(self.part(part)))? else { return Ok(()) };
        for file in files {
            let path = file?.path();
            if path.file_name().is_some_and(|name| name.len() == NAME) {
                visit(&path)?;
            }
        }
        Ok(())
    }

    pub(super) fn remove_all(&self) -> io::Result<()> {
        for part in 0..PARTS {
            let Some(_locked) = self.lock_part(part)? else { continue };
            self.visit_part(part, remove)?;
        }
        Ok(())
    }

    /// Removes up to `budget` files that are `dead` or damaged, and tells how many.
    pub(super) fn remove_some(
        &self,
        dead: impl Fn(&Header) -> bool,
        budget: usize,
        room: &Room,
    ) -> io::Result<usize> {
        let mut removed = 0;
        let goes = |path: &Path| Ok::<_, io::Error>(header(path)?.is_none_or(|found| dead(&found)));
        for _ in 0..PARTS {
            if removed >= budget {
                break;
            }
            let part = self.next.load(Ordering::Relaxed) % PARTS;
            self.visit_part(part, |path| {
                if removed >= budget || !goes(path)? {
                    return Ok(());
                }
                let locked = self.lock_part(part)?;
                // Somebody may have written it anew before it was locked.
                if locked.is_some() && goes(path)? {
                    room.changed(size(path), 0);
                    remove(path)?;
                    removed += 1;
                }
                Ok(())
            })?;
            if removed < budget {
                self.next.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(removed)
    }

    /// Removes a file that was written before, unless it has been written again.
    pub(super) fn evict(&self, path: &Path, written: std::time::SystemTime) -> io::Result<bool> {
        let part = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let part = part.and_then(|part| usize::from_str_radix(part, 16).ok());
        let Some(_locked) = part.map_or(Ok(None), |part| self.lock_part(part))? else {
            return Ok(false);
        };
        let same =
            fs::metadata(path).and_then(|found| found.modified()).is_ok_and(|t| t == written);
        if same {
            remove(path)?;
        }
        Ok(same)
    }
}

impl Locked<'_> {
    pub(super) fn size(&self, key: &[u8]) -> u64 {
        size(&self.path(key))
    }

    fn path(&self, key: &[u8]) -> PathBuf {
        self.files.part(self.part).join(place(key).1)
    }

    /// The new file appears whole, or not at all.
    pub(super) fn write(&self, key: &[u8], bytes: &[u8]) -> io::Result<()> {
        // Nobody else writes in this part, and what a crash has left there is written over.
        let new = self.files.part(self.part).join("new");
        let written = File::create(&new).and_then(|mut file| file.write_all(bytes));
        let done = written.and_then(|()| fs::rename(&new, self.path(key)));
        if done.is_err() {
            // It takes up room, but harms nobody.
            let _ = remove(&new);
        }
        done
    }

    pub(super) fn remove(&self, key: &[u8]) -> io::Result<()> {
        remove(&self.path(key))
    }
}

/// Characters of a file's name.
const NAME: usize = 30;

/// The part of a key's file, and its name there.
fn place(key: &[u8]) -> (usize, String) {
    let hash = XxHash3_128::oneshot(key);
    ((hash >> 120) as usize, format!("{:030x}", hash & (u128::MAX >> 8)))
}

/// A name that is safe on every system, and a different one for each text.
fn escaped(name: &str) -> String {
    let safe = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let mut escaped = String::from("n-");
    for byte in name.bytes() {
        if safe(byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02x}"));
        }
    }
    if escaped.len() <= 100 {
        return escaped;
    }
    format!("h-{:032x}", XxHash3_128::oneshot(name.as_bytes()))
}

/// The header of a file; `None` where it is damaged beyond reading.
fn header(path: &Path) -> io::Result<Option<Header>> {
    let Some(file) = if_there(File::open(path))? else { return Ok(None) };
    let mut bytes = Vec::with_capacity(HEADER);
    file.take(HEADER as u64).read_to_end(&mut bytes)?;
    match envelope::decode_header(&bytes) {
        Ok((header, ..)) => Ok(Some(header)),
        // Not ours to judge: for ever alive.
        Err(EnvelopeError::Newer) => Ok(Some(Header::new(0, lasting()))),
        Err(_) => Ok(None),
    }
}

fn lasting() -> cache_core::Lifetime {
    cache_core::Lifetime::fresh_for(core::time::Duration::MAX)
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// A file that is gone already has been removed.
fn remove(path: &Path) -> io::Result<()> {
    if_there(fs::remove_file(path)).map(drop)
}

fn if_there<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_apart() {
        let names = ["", "a", "A", "..", "a/b", "a\\b", "a%2fb", "nul\0", "ä", "default"];
        let long: Vec<_> = (0..3).map(|n| "x".repeat(200 + n)).collect();
        let mut escapes: Vec<_> =
            names.into_iter().chain(long.iter().map(String::as_str)).map(escaped).collect();
        assert!(escapes.iter().all(|name| name.len() <= 100));
        assert!(
            escapes
                .iter()
                .flat_map(|name| name.chars())
                .all(|c| { c.is_ascii_lowercase() || c.is_ascii_digit() || "-_%".contains(c) })
        );
        escapes.sort();
        escapes.dedup();
        assert_eq!(escapes.len(), names.len() + long.len());
    }

    /// What is stored today must be found by every later version.
    #[test]
    fn files_stay_where_they_are() {
        let (part, name) = place(b"key");
        assert_eq!((part, name.as_str()), (0xa4, "bdf4e564564cf8bbea0d63a05165e3"));
    }
}
