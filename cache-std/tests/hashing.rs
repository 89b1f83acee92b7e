//! Hashing a key costs as much as finding it, so every call does it once, whatever it finds.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_std::ManualTime;
use cache_std::sync::{Builder, Cache};

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

/// The same by whichever time and in whichever arrangement of tables.
fn everywhere<K, V>(key: impl Fn(u64) -> K, value: impl Fn(u64) -> V)
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + PartialEq + core::fmt::Debug + Send + Sync + 'static,
{
    for capacity in [10_000, 100] {
        for by_hand in [false, true] {
            let builder = Cache::builder().capacity(capacity).ttl(Duration::from_secs(600));
            let builder = builder.stale_while_revalidate(Duration::from_secs(600));
            let by_hand = by_hand.then(ManualTime::new);
            let counting = Counting::default();
            let begun = Arc::clone(&counting.begun);
            let builder = by_hand.into_iter().fold(builder, Builder::time);
            let cache = builder.hasher(counting).build().unwrap();
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
    once("an end of freshness", &mut || assert!(cache.expire(&one).found));
    once("a read of what is stale", &mut || assert_eq!(cache.get(&one), None));
    once("a removal", &mut || assert!(cache.invalidate(&one).found));
    times(3, "many at once", &mut || {
        assert_eq!(cache.get_many([&one, &two, &absent]), [None, Some(first.clone()), None]);
    });
    cache.control().bypass(true);
    once("a read past memory", &mut || assert_eq!(cache.get(&two), None));
}

#[test]
fn every_call_hashes_its_key_once() {
    everywhere(|n| n, |n| n);
    everywhere(|n| n, |n| Arc::<str>::from(n.to_string()));
    everywhere(|n| n.to_string(), |n| Arc::<str>::from(n.to_string()));
}
