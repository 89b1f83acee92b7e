//! A cache and the map, side by side.

use crate::model::Model;
use crate::operation::{Operation, Terms};
use crate::subject::{Subject, Told};

pub(crate) struct Run<S> {
    subject: S,
    model: Model,
    /// Most entries held. Below the number of keys, and then entries may be missing.
    bound: Option<usize>,
    next: u64,
}

impl<S: Subject> Run<S> {
    pub(crate) const fn new(subject: S, model: Model, bound: Option<usize>) -> Self {
        Self { subject, model, bound, next: 0 }
    }

    pub(crate) fn step(&mut self, operation: &Operation) {
        self.apply(operation);
        self.subject.check();
        if let Some(bound) = self.bound {
            assert!(self.subject.len() <= bound, "{} held", self.subject.len());
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Put(key, terms) => self.put(key.number(), terms),
            Operation::PutPlain(key) => self.put(key.number(), Terms::default()),
            Operation::PutIfAbsent(key, terms) => self.put_if_absent(key.number(), terms),
            Operation::Get(key) => self.get(key.number()),
            Operation::GetOften(key) => (0..5).for_each(|_| self.get(key.number())),
            Operation::Load(key, answer) => self.load(key.number(), answer),
            Operation::Expire(key) => {
                self.subject.expire(key.number());
                self.model.expire(key.number());
            }
            Operation::Invalidate(key) => {
                self.subject.invalidate(key.number());
                self.model.forget(key.number());
            }
            Operation::Clear => {
                self.subject.clear();
                self.model.clear();
            }
            Operation::ExpireTag(tag) => {
                self.subject.expire_tag(tag);
                self.model.tagged(tag).into_iter().for_each(|key| self.expired_by_tag(key));
            }
            Operation::InvalidateTag(tag) => {
                self.subject.invalidate_tag(tag);
                self.model.tagged(tag).into_iter().for_each(|key| self.model.forget(key));
            }
            Operation::Advance(span) => {
                self.subject.advance(span.into());
                self.model.now += u64::from(span);
            }
            Operation::Sweep(budget) => self.sweep(budget.into()),
        }
    }

    /// A cache remembers the last few expiries of a tag, and takes the worst of what came before: a
    /// value that has seen so many may go sooner than the map says. So it goes at once.
    fn expired_by_tag(&mut self, key: u8) {
        if self.model.expire_by_tag(key) >= 3 {
            self.subject.invalidate(key);
            self.model.forget(key);
        }
    }

    const fn value(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn put(&mut self, key: u8, terms: Terms) {
        let value = self.value();
        let kept = self.model.store(key, value, terms);
        let stored = self.subject.put(key, value, terms);
        if !self.is_refused(key, stored, kept) {
            assert_eq!(stored, kept, "put");
        }
    }

    /// A small cache may have no room for windows of a value's own, and gives the value back. The old
    /// one must not stay for that.
    fn is_refused(&mut self, key: u8, stored: bool, wanted: bool) -> bool {
        let refused = self.bound.is_some() && wanted && !stored;
        if refused {
            assert_eq!(self.subject.get(key), None, "read what was to be replaced");
            self.model.forget(key);
        }
        refused
    }

    fn put_if_absent(&mut self, key: u8, terms: Terms) {
        let value = self.value();
        // An entry that was evicted is absent, whatever the map says.
        let evicted = self.bound.is_some() && self.subject.get(key).is_none();
        let absent = evicted || self.model.fresh(key).is_none();
        let stored = self.subject.put_if_absent(key, value, terms);
        if absent && !self.is_refused(key, stored, !terms.no_store) {
            self.model.store(key, value, terms);
        }
        assert!(stored <= (absent && !terms.no_store), "put if absent");
        assert!(self.bound.is_some() || stored == (absent && !terms.no_store), "put if absent");
    }

    fn get(&mut self, key: u8) {
        let (got, fresh) = (self.subject.get(key), self.model.fresh(key));
        self.agree(got, fresh);
    }

    /// Whether what was read is right.
    fn agree(&self, got: Option<u64>, expected: Option<u64>) {
        let evicted = self.bound.is_some() && got.is_none();
        assert!(got == expected || evicted, "read {got:?}, not {expected:?}");
    }

    fn load(&mut self, key: u8, answer: Option<Terms>) {
        let value = self.value();
        let (fresh, live) = (self.model.fresh(key), self.model.live(key));
        let cooling = live.is_some() && self.model.is_cooling(key);
        match self.subject.load(key, value, answer) {
            Told::Held(got) => {
                let expected = fresh.or_else(|| live.filter(|_| cooling).map(|kept| kept.value));
                assert_eq!(Some(got), expected, "read without a load");
            }
            Told::Loaded(kept) => {
                assert!(self.bound.is_some() || (fresh.is_none() && !cooling), "an idle load");
                let terms = answer.expect("the load did not fail");
                let terms = if S::LOADS_PLAIN { Terms::default() } else { terms };
                let wanted = self.model.store(key, value, terms);
                assert!(kept == wanted || S::LOADS_PLAIN || self.is_refused(key, kept, wanted));
            }
            Told::Refused => assert!(self.bound.is_some(), "there is room for every load"),
            Told::Failed(fallback) => {
                assert!(
                    answer.is_none() && (self.bound.is_some() || (fresh.is_none() && !cooling))
                );
                self.agree(fallback, live.map(|kept| kept.value));
                self.failed(key, fallback.is_none());
            }
        }
    }

    /// Jitter shortens a cool-down: the map is told by how much. An entry that was evicted leaves the
    /// map as well: nothing can be said of its cool-down.
    fn failed(&mut self, key: u8, evicted: bool) {
        if evicted {
            self.model.forget(key);
        }
        let left = self.subject.cooling(key).expect("a failure cools down");
        let millis = u64::try_from(left.as_nanos().div_ceil(1_000_000)).expect("a short time");
        self.model.cools_until(key, self.model.now + millis);
    }

    /// A sweep removes nothing that lives; two with time to spare remove all that does not.
    fn sweep(&mut self, budget: usize) {
        self.subject.sweep(budget);
        if budget == 255 {
            (0..4).for_each(|_| self.subject.sweep(10_000));
            assert!(self.subject.len() <= self.model.count(), "what has passed is still held");
        }
        if self.bound.is_none() {
            assert!(self.subject.len() >= self.model.count(), "more was swept than had passed");
        }
    }
}
