//! Tables under small locks, and books under bigger ones: the two-lock memory of a cache.
//!
//! Four rules keep the two in step, and each has a model that fails without it:
//!
//! 1. Who takes both locks takes the book's first.
//! 2. A change made under the table's lock alone is made only while none of the table's keys has a
//!    record; [`Counts`] tells, and is asked under that lock.
//! 3. A miss that was seen under the table's lock alone grants nothing: the table is looked at again
//!    under both locks.
//! 4. A flight ends under both locks at once, so that its value is there before its record is gone.

use core::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use cache_core::shard::plain::{self, Placed};
use cache_core::shard::{At, Book, Limits, Rules, Shard, View, carry_over, expire_all};
use cache_core::table::{HashTable, Place, Rows, Set, Table};
use cache_core::{Cause, Entry, FlightId, Instant, Policy, Stats};

use super::Leaving;
use super::counted::{Counted, Counts};
use super::due::{Due, Watch};
use super::limit::Limit;
use super::live::LiveTiming;
use super::lock::Lock;
use super::primitives::{AtomicUsize, Mutex, MutexGuard, Ordering, PoisonError};
use super::room::{Room, position};
use crate::flight::Flight;
use crate::sync::listener::{Event, Listener};

mod change;
mod limits;
#[cfg(all(test, shuttle))]
mod models;
mod reads;
mod sweeps;

/// A table that is one of many of a cache, each with a number of its own.
pub(crate) trait Numbered {
    /// The hash by which table `number` knows a key, of its hash as it is and as it was spread.
    fn known_as(number: usize, hash: u64, spread: u64) -> u64;
    /// The table of a hash that was spread.
    #[inline(always)]
    fn choose<L>(tables: &Room<L>, spread: u64) -> (usize, &L) {
        tables.choose(spread)
    }
    /// The number of the table, of so many, that holds the keys known by a hash.
    fn number_of(known: u64, tables: usize) -> usize;
    /// Positions that one write sweeps.
    const SWEEP: usize;
}

impl<K, V, R: Rows<Place<K, V>>> Numbered for Set<K, V, R> {
    #[inline(always)]
    fn known_as(number: usize, _: u64, spread: u64) -> u64 {
        Self::hash(number as u32, spread)
    }

    fn number_of(known: u64, _: usize) -> usize {
        (known >> 16) as usize
    }

    const SWEEP: usize = cache_core::table::WAYS;
}

impl<K, V, S> Numbered for HashTable<K, V, S> {
    #[inline(always)]
    fn known_as(_: usize, hash: u64, _: u64) -> u64 {
        hash
    }

    /// Where there is one table, the lock need not wait for multiplications.
    #[inline(always)]
    fn choose<L>(tables: &Room<L>, spread: u64) -> (usize, &L) {
        if tables.len() == 1 { (0, &tables[0]) } else { tables.choose(spread) }
    }

    fn number_of(known: u64, tables: usize) -> usize {
        position(spread(known), tables)
    }

    const SWEEP: usize = 8;
}

/// Spreads a hash over all bits. Hashers made for speed leave some of them nearly alike, for some seeds or
/// some keys: by the upper ones the tables of a cache would fill unevenly, by the lower ones sets would take
/// strangers for each other. Both halves of a product: the lower half's bits follow from lower ones of the hash, the
/// upper half's from higher ones. (Multiplier: 2^64 divided by the golden ratio; Knuth, TAOCP 3, 6.4.)
const fn spread(hash: u64) -> u64 {
    let product = hash as u128 * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

/// A table and its lock, alone on their cache lines.
#[repr(align(64))]
pub(super) struct Padded<L>(pub(super) L);

/// A book and the flights of its keys.
pub(crate) struct Ledger<K, V> {
    pub(crate) book: Book<K, Counted<K>>,
    pub(crate) flights: HashMap<FlightId, Arc<Flight<V>>>,
}

/// A book and its lock.
type BookCell<K, V> = Padded<Mutex<Ledger<K, V>>>;

pub(crate) struct Cells<K, V, L> {
    tables: Room<Padded<L>>,
    books: Box<[BookCell<K, V>]>,
    counts: Counts,
    timing: LiveTiming,
    /// The table that is swept next. It changes often, so it has a line of its own.
    cursor: Padded<AtomicUsize>,
    due: Due,
    /// What bounds all tables together.
    limit: Limit,
    /// Who is told what leaves.
    listener: Option<Box<Listener<K, V>>>,
}

/// Most books: as many threads as this can be in slow operations at once.
const BOOKS: usize = 64;

/// Both locks of a key.
pub(crate) struct Desk<'a, K, V, T, L>
where
    T: 'a,
    L: Lock<T> + 'a,
{
    pub(crate) ledger: MutexGuard<'a, Ledger<K, V>>,
    table: L::Guard<'a>,
    cells: &'a Cells<K, V, L>,
    /// The hash by which the table knows the key.
    pub(crate) hash: u64,
    _watch: Watch<'a>,
}

impl<K, V, L> Cells<K, V, L> {
    pub(super) fn new<T>(
        tables: impl ExactSizeIterator<Item = T>,
        policy: Policy,
        limits: Limits,
        seed: u64,
    ) -> Self
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let counts = Counts::new(tables.len());
        let books = floor_power_of_two(tables.len()).min(BOOKS);
        let ledger = || Ledger {
            book: Book::new(
                Counted::new(counts.clone(), T::number_of),
                policy.clone(),
                limits,
                seed,
            ),
            flights: HashMap::new(),
        };
        Self {
            tables: Room::of(tables.into_iter().map(|table| Padded(L::new(table)))),
            books: (0..books).map(|_| Padded(Mutex::new(ledger()))).collect(),
            counts,
            timing: LiveTiming::new(Rules::new(policy, seed).timing()),
            cursor: Padded(AtomicUsize::new(0)),
            due: Due::new(),
            limit: Limit::none(),
            listener: None,
        }
    }

    /// Has what leaves told to a listener.
    pub(super) fn tell(&mut self, listener: Listener<K, V>) {
        self.listener = Some(Box::new(listener));
    }

    #[inline]
    pub(super) fn listener(&self) -> Option<&Listener<K, V>> {
        self.listener.as_deref()
    }

    /// The table of a key with its lock, its number, and the hash by which it knows the key.
    #[inline(always)]
    pub(super) fn locate<T: Numbered>(&self, hash: u64) -> (&L, usize, u64) {
        let spread = spread(hash);
        let (number, table) = T::choose(&self.tables, spread);
        (&table.0, number, T::known_as(number, hash, spread))
    }

    /// The table of a key with its lock, and the hash that was spread for it.
    #[inline(always)]
    pub(super) fn locate_only<T: Numbered>(&self, hash: u64) -> (&L, u64) {
        let spread = spread(hash);
        (&T::choose(&self.tables, spread).1.0, spread)
    }

    pub(super) fn table<T>(&self, number: usize) -> L::Guard<'_>
    where
        L: Lock<T>,
    {
        self.tables[number].0.lock()
    }

    /// The book of a table. What panics under it leaves it whole or to be repaired, so poison means
    /// nothing.
    fn ledger(&self, table: usize) -> MutexGuard<'_, Ledger<K, V>> {
        let book = table & (self.books.len() - 1);
        self.books[book].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.tables.len()
    }
}

impl<K: Eq, V, L> Cells<K, V, L> {
    /// Stores a plain value under the table's lock alone, and hands it out if there was no room for it.
    /// Or gives both back: then the book is to be asked.
    #[inline(always)]
    pub(super) fn put<T>(
        &self,
        (hash, key): (u64, K),
        (value, weight): (V, u32),
        now: Instant,
    ) -> Result<Option<V>, (K, V)>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (table, number, hash) = self.locate::<T>(hash);
        let mut table = table.lock();
        if !self.counts.is_zero(number) {
            return Err((key, value));
        }
        let Some(rest) = self.timing.read().rest(now, hash) else { return Err((key, value)) };
        let found = table.find_to_put(hash, &key);
        let sooner = |at| self.due.note(at);
        match plain::replace(&mut *table, found, rest, value, weight, sooner) {
            Ok(old) => {
                drop(table);
                if let Some(listener) = self.listener() {
                    replaced(listener, key, old);
                }
                self.sweep_if_due(now);
                Ok(None)
            }
            Err(value) => {
                let newcomer = plain::Newcomer { hash, key, rest, value, weight };
                self.fit(number, &mut *table, weight);
                let refused = self.insert(table, found, newcomer, now);
                self.sweep_if_due(now);
                Ok(refused)
            }
        }
    }

    /// The longer part of [`put`](Self::put), out of the way of the shorter one. Gives back what there
    /// was no room for.
    #[inline(never)]
    fn insert<'a, T>(
        &'a self,
        mut table: L::Guard<'a>,
        found: Option<usize>,
        newcomer: plain::Newcomer<K, V>,
        now: Instant,
    ) -> Option<V>
    where
        T: Table<K, V> + Numbered + 'a,
        L: Lock<T>,
    {
        self.due.note(newcomer.rest.gone_at());
        if const { !core::mem::needs_drop::<(K, V)>() } && self.listener.is_none() {
            let refused = self.insert_into(&mut *table, found, newcomer, now, &mut |_, _, _| {});
            return refused.map(|(_, value)| value);
        }
        let mut leaving = Leaving::new(self.listener());
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let refused = self.insert_into(&mut *table, found, newcomer, now, out);
        drop(table);
        refused.map(|(_, value)| value)
    }

    #[inline(always)]
    fn insert_into<T>(
        &self,
        table: &mut T,
        found: Option<usize>,
        newcomer: plain::Newcomer<K, V>,
        now: Instant,
        out: &mut impl FnMut(Cause, Option<K>, V),
    ) -> Option<(K, V)>
    where
        T: Table<K, V> + Numbered,
    {
        if let Placed::NotKept(key, value) = plain::insert(table, found, newcomer, out) {
            return Some((key, value));
        }
        if table.house().is_due(now) {
            plain::sweep(table, &self.timing.read(), now, T::SWEEP, out);
        }
        None
    }

    /// Removes an entry under the table's lock alone.
    pub(super) fn invalidate<T, Q>(
        &self,
        here: At<'_, Q>,
        leaving: &mut Leaving<'_, K, V>,
    ) -> Result<bool, AskBook>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (table, number, hash) = self.locate::<T>(here.hash);
        let mut table = table.lock();
        if !self.counts.is_zero(number) {
            return Err(AskBook);
        }
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        Ok(plain::invalidate(&mut *table, &self.timing.read(), At { hash, ..here }, out))
    }

    /// Both locks, in their order.
    pub(super) fn desk<T>(&self, hash: u64) -> Desk<'_, K, V, T, L>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (_, number, hash) = self.locate::<T>(hash);
        self.desk_of(number, hash)
    }

    fn desk_of<T>(&self, number: usize, hash: u64) -> Desk<'_, K, V, T, L>
    where
        T: Table<K, V>,
        L: Lock<T>,
    {
        let ledger = self.ledger(number);
        Desk { ledger, table: self.table(number), cells: self, hash, _watch: Watch(&self.due) }
    }

    /// Copies of all entries of one table that may still be served.
    pub(super) fn entries<T>(&self, number: usize, now: Instant) -> Vec<(K, Entry<V>)>
    where
        K: Clone,
        V: Clone,
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let desk = self.desk_of::<T>(number, 0);
        let mut entries = Vec::with_capacity(desk.table.len());
        desk.view().visit(0, now, |key, entry| {
            entries.push((key.clone(), entry.cloned()));
            true
        });
        entries
    }

    /// Removes everything, table by table.
    pub(super) fn clear<T>(&self)
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        for number in 0..self.books.len() {
            let mut leaving = Leaving::new(self.listener());
            let mut ledger = self.ledger(number);
            ledger.book.clear();
            for table in (number..self.tables.len()).step_by(self.books.len()) {
                let out = &mut |cause, key, value| leaving.take(cause, key, value);
                plain::clear(&mut *self.table(table), out);
            }
            leave(ledger);
        }
    }

    /// Sums up a number of each table.
    pub(super) fn sum<T>(&self, number: impl Fn(&T) -> u64) -> u64
    where
        T: Table<K, V>,
        L: Lock<T>,
    {
        (0..self.tables.len()).map(|table| number(&*self.table(table))).sum()
    }

    pub(super) fn stats<T>(&self) -> Stats
    where
        T: Table<K, V>,
        L: Lock<T>,
    {
        let mut stats = Stats::default();
        self.for_each_book(|book| stats += book.stats());
        (0..self.tables.len()).for_each(|table| stats += self.table(table).tally());
        stats
    }
}

/// Lets go of a book, and then of the keys that went with its records.
fn leave<K, V>(mut ledger: MutexGuard<'_, Ledger<K, V>>) {
    let dropped = ledger.book.take_dropped();
    drop(ledger);
    drop(dropped);
}

/// Tells of a value whose place was taken.
#[cold]
fn replaced<K, V>(listener: &Listener<K, V>, key: K, value: V) {
    listener.tell(Event { key, value, cause: Cause::Replaced });
}

/// The table alone cannot answer.
pub(super) struct AskBook;

impl<'a, K: Eq, V, T, L> Desk<'a, K, V, T, L>
where
    T: Table<K, V> + Numbered,
    L: Lock<T>,
{
    /// Makes the table ready for a value of this weight.
    pub(super) fn fit(&mut self, weight: u32) {
        let number = T::number_of(self.hash, self.cells.tables.len());
        self.cells.fit(number, &mut *self.table, weight);
    }

    pub(crate) fn shard(&mut self) -> Shard<'_, K, V, T, Counted<K>> {
        Shard::new(&mut *self.table, &mut self.ledger.book)
    }

    pub(crate) fn view(&self) -> View<'_, K, V, T, Counted<K>> {
        View::new(&*self.table, &self.ledger.book)
    }

    /// Lets go of both locks. An entry of another table whose record had to go is put right in
    /// between, while the book is still held. Returns whether it had to go.
    pub(super) fn close(self, leaving: &mut Leaving<'_, K, V>) -> bool {
        let due = self.view().poll_at();
        let Self { mut ledger, table, cells, .. } = self;
        drop(table);
        cells.due.note(due.unwrap_or(Instant::FAR_FUTURE));
        let Some(displaced) = ledger.book.take_displaced() else {
            leave(ledger);
            return false;
        };
        let number = T::number_of(displaced.hash(), cells.tables.len());
        let mut went = false;
        let out = &mut |cause, key, value| {
            went = true;
            leaving.take(cause, key, value);
        };
        let mut table = cells.table(number);
        let key = displaced.settle(&mut *table, out);
        cells.due.note(table.house().poll_at());
        drop(table);
        leave(ledger);
        drop(key);
        went
    }
}

const fn floor_power_of_two(n: usize) -> usize {
    if n == 0 { 1 } else { 1 << n.ilog2() }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::{position, spread};
    use cache_core::table::HeapSet;
    use std::collections::HashMap;

    #[test]
    fn keys_of_one_set_have_different_tags_whatever_bits_of_their_hashes_differ() {
        const SETS: usize = 400;
        let hashes: [fn(u64) -> u64; 6] = [
            |n| n,
            |n| n << 16,
            |n| n << 32,
            |n| n << 48,
            |n| n << 22 | 5 << 12,
            |n| n.reverse_bits(),
        ];
        for (which, hash) in hashes.iter().enumerate() {
            let mut alike = HashMap::new();
            for spread in (0..10_000).map(|n| spread(hash(n))) {
                let set = position(spread, SETS);
                let [low, high, ..] = HeapSet::<u64, u64>::hash(0, spread).to_le_bytes();
                *alike.entry((set, 0, low)).or_insert(0) += 1;
                *alike.entry((set, 1, high)).or_insert(0) += 1;
            }
            let pairs: u32 = alike.values().map(|keys| keys * (keys - 1) / 2).sum();
            // 25 keys make 300 pairs in each set, of which each byte tells all apart but one of 256.
            assert!(pairs < 2 * 2 * 300 * SETS as u32 / 256, "{pairs} pairs are alike, {which}");
        }
    }
}
