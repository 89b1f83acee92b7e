//! Random runs with threads, and a checker of what each key's readers saw: every value was written
//! by somebody, and by nobody whose work had certainly been replaced. Evictions may only make reads
//! find nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use cache_std::sync::{Builder, Cache, Waiting};

/// One operation on a key, with the logical times between which it happened.
#[derive(Clone, Copy, Debug)]
struct Event {
    key: u8,
    what: What,
    start: u64,
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Put(u64),
    /// A load wrote this value, unless it was voided. Its loader ran between these times.
    Load(u64, u64, u64),
    Remove,
    Read(u64),
}

impl Event {
    fn writes(&self, value: u64) -> bool {
        matches!(self.what, What::Put(v) | What::Load(v, ..) if v == value)
    }

    fn replaces(&self) -> bool {
        matches!(self.what, What::Put(_) | What::Remove)
    }

    /// Whether this write was void before it could land: a change happened while its loader ran.
    fn is_voided_by(&self, change: &Self) -> bool {
        let What::Load(_, start, end) = self.what else { return false };
        change.replaces() && change.start > start && change.end < end
    }
}

/// What is wrong with a history of one key, if anything.
fn fault(events: &[Event]) -> Option<String> {
    events.iter().find_map(|read| match read.what {
        What::Read(value) => fault_of_read(events, read, value),
        _ => None,
    })
}

fn fault_of_read(events: &[Event], read: &Event, value: u64) -> Option<String> {
    let written = |event: &&Event| event.writes(value) && event.start < read.end;
    let Some(write) = events.iter().find(written) else {
        return Some(format!("{read:?} saw a value that nobody had written"));
    };
    let before = |change: &&Event| change.end < read.start;
    let replaced = |change: &&Event| change.replaces() && change.start > write.end;
    if let Some(change) = events.iter().filter(before).find(replaced) {
        return Some(format!("{read:?} saw {write:?}, which {change:?} had replaced"));
    }
    let voided = |change: &&Event| write.is_voided_by(change) && write.end < read.start;
    let change = events.iter().filter(before).find(voided)?;
    Some(format!("{read:?} saw {write:?}, which {change:?} had voided"))
}

/// How numbers are kept as values.
trait Value: Clone + Send + Sync + 'static {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

/// Plain: hits take no lock.
impl Value for u64 {
    fn of(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

/// Plain, and long enough to be torn.
impl Value for [u64; 8] {
    fn of(number: u64) -> Self {
        [number; 8]
    }

    fn number(&self) -> u64 {
        assert_eq!(*self, [self[0]; 8], "a torn value");
        self[0]
    }
}

/// Not plain.
impl Value for Arc<str> {
    fn of(number: u64) -> Self {
        number.to_string().into()
    }

    fn number(&self) -> u64 {
        self.parse().unwrap()
    }
}

/// A run: its clock, its values, and what happened.
#[derive(Default)]
struct Run {
    clock: AtomicU64,
    values: AtomicU64,
    events: Mutex<Vec<Event>>,
}

impl Run {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, key: u8, start: u64, what: What) {
        let event = Event { key, what, start, end: self.now() };
        self.events.lock().unwrap().push(event);
    }

    fn step<V: Value>(&self, cache: &Cache<u8, V>, key: u8, kind: u64) {
        let start = self.now();
        match kind {
            0 | 1 => {
                let value = self.value();
                assert!(cache.put(key, V::of(value)).is_stored());
                self.note(key, start, What::Put(value));
            }
            2 => {
                cache.invalidate(&key);
                self.note(key, start, What::Remove);
            }
            3 | 4 => self.load(cache, key, start),
            _ => {
                let seen = if kind == 5 { cache.peek(&key) } else { cache.get(&key) };
                if let Some(value) = seen {
                    self.note(key, start, What::Read(value.number()));
                }
            }
        }
    }

    /// A read that loads here if need be. What a follower gets may have been voided; it is its
    /// loader's affair.
    fn load<V: Value>(&self, cache: &Cache<u8, V>, key: u8, start: u64) {
        let mut loaded = None;
        let got = cache.get_or_load_here(&key, || {
            let (value, began) = (self.value(), self.now());
            thread::yield_now();
            loaded = Some(What::Load(value, began, self.now()));
            Ok::<_, std::io::Error>(V::of(value))
        });
        let got = got.expect("the loader does not fail").number();
        match loaded {
            Some(load) => self.note(key, start, load),
            None => assert!(got < self.values.load(Ordering::SeqCst)),
        }
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Three threads, a few keys, a few hundred operations each; all but six in so many are reads.
fn run<V: Value>(cache: &Cache<u8, V>, seed: u64, keys: u64, kinds: u64) -> Vec<Event> {
    let run = Run::default();
    thread::scope(|scope| {
        for thread in 1..=3 {
            let (run, mut state) = (&run, seed * 31 + thread * 0x9e37_79b9);
            scope.spawn(move || {
                for _ in 0..300 {
                    let key = (random(&mut state) % keys) as u8;
                    run.step(cache, key, random(&mut state) % kinds);
                }
            });
        }
    });
    run.events.into_inner().unwrap()
}

fn check<V: Value>(settings: impl Fn() -> Builder<u8, V>, capacity: usize) {
    for (seed, kinds) in (1..=12).flat_map(|seed| [(seed, 8), (seed, 60)]) {
        let cache = settings().ttl(Duration::from_secs(3_600)).build().unwrap();
        let events = run(&cache, seed, 5, kinds);
        for key in 0..5 {
            let of_key: Vec<_> = events.iter().copied().filter(|e| e.key == key).collect();
            assert_eq!(fault(&of_key), None, "seed {seed}, key {key}");
        }
        assert!(cache.len() <= capacity);
        let reads = events.iter().filter(|event| matches!(event.what, What::Read(_)));
        assert!(reads.count() > 50, "a history in which nobody reads proves nothing");
    }
}

#[test]
fn one_table() {
    check(|| Cache::<u8, u64>::builder().capacity(4), 4);
}

#[test]
fn many_sets() {
    check(|| Cache::<u8, Arc<str>>::builder().capacity(2_000), 2_000);
}

#[test]
fn many_sets_of_numbers() {
    check(|| Cache::<u8, u64>::builder().capacity(2_000), 2_000);
    check(|| Cache::<u8, [u64; 8]>::builder().capacity(2_000), 2_000);
}

#[test]
fn many_sets_whose_waiters_sleep() {
    check(|| Cache::<u8, u64>::builder().capacity(2_000).waiting(Waiting::Park), 2_000);
}

#[test]
fn bounded_by_weight() {
    check(|| Cache::<u8, u64>::builder().weight_limit(3).weigher(|_, _| 1), 3);
}

#[test]
fn the_checker_accepts_what_is_right_and_rejects_what_is_not() {
    let event = |what, start, end| Event { key: 0, what, start, end };
    let (put, read) = (|v, s, e| event(What::Put(v), s, e), |v, s, e| event(What::Read(v), s, e));
    let load = event(What::Load(3, 21, 28), 20, 30);
    let right: [&[Event]; 3] = [
        &[put(1, 0, 5), put(2, 3, 8), read(1, 9, 10)],
        &[put(1, 0, 5), read(1, 1, 2)],
        &[load, put(4, 29, 33), read(3, 34, 35)],
    ];
    right.iter().for_each(|events| assert_eq!(fault(events), None));
    let wrong: [(&[Event], &str); 4] = [
        (&[put(1, 0, 1), put(2, 2, 3), read(1, 4, 5)], "had replaced"),
        (&[put(1, 0, 1), event(What::Remove, 2, 3), read(1, 4, 5)], "had replaced"),
        (&[read(7, 4, 5), put(7, 6, 7)], "nobody had written"),
        (&[load, put(4, 22, 25), read(3, 31, 32)], "had voided"),
    ];
    for (events, told) in wrong {
        assert!(fault(events).is_some_and(|fault| fault.contains(told)), "{events:?}");
    }
}
