//! Loads as tasks.

use core::any::Any;
use core::fmt;
use core::future::poll_fn;
use core::hash::{BuildHasher, Hash};
use core::task::Poll;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cache_core::Loaded;

use super::builder::Tasks;
use super::refreshes::{Refreshes, Turn};
use super::runtime::{NoRuntime, Runtime};
use super::wait::Until;
use crate::flight::{Flight, Hangs, Watcher, Watchers};
use crate::primitives::thread;
use crate::sync::cache::Inner;
use crate::sync::lead::{Failed, Lead};
use crate::time::{Signal, Time};

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
    pub(super) fn new(tasks: Tasks<R>, lease: Duration) -> Self {
        Self {
            runtime: tasks.runtime,
            refreshes: Refreshes::new(tasks.max_refreshes),
            load_limit: tasks.load_limit.unwrap_or_else(|| lease.saturating_mul(10)),
            abandons: tasks.abandons,
        }
    }

    /// Starts a load for those who wait for it: the caller, as long as it holds what is returned, and
    /// those who join.
    pub(super) fn load<K, V, S, T>(
        &self,
        inner: &Inner<K, V, S>,
        leads: Vec<Lead<K, V, S>>,
        load: impl Future<Output = T> + Send + 'static,
        end: impl FnOnce(Vec<Lead<K, V, S>>, Ended<T>) + Send + 'static,
    ) -> Result<Option<Watcher>, NotStarted>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        T: Send + 'static,
    {
        let watch = self.watch(inner, &leads);
        let watcher = self.abandons.then(|| {
            let watchers = Watchers::new(&watch.over);
            leads.iter().for_each(|lead| lead.flight.count_in(&watchers));
            watchers.watcher()
        });
        self.spawn(run(leads, load, watch, end))?;
        Ok(watcher)
    }

    /// Starts a load that nobody waits for, when its turn comes, or somebody comes to wait for it.
    pub(super) fn refresh<K, V, S, T>(
        &self,
        inner: &Inner<K, V, S>,
        leads: Vec<Lead<K, V, S>>,
        load: impl Future<Output = T> + Send + 'static,
        end: impl FnOnce(Vec<Lead<K, V, S>>, Ended<T>) + Send + 'static,
    ) -> Result<(), NotStarted>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        T: Send + 'static,
    {
        let turn = self.refreshes.turn().ok_or(NotStarted::TooMany)?;
        leads.iter().for_each(|lead| lead.flight.nudge(turn.signal()));
        let watch = self.watch(inner, &leads);
        self.spawn(async move {
            if comes(&turn, &watch.over).await {
                run(leads, load, watch, end).await;
            }
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), NotStarted> {
        self.runtime.spawn(task).map_err(|NoRuntime| NotStarted::NoRuntime)
    }

    fn watch<K: Eq, V, S: BuildHasher>(
        &self,
        inner: &Inner<K, V, S>,
        leads: &[Lead<K, V, S>],
    ) -> Watch<R> {
        let over = Arc::new(Signal::new());
        inner.tasks.tell(&over);
        note_thread(leads, &self.runtime);
        Watch {
            limit: self.load_limit,
            time: Arc::clone(&inner.time),
            runtime: self.runtime.clone(),
            over,
        }
    }
}

/// What a load ends by, other than by itself.
struct Watch<R: Runtime> {
    /// The cache is gone, or nobody waits any more.
    over: Arc<Signal>,
    limit: Duration,
    time: Arc<dyn Time>,
    runtime: R,
}

/// Notes that these loads are polled on this thread, which must not block to wait for one. Others that
/// belong to the runtime may: those on which it runs what blocks.
fn note_thread<K: Eq, V, S: BuildHasher, R: Runtime>(leads: &[Lead<K, V, S>], runtime: &R) {
    for Lead { flight, .. } in leads {
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
async fn run<K, V, S, R, T>(
    leads: Vec<Lead<K, V, S>>,
    load: impl Future<Output = T>,
    watch: Watch<R>,
    end: impl FnOnce(Vec<Lead<K, V, S>>, Ended<T>),
) where
    K: Eq,
    S: BuildHasher,
    R: Runtime,
{
    let Watch { over, limit, time, runtime } = watch;
    let mut limit = Until::new(time.now_precisely() + limit);
    let flights: Vec<_> = leads.iter().map(|lead| Arc::clone(&lead.flight)).collect();
    let (mut load, mut polled_by) = (Box::pin(load), None);
    let ended = poll_fn(|context| {
        if let Poll::Ready(true) = over.poll(context) {
            return Poll::Ready(None);
        }
        // It may have been started on another thread, and its runtime may be driven from others.
        if polled_by != Some(thread::current().id()) {
            note_thread(&leads, &runtime);
            polled_by = Some(thread::current().id());
        }
        let poll = || catch_unwind(AssertUnwindSafe(|| load.as_mut().poll(context)));
        match Flight::polling(&flights, poll) {
            Ok(Poll::Pending) => {}
            Ok(Poll::Ready(answer)) => return Poll::Ready(Some(Ok(answer))),
            Err(payload) => return Poll::Ready(Some(Err(payload))),
        }
        match limit.poll(&*time, &runtime, &over, context) {
            Poll::Ready(Ok(())) => Poll::Ready(None),
            // Without a timer there is no limit; the signal must know who waits all the same.
            Poll::Ready(Err(NoRuntime)) => match over.poll(context) {
                Poll::Ready(true) => Poll::Ready(None),
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
    // What the future holds is the loader's, and may panic when it goes. An answer is one all the same.
    drop(catch_unwind(AssertUnwindSafe(|| drop(load))));
    if let Some(ended) = ended {
        end(leads, ended);
    }
}

/// Ends the flight of one key.
pub(super) fn end_one<K, V, S, E>(leads: Vec<Lead<K, V, S>>, ended: Ended<Result<Loaded<V>, E>>)
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
    E: fmt::Display + Send + Sync + 'static,
{
    let Some(mut lead) = leads.into_iter().next() else { return };
    match ended {
        Ok(Ok(loaded)) => drop(lead.land(loaded)),
        Ok(Err(error)) => {
            let failed = failed(&lead, error);
            lead.fail(failed);
        }
        Err(payload) => lead.fail(Failed::panic(&*payload)),
    }
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
