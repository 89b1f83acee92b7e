//! Where a granted load runs: on a worker, or on the caller's thread.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::panic::resume_unwind;
use std::sync::Arc;

use cache_core::Loaded;

use super::cache::Inner;
use super::call::Call;
use super::lead::{Lead, Looked, Previous};
use super::outcome::{LoadPart, Served};
use crate::error::LoadError;
use crate::flight::{End, Flight};
use crate::pool;

/// How a granted load runs.
pub(super) trait Run<K: Eq, V, S: BuildHasher, E> {
    /// Whether the loader sees the old value.
    fn pins(&self) -> bool;

    /// Refreshes a value of which `old` is a copy.
    fn refresh<Q>(
        self,
        call: &Call<'_, Q, K, V, S>,
        lead: Lead<K, V, S>,
        old: Served<V>,
    ) -> Result<Served<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized;

    /// Starts a load for a caller who waits for it; with `endless`, to its end, whenever that is. An
    /// end, if the load runs here and nobody is to wait.
    fn load<Q>(
        self,
        call: &Call<'_, Q, K, V, S>,
        lead: Lead<K, V, S>,
        endless: bool,
    ) -> Option<End<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized;
}

/// A queued load's place in the queue. Dropped unused, it gives the load up.
struct Turn<V>(Arc<Flight<V>>);

impl<V> Turn<V> {
    fn run(&self) {
        if let Some(job) = self.0.take_queued() {
            job();
        }
    }
}

impl<V> Drop for Turn<V> {
    fn drop(&mut self) {
        drop(self.0.take_queued());
    }
}

/// A loader that owns what it needs and runs on a worker.
pub(super) struct Detached<F> {
    pub(super) loader: F,
    pub(super) pins: bool,
}

impl<K, V, S, E, F> Run<K, V, S, E> for Detached<F>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
    F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
    E: fmt::Display + Send + Sync + 'static,
{
    fn pins(&self) -> bool {
        self.pins
    }

    fn refresh<Q>(
        self,
        call: &Call<'_, Q, K, V, S>,
        lead: Lead<K, V, S>,
        old: Served<V>,
    ) -> Result<Served<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.queue(call.inner, lead);
        Ok(old)
    }

    fn load<Q>(
        self,
        call: &Call<'_, Q, K, V, S>,
        mut lead: Lead<K, V, S>,
        endless: bool,
    ) -> Option<End<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if endless || pool::on_worker() {
            match lead.prepare_here() {
                Looked::Landed => {}
                // The caller need not wait for more.
                Looked::Adopted => self.queue(call.inner, lead),
                Looked::Nothing => drop(lead.ask(self.loader)),
            }
        } else {
            let job = Box::new(move || drop(lead.run(self.loader)));
            call.inner.pool().load(job).unwrap_or_else(|job| job());
        }
        None
    }
}

impl<F> Detached<F> {
    /// Runs the load when one of the few workers for refreshes is free.
    pub(super) fn queue<K, V, S, E>(self, inner: &Inner<K, V, S>, mut lead: Lead<K, V, S>)
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
        F: FnOnce(&Previous<V>) -> Result<Loaded<V>, E> + Send + 'static,
        E: fmt::Display + Send + Sync + 'static,
    {
        let flight = Arc::clone(&lead.flight);
        if flight.queue(Box::new(move || drop(lead.run(self.loader)))) {
            // Somebody has come to wait for it before it was there to be taken.
            inner.pull_forward(&flight);
        }
        let turn = Turn(flight);
        // When too many refreshes wait already, the turn is dropped, and the load given up with it:
        // the next reader may try.
        drop(inner.pool().refresh(Box::new(move || turn.run())));
    }
}

/// A loader that borrows and runs on the caller's thread.
pub(super) struct Here<F> {
    pub(super) loader: F,
}

impl<K, V, S, E, F> Run<K, V, S, E> for Here<F>
where
    K: Clone + Eq + Hash,
    V: Clone,
    S: BuildHasher,
    F: FnOnce() -> Result<V, E>,
    E: fmt::Display + Send + Sync + 'static,
{
    fn pins(&self) -> bool {
        false
    }

    /// The old value is not simply handed out when the load fails: its windows may have passed
    /// meanwhile, or the error may forbid it.
    fn refresh<Q>(
        self,
        call: &Call<'_, Q, K, V, S>,
        lead: Lead<K, V, S>,
        _: Served<V>,
    ) -> Result<Served<V>, LoadError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let end = self.run(lead);
        call.deliver(end, LoadPart::Started)
    }

    fn load<Q>(self, _: &Call<'_, Q, K, V, S>, lead: Lead<K, V, S>, _: bool) -> Option<End<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Some(self.run(lead))
    }
}

impl<F> Here<F> {
    fn run<K, V, S, E>(self, mut lead: Lead<K, V, S>) -> End<V>
    where
        K: Clone + Eq + Hash,
        V: Clone,
        S: BuildHasher,
        F: FnOnce() -> Result<V, E>,
        E: fmt::Display + Send + Sync + 'static,
    {
        let loader = self.loader;
        if let Some(payload) = lead.run(|_| loader().map(Loaded::value)) {
            resume_unwind(payload);
        }
        lead.flight.end().unwrap_or(End::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::pool::Pool;
    use crate::sync::Cache;
    use crate::time::ManualTime;

    type Answer = Result<u8, LoadError<String>>;

    fn cache(time: &ManualTime) -> (Cache<u8, u8>, Arc<Pool>) {
        let (minute, pool) = (Duration::from_secs(60), Arc::new(Pool::new(2)));
        let cache = Cache::builder().ttl(minute).time(time.clone()).build().unwrap();
        assert!(cache.inner.pool.set(Arc::clone(&pool)).is_ok());
        (cache, pool)
    }

    /// Panics, without a report, when told to.
    fn load(told: &Receiver<()>) -> Result<u8, String> {
        told.recv().unwrap();
        resume_unwind(Box::new("oh"))
    }

    /// One leader and three who follow it; all wait when the leader's load panics.
    fn panic_once(time: &ManualTime, cache: &Cache<u8, u8>, here: bool) {
        let (tell, told) = channel();
        thread::scope(|scope| {
            let leader = scope.spawn(move || match here {
                true => cache.get_or_load_here(&1, || load(&told)),
                false => cache.get_or_load(&1, move || load(&told)),
            });
            while cache.explain(&1).flight.is_none() {
                thread::yield_now();
            }
            let follow = || -> Answer { cache.get_or_load(&1, || Ok(2)) };
            let followers = [(); 3].map(|()| scope.spawn(follow));
            time.until_parked(3 + usize::from(!here));
            tell.send(()).unwrap();
            let leader = catch_unwind(AssertUnwindSafe(|| match leader.join() {
                Ok(answer) => assert_panicked(&answer),
                Err(payload) => resume_unwind(payload),
            }));
            assert_eq!(leader.is_err(), here, "the panic goes on in the thread that ran the load");
            followers.into_iter().for_each(|each| assert_panicked(&each.join().unwrap()));
        });
    }

    fn assert_panicked(answer: &Answer) {
        let told = matches!(answer, Err(LoadError::Panicked(text)) if &**text == "oh");
        assert!(told, "{answer:?}");
    }

    #[test]
    fn a_thousand_leaders_that_panic_leave_nobody_waiting_and_cost_no_worker() {
        let time = ManualTime::new();
        let (cache, pool) = cache(&time);
        (0..1_000).for_each(|n| panic_once(&time, &cache, n % 2 == 0));
        assert_eq!((cache.stats().loads, cache.stats().failures), (1_000, 1_000));
        assert_eq!((time.parked(), cache.inner.places.taken()), (0, 0));
        // The last worker says that it has no work a moment after its load has ended.
        while pool.workers().0 < pool.workers().1 {
            thread::yield_now();
        }
        assert!(pool.workers().1 < 50, "none is lost, and none was made for each load");
        assert_eq!(cache.get_or_load(&1, || Ok::<_, String>(7)).unwrap(), 7);
    }
}
