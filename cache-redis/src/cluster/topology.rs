//! Which node a slot's commands go to, and when to ask for the map of slots again: a state machine without
//! I/O, as the supervisor of one connection is.
//!
//! Each primary has a supervised connection of its own, so that one which hangs is noticed by itself, and
//! the others' callers do not. What a map cannot say is when it is out of date. Here it is asked for
//! again as long as one of its primaries is down, after a redirection, and where a slot has no owner; each
//! time from a node that is not known to be down, and not before a delay is over that doubles
//! while there is trouble. A time-out of one operation is no reason: twenty in a row, or two heartbeats, are, since
//! the node's own supervisor then gives it up.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use cache_core::Instant;

use super::slots::Slots;
use crate::address::Address;
use crate::error::ServerError;
use crate::random::Spread;
use crate::supervisor::Terms;

/// For so long the connection to a node that left the map is kept: for what is on its way, and for slots that
/// are handed over one by one to a node that has none yet.
pub(crate) const KEPT: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The node that was asked told this map.
    Mapped(Slots),
    /// It did not.
    NotMapped(ServerError),
    /// A node says that a slot is another's.
    Moved(u16, Address),
    /// A node says that another is to be asked, which may be new.
    Met(Address),
    /// A slot has no owner, as far as is known.
    Unserved,
    /// The connection to a node was given up, or could not be made.
    Down(Address),
    /// It was made.
    Up(Address),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask this node for the map.
    Ask(Address),
    /// Let go of the connection to this node.
    Leave(Address),
}

/// Whether slots can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Not all seeds were asked yet: wait.
    Starting,
    Open,
    /// None of them told a map, for this reason.
    Shut(ServerError),
}

#[derive(Clone, Copy, Debug)]
struct Node {
    down: bool,
    /// Since when it is in no map.
    absent: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Topology {
    terms: Terms,
    spread: Spread,
    seeds: Vec<Address>,
    slots: Slots,
    gate: Gate,
    nodes: BTreeMap<Address, Node>,
    /// Whether something told that the map is out of date.
    outdated: bool,
    asking: bool,
    /// Who else can be asked in this round.
    round: VecDeque<Address>,
    /// Why there is no map yet, as far as this round tells.
    reason: ServerError,
    /// When the next round may begin.
    next: Instant,
    rounds: u32,
}

impl Topology {
    pub(crate) fn new(seeds: Vec<Address>, terms: Terms, seed: u64) -> Self {
        Self {
            terms,
            spread: Spread::new(seed),
            seeds,
            slots: Slots::new(),
            gate: Gate::Starting,
            nodes: BTreeMap::new(),
            outdated: true,
            asking: false,
            round: VecDeque::new(),
            reason: ServerError::Down,
            next: Instant::ORIGIN,
            rounds: 0,
        }
    }

    pub(crate) const fn gate(&self) -> Gate {
        self.gate
    }

    /// The primary of a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Address> {
        self.slots.owner(slot)
    }

    /// All primaries of the map.
    pub(crate) fn primaries(&self) -> &[Address] {
        self.slots.primaries()
    }

    /// The nodes to which connections are kept.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Address> {
        self.nodes.keys()
    }

    /// Begins anew where nobody does what is given out any more. What is known is kept.
    pub(crate) fn restart(&mut self) {
        self.asking = false;
        self.round.clear();
        self.outdated = true;
        if matches!(self.gate, Gate::Shut(_)) {
            self.gate = Gate::Starting;
        }
    }

    /// What is to be done now. An action is given out once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Action> {
        if let Some(left) = self.leave(now) {
            return Some(Action::Leave(left));
        }
        if self.asking {
            return None;
        }
        if self.round.is_empty() && self.wants() && now.has_reached(self.next) {
            self.begin(now);
        }
        let asked = self.round.pop_front()?;
        self.asking = true;
        Some(Action::Ask(asked))
    }

    /// When there is something to do, unless something happens before.
    pub(crate) fn poll_at(&self) -> Option<Instant> {
        let ask = match (self.asking, self.round.is_empty()) {
            (true, _) => None,
            (false, false) => Some(Instant::ORIGIN),
            (false, true) => self.wants().then_some(self.next),
        };
        let leave = self.nodes.values().filter_map(|node| Some(node.absent? + KEPT));
        leave.chain(ask).min()
    }

    pub(crate) fn handle(&mut self, event: Event, now: Instant) {
        match event {
            Event::Mapped(slots) if self.asking => self.take(slots, now),
            Event::NotMapped(reason) if self.asking => self.pass_on(reason, now),
            Event::Mapped(_) | Event::NotMapped(_) => {}
            // Many may tell the same.
            Event::Moved(slot, to) if self.slots.owner(slot) == Some(&to) => {}
            Event::Moved(slot, to) => {
                self.slots.set(slot, to.clone());
                self.node(to, now).absent = None;
                self.outdated = true;
            }
            Event::Met(address) => {
                let node = self.node(address, now);
                node.absent = node.absent.map(|_| now);
            }
            Event::Unserved => self.outdated = true,
            Event::Down(address) => self.note(&address, true),
            Event::Up(address) => self.note(&address, false),
        }
    }

    fn wants(&self) -> bool {
        let is_down = |address| self.nodes.get(address).is_some_and(|node| node.down);
        self.outdated || self.slots.primaries().iter().any(is_down)
    }

    /// One node that is in no map for long enough.
    fn leave(&mut self, now: Instant) -> Option<Address> {
        let over = |node: &Node| node.absent.is_some_and(|since| now.has_reached(since + KEPT));
        let left = self.nodes.iter().find(|(_, node)| over(node))?.0.clone();
        self.nodes.remove(&left);
        Some(left)
    }

    /// The next round of questions. When it could have begun long ago, pauses are short again.
    fn begin(&mut self, now: Instant) {
        if now.has_reached(self.next + self.terms.last_delay) {
            self.rounds = 0;
        }
        self.round = self.candidates();
        self.reason = ServerError::Down;
    }

    /// Who can be asked: nodes that are not known to be down first, each time beginning with another one.
    fn candidates(&mut self) -> VecDeque<Address> {
        let known = self.slots.primaries().iter().chain(self.slots.replicas());
        let mut all: Vec<_> = known.chain(&self.seeds).cloned().collect();
        let first = self.spread.below(self.slots.primaries().len() as u64) as usize;
        all[..self.slots.primaries().len()].rotate_left(first);
        all.sort_by_key(|address| self.nodes.get(address).is_some_and(|node| node.down));
        let mut round = VecDeque::new();
        for address in all {
            if !round.contains(&address) {
                round.push_back(address);
            }
        }
        round
    }

    fn take(&mut self, slots: Slots, now: Instant) {
        self.asking = false;
        self.round.clear();
        self.outdated = false;
        self.gate = Gate::Open;
        self.slots = slots;
        self.pause(None, now);
        let primaries = self.slots.primaries();
        for (address, node) in &mut self.nodes {
            let absent = !primaries.contains(address);
            node.absent = absent.then(|| node.absent.unwrap_or(now));
        }
        for address in primaries {
            let new = Node { down: false, absent: None };
            self.nodes.entry(address.clone()).or_insert(new);
        }
    }

    /// Asks the next one, or gives up for now.
    fn pass_on(&mut self, reason: ServerError, now: Instant) {
        self.asking = false;
        // One that cannot be reached says less than one that wants another password.
        self.reason = self.reason.or_more_telling(reason);
        if !self.round.is_empty() {
            return;
        }
        self.pause(Some(self.reason), now);
        if self.gate != Gate::Open {
            self.gate = Gate::Shut(self.reason);
        }
    }

    fn pause(&mut self, failed: Option<ServerError>, now: Instant) {
        let Terms { first_delay, last_delay, settings_delay, .. } = self.terms;
        let longest = match failed {
            Some(reason) if reason.is_of_the_settings() && self.gate != Gate::Open => {
                settings_delay
            }
            _ => first_delay.saturating_mul(1 << self.rounds.min(16)).min(last_delay),
        };
        self.rounds = self.rounds.saturating_add(1);
        self.next = now + self.spread.within(longest);
    }

    fn node(&mut self, address: Address, now: Instant) -> &mut Node {
        self.nodes.entry(address).or_insert(Node { down: false, absent: Some(now) })
    }

    fn note(&mut self, address: &Address, down: bool) {
        if let Some(node) = self.nodes.get_mut(address) {
            node.down = down;
        }
    }
}

#[cfg(test)]
mod tests;
