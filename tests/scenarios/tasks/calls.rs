//! What these scenarios share: an origin that notes when it is called, and tasks that ask.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use advanced_caching::future::{Builder, Cache, LoadError, TokioTime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::world::{Origin, Told, panic_quietly, secs};

pub(crate) type Users = Cache<u8, u32>;
pub(crate) type Answer = Result<u32, LoadError<Origin>>;
pub(crate) type Load = Pin<Box<dyn Future<Output = Result<u32, Origin>> + Send>>;

/// A cache on the time of the runtime that this is called on.
pub(crate) fn builder() -> Builder<u8, u32> {
    Cache::builder().ttl(secs(60)).jitter_percent(0).time(TokioTime::new())
}

/// The origin. Its time begins when it is made.
#[derive(Clone)]
pub(crate) struct Calls {
    start: Instant,
    times: Arc<Mutex<Vec<u64>>>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), times: Arc::default() }
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// When it was called.
    pub(crate) fn times(&self) -> Vec<u64> {
        self.times.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    /// A loader that takes its time, and answers.
    pub(crate) fn load(
        &self,
        takes: Duration,
        answer: Result<u32, Origin>,
    ) -> impl FnOnce() -> Load + Clone + Send + 'static {
        self.called(move || async move {
            sleep(takes).await;
            answer
        })
    }

    /// A loader that takes its time, and panics.
    pub(crate) fn panic(
        &self,
        takes: Duration,
        text: &'static str,
    ) -> impl FnOnce() -> Load + Clone + Send + 'static {
        self.called(move || async move {
            sleep(takes).await;
            panic_quietly(text)
        })
    }

    /// A loader that never answers.
    pub(crate) fn never(&self) -> impl FnOnce() -> Load + Clone + Send + 'static {
        self.called(pending)
    }

    fn called<Fut>(
        &self,
        load: impl FnOnce() -> Fut + Clone + Send + 'static,
    ) -> impl FnOnce() -> Load + Clone + Send + 'static
    where
        Fut: Future<Output = Result<u32, Origin>> + Send + 'static,
    {
        let calls = self.clone();
        move || {
            calls.times.lock().unwrap().push(calls.now());
            Box::pin(load())
        }
    }
}

/// A task that asks for a key.
pub(crate) fn ask(
    cache: &Users,
    key: u8,
    load: impl FnOnce() -> Load + Send + 'static,
) -> JoinHandle<Answer> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.get_or_load(&key, load).await })
}

/// So many tasks that ask for key 1.
pub(crate) fn ask_all(
    n: usize,
    cache: &Users,
    load: impl FnOnce() -> Load + Clone + Send + 'static,
) -> Vec<JoinHandle<Answer>> {
    (0..n).map(|_| ask(cache, 1, load.clone())).collect()
}

pub(crate) async fn told(caller: JoinHandle<Answer>) -> Told {
    caller.await.expect("callers do not panic").into()
}

/// What each was told, where all were told the same.
pub(crate) async fn all_told(callers: Vec<JoinHandle<Answer>>) -> Told {
    let mut last = None;
    for caller in callers {
        let told = told(caller).await;
        assert!(last.is_none() || last.as_ref() == Some(&told), "{last:?} and {told:?}");
        last = Some(told);
    }
    last.expect("somebody has asked")
}
