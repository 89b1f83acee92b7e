//! Scripts, and what running one leaves behind.

use std::fmt::Write;

use advanced_caching::{Loaded, Stats};

use crate::world::{Answer, Driver, Key, Reply, Setup, Told, Value, ms};

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A caller reads, and may load.
    Read(Key),
    /// A reader who takes fresh values only, and loads nothing.
    Get(Key),
    /// The nth of the running loads, oldest first, ends.
    End(usize, Answer),
    Put(Key, Loaded<Value>),
    PutIfAbsent(Key, Loaded<Value>),
    Expire(Key),
    Invalidate(Key),
    ExpireTag(&'static str),
    InvalidateTag(&'static str),
    Clear,
    /// In milliseconds.
    Advance(u64),
}

impl Event {
    /// Whether it voids the flights of a key.
    const fn is_mutation(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Get(_) | Self::End(..) | Self::Advance(_))
    }
}

/// Refreshes that a script may hold up at a time: as many as the smallest machine runs at once.
const REFRESHES: usize = 2;

/// A driver in the middle of a script.
struct Run<D> {
    driver: D,
    keys: Vec<Key>,
    /// Callers who wait, and of these, those who wait for another's load.
    waiting: Vec<usize>,
    followers: Vec<usize>,
    refreshes: Vec<usize>,
    /// Whether to ask, after each step, everything that counts as no use.
    curious: bool,
}

/// What a script left behind: a line for each event, and the counters.
pub(super) type Trace = (Vec<String>, Stats);

/// Runs a script; the trace shows the state of `keys` after each event.
pub(super) fn trace<D: Driver>(setup: &Setup, keys: &[Key], events: &[Event]) -> Trace {
    run(Run::<D>::new(setup, keys, false), events)
}

/// As [`trace`], asking after each event everything that must change nothing.
pub(super) fn observed<D: Driver>(setup: &Setup, keys: &[Key], events: &[Event]) -> Trace {
    run(Run::<D>::new(setup, keys, true), events)
}

fn run<D: Driver>(mut run: Run<D>, events: &[Event]) -> Trace {
    let lines = events.iter().map(|event| run.step(event)).collect();
    (lines, run.driver.stats())
}

impl<D: Driver> Run<D> {
    fn new(setup: &Setup, keys: &[Key], curious: bool) -> Self {
        let driver = D::new(setup.clone());
        let keys = keys.to_vec();
        Self { driver, keys, waiting: vec![], followers: vec![], refreshes: vec![], curious }
    }

    /// What happened, what loads began, who was told what, and how the keys stand then.
    fn step(&mut self, event: &Event) -> String {
        let loads = self.driver.loads();
        let mut line = self.apply(event.clone());
        for load in loads + 1..=self.driver.loads() {
            write!(line, ", load {load} begins").unwrap();
        }
        self.note_told(&mut line);
        if !matches!(event, Event::Advance(_)) {
            self.driver.purge();
        }
        self.look_around();
        for key in &self.keys {
            write!(line, "; {key} {}", self.state(*key)).unwrap();
        }
        line
    }

    fn apply(&mut self, event: Event) -> String {
        // Followers of a flight that was voided load when their time comes; it is chance which
        // of them leads, so there must be none.
        if event.is_mutation() && !self.followers.is_empty() {
            return "no mutation".into();
        }
        let d = &mut self.driver;
        match event {
            Event::Read(key) => self.read(key),
            Event::End(nth, answer) => self.end(nth, answer),
            Event::Get(key) => format!("got {:?}", d.get(key)),
            Event::Put(key, loaded) => format!("stored {}", d.put(key, loaded)),
            Event::PutIfAbsent(key, loaded) => format!("stored {}", d.put_if_absent(key, loaded)),
            Event::Expire(key) => format!("found {}", d.expire(key)),
            Event::Invalidate(key) => format!("found {}", d.invalidate(key)),
            Event::ExpireTag(tag) => {
                d.expire_tag(tag);
                format!("tag {tag} expired")
            }
            Event::InvalidateTag(tag) => {
                d.invalidate_tag(tag);
                format!("tag {tag} invalidated")
            }
            Event::Clear => {
                d.clear();
                "cleared".into()
            }
            Event::Advance(span) => {
                d.advance(ms(span));
                format!("{span} ms")
            }
        }
    }

    fn read(&mut self, key: Key) -> String {
        if self.refreshes.len() >= REFRESHES {
            return "no reader".into();
        }
        let loads = self.driver.loads();
        let reply = self.driver.read(key);
        match &reply {
            Reply::Waits(caller) => {
                self.waiting.push(*caller);
                self.followers.extend((self.driver.loads() == loads).then_some(*caller));
            }
            _ => self.refreshes.extend(loads + 1..=self.driver.loads()),
        }
        match reply {
            Reply::Waits(caller) => format!("caller {caller} waits"),
            Reply::Served(value, freshness) => format!("served {value} {freshness:?}"),
            Reply::Told(told) => text(&told),
        }
    }

    fn end(&mut self, nth: usize, answer: Answer) -> String {
        let running = self.driver.running();
        if running.is_empty() {
            return "no load".into();
        }
        let load = running[nth % running.len()];
        self.refreshes.retain(|refresh| *refresh != load);
        let before = self.driver.stats();
        self.driver.end(load, answer);
        let after = self.driver.stats();
        let became = if after.superseded > before.superseded {
            "is superseded"
        } else if after.landed > before.landed {
            "lands"
        } else {
            "fails"
        };
        format!("load {load} {became}")
    }

    fn note_told(&mut self, line: &mut String) {
        let driver = &self.driver;
        self.waiting.retain(|caller| match driver.told(*caller) {
            Some(told) => {
                write!(line, ", caller {caller} is told {}", text(&told)).unwrap();
                false
            }
            None => true,
        });
        self.followers.retain(|caller| driver.told(*caller).is_none());
    }

    /// How a key stands: its freshness and what a read would do.
    fn state(&self, key: Key) -> String {
        let explained = self.driver.explain(key);
        let freshness = explained.freshness.map_or_else(|| "none".into(), |f| format!("{f:?}"));
        format!("{freshness} {:?}", explained.verdict)
    }

    fn look_around(&self) {
        if self.curious {
            for key in 0..10 {
                let explained = self.driver.explain(key).to_string();
                assert!(explained.contains("a read now"), "{explained}");
                assert_eq!(self.driver.contains(key), self.driver.peek(key).is_some());
            }
            assert!(self.driver.len() <= 100);
        }
    }
}

fn text(told: &Told) -> String {
    match told {
        Told::Value(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}
