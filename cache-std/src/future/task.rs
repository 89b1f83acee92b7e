//! Loads as tasks.

use core::any::Any;
use core::fmt;
use core::future::poll_fn;
use core::hash::{BuildHasher, Hash};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Poll;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cache_core::Loaded;

use super::builder::Tasks;
use super::refreshes::{Refreshes, Turn};
use super::runtime::{NoRuntime, Runtime};
use super::timer::TaskTimer;
use super::wait::Until;
use crate::flight::{Flight, Hangs, Watcher, Watchers};
use crate::primitives::thread;
use crate::second::beside;
use crate::sync::Previous;
use crate::sync::cache::Inner;
use crate::sync::lead::{Failed, Lead, Looked, hold_leases, prepare_all};
use crate::time::Signal;

/// What the caches that share a memory share besides: how loads run as tasks.
#[derive(Debug)]
pub(super) struct Shared<R> {
    pub(super) runtime: R,
    pub(super) refreshes: Arc<Refreshes>,
    /// How long a load may run before it is dropped.
    pub(super) load_limit: Duration,
    /// A load ends when nobody waits for it any more.
    pub(super) abandons: bool,
}

/// Why a load was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotStarted {
    /// The caller is on no runtime.
    NoRuntime,
    /// As many refreshes wait as may.
    TooMany,
}

/// How a load ends that has neither been dropped nor outlived its limit.
pub(super) type Ended<T> = Result<T, Box<dyn Any + Send>>;

impl<R: Runtime> Shared<R> {
    pub(super) fn new(tasks: Tasks<R>, lease: Duration, max_loads: usize) -> Self {
        Self {
            runtime: tasks.runtime,
            refreshes: Refreshes::new(tasks.max_refreshes, max_loads),
            load_limit: tasks.load_limit.unwrap_or_else(|| lease.saturating_mul(10)),
            abandons: tasks.abandons,
        }
    }

    /// The timer of what a cache waits for.
    pub(super) fn timer<K, V, S>(&self, inner: &Inner<K, V, S>) -> TaskTimer<R> {
        TaskTimer { time: Arc::clone(&inner.time), runtime: self.runtime.clone() }
    }

    /// Starts a load for those who wait for it: the caller, as long as it holds what is returned, and
    /// those who join.
    pub(super) fn load<K, V, S, W>(
        &self,
        inner: &Inner<K, V, S>,
        flights: &[Arc<Flight<V>>],
        work: impl FnOnce(Work<R>) -> W,
    ) -> Result<Option<Watcher>, NotStarted>
    where
        V: 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let watch = self.watch(inner, flights);
        let watcher = self.abandons.then(|| {
            let watchers = Watchers::new(&watch.over);
            flights.iter().for_each(|flight| flight.count_in(&watchers));
            watchers.watcher()
        });
        let work = work(watch.work.clone());
        self.spawn(run(work, watch))?;
        Ok(watcher)
    }

    /// Starts a load that nobody waits for, when its turn comes, or somebody comes to wait for it.
    pub(super) fn refresh<K, V, S, W>(
        &self,
        inner: &Inner<K, V, S>,
        flights: &[Arc<Flight<V>>],
        work: impl FnOnce(Work<R>) -> W,
    ) -> Result<(), NotStarted>
    where
        V: 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let turn = self.refreshes.turn().ok_or(NotStarted::TooMany)?;
        flights.iter().for_each(|flight| flight.nudge(turn.signal()));
        let watch = self.watch(inner, flights);
        let work = work(watch.work.clone());
        self.spawn(async move {
            if comes(&turn, &watch.over).await {
                run(work, watch).await;
            }
        })
    }

    pub(super) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), NotStarted> {
        self.runtime.spawn(task).map_err(|NoRuntime| NotStarted::NoRuntime)
    }

    fn watch<K, V, S>(&self, inner: &Inner<K, V, S>, flights: &[Arc<Flight<V>>]) -> Watch<R> {
        let over = Arc::new(Signal::new());
        inner.tasks.tell(&over);
        note_thread(flights, &self.runtime);
        let work = Work { timer: self.timer(inner), loaded: Arc::default() };
        Watch { limit: self.load_limit, over, work }
    }
}

/// What a load works with.
#[derive(Clone)]
pub(super) struct Work<R> {
    pub(super) timer: TaskTimer<R>,
    /// The loader has answered.
    loaded: Arc<AtomicBool>,
}

/// What a load ends by, other than by itself.
struct Watch<R> {
    /// The cache is gone, or nobody waits any more.
    over: Arc<Signal>,
    limit: Duration,
    work: Work<R>,
}

/// Notes that these loads are polled on this thread, which must not block to wait for one. Others that
/// belong to the runtime may: those on which it runs what blocks.
fn note_thread<V, R: Runtime>(flights: &[Arc<Flight<V>>], runtime: &R) {
    for flight in flights {
        let (here, hangs) = (thread::current().id(), runtime.hangs());
        flight.runs_as_task(
            hangs.map(|hangs| -> Hangs {
                Box::new(move || thread::current().id() == here && hangs())
            }),
        );
    }
}

/// Waits until a refresh's turn has come; `false` if that does not matter any more.
async fn comes(turn: &Turn, over: &Signal) -> bool {
    poll_fn(|context| {
        if over.poll(context).is_ready() {
            return Poll::Ready(false);
        }
        turn.signal().poll(context).map(|_| true)
    })
    .await
}

/// Polls a load to its end. Dropped on the way, or at its limit, it gives its flights up.
async fn run<R: Runtime>(work: impl Future<Output = ()>, watch: Watch<R>) {
    let Watch { over, limit, work: Work { timer, loaded } } = watch;
    let mut limit = Until::new(timer.time.now_precisely() + limit);
    let mut work = pin!(work);
    poll_fn(|context| {
        // What has been loaded is kept, whoever waits.
        if let Poll::Ready(true) = over.poll(context)
            && !loaded.load(Ordering::Relaxed)
        {
            return Poll::Ready(());
        }
        if work.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        match limit.poll(&*timer.time, &timer.runtime, &over, context) {
            // The limit has come, or it is over.
            Poll::Ready(Ok(())) if loaded.load(Ordering::Relaxed) => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(()),
            // Without a timer there is no limit; the signal must know who waits all the same.
            Poll::Ready(Err(NoRuntime)) => match over.poll(context) {
                Poll::Ready(true) if loaded.load(Ordering::Relaxed) => Poll::Pending,
                Poll::Ready(true) => Poll::Ready(()),
                Poll::Ready(false) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            },
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// Polls a part of a load of these flights to its end, whichever thread drives it. `asks` says that the
/// loader is what is polled, which may ask for what it loads.
async fn polled<V, R: Runtime, T>(
    (flights, runtime): (&[Arc<Flight<V>>], &R),
    asks: bool,
    part: impl Future<Output = T>,
) -> Ended<T> {
    let (mut part, mut polled_by) = (Box::pin(part), None);
    let ended = poll_fn(|context| {
        // It may have been started on another thread, and its runtime may be driven from others.
        if polled_by != Some(thread::current().id()) {
            note_thread(flights, runtime);
            polled_by = Some(thread::current().id());
        }
        let mut poll = || catch_unwind(AssertUnwindSafe(|| part.as_mut().poll(context)));
        let polled = if asks { Flight::polling(flights, poll) } else { poll() };
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    })
    .await;
    // What the future holds is the loader's, and may panic when it goes. An answer is one all the same.
    drop(catch_unwind(AssertUnwindSafe(|| drop(part))));
    ended
}

impl<R: Runtime> Work<R> {
    /// Runs the loader of these loads, while their leases are renewed.
    pub(super) async fn ask<K, V, S, T>(
        &self,
        leads: &[Lead<K, V, S>],
        load: impl Future<Output = T>,
    ) -> Ended<T>
    where
        K: Clone + Eq + Hash,
        V: Clone,
        S: BuildHasher,
    {
        let flights: Vec<_> = leads.iter().map(|lead| Arc::clone(&lead.flight)).collect();
        let ends = (&*flights, &self.timer.runtime);
        let ended = match leads.iter().any(|lead| lead.lease.is_some()) {
            true => polled(ends, true, beside(load, hold_leases(&self.timer, leads))).await,
            false => polled(ends, true, load).await,
        };
        self.loaded.store(true, Ordering::Relaxed);
        ended
    }

    /// Asks the store behind the cache, if there is one, and returns what the origin is to be asked
    /// for.
    pub(super) async fn prepare<K, V, S>(&self, mut leads: Vec<Lead<K, V, S>>) -> Vec<Lead<K, V, S>>
    where
        K: Clone + Eq + Hash,
        V: Clone,
        S: BuildHasher,
    {
        if leads.iter().all(|lead| lead.backed().is_none()) {
            return leads;
        }
        let flights: Vec<_> = leads.iter().map(|lead| Arc::clone(&lead.flight)).collect();
        let ends = (&*flights, &self.timer.runtime);
        let (timer, one) = (&self.timer, leads.len() == 1);
        let prepared = polled(ends, false, async move {
            if let (true, Some(lead)) = (one, leads.first_mut()) {
                if lead.prepare(timer).await == Looked::Landed {
                    leads.clear();
                }
                return leads;
            }
            prepare_all(timer, leads).await
        });
        // A panic has given them up.
        prepared.await.unwrap_or_default()
    }
}

/// Loads one key.
pub(super) async fn load_one<K, V, R, S, F, Fut, L, E>(
    lead: Lead<K, V, S>,
    loader: F,
    work: Work<R>,
) where
    K: Clone + Eq + Hash,
    V: Clone,
    R: Runtime,
    S: BuildHasher,
    F: FnOnce(Previous<V>) -> Fut,
    Fut: Future<Output = Result<L, E>>,
    L: Into<Loaded<V>> + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    let leads = work.prepare(vec![lead]).await;
    let Some(lead) = leads.first() else { return };
    let previous = lead.previous.clone();
    // Whatever the loader does, it does when this is polled.
    let load = async move { loader(previous).await.map(Into::into) };
    let ended = work.ask(&leads, load).await;
    let Some(lead) = leads.into_iter().next() else { return };
    end_one(lead, ended, &work.timer).await;
}

/// Ends the flight of one key.
async fn end_one<K, V, R, S, E>(
    mut lead: Lead<K, V, S>,
    ended: Ended<Result<Loaded<V>, E>>,
    timer: &TaskTimer<R>,
) where
    K: Clone + Eq + Hash,
    V: Clone,
    R: Runtime,
    S: BuildHasher,
    E: fmt::Display + Send + Sync + 'static,
{
    let failed = match ended {
        Ok(Ok(loaded)) => return drop(lead.finish(timer, loaded).await),
        Ok(Err(error)) => failed(&lead, error),
        Err(payload) => Failed::panic(&*payload),
    };
    lead.fail(failed);
    lead.give_lease_back(timer).await;
}

/// A loader's error as those who wait are told it. What shows and judges it may panic: then that is
/// how the load has failed.
pub(super) fn failed<K, V, S, E>(lead: &Lead<K, V, S>, error: E) -> Failed
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
    E: fmt::Display + Send + Sync + 'static,
{
    let failed = catch_unwind(AssertUnwindSafe(|| lead.failed(error)));
    failed.unwrap_or_else(|payload| Failed::panic(&*payload))
}
