//! What came and was not told yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::lines::LineId;
use crate::driver::Heard;
use crate::supervisor::Epoch;

/// Messages that wait, at most.
const MESSAGES: usize = 16_384;

/// Their bytes, at most.
const BYTES: usize = 8 << 20;

/// What a name costs beside its bytes.
const OF_A_NAME: usize = size_of::<Vec<u8>>();

/// Something that came, in its place among the others.
pub(super) struct Arrival {
    pub(super) line: LineId,
    pub(super) epoch: Epoch,
    pub(super) what: What,
}

/// What it is.
pub(super) enum What {
    Message(Vec<u8>),
    /// The key of a name that was changed.
    Touched(Vec<u8>),
    /// The end of those of one turn of the server.
    Turned,
    Emptied,
    Alive,
    /// What found no room.
    Overflow,
}

/// A queue with limits, between the connections and those who listen: neither waits for the other.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    /// Lines of which something found no room, and nothing has come since.
    overflowed: BTreeMap<LineId, Epoch>,
}

/// What came at once.
struct Parcel {
    line: LineId,
    epoch: Epoch,
    held: Held,
}

enum Held {
    Heard(Heard),
    Overflow,
}

impl Inbox {
    pub(super) fn push(&self, line: LineId, epoch: Epoch, heard: Heard) {
        let mut queue = self.lock();
        let held = Held::Heard(heard);
        let size = held.size();
        if queue.parcels.len() < MESSAGES && queue.bytes + size <= BYTES {
            queue.bytes += size;
            queue.overflowed.remove(&line);
            queue.parcels.push_back(Parcel { line, epoch, held });
        } else if !matches!(held, Held::Heard(Heard::Alive))
            && queue.overflowed.insert(line, epoch) != Some(epoch)
        {
            queue.parcels.push_back(Parcel { line, epoch, held: Held::Overflow });
        }
        drop(queue);
        self.filled.notify_one();
    }

    /// The next; of names that came at once, one after another.
    pub(super) fn pop(&self) -> Option<Arrival> {
        let mut queue = self.lock();
        let Parcel { line, epoch, held } = queue.parcels.front_mut()?;
        let (line, epoch) = (*line, *epoch);
        let what = match held {
            Held::Overflow => What::Overflow,
            Held::Heard(Heard::Emptied) => What::Emptied,
            Held::Heard(Heard::Alive) => What::Alive,
            Held::Heard(Heard::Said(message)) => What::Message(std::mem::take(message)),
            Held::Heard(Heard::Touched(names)) => names.pop().map_or(What::Turned, What::Touched),
        };
        match &what {
            What::Message(message) => queue.bytes -= message.len(),
            What::Touched(name) => {
                queue.bytes -= name.len() + OF_A_NAME;
                return Some(Arrival { line, epoch, what });
            }
            What::Overflow => drop(queue.overflowed.remove(&line)),
            _ => {}
        }
        queue.parcels.pop_front();
        Some(Arrival { line, epoch, what })
    }

    /// Waits until something came since the last wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn size(&self) -> usize {
        match self {
            Self::Heard(Heard::Said(message)) => message.len(),
            Self::Heard(Heard::Touched(names)) => {
                names.iter().map(|name| name.len() + OF_A_NAME).sum()
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: usize) -> Heard {
        Heard::Said(vec![0; bytes])
    }

    fn all(inbox: &Inbox) -> (usize, usize) {
        let (mut messages, mut overflows) = (0, 0);
        while let Some(next) = inbox.pop() {
            match next.what {
                What::Message(_) => messages += 1,
                What::Overflow => overflows += 1,
                _ => {}
            }
        }
        (messages, overflows)
    }

    #[test]
    fn what_finds_no_room_is_told_once_in_its_place() {
        let inbox = Inbox::default();
        for _ in 0..MESSAGES + 10 {
            inbox.push(0, 1, said(0));
        }
        inbox.push(0, 1, Heard::Alive);
        assert_eq!(all(&inbox), (MESSAGES, 1));
        for _ in 0..10 {
            inbox.push(0, 1, said(BYTES / 4));
        }
        assert_eq!(all(&inbox), (4, 1));
        inbox.push(0, 1, said(BYTES));
        assert_eq!(all(&inbox), (1, 0), "there is room again");
    }

    #[test]
    fn what_comes_after_a_gap_stays_after_it() {
        let inbox = Inbox::default();
        let next = || inbox.pop().map(|arrival| arrival.what);
        inbox.push(0, 1, said(BYTES));
        inbox.push(0, 1, said(1));
        assert!(matches!(next(), Some(What::Message(_))));
        inbox.push(0, 1, said(1));
        inbox.push(0, 1, said(BYTES));
        assert!(matches!(next(), Some(What::Overflow)));
        assert!(matches!(next(), Some(What::Message(_))));
        assert!(matches!(next(), Some(What::Overflow)), "lost after what came");
        assert!(next().is_none());
    }

    #[test]
    fn each_line_and_connection_is_told_of_what_it_lost() {
        let inbox = Inbox::default();
        inbox.push(0, 1, said(BYTES));
        for (line, epoch) in [(0, 1), (1, 1), (0, 1), (1, 1), (1, 2), (1, 2)] {
            inbox.push(line, epoch, said(1));
        }
        let lost = std::iter::from_fn(|| inbox.pop()).skip(1);
        let lost: Vec<_> = lost.map(|arrival| (arrival.line, arrival.epoch)).collect();
        assert_eq!(lost, [(0, 1), (1, 1), (1, 2)]);
    }

    #[test]
    fn names_come_one_by_one_and_end_their_turn() {
        let inbox = Inbox::default();
        let names = |count| Heard::Touched(vec![b"name".to_vec(); count]);
        inbox.push(0, 1, names(2));
        inbox.push(0, 1, Heard::Alive);
        let mut came = std::iter::from_fn(|| inbox.pop()).map(|arrival| arrival.what);
        for _ in 0..2 {
            assert!(matches!(came.next(), Some(What::Touched(name)) if name == b"name"));
        }
        assert!(matches!(came.next(), Some(What::Turned)));
        assert!(matches!(came.next(), Some(What::Alive)));
        assert!(came.next().is_none());
        let most = BYTES / (OF_A_NAME + 4);
        inbox.push(0, 1, names(most + 1));
        assert_eq!(all(&inbox), (0, 1), "one too many");
        inbox.push(0, 1, names(most));
        inbox.push(0, 1, names(1));
        assert_eq!(all(&inbox), (0, 1));
    }
}
