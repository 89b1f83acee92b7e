//! Values loaded before anybody asks for them, by tasks.

use core::fmt;
use core::future::poll_fn;
use core::hash::{BuildHasher, Hash};
use core::ops::ControlFlow;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use cache_core::{Contract, Loaded};

use super::cache::Cache;
use super::drive::Drive;
use super::runtime::Runtime;
use super::wait::Until;
use crate::error::LoadError;
use crate::sync::call::Call;
use crate::sync::outcome::Served;
use crate::sync::warm::tally::Tally;
use crate::sync::warm::{Keys, OnProgress, Progress, WarmedUp};
use crate::sync::{DefaultHasher, Previous};

/// Most loads of one warm-up at a time.
const MOST: usize = 512;

/// Loads the values of many keys ahead of their readers; made by [`Cache::warm_up`] and
/// [`LoadingCache::warm_up`](super::LoadingCache::warm_up).
///
/// If not said otherwise, one load follows the other, as fast as the origin answers.
#[must_use = "a warm-up does nothing until `run`"]
pub struct WarmUp<'a, K, V, F, R, S = DefaultHasher> {
    cache: &'a Cache<K, V, R, S>,
    keys: Keys<'a, K>,
    loader: Arc<F>,
    /// The loader sees the old value.
    pins: bool,
    every: Duration,
    at_once: usize,
    on_progress: Option<OnProgress<'a>>,
}

impl<K, V, R, S> Cache<K, V, R, S> {
    /// Loads what is not fresh of these keys, each by a call of `loader`, which gets the key and the
    /// old value, and answers a value or a [`Loaded`].
    pub fn warm_up<'a, F, Fut, L, E>(
        &'a self,
        keys: impl IntoIterator<Item = K, IntoIter: Send + 'a>,
        loader: F,
    ) -> WarmUp<'a, K, V, F, R, S>
    where
        F: Fn(K, Previous<V>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
        L: Into<Loaded<V>> + 'static,
    {
        WarmUp::new(self, keys, Arc::new(loader), true)
    }
}

impl<'a, K, V, F, R, S> WarmUp<'a, K, V, F, R, S> {
    pub(super) fn new(
        cache: &'a Cache<K, V, R, S>,
        keys: impl IntoIterator<Item = K, IntoIter: Send + 'a>,
        loader: Arc<F>,
        pins: bool,
    ) -> Self {
        let keys = Box::new(keys.into_iter());
        Self { cache, keys, loader, pins, every: Duration::ZERO, at_once: 1, on_progress: None }
    }

    /// Begins at most so many loads in a second, evenly spread. 0 counts as 1.
    pub fn rate(self, per_second: u32) -> Self {
        // Rounded up, so that there is never one more.
        let nanos = 1_000_000_000_u64.div_ceil(u64::from(per_second.max(1)));
        self.every(Duration::from_nanos(nanos))
    }

    /// Waits at least so long between the beginnings of two loads.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// Most loads at a time. 0 counts as 1, and more than 512 as that.
    pub const fn at_most_at_once(mut self, loads: usize) -> Self {
        self.at_once = loads;
        self
    }

    /// Tells `listener` of each key that is done, one after another. [`ControlFlow::Break`] ends the
    /// warm-up after the loads that are under way, and then it is told no more.
    pub fn on_progress(
        mut self,
        listener: impl FnMut(Progress) -> ControlFlow<()> + Send + 'a,
    ) -> Self {
        self.on_progress = Some(Box::new(listener));
        self
    }
}

impl<K, V, F, Fut, L, E, R, S> WarmUp<'_, K, V, F, R, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    F: Fn(K, Previous<V>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Loaded<V>> + 'static,
    E: fmt::Display + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Goes through the keys, and is ready when all are done or something has ended it before.
    ///
    /// A key that is fresh, or known to be missing, is passed over; a stale one is loaded anew. Who
    /// reads a key meanwhile shares its load, and a load of others is waited for and not repeated.
    /// Loads run as tasks, as all do, so time-outs hold. [`shutdown`](super::Control::shutdown) ends
    /// it, also while it waits for the next load's time. Dropped before, it leaves the loads that are
    /// under way to land.
    pub async fn run(self) -> WarmedUp<E> {
        let Self { cache, keys, loader, pins, every, at_once, on_progress } = self;
        let (least, most) = keys.size_hint();
        let total = most.filter(|most| *most == least).map(|total| total as u64);
        let tally = Tally::new(total, on_progress);
        let inner = &cache.cache.inner;
        inner.places.tell_when_closed(tally.over());
        let mut work = Work {
            running: Running(vec![]),
            at_once: at_once.clamp(1, MOST),
            gate: Until::new(inner.time.now_precisely()),
        };
        let (mut ended, mut passed_over) = (true, 0_u32);
        for key in keys {
            if tally.over().is_set() {
                ended = false;
                break;
            }
            if !tally.wants(&cache.explain(&key)) {
                passed_over += 1;
                if passed_over % 256 == 0 {
                    let_others_run().await;
                }
                continue;
            }
            if !work.room(cache, &tally).await {
                ended = false;
                break;
            }
            let next = inner.time.now_precisely().max(work.gate.at()) + every;
            work.gate = Until::new(next);
            let loader = Arc::clone(&loader);
            work.running.0.push(Box::pin(load(cache, key, loader, pins)));
        }
        work.drain(&tally).await;
        tally.finish(ended)
    }
}

/// Comes back to where it was after other tasks had their turn.
async fn let_others_run() {
    let mut polled = false;
    poll_fn(|context| {
        if core::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn load<K, V, F, Fut, L, E, R, S>(
    cache: &Cache<K, V, R, S>,
    key: K,
    loader: Arc<F>,
    pins: bool,
) -> Result<Served<V>, LoadError<E>>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    F: Fn(K, Previous<V>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<L, E>> + Send + 'static,
    L: Into<Loaded<V>> + 'static,
    E: fmt::Display + Send + Sync + 'static,
    R: Runtime,
    S: BuildHasher + Send + Sync + 'static,
{
    let inner = &cache.cache.inner;
    let (hash, now) = (inner.hash(&key), inner.now());
    let hard = inner.policy.load().hard_timeout();
    let contract = Contract::new().max_stale(Duration::ZERO).give_up(now + hard);
    let call = Call::new(inner, hash, &key, contract);
    let own = key.clone();
    let loader = move |old| loader(own, old);
    Drive { call, shared: &cache.tasks, loader, pins }.run(now).await
}

/// The loads under way, and when the next may begin.
struct Work<G, R: Runtime> {
    running: Running<G>,
    at_once: usize,
    gate: Until<R>,
}

struct Running<G>(Vec<Pin<Box<G>>>);

impl<G> Running<G> {
    /// Counts those that have ended.
    fn poll<V, E>(&mut self, tally: &Tally<'_, E>, context: &mut Context<'_>)
    where
        G: Future<Output = Result<Served<V>, LoadError<E>>>,
    {
        self.0.retain_mut(|load| match load.as_mut().poll(context) {
            Poll::Ready(came) => {
                tally.record(came);
                false
            }
            Poll::Pending => true,
        });
    }
}

impl<G, R: Runtime> Work<G, R> {
    /// Waits until another load may begin; `false` if none is to.
    async fn room<K, V, E, S>(&mut self, cache: &Cache<K, V, R, S>, tally: &Tally<'_, E>) -> bool
    where
        G: Future<Output = Result<Served<V>, LoadError<E>>>,
    {
        let Self { running, at_once, gate } = self;
        let inner = &cache.cache.inner;
        poll_fn(|context| {
            running.poll(tally, context);
            while let Poll::Ready(over) = tally.over().poll(context) {
                if over {
                    return Poll::Ready(false);
                }
            }
            if running.0.len() >= *at_once {
                return Poll::Pending;
            }
            let timed = gate.poll(&*inner.time, &cache.tasks.runtime, tally.over(), context);
            // Without a timer, nothing is waited for.
            timed.map(|_| !tally.over().is_set())
        })
        .await
    }

    async fn drain<V, E>(&mut self, tally: &Tally<'_, E>)
    where
        G: Future<Output = Result<Served<V>, LoadError<E>>>,
    {
        let running = &mut self.running;
        poll_fn(|context| {
            running.poll(tally, context);
            if running.0.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl<K, V, F, R, S> fmt::Debug for WarmUp<'_, K, V, F, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmUp")
            .field("every", &self.every)
            .field("at_once", &self.at_once)
            .finish_non_exhaustive()
    }
}
