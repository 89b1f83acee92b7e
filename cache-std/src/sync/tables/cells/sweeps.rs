//! Housekeeping of all tables: what has passed goes, whether anybody asks for it or not.

use core::cell::Cell;

use super::*;

/// Every so many writes of a thread, one sweeps a table that is not its own.
const WRITES: u8 = 8;

thread_local! {
    static WRITTEN: Cell<u8> = const { Cell::new(0) };
}

impl<K: Eq, V, L> Cells<K, V, L> {
    /// Whether a sweep of other tables may find something.
    #[inline]
    pub(in super::super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_due(now)
    }

    /// For writes: sweeps another table with every eighth call of a thread, if that may find something.
    #[inline(always)]
    pub(super) fn sweep_if_due<T>(&self, now: Instant)
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        if self.due.is_due(now) {
            self.sweep_now_and_then(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn sweep_now_and_then<T>(&self, now: Instant)
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let written = WRITTEN.get().wrapping_add(1);
        WRITTEN.set(written);
        if written.is_multiple_of(WRITES) {
            self.sweep_next(now, &mut Leaving::new(self.listener()));
        }
    }

    /// Sweeps the next table, whoever reads or writes it.
    pub(in super::super) fn sweep_next<T>(&self, now: Instant, leaving: &mut Leaving<'_, K, V>)
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let number = self.next();
        if self.counts.is_zero(number) {
            // Busy means that somebody else writes there, and sweeps.
            let Some(mut table) = self.tables[number].0.try_lock() else {
                return self.due.note(now);
            };
            if self.counts.is_zero(number) {
                let out = &mut |cause, key, value| leaving.take(cause, key, value);
                plain::sweep(&mut *table, &self.timing.read(), now, T::SWEEP, out);
                return self.due.note(table.house().poll_at());
            }
        }
        self.sweep_both::<T>(number, now, T::SWEEP, leaving);
    }

    /// The table whose turn it is. With the first one a new pass begins.
    fn next(&self) -> usize {
        let number = self.cursor.0.fetch_add(1, Ordering::Relaxed) % self.tables.len();
        if number == 0 {
            self.due.end_pass();
        }
        number
    }

    /// Sweeps one table after another, each once at most, until so many positions were looked at.
    /// Returns how many entries went.
    pub(in super::super) fn maintain<T>(&self, now: Instant, budget: usize) -> usize
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let (mut left, mut removed) = (budget, 0);
        for _ in 0..self.tables.len() {
            if left == 0 {
                break;
            }
            let (number, mut leaving) = (self.next(), Leaving::new(self.listener()));
            let (looked, went) = self.sweep_some::<T>(number, now, left.min(256), &mut leaving);
            left = left.saturating_sub(looked.max(1));
            removed += went;
        }
        removed
    }

    /// Looks at up to so many positions of a table: how many there were, and how many entries went.
    fn sweep_some<T>(
        &self,
        number: usize,
        now: Instant,
        budget: usize,
        leaving: &mut Leaving<'_, K, V>,
    ) -> (usize, usize)
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let mut table = self.table(number);
        if self.counts.is_zero(number) {
            let looked = table.slots().min(budget);
            let went = plain::sweep(&mut *table, &self.timing.read(), now, budget, out);
            self.due.note(table.house().poll_at());
            return (looked, went);
        }
        drop(table);
        let mut desk = self.desk_of::<T>(number, 0);
        let (looked, went) = (desk.table.slots().min(budget), desk.shard().tick(now, budget, out));
        (looked, went + usize::from(desk.close(leaving)))
    }

    fn sweep_both<T>(
        &self,
        number: usize,
        now: Instant,
        budget: usize,
        leaving: &mut Leaving<'_, K, V>,
    ) where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let mut desk = self.desk_of(number, 0);
        desk.shard().tick(now, budget, &mut |cause, key, value| leaving.take(cause, key, value));
        desk.close(leaving);
    }

    /// Removes what has passed from every table, then from every book. Each lock is held for a
    /// bounded time.
    pub(in super::super) fn purge<T>(&self, now: Instant) -> usize
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let tables: usize = (0..self.tables.len()).map(|n| self.purge_table::<T>(n, now)).sum();
        tables + (0..self.books.len()).map(|n| self.purge_book::<T>(n, now)).sum::<usize>()
    }

    fn purge_table<T>(&self, number: usize, now: Instant) -> usize
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let mut removed = 0;
        // To the end of the pass under way, and once round: an entry that waits for its record to be put
        // right stays due meanwhile.
        let pieces = 2 * self.table(number).slots() / 256 + 3;
        for _ in 0..pieces {
            let mut leaving = Leaving::new(self.listener());
            let (went, more) = match self.sweep_alone::<T>(number, now, &mut leaving) {
                Ok(swept) => swept,
                Err(AskBook) => {
                    let mut desk = self.desk_of::<T>(number, 0);
                    let out = &mut |cause, key, value| leaving.take(cause, key, value);
                    let (_, went) = desk.shard().tick_table(now, 256, out);
                    let more = desk.table.house().is_due(now);
                    desk.close(&mut leaving);
                    (went, more)
                }
            };
            removed += went;
            if !more {
                break;
            }
        }
        removed
    }

    /// Sweeps a table under its own lock: how many entries went, and whether there is more to do.
    fn sweep_alone<T>(
        &self,
        number: usize,
        now: Instant,
        leaving: &mut Leaving<'_, K, V>,
    ) -> Result<(usize, bool), AskBook>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let mut table = self.table(number);
        if !self.counts.is_zero(number) {
            return Err(AskBook);
        }
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let went = plain::sweep(&mut *table, &self.timing.read(), now, 256, out);
        Ok((went, table.house().is_due(now)))
    }

    /// A book is reached by the first of its tables.
    fn purge_book<T>(&self, number: usize, now: Instant) -> usize
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let mut removed = 0;
        loop {
            let mut leaving = Leaving::new(self.listener());
            let mut desk = self.desk_of::<T>(number, 0);
            let out = &mut |cause, key, value| leaving.take(cause, key, value);
            removed += desk.shard().tick_book(now, 256, out);
            let more = desk.ledger.book.is_due(now);
            removed += usize::from(desk.close(&mut leaving));
            if !more {
                return removed;
            }
        }
    }
}
