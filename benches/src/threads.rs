//! Work that several threads begin at the same moment.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// What one thread did, and when.
#[derive(Debug)]
#[non_exhaustive]
pub struct Span<T> {
    /// What its work returned.
    pub result: T,
    /// When its work began.
    pub start: Instant,
    /// When its work had ended.
    pub end: Instant,
}

/// Runs `warm` and then `work` with the thread's number on each of `threads` threads. No work begins
/// before every thread is warm. One thread is the caller's own.
pub fn together<T: Send, W>(
    threads: usize,
    warm: impl Fn(usize) -> W + Sync,
    work: impl Fn(usize) -> T + Sync,
) -> Vec<Span<T>> {
    let ready = AtomicUsize::new(0);
    let run = |thread| {
        warm(thread);
        ready.fetch_add(1, Ordering::AcqRel);
        // Threads that sleep here would wake one after another.
        while ready.load(Ordering::Acquire) < threads {
            thread::yield_now();
        }
        let start = Instant::now();
        let result = work(thread);
        Span { result, start, end: Instant::now() }
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|n| scope.spawn(move || run(n))).collect();
        let first = run(0);
        let others = others.into_iter().map(|other| other.join().expect("the work goes well"));
        [first].into_iter().chain(others).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn no_work_begins_before_all_are_warm() {
        let log = Mutex::new(vec![]);
        let note = |what| log.lock().unwrap().push(what);
        let spans = together(
            3,
            |_| note("warm"),
            |thread| {
                note("work");
                thread < 3
            },
        );
        assert_eq!(spans.len(), 3);
        assert!(spans.iter().all(|span| span.result && span.end >= span.start));
        assert_eq!(log.into_inner().unwrap(), ["warm", "warm", "warm", "work", "work", "work"]);
    }

    #[test]
    fn one_thread_is_the_callers_own() {
        let spans = together(1, |_| (), |_| thread::current().id());
        assert_eq!(spans[0].result, thread::current().id());
    }
}
