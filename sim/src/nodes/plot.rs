//! Who reads and changes what, what goes wrong meanwhile, and what must hold all the same.

use core::future::poll_fn;
use core::hash::BuildHasherDefault;
use core::pin::{Pin, pin};
use core::task::Poll;
use core::time::Duration;
use std::collections::hash_map::DefaultHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_std::Loaded;
use cache_std::future::Cache;
use cache_std::sync::{LoadError, Previous};

use super::lines::NOTICED;
use super::store::{Health, Key, Server, Value};
use super::tags;
use super::world::World;
use super::{Tally, Violation};

mod deeds;

type Hasher = BuildHasherDefault<DefaultHasher>;
type Node = Cache<Key, Value, World, Hasher>;
type Answer = Pin<Box<dyn Future<Output = Result<Loaded<Value>, String>> + Send>>;

const KEYS: usize = 4;
const NODES: usize = 3;
const PEOPLE: usize = 2;
/// How long people are busy, in milliseconds.
const BUSY: u64 = 4_000;
/// After this, what has returned on one node is known to all: the loss of a line was noticed, and nothing
/// that was loaded without hearing counts as fresh any more. In milliseconds.
const KNOWN: u64 = NOTICED + 1_000 + 200;

/// After this, what has changed in the store is in no doubt, while store and wires work. In milliseconds.
const SETTLED: u64 = 150;

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
    /// A value was on its way when one of its tags changed, and the origin with it: which of the two came last
    /// is for the store to say. Until somebody changes the key again.
    torn: [Option<Value>; KEYS],
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
            torn: [None; KEYS],
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
                0..53 => self.read(node, key).await,
                53..58 => self.others_put(key),
                58..66 => self.read_many(node).await,
                66..72 => self.read_and_leave(node, key).await,
                72..82 => self.change(node, key).await,
                82..87 => self.change_and_put(node, key).await,
                87..89 => self.put_if_absent(node, key).await,
                89..91 => self.make_stale(node, key).await,
                91..98 => self.change_tag(node).await,
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
        let answer = cache.get_or_load_with(&key, self.loader(key)).await;
        self.judge(node, (key, least), answer);
        self.judge_wait(node, began);
    }

    /// A read of some keys at once, which may be the same.
    async fn read_many(&self, node: usize) {
        let Some(cache) = self.at(node) else { return };
        let many = 1 + self.world.below(KEYS as u64);
        let keys: Vec<_> = (0..many).map(|_| self.world.below(KEYS as u64) as Key).collect();
        let least: Vec<_> = keys.iter().map(|key| (*key, self.least(node, *key))).collect();
        let began = self.world.millis();
        let plot = self.clone();
        let load = move |keys: Vec<Key>| {
            let plot = plot.clone();
            async move { Ok::<_, String>(plot.origin(keys, began).await) }
        };
        let answers = cache.get_or_load_each(&keys, load).await;
        for (of, answer) in least.into_iter().zip(answers) {
            self.judge(node, of, answer);
        }
        self.judge_wait(node, began);
    }

    /// Whether this may be answered to who has asked for a key, of which `least` is known.
    fn judge(
        &self,
        node: usize,
        (key, least): (Key, Value),
        answer: Result<Value, LoadError<String>>,
    ) {
        self.world.note(|| format!("node {node}: read {key}: {answer:?}, at least {least}"));
        self.facts().tally.reads += 1;
        match answer {
            Ok(value) if value < least => {
                self.wrong(format!("node {node} read {value} of key {key}, after {least}"));
            }
            Ok(_) => {}
            Err(error) => self.wrong(format!("node {node} read key {key} and was told: {error}")),
        }
    }

    /// What the store has had for a while is not asked of the origin.
    fn judge_load(&self, key: Key, began: u64) {
        let offered = self.server.offered_since(key).filter(|_| !self.profile.breaks_store());
        if offered.is_some_and(|since| since + SETTLED < began) {
            self.wrong(format!("key {key} was loaded, which the store had"));
        }
    }

    fn judge_wait(&self, node: usize, began: u64) {
        let took = self.world.millis() - began;
        // Two processes may end, each of which held the lease, for 5 s; and where the store does not keep what is
        // loaded, all load one after another.
        if took > 12_000 {
            self.wrong(format!("node {node} waited {took} ms"));
        }
    }

    /// A read that is given up.
    async fn read_and_leave(&self, node: usize, key: Key) {
        let Some(cache) = self.at(node) else { return };
        let read = async { drop(cache.get_or_load_with(&key, self.loader(key)).await) };
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

    fn loader(&self, key: Key) -> impl FnOnce(Previous<Value>) -> Answer + Send + 'static + use<> {
        let (plot, began) = (self.clone(), self.world.millis());
        move |_| {
            Box::pin(async move {
                let answer = plot.origin(vec![key], began).await.pop();
                answer.map(|(_, loaded)| loaded).ok_or_else(|| "no answer".to_owned())
            })
        }
    }

    /// What the origin answers to a read that has begun then.
    async fn origin(&self, keys: Vec<Key>, began: u64) -> Vec<(Key, Loaded<Value>)> {
        self.facts().tally.loads += keys.len() as u64;
        keys.iter().for_each(|key| self.judge_load(*key, began));
        let most = if self.world.percent(5) { 800 } else { 40 };
        self.world.sleep_ms(self.world.below(most)).await;
        let origin = self.facts().origin;
        let answer = |key| (key, tags::tagged(key, origin[usize::from(key)]));
        let answers = keys.into_iter().map(answer).collect();
        self.world.sleep_ms(self.world.below(most)).await;
        answers
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
        match self.world.below(10) {
            0..2 => self.server.forget(),
            2 => self.server.forget_tags(),
            _ => {}
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
        let mut read = [const { vec![] }; KEYS];
        for node in 0..NODES {
            let Some(cache) = self.at(node) else { continue };
            let stats = cache.stats();
            self.facts().tally.refused += stats.store_refusals;
            self.facts().tally.errors += stats.store_errors;
            for key in 0..KEYS as Key {
                let answer = cache.get_or_load_with(&key, self.loader(key)).await;
                let all = &mut read[usize::from(key)];
                all.push(answer.map_err(|error| error.to_string()));
            }
        }
        for (key, all) in (0..).zip(read) {
            let at = usize::from(key);
            let facts = self.facts();
            let (origin, torn) = (facts.origin[at], facts.torn[at]);
            drop(facts);
            // What was on its way is read where the store has it: where it does not, that came first.
            let torn = torn.filter(|_| self.server.may_have(key, torn));
            if all.iter().any(|read| *read != Ok(origin) && read.as_ref().ok() != torn.as_ref()) {
                let what = format!("in the end, nodes read {all:?} of key {key}");
                self.wrong(format!("{what}, and the origin has {origin}, or {torn:?}"));
            }
        }
    }
}
