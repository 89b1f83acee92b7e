//! Reading a snapshot.

use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use std::io::{self, Read};

use cache_core::shard::Spare;
use cache_core::store::envelope::{self, Envelope, EnvelopeError, Header};
use cache_core::store::{Codec, KeyFromBytes, Stored};
use cache_core::{Contract, Lifetime, Loaded, Put};

use super::format::{self, Frame, HEAD, Head, Kind};
use super::stream::Stream;
use super::{ImportError, Imported, Snapshot};
use crate::second::{Found, Second, ThreadTimer};

impl<K, V, C, S> Snapshot<'_, K, V, C, S>
where
    K: KeyFromBytes + Clone + Eq + Hash,
    V: Clone,
    C: Codec<V>,
    S: BuildHasher,
{
    /// Reads a snapshot into the cache, which may be in use.
    ///
    /// Ages go on: what has passed since the export, by the wall clocks of then and now, counts,
    /// unless [`paused`](Self::paused) says otherwise. Where the clock went back, no time has passed.
    /// An entry never takes the place of a fresh one, of one that is no older, or of a load under way.
    /// A store behind the cache gets what the cache gets. The cache stays within its bounds: of more
    /// entries than it may hold, some are evicted. What was invalidated since the export comes back,
    /// so a snapshot is best read before the cache is used.
    ///
    /// Of the reader, no byte behind the snapshot is read; put a
    /// [`BufReader`](std::io::BufReader) around a file. O(bytes).
    ///
    /// # Errors
    /// The bytes do not start as a snapshot does, or the reader fails. Damage further on is counted.
    pub fn import(&self, reader: impl Read) -> Result<Imported, ImportError> {
        let mut import = Import { stream: Stream::new(reader), imported: Imported::default() };
        let salt = match import.read_head().map_err(|error| import.failed(error))? {
            Head::Salt(salt) => salt,
            Head::Foreign => return Err(ImportError::Foreign),
            Head::Damaged => return Err(ImportError::Damaged),
            Head::Newer(version) => return Err(ImportError::Newer { version }),
        };
        self.read_all(&mut import, salt).map_err(|error| import.failed(error))?;
        Ok(import.counted())
    }

    fn read_all<R: Read>(&self, import: &mut Import<R>, salt: u64) -> io::Result<()> {
        let mut met = 0;
        // Damage that was counted goes on until a record is whole again.
        let mut damaged = false;
        loop {
            let (frame, noise) = import.stream.frame(salt)?;
            import.count_damage(noise, &mut damaged);
            let Some(frame) = frame else { return Ok(()) };
            if let Kind::End(entries) = frame.kind {
                import.imported.whole = met == entries;
                return Ok(());
            }
            let whole = self.read_record(import, &frame, salt)?;
            import.count_damage(!whole, &mut damaged);
            damaged &= !whole;
            met += u64::from(whole && matches!(frame.kind, Kind::Entry(_)));
        }
    }

    /// Reads what follows a frame, and says whether it was undamaged.
    fn read_record<R: Read>(
        &self,
        import: &mut Import<R>,
        frame: &Frame,
        salt: u64,
    ) -> io::Result<bool> {
        let Import { stream, imported } = import;
        let Kind::Entry(sum) = frame.kind else {
            imported.foreign += 1;
            return stream.skip(frame.len());
        };
        let Some(len) = usize::try_from(frame.len()).ok().filter(|len| *len <= self.max_entry)
        else {
            imported.too_large += 1;
            return stream.skip(frame.len());
        };
        let parts = stream.look(len)?.split_at_checked(frame.label as usize);
        let parts = parts.filter(|(label, _)| format::label_sum(label, salt) == sum);
        let entry = parts.map_or(Err(Unread::Corrupt), |parts| self.read_entry(parts));
        stream.pass(len);
        match entry.map(|entry| self.bring(entry)) {
            Ok(None) => imported.present += 1,
            Ok(Some(Put::Stored)) => imported.entries += 1,
            Ok(Some(_)) => imported.not_kept += 1,
            Err(Unread::Expired) => imported.expired += 1,
            Err(Unread::Foreign) => imported.foreign += 1,
            Err(Unread::Corrupt) => return Ok(false),
        }
        Ok(true)
    }

    /// The entry of a label and an envelope.
    fn read_entry(&self, (label, envelope): (&[u8], &[u8])) -> Result<Entry<K, V>, Unread> {
        let opened = envelope::decode(envelope).map_err(|error| match error {
            EnvelopeError::Newer => Unread::Foreign,
            _ => Unread::Corrupt,
        });
        let Envelope { header, key, value, .. } = opened?;
        if header.codec != C::ID || header.schema != self.schema {
            return Err(Unread::Foreign);
        }
        let lifetime = self.aged(&header);
        if lifetime.remaining().is_zero() {
            return Err(Unread::Expired);
        }
        let key = K::key_from_bytes(key).ok_or(Unread::Foreign)?;
        let value = self.codec.decode(value).map_err(|_| Unread::Foreign)?;
        let loaded = Stored::new(value, lifetime).into_loaded();
        let loaded = format::labelled(loaded, label).ok_or(Unread::Foreign)?;
        Ok(Entry { key, loaded, age: lifetime.age })
    }

    /// The entry's life by now.
    fn aged(&self, header: &Header) -> Lifetime {
        let written_at = header.written_at;
        let counts = !self.paused && written_at != 0;
        let passed = if counts { self.wall().saturating_sub(written_at) } else { 0 };
        let age = header.lifetime.age.saturating_add(Duration::from_nanos(passed));
        header.lifetime.aged(age)
    }

    /// Keeps an entry, unless the cache or the store behind it knows better.
    fn bring(&self, entry: Entry<K, V>) -> Option<Put<V>> {
        let inner = &*self.cache.inner;
        if inner.policy.load().freshness().is_none() {
            return entry.loaded.into_value().map(Put::NotKept);
        }
        match &inner.second {
            Some(second) => self.bring_to_both(second, entry),
            None => self.keep(entry),
        }
    }

    fn bring_to_both(&self, second: &Second<K, V>, entry: Entry<K, V>) -> Option<Put<V>> {
        let inner = &*self.cache.inner;
        let (hash, now) = (inner.hash(&entry.key), inner.now());
        let timer = ThreadTimer::new(&*inner.time);
        timer.block_on(async {
            let turn = second.turn(&timer, hash).await;
            if self.knows_better(&entry) {
                return None;
            }
            let (key, before) = (entry.key.clone(), inner.tables.desk(hash).tag_changes());
            // Others may have changed it meanwhile, or one of its tags; after this, they change memory themselves.
            let unless_overtaken = |tags: &[u64]| {
                let void = turn.unless_void(|| ()).is_none();
                if void || inner.tables.desk(hash).has_changed(tags, before) {
                    inner.tables.invalidate(hash, &key, inner.now());
                }
            };
            if let Found::Stored(found) = second.get(&timer, &entry.key, now, false).await
                && found.lifetime.outdoes(entry.age)
            {
                let tags = found.tags().to_vec();
                let (age, loaded) = (found.lifetime.age, found.into_loaded());
                self.keep(Entry { age, loaded, ..entry });
                unless_overtaken(&tags);
                return None;
            }
            let change = second.change_by(&entry.loaded, &inner.policy.load());
            second.change(&timer, (hash, &entry.key), &change, now).await;
            let tags = entry.loaded.tag_hashes().to_vec();
            let put = self.keep(entry);
            unless_overtaken(&tags);
            put
        })
    }

    fn knows_better(&self, entry: &Entry<K, V>) -> bool {
        let inner = &*self.cache.inner;
        let (hash, now) = (inner.hash(&entry.key), inner.now());
        let desk = inner.tables.desk(hash);
        desk.explain(&entry.key, now, &Contract::new()).outdoes(entry.age)
    }

    /// Keeps an entry in memory; `None` where that knows better.
    fn keep(&self, entry: Entry<K, V>) -> Option<Put<V>> {
        let (inner, Entry { key, loaded, age }) = (&*self.cache.inner, entry);
        let (hash, now, weight) = (inner.hash(&key), inner.now(), inner.weigh(&key, &loaded));
        let mut spare = Spare::storing(key.clone(), &loaded);
        let mut leaving = inner.tables.leaving_of(&key);
        let mut desk = inner.tables.desk(hash);
        let known = desk.explain(&key, now, &Contract::new()).outdoes(age);
        let put = if known {
            None
        } else {
            Some(desk.put(&key, now, &mut spare, loaded, (weight, false), &mut leaving))
        };
        desk.tick(now, &mut leaving);
        desk.close(&mut leaving);
        put
    }
}

/// An entry on its way into the cache.
struct Entry<K, V> {
    key: K,
    loaded: Loaded<V>,
    age: Duration,
}

/// Why a record is not imported.
enum Unread {
    Expired,
    Foreign,
    Corrupt,
}

/// An import under way.
struct Import<R> {
    stream: Stream<R>,
    imported: Imported,
}

impl<R: Read> Import<R> {
    fn read_head(&mut self) -> io::Result<Head> {
        let head = format::read_head(self.stream.look(HEAD)?);
        self.stream.pass(HEAD);
        Ok(head)
    }

    /// Counts damage where it begins.
    fn count_damage(&mut self, is: bool, already: &mut bool) {
        self.imported.corrupt += u64::from(is && !*already);
        *already |= is;
    }

    fn counted(&self) -> Imported {
        Imported { bytes: self.stream.read(), ..self.imported }
    }

    fn failed(&self, error: io::Error) -> ImportError {
        ImportError::Read { error, imported: self.counted() }
    }
}
