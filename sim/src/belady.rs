//! Belady's optimum: the fewest misses that any policy could have.

use std::collections::BinaryHeap;
use std::time::Duration;

use crate::policy::{Policy, Setting};
use crate::trace::{Request, Trace};

/// Evicts what is requested again farthest in the future (Belady 1966); it looks ahead, so no
/// real cache can do it. It may decline to keep what was just requested, as policies with
/// admission may.
///
/// For entries that all count alike and never end this is the optimum. Where objects have sizes it
/// is not: two small objects may be worth more than the large one that is requested before them.
/// With a ttl it is nearly one: an entry whose next request comes after its end is the first to go,
/// but a new load may be worth more than the rest of an old one's ttl.
#[derive(Debug)]
pub struct Belady<'a> {
    setting: Setting<'a>,
    /// For each request: when its key is requested next.
    next: Vec<u32>,
    /// By key.
    entries: Vec<Held>,
    /// Next request and key of all entries, farthest first. Holds outdated pairs, too.
    farthest: BinaryHeap<(u32, u32)>,
    held: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// 0 for what is not held.
    weight: u32,
    next: u32,
    end: Duration,
}

const NEVER: u32 = u32::MAX;

impl<'a> Belady<'a> {
    /// An empty cache that knows the trace.
    pub fn new(setting: &Setting<'a>) -> Self {
        Self {
            setting: *setting,
            next: next_requests(setting.trace),
            entries: vec![Held::default(); setting.trace.unique()],
            farthest: BinaryHeap::new(),
            held: 0,
        }
    }

    /// When an entry is needed next: never, if it will have ended by then.
    fn next_use(&self, position: usize, end: Duration) -> u32 {
        match self.next[position] {
            NEVER => NEVER,
            next if self.setting.trace.request(next as usize).now < end => next,
            _ => NEVER,
        }
    }

    fn keep(&mut self, request: &Request, weight: u32, end: Duration) {
        let next = self.next_use(request.position, end);
        self.entries[request.key] = Held { weight, next, end };
        self.farthest.push((next, request.key as u32));
    }

    fn put(&mut self, request: &Request) {
        let weight = self.setting.bound.weight(request);
        self.held += u64::from(weight);
        self.keep(request, weight, self.setting.end(request.now));
        while self.held > self.setting.bound.amount() {
            let Some((next, key)) = self.farthest.pop() else { return };
            self.evict(key as usize, next);
        }
    }

    /// Evicts an entry, unless it has been requested since it was noted that `next` is its next
    /// request.
    fn evict(&mut self, key: usize, next: u32) {
        if self.entries[key].next == next {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        self.held -= u64::from(self.entries[key].weight);
        self.entries[key].weight = 0;
    }
}

fn next_requests(trace: &Trace) -> Vec<u32> {
    let mut next_of_key = vec![NEVER; trace.unique()];
    let mut next = vec![NEVER; trace.len()];
    for position in (0..trace.len()).rev() {
        let key = trace.request(position).key;
        next[position] = std::mem::replace(&mut next_of_key[key], position as u32);
    }
    next
}

impl Policy for Belady<'_> {
    fn request(&mut self, request: &Request) -> bool {
        let Held { weight, end, .. } = self.entries[request.key];
        let is_hit = weight > 0 && request.now < end;
        if is_hit {
            self.keep(request, weight, end);
        } else {
            self.remove(request.key);
            self.put(request);
        }
        is_hit
    }

    fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::Bound;
    use crate::policy::hits;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn misses(trace: &Trace, bound: Bound) -> usize {
        let mut belady = Belady::new(&Setting::new(trace, bound, None));
        let misses = hits(&mut belady, trace).iter().filter(|hit| !**hit).count();
        assert!(belady.held() <= bound.amount());
        misses
    }

    /// The fewest misses over all that could be held at any time: the sets of held keys that can be
    /// reached, as bits, each with the fewest misses on the way to it.
    fn fewest_misses(trace: &Trace, capacity: u32) -> usize {
        let mut reached = BTreeMap::from([(0_u32, 0_usize)]);
        for request in trace.requests() {
            let bit = 1 << request.key;
            let mut after = BTreeMap::new();
            for (held, misses) in reached {
                let misses = misses + usize::from(held & bit == 0);
                for kept in subsets(held | bit).filter(|kept| kept.count_ones() <= capacity) {
                    let fewest = after.entry(kept).or_insert(misses);
                    *fewest = misses.min(*fewest);
                }
            }
            reached = after;
        }
        reached.into_values().min().unwrap()
    }

    fn subsets(set: u32) -> impl Iterator<Item = u32> {
        (0..=set).filter(move |subset| subset & !set == 0)
    }

    proptest! {
        #[test]
        fn nothing_misses_less(
            ids in prop::collection::vec(0..6_u64, 1..25),
            capacity in 1..5_u32,
        ) {
            let trace = Trace::of(&ids);
            let found = misses(&trace, Bound::Entries(capacity.into()));
            prop_assert_eq!(found, fewest_misses(&trace, capacity));
        }
    }

    #[test]
    fn of_a_loop_it_keeps_all_but_what_does_not_fit() {
        let trace = Trace::of(&[1, 2, 3, 1, 2, 3, 1, 2, 3]);
        assert_eq!(misses(&trace, Bound::Entries(2)), 5);
        assert_eq!(misses(&trace, Bound::Entries(3)), 3);
    }

    #[test]
    fn sizes_count_and_what_is_too_large_is_not_kept() {
        let trace = Trace::of_sizes(&[(1, 5), (2, 5), (3, 11), (1, 5), (2, 5), (3, 11)]);
        assert_eq!(misses(&trace, Bound::Bytes(10)), 4);
    }

    #[test]
    fn an_entry_that_ends_before_its_next_request_goes_first() {
        let ttl = Some(Duration::from_secs(10));
        let requests = [(0, 1, 1), (1, 2, 1), (10, 1, 1), (10, 2, 1)];
        let trace = Trace::of_times(&requests);
        let mut belady = Belady::new(&Setting::new(&trace, Bound::Entries(1), ttl));
        assert_eq!(hits(&mut belady, &trace), [false, false, false, true]);
    }
}
