//! One writer, many readers: processes that share a store.

use std::future::pending;
use std::sync::Mutex;

use cache_core::{Instant as At, Lifetime};
use cache_std::MemoryStore;
use cache_std::store::{AsyncSharedStore, AsyncStore, Ready, StoreError, Stored};

use super::*;

type Store = Arc<Ready<MemoryStore<String, u32>>>;

fn store() -> Store {
    Arc::new(Ready(MemoryStore::new(10)))
}

/// An origin that notes who asks it, and when.
#[derive(Clone)]
struct Origin {
    start: Instant,
    asked: Arc<Mutex<Vec<(&'static str, u64)>>>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Down,
    Hangs,
}

impl Origin {
    fn new() -> Self {
        let state = Arc::new(Mutex::new(State::Up));
        Self { start: Instant::now(), asked: Arc::default(), state }
    }

    fn asked(&self) -> Vec<(&'static str, u64)> {
        self.asked.lock().unwrap().clone()
    }

    /// How often it was asked is its answer, a second later.
    fn load(&self, who: &'static str) -> impl Fn() -> Load + Send + Sync + use<> {
        let origin = self.clone();
        move || {
            let origin = origin.clone();
            Box::pin(async move {
                let answer = {
                    let mut asked = origin.asked.lock().unwrap();
                    asked.push((who, origin.start.elapsed().as_secs()));
                    asked.len() as u32
                };
                let state = *origin.state.lock().unwrap();
                match state {
                    State::Hangs => pending().await,
                    State::Down => Err("down".into()),
                    State::Up => {
                        sleep(secs(1)).await;
                        Ok(answer)
                    }
                }
            })
        }
    }
}

/// A process whose job runs every 100 s.
fn process(store: &Store, origin: &Origin, who: &'static str) -> Background<u32> {
    job("prices", secs(100)).start_shared(Arc::clone(store), origin.load(who)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_process_loads_and_all_have_the_value() {
    let (store, origin) = (store(), Origin::new());
    let first = process(&store, &origin, "first");
    let second = process(&store, &origin, "second");
    first.ready().await.unwrap();
    second.ready().await.unwrap();
    assert_eq!((*first.get().unwrap(), *second.get().unwrap()), (1, 1));
    sleep(secs(30)).await;
    let third = process(&store, &origin, "third");
    third.ready().await.unwrap();
    assert_eq!((*third.get().unwrap(), origin.asked()), (1, vec![("first", 0)]));
    sleep(secs(1_000)).await;
    let asked = origin.asked();
    assert!((10..=14).contains(&asked.len()), "once in an interval, as a rule: {asked:?}");
    let newest = asked.len() as u32;
    for reader in [&first, &second, &third] {
        assert!(*reader.get().unwrap() >= newest - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_writer_dies_another_takes_its_place() {
    let (store, origin) = (store(), Origin::new());
    *origin.state.lock().unwrap() = State::Hangs;
    let first = process(&store, &origin, "first");
    sleep(secs(1)).await;
    *origin.state.lock().unwrap() = State::Up;
    let second = process(&store, &origin, "second");
    sleep(secs(60)).await;
    assert_eq!(origin.asked(), [("first", 0)], "it holds its lease as long as it loads");
    drop(first);
    second.ready().await.unwrap();
    assert_eq!(*second.get().unwrap(), 2);
    let (who, at) = origin.asked()[1];
    assert!(who == "second" && (61..=67).contains(&at), "{at} s");
}

#[tokio::test(start_paused = true)]
async fn who_starts_while_the_origin_is_down_has_the_last_value() {
    let (store, origin) = (store(), Origin::new());
    let first = process(&store, &origin, "first");
    first.ready().await.unwrap();
    *origin.state.lock().unwrap() = State::Down;
    sleep(secs(500)).await;
    let second = process(&store, &origin, "second");
    second.ready().await.unwrap();
    assert_eq!((*first.get().unwrap(), *second.get().unwrap()), (1, 1));
    assert!(first.status().unwrap().last_error.is_some(), "who has one is told of the failure");
}

/// A store that is out of reach.
struct Gone;

impl AsyncStore<String, u32> for Gone {
    async fn get(&self, _: &String, _: At) -> Result<Option<Stored<u32>>, StoreError> {
        Err(StoreError::unavailable("on purpose"))
    }

    async fn put(&self, _: &String, _: &u32, _: Lifetime, _: At) -> Result<(), StoreError> {
        Err(StoreError::unavailable("on purpose"))
    }

    async fn remove(&self, _: &String, _: At) -> Result<bool, StoreError> {
        Err(StoreError::unavailable("on purpose"))
    }

    fn shared(&self) -> Option<impl AsyncSharedStore<String, u32> + Send + Sync> {
        None::<cache_std::store::Unshared>
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_store_each_process_loads_for_itself() {
    let origin = Origin::new();
    let value = job("prices", secs(100)).start_shared(Gone, origin.load("first")).unwrap();
    value.ready().await.unwrap();
    sleep(secs(350)).await;
    assert_eq!((*value.get().unwrap(), origin.asked().len()), (4, 4));
}

/// It answers, and takes its time for it.
struct Slow(Store);

impl AsyncStore<String, u32> for Slow {
    async fn get(&self, key: &String, now: At) -> Result<Option<Stored<u32>>, StoreError> {
        sleep(Duration::from_millis(300)).await;
        AsyncStore::get(&*self.0, key, now).await
    }

    async fn put(&self, key: &String, v: &u32, life: Lifetime, now: At) -> Result<(), StoreError> {
        AsyncStore::put(&*self.0, key, v, life, now).await
    }

    async fn remove(&self, key: &String, now: At) -> Result<bool, StoreError> {
        AsyncStore::remove(&*self.0, key, now).await
    }

    fn shared(&self) -> Option<impl AsyncSharedStore<String, u32> + Send + Sync> {
        AsyncStore::shared(&*self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_waited_for_as_nobody_waits_for_the_run() {
    let (store, origin) = (store(), Origin::new());
    let process = |who| {
        let store = Slow(Arc::clone(&store));
        job("prices", secs(100)).start_shared(store, origin.load(who)).unwrap()
    };
    let both = [process("first"), process("second")];
    sleep(secs(350)).await;
    assert_eq!(both.map(|value| *value.get().unwrap()), [4, 4]);
    assert_eq!(origin.asked().len(), 4, "{:?}", origin.asked());
}
