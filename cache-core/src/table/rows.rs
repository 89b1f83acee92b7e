//! Where a set keeps its entries: on the heap, in the set itself, or wherever a driver likes.

#[cfg(feature = "alloc")]
use alloc::{boxed::Box, vec::Vec};
use core::cell::Cell;

use super::WAYS;
use super::hands::Uses;
use crate::resting::Times;

/// Where a [`Set`](super::Set) keeps its entries, at positions below [`WAYS`], and how often they were used.
///
/// What implements this lies at the start of the set, next to the tags, and so is at hand in every
/// read; what of it would be in the way there is its [`Far`](Self::Far) part.
pub trait Rows<P> {
    /// What lies at the end of the set.
    type Far;
    /// Where the times are of entries that have their own.
    type Times: OwnTimes;
    /// What is at a position.
    fn get<'a>(&'a self, far: &'a Self::Far, at: usize) -> Option<&'a P>;
    /// The same, to be changed.
    fn get_mut<'a>(&'a mut self, far: &'a mut Self::Far, at: usize) -> Option<&'a mut P>;
    /// Makes room at a position. The set will hold `most` in the end.
    fn make_room(&mut self, at: usize, most: usize);
    /// Puts something at a position that there is room at, and gives back what was there; without room,
    /// what was to be put. (Must not panic: for what would then have to be dropped, the compiler
    /// would copy it once more.)
    fn put(&mut self, far: &mut Self::Far, at: usize, place: P) -> Option<P>;
    /// Takes out what is at a position.
    fn take(&mut self, far: &mut Self::Far, at: usize) -> Option<P>;
    /// Gives back what has not been needed for a while: so many entries are left, all below `end`.
    fn shrink(&mut self, left: usize, end: usize);
    /// How often each was used.
    fn uses(&self) -> Uses;
    /// From now on, each was used so often.
    fn set_uses(&self, uses: Uses);
}

/// Where a set keeps the times of entries that have their own.
pub trait OwnTimes: Default {
    /// The times of the entry at a position, as they were last set.
    fn get(&self, at: usize) -> Option<Times>;
    /// Keeps times; `false` if there is no place for them.
    fn set(&mut self, at: usize, times: Times) -> bool;
}

/// No place for times: the algorithm keeps them in records.
impl OwnTimes for () {
    fn get(&self, _at: usize) -> Option<Times> {
        None
    }

    fn set(&mut self, _at: usize, _times: Times) -> bool {
        false
    }
}

/// Times on the heap; made with the first of them.
#[cfg(feature = "alloc")]
#[derive(Debug, Default)]
pub struct BoxedTimes(Option<Box<[Times; WAYS]>>);

#[cfg(feature = "alloc")]
impl OwnTimes for BoxedTimes {
    fn get(&self, at: usize) -> Option<Times> {
        self.0.as_ref()?.get(at).copied()
    }

    fn set(&mut self, at: usize, times: Times) -> bool {
        let all = self.0.get_or_insert_with(|| Box::new([Times::UNSET; WAYS]));
        all.get_mut(at).map(|place| *place = times).is_some()
    }
}

/// Rows in the set itself, whose far part they are: no heap is needed, and none is given back.
#[derive(Debug, Default)]
pub struct Inline {
    uses: Cell<Uses>,
}

impl<P> Rows<P> for Inline {
    type Far = [Option<P>; WAYS];
    type Times = ();

    fn get<'a>(&'a self, far: &'a Self::Far, at: usize) -> Option<&'a P> {
        far.get(at)?.as_ref()
    }

    fn get_mut<'a>(&'a mut self, far: &'a mut Self::Far, at: usize) -> Option<&'a mut P> {
        far.get_mut(at)?.as_mut()
    }

    fn make_room(&mut self, _at: usize, _most: usize) {}

    fn put(&mut self, far: &mut Self::Far, at: usize, place: P) -> Option<P> {
        match far.get_mut(at) {
            Some(slot) => slot.replace(place),
            None => Some(place),
        }
    }

    fn take(&mut self, far: &mut Self::Far, at: usize) -> Option<P> {
        far.get_mut(at)?.take()
    }

    fn shrink(&mut self, _left: usize, _end: usize) {}

    fn uses(&self) -> Uses {
        self.uses.get()
    }

    fn set_uses(&self, uses: Uses) {
        self.uses.set(uses);
    }
}

/// Rows on the heap. What is held doubles with the entries, and goes back as they go.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct Boxed<P> {
    places: Box<[Option<P>]>,
    uses: Cell<Uses>,
}

#[cfg(feature = "alloc")]
impl<P> Default for Boxed<P> {
    fn default() -> Self {
        Self { places: Box::default(), uses: Cell::default() }
    }
}

#[cfg(feature = "alloc")]
impl<P> Boxed<P> {
    fn resize(&mut self, len: usize) {
        let mut places = Vec::from(core::mem::take(&mut self.places));
        places.reserve_exact(len.saturating_sub(places.len()));
        places.resize_with(len, || None);
        self.places = places.into_boxed_slice();
    }
}

#[cfg(feature = "alloc")]
impl<P> Rows<P> for Boxed<P> {
    type Far = ();
    type Times = BoxedTimes;

    #[inline]
    fn get<'a>(&'a self, (): &'a (), at: usize) -> Option<&'a P> {
        self.places.get(at)?.as_ref()
    }

    #[inline]
    fn get_mut<'a>(&'a mut self, (): &'a mut (), at: usize) -> Option<&'a mut P> {
        self.places.get_mut(at)?.as_mut()
    }

    #[inline]
    fn make_room(&mut self, at: usize, most: usize) {
        if at >= self.places.len() {
            self.resize((2 * at).clamp(4, most.max(4)).min(most).max(at + 1));
        }
    }

    #[inline(always)]
    fn put(&mut self, (): &mut (), at: usize, place: P) -> Option<P> {
        match self.places.get_mut(at) {
            Some(slot) => slot.replace(place),
            None => Some(place),
        }
    }

    fn take(&mut self, (): &mut (), at: usize) -> Option<P> {
        self.places.get_mut(at)?.take()
    }

    fn shrink(&mut self, left: usize, end: usize) {
        if left * 4 <= self.places.len() && end * 2 <= self.places.len() {
            self.resize(end);
        }
    }

    #[inline]
    fn uses(&self) -> Uses {
        self.uses.get()
    }

    #[inline]
    fn set_uses(&self, uses: Uses) {
        self.uses.set(uses);
    }
}
