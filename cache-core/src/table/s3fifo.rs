//! The choice of victims, shared by all tables: S3-FIFO (Yang et al., SOSP '23), with changes that
//! were measured on traces.
//!
//! New entries wait in a small queue; what is used there moves to the main queue when its turn
//! comes, and the rest leaves. The main queue goes round: a used entry loses one of its uses and
//! stays. Fingerprints of what left the small queue are kept in a table without chains ("ghosts");
//! who comes back while its fingerprint is there goes to the main queue at once.
//!
//! What differs from the paper: ghosts are overwritten where they collide, which keeps a part of a
//! loop that is longer than the cache; a returning entry is sent to the small queue when the main
//! queue's next victims were all used; and a table that fills up for the first time fills its main
//! queue, so that a loop finds something that stays.

use crate::resting::Mark;

/// A number that names a position, or none.
pub(super) trait Index: Copy + Eq {
    /// No position.
    const NONE: Self;
    /// The position as an index. Never called on [`NONE`](Self::NONE).
    fn at(self) -> usize;
    /// The index as a position.
    fn of(at: usize) -> Self;
}

macro_rules! index {
    ($($number:ty),*) => {$(
        #[allow(clippy::cast_possible_truncation)] // tables have fewer positions than that
        impl Index for $number {
            const NONE: Self = Self::MAX;
            fn at(self) -> usize {
                self as usize
            }
            fn of(at: usize) -> Self {
                at as Self
            }
        }
    )*};
}
index!(u8, u16, u32);

/// A position's neighbours in its queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<I> {
    older: I,
    newer: I,
}

impl<I: Index> Link<I> {
    /// In no queue.
    pub(super) const LOOSE: Self = Self { older: I::NONE, newer: I::NONE };
}

/// The entries' marks, by position: uses, and which queue an entry is in.
pub(super) trait Marks {
    fn mark(&mut self, at: usize) -> &mut Mark;
}

#[derive(Clone, Copy, Debug)]
struct Queue<I> {
    oldest: I,
    newest: I,
    len: I,
}

impl<I: Index> Queue<I> {
    fn new() -> Self {
        Self { oldest: I::NONE, newest: I::NONE, len: I::of(0) }
    }

    fn push(&mut self, links: &mut [Link<I>], at: usize) {
        links[at] = Link { older: self.newest, newer: I::NONE };
        if self.newest == I::NONE {
            self.oldest = I::of(at);
        } else {
            links[self.newest.at()].newer = I::of(at);
        }
        self.newest = I::of(at);
        self.len = I::of(self.len.at() + 1);
    }

    fn unlink(&mut self, links: &mut [Link<I>], at: usize) {
        let Link { older, newer } = links[at];
        if older == I::NONE {
            self.oldest = newer;
        } else {
            links[older.at()].newer = newer;
        }
        if newer == I::NONE {
            self.newest = older;
        } else {
            links[newer.at()].older = older;
        }
        self.len = I::of(self.len.at() - 1);
    }

    /// The entry at `from` is at `to` now.
    fn moved(&mut self, links: &mut [Link<I>], from: usize, to: usize) {
        let Link { older, newer } = links[from];
        links[to] = links[from];
        if older == I::NONE {
            self.oldest = I::of(to);
        } else {
            links[older.at()].newer = I::of(to);
        }
        if newer == I::NONE {
            self.newest = I::of(to);
        } else {
            links[newer.at()].older = I::of(to);
        }
    }

    fn oldest(&self) -> Option<usize> {
        (self.oldest != I::NONE).then(|| self.oldest.at())
    }
}

/// Most entries that are passed over for one victim; then the oldest of the main queue goes.
const STEPS: usize = 128;
/// When the small queue has given so many victims for each entry of the table, and the main queue
/// none, the oldest there is looked at: what nobody reads must not stay for ever where nothing comes
/// back. (Eight times as often, loops that are a little too long lose two points of hits.)
const PATIENCE: usize = 64;
/// The queues of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queues<I> {
    small: Queue<I>,
    main: Queue<I>,
    /// Victims that the small queue has given since the main queue gave one.
    given: u32,
}

impl<I: Index> Queues<I> {
    pub(super) fn new() -> Self {
        Self { small: Queue::new(), main: Queue::new(), given: 0 }
    }

    pub(super) fn small_len(&self) -> usize {
        self.small.len.at()
    }

    /// Takes up a new entry. Its mark must say no use.
    pub(super) fn admit(&mut self, links: &mut [Link<I>], mark: &mut Mark, at: usize, main: bool) {
        mark.set_main(main);
        if main { self.main.push(links, at) } else { self.small.push(links, at) }
    }

    /// Lets go of an entry that leaves its table.
    pub(super) fn release(&mut self, links: &mut [Link<I>], mark: Mark, at: usize) {
        let queue = if mark.is_main() { &mut self.main } else { &mut self.small };
        queue.unlink(links, at);
    }

    /// Follows an entry from one position to another.
    pub(super) fn moved(&mut self, links: &mut [Link<I>], mark: Mark, from: usize, to: usize) {
        let queue = if mark.is_main() { &mut self.main } else { &mut self.small };
        queue.moved(links, from, to);
    }

    /// Whether an entry that comes back may go to the main queue at once. Main entries that were
    /// used lately are spared for it, and lose a use.
    pub(super) fn has_idle_main(
        &mut self,
        links: &mut [Link<I>],
        marks: &mut impl Marks,
        tries: usize,
    ) -> bool {
        for _ in 0..tries {
            let Some(at) = self.main.oldest() else { return true };
            if marks.mark(at).uses() == 0 {
                return true;
            }
            self.spare(links, marks, at);
        }
        tries == 0
    }

    fn spare(&mut self, links: &mut [Link<I>], marks: &mut impl Marks, at: usize) {
        marks.mark(at).forget_a_use();
        self.main.unlink(links, at);
        self.main.push(links, at);
    }

    /// The oldest of the main queue, if it is time to look at it and it was not used since.
    fn overdue(&mut self, links: &mut [Link<I>], marks: &mut impl Marks) -> Option<usize> {
        let patience = PATIENCE.saturating_mul(self.small_len() + self.main.len.at());
        if (self.given as usize) <= patience {
            return None;
        }
        self.given = 0;
        let at = self.main.oldest()?;
        if marks.mark(at).uses() == 0 {
            return Some(at);
        }
        self.spare(links, marks, at);
        None
    }

    /// The position that has to go next, still linked. `small` is how many entries the small queue
    /// should keep. O(1) amortised; at most [`STEPS`] entries are passed over.
    pub(super) fn victim(
        &mut self,
        links: &mut [Link<I>],
        marks: &mut impl Marks,
        small: usize,
    ) -> Option<Victim> {
        if let Some(at) = self.overdue(links, marks) {
            return Some(Victim { at, leaves_ghost: false });
        }
        for _ in 0..STEPS {
            let from_small = self.small_len() >= small.max(1) || self.main.oldest().is_none();
            let at = if from_small { self.small.oldest() } else { self.main.oldest() }?;
            if marks.mark(at).uses() == 0 {
                self.given = if from_small { self.given.saturating_add(1) } else { 0 };
                return Some(Victim { at, leaves_ghost: from_small });
            }
            if from_small {
                marks.mark(at).forget_uses();
                marks.mark(at).set_main(true);
                self.small.unlink(links, at);
                self.main.push(links, at);
            } else {
                self.spare(links, marks, at);
            }
        }
        let at = self.main.oldest().or_else(|| self.small.oldest())?;
        Some(Victim { at, leaves_ghost: false })
    }
}

/// The position that has to go, and whether its fingerprint is to be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Victim {
    pub(super) at: usize,
    leaves_ghost: bool,
}

/// The fingerprints of what left a table, one byte each, without chains.
///
/// A fingerprint stands at a place that the hash chooses, so that two more bytes of the hash than
/// the table's own position tells are compared: one miss in 255 takes a stranger for a ghost.
fn recall(ghosts: &mut [u8], hash: u64) -> bool {
    let Some((place, print)) = ghost(ghosts, hash) else { return false };
    let known = *place == print;
    if known {
        *place = 0;
    }
    known
}

/// Notes that the entry under `hash` left.
fn remember(ghosts: &mut [u8], hash: u64) {
    if let Some((place, print)) = ghost(ghosts, hash) {
        *place = print;
    }
}

/// The place of a hash, and its fingerprint: 1 to 255, as 0 says that there is none.
#[allow(clippy::cast_possible_truncation)] // a byte is wanted
fn ghost(ghosts: &mut [u8], hash: u64) -> Option<(&mut u8, u8)> {
    let spread = crate::policy::mix(hash);
    let at = ((spread >> 32) * ghosts.len() as u64) >> 32;
    Some((ghosts.get_mut(at as usize)?, (spread as u8).max(1)))
}

/// Queues, links and ghosts of one table. `L` and `G` are arrays or vectors.
#[derive(Clone, Debug)]
pub(super) struct Ranks<I, L, G> {
    queues: Queues<I>,
    pub(super) links: L,
    pub(super) ghosts: G,
}

/// How full a table is when a newcomer comes.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Entries that the small queue should keep.
    pub(super) small: usize,
    pub(super) full: bool,
    /// Main entries that a newcomer with a ghost looks at before it goes to the small queue; 0 for
    /// "it goes to the main queue in any case".
    pub(super) tries: usize,
}

impl<I: Index, L: AsMut<[Link<I>]>, G: AsMut<[u8]>> Ranks<I, L, G> {
    pub(super) fn new(links: L, ghosts: G) -> Self {
        Self { queues: Queues::new(), links, ghosts }
    }

    /// Whether a newcomer goes to the main queue.
    #[inline]
    pub(super) fn is_welcome(&mut self, hash: u64, marks: &mut impl Marks, room: Room) -> bool {
        let known = recall(self.ghosts.as_mut(), hash);
        if !room.full {
            return known;
        }
        // A small queue that is too long gives its place away, not the main queue.
        let free = self.queues.small_len() > room.small;
        known && (free || self.queues.has_idle_main(self.links.as_mut(), marks, room.tries))
    }

    /// Whether a table that still fills up should send a newcomer to the main queue.
    #[cfg(any(feature = "hashbrown", feature = "heapless"))]
    pub(super) fn is_filling(&self, room: Room) -> bool {
        !room.full && self.queues.small_len() >= room.small.max(1)
    }

    /// The position that has to go next.
    #[inline]
    pub(super) fn victim(&mut self, marks: &mut impl Marks, small: usize) -> Option<Victim> {
        self.queues.victim(self.links.as_mut(), marks, small)
    }

    /// Keeps the fingerprint of a victim that never came to the main queue. (Those that did have
    /// had their chance: with their fingerprints, a loop would find nothing that stays.)
    pub(super) fn remember(&mut self, victim: Victim, hash: u64) {
        if victim.leaves_ghost {
            remember(self.ghosts.as_mut(), hash);
        }
    }

    #[inline]
    pub(super) fn admit(&mut self, mark: &mut Mark, at: usize, main: bool) {
        self.queues.admit(self.links.as_mut(), mark, at, main);
    }

    #[inline]
    pub(super) fn release(&mut self, mark: Mark, at: usize) {
        self.queues.release(self.links.as_mut(), mark, at);
    }

    pub(super) fn moved(&mut self, mark: Mark, from: usize, to: usize) {
        self.queues.moved(self.links.as_mut(), mark, from, to);
    }
}
