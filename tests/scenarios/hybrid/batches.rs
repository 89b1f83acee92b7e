//! Many keys at once.

use std::sync::{Arc, Mutex};

use advanced_caching::future::{LoadError, Reach};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::far::{Far, State};
use crate::tasks::calls::Users;
use crate::world::{Origin, ms, on_paused_time, secs, settled};

/// The keys that an origin was asked for, call by call.
type Asked = Arc<Mutex<Vec<Vec<u8>>>>;

fn many(
    cache: &Users,
    keys: &[u8],
    asked: &Asked,
) -> JoinHandle<Result<Vec<Option<u32>>, LoadError<Origin>>> {
    let (cache, keys, asked) = (cache.clone(), keys.to_vec(), Arc::clone(asked));
    tokio::spawn(async move {
        let load = move |keys: Vec<u8>| {
            asked.lock().unwrap().push(keys.clone());
            async move {
                sleep(ms(100)).await;
                Ok(keys.into_iter().map(|key| (key, u32::from(key) * 10)).collect::<Vec<_>>())
            }
        };
        cache.get_or_load_many(&keys, load).await
    })
}

fn asked(asked: &Asked) -> Vec<Vec<u8>> {
    std::mem::take(&mut asked.lock().unwrap())
}

#[test]
fn the_store_is_asked_for_all_and_the_origin_for_the_rest() {
    on_paused_time(async {
        let (far, origin) = (Far::new(), Asked::default());
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        assert!(one.put(2, 2).await.is_stored());
        far.log();
        let found = many(&two, &[1, 2, 3], &origin).await.unwrap().unwrap();
        assert_eq!(found, [Some(10), Some(2), Some(30)]);
        assert_eq!(asked(&origin), [[1, 3]]);
        settled().await;
        assert_eq!(far.log(), ["get_many", "acquire", "acquire", "fill", "fill"]);
        assert_eq!((far.value(&one, 1), far.value(&one, 3)), (Some(10), Some(30)));
    });
}

#[test]
fn r8_batches_that_overlap_load_no_key_twice() {
    on_paused_time(async {
        let (far, origin) = (Far::new(), Asked::default());
        far.takes(ms(2));
        let (one, two) = (far.process().build().unwrap(), far.process().build().unwrap());
        let first = many(&one, &[1, 2], &origin);
        sleep(ms(20)).await;
        let second = many(&two, &[2, 3], &origin);
        assert_eq!(first.await.unwrap().unwrap(), [Some(10), Some(20)]);
        assert_eq!(second.await.unwrap().unwrap(), [Some(20), Some(30)]);
        assert_eq!(asked(&origin), [vec![1, 2], vec![3]]);
    });
}

#[test]
fn without_the_store_a_batch_is_loaded_all_the_same() {
    on_paused_time(async {
        let (far, origin) = (Far::new(), Asked::default());
        let cache = far.process().build().unwrap();
        for (key, state) in [(1, State::Down), (3, State::Hangs)] {
            far.is(state);
            let keys = [key, key + 1];
            let found = many(&cache, &keys, &origin).await.unwrap().unwrap();
            assert_eq!(found, keys.map(|key| Some(u32::from(key) * 10)));
            assert_eq!(keys.map(|key| cache.get(&key)), [found[0], found[1]]);
        }
    });
}

/// The simulation found this one: the store is asked before the value is removed, and answers after.
#[test]
fn what_was_in_doubt_when_a_batch_asked_for_it_is_not_taken_though_it_was_removed_meanwhile() {
    on_paused_time(async {
        let (far, origin) = (Far::new(), Asked::default());
        let cache = far.process().build().unwrap();
        assert!(cache.put(1, 1).await.is_stored());
        far.is(State::Down);
        assert_eq!(cache.invalidate(&1).await.reach, Reach::Queued);
        far.is(State::Up);
        sleep(ms(10)).await;
        far.takes(ms(28));
        let reading = many(&cache, &[1, 2], &origin);
        sleep(ms(5)).await;
        far.takes(ms(2));
        assert_eq!(reading.await.unwrap().unwrap(), [Some(10), Some(20)]);
        assert_eq!((cache.get(&1), far.value(&cache, 1)), (Some(10), None));
    });
}

/// A connection takes so many operations at a time, and others need it too.
#[test]
fn a_batch_asks_for_few_leases_at_a_time_and_stores_and_renews_as_many() {
    on_paused_time(async {
        let (far, keys) = (Far::new(), (0..=255).collect::<Vec<u8>>());
        let cache = far.process().build().unwrap();
        far.takes(ms(2));
        let load = |keys: Vec<u8>| async {
            sleep(secs(8)).await; // longer than a lease
            Ok::<_, Origin>(keys.into_iter().map(|key| (key, u32::from(key))).collect::<Vec<_>>())
        };
        let values = cache.get_or_load_many(&keys, load).await.unwrap();
        assert!(values.iter().zip(&keys).all(|(value, key)| *value == Some((*key).into())));
        settled().await;
        sleep(secs(1)).await;
        assert!((2..=64).contains(&far.most_at_once()), "{}", far.most_at_once());
        let stored = keys.iter().filter(|key| far.value(&cache, **key).is_some()).count();
        assert_eq!((stored, cache.stats().store_errors, cache.stats().store_refusals), (256, 0, 0));
    });
}
