//! R9: what workers did with locks, written down and checked. They are late, die, are cancelled, and the
//! server is killed and forgets everything.
//!
//! All that is checked follows from the order of instants of one clock, so a slow machine has a shorter
//! history, and no other. `HISTORY_SECONDS` makes it longer.

mod support;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Clock};

use cache_redis::{
    AcquireError, ExtendError, LockOptions, RedisLock, RedisLocks, Released, Server,
};
use support::{PATIENCE, Random, RedisServer};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const NAMES: usize = 8;
const WORKERS: u64 = 4;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A lock that somebody held.
#[derive(Clone, Copy, Debug)]
struct Held {
    name: usize,
    fence: u64,
    asked: Clock,
    returned: Clock,
    /// The server's life, where it is sure that it was given in that.
    life: Option<u64>,
    /// Until when the holder was told that it counts on it, or until it began to release it.
    until: Clock,
    /// When the holder's work ended, which is later where it was not in time.
    ended: Clock,
}

/// What a history came to.
#[derive(Debug, Default)]
struct Seen {
    wrong: Vec<String>,
    /// Holders who still worked when another had it, and had been told that their time was over.
    announced: usize,
    /// The same, because a server forgot them: none can tell before it is asked.
    forgotten: usize,
}

/// Looks from the largest fence of each name to the smallest.
fn check(history: &[Held]) -> Seen {
    let mut seen = Seen::default();
    for name in 0..NAMES {
        let mut held: Vec<_> = history.iter().filter(|held| held.name == name).collect();
        held.sort_by_key(|held| held.fence);
        for pair in held.windows(2).filter(|pair| pair[0].fence == pair[1].fence) {
            seen.wrong.push(format!("a fence was given twice: {pair:?}"));
        }
        let (mut next, mut next_of_life): (Option<&Held>, Option<&Held>) = (None, None);
        for older in held.into_iter().rev() {
            compare(older, next, next_of_life, &mut seen);
            let earlier = |known: Option<&Held>| known.is_none_or(|k| older.returned < k.returned);
            next = if earlier(next) { Some(older) } else { next };
            if older.life.is_some() {
                let other = next_of_life.is_some_and(|known| known.life != older.life);
                let taken = other || earlier(next_of_life);
                next_of_life = if taken { Some(older) } else { next_of_life };
            }
        }
    }
    seen
}

/// A holder, with those of larger fences who had it first: of all, and of those of one life of the server.
fn compare(older: &Held, next: Option<&Held>, next_of_life: Option<&Held>, seen: &mut Seen) {
    let Some(next) = next else { return };
    if next.returned < older.asked {
        seen.wrong.push(format!("a fence is smaller than one before: {older:?} {next:?}"));
    }
    let works_on = next.returned < older.ended;
    match next_of_life {
        Some(next) if older.life.is_some() && next.life == older.life => {
            seen.announced += usize::from(works_on);
            if next.returned < older.until {
                seen.wrong.push(format!("two count on it: {older:?} {next:?}"));
            }
        }
        _ => seen.forgotten += usize::from(works_on),
    }
}

/// What a lock protects: a number that each holder reads, and writes one more. It takes nothing from who comes
/// with a fence below the largest that it has seen.
#[derive(Default)]
struct Guarded {
    largest: u64,
    value: u64,
    writes: u64,
    refused: u64,
}

impl Guarded {
    fn admits(&mut self, fence: u64) -> bool {
        let admitted = fence >= self.largest;
        self.largest = self.largest.max(fence);
        self.refused += u64::from(!admitted);
        admitted
    }

    fn read(&mut self, fence: u64) -> Option<u64> {
        self.admits(fence).then_some(self.value)
    }

    fn write(&mut self, fence: u64, read: u64) {
        if self.admits(fence) {
            self.value = read + 1;
            self.writes += 1;
        }
    }
}

/// What all share.
struct World {
    /// Odd while the server is being killed and started.
    life: AtomicU64,
    end: Clock,
    guarded: [Mutex<Guarded>; NAMES],
}

impl World {
    fn life(&self) -> u64 {
        self.life.load(SeqCst)
    }

    fn guarded<T>(&self, name: usize, act: impl FnOnce(&mut Guarded) -> T) -> T {
        act(&mut self.guarded[name].lock().unwrap())
    }
}

/// What a worker does with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    Release,
    Extend,
    Renew,
    /// Works on when the time is over, and is late with everything.
    Pause,
    Drop,
    /// As one does that is killed.
    Forget,
    /// Does not wait for the answer.
    Cancel,
}

impl Round {
    const fn of(n: u64) -> Self {
        match n {
            0 | 1 => Self::Pause,
            2 => Self::Renew,
            3..8 => Self::Extend,
            8 => Self::Forget,
            9 => Self::Cancel,
            10..16 => Self::Drop,
            _ => Self::Release,
        }
    }
}

/// One process.
struct Worker {
    world: Arc<World>,
    locks: RedisLocks,
    random: Random,
    history: Vec<Held>,
}

/// Until when the holder is told that it counts on it, or a little less.
fn counted_on(lock: &RedisLock) -> Clock {
    let now = Clock::now();
    now + lock.valid_for()
}

impl Worker {
    fn new(number: u64, world: &Arc<World>, redis: &RedisServer) -> Self {
        let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
        let locks = RedisLocks::new(&server.build().unwrap(), "app").unwrap();
        let (world, random) = (Arc::clone(world), Random(number));
        Self { world, locks, random, history: vec![] }
    }

    async fn work(mut self) -> Vec<Held> {
        while Clock::now() < self.world.end {
            self.round().await;
        }
        self.history
    }

    async fn round(&mut self) {
        let name = self.random.below(NAMES as u64) as usize;
        let round = Round::of(self.random.below(64));
        let ttl = ms(20 + self.random.below(30));
        let (life, asked) = (self.world.life(), Clock::now());
        let Some(lock) = self.acquire(name, round, ttl).await else { return };
        let returned = Clock::now();
        let same = life == self.world.life() && life.is_multiple_of(2);
        let (until, fence) = (counted_on(&lock), lock.fence());
        let life = same.then_some(life);
        let held = Held { name, fence, asked, returned, life, until, ended: returned };
        self.hold(lock, held, round, ttl).await;
    }

    async fn acquire(&mut self, name: usize, round: Round, ttl: Duration) -> Option<RedisLock> {
        let mut options = LockOptions::new(ttl);
        if round == Round::Renew {
            options = options.renew();
        }
        let name = name as u64;
        let acquiring = self.locks.acquire(&name, options);
        let patience = match round {
            Round::Cancel => Duration::from_micros(self.random.below(500)),
            _ => PATIENCE * 2,
        };
        match timeout(patience, acquiring).await {
            Ok(Ok(lock)) => Some(lock),
            Ok(Err(AcquireError::Held)) | Err(_) => None,
            Ok(Err(AcquireError::Store(_))) => {
                sleep(ms(1)).await;
                None
            }
            Ok(Err(error)) => panic!("{error}"),
        }
    }

    async fn hold(&mut self, lock: RedisLock, mut held: Held, round: Round, ttl: Duration) {
        let (name, fence) = (held.name, held.fence);
        let read = self.world.guarded(name, |guarded| guarded.read(fence));
        match round {
            Round::Extend => self.extend(&lock, &mut held, ttl).await,
            Round::Renew => self.watch(&lock, &mut held, ttl).await,
            Round::Pause => self.pause(&lock, &held, ttl).await,
            _ => {}
        }
        if let Some(read) = read {
            self.world.guarded(name, |guarded| guarded.write(fence, read));
        }
        let counted_on = held.until;
        held.ended = Clock::now();
        match round {
            Round::Forget => std::mem::forget(lock),
            Round::Drop => {
                held.until = counted_on.min(held.ended);
                drop(lock);
            }
            _ => {
                held.until = counted_on.min(held.ended);
                let released = lock.release().await;
                let in_time = Clock::now() < counted_on && self.lives(&held);
                let wrong = match released {
                    Ok(Released::Released) => round == Round::Pause,
                    Ok(Released::AlreadyLost) => in_time,
                    Err(_) => false,
                };
                assert!(!wrong, "{released:?} of {held:?} after {round:?}");
            }
        }
        self.history.push(held);
    }

    /// Whether the server that gave it has lived since.
    fn lives(&self, held: &Held) -> bool {
        held.life == Some(self.world.life())
    }

    async fn extend(&self, lock: &RedisLock, held: &mut Held, ttl: Duration) {
        match lock.extend(ttl).await {
            Ok(()) => held.until = counted_on(lock),
            Err(ExtendError::Lost) => {
                let in_time = Clock::now() < held.until && self.lives(held);
                assert!(!in_time, "somebody else has ended {held:?}");
            }
            Err(_) => {}
        }
    }

    /// Holds one that is renewed for longer than its ttl.
    async fn watch(&self, lock: &RedisLock, held: &mut Held, ttl: Duration) {
        for _ in 0..8 {
            let _ = timeout(ttl / 4, lock.lost()).await;
            let until = counted_on(lock);
            if lock.valid_for().is_zero() {
                let in_time = Clock::now() < held.until && self.lives(held);
                assert!(!in_time, "somebody else has ended {held:?}");
                return;
            }
            held.until = held.until.max(until);
        }
    }

    /// Sleeps until it is over, and somebody else has it, unless nobody comes.
    async fn pause(&self, lock: &RedisLock, held: &Held, ttl: Duration) {
        sleep(ttl + ms(3)).await;
        for _ in 0..50 {
            if self.world.guarded(held.name, |guarded| guarded.largest > held.fence) {
                break;
            }
            sleep(ms(2)).await;
        }
        assert!(lock.valid_for().is_zero(), "{held:?} was not told that it is over");
        timeout(PATIENCE, lock.lost()).await.expect("it is over");
        if held.fence.is_multiple_of(2) {
            let extended = lock.extend(ttl).await;
            assert!(extended.is_err(), "{held:?} was extended after its end");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_no_history_of_locks_has_two_who_count_on_one() {
    let given = std::env::var("HISTORY_SECONDS").ok().and_then(|text| text.parse().ok());
    let span = Duration::from_secs(given.unwrap_or(10));
    let mut redis = RedisServer::start();
    let world = Arc::new(World {
        life: AtomicU64::new(0),
        end: Clock::now() + span,
        guarded: Default::default(),
    });
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn(Worker::new(number, &world, &redis).work());
    }
    sleep(span / 2).await;
    world.life.store(1, SeqCst);
    redis.kill();
    redis.restart();
    world.life.store(2, SeqCst);
    let history = workers.join_all().await.concat();
    let seen = check(&history);
    assert!(seen.wrong.is_empty(), "{:#?}", &seen.wrong[..seen.wrong.len().min(3)]);
    let mut refused = 0;
    for name in 0..NAMES {
        let [value, writes, no] =
            world.guarded(name, |guarded| [guarded.value, guarded.writes, guarded.refused]);
        assert_eq!(value, writes, "a write was lost");
        refused += no;
    }
    let lives = [0, 2].map(|life| history.iter().filter(|held| held.life == Some(life)).count());
    println!(
        "{} acquisitions, {lives:?} of them before and after the server was killed; {} worked on while \
         another had it and knew, {} because the server had forgotten them; {refused} came with old fences",
        history.len(),
        seen.announced,
        seen.forgotten
    );
    assert!(lives.iter().all(|count| *count > 0));
}

/// What the checker must find.
#[test]
fn r9_the_checker_finds_what_is_wrong() {
    let start = Clock::now();
    let at = |n: u64| start + ms(n);
    let held = |fence, times: [u64; 4], life| Held {
        name: 0,
        fence,
        asked: at(times[0]),
        returned: at(times[1]),
        until: at(times[2]),
        ended: at(times[3]),
        life,
    };
    let first = held(1, [0, 1, 10, 20], Some(0));
    let cases = [
        (held(2, [10, 11, 20, 20], Some(0)), [0, 1, 0]),
        (held(2, [8, 9, 20, 20], Some(0)), [1, 1, 0]),
        (held(2, [8, 9, 20, 20], Some(2)), [0, 0, 1]),
        (held(2, [8, 9, 20, 20], None), [0, 0, 1]),
        (held(1, [30, 31, 40, 40], Some(2)), [1, 0, 0]),
        (held(0, [30, 31, 40, 40], Some(2)), [1, 0, 0]),
    ];
    for (second, expected) in cases {
        let Seen { wrong, announced, forgotten } = check(&[first, second]);
        let found = [wrong.len(), announced, forgotten];
        // Those in the wrong order work at the same time as well.
        assert_eq!(found[0], expected[0], "{second:?}: {wrong:?}");
        if second.fence == 2 {
            assert_eq!(found, expected, "{second:?}");
        }
    }
}
