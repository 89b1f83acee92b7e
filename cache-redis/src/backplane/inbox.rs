//! What came and was not told yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::supervisor::Epoch;

/// Messages that wait, at most.
const MESSAGES: usize = 16_384;

/// Their bytes, at most.
const BYTES: usize = 8 << 20;

/// Something that came, in its place among the others.
pub(super) enum Arrival {
    Message(Epoch, Vec<u8>),
    /// Messages that found no room.
    Overflow(Epoch),
}

/// A queue with limits, between the connection and those who listen: neither waits for the other.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    arrivals: VecDeque<Arrival>,
    bytes: usize,
}

impl Inbox {
    pub(super) fn push(&self, epoch: Epoch, message: Vec<u8>) {
        let mut queue = self.lock();
        let full = queue.arrivals.len() >= MESSAGES || queue.bytes + message.len() > BYTES;
        if !full {
            queue.bytes += message.len();
            queue.arrivals.push_back(Arrival::Message(epoch, message));
        } else if !matches!(queue.arrivals.back(), Some(Arrival::Overflow(last)) if *last == epoch)
        {
            queue.arrivals.push_back(Arrival::Overflow(epoch));
        }
        drop(queue);
        self.filled.notify_one();
    }

    pub(super) fn pop(&self) -> Option<Arrival> {
        let mut queue = self.lock();
        let next = queue.arrivals.pop_front()?;
        if let Arrival::Message(_, message) = &next {
            queue.bytes -= message.len();
        }
        Some(next)
    }

    /// Waits until something came since the last wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(inbox: &Inbox) -> (usize, usize) {
        let (mut messages, mut overflows) = (0, 0);
        while let Some(next) = inbox.pop() {
            match next {
                Arrival::Message(..) => messages += 1,
                Arrival::Overflow(_) => overflows += 1,
            }
        }
        (messages, overflows)
    }

    #[test]
    fn what_finds_no_room_is_told_once_in_its_place() {
        let inbox = Inbox::default();
        for _ in 0..MESSAGES + 10 {
            inbox.push(1, vec![]);
        }
        assert_eq!(all(&inbox), (MESSAGES, 1));
        for _ in 0..10 {
            inbox.push(1, vec![0; BYTES / 4]);
        }
        assert_eq!(all(&inbox), (4, 1));
        inbox.push(1, vec![0; BYTES]);
        assert_eq!(all(&inbox), (1, 0), "there is room again");
    }

    #[test]
    fn what_comes_after_a_gap_stays_after_it() {
        let inbox = Inbox::default();
        inbox.push(1, vec![0; BYTES]);
        inbox.push(1, vec![0]);
        assert!(matches!(inbox.pop(), Some(Arrival::Message(..))));
        inbox.push(1, vec![0]);
        assert!(matches!(inbox.pop(), Some(Arrival::Overflow(1))));
        assert!(matches!(inbox.pop(), Some(Arrival::Message(..))));
    }
}
