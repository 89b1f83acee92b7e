//! One key's life: a state machine over the windows of its resting entry and its record.
//!
//! A slot holds no value. The cache that owns table and records opens a slot, runs one operation,
//! and puts it back; the value moves only in the table.

use core::fmt;

use crate::contract::Contract;
use crate::decide::{Decision, Lease, Refusal, Standing, decide};
use crate::entry::{Lifetime, Windows};
use crate::loaded::Terms;
use crate::policy::Policy;
use crate::record::{ErrorText, Flight, Record, Trouble};
use crate::ticket::{Ticket, Tickets};
use crate::time::Instant;

/// What every operation is told: the policy, the key's hash (spread by the cache's seed), the time.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) hash: u64,
    pub(crate) now: Instant,
}

/// Whether a read may load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Load,
    Look,
}

/// What became of a loader's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The value is to be stored with the slot's windows.
    Store,
    /// The old value stays, with new windows.
    Renew,
    /// Delivered, not kept; an old entry goes.
    NotKept,
    /// The key is remembered as missing; an old entry goes.
    Missing,
    /// The flight was void: nothing changes.
    Superseded,
    /// "Not modified" without an old value: counted as a failure.
    NothingToRenew,
}

/// The kind of a loader's answer, without the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    NotModified,
    Missing,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) windows: Option<Windows>,
    pub(crate) record: Record,
}

impl Slot {
    /// Where the entry stands for a caller with this contract.
    pub(crate) fn standing(&self, site: Site<'_>, ask: Ask, contract: &Contract) -> Standing {
        if contract.bypass {
            return Standing::Gone;
        }
        if self.is_missing(site.now) {
            return if contract.refresh { Standing::Gone } else { Standing::Fresh };
        }
        let Some(windows) = &self.windows else { return Standing::Gone };
        let standing = match stand(windows, site) {
            Standing::Fresh if contract.refresh => Standing::Early,
            standing => standing,
        };
        let Some(max_stale) = contract.max_stale else { return standing };
        let looks = ask == Ask::Look || contract.only_if_cached;
        match standing {
            Standing::Fresh | Standing::Early => standing,
            _ if site.now.has_reached(windows.fresh_until + max_stale) => Standing::Gone,
            // Who only looks, and said how old, gets what is kept for errors, too.
            Standing::Kept if looks => Standing::Stale,
            _ => standing,
        }
    }

    /// Whether the key is known to be missing.
    pub(crate) fn is_missing(&self, now: Instant) -> bool {
        self.record.missing_until.is_some_and(|until| !now.has_reached(until))
    }

    /// Whether the value, if there is one, may serve a caller whose load failed.
    pub(crate) fn has_fallback(&self, site: Site<'_>) -> bool {
        self.windows.is_some_and(|windows| !site.now.has_reached(windows.gone_at()))
    }

    /// Decides a read. `room` says whether a record for a new flight can be kept.
    pub(crate) fn lookup(
        &mut self,
        site: Site<'_>,
        ask: Ask,
        contract: &Contract,
        tickets: &mut Tickets,
        room: bool,
    ) -> Decision<Ticket> {
        let standing = self.standing(site, ask, contract);
        decide(standing, || match ask {
            Ask::Look => Lease::NotAsked { takes_stale: contract.max_stale.is_some() },
            Ask::Load if contract.only_if_cached => Lease::NotAsked { takes_stale: true },
            Ask::Load => self.request(site, standing, contract, tickets, room),
        })
    }

    fn request(
        &mut self,
        site: Site<'_>,
        standing: Standing,
        contract: &Contract,
        tickets: &mut Tickets,
        room: bool,
    ) -> Lease<Ticket> {
        let now = site.now;
        let fallback = standing != Standing::Gone;
        let gave_up = now.has_reached(contract.give_up);
        if let Some(flight) = self.record.flight.as_ref().filter(|flight| flight.is_held(now)) {
            let soft_at = if fallback { flight.soft_at } else { Instant::FAR_FUTURE };
            let patience = soft_at.min(flight.hard_at).min(contract.give_up);
            if now.has_reached(patience) {
                return Lease::Cooling { retry_at: flight.until, cause: Refusal::TimedOut };
            }
            return Lease::Held { flight: flight.id(), until: flight.until.min(patience) };
        }
        if gave_up {
            return Lease::Cooling { retry_at: now, cause: Refusal::TimedOut };
        }
        if let Some(retry_at) = self.cooling(now).filter(|_| fallback || site.policy.fails_fast()) {
            return Lease::Cooling { retry_at, cause: Refusal::CoolingDown };
        }
        if !room || (self.record.flight.is_none() && tickets.flights >= tickets.limit) {
            return Lease::Refused;
        }
        Lease::Granted(self.start(site, tickets))
    }

    fn cooling(&self, now: Instant) -> Option<Instant> {
        let trouble = self.record.trouble.as_ref()?;
        (!now.has_reached(trouble.retry_at)).then_some(trouble.retry_at)
    }

    /// Begins a flight, or takes over one whose lease has ended.
    fn start(&mut self, site: Site<'_>, tickets: &mut Tickets) -> Ticket {
        let id = tickets.next_id();
        let (now, policy) = (site.now, site.policy);
        let flight = self.record.flight.get_or_insert_with(|| {
            tickets.flights += 1;
            Flight {
                chain: id,
                newest: id,
                landed: 0,
                suspect: 0,
                outstanding: 0,
                ended: true,
                started: now,
                until: now,
                lease: policy.lease(),
                soft_at: now,
                hard_at: now,
            }
        });
        if !flight.ended {
            flight.lease = flight.lease.saturating_mul(2);
        }
        flight.newest = id;
        flight.outstanding = flight.outstanding.saturating_add(1);
        flight.ended = false;
        flight.started = now;
        flight.until = now + flight.lease;
        flight.soft_at = now + policy.soft_timeout();
        flight.hard_at = now + policy.hard_timeout();
        Ticket {
            id,
            chain: flight.chain,
            tags_seen: 0,
            soft_at: flight.soft_at,
            hard_at: flight.hard_at,
            lease_until: flight.until,
        }
    }

    /// Ends `ticket` with an answer. `tags_hold` says that no tag of the answer was invalidated
    /// since the flight began.
    pub(crate) fn complete(
        &mut self,
        site: Site<'_>,
        ticket: &Ticket,
        kind: Kind,
        terms: Terms,
        tags_hold: bool,
        tickets: &mut Tickets,
    ) -> Landing {
        if kind == Kind::NotModified && self.windows.is_none() {
            self.fail(site, ticket, &"not modified, and there is no old value", tickets);
            return Landing::NothingToRenew;
        }
        if !self.admit(ticket, tickets) || !tags_hold {
            return Landing::Superseded;
        }
        self.record.trouble = None;
        self.record.missing_until = None;
        self.answer(site, kind, terms)
    }

    /// What an answer that may land does to the windows; `put` comes here, too.
    fn answer(&mut self, site: Site<'_>, kind: Kind, terms: Terms) -> Landing {
        if kind == Kind::Missing {
            self.forget_entry();
            let ttl = terms.ttl.unwrap_or_else(|| site.policy.missing_ttl());
            let remember = !ttl.is_zero() && !terms.no_store;
            self.record.missing_until = remember.then(|| site.now + ttl);
            return Landing::Missing;
        }
        let windows = windows_of(site, &terms);
        let Some(windows) = windows.filter(|windows| !site.now.has_reached(windows.gone_at()))
        else {
            self.forget_entry();
            return Landing::NotKept;
        };
        self.windows = Some(windows);
        let plain = terms.are_plain();
        let old = core::mem::replace(&mut self.record.label, terms.label);
        if kind == Kind::NotModified {
            self.record.label.complete_from(old);
        }
        self.record.own = !plain || !self.record.label.is_empty();
        if kind == Kind::NotModified { Landing::Renew } else { Landing::Store }
    }

    /// Takes an old value over that the flight of `ticket` has found elsewhere; the flight goes on.
    /// Refused where the flight is void, or the value here is no older.
    pub(crate) fn adopt(&mut self, site: Site<'_>, ticket: &Ticket, terms: Terms) -> Landing {
        let lives = self
            .record
            .flight
            .as_ref()
            .is_some_and(|flight| flight.chain == ticket.chain && flight.admits(ticket));
        let Some(found) = windows_of(site, &terms).filter(|_| lives) else {
            return Landing::Superseded;
        };
        let newer = self.windows.is_none_or(|own| own.stored_at < found.stored_at);
        if !newer || site.now.has_reached(found.gone_at()) {
            return Landing::Superseded;
        }
        self.windows = Some(found);
        self.record.label = terms.label;
        self.record.own = true;
        Landing::Store
    }

    /// Whether what `ticket` loaded may land; ends the ticket.
    fn admit(&mut self, ticket: &Ticket, tickets: &mut Tickets) -> bool {
        let Some(flight) = &mut self.record.flight else { return false };
        if flight.chain != ticket.chain {
            return false;
        }
        let admitted = flight.admits(ticket);
        flight.landed = flight.landed.max(ticket.id);
        flight.outstanding = flight.outstanding.saturating_sub(1);
        flight.ended |= ticket.id == flight.newest;
        if flight.landed >= flight.newest || flight.outstanding == 0 {
            self.end_flight(tickets);
        }
        admitted
    }

    /// Ends `ticket` without an answer, and starts or lengthens the cool-down if it was the
    /// newest. Returns whether it belonged here.
    pub(crate) fn fail(
        &mut self,
        site: Site<'_>,
        ticket: &Ticket,
        error: &dyn fmt::Display,
        tickets: &mut Tickets,
    ) -> bool {
        let newest = self.is_newest(ticket);
        if !self.give_back(ticket, tickets) {
            return false;
        }
        if newest {
            let failures = self.record.trouble.as_ref().map_or(0, |t| t.failures).saturating_add(1);
            let retry_at = site.now + site.policy.cool_down(failures, site.hash);
            let error = ErrorText::of(error);
            self.record.trouble = Some(Trouble { failures, retry_at, error });
        }
        true
    }

    /// Ends `ticket` as if it had not been; the next caller may load at once. Returns whether it
    /// belonged here.
    pub(crate) fn give_back(&mut self, ticket: &Ticket, tickets: &mut Tickets) -> bool {
        let Some(flight) = &mut self.record.flight else { return false };
        if flight.chain != ticket.chain {
            return false;
        }
        let overtaken = ticket.id <= flight.landed;
        flight.outstanding = flight.outstanding.saturating_sub(1);
        flight.ended |= ticket.id == flight.newest;
        if flight.outstanding == 0 {
            self.end_flight(tickets);
        }
        !overtaken
    }

    /// Moves the end of the lease of the newest ticket to `until`, never back.
    pub(crate) fn renew(&mut self, ticket: &mut Ticket, until: Instant) -> bool {
        if !self.is_newest(ticket) {
            return false;
        }
        let Some(flight) = &mut self.record.flight else { return false };
        flight.until = flight.until.max(until);
        ticket.lease_until = flight.until;
        true
    }

    fn is_newest(&self, ticket: &Ticket) -> bool {
        self.record.flight.as_ref().is_some_and(|flight| {
            flight.chain == ticket.chain && flight.newest == ticket.id && !flight.ended
        })
    }

    /// Stores a value by hand: voids flights, failures and "missing".
    pub(crate) fn put(
        &mut self,
        site: Site<'_>,
        kind: Kind,
        terms: Terms,
        tickets: &mut Tickets,
    ) -> Landing {
        self.void(tickets);
        self.answer(site, kind, terms)
    }

    /// Stale from now on, kept as fallback. A value that the policy keeps for ever has the
    /// policy's swr and sie from now on.
    pub(crate) fn expire(&mut self, site: Site<'_>, tickets: &mut Tickets) {
        self.void(tickets);
        self.grow_stale(site);
    }

    /// As [`expire`](Self::expire), where something may have been missed. Flights under way do not land, and the
    /// next caller may load; but until something does void them, they are known as suspects.
    pub(crate) fn mistrust(&mut self, site: Site<'_>) {
        self.record.trouble = None;
        self.record.missing_until = None;
        if let Some(flight) = &mut self.record.flight {
            (flight.suspect, flight.ended) = (flight.newest, true);
        }
        self.grow_stale(site);
    }

    fn grow_stale(&mut self, site: Site<'_>) {
        if let Some(windows) =
            self.windows.as_mut().filter(|w| !site.now.has_reached(w.fresh_until))
        {
            windows.expire(site.now);
            self.record.own = true;
        }
    }

    /// Nothing is left of the key.
    pub(crate) fn invalidate(&mut self, tickets: &mut Tickets) {
        self.void(tickets);
        self.forget_entry();
    }

    /// Voids the flights under way and all that they would have ended.
    pub(crate) fn void(&mut self, tickets: &mut Tickets) {
        self.end_flight(tickets);
        self.record.void();
    }

    pub(crate) fn end_flight(&mut self, tickets: &mut Tickets) {
        if self.record.flight.take().is_some() {
            tickets.flights = tickets.flights.saturating_sub(1);
        }
    }

    pub(crate) fn forget_entry(&mut self) {
        self.windows = None;
        self.record.forget_entry();
    }

    /// The number that the resting entry keeps: until then its reads need not come here. With it,
    /// whether the value is stale meanwhile. Who has tags is always looked at: one may have been
    /// invalidated.
    pub(crate) fn rest(&self, site: Site<'_>) -> (Instant, bool) {
        let tagged = !self.record.label.tags().is_empty();
        let Some(windows) = self.windows.as_ref().filter(|_| !tagged) else {
            return (Instant::ORIGIN, false);
        };
        let standing = stand(windows, site);
        if standing == Standing::Fresh {
            return (windows.early_at(site.policy.early_percent()), false);
        }
        let held = self.record.flight.as_ref().filter(|flight| flight.is_held(site.now));
        let quiet = held.map(|flight| flight.until).or_else(|| self.cooling(site.now));
        match (standing, quiet) {
            (Standing::Early, Some(until)) => (until.min(windows.fresh_until), false),
            (Standing::Stale, Some(until)) => (until.min(windows.stale_until()), true),
            _ => (Instant::ORIGIN, false),
        }
    }
}

fn stand(windows: &Windows, site: Site<'_>) -> Standing {
    let now = site.now;
    if !now.has_reached(windows.early_at(site.policy.early_percent())) {
        Standing::Fresh
    } else if !now.has_reached(windows.fresh_until) {
        Standing::Early
    } else if !now.has_reached(windows.stale_until()) {
        Standing::Stale
    } else if !now.has_reached(windows.gone_at()) {
        Standing::Kept
    } else {
        Standing::Gone
    }
}

/// The windows of a value stored now on these terms; `None` if it is not to be stored.
fn windows_of(site: Site<'_>, terms: &Terms) -> Option<Windows> {
    if terms.no_store || terms.too_many_tags {
        return None;
    }
    let own = site.policy.windows(site.now, site.hash);
    if terms.are_plain() {
        return own;
    }
    let ttl = terms.ttl.or_else(|| own.map(|w| w.fresh_until.remaining_at(w.stored_at)))?;
    let lifetime = Lifetime::fresh_for(ttl)
        .aged(terms.age)
        .stale_while_revalidate(terms.swr.unwrap_or_else(|| site.policy.swr()))
        .stale_if_error(terms.sie.unwrap_or_else(|| site.policy.sie()));
    Some(lifetime.windows(site.now))
}
