use super::*;
use alloc::{boxed::Box, string::ToString, sync::Arc};
use core::error::Error;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Mutex;

/// Holds one entry, whose key is any number but 13, which cannot be read.
#[derive(Default)]
struct One(Mutex<Option<(u32, Entry<u8>)>>);

impl Store<u32, u8> for One {
    fn get(&self, key: &u32, now: Instant) -> Result<Option<Stored<u8>>, StoreError> {
        let held = *self.0.lock().unwrap();
        match held.filter(|(held, _)| held == key) {
            _ if *key == 13 => Err(StoreError::corrupt("it is 13")),
            found => Ok(found.map(|(_, entry)| Stored::new(entry.value, entry.lifetime(now)))),
        }
    }

    fn put(&self, key: &u32, value: &u8, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        *self.0.lock().unwrap() = Some((*key, Entry::from_lifetime(*value, life, now)));
        Ok(())
    }

    fn remove(&self, key: &u32, _: Instant) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().take_if(|(held, _)| held == key).is_some())
    }
}

const NOW: Instant = Instant::from_secs(100);
const MINUTE: Lifetime = Lifetime::fresh_for(Duration::from_secs(60));

fn polled_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the future waits"),
    }
}

fn sendable<F: Future + Send + 'static>(future: F) -> F {
    future
}

#[test]
fn what_is_not_overridden_is_said_to_be_unsupported() {
    let store = One::default();
    let operation = |error| match error {
        StoreError::Unsupported { operation } => operation,
        other => panic!("{other}"),
    };
    assert_eq!(operation(store.clear(NOW).unwrap_err()), "clear");
    assert_eq!(operation(store.purge(NOW, 1).unwrap_err()), "purge");
    let refused = store.put_if_absent(&1, &1, MINUTE, NOW).unwrap_err();
    assert_eq!(operation(refused), "put_if_absent");
}

#[test]
fn get_many_tells_positions_and_leaves_out_what_cannot_be_read() {
    let store = One::default();
    store.put(&7, &42, MINUTE, NOW).unwrap();
    let mut found = alloc::vec::Vec::new();
    let mut note = |position, stored: Stored<u8>| found.push((position, stored.value));
    store.get_many(&[&13, &7, &8, &7], NOW, &mut note).unwrap();
    assert_eq!(found, [(1, 42), (3, 42)]);
}

#[test]
fn pointers_to_a_store_are_stores() {
    let shared: Arc<dyn Store<u32, u8>> = Arc::new(One::default());
    let boxed: Box<dyn Store<u32, u8>> = Box::new(Arc::clone(&shared));
    boxed.put(&1, &2, MINUTE, NOW).unwrap();
    let entry = Store::get(&&*shared, &1, NOW).unwrap().unwrap().into_entry(NOW);
    assert_eq!((entry.value, entry.remaining(NOW)), (2, MINUTE.ttl));
    assert!(boxed.remove(&1, NOW).unwrap());
}

#[test]
fn a_blocking_store_serves_as_an_async_one() {
    let store = Arc::new(Ready(One::default()));
    let task = sendable(async move {
        store.put(&7, &42, MINUTE, NOW).await?;
        let mut found = 0;
        let keys = [&13, &7];
        let mut note = |position, stored: Stored<u8>| found += position + stored.value as usize;
        store.get_many(&keys, NOW, &mut note).await?;
        Ok::<_, StoreError>((found, store.get(&8, NOW).await?.is_none()))
    });
    assert_eq!(polled_once(task).unwrap(), (43, true));
}

/// Says `async fn`, and leaves the rest as it is.
struct Empty;

impl AsyncStore<str, u8> for Empty {
    async fn get(&self, key: &str, _: Instant) -> Result<Option<Stored<u8>>, StoreError> {
        Ok((key == "one").then(|| Stored::new(1, MINUTE)))
    }

    async fn put(&self, _: &str, _: &u8, _: Lifetime, _: Instant) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove(&self, _: &str, _: Instant) -> Result<bool, StoreError> {
        Ok(false)
    }
}

#[test]
fn provided_async_methods_are_sendable_and_loop_over_get() {
    let task = sendable(async {
        let mut found = 0;
        let keys = alloc::vec![alloc::string::String::from("none"), "one".into()];
        let keys: alloc::vec::Vec<&str> = keys.iter().map(|key| &**key).collect();
        Empty.get_many(&keys, NOW, &mut |position, _| found += position).await?;
        Ok::<_, StoreError>((found, Empty.clear(NOW).await.is_err()))
    });
    assert_eq!(polled_once(task).unwrap(), (1, true));
}

/// A store that something happens to right after it was read.
#[derive(Default)]
struct Meddled {
    store: One,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Store<u32, u8> for Meddled {
    fn get(&self, key: &u32, now: Instant) -> Result<Option<Stored<u8>>, StoreError> {
        let found = self.store.get(key, now);
        let then = self.then.lock().unwrap().take();
        if let Some(then) = then {
            then();
        }
        found
    }

    fn put(&self, key: &u32, value: &u8, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.store.put(key, value, life, now)
    }

    fn remove(&self, key: &u32, now: Instant) -> Result<bool, StoreError> {
        self.store.remove(key, now)
    }

    fn clear(&self, _: Instant) -> Result<(), StoreError> {
        *self.store.0.lock().unwrap() = None;
        Ok(())
    }
}

type Chained = Chain<One, Meddled>;

/// What a chain has near after a read that copied a value of key 1, a minute old, while `then` was done
/// to the chain.
fn near_after(then: impl FnOnce(&Chained) + Send + 'static) -> Option<u8> {
    let chain = Arc::new(Chained::default());
    let minute_old = Lifetime::fresh_for(Duration::from_secs(3_600)).aged(MINUTE.ttl);
    chain.far().put(&1, &1, minute_old, NOW).unwrap();
    let meddler = Arc::clone(&chain);
    *chain.far().then.lock().unwrap() = Some(Box::new(move || then(&meddler)));
    assert_eq!(Store::get(&*chain, &1, NOW).unwrap().unwrap().value, 1);
    chain.near().get(&1, NOW).unwrap().map(|near| near.value)
}

#[test]
fn what_a_chain_copies_while_it_is_changed_does_not_stay() {
    assert_eq!(near_after(|_| {}), Some(1));
    assert_eq!(near_after(|chain| Store::put(chain, &1, &2, MINUTE, NOW).unwrap()), None);
    assert_eq!(near_after(|chain| assert!(Store::remove(chain, &1, NOW).unwrap())), None);
    // One after which it may be anything: `One` cannot be cleared, so that is an error.
    assert_eq!(near_after(|chain| assert!(Store::clear(chain, NOW).is_err())), None);
}

#[test]
fn what_a_chain_copies_stays_if_another_key_is_changed() {
    let another = |chain: &Chained| assert!(!Store::remove(chain, &2, NOW).unwrap());
    assert_eq!(near_after(another), Some(1));
}

#[test]
fn a_change_that_had_begun_before_a_read_of_a_chain_counts_as_well() {
    let chain = Arc::new(Chained::default());
    let minute_old = Lifetime::fresh_for(Duration::from_secs(3_600)).aged(MINUTE.ttl);
    chain.far().put(&1, &1, minute_old, NOW).unwrap();
    // The far part of a change is done once it was read, the near part before it is copied.
    let reader = Arc::clone(&chain);
    let read = move || assert!(Store::get(&*reader, &1, NOW).unwrap().is_some());
    let meddler = Arc::clone(&chain);
    let far = move || meddler.far().store.put(&1, &2, MINUTE, NOW).unwrap();
    let change = chain.begin_change();
    *chain.far().then.lock().unwrap() = Some(Box::new(far));
    read();
    assert!(chain.near().get(&1, NOW).unwrap().is_none());
    drop(change);
    read();
    assert_eq!(chain.near().get(&1, NOW).unwrap().unwrap().value, 2);
}

#[test]
fn tasks_copies_meet_changes_as_well() {
    let chain = Arc::new(Chain::new(Ready(One::default()), Ready(Meddled::default())));
    let minute_old = Lifetime::fresh_for(Duration::from_secs(3_600)).aged(MINUTE.ttl);
    chain.far().0.put(&1, &1, minute_old, NOW).unwrap();
    let meddler = Arc::clone(&chain);
    let then = move || polled_once(AsyncStore::put(&*meddler, &1, &2, MINUTE, NOW)).unwrap();
    *chain.far().0.then.lock().unwrap() = Some(Box::new(then));
    assert_eq!(polled_once(AsyncStore::get(&*chain, &1, NOW)).unwrap().unwrap().value, 1);
    assert!(chain.near().0.get(&1, NOW).unwrap().is_none());
    assert_eq!(polled_once(AsyncStore::get(&*chain, &1, NOW)).unwrap().unwrap().value, 2);
}

#[test]
fn errors_tell_their_cause_and_keep_its_source() {
    let error = StoreError::unavailable("connection refused");
    assert_eq!(error.to_string(), "the store is unavailable: connection refused");
    assert!(error.source().is_none());
    let error = StoreError::corrupt_by(core::fmt::Error);
    assert!(error.source().unwrap().is::<core::fmt::Error>());
    let error = StoreError::too_large(10, 5);
    assert_eq!(error.to_string(), "10 bytes are more than the 5 that the store takes");
}

#[test]
fn a_token_is_not_shown() {
    let lease = HeldLease::new([0xab; 16], 7);
    assert_eq!(std::format!("{lease:?}"), "HeldLease { fence: 7, .. }");
    assert_eq!((lease.token()[0], lease.fence()), (0xab, 7));
}
