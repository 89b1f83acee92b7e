//! This project's own caches.

use std::time::Duration;

use advanced_caching::sync::{self, DefaultHasher};
use advanced_caching::table::{self, HashTable, LinearTable, LocalTable, SetTable, WAYS};
use advanced_caching::{Instant, ManualTime, Policy as Contract, PolicyBuilder, local};

use crate::capacity::Bound;
use crate::policy::{Policy, Setting};
use crate::trace::Request;

/// Where a replay's clock starts.
const START: Instant = Instant::from_secs(1_000_000_000);

/// `sync::Cache` with its defaults, used by one thread. Only jitter is switched off, so that every
/// policy has the same ttl. Its hash has another seed in each run, and how it splits its capacity
/// depends on the machine's cores, so its miss ratio differs by a little from run to run.
#[derive(Debug)]
pub struct Threaded {
    cache: sync::Cache<u64, u32>,
    time: ManualTime,
    now: Duration,
    bound: Bound,
}

impl Threaded {
    /// An empty cache.
    pub fn new(setting: &Setting<'_>) -> Self {
        let time = ManualTime::new();
        time.set(START);
        let builder = sync::Cache::builder().policy(contract(setting)).time(time.clone());
        let builder = match setting.bound {
            Bound::Entries(entries) => builder.capacity(size(entries)),
            Bound::Bytes(bytes) => builder.weight_limit(bytes).weigher(|_, size| *size),
        };
        let cache = builder.build().expect("a capacity is at least 1");
        Self { cache, time, now: Duration::ZERO, bound: setting.bound }
    }
}

impl Policy for Threaded {
    fn request(&mut self, request: &Request) -> bool {
        if request.now != self.now {
            self.now = request.now;
            self.time.set(START + request.now);
        }
        let is_hit = self.cache.get(&request.id).is_some();
        if !is_hit {
            let _ = self.cache.put(request.id, request.size);
        }
        is_hit
    }

    fn held(&self) -> u64 {
        match self.bound {
            Bound::Entries(_) => self.cache.len() as u64,
            Bound::Bytes(_) => self.cache.weight(),
        }
    }
}

/// `local::Cache` over a table.
struct Local<T: LocalTable<u64, u32>> {
    cache: local::Cache<u64, u32, T>,
    bound: Bound,
}

impl<T: LocalTable<u64, u32>> Local<T> {
    fn boxed(setting: &Setting<'_>, table: T) -> Box<Self> {
        let policy: Contract = contract(setting).build().expect("a ttl can be of any length");
        let cache = local::Cache::with_table(policy, table).weigher(|_, size| *size);
        Box::new(Self { cache, bound: setting.bound })
    }
}

impl<T: LocalTable<u64, u32>> Policy for Local<T> {
    fn request(&mut self, request: &Request) -> bool {
        let now = START + request.now;
        let is_hit = self.cache.get(&request.id, now).is_some();
        if !is_hit {
            let _ = self.cache.put(request.id, request.size, now);
        }
        is_hit
    }

    fn held(&self) -> u64 {
        match self.bound {
            Bound::Entries(_) => self.cache.len() as u64,
            Bound::Bytes(_) => self.cache.weight(),
        }
    }
}

/// `local::Cache` over a `HashTable`.
pub fn local_heap(setting: &Setting<'_>) -> Box<dyn Policy> {
    let bound = match setting.bound {
        Bound::Entries(entries) => table::Bound::Entries(size(entries)),
        Bound::Bytes(bytes) => table::Bound::Weight(bytes),
    };
    Local::boxed(setting, HashTable::new(bound, DefaultHasher::default()))
}

/// The capacities of tables without a heap are compiled in, so there is one of each of these.
macro_rules! compiled_in {
    ($list:ident, $make:ident, $table:ident: $($size:literal)+) => {
        const $list: &[u64] = &[$($size),+];

        fn $make(size: u64, setting: &Setting<'_>) -> Box<dyn Policy> {
            match size {
                $($size => Local::boxed(setting, $table::<u64, u32, $size>::new()),)+
                _ => unreachable!("one of the list"),
            }
        }
    };
}

compiled_in!(FIXED, local_of, LinearTable: 1 2 4 8 10 16 24 32 48 64 80 100 128);
compiled_in!(SETS, sets_of, SetTable: 2 3 4 6 8 10 12 16 20 24 32 40 48 64 80 96 128);

/// Whether [`local_fixed`] has a table for the bound: it is a few entries, at most 128.
pub fn is_fixed(bound: Bound) -> bool {
    matches!(bound, Bound::Entries(1..=128))
}

/// Whether [`local_sets`] has a table for the bound: it is some sets of entries, and not more than
/// there are.
pub fn is_sets(bound: Bound) -> bool {
    let (Some(least), Some(most)) = (SETS.first(), SETS.last()) else { return false };
    let sets = bound.amount() as f64 / WAYS as f64;
    matches!(bound, Bound::Entries(_)) && (*least as f64..*most as f64 * 1.1).contains(&sets)
}

/// `local::Cache` over the largest `LinearTable` of those compiled in that fits the bound. It may
/// hold a little less than the others, never more.
pub fn local_fixed(setting: &Setting<'_>) -> Box<dyn Policy> {
    local_of(largest(FIXED, setting.bound.amount()), setting)
}

/// The same over a `SetTable`.
pub fn local_sets(setting: &Setting<'_>) -> Box<dyn Policy> {
    sets_of(largest(SETS, setting.bound.amount() / WAYS as u64), setting)
}

fn largest(list: &[u64], most: u64) -> u64 {
    let fits = list.iter().rfind(|size| **size <= most);
    fits.or_else(|| list.first()).copied().unwrap_or(1)
}

fn contract(setting: &Setting<'_>) -> PolicyBuilder {
    let policy = PolicyBuilder::new().jitter_percent(0);
    match setting.ttl {
        Some(ttl) => policy.ttl(ttl),
        None => policy.forever(),
    }
}

fn size(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{OWN, hits};
    use crate::trace::Trace;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Every cache of ours that can be bounded so.
    fn ours<'a>(setting: &Setting<'a>) -> Vec<Box<dyn Policy + 'a>> {
        let ours = OWN.iter().filter(|kind| kind.name.starts_with("ours"));
        ours.filter(|kind| (kind.fits)(setting.bound)).map(|kind| (kind.make)(setting)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_holds_more_than_its_capacity(
            requests in prop::collection::vec((0..400_u64, 1..50_u32), 1..800),
            capacity in 1..300_u64,
        ) {
            let trace = Trace::of_sizes(&requests);
            for bound in [Bound::Entries(capacity), Bound::Bytes(capacity)] {
                for mut policy in ours(&Setting::new(&trace, bound, None)) {
                    for request in trace.requests() {
                        policy.request(&request);
                        prop_assert!(policy.held() <= capacity);
                    }
                }
            }
        }
    }

    #[test]
    fn what_fits_is_held_and_hits() {
        let trace = Trace::of(&[1, 2, 1, 2, 3, 3]);
        let expected = [false, false, true, true, false, true];
        let all = ours(&Setting::new(&trace, Bound::Entries(100), None));
        assert_eq!(all.len(), 4);
        for mut policy in all {
            assert_eq!(hits(&mut *policy, &trace), expected);
            assert_eq!(policy.held(), 3);
        }
    }

    #[test]
    fn the_clock_follows_the_trace() {
        let trace = Trace::of_times(&[(0, 1, 1), (9, 1, 1), (10, 1, 1), (19, 1, 1), (20, 1, 1)]);
        for mut policy in ours(&Setting::new(&trace, Bound::Entries(10), Some(10 * SECOND))) {
            assert_eq!(hits(&mut *policy, &trace), [false, true, false, true, false]);
        }
        for mut policy in ours(&Setting::new(&trace, Bound::Entries(10), None)) {
            assert_eq!(hits(&mut *policy, &trace), [false, true, true, true, true]);
        }
    }

    #[test]
    fn a_table_of_sets_is_never_larger_than_the_bound_and_not_much_smaller() {
        let trace = Trace::of(&(0..20_000).collect::<Vec<_>>());
        for capacity in [60, 100, 1_000, 3_600] {
            let bound = Bound::Entries(capacity);
            assert!(is_sets(bound));
            let mut policy = local_sets(&Setting::new(&trace, bound, None));
            hits(&mut *policy, &trace);
            assert!((capacity * 3 / 4..=capacity).contains(&policy.held()), "{}", policy.held());
        }
        assert!(!is_sets(Bound::Entries(50)) && !is_sets(Bound::Entries(5_000)));
        assert!(!is_sets(Bound::Bytes(100)));
    }

    #[test]
    fn a_fixed_table_is_never_larger_than_the_bound() {
        let trace = Trace::of(&(0..300).collect::<Vec<_>>());
        for (capacity, held) in [(1, 1), (3, 2), (99, 80), (100, 100), (128, 128)] {
            let bound = Bound::Entries(capacity);
            let mut policy = local_fixed(&Setting::new(&trace, bound, None));
            hits(&mut *policy, &trace);
            assert_eq!(policy.held(), held);
        }
        assert!(!is_fixed(Bound::Entries(129)) && !is_fixed(Bound::Bytes(100)));
    }
}
