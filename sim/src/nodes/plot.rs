//! Who reads and changes what, what goes wrong meanwhile, and what must hold all the same.

use core::future::poll_fn;
use core::hash::BuildHasherDefault;
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::collections::hash_map::DefaultHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_std::future::Cache;
use cache_std::sync::Reach;

use super::store::{Health, Key, NOTICED, Server, Value};
use super::world::World;
use super::{Tally, Violation};

type Hasher = BuildHasherDefault<DefaultHasher>;
type Node = Cache<Key, Value, World, Hasher>;

const KEYS: usize = 4;
const NODES: usize = 3;
const PEOPLE: usize = 2;
/// How long people are busy, in milliseconds.
const BUSY: u64 = 4_000;
/// After this, what has returned on one node is known to all: the loss of a line was noticed, and nothing
/// that was loaded without hearing counts as fresh any more. In milliseconds.
const KNOWN: u64 = NOTICED + 1_000 + 200;

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Nothing.
    Calm,
    /// The store is down, hangs, forgets; what is sent to it and what it answers is lost.
    Store,
    /// Lines are cut.
    Lines,
    /// Both.
    Both,
    /// Processes end, and others take their places.
    Restarts,
}

impl Profile {
    const fn of(seed: u64) -> Self {
        match seed % 8 {
            0 => Self::Calm,
            1 | 2 => Self::Store,
            3 => Self::Lines,
            4..=6 => Self::Both,
            _ => Self::Restarts,
        }
    }

    const fn breaks_store(self) -> bool {
        matches!(self, Self::Store | Self::Both)
    }

    const fn breaks_lines(self) -> bool {
        matches!(self, Self::Lines | Self::Both)
    }
}

/// What the origin has, and what is known to whom.
struct Facts {
    origin: [Value; KEYS],
    /// What a node has been told, by mutations that have returned there.
    here: [[Value; KEYS]; NODES],
    /// Mutations that have reached the store, and when they returned.
    everywhere: [Vec<(u64, Value)>; KEYS],
    /// Somebody changes the origin and puts the value, so that nobody else may.
    putting: [bool; KEYS],
    /// The origin fails.
    failing: bool,
    wrong: Option<String>,
    tally: Tally,
}

#[derive(Clone)]
struct Plot {
    world: World,
    server: Server,
    profile: Profile,
    nodes: Arc<Mutex<Vec<Option<Node>>>>,
    facts: Arc<Mutex<Facts>>,
}

/// Runs one seed.
///
/// # Errors
/// Something happened that must not.
pub fn run(seed: u64, verbose: bool) -> Result<Tally, Violation> {
    let world = World::new(seed, verbose);
    let plot = Plot::new(&world, Profile::of(seed));
    let body = plot.clone();
    world.run(async move { body.play().await });
    plot.nodes().clear();
    let mut facts = plot.facts();
    facts.tally.trace = world.trace();
    let (wrong, tally) = (facts.wrong.take(), facts.tally);
    drop(facts);
    world.end();
    match wrong {
        Some(what) => Err(Violation { seed, what: format!("{:?}: {what}", plot.profile) }),
        None => Ok(tally),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plot {
    fn new(world: &World, profile: Profile) -> Self {
        let facts = Facts {
            origin: [1; KEYS],
            here: [[0; KEYS]; NODES],
            everywhere: Default::default(),
            putting: [false; KEYS],
            failing: false,
            wrong: None,
            tally: Tally::default(),
        };
        let server = Server::new(world);
        let plot = Self {
            world: world.clone(),
            server,
            profile,
            nodes: Arc::default(),
            facts: Arc::new(Mutex::new(facts)),
        };
        let nodes: Vec<_> = (0..NODES).map(|_| Some(plot.node())).collect();
        *plot.nodes() = nodes;
        plot
    }

    /// One more process.
    fn node(&self) -> Node {
        let seconds = Duration::from_secs;
        let builder = Cache::builder_on(self.world.clone()).capacity(64).ttl(seconds(60));
        let builder = builder.jitter_percent(0).time(self.world.clone()).hasher(Hasher::default());
        let builder = builder.l2(self.server.clone()).backplane(self.server.clone());
        #[allow(clippy::expect_used)]
        builder.build().expect("the settings contradict nothing")
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Option<Node>>> {
        lock(&self.nodes)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        lock(&self.facts)
    }

    fn wrong(&self, what: String) {
        self.world.note(|| what.clone());
        let mut facts = self.facts();
        if facts.wrong.is_none() {
            facts.wrong = Some(what);
        }
    }

    async fn play(self) {
        let mut people = vec![];
        for node in 0..NODES {
            for _ in 0..PEOPLE {
                people.push(self.start(self.clone().person(node)));
            }
        }
        let trouble = self.start(self.clone().trouble());
        for ended in people.into_iter().chain([trouble]) {
            poll_fn(|context| ended.poll(context)).await;
        }
        self.quiet().await;
    }

    /// Starts a task; the signal is set when it has ended.
    fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> Arc<cache_std::Signal> {
        let signal = Arc::new(cache_std::Signal::new());
        let ended = Arc::clone(&signal);
        self.world.spawn(async move {
            task.await;
            ended.set();
        });
        signal
    }

    /// Somebody at a node.
    async fn person(self, node: usize) {
        let until = self.world.millis() + BUSY;
        while self.world.millis() < until && self.facts().wrong.is_none() {
            self.world.sleep_ms(self.world.below(60)).await;
            let key = self.world.below(KEYS as u64) as Key;
            match self.world.below(100) {
                0..70 => self.read(node, key).await,
                70..76 => self.read_and_leave(node, key).await,
                76..90 => self.change(node, key).await,
                90..96 => self.change_and_put(node, key).await,
                96..98 => self.make_stale(node, key).await,
                _ => self.clear(node).await,
            }
        }
    }

    fn at(&self, node: usize) -> Option<Node> {
        self.nodes()[node].clone()
    }

    /// The least that a read at this node may see that begins now.
    fn least(&self, node: usize, key: Key) -> Value {
        let (now, key) = (self.world.millis(), usize::from(key));
        let facts = self.facts();
        let known = facts.everywhere[key].iter().filter(|(at, _)| at + KNOWN <= now);
        let known = known.map(|(_, value)| *value).max().unwrap_or(0);
        known.max(facts.here[node][key])
    }

    async fn read(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let (least, began) = (self.least(node, key), self.world.millis());
        let answer = cache.get_or_load(&key, self.loader(key)).await;
        let took = self.world.millis() - began;
        self.world.note(|| format!("node {node}: read {key}: {answer:?}, at least {least}"));
        self.facts().tally.reads += 1;
        match answer {
            Ok(value) if value < least => {
                self.wrong(format!("node {node} read {value} of key {key}, after {least}"));
            }
            Ok(_) => {}
            Err(error) => {
                if !self.facts().failing {
                    self.wrong(format!("node {node} read key {key} and was told: {error}"));
                }
            }
        }
        if took > 8_000 {
            self.wrong(format!("node {node} waited {took} ms for key {key}"));
        }
    }

    /// A read that is given up.
    async fn read_and_leave(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let read = async { drop(cache.get_or_load(&key, self.loader(key)).await) };
        self.leave(read, 80).await;
    }

    /// Polls it for up to so many milliseconds. Whether it has ended, and whether its first poll has sent
    /// something to the store.
    async fn leave(&self, work: impl Future<Output = ()>, most: u64) -> (bool, bool) {
        let (mut work, mut over) = (pin!(work), pin!(self.world.sleep_ms(self.world.below(most))));
        let mut sent = None;
        let ended = poll_fn(|context| {
            let before = self.server.asked();
            let polled = work.as_mut().poll(context);
            sent.get_or_insert_with(|| self.server.asked() > before);
            match polled {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => over.as_mut().poll(context).map(|()| false),
            }
        })
        .await;
        (ended, sent == Some(true))
    }

    fn loader(
        &self,
        key: Key,
    ) -> impl FnOnce() -> core::pin::Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>
    + Send
    + 'static
    + use<> {
        let plot = self.clone();
        move || {
            Box::pin(async move {
                plot.facts().tally.loads += 1;
                let most = if plot.world.percent(5) { 800 } else { 40 };
                plot.world.sleep_ms(plot.world.below(most)).await;
                let value = plot.facts().origin[usize::from(key)];
                plot.world.sleep_ms(plot.world.below(most)).await;
                Ok(value)
            })
        }
    }

    /// What a mutation that has returned says.
    fn returned(&self, node: usize, key: Key, value: Value, reach: Reach) {
        let (now, at) = (self.world.millis(), usize::from(key));
        let mut facts = self.facts();
        facts.tally.mutations += 1;
        facts.here[node][at] = facts.here[node][at].max(value);
        if reach == Reach::Everywhere {
            facts.everywhere[at].push((now, value));
        }
        drop(facts);
        self.world.note(|| format!("node {node}: {value} of {key} has reached {reach:?}"));
    }

    /// A new version in the origin, unless somebody holds it.
    fn write(&self, key: Key, holds: bool) -> Option<Value> {
        let mut facts = self.facts();
        let key = usize::from(key);
        if facts.putting[key] {
            return None;
        }
        facts.putting[key] = holds;
        facts.origin[key] += 1;
        Some(facts.origin[key])
    }

    async fn change(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, false) else { return };
        self.world.note(|| format!("node {node}: the origin has {value} of {key}"));
        let leaves = self.profile != Profile::Restarts && self.world.percent(15);
        if leaves {
            let gone = async {
                cache.invalidate(&key).await;
            };
            let (ended, sent) = self.leave(gone, 20).await;
            if !ended {
                self.world.note(|| format!("node {node}: left an invalidation of {key}"));
                // What was sent is enough, whatever becomes of it.
                if sent && self.world.percent(50) {
                    return;
                }
            }
        }
        let reach = cache.invalidate(&key).await.reach;
        self.returned(node, key, value, reach);
    }

    /// Only one at a time may, or what is put is not what the origin has.
    async fn change_and_put(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, true) else { return };
        self.world.note(|| format!("node {node}: puts {value} of {key}"));
        let _ = cache.put(key, value).await;
        self.facts().putting[usize::from(key)] = false;
        self.returned(node, key, value, Reach::Queued); // who else knows is not told
    }

    async fn make_stale(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let Some(value) = self.write(key, false) else { return };
        let reach = cache.expire(&key).await.reach;
        self.returned(node, key, value, reach);
    }

    async fn clear(&self, node: usize) {
        let Some(cache) = self.at(node) else { return };
        let before = self.facts().origin;
        let reach = cache.clear().await;
        for (key, value) in (0..).zip(before) {
            // What is being put meanwhile may come after.
            if !self.facts().putting[usize::from(key)] {
                self.returned(node, key, value, reach);
            }
        }
    }

    /// What goes wrong.
    async fn trouble(self) {
        let until = self.world.millis() + BUSY;
        if self.profile.breaks_store() && self.world.percent(50) {
            self.server.lossy(self.world.below(10));
        }
        while self.world.millis() < until {
            self.world.sleep_ms(self.world.below(900)).await;
            if self.profile.breaks_store() && self.world.percent(50) {
                self.break_store().await;
            }
            if self.profile.breaks_lines() {
                self.break_line().await;
            }
            if self.profile == Profile::Restarts {
                self.restart().await;
            }
        }
        self.server.lossy(0);
        self.server.set_health(Health::Up);
        (0..NODES * 64).for_each(|line| self.server.mend(line));
    }

    async fn break_store(&self) {
        let health = if self.world.percent(50) { Health::Down } else { Health::Hangs };
        self.server.set_health(health);
        let cuts: Vec<_> = (0..NODES).map(|line| self.cut(line)).collect();
        self.world.sleep_ms(50 + self.world.below(1_500)).await;
        for cut in cuts {
            poll_fn(|context| cut.poll(context)).await;
        }
        if self.world.percent(20) {
            self.server.forget();
        }
        self.server.set_health(Health::Up);
        self.world.sleep_ms(self.world.below(300)).await;
        (0..NODES).for_each(|line| self.server.mend(line));
    }

    async fn break_line(&self) {
        let line = self.world.below(NODES as u64) as usize;
        let cut = self.cut(line);
        self.world.sleep_ms(self.world.below(3_500)).await;
        poll_fn(|context| cut.poll(context)).await;
        self.server.mend(line);
    }

    fn cut(&self, line: usize) -> Arc<cache_std::Signal> {
        let server = self.server.clone();
        self.start(async move { server.cut(line).await })
    }

    async fn restart(&self) {
        let node = self.world.below(NODES as u64) as usize;
        self.world.note(|| format!("node {node} ends"));
        self.nodes()[node] = None;
        self.facts().here[node] = [0; KEYS];
        self.world.sleep_ms(self.world.below(300)).await;
        let new = self.node();
        self.nodes()[node] = Some(new);
    }

    /// When nothing goes wrong any more, all read what the origin has.
    async fn quiet(&self) {
        self.world.sleep_ms(8_000).await;
        for node in 0..NODES {
            let Some(cache) = self.at(node) else { continue };
            let stats = cache.stats();
            self.facts().tally.refused += stats.store_refusals;
            self.facts().tally.errors += stats.store_errors;
            for key in 0..KEYS as Key {
                let answer = cache.get_or_load(&key, self.loader(key)).await;
                let origin = self.facts().origin[usize::from(key)];
                if answer.as_ref().ok() != Some(&origin) {
                    let what = format!("in the end, node {node} reads {answer:?} of key {key}");
                    self.wrong(format!("{what}, and the origin has {origin}"));
                }
            }
        }
    }
}
