//! Changes of tags: in memory, in the store, and elsewhere.

use super::untold::Change as Told;
use super::*;

/// Others are being told of tags. If that is dropped before its end, or fails, they are told later.
struct Telling<'a, K, V> {
    second: &'a Second<K, V>,
    over: bool,
}

impl<K, V> Drop for Telling<'_, K, V> {
    fn drop(&mut self) {
        if !self.over {
            self.second.mend();
        }
    }
}

impl<K: Clone + Eq + Hash, V> Second<K, V> {
    /// Changes what memory has with a tag by `here`, then what the store has, and tells others. From before the
    /// first, nothing with the tag is taken from the store until that has changed it.
    pub(crate) async fn change_tag(
        &self,
        timer: &impl Timer,
        (tag, change): (&str, TagChange),
        here: impl FnOnce(),
        now: Instant,
    ) -> Reach {
        if !self.is_shared {
            here();
            return Reach::Everywhere;
        }
        // Told later, if this is dropped on the way.
        let mut telling = Telling { second: self, over: false };
        let number = self.untold.add(tag, change);
        if number.is_none() {
            // Others may have anything.
            self.doubt_all();
        }
        here();
        let Some(number) = number else { return Reach::Queued };
        let told = self.tell_untold(timer, number, now).await;
        telling.over = matches!(told, Ok(()) | Err(Trouble::Unsupported));
        match told {
            Ok(()) => Reach::Everywhere,
            Err(Trouble::Unsupported) => Reach::Here,
            Err(_) => Reach::Queued,
        }
    }

    /// How many changes of tags the store was told of.
    pub(crate) fn tags_told(&self) -> u64 {
        self.untold.told_so_far()
    }

    /// Whether the store, which was asked to put this when it had been told of so many changes of tags, may have
    /// heard of another after that.
    pub(crate) fn is_outdated(&self, change: &Change<V>, told: u64) -> bool {
        matches!(change, Change::Put(_, _, tags) if self.untold.has(tags, told))
    }

    /// Tells others of what they were not told of yet, up to a number. Told twice does no harm. What the
    /// store cannot tell is forgotten.
    pub(super) async fn tell_untold(
        &self,
        timer: &impl Timer,
        most: u64,
        now: Instant,
    ) -> Result<(), Trouble> {
        let mut all = Ok(());
        while let Some(Told { number, tag, change }) = self.untold.first(most) {
            let telling = self.store.change_tag(&tag, change, self.line.station(), now);
            match self.ask(timer, telling).await {
                Err(Trouble::Unsupported) => all = Err(Trouble::Unsupported),
                told => told?,
            }
            self.untold.told(number, &tag);
        }
        all
    }
}
