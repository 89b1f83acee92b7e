//! R9: what workers did with locks, written down and checked. They are late, die, are cancelled, and the
//! server is killed and forgets everything.
//!
//! All that is checked follows from the order of instants of one clock, so a slow machine has a shorter
//! history, and no other. `HISTORY_SECONDS` makes it longer; `cargo xtask soak --locks 1000000` goes on until so many
//! locks were held, with more workers, and more deaths of the server.

mod support;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Clock};

use cache_redis::{
    AcquireError, Connection, ExtendError, LockOptions, RedisLock, RedisLocks, Released, Server,
};
use support::{PATIENCE, Random, RedisServer, eventually};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Processes, each with a connection of its own.
const PROCESSES: u64 = 4;

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
    /// When the holder was last told that it has it surely.
    sure: Clock,
}

/// What a history came to.
#[derive(Debug, Default)]
struct Seen {
    wrong: Vec<String>,
    /// Holders who still worked when another had it, and had been told that their time was over.
    announced: usize,
    /// The same, because a server forgot them; they had been told as well.
    forgotten: usize,
}

/// Looks from the largest fence of each name to the smallest.
fn check(history: &[Held]) -> Seen {
    let mut seen = Seen::default();
    let mut history: Vec<_> = history.iter().collect();
    history.sort_by_key(|held| (held.name, held.fence));
    for held in history.chunk_by(|one, next| one.name == next.name) {
        for pair in held.windows(2).filter(|pair| pair[0].fence == pair[1].fence) {
            seen.wrong.push(format!("a fence was given twice: {pair:?}"));
        }
        let (mut next, mut next_of_life): (Option<&Held>, Option<&Held>) = (None, None);
        for older in held.iter().copied().rev() {
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
    } else if next.returned < older.sure {
        seen.wrong.push(format!("it was not told that another has it: {older:?} {next:?}"));
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
    /// When all end, if not after so many acquisitions.
    end: Clock,
    enough: Option<u64>,
    acquired: AtomicU64,
    /// Those who hold a lock that lasts for longer than the server.
    keeping: AtomicU64,
    released: AtomicU64,
    guarded: Vec<Mutex<Guarded>>,
}

impl World {
    fn new(span: Duration, enough: Option<u64>, names: usize) -> Arc<Self> {
        Arc::new(Self {
            life: AtomicU64::new(0),
            end: Clock::now() + span,
            enough,
            acquired: AtomicU64::new(0),
            keeping: AtomicU64::new(0),
            released: AtomicU64::new(0),
            guarded: (0..names).map(|_| Mutex::default()).collect(),
        })
    }

    fn life(&self) -> u64 {
        self.life.load(SeqCst)
    }

    fn guarded<T>(&self, name: usize, act: impl FnOnce(&mut Guarded) -> T) -> T {
        act(&mut self.guarded[name].lock().unwrap())
    }

    /// How much of it is over, from 0 to 1.
    fn progress(&self, span: Duration) -> f64 {
        match self.enough {
            Some(enough) => self.acquired.load(SeqCst) as f64 / enough as f64,
            None => 1.0 - (self.end.saturating_duration_since(Clock::now())).div_duration_f64(span),
        }
    }

    fn is_over(&self) -> bool {
        match self.enough {
            Some(enough) => self.acquired.load(SeqCst) >= enough,
            None => Clock::now() >= self.end,
        }
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
    /// Holds one that lasts for longer than the server.
    Keep,
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
            10 => Self::Keep,
            11..16 => Self::Drop,
            _ => Self::Release,
        }
    }
}

/// One of a process's tasks.
struct Worker {
    world: Arc<World>,
    locks: RedisLocks,
    random: Random,
    history: Vec<Held>,
}

/// Until when the holder is told that it counts on it, or a little less; `None` if it does not.
fn counted_on(lock: &RedisLock) -> Option<Clock> {
    let now = Clock::now();
    let left = lock.valid_for();
    (!left.is_zero()).then(|| now + left)
}

/// Notes that the holder was told now that it has it surely, if it was.
fn note_sure(lock: &RedisLock, held: &mut Held) {
    let now = Clock::now();
    if !lock.valid_for().is_zero() {
        held.sure = now;
    }
}

impl Worker {
    async fn work(mut self) -> Vec<Held> {
        while !self.world.is_over() {
            self.round().await;
        }
        self.history
    }

    async fn round(&mut self) {
        let name = self.random.below(self.world.guarded.len() as u64) as usize;
        let round = Round::of(self.random.below(64));
        let ttl = ms(if round == Round::Keep { 30_000 } else { 20 + self.random.below(30) });
        let (life, asked) = (self.world.life(), Clock::now());
        let Some(lock) = self.acquire(name, round, ttl).await else { return };
        let returned = Clock::now();
        self.world.acquired.fetch_add(1, SeqCst);
        let same = life == self.world.life() && life.is_multiple_of(2);
        // What was given too late to be counted on was never.
        let (until, fence) = (counted_on(&lock).unwrap_or(asked), lock.fence());
        let life = same.then_some(life);
        let held = Held { name, fence, asked, returned, life, until, ended: returned, sure: asked };
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
            Round::Keep => self.keep(&lock, &mut held).await,
            _ => {}
        }
        note_sure(&lock, &mut held);
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
                self.world.released.fetch_add(u64::from(released.is_ok()), SeqCst);
                // Also where another's release, which came late, had ended it.
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
            Ok(()) => held.until = counted_on(lock).unwrap_or(held.until),
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
            let Some(until) = counted_on(lock) else {
                let in_time = Clock::now() < held.until && self.lives(held);
                assert!(!in_time, "somebody else has ended {held:?}");
                return;
            };
            held.until = held.until.max(until);
            note_sure(lock, held);
        }
    }

    /// Holds it for a while, and as long as the server is dying; then until somebody else has it, unless nobody
    /// comes.
    async fn keep(&self, lock: &RedisLock, held: &mut Held) {
        let life = self.world.life();
        self.world.keeping.fetch_add(1, SeqCst);
        while held.returned.elapsed() < ms(100) || !self.world.life().is_multiple_of(2) {
            note_sure(lock, held);
            sleep(ms(2)).await;
        }
        self.world.keeping.fetch_sub(1, SeqCst);
        for _ in 0..50 {
            let taken = self.world.guarded(held.name, |guarded| guarded.largest > held.fence);
            if life == self.world.life() || taken {
                break;
            }
            note_sure(lock, held);
            sleep(ms(2)).await;
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

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The server dies, and comes back empty, when all who have locks of it have noticed.
async fn bury(world: &World, redis: &mut RedisServer, servers: &[Server]) {
    world.life.fetch_add(1, SeqCst);
    eventually("somebody has one that lasts", async || world.keeping.load(SeqCst) > 0).await;
    redis.kill();
    let gone = || servers.iter().all(|server| server.connection() != Connection::Up);
    eventually("all have noticed", async || gone()).await;
    redis.restart();
    world.life.fetch_add(1, SeqCst);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_no_history_of_locks_has_two_who_count_on_one() {
    let (began, enough) = (Clock::now(), setting("HISTORY_LOCKS"));
    let span = Duration::from_secs(setting("HISTORY_SECONDS").unwrap_or(10));
    let (tasks, deaths) = if enough.is_some() { (16, 20) } else { (1, 1) };
    let mut redis = RedisServer::start();
    let world = World::new(span, enough, (2 * PROCESSES * tasks) as usize);
    let open = |_| {
        let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
        server.build().unwrap()
    };
    let servers: Vec<_> = (0..PROCESSES).map(open).collect();
    let mut workers = JoinSet::new();
    for number in 0..PROCESSES * tasks {
        let server = &servers[(number % PROCESSES) as usize];
        let locks = RedisLocks::new(server, "app").unwrap();
        let (world, random) = (Arc::clone(&world), Random(number));
        workers.spawn(Worker { world, locks, random, history: vec![] }.work());
    }
    for death in 1..=deaths {
        let at = f64::from(death) / f64::from(deaths + 1);
        while world.progress(span) < at {
            sleep(ms(5)).await;
        }
        bury(&world, &mut redis, &servers).await;
    }
    let history = workers.join_all().await.concat();
    let seen = check(&history);
    assert!(seen.wrong.is_empty(), "{:#?}", &seen.wrong[..seen.wrong.len().min(3)]);
    let mut refused = 0;
    for guarded in &world.guarded {
        let Guarded { value, writes, refused: late, .. } = &*guarded.lock().unwrap();
        assert_eq!(value, writes, "a write was lost");
        refused += late;
    }
    let of = |life| history.iter().filter(|held| held.life == Some(life)).count();
    let lives: Vec<_> = (0..=world.life()).step_by(2).map(of).collect();
    println!(
        "{} locks were held in {:.0} s, {lives:?} of them in each of the server's lives, and {} released, no \
         other's among them; {} worked on while another had it and knew, {} because the server had forgotten \
         them; {refused} came with old fences",
        history.len(),
        began.elapsed().as_secs_f64(),
        world.released.load(SeqCst),
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
        sure: at(times[0]),
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
    let second = held(2, [8, 9, 20, 20], Some(2));
    let told_late = Held { sure: at(9) + ms(1), ..first };
    assert_eq!(check(&[told_late, second]).wrong.len(), 1, "it was told after another had it");
}
