//! The cache for threads: each caller a thread of its own, the origin a channel, time virtual.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use advanced_caching::sync::Cache;
use advanced_caching::{Clock, Explanation, Instant, Loaded, ManualTime, Stats};

use super::{
    Answer, Driver, Key, KeyHash, Origin, Reply, Setup, Told, Value, holding_refreshes,
    panic_quietly,
};

type Channel<T> = (Sender<T>, Receiver<T>);

pub(crate) struct Threads {
    cache: Cache<Key, Value, KeyHash>,
    time: ManualTime,
    /// Where loaders say that they run, and how they can be answered.
    begun: Channel<Sender<Answer>>,
    /// Where callers say what they were told.
    answers: Channel<(usize, Told)>,
    callers: Vec<Caller>,
    loads: Vec<Load>,
}

struct Caller {
    /// The load that it waits for.
    load: usize,
    told: Option<Told>,
}

struct Load {
    key: Key,
    /// Gone once the load has ended.
    origin: Option<Sender<Answer>>,
}

impl Threads {
    /// Waits until every caller has either been answered or waits on the clock.
    fn settle(&mut self) {
        loop {
            while let Ok((caller, told)) = self.answers.1.try_recv() {
                self.callers[caller - 1].told = Some(told);
            }
            let waiting = self.callers.iter().filter(|caller| caller.told.is_none()).count();
            if waiting == self.time.parked() {
                return;
            }
            thread::yield_now();
        }
    }

    /// Waits for the loader of a load that was granted; it may first need a free worker.
    fn note_load(&mut self, key: Key) {
        let origin = self.begun.1.recv().expect("the driver holds a sender");
        self.loads.push(Load { key, origin: Some(origin) });
    }

    /// Loads that have ended one way or the other.
    fn ended(&self) -> u64 {
        let stats = self.stats();
        stats.landed + stats.superseded + stats.failures + stats.abandoned
    }

    fn newest_load(&self, key: Key) -> usize {
        let newest = self.loads.iter().rposition(|load| load.key == key);
        1 + newest.expect("who waits, waits for a load")
    }
}

/// The loader: tells the test that it runs, and answers what the test says.
fn load(begun: &Sender<Sender<Answer>>) -> Result<Loaded<Value>, Origin> {
    let (origin, answer) = channel();
    begun.send(origin).expect("the test waits for loads");
    match answer.recv() {
        Ok(Answer::Loaded(loaded)) => Ok(loaded),
        Ok(Answer::Error(text)) => Err(Origin(text)),
        Ok(Answer::Panic(text)) => panic_quietly(text),
        Err(_) => Err(Origin("the test is over")),
    }
}

impl Driver for Threads {
    fn new(Setup { policy, capacity, max_loads }: Setup) -> Self {
        let time = ManualTime::new();
        let cache = Cache::builder().policy(policy).capacity(capacity).max_loads(max_loads);
        let cache = cache.hasher(KeyHash::default()).time(time.clone()).build();
        Self {
            cache: cache.expect("settings that can be"),
            time,
            begun: channel(),
            answers: channel(),
            callers: Vec::new(),
            loads: Vec::new(),
        }
    }

    fn watch(body: impl FnOnce() + Send + 'static) {
        holding_refreshes(body);
    }

    fn read(&mut self, key: Key) -> Reply {
        let freshness = self.freshness(key);
        let loads = self.stats().loads;
        self.callers.push(Caller { load: 0, told: None });
        let caller = self.callers.len();
        let (cache, begun, answers) =
            (self.cache.clone(), self.begun.0.clone(), self.answers.0.clone());
        thread::spawn(move || {
            let result = cache.get_or_load_with(&key, move |_| load(&begun));
            let _ = answers.send((caller, result.into()));
        });
        self.settle();
        if self.stats().loads > loads {
            self.note_load(key);
        }
        match (self.told(caller), freshness) {
            (None, _) => {
                self.callers[caller - 1].load = self.newest_load(key);
                Reply::Waits(self.callers.len())
            }
            (Some(Told::Value(value)), Some(freshness)) => Reply::Served(value, freshness),
            (Some(told), _) => Reply::Told(told),
        }
    }

    fn end(&mut self, load: usize, answer: impl Into<Answer>) {
        let ended = self.ended();
        let origin = self.loads[load - 1].origin.take().expect("the load runs");
        origin.send(answer.into()).expect("the loader waits for its answer");
        while self.ended() == ended {
            thread::yield_now();
        }
        let waits = |caller: &Caller| caller.load == load && caller.told.is_none();
        while self.callers.iter().any(waits) {
            let (caller, told) = self.answers.1.recv().expect("the driver holds a sender");
            self.callers[caller - 1].told = Some(told);
        }
        self.settle();
    }

    fn advance(&mut self, span: Duration) {
        let loads = self.stats().loads;
        self.time.advance(span);
        self.settle();
        // It would be chance which of those who wait leads.
        assert_eq!(self.stats().loads, loads, "give these tests a lease past the hard time-out");
    }

    fn get(&mut self, key: Key) -> Option<Value> {
        self.cache.get(&key)
    }

    fn put(&mut self, key: Key, loaded: Loaded<Value>) -> bool {
        self.cache.put(key, loaded).is_stored()
    }

    fn put_if_absent(&mut self, key: Key, loaded: Loaded<Value>) -> bool {
        self.cache.put_if_absent(key, loaded).is_stored()
    }

    fn expire(&mut self, key: Key) -> bool {
        self.cache.expire(&key).found
    }

    fn invalidate(&mut self, key: Key) -> bool {
        self.cache.invalidate(&key).found
    }

    fn clear(&mut self) {
        self.cache.clear();
    }

    fn expire_tag(&mut self, tag: &str) {
        self.cache.expire_tag(tag);
    }

    fn invalidate_tag(&mut self, tag: &str) {
        self.cache.invalidate_tag(tag);
    }

    fn purge(&mut self) -> usize {
        self.cache.purge_expired()
    }

    fn contains(&self, key: Key) -> bool {
        self.cache.contains(&key)
    }

    fn peek(&self, key: Key) -> Option<Value> {
        self.cache.peek(&key)
    }

    fn explain(&self, key: Key) -> Explanation {
        self.cache.explain(&key)
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn stats(&self) -> Stats {
        self.cache.stats()
    }

    fn now(&self) -> Instant {
        self.time.now()
    }

    fn told(&self, caller: usize) -> Option<Told> {
        self.callers[caller - 1].told.clone()
    }

    fn loads(&self) -> usize {
        self.loads.len()
    }

    fn running(&self) -> Vec<usize> {
        let runs = |n: &usize| self.loads[n - 1].origin.is_some();
        (1..=self.loads.len()).filter(runs).collect()
    }
}
