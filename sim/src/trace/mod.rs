//! Requests in their order, in memory.

use std::collections::HashMap;
use std::time::Duration;

mod parse;
mod read;

pub use parse::Format;
pub use read::TraceError;

/// Most requests of a trace, so that a wrong count in a line does not fill the memory.
const MOST_REQUESTS: u64 = 1 << 28;

/// All requests of a trace.
#[derive(Debug)]
pub struct Trace {
    /// What reports call it.
    pub name: String,
    /// The id of each key, by its index.
    ids: Vec<u64>,
    /// The key's index of each request.
    keys: Vec<u32>,
    /// The size of each request's object; empty where every size is 1.
    sizes: Vec<u32>,
    /// The time of each request; empty where no time passes.
    times: Vec<Duration>,
    unique_bytes: u64,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Its place in the trace.
    pub position: usize,
    /// The key, as the trace names it.
    pub id: u64,
    /// The key, numbered from 0 in order of first request.
    pub key: usize,
    /// Bytes of the object.
    pub size: u32,
    /// When, since the clock's start.
    pub now: Duration,
}

impl Trace {
    /// The requests in their order.
    pub fn requests(&self) -> impl Iterator<Item = Request> + '_ {
        (0..self.len()).map(|position| self.request(position))
    }

    pub(crate) fn request(&self, position: usize) -> Request {
        let key = self.keys[position] as usize;
        Request {
            position,
            id: self.ids[key],
            key,
            size: self.sizes.get(position).copied().unwrap_or(1),
            now: self.times.get(position).copied().unwrap_or_default(),
        }
    }

    /// How many requests there are.
    pub const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many different keys there are.
    pub const fn unique(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of all different objects, each counted with the size of its first request.
    pub const fn unique_bytes(&self) -> u64 {
        self.unique_bytes
    }

    /// Whether objects have sizes.
    pub const fn is_sized(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// A trace of the plain format, for tests.
    #[cfg(test)]
    pub(crate) fn of(ids: &[u64]) -> Self {
        Self::of_sizes(&ids.iter().map(|id| (*id, 1)).collect::<Vec<_>>())
    }

    /// A trace of ids and sizes, for tests.
    #[cfg(test)]
    pub(crate) fn of_sizes(requests: &[(u64, u32)]) -> Self {
        let requests: Vec<_> = requests.iter().map(|(id, size)| (0, *id, *size)).collect();
        Self::of_times(&requests)
    }

    /// A trace of seconds, ids and sizes, for tests.
    #[cfg(test)]
    pub(crate) fn of_times(requests: &[(u64, u64, u32)]) -> Self {
        let mut builder = Builder::default();
        for (seconds, id, size) in requests {
            let at = Duration::from_secs(*seconds);
            builder.add(parse::Record { id: *id, count: 1, size: *size, at }).unwrap();
        }
        builder.build("test".into()).unwrap()
    }
}

/// Makes a trace of records.
#[derive(Default)]
struct Builder {
    index: HashMap<u64, u32>,
    ids: Vec<u64>,
    keys: Vec<u32>,
    sizes: Vec<u32>,
    times: Vec<Duration>,
    unique_bytes: u64,
}

impl Builder {
    fn add(&mut self, record: parse::Record) -> Result<(), &'static str> {
        if record.count.saturating_add(self.keys.len() as u64) > MOST_REQUESTS {
            return Err("there are more than 2^28 requests");
        }
        for step in 0..record.count {
            self.add_request(record.id + step, record.size, record.at);
        }
        Ok(())
    }

    fn add_request(&mut self, id: u64, size: u32, at: Duration) {
        let position = self.keys.len();
        let next = self.ids.len() as u32;
        let key = *self.index.entry(id).or_insert(next);
        if key == next {
            self.ids.push(id);
            self.unique_bytes += u64::from(size);
        }
        self.keys.push(key);
        fill(&mut self.sizes, position, size, 1);
        // Logs are written by several hands; a clock does not go back for a late line.
        let at = at.max(self.times.last().copied().unwrap_or_default());
        fill(&mut self.times, position, at, Duration::ZERO);
    }

    fn build(self, name: String) -> Option<Trace> {
        let Self { ids, keys, sizes, times, unique_bytes, .. } = self;
        (!keys.is_empty()).then_some(Trace { name, ids, keys, sizes, times, unique_bytes })
    }
}

/// Notes a value for a position, in no memory as long as all are the usual one.
fn fill<T: Copy + PartialEq>(values: &mut Vec<T>, position: usize, value: T, usual: T) {
    if !values.is_empty() || value != usual {
        values.resize(position, usual);
        values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_numbered_and_sizes_summed_by_their_first_request() {
        let trace = Trace::of_sizes(&[(90, 1), (7, 20), (90, 300), (8, 4)]);
        let keys: Vec<_> = trace.requests().map(|request| (request.key, request.size)).collect();
        assert_eq!(keys, [(0, 1), (1, 20), (0, 300), (2, 4)]);
        assert_eq!((trace.len(), trace.unique(), trace.unique_bytes()), (4, 3, 25));
        assert!(trace.is_sized() && !Trace::of(&[1, 2]).is_sized());
    }

    #[test]
    fn time_does_not_go_back() {
        let trace = Trace::of_times(&[(0, 1, 1), (5, 1, 1), (3, 1, 1), (6, 1, 1)]);
        let seconds: Vec<_> = trace.requests().map(|request| request.now.as_secs()).collect();
        assert_eq!(seconds, [0, 5, 5, 6]);
    }

    #[test]
    fn a_count_beyond_all_measure_is_refused() {
        let record = parse::Record { id: 0, count: u64::MAX / 2, size: 1, at: Duration::ZERO };
        assert!(Builder::default().add(record).is_err());
    }
}
