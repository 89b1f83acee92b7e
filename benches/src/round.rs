//! Rounds: whoever is compared takes turns, so that what disturbs the machine disturbs all of them.

use std::time::Duration;

use crate::progress::Progress;
use crate::threads::Span;

/// What one round of one contestant showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Round {
    /// Nanoseconds for each operation of a thread.
    pub ns_per_op: f64,
    /// Million operations in a second, of all threads together.
    pub mops: f64,
    /// Operations of all threads together.
    pub operations: u64,
    /// Those among them that found a value.
    pub hits: u64,
}

impl Round {
    /// Of the threads of one round, each of which made `operations`.
    pub fn of<T>(spans: &[Span<T>], operations: usize) -> Self {
        let busy: Duration = spans.iter().map(|span| span.end - span.start).sum();
        let start = spans.iter().map(|span| span.start).min();
        let end = spans.iter().map(|span| span.end).max();
        let wall = start.zip(end).map_or(Duration::ZERO, |(start, end)| end - start);
        Self::new(busy, wall, (operations * spans.len()) as u64)
    }

    fn new(busy: Duration, wall: Duration, operations: u64) -> Self {
        let count = operations.max(1) as f64;
        Self {
            ns_per_op: busy.as_nanos() as f64 / count,
            mops: count * 1e3 / wall.as_nanos().max(1) as f64,
            operations,
            hits: 0,
        }
    }

    /// Of `operations` on one thread that took `span`.
    pub fn alone(span: Duration, operations: usize) -> Self {
        Self::new(span, span, operations as u64)
    }

    /// The same round with so many hits.
    pub const fn with_hits(mut self, hits: u64) -> Self {
        self.hits = hits;
        self
    }
}

/// One who is measured: a peer with a number of threads.
#[non_exhaustive]
pub struct Contestant<'a> {
    /// The peer.
    pub name: &'static str,
    /// Threads that work at a time.
    pub threads: usize,
    /// What was found out of each round so far.
    pub rounds: Vec<Round>,
    play: Box<dyn FnMut() -> Round + 'a>,
}

impl<'a> Contestant<'a> {
    /// A contestant whose rounds are calls of `play`.
    pub fn new(name: &'static str, threads: usize, play: impl FnMut() -> Round + 'a) -> Self {
        Self { name, threads, rounds: vec![], play: Box::new(play) }
    }
}

impl core::fmt::Debug for Contestant<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Contestant").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Lets every contestant play `rounds` rounds, in turn.
pub fn play(contestants: &mut [Contestant<'_>], rounds: usize, progress: &Progress) {
    for round in 0..rounds {
        for contestant in &mut *contestants {
            progress.tell(contestant.name, round + 1, rounds);
            let played = (contestant.play)();
            contestant.rounds.push(played);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;

    #[test]
    fn contestants_take_turns() {
        let order = RefCell::new(String::new());
        let contestant = |name: &'static str| {
            let order = &order;
            Contestant::new(name, 1, move || {
                order.borrow_mut().push_str(name);
                Round::default()
            })
        };
        let mut all = [contestant("a"), contestant("b")];
        play(&mut all, 3, &Progress::hidden());
        assert_eq!(all[1].rounds.len(), 3);
        assert_eq!(*order.borrow(), "ababab");
    }

    #[test]
    fn two_threads_do_twice_as_much_in_the_same_time() {
        let (busy, wall) = (Duration::from_millis(20), Duration::from_millis(10));
        let round = Round::new(busy, wall, 2_000);
        assert_eq!((round.ns_per_op, round.mops), (10_000.0, 0.2));
        assert_eq!(Round::alone(wall, 1_000).mops, 0.1);
    }
}
