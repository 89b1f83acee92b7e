//! Least recently used, exact.

use std::time::Duration;

use crate::policy::{Policy, Setting};
use crate::trace::Request;

/// Evicts what was not requested for the longest time.
///
/// The entries are links of a list, newest first, in an array by key; the array's last element is
/// both ends of the list.
#[derive(Debug)]
pub struct Lru<'a> {
    setting: Setting<'a>,
    links: Vec<Link>,
    held: u64,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    newer: u32,
    older: u32,
    /// 0 for what is not held.
    weight: u32,
    end: Duration,
}

impl<'a> Lru<'a> {
    /// An empty cache.
    pub fn new(setting: &Setting<'a>) -> Self {
        let ends = setting.trace.unique();
        let link = Link { newer: ends as u32, older: ends as u32, weight: 0, end: Duration::ZERO };
        Self { setting: *setting, links: vec![link; ends + 1], held: 0 }
    }

    const fn ends(&self) -> usize {
        self.links.len() - 1
    }

    fn remove(&mut self, key: usize) {
        let Link { newer, older, weight, .. } = self.links[key];
        self.links[newer as usize].older = older;
        self.links[older as usize].newer = newer;
        self.links[key].weight = 0;
        self.held -= u64::from(weight);
    }

    fn insert_newest(&mut self, key: usize, weight: u32, end: Duration) {
        let ends = self.ends();
        let older = self.links[ends].older;
        self.links[key] = Link { newer: ends as u32, older, weight, end };
        self.links[older as usize].newer = key as u32;
        self.links[ends].older = key as u32;
        self.held += u64::from(weight);
    }

    fn put(&mut self, request: &Request) {
        let (bound, weight) = (self.setting.bound, self.setting.bound.weight(request));
        if u64::from(weight) > bound.amount() {
            return;
        }
        while self.held + u64::from(weight) > bound.amount() {
            self.remove(self.links[self.ends()].newer as usize);
        }
        self.insert_newest(request.key, weight, self.setting.end(request.now));
    }
}

impl Policy for Lru<'_> {
    fn request(&mut self, request: &Request) -> bool {
        let Link { weight, end, .. } = self.links[request.key];
        let is_held = weight > 0;
        let is_hit = is_held && request.now < end;
        if is_held {
            self.remove(request.key);
        }
        if is_hit {
            self.insert_newest(request.key, weight, end);
        } else {
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
    use crate::trace::Trace;
    use proptest::prelude::*;

    /// The same by the definition: a row of keys, newest last.
    fn naive(trace: &Trace, bound: Bound) -> Vec<bool> {
        let mut row: Vec<(usize, u32)> = Vec::new();
        let step = |request: Request| {
            let found = row.iter().position(|(key, _)| *key == request.key);
            let entry = found.map(|at| row.remove(at));
            row.push(entry.unwrap_or_else(|| (request.key, bound.weight(&request))));
            if u64::from(row.last().unwrap().1) > bound.amount() {
                row.pop();
            }
            while row.iter().map(|(_, weight)| u64::from(*weight)).sum::<u64>() > bound.amount() {
                row.remove(0);
            }
            found.is_some()
        };
        trace.requests().map(step).collect()
    }

    proptest! {
        #[test]
        fn it_hits_as_the_naive_one(
            requests in prop::collection::vec((0..30_u64, 1..20_u32), 1..300),
            capacity in 1..60_u64,
        ) {
            let trace = Trace::of_sizes(&requests);
            for bound in [Bound::Entries(capacity), Bound::Bytes(capacity)] {
                let mut lru = Lru::new(&Setting::new(&trace, bound, None));
                prop_assert_eq!(hits(&mut lru, &trace), naive(&trace, bound));
                prop_assert!(lru.held() <= capacity);
            }
        }
    }

    #[test]
    fn a_loop_larger_than_the_cache_never_hits() {
        let trace = Trace::of(&[1, 2, 3, 1, 2, 3, 1, 2, 3]);
        let misses = |capacity| {
            let mut lru = Lru::new(&Setting::new(&trace, Bound::Entries(capacity), None));
            hits(&mut lru, &trace).iter().filter(|hit| !**hit).count()
        };
        assert_eq!((misses(2), misses(3)), (9, 3));
    }

    #[test]
    fn an_entry_ends_with_its_ttl_counted_from_its_put() {
        let trace = Trace::of_times(&[(0, 1, 1), (9, 1, 1), (10, 1, 1), (19, 1, 1), (20, 1, 1)]);
        let ttl = Some(Duration::from_secs(10));
        let mut lru = Lru::new(&Setting::new(&trace, Bound::Entries(1), ttl));
        assert_eq!(hits(&mut lru, &trace), [false, true, false, true, false]);
    }
}
