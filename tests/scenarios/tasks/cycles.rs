//! Loaders that need the cache.

use std::sync::Arc;

use advanced_caching::future::LoadError;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::calls::{Answer, Calls, Users, ask, builder, told};
use crate::world::{Origin, Told, on_paused_time, secs, settled};

/// What a loader that asks for this key was told, and told on.
async fn asked_within(cache: Users, key: u8) -> Result<u32, Origin> {
    let answer: Answer = cache.get_or_load(&key, || async { Ok(7) }).await;
    answer.map_err(|error| match error {
        LoadError::Recursive => Origin("recursive"),
        LoadError::TimedOut { .. } => Origin("timed out"),
        _ => Origin("something else"),
    })
}

fn ask_asking(cache: &Users, key: u8, within: u8) -> JoinHandle<Answer> {
    let (reader, inner) = (cache.clone(), cache.clone());
    tokio::spawn(async move { reader.get_or_load(&key, move || asked_within(inner, within)).await })
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_so() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let caller = ask_asking(&cache, 1, 1);
        assert_eq!((told(caller).await, calls.now()), (Told::Failed(Origin("recursive")), 0));
        assert_eq!(told(ask(&cache, 1, calls.load(secs(0), Ok(7)))).await, Told::Value(7));
    });
}

#[test]
fn a_loader_that_asks_for_another_key_is_answered() {
    on_paused_time(async {
        let cache = builder().max_refreshes(1).build().unwrap();
        assert_eq!(told(ask_asking(&cache, 1, 2)).await, Told::Value(7));
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(7), Some(7)));
    });
}

#[test]
fn a_loader_of_many_keys_that_asks_for_one_of_them_is_told_so() {
    on_paused_time(async {
        let cache = builder().build().unwrap();
        let inner = cache.clone();
        let load = move |keys: Vec<u8>| {
            let inner = inner.clone();
            async move {
                let one = asked_within(inner, keys[0]).await?;
                Ok::<_, Origin>(keys.into_iter().map(move |key| (key, one)))
            }
        };
        let answers = cache.get_or_load_each(&[1, 2], load).await;
        for answer in answers {
            assert_eq!(Told::from(answer), Told::Failed(Origin("recursive")));
        }
    });
}

#[test]
fn two_loaders_that_wait_for_each_other_end_at_their_time_out() {
    on_paused_time(async {
        let cache = builder().hard_timeout(secs(5)).lease(secs(10)).build().unwrap();
        let (calls, meet) = (Calls::new(), Arc::new(Mutex::new(())));
        let held = Arc::clone(&meet).lock_owned().await;
        let callers = [(1, 2), (2, 1)].map(|(key, other)| {
            let (reader, inner, meet) = (cache.clone(), cache.clone(), Arc::clone(&meet));
            let load = move || async move {
                drop(meet.lock().await);
                asked_within(inner, other).await
            };
            tokio::spawn(async move { reader.get_or_load(&key, load).await })
        });
        settled().await;
        drop(held);
        for caller in callers {
            let timed_out = Told::TimedOut { retry_in: secs(5) };
            assert_eq!((told(caller).await, calls.now()), (timed_out, 5_000));
        }
        settled().await;
        assert_eq!((cache.stats().loads, cache.stats().failures), (2, 2), "both have ended");
    });
}
