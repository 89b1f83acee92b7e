//! What concerns all tables at once, while they are in use: another policy, everything stale.

use super::*;

impl<K: Eq, V, L> Cells<K, V, L> {
    /// Does something to every book.
    pub(super) fn for_each_book(&self, mut work: impl FnMut(&mut Book<K, Counted<K>>)) {
        for number in 0..self.books.len() {
            let mut ledger = self.ledger(number);
            work(&mut ledger.book);
            leave(ledger);
        }
    }

    /// The same, where it may put an end to entries.
    pub(in super::super) fn change_every_book(&self, work: impl FnMut(&mut Book<K, Counted<K>>)) {
        self.for_each_book(work);
        self.due.note(Instant::ORIGIN);
    }

    /// Goes by another policy from now on; one caller at a time. O(entries), one book and one table
    /// at a time.
    ///
    /// First every table says that its book is to be asked, as if one of its keys had a record: from
    /// then on only hits look at it alone, and they look at marks and at nothing else. Then each book
    /// changes, and its tables follow it, under both locks. So an operation on a table finds its
    /// marks and the rules that it reads them by of the same policy.
    ///
    /// Returns what leaves, to be dropped without any lock.
    pub(in super::super) fn change_policy<T>(&self, policy: &Policy) -> Vec<Leaving<'_, K, V>>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        for number in 0..self.tables.len() {
            let table = self.table::<T>(number);
            self.counts.add(number);
            drop(table);
        }
        let books = 0..self.books.len();
        let leaving = books.map(|book| self.change_book::<T>(book, policy)).collect();
        self.due.note(Instant::ORIGIN);
        leaving
    }

    pub(super) fn change_book<T>(&self, number: usize, policy: &Policy) -> Leaving<'_, K, V>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let mut leaving = Leaving::new(self.listener());
        let out = &mut |cause, key, value| leaving.take(cause, key, value);
        let mut ledger = self.ledger(number);
        let old = ledger.book.change_policy(policy.clone());
        let new = ledger.book.rules();
        if number == 0 {
            self.timing.set(new.timing());
        }
        for table in (number..self.tables.len()).step_by(self.books.len()) {
            let mut held = self.table::<T>(table);
            carry_over(&mut *held, &old, new, out);
            self.counts.subtract(table);
        }
        drop(ledger);
        leaving
    }

    /// Makes all that is there stale, and voids all flights. O(entries), one book and one table at a
    /// time: what is stored meanwhile may be made stale as well.
    ///
    /// Returns what leaves, to be dropped without any lock.
    pub(in super::super) fn expire_all<T>(&self, now: Instant) -> Vec<Leaving<'_, K, V>>
    where
        T: Table<K, V> + Numbered,
        L: Lock<T>,
    {
        let expire = |number| {
            let mut leaving = Leaving::new(self.listener());
            let out = &mut |cause, key, value| leaving.take(cause, key, value);
            let mut ledger = self.ledger(number);
            ledger.book.expire_all(now);
            for table in (number..self.tables.len()).step_by(self.books.len()) {
                expire_all(&mut *self.table::<T>(table), ledger.book.rules(), now, out);
            }
            drop(ledger);
            leaving
        };
        let leaving = (0..self.books.len()).map(expire).collect();
        self.due.note(Instant::ORIGIN);
        leaving
    }
}
