//! Hashing a key costs as much as finding it, so every call that reads or changes one does it once, whatever it finds.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_std::sync::{Builder, Cache, Waiting};
use cache_std::{Loaded, ManualTime, MemoryStore};

/// Counts the hashers that are begun with.
#[derive(Clone, Default)]
struct Counting {
    inner: RandomState,
    begun: Arc<AtomicU64>,
}

impl BuildHasher for Counting {
    type Hasher = <RandomState as BuildHasher>::Hasher;

    fn build_hasher(&self) -> Self::Hasher {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.inner.build_hasher()
    }
}

type Counted<K, V> = Cache<K, V, Counting>;

/// In whichever arrangement of tables, by whichever time, and before a store.
fn everywhere<K, V>(key: impl Fn(u64) -> K, value: impl Fn(u64) -> V)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + PartialEq + core::fmt::Debug + Send + Sync + 'static,
{
    type Arrange<K, V> = fn(Builder<K, V>) -> Builder<K, V>;
    let arrangements: [Arrange<K, V>; 6] = [
        |builder| builder.capacity(10_000),
        |builder| builder.capacity(100),
        |builder| builder.capacity(10_000).waiting(Waiting::Park),
        |builder| builder.weight_limit(1_000).weigher(|_, _| 1),
        |builder| builder.capacity(10_000).time(ManualTime::new()),
        |builder| builder.capacity(100).time(ManualTime::new()),
    ];
    for arrange in arrangements {
        for stored in [false, true] {
            let builder = arrange(Cache::builder().ttl(Duration::from_secs(600)));
            let builder = builder.stale_while_revalidate(Duration::from_secs(600));
            let counting = Counting::default();
            let begun = Arc::clone(&counting.begun);
            let builder = builder.hasher(counting);
            let builder = if stored { builder.l2(MemoryStore::new(100)) } else { builder };
            let cache = builder.build().unwrap();
            hashes_once(&cache, &begun, [key(1), key(2), key(3)], [value(1), value(2)]);
        }
    }
}

fn hashes_once<K, V>(cache: &Counted<K, V>, begun: &AtomicU64, keys: [K; 3], values: [V; 2])
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + PartialEq + core::fmt::Debug + Send + Sync + 'static,
{
    let ([one, two, absent], [first, second]) = (keys, values);
    let times = |times: u64, what: &str, act: &mut dyn FnMut()| {
        let before = begun.load(Ordering::Relaxed);
        act();
        assert_eq!(begun.load(Ordering::Relaxed) - before, times, "{what}");
    };
    let once = |what: &str, act: &mut dyn FnMut()| times(1, what, act);
    let load = |value: &V| {
        let value = value.clone();
        move || Ok::<_, Infallible>(value)
    };

    once("a miss", &mut || assert_eq!(cache.get(&one), None));
    once("a put", &mut || assert!(cache.put(one.clone(), first.clone()).is_stored()));
    for read in 0..6 {
        // The first ones count as uses, and later ones go another way.
        let what = format!("hit {read}");
        once(&what, &mut || assert_eq!(cache.get(&one).as_ref(), Some(&first)));
    }
    once("a put of what is there", &mut || {
        assert!(cache.put(one.clone(), second.clone()).is_stored())
    });
    once("a hit that may load", &mut || {
        assert_eq!(cache.get_or_load(&one, load(&first)).ok().as_ref(), Some(&second))
    });
    once("a load", &mut || {
        assert_eq!(cache.get_or_load_here(&two, load(&first)).ok().as_ref(), Some(&first))
    });
    once("whether it is there", &mut || assert!(cache.contains(&one)));
    once("a look", &mut || assert_eq!(cache.peek(&one).as_ref(), Some(&second)));
    once("its entry", &mut || assert!(cache.entry(&one).is_some()));
    once("a put of what is there already", &mut || {
        assert!(!cache.put_if_absent(one.clone(), first.clone()).is_stored());
    });
    once("a put with a tag", &mut || {
        assert!(cache.put(one.clone(), Loaded::value(first.clone()).tag("t")).is_stored());
    });
    once("a hit with a tag", &mut || assert_eq!(cache.get(&one).as_ref(), Some(&first)));
    once("a put where a tag was", &mut || {
        assert!(cache.put(one.clone(), second.clone()).is_stored());
    });
    once("a read by other terms", &mut || {
        assert_eq!(
            cache.read(&one).max_stale(Duration::from_secs(60)).get().as_ref(),
            Some(&second)
        );
    });
    once("an end of freshness", &mut || assert!(cache.expire(&one).found));
    once("a read of what is stale", &mut || assert_eq!(cache.get(&one), None));
    once("a removal", &mut || assert!(cache.invalidate(&one).found));
    times(3, "many at once", &mut || {
        assert_eq!(cache.get_many([&one, &two, &absent]), [None, Some(first.clone()), None]);
    });
    times(2, "many that may be loaded", &mut || {
        let origin = second.clone();
        let loader = move |keys: Vec<K>| {
            let answers = keys.into_iter().map(|key| (key, origin.clone()));
            Ok::<_, Infallible>(answers.collect::<Vec<_>>())
        };
        let found = cache.get_or_load_many([&two, &absent], loader);
        assert_eq!(found.ok(), Some(vec![Some(first.clone()), Some(second.clone())]));
    });
    cache.control().bypass(true);
    once("a read past memory", &mut || assert_eq!(cache.get(&two), None));
}

#[test]
fn every_call_for_a_key_hashes_it_once() {
    everywhere(|n| n, |n| n);
    everywhere(|n| n, |n| Arc::<str>::from(n.to_string()));
    everywhere(|n| n.to_string(), |n| Arc::<str>::from(n.to_string()));
}
