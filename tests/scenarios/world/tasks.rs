//! The cache for tasks, on tokio: each caller a task of its own, the origin a channel, and the time
//! that of a paused runtime.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use advanced_caching::future::{Cache, TokioTime};
use advanced_caching::{Explanation, Instant, Loaded, Stats};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};

use super::{
    Answer, Driver, Key, KeyHash, Origin, Reply, Setup, Told, Value, panic_quietly, within_a_minute,
};

type Channel<T> = (Sender<T>, Receiver<T>);

pub(crate) struct Tasks {
    cache: Cache<Key, Value, KeyHash>,
    /// Where loaders say that they run, and how they can be answered.
    begun: Channel<oneshot::Sender<Answer>>,
    /// Where callers say what they were told.
    answers: Channel<(usize, Told)>,
    /// What each caller was told, once it was.
    callers: Vec<Option<Told>>,
    /// How each load can be answered, until it has ended.
    loads: Vec<Option<oneshot::Sender<Answer>>>,
    runtime: Runtime,
}

thread_local! {
    /// Told when the runtime of this thread has nothing to do before its clock moves.
    static IDLE: Arc<Notify> = Arc::default();
}

/// A runtime of one thread whose clock moves when told to, or when all its tasks wait for it.
pub(crate) fn paused() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_time().start_paused(true);
    runtime.on_thread_park(|| IDLE.with(|idle| idle.notify_waiters()));
    runtime.build().expect("a runtime without input and output")
}

/// Runs a test as a task on paused time, watched.
pub(crate) fn on_paused_time(body: impl Future<Output = ()> + Send + 'static) {
    within_a_minute(move || paused().block_on(body));
}

/// Waits, on a [`paused`] runtime, until nothing more happens before the clock moves, which it does
/// not. The second time is for those whom the first look at the clock has woken.
pub(crate) async fn settled() {
    for _ in 0..2 {
        let idle = IDLE.with(Arc::clone);
        tokio::spawn(async move { idle.notified().await }).await.expect("it only waits");
    }
}

impl Tasks {
    fn settle(&mut self) {
        self.runtime.block_on(settled());
        while let Ok((caller, told)) = self.answers.1.try_recv() {
            self.callers[caller - 1] = Some(told);
        }
        self.loads.extend(self.begun.1.try_iter().map(Some));
    }

    /// Where the time is the runtime's.
    fn on<T>(&self, ask: impl FnOnce(&Cache<Key, Value, KeyHash>) -> T) -> T {
        let _entered = self.runtime.enter();
        ask(&self.cache)
    }
}

/// The loader: tells the test that it runs, and answers what the test says.
async fn load(begun: Sender<oneshot::Sender<Answer>>) -> Result<Loaded<Value>, Origin> {
    let (origin, answer) = oneshot::channel();
    begun.send(origin).expect("the test notes loads");
    match answer.await {
        Ok(Answer::Loaded(loaded)) => Ok(loaded),
        Ok(Answer::Error(text)) => Err(Origin(text)),
        Ok(Answer::Panic(text)) => panic_quietly(text),
        Err(_) => Err(Origin("the test is over")),
    }
}

impl Driver for Tasks {
    fn new(Setup { policy, capacity, max_loads }: Setup) -> Self {
        let runtime = paused();
        let cache = Cache::builder().policy(policy).capacity(capacity).max_loads(max_loads);
        let time = runtime.block_on(async { TokioTime::new() });
        // Loads end when the test says so, however late: no other driver drops them.
        let cache = cache.load_limit(Duration::MAX).hasher(KeyHash::default()).time(time).build();
        Self {
            cache: cache.expect("settings that can be"),
            begun: channel(),
            answers: channel(),
            callers: Vec::new(),
            loads: Vec::new(),
            runtime,
        }
    }

    fn watch(body: impl FnOnce() + Send + 'static) {
        within_a_minute(body);
    }

    fn read(&mut self, key: Key) -> Reply {
        let freshness = self.freshness(key);
        self.callers.push(None);
        let caller = self.callers.len();
        let (cache, begun, answers) =
            (self.cache.clone(), self.begun.0.clone(), self.answers.0.clone());
        self.runtime.spawn(async move {
            let result = cache.get_or_load_with(&key, move |_| load(begun)).await;
            let _ = answers.send((caller, result.into()));
        });
        self.settle();
        match (self.told(caller), freshness) {
            (None, _) => Reply::Waits(caller),
            (Some(Told::Value(value)), Some(freshness)) => Reply::Served(value, freshness),
            (Some(told), _) => Reply::Told(told),
        }
    }

    fn end(&mut self, load: usize, answer: impl Into<Answer>) {
        let origin = self.loads[load - 1].take().expect("the load runs");
        assert!(origin.send(answer.into()).is_ok(), "the loader waits for its answer");
        self.settle();
    }

    fn advance(&mut self, span: Duration) {
        self.runtime.block_on(tokio::time::advance(span));
        self.settle();
    }

    fn get(&mut self, key: Key) -> Option<Value> {
        self.on(|cache| cache.get(&key))
    }

    fn put(&mut self, key: Key, loaded: Loaded<Value>) -> bool {
        self.runtime.block_on(self.cache.put(key, loaded)).is_stored()
    }

    fn put_if_absent(&mut self, key: Key, loaded: Loaded<Value>) -> bool {
        self.runtime.block_on(self.cache.put_if_absent(key, loaded)).is_stored()
    }

    fn expire(&mut self, key: Key) -> bool {
        self.runtime.block_on(self.cache.expire(&key)).found
    }

    fn invalidate(&mut self, key: Key) -> bool {
        self.runtime.block_on(self.cache.invalidate(&key)).found
    }

    fn clear(&mut self) {
        self.runtime.block_on(self.cache.clear());
    }

    fn expire_tag(&mut self, tag: &str) {
        self.runtime.block_on(self.cache.expire_tag(tag));
    }

    fn invalidate_tag(&mut self, tag: &str) {
        self.runtime.block_on(self.cache.invalidate_tag(tag));
    }

    fn purge(&mut self) -> usize {
        self.on(Cache::purge_expired)
    }

    fn contains(&self, key: Key) -> bool {
        self.on(|cache| cache.contains(&key))
    }

    fn peek(&self, key: Key) -> Option<Value> {
        self.on(|cache| cache.peek(&key))
    }

    fn explain(&self, key: Key) -> Explanation {
        self.on(|cache| cache.explain(&key))
    }

    fn len(&self) -> usize {
        self.cache.len()
    }

    fn stats(&self) -> Stats {
        self.cache.stats()
    }

    fn now(&self) -> Instant {
        self.on(|cache| cache.time().now())
    }

    fn told(&self, caller: usize) -> Option<Told> {
        self.callers[caller - 1].clone()
    }

    fn loads(&self) -> usize {
        self.loads.len()
    }

    fn running(&self) -> Vec<usize> {
        (1..=self.loads.len()).filter(|n| self.loads[n - 1].is_some()).collect()
    }
}
