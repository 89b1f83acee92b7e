//! A snapshot that is imported in front of a store which others change meanwhile.

use std::sync::Arc;
use std::time::Duration;

use cache_core::store::{
    HeldLease, Leases, Mutation, Plain, SharedStore, Station, Store, StoreError, Stored, TagChange,
};
use cache_std::sync::Cache;
use cache_std::{Clock, Instant, Lifetime, Loaded, ManualTime, MemoryStore, tag_hash};

type Texts = Cache<String, String>;

/// What another process does to a store.
type Deed = fn(&MemoryStore<String, String>, Instant);

/// A store in which another process does something just when a value was put.
struct Meddled(Arc<MemoryStore<String, String>>, Deed);

impl Store<String, String> for Meddled {
    fn get(&self, key: &String, now: Instant) -> Result<Option<Stored<String>>, StoreError> {
        self.0.get(key, now)
    }

    fn put(
        &self,
        key: &String,
        value: &String,
        life: Lifetime,
        now: Instant,
    ) -> Result<(), StoreError> {
        self.0.put(key, value, life, now)
    }

    fn remove(&self, key: &String, now: Instant) -> Result<bool, StoreError> {
        Store::<String, String>::remove(&*self.0, key, now)
    }

    fn shared(&self) -> Option<&(dyn SharedStore<String, String> + Sync)> {
        Some(self)
    }
}

impl SharedStore<String, String> for Meddled {
    fn mutate(
        &self,
        key: &String,
        mutation: Mutation<'_, String>,
        by: Station,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let done = self.0.mutate(key, mutation, by, now);
        (self.1)(&self.0, now);
        done
    }

    fn clear_all(&self, by: Station, now: Instant) -> Result<(), StoreError> {
        SharedStore::<String, String>::clear_all(&*self.0, by, now)
    }

    fn keeps_tags(&self) -> bool {
        true
    }
}

impl Leases<String> for Meddled {
    fn acquire(
        &self,
        key: &String,
        ttl: Duration,
        now: Instant,
    ) -> Result<Option<HeldLease>, StoreError> {
        Leases::<String>::acquire(&*self.0, key, ttl, now)
    }

    fn renew(
        &self,
        key: &String,
        lease: &HeldLease,
        ttl: Duration,
        now: Instant,
    ) -> Result<bool, StoreError> {
        Leases::<String>::renew(&*self.0, key, lease, ttl, now)
    }

    fn release(&self, key: &String, lease: HeldLease, now: Instant) -> Result<bool, StoreError> {
        Leases::<String>::release(&*self.0, key, lease, now)
    }
}

#[test]
fn what_others_end_while_it_is_imported_does_not_stay_in_memory() {
    let time = ManualTime::new();
    let builder = || Cache::builder().ttl(Duration::from_secs(60)).time(time.clone());
    let [whole, tagged]: [Texts; 2] = [(); 2].map(|()| builder().build().unwrap());
    assert!(whole.put("key".to_owned(), "value".to_owned()).is_stored());
    assert!(
        tagged.put("key".to_owned(), Loaded::value("value".to_owned()).tag("team")).is_stored()
    );
    assert_eq!(tagged.explain("key").tag_hashes(), [tag_hash("team")]);
    let nothing: Deed = |_, _| {};
    let removes: Deed = |store, now| {
        Store::<String, String>::remove(store, &"key".to_owned(), now).unwrap();
    };
    let ends_tag: Deed = |store, now| {
        let change = TagChange::Invalidate;
        let by = Station::NOBODY;
        SharedStore::<String, String>::change_tag(store, "team", change, by, now).unwrap();
    };
    for (from, deed, stays) in [
        (&whole, nothing, true),
        (&whole, removes, false),
        (&whole, ends_tag, true),
        (&tagged, nothing, true),
        (&tagged, ends_tag, false),
    ] {
        let mut bytes = vec![];
        from.snapshot(Plain).export(&mut bytes).unwrap();
        let store = Arc::new(MemoryStore::new(100));
        let meddled = Meddled(Arc::clone(&store), deed);
        let cache: Texts = builder().l2(meddled).backplane(Arc::clone(&store)).build().unwrap();
        assert_eq!(cache.snapshot(Plain).import(&bytes[..]).unwrap().entries, 1);
        assert_eq!(cache.get("key").is_some(), stays);
        assert_eq!(store.get("key", time.now()).unwrap().is_some(), stays);
    }
}
