//! A cache whose store, origin and clock go wrong by many plans: nobody is told of trouble while a
//! value can be produced, and no value is served that was not written for its key, or that was
//! written over.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cache_core::conformance::{self, Harness, StoreHarness};
use cache_core::store::{Plain, Store};
use cache_core::{Clock, Instant};
use cache_std::background::{Background, Scheduler};
use cache_std::chaos::{Chaos, ChaosStore};
use cache_std::sync::{Builder, Cache, LoadError};
use cache_std::{DirStore, ManualTime, MemoryStore, Time};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const TTL: Duration = Duration::from_secs(10);
const SIE: Duration = Duration::from_secs(120);
const FAULT: &str = "a fault on purpose";

type Answer = Result<String, LoadError<String>>;

/// No time-out ends before its load does: those have tests of their own.
fn builder(time: impl Time) -> Builder<String, String> {
    let windows = Cache::builder().ttl(TTL).stale_while_revalidate(SECOND * 5).stale_if_error(SIE);
    windows.jitter_percent(0).hard_timeout(HOUR).lease(HOUR).time(time)
}

fn shaky(seed: u64, time: &ManualTime) -> Chaos {
    let chaos = Chaos::seeded(seed).errors(40).unsupported(10).panics(10).lost(10).corrupt(10);
    chaos.delays(20, SECOND * 3, time.leaping())
}

/// A program that uses a cache, and what it knows of its keys.
struct Program {
    time: ManualTime,
    cache: Cache<String, String>,
    origin: Chaos,
    /// What is decided next.
    random: u64,
    /// The number that the next value carries.
    next: u64,
    keys: HashMap<u64, Known>,
    /// Answers that were older than what their callers would have loaded.
    old: u64,
    told: u64,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// Nothing older may be served any more.
    floor: u64,
    /// Until when an old value must serve, if one was kept.
    kept_until: Option<Instant>,
}

impl Program {
    fn new(seed: u64, time: &ManualTime, cache: Cache<String, String>, origin: Chaos) -> Self {
        let (time, random) = (time.clone(), seed);
        Self { time, cache, origin, random, next: 0, keys: HashMap::new(), old: 0, told: 0 }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    fn step(&mut self) {
        let key = self.draw(4);
        match self.draw(14) {
            0 => self.put(key),
            1 => self.invalidate(key),
            2 => self.expire(key),
            3 | 4 => {
                let span = SECOND * self.draw(40) as u32;
                self.time.advance(span);
            }
            5 => self.look(key),
            6 => self.load_all(),
            _ => self.load(key),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn known(&mut self, key: u64) -> &mut Known {
        self.keys.entry(key).or_default()
    }

    fn put(&mut self, key: u64) {
        let (number, until) = (self.number(), self.time.now() + TTL + SIE);
        assert!(self.cache.put(key.to_string(), format!("{key}:{number}")).is_stored());
        *self.known(key) = Known { floor: number, kept_until: Some(until) };
    }

    fn invalidate(&mut self, key: u64) {
        self.cache.invalidate(key.to_string().as_str());
        let floor = self.number();
        *self.known(key) = Known { floor, kept_until: None };
    }

    fn expire(&mut self, key: u64) {
        let until = self.time.now() + SIE;
        self.cache.expire(key.to_string().as_str());
        let known = self.known(key);
        known.kept_until = known.kept_until.map(|kept| kept.min(until));
    }

    fn look(&mut self, key: u64) {
        if let Some(value) = self.cache.get(key.to_string().as_str()) {
            self.served(key, &value);
        }
    }

    fn load(&mut self, key: u64) {
        let (number, begun) = (self.number(), self.time.now());
        let value = format!("{key}:{number}");
        let load = self.origin.loader(move || Ok(value));
        let answer = self.cache.get_or_load(key.to_string().as_str(), load);
        self.judge(key, number, begun, answer);
    }

    /// All keys by one call.
    fn load_all(&mut self) {
        let (number, begun, origin) = (self.number(), self.time.now(), self.origin.clone());
        let load = move |keys: Vec<String>| {
            let value = |key: String| (key.clone(), format!("{key}:{number}"));
            origin.call(|| Ok::<_, String>(keys.into_iter().map(value).collect::<Vec<_>>()))
        };
        let keys: Vec<_> = (0..4).map(|key: u64| key.to_string()).collect();
        let answers = self.cache.get_or_load_each(keys.iter().map(String::as_str), load);
        for (key, answer) in (0..4).zip(answers) {
            self.judge(key, number, begun, answer);
        }
    }

    fn judge(&mut self, key: u64, number: u64, begun: Instant, answer: Answer) {
        match answer {
            Ok(value) if self.served(key, &value) == number => {
                self.known(key).kept_until = Some(begun + TTL + SIE);
            }
            Ok(_) => self.old += 1,
            Err(error) => self.failed(key, &error),
        }
    }

    /// Checks what was served, and says which it is.
    fn served(&mut self, key: u64, value: &str) -> u64 {
        let (of, number) = value.split_once(':').unwrap();
        let number = number.parse().unwrap();
        assert_eq!(of, key.to_string(), "a value of another key");
        assert!(number >= self.known(key).floor, "{value} was written over");
        number
    }

    fn failed(&mut self, key: u64, error: &LoadError<String>) {
        let own = match error {
            LoadError::Failed(text) => **text == FAULT,
            LoadError::Panicked(text) => text.contains("on purpose"),
            _ => false,
        };
        assert!(own, "not the origin's error: {error:?}");
        let now = self.time.now();
        let kept = self.known(key).kept_until.is_some_and(|until| !now.has_reached(until));
        assert!(!kept, "an old value was there: {error:?}");
        self.told += 1;
    }

    /// Lives, and waits for what is under way.
    fn live(mut self, steps: usize) -> Self {
        (0..steps).for_each(|_| self.step());
        self.cache.control().shutdown(HOUR * 1_000).unwrap();
        let stats = self.cache.stats();
        let ended = stats.landed + stats.superseded + stats.failures + stats.abandoned;
        assert_eq!(stats.loads, ended, "{stats:?}");
        self
    }
}

#[test]
fn whatever_a_store_does_nobody_is_told_while_the_origin_answers() {
    for seed in 0..150 {
        let (time, sound) = (ManualTime::new(), Chaos::seeded(seed));
        let store = shaky(seed, &time).store(MemoryStore::new(100));
        let cache = builder(time.clone()).l2(store).build().unwrap();
        let program = Program::new(seed, &time, cache, sound).live(150);
        assert_eq!(program.told, 0);
        assert!(program.cache.stats().store_errors > 0);
    }
}

#[test]
fn whatever_an_origin_does_an_old_value_serves_while_there_is_one() {
    let (mut old, mut told) = (0, 0);
    for seed in 0..150 {
        let time = ManualTime::new();
        let origin = Chaos::seeded(seed).errors(50).panics(10);
        let origin = origin.delays(20, SECOND * 3, time.leaping());
        let store = shaky(seed, &time).store(MemoryStore::new(100));
        let cache = builder(time.clone()).l2(store).build().unwrap();
        let program = Program::new(seed, &time, cache, origin).live(150);
        (old, told) = (old + program.old, told + program.told);
    }
    assert!(old > 1_000 && told > 100, "{old} old values served, {told} errors told");
}

/// Cuts off or changes some of the files below a folder.
fn tear(folder: &Path, random: &mut u64) {
    for path in fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()) {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let at = (*random >> 33) as usize;
        if path.is_dir() {
            tear(&path, random);
        } else if path.file_name().is_some_and(|name| name != "lock") && at.is_multiple_of(3) {
            // A load that goes on may have replaced it.
            let Ok(mut bytes) = fs::read(&path) else { continue };
            let cut = at % bytes.len().max(1);
            match at % 2 {
                0 => bytes.truncate(cut),
                _ => bytes.iter_mut().skip(cut).take(1).for_each(|byte| *byte ^= 0x40),
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn torn_files_behind_a_cache_serve_nothing_that_was_not_written() {
    let mut corrupt = 0;
    for seed in 0..20 {
        let (time, folder) = (ManualTime::new(), TempDir::new().unwrap());
        let start = (std::time::SystemTime::now(), time.now());
        let clock = time.clone();
        let wall = move || start.0 + clock.now().saturating_since(start.1);
        let files = Arc::new(DirStore::new(folder.path(), Plain).wall_clock(wall));
        let shaky = Chaos::seeded(seed).errors(10).lost(10).store(Arc::clone(&files));
        let cache = builder(time.clone()).l2(shaky).build().unwrap();
        let origin = Chaos::seeded(seed).errors(30);
        let mut program = Program::new(seed, &time, cache, origin);
        for round in 0..20 {
            (0..10).for_each(|_| program.step());
            tear(folder.path(), &mut (seed << 8 | round | 1));
        }
        program.live(10);
        corrupt += files.stats().corrupt;
    }
    assert!(corrupt > 0, "no torn file was met");
}

#[test]
fn whatever_a_clock_does_what_was_written_over_stays_so() {
    for seed in 0..150 {
        let time = ManualTime::new();
        let wrong = Chaos::seeded(seed).jumps(5, SECOND * 30).stalls(5, SECOND * 60);
        let wrong = wrong.setbacks(5, SECOND * 5);
        let store = shaky(seed, &time).store(MemoryStore::new(100));
        let cache = builder(wrong.clock(time.clone())).l2(store).build().unwrap();
        let program = Program::new(seed, &time, cache, Chaos::seeded(seed)).live(150);
        assert_eq!(program.told, 0, "the origin answers");
        assert!(wrong.counts().jumps > 0 && wrong.counts().setbacks > 0);
    }
}

/// What many threads read is of their keys, whatever fails; and all of them end.
fn crowd(seed: u64) -> u64 {
    let time = ManualTime::new();
    let origin = Chaos::seeded(seed).errors(30).panics(10);
    let origin = origin.delays(20, SECOND * 3, time.leaping());
    let store = shaky(seed, &time).store(MemoryStore::new(100));
    let cache = builder(time.clone()).l2(store).build().unwrap();
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (cache, origin, answered, time) = (&cache, &origin, &answered, &time);
            scope.spawn(move || {
                for round in 0..60 {
                    let key = (round * 7 + thread * 3 + seed) % 5;
                    let value = format!("{key}:{thread}");
                    match (round + thread) % 10 {
                        0 => _ = cache.put(key.to_string(), value),
                        1 => _ = cache.invalidate(key.to_string().as_str()),
                        2 => time.advance(SECOND * 4),
                        _ => {
                            let load = origin.loader(move || Ok::<_, String>(value));
                            let answer = cache.get_or_load(key.to_string().as_str(), load);
                            answered.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
                            check(key, &answer);
                        }
                    }
                }
            });
        }
    });
    cache.control().shutdown(HOUR * 1_000).unwrap();
    answered.into_inner()
}

fn check(key: u64, answer: &Answer) {
    match answer {
        Ok(value) => assert!(value.starts_with(&format!("{key}:")), "{value} for {key}"),
        Err(LoadError::Failed(text)) => assert_eq!(**text, FAULT),
        Err(LoadError::Panicked(text)) => assert!(text.contains("on purpose"), "{text}"),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_crowd_in_trouble_is_answered_to_the_last() {
    let answered: u64 = (0..40).map(crowd).sum();
    assert!(answered > 40 * 60, "{answered} answers");
}

#[test]
fn a_background_value_outlives_its_loaders_trouble() {
    for seed in 0..20 {
        let time = ManualTime::new();
        let scheduler = Scheduler::with_time(time.clone());
        let chaos = Chaos::seeded(seed).errors(50).panics(20);
        let (plan, runs) = (chaos.clone(), AtomicU64::new(0));
        let job = Background::builder("value").every(SECOND).scheduler(&scheduler);
        let load = move || plan.call(|| Ok::<_, String>(runs.fetch_add(1, Ordering::Relaxed)));
        let value = job.start(load).unwrap();
        let mut last = None;
        for run in 1..=100 {
            while chaos.counts().calls < run || value.status().unwrap().running {
                thread::yield_now();
            }
            time.until_parked(1);
            assert!(value.get().map(|seen| *seen) >= last, "the last good value stays");
            last = value.get().map(|seen| *seen);
            time.advance(SECOND);
        }
        assert!(last.is_some_and(|last| last > 5));
        scheduler.shutdown(HOUR).unwrap();
    }
}

/// Nor does what makes it stale make it good again.
#[test]
fn what_an_invalidation_did_not_reach_is_not_brought_back_by_an_expiry() {
    let (time, chaos) = (ManualTime::new(), Chaos::seeded(1));
    let store = chaos.store(MemoryStore::<String, String>::new(100));
    let cache = builder(time.clone()).l2(store).build().unwrap();
    cache.put("key".to_owned(), "old".to_owned());
    time.advance(SECOND);
    chaos.outage(true);
    assert!(cache.invalidate("key").found);
    chaos.outage(false);
    assert!(!cache.expire("key").found, "there is none");
    let answer: Answer = cache.get_or_load("key", || Ok("new".into()));
    assert_eq!(answer.unwrap(), "new");
}

/// A store of a cache that fails altogether, and comes back.
#[test]
fn an_outage_of_the_store_passes_unseen() {
    let (time, chaos) = (ManualTime::new(), Chaos::seeded(1));
    let store = Arc::new(chaos.store(MemoryStore::<String, String>::new(100)));
    let cache = builder(time.clone()).l2(Arc::clone(&store)).build().unwrap();
    for round in 0..20 {
        chaos.outage(round % 2 == 0);
        let load = move || Ok::<_, String>(round.to_string());
        assert_eq!(cache.get_or_load("key", load).unwrap(), round.to_string());
        time.advance(SECOND * 200);
    }
    cache.control().shutdown(HOUR).unwrap();
    chaos.outage(false);
    assert!(store.get("key", time.now() - SECOND * 200).unwrap().is_some());
}

/// A plan without rates, and with outages.
struct Calm(ManualTime, Chaos);

impl Harness for Calm {
    type Key = u64;

    fn key(&self, n: u64) -> u64 {
        n
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn advance(&self, span: Duration) -> Instant {
        self.0.advance(span);
        self.0.now()
    }
}

impl StoreHarness for Calm {
    type Value = u64;
    type Store = ChaosStore<Arc<MemoryStore<u64, u64>>>;

    fn make(&self) -> Self::Store {
        self.1.store(Arc::new(MemoryStore::new(1_000)))
    }

    fn value(&self, n: u64) -> u64 {
        n
    }

    fn another(&self, store: &Self::Store) -> Option<Self::Store> {
        Some(self.1.store(Arc::clone(store.inner())))
    }

    fn outage(&self, _: &Self::Store, on: bool) -> bool {
        self.1.outage(on);
        true
    }
}

#[test]
fn a_store_without_faults_conforms_as_it_did_before_and_says_outages() {
    let calm = Calm(ManualTime::new(), Chaos::seeded(1));
    let report = conformance::store(&calm).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{report}");
}
