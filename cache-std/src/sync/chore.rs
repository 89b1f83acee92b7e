//! What a cache has a scheduler do from time to time.

use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use cache_core::schedule::Job;
use cache_core::store::HeldLease;
use cache_core::{Instant, Ticket};

use super::cache::Inner;
use super::lead::Lead;
use crate::background::{Scheduler, StartError};
use crate::second::ThreadTimer;

/// A job for a cache; it ends when this is dropped.
pub(super) struct Chore {
    scheduler: Scheduler,
    name: Arc<str>,
}

impl Chore {
    fn start(
        what: &str,
        every: Duration,
        scheduler: Scheduler,
        run: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name: Arc<str> = format!("{what} {number}").into();
        let job = Job::every(every).run_immediately(false).build()?;
        let run = move || {
            run();
            true
        };
        scheduler.add(&name, job, Arc::new(run))?;
        Ok(Self { scheduler, name })
    }
}

impl Drop for Chore {
    fn drop(&mut self) {
        self.scheduler.remove(&self.name);
    }
}

impl fmt::Debug for Chore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chore").field(&self.name).finish()
    }
}

/// Removes what has passed from a cache that nobody writes to.
pub(super) fn sweep<K, V, S>(
    cache: Weak<Inner<K, V, S>>,
    every: Duration,
    scheduler: Scheduler,
) -> Result<Chore, StartError>
where
    K: Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    Chore::start("sweep of cache", every, scheduler, move || {
        if let Some(cache) = cache.upgrade() {
            cache.tables.purge_if_due(cache.now());
        }
    })
}

/// How often what is in doubt is tried to be removed from the store, where no task does it.
const MEND_EVERY: Duration = Duration::from_secs(1);

/// Has what comes into doubt removed from the store behind the cache, once there is any.
pub(super) fn mend_by_jobs<K, V, S>(cache: &Arc<Inner<K, V, S>>)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let Some(second) = &cache.second else { return };
    let weak = Arc::downgrade(cache);
    second.mend_by(move || {
        let Some(cache) = weak.upgrade() else { return };
        let weak = Weak::clone(&weak);
        cache.mender.get_or_init(|| {
            let mend = move || {
                if let Some(cache) = weak.upgrade() {
                    mend(&cache);
                }
            };
            // Without, the next load of a key in doubt mends it, and leases end by themselves.
            Chore::start("doubts of cache", MEND_EVERY, Scheduler::shared(), mend).ok()
        });
    });
}

fn mend<K: Clone + Eq + Hash, V, S>(cache: &Inner<K, V, S>)
where
    S: BuildHasher,
{
    let Some(second) = &cache.second else { return };
    let timer = ThreadTimer::new(&*cache.time);
    while timer.block_on(second.settle_some(&timer, cache.now())) == Some(true) {}
}

/// A lease that a thread's load holds, by the number of the load in its batch.
struct Hold<K> {
    load: usize,
    key: K,
    lease: HeldLease,
}

/// The leases of one thread's loads while it runs the loader.
pub(crate) struct Holds<K>(Arc<(Mutex<Held<K>>, Condvar)>);

struct Held<K> {
    holds: VecDeque<Hold<K>>,
    /// From then on, others may try.
    until: Instant,
    /// One of them is being renewed.
    out: bool,
    /// The loader has answered.
    over: bool,
}

/// Starts a job that renews leases, until it is dropped.
pub(super) type Renewer<K> = Box<dyn Fn(Holds<K>) -> Option<Chore> + Send + Sync>;

impl<K> Holds<K> {
    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next to be renewed, if the loader still runs.
    fn take(&self, now: Instant) -> Option<Hold<K>> {
        let mut held = self.lock();
        let late = held.over || now.has_reached(held.until);
        let hold = held.holds.pop_front().filter(|_| !late);
        held.out = hold.is_some();
        hold
    }

    /// It was renewed, or is lost.
    fn give_back(&self, hold: Option<Hold<K>>) {
        let mut held = self.lock();
        held.holds.extend(hold);
        held.out = false;
        drop(held);
        self.0.1.notify_all();
    }

    /// All that are left, once the loader has answered: waits for one renewal at most.
    fn end(&self) -> VecDeque<Hold<K>> {
        let mut held = self.lock();
        held.over = true;
        while held.out {
            held = self.0.1.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        core::mem::take(&mut held.holds)
    }
}

impl<K> Clone for Holds<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Has the leases of loads that run on threads renewed.
pub(super) fn renew_by_jobs<K, V, S>(cache: &Arc<Inner<K, V, S>>) -> Renewer<K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let weak = Arc::downgrade(cache);
    Box::new(move |holds| {
        let (weak, second) = (Weak::clone(&weak), weak.upgrade()?);
        let every = second.second.as_ref()?.terms.lease / 3;
        let renew = move || {
            if let Some(cache) = weak.upgrade() {
                renew(&cache, &holds);
            }
        };
        Chore::start("leases of loads", every, Scheduler::shared(), renew).ok()
    })
}

/// One after another: who has loaded waits for one of them at most.
fn renew<K: Clone + Eq + Hash, V, S: BuildHasher>(cache: &Inner<K, V, S>, holds: &Holds<K>) {
    let Some(second) = &cache.second else { return };
    let timer = ThreadTimer::new(&*cache.time);
    let all = holds.lock().holds.len();
    for _ in 0..all {
        let Some(hold) = holds.take(cache.time.now_precisely()) else { return };
        let renewing = second.renew(&timer, &hold.key, &hold.lease, cache.now());
        let renewed = timer.block_on(renewing);
        holds.give_back(Some(hold).filter(|_| renewed));
    }
}

/// Runs `load` while the leases of these loads are renewed.
pub(crate) fn holding_leases<K, V, S, T>(
    leads: &mut [Lead<K, V, S>],
    load: impl FnOnce(&[Lead<K, V, S>]) -> T,
) -> T
where
    K: Clone + Eq,
    S: BuildHasher,
{
    let hold = |(load, lead): (usize, &mut Lead<K, V, S>)| {
        let (key, lease) = lead.lease.take()?;
        Some(Hold { load, key, lease })
    };
    let holds: VecDeque<_> = leads.iter_mut().enumerate().filter_map(hold).collect();
    if holds.is_empty() {
        return load(leads);
    }
    let until = leads.iter().filter_map(|lead| lead.ticket.as_ref()).map(Ticket::hard_at).max();
    let until = until.unwrap_or(Instant::FAR_FUTURE);
    let held = Held { holds, until, out: false, over: false };
    let holds = Holds(Arc::new((Mutex::new(held), Condvar::new())));
    let cache = leads.first().and_then(|lead| lead.inner.upgrade());
    let renewer = cache.as_ref().and_then(|cache| cache.renewer.get());
    let chore = renewer.and_then(|renewer| renewer(holds.clone()));
    drop(cache); // a load that hangs must not keep it alive
    let loaded = load(leads);
    drop(chore);
    for Hold { load, key, lease } in holds.end() {
        if let Some(lead) = leads.get_mut(load) {
            lead.lease = Some((key, lease));
        }
    }
    loaded
}
