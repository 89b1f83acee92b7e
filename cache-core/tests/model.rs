//! The hand-driven cache against a plain map that does everything the slow and obvious way.
#![cfg(feature = "hashbrown")]

use std::collections::HashMap;
use std::time::Duration;

use cache_core::local::Cache;
use cache_core::table::{Bound, HashTable};
use cache_core::{Action, Completion, Contract, Freshness, Instant, Loaded, Policy, Put};
use proptest::prelude::*;

type Hasher = foldhash::fast::FixedState;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The cache's windows, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usual {
    ttl: u64,
    swr: u64,
    sie: u64,
}

/// The first at the start, the others when the policy is changed.
const USUAL: [Usual; 4] = [
    Usual { ttl: 100, swr: 50, sie: 120 },
    Usual { ttl: 40, swr: 0, sie: 0 },
    Usual { ttl: 300, swr: 10, sie: 500 },
    Usual { ttl: 100, swr: 200, sie: 0 },
];
const MISSING: u64 = 40;

fn policy_of(usual: Usual) -> Policy {
    let mut policy = Policy::ttl(ms(usual.ttl));
    if usual.swr > 0 {
        policy = policy.stale_while_revalidate(ms(usual.swr));
    }
    if usual.sie > 0 {
        policy = policy.stale_if_error(ms(usual.sie));
    }
    let policy = policy.missing_ttl(ms(MISSING)).cool_down(ms(30), 1, ms(30));
    policy.jitter_percent(0).build().unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Terms),
    PutIfAbsent(u8, Terms),
    /// A read that may load; the load ends at once.
    Load(u8, Answer),
    Get(u8),
    GetWithin(u8, u64),
    Expire(u8),
    Invalidate(u8),
    Clear,
    ExpireTag(u8),
    InvalidateTag(u8),
    Advance(u64),
    Tick,
    ChangePolicy(usize),
    ExpireAll,
}

/// How a value is to be kept: all in milliseconds.
#[derive(Clone, Debug, Default)]
struct Terms {
    ttl: Option<u64>,
    swr: Option<u64>,
    tag: Option<u8>,
    no_store: bool,
}

#[derive(Clone, Debug)]
enum Answer {
    Value(Terms),
    NotModified,
    Missing,
    Failed,
}

fn terms() -> impl Strategy<Value = Terms> {
    let ttl = proptest::option::of(0..300u64);
    let swr = proptest::option::of(0..100u64);
    let tag = proptest::option::of(0..3u8);
    (ttl, swr, tag, proptest::bool::weighted(0.1)).prop_map(|(ttl, swr, tag, no_store)| Terms {
        ttl,
        swr,
        tag,
        no_store,
    })
}

fn plain_or_terms() -> impl Strategy<Value = Terms> {
    prop_oneof![Just(Terms::default()), terms()]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..4u8;
    let answer = prop_oneof![
        4 => plain_or_terms().prop_map(Answer::Value),
        1 => Just(Answer::NotModified),
        1 => Just(Answer::Missing),
        2 => Just(Answer::Failed),
    ];
    let op = prop_oneof![
        3 => (key.clone(), plain_or_terms()).prop_map(|(k, t)| Op::Put(k, t)),
        1 => (key.clone(), plain_or_terms()).prop_map(|(k, t)| Op::PutIfAbsent(k, t)),
        4 => (key.clone(), answer).prop_map(|(k, a)| Op::Load(k, a)),
        4 => key.clone().prop_map(Op::Get),
        2 => (key.clone(), 0..200u64).prop_map(|(k, d)| Op::GetWithin(k, d)),
        1 => key.clone().prop_map(Op::Expire),
        1 => key.prop_map(Op::Invalidate),
        1 => Just(Op::Clear),
        1 => (0..3u8).prop_map(Op::ExpireTag),
        1 => (0..3u8).prop_map(Op::InvalidateTag),
        5 => (0..120u64).prop_map(Op::Advance),
        2 => Just(Op::Tick),
        1 => (0..USUAL.len()).prop_map(Op::ChangePolicy),
        1 => Just(Op::ExpireAll),
    ];
    proptest::collection::vec(op, 1..120)
}

/// What the plain map keeps of a key: times in milliseconds since the start.
#[derive(Clone, Debug)]
struct Kept {
    value: u64,
    stored_at: u64,
    fresh_until: u64,
    swr: u64,
    sie: u64,
    /// Given with the value, and known to be so: tags are kept for other entries as well.
    own: bool,
    tag: Option<u8>,
}

impl Kept {
    fn gone_at(&self) -> u64 {
        self.fresh_until + self.swr.max(self.sie)
    }

    /// A ttl that is the cache's own follows the cache's; so do windows after it.
    fn carry_over(&mut self, old: Usual, new: Usual) {
        if (self.swr, self.sie) == (old.swr, old.sie) {
            (self.swr, self.sie) = (new.swr, new.sie);
            if !self.own && self.fresh_until == self.stored_at + old.ttl {
                self.fresh_until = self.stored_at + new.ttl;
            }
        }
    }
}

struct Model {
    usual: Usual,
    kept: HashMap<u8, Kept>,
    missing_until: HashMap<u8, u64>,
    /// Until when the next load of a key is held back while an old value can serve.
    trouble: HashMap<u8, u64>,
    now: u64,
}

impl Model {
    fn new(usual: Usual, now: u64) -> Self {
        let (kept, missing_until, trouble) = Default::default();
        Self { usual, kept, missing_until, trouble, now }
    }

    fn live(&self, key: u8) -> Option<&Kept> {
        self.kept.get(&key).filter(|kept| self.now < kept.gone_at())
    }

    fn fresh(&self, key: u8) -> Option<u64> {
        self.live(key).filter(|kept| self.now < kept.fresh_until).map(|kept| kept.value)
    }

    fn store(&mut self, key: u8, value: u64, terms: &Terms) -> bool {
        self.forget(key);
        let Usual { ttl, swr, sie } = self.usual;
        let swr = terms.swr.unwrap_or(swr);
        let fresh_until = self.now + terms.ttl.unwrap_or(ttl);
        let own = (terms.ttl.is_some() || terms.swr.is_some()) && terms.tag.is_none();
        let kept = Kept { value, stored_at: self.now, fresh_until, swr, sie, own, tag: terms.tag };
        let stored = !terms.no_store && self.now < kept.gone_at();
        if stored {
            self.kept.insert(key, kept);
        }
        stored
    }

    fn forget(&mut self, key: u8) {
        self.kept.remove(&key);
        self.void(key);
    }

    fn void(&mut self, key: u8) {
        self.missing_until.remove(&key);
        self.trouble.remove(&key);
    }

    fn expire(&mut self, key: u8) {
        self.void(key);
        let now = self.now;
        if let Some(kept) = self.kept.get_mut(&key).filter(|kept| now < kept.fresh_until) {
            kept.fresh_until = now;
            kept.own |= kept.tag.is_none();
        }
    }

    fn tagged(&self, tag: u8) -> Vec<u8> {
        let tagged = self.kept.iter().filter(|(_, kept)| kept.tag == Some(tag));
        tagged.map(|(key, _)| *key).collect()
    }
}

struct Pair {
    cache: Cache<u8, u64, HashTable<u8, u64, Hasher>>,
    model: Model,
    start: Instant,
    next_value: u64,
}

impl Pair {
    fn new(start: Instant) -> Self {
        let table = HashTable::new(Bound::Entries(100), Hasher::default());
        let cache = Cache::with_table(policy_of(USUAL[0]), table);
        Self { cache, model: Model::new(USUAL[0], 0), start, next_value: 0 }
    }

    fn now(&self) -> Instant {
        self.start + ms(self.model.now)
    }

    fn loaded(&mut self, terms: &Terms) -> (u64, Loaded<u64>) {
        self.next_value += 1;
        let mut loaded = Loaded::value(self.next_value);
        if let Some(ttl) = terms.ttl {
            loaded = loaded.ttl(ms(ttl));
        }
        if let Some(swr) = terms.swr {
            loaded = loaded.stale_while_revalidate(ms(swr));
        }
        if let Some(tag) = terms.tag {
            loaded = loaded.tag(&format!("tag {tag}"));
        }
        if terms.no_store {
            loaded = loaded.no_store();
        }
        (self.next_value, loaded)
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now();
        match op {
            Op::Put(key, terms) => {
                let (value, loaded) = self.loaded(terms);
                let stored = self.model.store(*key, value, terms);
                let put = self.cache.put(*key, loaded, now);
                assert_eq!(put, if stored { Put::Stored } else { Put::NotKept(value) });
            }
            Op::PutIfAbsent(key, terms) => {
                let (value, loaded) = self.loaded(terms);
                let expected = match self.model.fresh(*key) {
                    Some(_) => Put::Present(value),
                    None if self.model.store(*key, value, terms) => Put::Stored,
                    None => Put::NotKept(value),
                };
                assert_eq!(self.cache.put_if_absent(*key, loaded, now), expected);
            }
            Op::Load(key, answer) => self.load(*key, answer),
            Op::Get(key) => assert_eq!(self.cache.get(key, now).copied(), self.model.fresh(*key)),
            Op::GetWithin(key, most) => {
                let contract = Contract::new().max_stale(ms(*most));
                let expected = self.model.live(*key).filter(|kept| {
                    self.model.now < kept.fresh_until || self.model.now < kept.fresh_until + most
                });
                let expected = expected.map(|kept| kept.value);
                assert_eq!(self.cache.get_within(key, &contract, now).copied(), expected);
            }
            Op::Expire(key) => {
                self.cache.expire(key, now);
                self.model.expire(*key);
            }
            Op::Invalidate(key) => {
                let found = self.model.live(*key).is_some();
                assert_eq!(self.cache.invalidate(key, now), found);
                self.model.forget(*key);
            }
            Op::Clear => {
                self.cache.clear();
                self.model = Model::new(self.model.usual, self.model.now);
            }
            Op::ExpireTag(tag) => {
                self.cache.expire_tag(&format!("tag {tag}"), now);
                self.model.tagged(*tag).into_iter().for_each(|key| self.model.expire(key));
            }
            Op::InvalidateTag(tag) => {
                self.cache.invalidate_tag(&format!("tag {tag}"));
                self.model.tagged(*tag).into_iter().for_each(|key| self.model.forget(key));
            }
            Op::Advance(span) => self.model.now += span,
            Op::Tick => self.tick(),
            Op::ExpireAll => {
                self.cache.expire_all(now);
                (0..=u8::MAX).for_each(|key| self.model.expire(key));
            }
            Op::ChangePolicy(which) => {
                // What is gone but still there would come back under longer windows.
                self.tick();
                let (old, new) = (self.model.usual, USUAL[*which]);
                self.cache.set_policy(policy_of(new));
                self.model.usual = new;
                let now = self.model.now;
                self.model.kept.retain(|_, kept| now < kept.gone_at());
                self.model.kept.values_mut().for_each(|kept| kept.carry_over(old, new));
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        // A tick with time to spare removes all that has passed, and says that nothing is left.
        for _ in 0..4 {
            self.cache.tick(now, 1_000);
        }
        let live = self.model.kept.keys().filter(|key| self.model.live(**key).is_some());
        assert_eq!(self.cache.len(), live.count(), "expired entries stay");
        assert!(self.cache.poll_at().is_none_or(|at| at > now), "a tick left work for now");
    }

    /// What a read that may load should be told, from the plain map alone.
    fn load(&mut self, key: u8, answer: &Answer) {
        let now = self.now();
        let model = &self.model;
        let missing = model.missing_until.get(&key).is_some_and(|until| model.now < *until);
        let cooling = model.trouble.get(&key).is_some_and(|until| model.now < *until);
        let live = model.live(key).cloned();
        let at = model.now;
        let ticket = match self.cache.lookup(&key, now) {
            Action::Missing => {
                assert!(missing, "not known to be missing");
                return;
            }
            Action::Serve { value, freshness } => {
                let kept = live.expect("served from nothing");
                assert_eq!(*value, kept.value);
                match freshness {
                    Freshness::Fresh => assert!(at < kept.fresh_until),
                    Freshness::Stale => {
                        assert!(
                            cooling && kept.fresh_until <= at && at < kept.fresh_until + kept.swr
                        );
                    }
                    Freshness::Expired => assert!(cooling && kept.fresh_until + kept.swr <= at),
                }
                return;
            }
            Action::ServeAndRefresh { value, freshness, ticket } => {
                let kept = live.clone().expect("served from nothing");
                assert_eq!((*value, freshness), (kept.value, Freshness::Stale));
                assert!(!cooling && kept.fresh_until <= at && at < kept.fresh_until + kept.swr);
                ticket
            }
            Action::Load { ticket, fallback } => {
                assert_eq!(fallback.copied(), live.as_ref().map(|kept| kept.value));
                assert!(
                    !missing
                        && live.as_ref().is_none_or(|k| !cooling && at >= k.fresh_until + k.swr)
                );
                ticket
            }
            other => panic!("nobody else loads, and nothing is full: {other:?}"),
        };
        self.end(key, ticket, answer, now);
    }

    fn end(&mut self, key: u8, ticket: cache_core::Ticket, answer: &Answer, now: Instant) {
        // An entry whose windows have passed stays for the flight: the origin may renew it.
        let held = self.cache.previous(&key).map(|previous| *previous.entry.value);
        match answer {
            Answer::Value(terms) => {
                let (value, loaded) = self.loaded(terms);
                let stored = self.model.store(key, value, terms);
                match self.cache.complete(&key, ticket, loaded, now) {
                    Completion::Applied(landed) => assert!(stored && *landed == value),
                    Completion::NotKept(back) => assert!(!stored && back == value),
                    other => panic!("{other:?}"),
                }
            }
            Answer::NotModified => {
                match self.cache.complete(&key, ticket, Loaded::not_modified(), now) {
                    Completion::Applied(value) => {
                        assert_eq!(Some(*value), held);
                        let old = self.model.kept.get(&key).cloned().expect("renewed from nothing");
                        let tag = old.tag;
                        self.model.store(key, old.value, &Terms { tag, ..Terms::default() });
                    }
                    Completion::NothingToRenew => {
                        assert_eq!(held, None);
                        self.cools_down(key, now);
                    }
                    other => panic!("{other:?}"),
                }
            }
            Answer::Missing => {
                let end = self.cache.complete(&key, ticket, Loaded::missing(), now);
                assert!(matches!(end, Completion::Missing), "{end:?}");
                self.model.forget(key);
                self.model.missing_until.insert(key, self.model.now + MISSING);
            }
            Answer::Failed => {
                let expected = self.model.live(key).map(|kept| kept.value);
                assert_eq!(self.cache.fail(&key, ticket, &"down", now).copied(), expected);
                self.cools_down(key, now);
            }
        }
    }

    /// Jitter shortens a cool-down by up to a tenth: the model must be told by how much.
    fn cools_down(&mut self, key: u8, now: Instant) {
        let left = self.cache.explain(&key, now).cooling_for.expect("a failure cools down");
        assert!(left >= ms(27) && left <= ms(30), "{left:?}");
        let until = self.model.now + u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap();
        self.model.trouble.insert(key, until);
    }

    fn check(&self) {
        self.cache.check_invariants();
        let now = self.now();
        for key in 0..4 {
            let expected = self.model.live(key);
            let entry = self.cache.entry(&key, now);
            assert_eq!(entry.map(|entry| *entry.value), expected.map(|kept| kept.value));
            assert_eq!(self.cache.contains(&key, now), self.model.fresh(key).is_some());
            assert_eq!(self.cache.peek(&key, now).copied(), self.model.fresh(key));
            if let Some((entry, kept)) = entry.zip(expected) {
                let age = ms(self.model.now - kept.stored_at.min(self.model.now));
                assert_eq!(entry.age(now), age, "key {key}");
                assert_eq!(entry.fresh_until(), self.start + ms(kept.fresh_until));
            }
        }
    }
}

/// Does all of this, from so many milliseconds on, and compares the two after each.
fn agree(start: u64, ops: &[Op]) {
    let mut pair = Pair::new(Instant::from_millis(start));
    for op in ops {
        pair.apply(op);
        pair.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_agrees_with_a_plain_map(
        ops in ops(),
        start in prop_oneof![Just(0u64), Just(1_000_000), Just(1 << 43)],
    ) {
        agree(start, &ops);
    }
}

/// The pass that follows the expiry of a tag must remember when the windows end.
#[test]
fn an_expired_tag_is_swept_when_its_windows_end() {
    let tagged = Terms { tag: Some(0), ..Terms::default() };
    let ops = [
        Op::PutIfAbsent(0, tagged),
        Op::ExpireTag(0),
        Op::Advance(1),
        Op::Put(1, Terms::default()),
        Op::Advance(32),
        Op::Tick,
        Op::Advance(87),
        Op::Tick,
    ];
    agree(0, &ops);
}

/// What the expiry of a tag found stale already is no more than that, also where it is applied late.
#[test]
fn a_tag_that_expired_before_another_policy_says_nothing_after_it() {
    let tagged = Terms { tag: Some(1), ..Terms::default() };
    agree(0, &[Op::Put(0, tagged), Op::Advance(100), Op::ExpireTag(1), Op::ChangePolicy(2)]);
}

#[test]
fn a_value_that_was_made_stale_stays_so_under_another_policy() {
    let put = Op::Put(1, Terms::default());
    let change = |which| Op::ChangePolicy(which);
    agree(0, &[put, Op::Advance(100), change(2), Op::Expire(1), change(3), change(2)]);
}
