//! Whether the channel tells everything, and what it tells: a state machine without I/O.
//!
//! `Down`, then `Live` with the number of the connection on which Redis confirmed the subscription; the
//! supervisor tells when. One connection delivers all that is said after that in order, or breaks, so there
//! are no other gaps than those between connections. What cannot be understood, or finds no room, is a gap
//! too. After a gap the channel opens anew, which says that all that is known from before may be old.

use cache_core::store::Station;

use crate::message::{self, News};
use crate::supervisor::{Epoch, Gate};

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event<'a> {
    /// The connection, as it is now. It is open only when the subscription is confirmed.
    Gate(Gate),
    /// These bytes came by this connection.
    Message(Epoch, &'a [u8]),
    /// What came by this connection found no room.
    Overflow(Epoch),
}

/// What those who listen are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn<'a> {
    Opened,
    Closed,
    News(Station, News<'a>),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Channel {
    live: Option<Epoch>,
    /// Messages that were lost or not understood.
    gaps: u64,
}

impl Channel {
    pub(super) const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    pub(super) const fn gaps(&self) -> u64 {
        self.gaps
    }

    pub(super) fn handle<'a>(&mut self, event: Event<'a>) -> Option<Turn<'a>> {
        match event {
            Event::Gate(Gate::Open(epoch)) if self.live != Some(epoch) => {
                self.live = Some(epoch);
                Some(Turn::Opened)
            }
            Event::Gate(Gate::Open(_)) => None,
            Event::Gate(_) => self.live.take().map(|_| Turn::Closed),
            // What an earlier connection brought, or one that is not told of yet: its opening covers it.
            Event::Message(epoch, _) | Event::Overflow(epoch) if self.live != Some(epoch) => None,
            Event::Message(_, bytes) => match message::decode(bytes) {
                Some((by, news)) => Some(Turn::News(by, news)),
                None => Some(self.gap()),
            },
            Event::Overflow(_) => Some(self.gap()),
        }
    }

    const fn gap(&mut self) -> Turn<'static> {
        self.gaps = self.gaps.saturating_add(1);
        Turn::Opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerError;
    use proptest::prelude::*;

    const OPEN: Event<'_> = Event::Gate(Gate::Open(1));
    const SHUT: Event<'_> = Event::Gate(Gate::Shut(ServerError::Down));

    fn said() -> Vec<u8> {
        message::encode(Station::new(7), News::Changed(b"key"))
    }

    #[test]
    fn it_is_open_from_a_confirmation_to_a_loss() {
        let mut channel = Channel::default();
        let said = said();
        assert_eq!(channel.handle(Event::Gate(Gate::Starting)), None);
        assert_eq!(channel.handle(SHUT), None, "it never was open");
        assert_eq!(channel.handle(Event::Message(1, &said)), None, "its opening covers it");
        assert_eq!(channel.handle(OPEN), Some(Turn::Opened));
        assert_eq!(channel.handle(OPEN), None, "once");
        let news = Turn::News(Station::new(7), News::Changed(b"key"));
        assert_eq!(channel.handle(Event::Message(1, &said)), Some(news));
        assert_eq!(channel.handle(SHUT), Some(Turn::Closed));
        assert_eq!(channel.handle(SHUT), None, "once");
        assert_eq!(channel.handle(Event::Message(1, &said)), None);
    }

    #[test]
    fn another_connection_opens_it_anew_though_nobody_saw_the_loss() {
        let mut channel = Channel::default();
        channel.handle(OPEN);
        assert_eq!(channel.handle(Event::Gate(Gate::Open(2))), Some(Turn::Opened));
        assert_eq!(channel.handle(Event::Message(1, &said())), None, "said before the loss");
        assert_eq!(channel.handle(Event::Overflow(1)), None);
    }

    #[test]
    fn what_is_lost_or_not_understood_opens_it_anew_and_is_counted() {
        let mut channel = Channel::default();
        channel.handle(OPEN);
        let mut later = said();
        later[0] = 2;
        assert_eq!(channel.handle(Event::Message(1, &later)), Some(Turn::Opened));
        assert_eq!(channel.handle(Event::Message(1, b"")), Some(Turn::Opened));
        assert_eq!(channel.handle(Event::Overflow(1)), Some(Turn::Opened));
        assert_eq!(channel.gaps(), 3);
    }

    proptest! {
        /// Nobody is told of news while it is not open, and every change of connection is told.
        #[test]
        fn who_is_told_of_news_was_told_of_the_opening(
            steps in prop::collection::vec((0..5_u8, 1..4_u64), 0..40),
        ) {
            let (mut channel, said) = (Channel::default(), said());
            let (mut told_open, mut opened_on) = (false, None);
            for (step, epoch) in steps {
                let event = match step {
                    0 => Event::Gate(Gate::Open(epoch)),
                    1 => SHUT,
                    2 => Event::Message(epoch, &said),
                    3 => Event::Message(epoch, b"?"),
                    _ => Event::Overflow(epoch),
                };
                match channel.handle(event) {
                    Some(Turn::Opened) => {
                        told_open = true;
                        if step == 0 {
                            opened_on = Some(epoch);
                        }
                    }
                    Some(Turn::Closed) => (told_open, opened_on) = (false, None),
                    Some(Turn::News(..)) => prop_assert!(told_open && opened_on == Some(epoch)),
                    None => {}
                }
                if step == 0 {
                    prop_assert_eq!(opened_on, Some(epoch));
                }
                prop_assert_eq!(channel.is_live(), told_open);
            }
        }
    }
}
