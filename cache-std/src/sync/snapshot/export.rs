//! Writing a snapshot.

use core::hash::{BuildHasher, Hash};
use std::hash::RandomState;
use std::io::{self, BufWriter, Write};

use cache_core::store::envelope::{self, Header};
use cache_core::store::{Codec, KeyBytes};
use cache_core::{Contract, Entry, Explanation, Lifetime};

use super::format::{self, FRAME, Frame};
use super::{ExportError, Exported, Snapshot};

impl<K, V, C, S> Snapshot<'_, K, V, C, S>
where
    K: KeyBytes + Clone + Eq + Hash,
    V: Clone,
    C: Codec<V>,
    S: BuildHasher,
{
    /// Writes all entries that may still be served, fresh or not, while the cache is in use. Counts
    /// as no use of them.
    ///
    /// Each is written as it is at its turn, so this is no picture of one instant; which entries are
    /// met is what [`Cache::iter`](super::Cache::iter) says, and so is what of the cache is copied
    /// at a time. Values are cloned twice. No lock is held while bytes are written. What is known of
    /// keys that have no entry is not written. O(entries).
    ///
    /// Who writes to a file does well to write to a new one, sync it, and rename it in the end.
    ///
    /// # Errors
    /// The writer's. An entry that cannot be encoded is counted, and left out.
    pub fn export(&self, writer: impl Write) -> Result<Exported, ExportError> {
        let mut export = Export {
            writer: BufWriter::with_capacity(64 << 10, writer),
            salt: RandomState::new().hash_one(self.wall()),
            label: Vec::new(),
            envelope: Vec::new(),
            exported: Exported::default(),
        };
        self.write_all(&mut export).map_err(ExportError::Write)?;
        Ok(export.exported)
    }

    fn write_all<W: Write>(&self, export: &mut Export<W>) -> io::Result<()> {
        export.write_head()?;
        for (key, _) in self.cache {
            match self.look(&key) {
                Some(found) => self.write(&key, &found, export)?,
                None => export.exported.gone += 1,
            }
        }
        export.write_end()
    }

    /// An entry and its label, both of the same instant.
    fn look(&self, key: &K) -> Option<Found<V>> {
        let inner = &self.cache.inner;
        let (hash, now) = (inner.hash(key), inner.now());
        let desk = inner.tables.desk(hash);
        let entry = desk.entry(key, now).map(Entry::cloned)?;
        let label = desk.explain(key, now, &Contract::new());
        Some(Found { lifetime: entry.lifetime(now), value: entry.value, label })
    }

    fn write<W: Write>(&self, key: &K, found: &Found<V>, export: &mut Export<W>) -> io::Result<()> {
        let header = Header::new(C::ID, found.lifetime).schema(self.schema);
        let header = header.written_at(self.wall());
        let encode = |out: &mut Vec<u8>| self.codec.encode(&found.value, out);
        format::write_label(&found.label, &mut export.label);
        let encoded =
            envelope::encode(&header, (&key.key_bytes(), &[]), encode, &mut export.envelope);
        let fits = export.label.len() + export.envelope.len() <= self.max_entry;
        export.write_entry(encoded.is_ok() && fits)
    }
}

struct Found<V> {
    value: V,
    lifetime: Lifetime,
    label: Explanation,
}

/// An export under way.
struct Export<W: Write> {
    writer: BufWriter<W>,
    salt: u64,
    /// Of the entry that is written.
    label: Vec<u8>,
    envelope: Vec<u8>,
    exported: Exported,
}

impl<W: Write> Export<W> {
    fn write_head(&mut self) -> io::Result<()> {
        self.put(|export| export.writer.write_all(&format::head(export.salt)), format::HEAD)
    }

    /// Writes the entry, if it may be written.
    fn write_entry(&mut self, may: bool) -> io::Result<()> {
        let frame = Frame::entry(&self.label, &self.envelope, self.salt).filter(|_| may);
        let Some(frame) = frame else {
            self.exported.refused += 1;
            return Ok(());
        };
        let write = |export: &mut Self| {
            export.writer.write_all(&frame)?;
            export.writer.write_all(&export.label)?;
            export.writer.write_all(&export.envelope)
        };
        self.put(write, FRAME + self.label.len() + self.envelope.len())?;
        self.exported.entries += 1;
        Ok(())
    }

    fn write_end(&mut self) -> io::Result<()> {
        let end = Frame::end(self.exported.entries, self.salt);
        self.put(|export| export.writer.write_all(&end), FRAME)?;
        self.writer.flush()
    }

    fn put(
        &mut self,
        write: impl FnOnce(&mut Self) -> io::Result<()>,
        bytes: usize,
    ) -> io::Result<()> {
        write(self)?;
        self.exported.bytes += bytes as u64;
        Ok(())
    }
}
