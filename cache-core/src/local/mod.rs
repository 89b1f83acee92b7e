//! The cache driven by hand: on a microcontroller, in WebAssembly, in a simulation.
//!
//! The caller owns the cache, says what time it is, and does what the cache says.

use core::borrow::Borrow;
use core::fmt;
use core::hash::Hash;

use crate::action::{Action, Cause, Completion, Put};
use crate::contract::Contract;
use crate::entry::Entry;
use crate::explain::Explanation;
use crate::loaded::Loaded;
use crate::policy::Policy;
use crate::record::Record;
use crate::shard::{self, At, Book, Limits, Previous, Shard, Spare, View, plain};
use crate::stats::Stats;
use crate::table::{LocalTable, Places};
use crate::ticket::Ticket;
use crate::time::Instant;

#[cfg(feature = "spin")]
mod shared;
#[cfg(feature = "spin")]
pub use shared::Shared;

/// A cache driven by hand, over any [`LocalTable`].
///
/// Reads that may load are answered by an [`Action`]; a load that it asks for ends with
/// [`complete`](Self::complete), [`fail`](Self::fail) or [`abandon`](Self::abandon).
/// [`tick`](Self::tick) does bounded housekeeping, and [`poll_at`](Self::poll_at) says when the
/// next tick is worth while. Times given in should not go back; if they do, ages saturate at zero.
///
/// ```
/// # #[cfg(feature = "heapless")] {
/// use core::time::Duration;
/// use cache_core::local::Cache;
/// use cache_core::table::LinearTable;
/// use cache_core::{Action, Instant, Policy};
///
/// # fn read_bus(_: u8) -> Result<f32, &'static str> { Ok(21.5) }
/// # fn show(_: f32) {}
/// let policy = Policy::ttl(Duration::from_secs(5)).build().unwrap();
/// let mut readings: Cache<u8, f32, LinearTable<u8, f32, 16>> = Cache::new(policy);
///
/// let now = Instant::from_millis(10); // from a hardware counter
/// match readings.lookup(&3, now) {
///     Action::Serve { value, .. } => show(*value),
///     Action::ServeAndRefresh { value, .. } => show(*value),
///     Action::Load { ticket, .. } => match read_bus(3) {
///         Ok(value) => { let _ = readings.complete(&3, ticket, value, now); }
///         Err(error) => { readings.fail(&3, ticket, &error, now); }
///     },
///     Action::Wait { .. } | Action::Fail { .. } | Action::Missing | Action::Busy => {}
/// }
/// assert_eq!(readings.get(&3, now), Some(&21.5));
/// # }
/// ```
pub struct Cache<K, V, T: LocalTable<K, V>> {
    table: T,
    book: Book<K, T::Records>,
    weigher: fn(&K, &V) -> u32,
    listener: fn(Cause, Option<K>, V),
}

impl<K: Clone + Eq + Hash, V, T: LocalTable<K, V> + Default> Cache<K, V, T> {
    /// A cache with an empty table.
    pub fn new(policy: Policy) -> Self {
        Self::with_table(policy, T::default())
    }
}

impl<K: Clone + Eq + Hash, V, T: LocalTable<K, V>> Cache<K, V, T> {
    /// A cache over `table`.
    pub fn with_table(policy: Policy, table: T) -> Self {
        Self::with_limits(policy, table, Limits::default(), 0)
    }

    /// A cache over `table` with other limits than the default, and a seed for jitter. Caches with
    /// different seeds shorten the ttl of the same key differently.
    pub fn with_limits(policy: Policy, table: T, limits: Limits, seed: u64) -> Self {
        Self {
            book: Book::new(table.records(), policy, limits, seed),
            table,
            weigher: |_, _| 1,
            listener: |_, _, _| {},
        }
    }

    /// Weighs each value by `weigher`, for a table bounded by weight.
    #[must_use]
    pub const fn weigher(mut self, weigher: fn(&K, &V) -> u32) -> Self {
        self.weigher = weigher;
        self
    }

    /// Goes by another policy from now on. O(entries).
    ///
    /// What was stored by the cache's own ttl gets the new windows, counted from when it was stored:
    /// it may be stale at once, or fresh again. What has a ttl of its own keeps that, and takes the
    /// cache's new windows after it unless it has its own of those, too. Under a policy that keeps
    /// nothing, everything is removed. Flights under way keep their leases and time-outs.
    pub fn set_policy(&mut self, policy: Policy) {
        let old = self.book.change_policy(policy);
        shard::carry_over(&mut self.table, &old, self.book.rules(), &mut self.listener);
    }

    /// Makes all that is there stale from `now` on; what flights under way load does not land. O(entries).
    pub fn expire_all(&mut self, now: Instant) {
        self.book.expire_all(now);
        shard::expire_all(&mut self.table, self.book.rules(), now, &mut self.listener);
    }

    /// Hands every value that leaves the cache to `listener`, with the cause, and the key where it
    /// leaves with the value. Without a listener they are dropped.
    #[must_use]
    pub const fn on_removal(mut self, listener: fn(Cause, Option<K>, V)) -> Self {
        self.listener = listener;
        self
    }

    /// A read that may load: says what to do next. O(1) with a hash table.
    pub fn lookup(&mut self, key: &K, now: Instant) -> Action<'_, V> {
        self.lookup_within(key, &Contract::new(), now)
    }

    /// A read with a contract of its own.
    pub fn lookup_within(&mut self, key: &K, contract: &Contract, now: Instant) -> Action<'_, V> {
        let at = self.at(key, now);
        let covered = contract.is_easy() && plain::covered(&self.table, at).is_some();
        let mut spare = if covered { Spare::none() } else { Spare::one(key.clone()) };
        let shard = begin(&mut self.table, &mut self.book);
        shard.lookup(at, &mut spare, contract, &mut self.listener)
    }

    /// The fresh value. Starts no load.
    pub fn get<Q>(&mut self, key: &Q, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get_within(key, &Contract::new(), now)
    }

    /// The value, if the contract accepts it. Starts no load.
    pub fn get_within<Q>(&mut self, key: &Q, contract: &Contract, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let at = self.at(key, now);
        begin(&mut self.table, &mut self.book).get(at, contract, &mut self.listener)
    }

    /// Ends a load with its answer: a plain value, or a [`Loaded`] with more to say.
    pub fn complete(
        &mut self,
        key: &K,
        ticket: Ticket,
        loaded: impl Into<Loaded<V>>,
        now: Instant,
    ) -> Completion<'_, V> {
        let (at, loaded) = (self.at(key, now), loaded.into());
        let mut spare = Spare::storing(key.clone(), &loaded);
        let weight = self.weight_of(key, &loaded);
        let out = &mut self.listener;
        begin(&mut self.table, &mut self.book).complete(at, &mut spare, ticket, loaded, weight, out)
    }

    /// Ends a load that failed. Returns the old value if it may still serve.
    pub fn fail(
        &mut self,
        key: &K,
        ticket: Ticket,
        error: &dyn fmt::Display,
        now: Instant,
    ) -> Option<&V> {
        let at = self.at(key, now);
        let mut spare = Spare::one(key.clone());
        begin(&mut self.table, &mut self.book).fail(
            at,
            &mut spare,
            ticket,
            error,
            &mut self.listener,
        )
    }

    /// Ends a load whose error says that the old value must not serve any more.
    pub fn reject(&mut self, key: &K, ticket: Ticket, error: &dyn fmt::Display, now: Instant) {
        let at = self.at(key, now);
        let mut spare = Spare::one(key.clone());
        begin(&mut self.table, &mut self.book).reject(
            at,
            &mut spare,
            ticket,
            error,
            &mut self.listener,
        );
    }

    /// Ends a load as if it had not been asked for: the next caller may load at once.
    pub fn abandon(&mut self, key: &K, ticket: Ticket, now: Instant) {
        let at = self.at(key, now);
        let mut spare = Spare::one(key.clone());
        begin(&mut self.table, &mut self.book).abandon(at, &mut spare, ticket, &mut self.listener);
    }

    /// Lengthens the lease of a load to `until`. `false` if another load has the key now.
    pub fn renew(&mut self, key: &K, ticket: &mut Ticket, until: Instant, now: Instant) -> bool {
        let at = self.at(key, now);
        begin(&mut self.table, &mut self.book).renew(at, ticket, until, &mut self.listener)
    }

    /// Stores a value. Loads under way for the key will not land.
    pub fn put(&mut self, key: K, loaded: impl Into<Loaded<V>>, now: Instant) -> Put<V> {
        let (at, loaded) = (self.at(&key, now), loaded.into());
        let mut spare = Spare::storing(key.clone(), &loaded);
        let weight = self.weight_of(&key, &loaded);
        begin(&mut self.table, &mut self.book).put(
            at,
            &mut spare,
            loaded,
            weight,
            &mut self.listener,
        )
    }

    /// Stores a value unless a fresh one is there.
    pub fn put_if_absent(&mut self, key: K, loaded: impl Into<Loaded<V>>, now: Instant) -> Put<V> {
        let (at, loaded) = (self.at(&key, now), loaded.into());
        let mut spare = Spare::storing(key.clone(), &loaded);
        let weight = self.weight_of(&key, &loaded);
        begin(&mut self.table, &mut self.book).put_if_absent(
            at,
            &mut spare,
            loaded,
            weight,
            &mut self.listener,
        )
    }

    const fn view(&self) -> View<'_, K, V, T, T::Records> {
        View::new(&self.table, &self.book)
    }

    fn at<'a, Q: Hash + ?Sized>(&self, key: &'a Q, now: Instant) -> At<'a, Q> {
        At { hash: self.table.hash(key), key, now }
    }

    fn weight_of(&self, key: &K, loaded: &Loaded<V>) -> u32 {
        loaded.as_value().map_or(1, |value| (self.weigher)(key, value))
    }

    /// Makes a value stale from now on and keeps it as fallback. `true` if there was one.
    pub fn expire(&mut self, key: &K, now: Instant) -> bool {
        let at = self.at(key, now);
        let mut spare = Spare::one(key.clone());
        begin(&mut self.table, &mut self.book).expire(at, &mut spare, &mut self.listener)
    }

    /// Removes a value. `true` if there was one.
    pub fn invalidate<Q>(&mut self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let at = self.at(key, now);
        begin(&mut self.table, &mut self.book).invalidate(at, &mut self.listener)
    }

    /// Removes everything. O(entries).
    pub fn clear(&mut self) {
        begin(&mut self.table, &mut self.book).clear(&mut self.listener);
        let_go(&mut self.book);
    }

    /// Makes every value with this tag stale from now on, without looking for them: O(log tags).
    #[cfg(feature = "alloc")]
    pub fn expire_tag(&mut self, tag: &str, now: Instant) {
        self.book.expire_tag(tag, now);
    }

    /// Removes every value with this tag, without looking for them: O(log tags).
    #[cfg(feature = "alloc")]
    pub fn invalidate_tag(&mut self, tag: &str) {
        self.book.invalidate_tag(tag);
    }

    /// Whether [`get`](Self::get) would answer. Counts as no use.
    pub fn contains<Q>(&self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.peek(key, now).is_some()
    }

    /// The fresh value. Counts as no use.
    pub fn peek<Q>(&self, key: &Q, now: Instant) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.view().peek(self.at(key, now))
    }

    /// The entry while anything may serve it, with freshness and age. Counts as no use.
    pub fn entry<Q>(&self, key: &Q, now: Instant) -> Option<Entry<&V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.view().entry(self.at(key, now))
    }

    /// The old value with age and etag, for a loader to compare with. Counts as no use.
    pub fn previous<Q>(&self, key: &Q) -> Option<Previous<'_, V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.view().previous(self.table.hash(key), key)
    }

    /// What is known of the key and what a read would do.
    pub fn explain<Q>(&self, key: &Q, now: Instant) -> Explanation
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.explain_within(key, &Contract::new(), now)
    }

    /// As [`explain`](Self::explain), for a read on this contract.
    pub fn explain_within<Q>(&self, key: &Q, contract: &Contract, now: Instant) -> Explanation
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.view().explain(self.at(key, now), contract)
    }

    /// Visits every entry that may still be served. Counts as no use. O(positions).
    pub fn for_each(&self, now: Instant, mut visit: impl FnMut(&K, Entry<&V>)) {
        let end = self.view().visit(0, now, |key, entry| {
            visit(key, entry);
            true
        });
        debug_assert!(end.is_none(), "a visit that is not stopped runs to the end");
    }

    /// Looks at up to `budget` positions, removes what has passed, and says how many entries went.
    pub fn tick(&mut self, now: Instant, budget: usize) -> usize {
        let removed = begin(&mut self.table, &mut self.book).tick(now, budget, &mut self.listener);
        let_go(&mut self.book);
        removed
    }

    /// When the next [`tick`](Self::tick) is worth while: a lower bound; `None` for never.
    pub fn poll_at(&self) -> Option<Instant> {
        self.view().poll_at()
    }

    /// Entries held, whatever their freshness.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no entry is held.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Weight of all entries held.
    pub fn weight(&self) -> u64 {
        self.table.weight()
    }

    /// Checks the whole structure. For tests. O(entries).
    ///
    /// # Panics
    /// If the cache is broken inside; that is a bug in this crate, or in a table.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.view().check_invariants();
    }

    /// Flights under way, lapsed ones included.
    pub const fn flights(&self) -> usize {
        self.book.flights()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let mut stats = self.book.stats();
        stats += self.table.tally();
        stats
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        self.book.rules().policy()
    }
}

impl<K, V, T: LocalTable<K, V> + fmt::Debug> fmt::Debug for Cache<K, V, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("table", &self.table)
            .field("book", &self.book)
            .finish_non_exhaustive()
    }
}

/// Begins an operation, and drops the keys that went with the records of the one before.
fn begin<'a, K: Eq, V: 'a, T: LocalTable<K, V>>(
    table: &'a mut T,
    book: &'a mut Book<K, T::Records>,
) -> Shard<'a, K, V, T, T::Records> {
    let_go(book);
    Shard::new(table, book)
}

/// Without a heap they are dropped at once.
#[cfg_attr(not(feature = "alloc"), allow(clippy::needless_pass_by_ref_mut))]
fn let_go<K, R: Places<K, Record>>(book: &mut Book<K, R>) {
    #[cfg(feature = "alloc")]
    drop(book.take_dropped());
    #[cfg(not(feature = "alloc"))]
    let _ = book;
}
