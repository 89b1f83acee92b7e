//! The file store: any key, any damage, any number of processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use cache_core::conformance::{self, Harness, StoreHarness, hostile_strings};
use cache_core::store::{Plain, Store, StoreError};
use cache_core::{Clock, Instant, Lifetime};
use cache_std::sync::Cache;
use cache_std::{DirStore, ManualTime};
use tempfile::TempDir;

const NOW: Instant = Instant::ORIGIN;
const SECOND: Duration = Duration::from_secs(1);

type Texts = DirStore<String, Plain>;

fn hour() -> Lifetime {
    Lifetime::fresh_for(SECOND * 3_600)
}

fn texts(folder: &Path) -> Texts {
    DirStore::new(folder, Plain)
}

fn put(store: &Texts, key: &str, value: &str) -> Result<(), StoreError> {
    store.put(key, &value.to_owned(), hour(), NOW)
}

fn get(store: &Texts, key: &str) -> Option<String> {
    store.get(key, NOW).unwrap().map(|found| found.value)
}

/// All files of entries below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            found.push(path);
        }
    }
    found
}

/// A wall clock that goes with the virtual one.
fn wall(time: &ManualTime) -> impl Fn() -> SystemTime + Send + Sync + use<> {
    let time = time.clone();
    move || SystemTime::UNIX_EPOCH + SECOND * 1_700_000_000 + time.now().saturating_since(NOW)
}

#[derive(Default)]
struct Folders {
    time: ManualTime,
    made: Mutex<Vec<TempDir>>,
}

/// A store, and where it is.
struct Placed(Texts, PathBuf);

impl Store<str, String> for Placed {
    fn get(
        &self,
        key: &str,
        now: Instant,
    ) -> Result<Option<cache_core::store::Stored<String>>, StoreError> {
        self.0.get(key, now)
    }

    fn put(&self, key: &str, v: &String, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.0.put(key, v, life, now)
    }

    fn remove(&self, key: &str, now: Instant) -> Result<bool, StoreError> {
        Store::<str, _>::remove(&self.0, key, now)
    }

    fn put_if_absent(
        &self,
        key: &str,
        value: &String,
        lifetime: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.0.put_if_absent(key, value, lifetime, now)
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        Store::<str, _>::clear(&self.0, now)
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        Store::<str, _>::purge(&self.0, now, budget)
    }
}

impl Folders {
    fn at(&self, folder: &Path) -> Texts {
        texts(folder).wall_clock(wall(&self.time)).max_value_bytes(1_000)
    }
}

impl Harness for Folders {
    type Key = str;

    fn key(&self, n: u64) -> String {
        format!("key {n}")
    }

    fn now(&self) -> Instant {
        self.time.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.time.advance(span);
        self.time.now()
    }

    fn hostile_keys(&self) -> Vec<String> {
        hostile_strings()
    }
}

impl StoreHarness for Folders {
    type Value = String;
    type Store = Placed;

    fn make(&self) -> Placed {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("made with the first entry");
        self.made.lock().unwrap().push(folder);
        Placed(self.at(&path), path)
    }

    fn value(&self, n: u64) -> String {
        format!("value {n}")
    }

    fn none_value(&self) -> Option<String> {
        Some(String::new())
    }

    fn oversized_value(&self) -> Option<String> {
        Some("x".repeat(1_001))
    }

    fn another(&self, store: &Placed) -> Option<Placed> {
        Some(Placed(self.at(&store.1), store.1.clone()))
    }

    fn neighbour(&self, store: &Placed) -> Option<Placed> {
        Some(Placed(self.at(&store.1).namespace("another"), store.1.clone()))
    }

    fn held(&self, store: &Placed) -> Option<usize> {
        store.0.len().ok()
    }

    fn corrupt(&self, store: &Placed, key: &str) -> bool {
        // The file that appears for this key alone.
        let elsewhere = TempDir::new().unwrap();
        put(&texts(elsewhere.path()), key, "").unwrap();
        let file = files(elsewhere.path()).remove(0);
        let file = store.1.join(file.strip_prefix(elsewhere.path()).unwrap());
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(file, bytes).is_ok()
    }

    fn outage(&self, store: &Placed, on: bool) -> bool {
        let aside = store.1.with_extension("aside");
        if on {
            fs::rename(&store.1, aside).and_then(|()| fs::write(&store.1, "")).is_ok()
        } else {
            fs::remove_file(&store.1).and_then(|()| fs::rename(aside, &store.1)).is_ok()
        }
    }
}

#[test]
fn the_file_store_conforms() {
    let report =
        conformance::store(&Folders::default()).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{report}");
}

#[test]
fn any_key_has_a_file_of_its_own() {
    let folder = TempDir::new().unwrap();
    let store = texts(folder.path());
    let mut keys = hostile_strings();
    keys.extend(["", "/", "..", "a\0b", "CON", "a/../b", "C:\\x"].map(String::from));
    keys.push("k".repeat(1 << 20));
    keys.push("k".repeat((1 << 20) + 1));
    keys.sort();
    keys.dedup();
    for key in &keys {
        put(&store, key, &format!("of {key:.50}")).unwrap();
    }
    for key in &keys {
        assert_eq!(get(&store, key), Some(format!("of {key:.50}")));
    }
    assert_eq!((files(folder.path()).len(), store.stats().corrupt), (keys.len(), 0));
    let below = |path: &PathBuf| path.starts_with(folder.path());
    assert!(files(folder.path()).iter().all(below));
}

#[test]
fn a_file_cut_anywhere_or_changed_anywhere_is_a_counted_miss() {
    let folder = TempDir::new().unwrap();
    let store = texts(folder.path());
    put(&store, "key", "value").unwrap();
    let file = files(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    for cut in 0..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        assert_eq!(get(&store, "key"), None, "cut after {cut} bytes");
    }
    let cut = whole.len() as u64;
    assert_eq!(store.stats().corrupt, cut);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(&file, changed).unwrap();
        assert_eq!(get(&store, "key"), None, "byte {at} changed");
    }
    let stats = store.stats();
    assert_eq!(stats.corrupt + stats.foreign, 2 * cut);
    fs::write(&file, vec![0; 20 << 20]).unwrap();
    assert_eq!(get(&store, "key"), None, "far too long");
    put(&store, "key", "value").unwrap();
    assert_eq!(get(&store, "key").as_deref(), Some("value"));
}

#[test]
fn other_schemas_and_codecs_are_absent() {
    let folder = TempDir::new().unwrap();
    put(&texts(folder.path()), "key", "value").unwrap();
    let later = texts(folder.path()).schema(1);
    assert_eq!((get(&later, "key"), later.stats().foreign), (None, 1));
    #[cfg(feature = "json")]
    {
        let json = DirStore::<String, _>::new(folder.path(), cache_core::store::Json);
        assert!(json.get("key", NOW).unwrap().is_none());
    }
}

#[cfg(feature = "lz4")]
#[test]
fn compressed_values_come_back_and_what_does_not_unpack_is_counted() {
    use cache_core::store::{Lz4, Plain};

    let folder = TempDir::new().unwrap();
    let open = |bytes| DirStore::<String, _>::new(folder.path(), Lz4::new(Plain).limit(bytes));
    let (store, text) = (open(1 << 20), "the same again ".repeat(1_000));
    store.put("key", &text, Lifetime::fresh_for(SECOND), NOW).unwrap();
    assert!(files(folder.path())[0].metadata().unwrap().len() < 500);
    assert_eq!(store.get("key", NOW).unwrap().unwrap().value, text);
    let small = open(text.len() - 1);
    assert!(small.get("key", NOW).unwrap().is_none());
    assert_eq!((small.stats().corrupt, small.stats().foreign), (1, 0));
    let plain = texts(folder.path());
    assert_eq!((get(&plain, "key"), plain.stats().foreign), (None, 1));
}

#[test]
fn a_restart_loses_nothing_and_ages_go_on() {
    let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
    let open = || texts(folder.path()).wall_clock(wall(&time));
    let life = Lifetime::fresh_for(SECOND * 60).stale_while_revalidate(SECOND * 30).aged(SECOND);
    open().put("key", &"value".to_owned(), life, NOW).unwrap();
    time.advance(SECOND * 20);
    let found = open().get("key", NOW).unwrap().unwrap();
    assert_eq!(found.lifetime, life.aged(SECOND * 21));
    time.advance(SECOND * 69);
    assert!(open().get("key", NOW).unwrap().is_none());
}

#[test]
fn what_comes_from_the_future_is_absent() {
    let (folder, time) = (TempDir::new().unwrap(), ManualTime::new());
    time.advance(SECOND * 100);
    let store = texts(folder.path()).wall_clock(wall(&time));
    put(&store, "key", "value").unwrap();
    let back = texts(folder.path()).wall_clock(wall(&ManualTime::new()));
    assert_eq!(get(&back, "key"), None);
    assert_eq!(get(&store, "key").as_deref(), Some("value"));
}

#[test]
fn the_oldest_make_room() {
    let folder = TempDir::new().unwrap();
    let store = texts(folder.path()).max_bytes(20_000);
    let value = "x".repeat(900);
    for n in 0..100 {
        put(&store, &format!("{n:03}"), &value).unwrap();
        let bytes: u64 = files(folder.path()).iter().map(|f| f.metadata().unwrap().len()).sum();
        assert!(bytes <= 20_000, "{bytes} bytes after {n}");
        assert!(get(&store, &format!("{n:03}")).is_some(), "the newest stays");
    }
    assert_eq!(store.stats().evicted as usize, 100 - store.len().unwrap());
    assert!(store.len().unwrap() >= 15, "no more went than had to");
    let kept = (0..100).filter(|n| get(&store, &format!("{n:03}")).is_some()).min().unwrap();
    assert!(kept > 70, "{kept}");
    let larger = put(&store, "larger", &"x".repeat(20_000));
    assert!(matches!(larger, Err(StoreError::TooLarge { .. })), "{larger:?}");
}

/// A folder on a file system that is full.
#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_harms_nothing() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return println!("there is no /dev/full here");
    }
    let folder = TempDir::new().unwrap();
    let store = texts(folder.path());
    put(&store, "key", "old").unwrap();
    let new = files(folder.path()).remove(0).with_file_name("new");
    std::os::unix::fs::symlink(full, &new).unwrap();
    let refused = put(&store, "key", "new");
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(get(&store, "key").as_deref(), Some("old"));
    assert!(!new.exists(), "nothing is left behind");
    put(&store, "key", "new").unwrap();
    assert_eq!(get(&store, "key").as_deref(), Some("new"));
}

/// A folder that cannot be written to, whoever runs this: its place is taken by a file.
#[test]
fn a_folder_that_cannot_be_made_is_said() {
    let folder = TempDir::new().unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, "").unwrap();
    let store = texts(&taken);
    assert!(matches!(put(&store, "key", "value"), Err(StoreError::Unavailable(_))));
    assert!(matches!(store.get("key", NOW), Err(StoreError::Unavailable(_))));
}

/// What one process writes and reads in the test of two: the values say which keys they are of.
fn hammer(folder: &Path, process: u64) {
    let store = texts(folder).max_bytes(40_000);
    let mut random = process | 1;
    for round in 0..3_000_u64 {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = format!("{}", (random >> 33) % 50);
        match random >> 61 {
            0 => drop(Store::<str, _>::remove(&store, &key, NOW).unwrap()),
            1 => drop(store.put_if_absent(&*key, &format!("{key} absent"), hour(), NOW).unwrap()),
            2 if round % 40 == 0 => drop(Store::<str, _>::purge(&store, NOW, 10).unwrap()),
            3 | 4 => {
                let value = format!("{key} {}", "x".repeat((random >> 40) as usize % 2_000));
                put(&store, &key, &value).unwrap();
            }
            _ => {
                let found = get(&store, &key);
                assert!(found.is_none_or(|found| found.starts_with(&format!("{key} "))));
            }
        }
    }
    assert_eq!(store.stats().corrupt, 0);
}

#[test]
fn two_processes_on_one_folder_never_see_what_was_not_written() {
    const FOLDER: &str = "CACHE_TEST_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return hammer(Path::new(&folder), 3);
    }
    let folder = TempDir::new().unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_on_one_folder_never_see_what_was_not_written"])
        .env(FOLDER, folder.path())
        .spawn()
        .unwrap();
    std::thread::scope(|scope| {
        for thread in [5, 7] {
            let folder = folder.path();
            scope.spawn(move || hammer(folder, thread));
        }
    });
    assert!(other.wait().unwrap().success());
}

#[test]
fn of_many_who_put_what_is_absent_one_does() {
    let folder = TempDir::new().unwrap();
    for round in 0..20 {
        let key = round.to_string();
        let put = |_| {
            let store = texts(folder.path());
            usize::from(store.put_if_absent(&*key, &"value".to_owned(), hour(), NOW).unwrap())
        };
        let done: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || put(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(done, 1);
    }
}

/// A cache with files behind it, and what it loads: a value that names its key.
fn caches(folder: &Path) -> Cache<String, String> {
    let windows = Cache::builder().ttl(SECOND * 3_600).stale_if_error(SECOND * 3_600);
    windows.l2(texts(folder)).build().unwrap()
}

fn load(key: &str) -> impl FnOnce() -> Result<String, String> + Send + 'static {
    let value = format!("of {key:.50}");
    move || Ok(value)
}

#[test]
fn any_key_of_a_cache_is_found_again_by_the_next() {
    let folder = TempDir::new().unwrap();
    let mut keys = hostile_strings();
    keys.push("k".repeat(1 << 20));
    let first = caches(folder.path());
    for key in &keys {
        assert_eq!(first.get_or_load(key.as_str(), load(key)).unwrap(), format!("of {key:.50}"));
    }
    first.control().shutdown(SECOND * 60).unwrap();
    let second = caches(folder.path());
    for key in &keys {
        let found = second.get_or_load(key.as_str(), || Err("not found".to_owned()));
        assert_eq!(found.unwrap(), format!("of {key:.50}"));
    }
    assert_eq!(second.stats().store_hits, keys.len() as u64);
}

/// The folder's place is taken by a file; then it is free; then it is taken again.
#[test]
fn a_cache_whose_folder_cannot_be_used_goes_on_without_it() {
    let folder = TempDir::new().unwrap();
    let taken = folder.path().join("taken");
    let cache = caches(&taken);
    for round in 0..4 {
        let usable = round % 2 == 1;
        if usable {
            fs::remove_file(&taken).unwrap();
        } else {
            let _ = fs::remove_dir_all(&taken);
            fs::write(&taken, "").unwrap();
        }
        let errors = cache.stats().store_errors;
        let key = format!("key {round}");
        assert_eq!(cache.get_or_load(&key, load(&key)).unwrap(), format!("of {key}"));
        assert!(cache.put(format!("put {round}"), "value".to_owned()).is_stored());
        assert!(cache.expire(&key).found && cache.invalidate(&key).found);
        assert_eq!(cache.stats().store_errors > errors, !usable);
        assert_eq!(texts(&taken).len().is_ok(), usable);
    }
}
