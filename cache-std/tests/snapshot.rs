//! Entries that leave a cache as bytes and come back: with their ages, after any damage.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use cache_core::store::{Codec, CodecError, Plain};
use cache_std::sync::{Builder, Cache, ExportError, Exported, ImportError, Imported, Snapshot};
use cache_std::{Clock, Entry, Freshness, Instant, Loaded, ManualTime, MemoryStore, Put};
use twox_hash::XxHash3_64;

const SECOND: Duration = Duration::from_secs(1);
/// Bytes before the first record, and of a record before its label.
const HEAD: usize = 32;
const FRAME: usize = 32;

type Texts = Cache<String, String>;
type TextsOf<'a> = Snapshot<'a, String, String, Plain>;

fn builder(time: &ManualTime) -> Builder<String, String> {
    let builder = Cache::builder().ttl(SECOND * 60).jitter_percent(0).time(time.clone());
    builder.stale_while_revalidate(SECOND * 30).stale_if_error(SECOND * 600)
}

fn texts(time: &ManualTime) -> Texts {
    builder(time).build().unwrap()
}

/// With a wall clock that goes with the virtual one.
fn snapshot<'a>(cache: &'a Texts, time: &ManualTime) -> TextsOf<'a> {
    let (time, origin) = (time.clone(), SystemTime::UNIX_EPOCH + SECOND * 1_700_000_000);
    cache.snapshot(Plain).wall_clock(move || origin + time.now().saturating_since(Instant::ORIGIN))
}

fn export(cache: &Texts, time: &ManualTime) -> (Vec<u8>, Exported) {
    let mut bytes = Vec::new();
    let exported = snapshot(cache, time).export(&mut bytes).unwrap();
    assert_eq!(exported.bytes, bytes.len() as u64);
    (bytes, exported)
}

fn import(cache: &Texts, time: &ManualTime, bytes: &[u8]) -> Imported {
    snapshot(cache, time).import(bytes).unwrap()
}

fn put(cache: &Texts, key: &str, value: impl Into<Loaded<String>>) {
    assert!(cache.put(key.to_owned(), value).is_stored());
}

fn all(cache: &Texts) -> BTreeMap<String, Entry<String>> {
    cache.iter().collect()
}

/// Some entries of all kinds: plain, with windows of their own, tags, an etag, stale.
fn some(time: &ManualTime) -> Texts {
    let cache = texts(time);
    put(&cache, "stale", "old".to_owned());
    time.advance(SECOND * 61);
    put(&cache, "plain", "a value".to_owned());
    put(&cache, "", "of no key".to_owned());
    put(&cache, "nul\0", String::new());
    put(
        &cache,
        "own",
        Loaded::value("own".to_owned())
            .ttl(SECOND * 7)
            .stale_while_revalidate(SECOND)
            .stale_if_error(SECOND),
    );
    put(&cache, "ever", Loaded::value("ever".to_owned()).ttl(Duration::MAX));
    let tagged = Loaded::value("tagged".to_owned()).tag("red").tag("blue").etag("v1");
    put(&cache, "tagged", tagged);
    time.advance(SECOND * 3);
    cache
}

/// Where the records of a snapshot begin, and where the last ends.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![HEAD];
    while let Some(frame) = bytes.get(starts[starts.len() - 1]..).filter(|b| b.len() >= FRAME) {
        let length = |at| u32::from_be_bytes(*frame[at..].first_chunk().unwrap()) as usize;
        starts.push(starts[starts.len() - 1] + FRAME + length(8) + length(12));
    }
    starts
}

#[test]
fn entries_come_back_with_exactly_their_ages_and_windows() {
    let time = ManualTime::new();
    let cache = some(&time);
    let (bytes, exported) = export(&cache, &time);
    assert_eq!((exported.entries, exported.refused, exported.gone), (7, 0, 0));
    let again = texts(&time);
    let imported = import(&again, &time, &bytes);
    assert_eq!((imported.entries, imported.corrupt, imported.whole), (7, 0, true));
    assert_eq!(imported.bytes, bytes.len() as u64);
    assert_eq!(all(&again), all(&cache));
    assert_eq!(again.entry("plain").unwrap().age(time.now()), SECOND * 3);
    assert_eq!(again.freshness("stale"), Some(Freshness::Stale));
    assert_eq!(again.explain("tagged").etag(), Some("v1"));
}

#[test]
fn the_time_between_makes_entries_older_unless_it_is_not_to_count() {
    let time = ManualTime::new();
    let cache = some(&time);
    let (bytes, _) = export(&cache, &time);
    let age = |cache: &Texts, time: &ManualTime| cache.entry("plain").unwrap().age(time.now());
    time.advance(SECOND * 20);
    let (later, paused) = (texts(&time), texts(&time));
    let imported = import(&later, &time, &bytes);
    // "own" was served for 8 seconds, of which 3 had passed.
    assert_eq!((imported.entries, imported.expired, imported.whole), (6, 1, true));
    assert_eq!(age(&later, &time), SECOND * 23);
    assert_eq!(all(&later), all(&cache));
    snapshot(&paused, &time).paused().import(&bytes[..]).unwrap();
    assert_eq!(age(&paused, &time), SECOND * 3);
}

#[test]
fn a_wall_clock_that_went_back_lets_no_time_pass() {
    let time = ManualTime::new();
    let (bytes, _) = export(&some(&time), &time);
    for clock in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - SECOND] {
        let cache = texts(&time);
        let imported = cache.snapshot(Plain).wall_clock(move || clock).import(&bytes[..]).unwrap();
        assert_eq!(imported.entries, 7);
        assert_eq!(cache.entry("plain").unwrap().age(time.now()), SECOND * 3);
    }
    // One that was not set when the snapshot was written says nothing either.
    let (cache, mut bytes) = (some(&time), Vec::new());
    cache.snapshot(Plain).wall_clock(|| SystemTime::UNIX_EPOCH).export(&mut bytes).unwrap();
    let again = texts(&time);
    assert_eq!(import(&again, &time, &bytes).entries, 7);
    assert_eq!(all(&again), all(&cache));
}

#[test]
fn tags_still_reach_what_came_back() {
    let time = ManualTime::new();
    let cache = some(&time);
    cache.expire_tag("red");
    let (bytes, _) = export(&cache, &time);
    let again = texts(&time);
    import(&again, &time, &bytes);
    assert_eq!(again.freshness("tagged"), Some(Freshness::Stale), "expired before the export");
    again.invalidate_tag("green");
    assert!(again.freshness("tagged").is_some());
    again.invalidate_tag("blue");
    assert_eq!((again.freshness("tagged"), again.iter().count()), (None, 6));
    assert!(again.contains("plain"));
    cache.invalidate_tag("red");
    assert_eq!(export(&cache, &time).1.entries, 6);
}

#[test]
fn what_is_cut_short_loses_what_is_behind_the_cut() {
    let time = ManualTime::new();
    let cache = some(&time);
    let (bytes, _) = export(&cache, &time);
    let (records, all) = (records(&bytes), all(&cache));
    for len in 0..bytes.len() {
        let again = texts(&time);
        let answer = snapshot(&again, &time).import(&bytes[..len]);
        let Ok(imported) = answer else {
            assert!(len < HEAD && matches!(answer, Err(ImportError::Damaged)), "{len} bytes");
            continue;
        };
        let whole = records.iter().filter(|start| **start <= len).count() - 1;
        let cut = u64::from(!records.contains(&len));
        assert_eq!((imported.entries, imported.corrupt), (whole as u64, cut), "{len} bytes");
        assert!(!imported.whole && imported.bytes == len as u64);
        assert!(again.len() == whole && again.iter().all(|(key, entry)| all[&key] == entry));
    }
}

#[test]
fn a_byte_that_changed_costs_one_entry_and_never_alters_one() {
    let time = ManualTime::new();
    let cache = some(&time);
    let (bytes, _) = export(&cache, &time);
    let (records, all) = (records(&bytes), all(&cache));
    let end = records[records.len() - 2];
    for at in 0..bytes.len() {
        let (again, mut bytes) = (texts(&time), bytes.clone());
        bytes[at] ^= 1 << (at % 8);
        match snapshot(&again, &time).import(&bytes[..]) {
            Err(error) => {
                assert!(at < HEAD && matches!(error, ImportError::Damaged | ImportError::Foreign));
                assert!(again.is_empty());
            }
            Ok(imported) => {
                let kept = 7 - u64::from(at < end);
                // An envelope's version that changed makes it one of a later version.
                let lost = imported.corrupt + imported.foreign;
                assert_eq!((imported.entries, lost), (kept, 1), "byte {at}");
                assert_eq!(imported.whole, imported.foreign == 1);
                assert_eq!(again.len() as u64, kept);
                let entries = again.iter();
                entries.for_each(|(key, entry)| assert_eq!(all[&key], entry, "byte {at}"));
            }
        }
    }
}

#[test]
fn what_lies_between_or_is_missing_costs_its_neighbours_only() {
    let time = ManualTime::new();
    let (bytes, _) = export(&some(&time), &time);
    let records = records(&bytes);
    let noise = &bytes[HEAD..HEAD + 9];
    for at in HEAD..=bytes.len() {
        let (again, joined) = (texts(&time), [&bytes[..at], noise, &bytes[at..]].concat());
        let imported = import(&again, &time, &joined);
        let between = records[..records.len() - 1].contains(&at);
        assert!(imported.entries >= 5 + 2 * u64::from(between), "noise at {at}: {imported:?}");
        assert!(imported.corrupt > 0 || at == bytes.len());
        let lacking = [&bytes[..at], &bytes[bytes.len().min(at + 9)..]].concat();
        assert!(import(&texts(&time), &time, &lacking).entries >= 5, "missing at {at}");
    }
}

#[test]
fn a_snapshot_within_a_value_is_no_part_of_the_one_around_it() {
    let time = ManualTime::new();
    let inner: Cache<String, Vec<u8>> = Cache::builder().forever().build().unwrap();
    inner.put("smuggled".to_owned(), b"value".to_vec());
    let (mut within, mut bytes) = (Vec::new(), Vec::new());
    inner.snapshot(Plain).export(&mut within).unwrap();
    let cache: Cache<String, Vec<u8>> = Cache::builder().forever().time(time).build().unwrap();
    cache.put("key".to_owned(), within);
    cache.snapshot(Plain).export(&mut bytes).unwrap();
    bytes[HEAD] ^= 1;
    let imported = inner.snapshot(Plain).import(&bytes[..]).unwrap();
    assert_eq!((imported.entries + imported.present, imported.corrupt), (0, 1));
}

/// Takes so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told() {
    let time = ManualTime::new();
    let cache = some(&time);
    let (bytes, _) = export(&cache, &time);
    for room in 0..bytes.len() {
        let ExportError::Write(error) = cache.snapshot(Plain).export(Full(room)).unwrap_err()
        else {
            panic!("another error");
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{room} bytes");
    }
    assert_eq!(cache.snapshot(Plain).export(Full(bytes.len())).unwrap().entries, 7);
}

#[test]
fn a_reader_that_fails_tells_what_came_before() {
    let time = ManualTime::new();
    let (bytes, _) = export(&some(&time), &time);
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let (again, records) = (texts(&time), records(&bytes));
    let reader = bytes[..records[3]].chain(Failing);
    let error = snapshot(&again, &time).import(reader).unwrap_err();
    let ImportError::Read { error, imported, .. } = error else { panic!("{error}") };
    assert_eq!((error.kind(), imported.entries), (io::ErrorKind::ConnectionReset, 3));
    assert_eq!(again.len(), 3);
}

#[test]
fn what_is_no_snapshot_is_told_from_one_that_is_newer() {
    let time = ManualTime::new();
    let cache = texts(&time);
    let read = |bytes: &[u8]| cache.snapshot(Plain).import(bytes).unwrap_err();
    assert!(matches!(read(b"GIF89a, and more than thirty-two bytes of it"), ImportError::Foreign));
    assert!(matches!(read(b"?"), ImportError::Foreign));
    assert!(matches!(read(b""), ImportError::Damaged));
    let mut newer = export(&cache, &time).0;
    newer[8] = 2;
    let sum = XxHash3_64::oneshot(&newer[..24]);
    newer[24..HEAD].copy_from_slice(&sum.to_be_bytes());
    assert!(matches!(read(&newer), ImportError::Newer { version: 2, .. }));
}

#[test]
fn nothing_behind_the_snapshot_is_read() {
    let time = ManualTime::new();
    let (bytes, _) = export(&some(&time), &time);
    let two = [&bytes[..], &bytes[..], b"rest"].concat();
    let mut reader = &two[..];
    let (first, second) = (texts(&time), texts(&time));
    assert!(snapshot(&first, &time).import(&mut reader).unwrap().whole);
    assert!(snapshot(&second, &time).import(&mut reader).unwrap().whole);
    assert_eq!(reader, b"rest");
}

#[test]
fn a_younger_entry_stays() {
    let time = ManualTime::new();
    let cache = some(&time);
    let (bytes, _) = export(&cache, &time);
    let again = texts(&time);
    put(&again, "plain", "fresh".to_owned());
    put(&again, "", "expired".to_owned());
    again.expire("");
    assert_eq!(again.put("ever".to_owned(), Loaded::missing()), Put::Missing);
    let imported = import(&again, &time, &bytes);
    assert_eq!((imported.entries, imported.present, imported.whole), (4, 3, true));
    assert_eq!(again.get("plain").as_deref(), Some("fresh"));
    assert_eq!(again.entry("").map(|entry| entry.value).as_deref(), Some("expired"));
}

#[test]
fn an_older_entry_gives_way_and_a_load_under_way_does_not() {
    let time = ManualTime::new();
    let (cache, again) = (texts(&time), texts(&time));
    put(&again, "key", "older".to_owned());
    time.advance(SECOND * 61);
    put(&cache, "key", "younger".to_owned());
    put(&cache, "loading", "older".to_owned());
    let (bytes, _) = export(&cache, &time);
    let loaded = again.get_or_load_here("loading", || {
        let imported = import(&again, &time, &bytes);
        assert_eq!((imported.entries, imported.present), (1, 1));
        Ok::<_, io::Error>("loaded".to_owned())
    });
    assert_eq!(loaded.unwrap(), "loaded");
    assert_eq!(again.get("loading").as_deref(), Some("loaded"), "it has landed");
    assert_eq!(again.get("key").as_deref(), Some("younger"));
}

#[test]
fn a_store_behind_the_cache_gets_what_the_cache_gets_and_keeps_what_is_better() {
    let time = ManualTime::new();
    let (cache, store) = (texts(&time), Arc::new(MemoryStore::new(10)));
    put(&cache, "absent", "imported".to_owned());
    put(&cache, "better", "imported".to_owned());
    let (bytes, _) = export(&cache, &time);
    time.advance(SECOND);
    let before = builder(&time).l2(Arc::clone(&store)).build().unwrap();
    put(&before, "better", "stored".to_owned());
    let again = builder(&time).l2(Arc::clone(&store)).build().unwrap();
    let imported = import(&again, &time, &bytes);
    assert_eq!((imported.entries, imported.present), (1, 1));
    assert_eq!(again.get("better").as_deref(), Some("stored"));
    let third = builder(&time).l2(store).build().unwrap();
    let seen = third.get_or_load("absent", || Err("not to be asked".to_owned()));
    assert_eq!(seen.unwrap(), "imported");
    assert_eq!(third.entry("absent").unwrap().age(time.now()), SECOND);
}

#[test]
fn large_keys_and_values_travel_and_those_above_the_limit_are_counted() {
    let time = ManualTime::new();
    let (cache, long) = (texts(&time), "k".repeat(1 << 20));
    put(&cache, &long, "v".repeat(3 << 20));
    put(&cache, "short", "s".to_owned());
    let (bytes, _) = export(&cache, &time);
    let again = texts(&time);
    assert_eq!(import(&again, &time, &bytes).entries, 2);
    assert_eq!(all(&again), all(&cache));
    let again = texts(&time);
    let imported = snapshot(&again, &time).max_entry_bytes(1_000).import(&bytes[..]).unwrap();
    assert_eq!((imported.entries, imported.too_large, imported.whole), (1, 1, true));
    let mut bytes = Vec::new();
    let exported = snapshot(&cache, &time).max_entry_bytes(1_000).export(&mut bytes).unwrap();
    assert_eq!((exported.entries, exported.refused), (1, 1));
    assert!(import(&texts(&time), &time, &bytes).whole);
}

/// Numbers as text; 0 has none.
struct Digits;

impl Codec<u32> for Digits {
    const ID: u8 = 200;

    fn encode(&self, value: &u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let some = Some(value).filter(|value| **value != 0).ok_or("zero")?;
        out.extend_from_slice(some.to_string().as_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<u32, CodecError> {
        Ok(std::str::from_utf8(bytes)?.parse()?)
    }
}

#[test]
fn what_cannot_be_encoded_or_is_of_another_form_is_counted() {
    let numbers = || Cache::<u64, u32>::builder().forever().build().unwrap();
    let (cache, mut bytes) = (numbers(), Vec::new());
    assert!((0..5).all(|n| cache.put(n.into(), n).is_stored()));
    let exported = cache.snapshot(Digits).schema(7).export(&mut bytes).unwrap();
    assert_eq!((exported.entries, exported.refused), (4, 1));
    let again = numbers();
    let imported = again.snapshot(Digits).import(&bytes[..]).unwrap();
    assert_eq!((imported.foreign, imported.entries, imported.whole), (4, 0, true));
    let imported = again.snapshot(Digits).schema(7).import(&bytes[..]).unwrap();
    assert_eq!((imported.foreign, imported.entries), (0, 4));
    assert_eq!((again.get(&4), again.len()), (Some(4), 4));
    let texts: Cache<u16, String> = Cache::builder().forever().build().unwrap();
    let imported = texts.snapshot(Plain).schema(7).import(&bytes[..]).unwrap();
    assert_eq!((imported.foreign, texts.len()), (4, 0));
}

#[test]
fn every_kind_of_cache_stays_within_its_bounds() {
    let full = || Cache::<u32, String>::builder().forever().capacity(5_000);
    let (cache, mut bytes) = (full().build().unwrap(), Vec::new());
    assert!((0..4_000).all(|n| cache.put(n, n.to_string()).is_stored()));
    let exported = cache.snapshot(Plain).export(&mut bytes).unwrap();
    assert_eq!(exported.entries, cache.len() as u64);
    let length = |_: &u32, value: &String| value.len() as u32;
    let small = [
        full().capacity(100).build().unwrap(),
        full().capacity(2_000).build().unwrap(),
        Cache::builder().forever().weight_limit(1_000).weigher(length).build().unwrap(),
    ];
    for cache in small {
        let imported = cache.snapshot(Plain).import(&bytes[..]).unwrap();
        assert_eq!(
            (imported.entries + imported.not_kept, imported.whole),
            (exported.entries, true)
        );
        assert!((90..=2_000).contains(&cache.len()) && cache.weight() <= 2_000);
        assert!(cache.iter().all(|(key, entry)| entry.value == key.to_string()));
    }
    let nothing = Cache::<u32, String>::builder().no_store().build().unwrap();
    let imported = nothing.snapshot(Plain).import(&bytes[..]).unwrap();
    assert_eq!((imported.not_kept, nothing.len()), (exported.entries, 0));
}

#[test]
fn a_value_and_its_tags_are_of_one_instant() {
    let (time, over) = (ManualTime::new(), AtomicBool::new(false));
    let (cache, rounds) = (texts(&time), AtomicU64::new(0));
    let good = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                put(&cache, "key", Loaded::value("tagged".to_owned()).tag("tag"));
                put(&cache, "key", "plain".to_owned());
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let good = (0..300).all(|n| {
            while rounds.load(Ordering::Relaxed) < n {
                thread::yield_now();
            }
            let (bytes, exported) = export(&cache, &time);
            let again = texts(&time);
            let imported = import(&again, &time, &bytes);
            again.invalidate_tag("tag");
            let untagged = again.iter().all(|(_, entry)| entry.value == "plain");
            untagged && imported.entries == exported.entries
        });
        over.store(true, Ordering::Relaxed);
        good
    });
    assert!(good);
}
