//! Whether the channel tells everything, and what it tells: a state machine without I/O.
//!
//! `Down`, then `Live` with the number of the connection on which Redis confirmed the subscription; the
//! supervisor tells when. One connection delivers all that is said after that in order, or breaks, so there
//! are no other gaps than those between connections. What cannot be understood, or finds no room, is a gap
//! too, and so is an emptied server. After a gap the channel opens anew, which says that all that is known from
//! before may be old.
//!
//! Where the server tells changed names too, those that no message [explains](Expected) are news of nobody's: the
//! entry is stale, since what it was changed to is not told.

use cache_core::store::Station;

use super::expected::Expected;
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
    /// The entry of this key was changed.
    Touched(Epoch, &'a [u8]),
    /// All was told that was changed in the same turn of the server.
    Turned(Epoch),
    /// Everything in the server is gone.
    Emptied(Epoch),
    /// A heartbeat was answered.
    Alive(Epoch),
}

impl Event<'_> {
    const fn epoch(&self) -> Option<Epoch> {
        match *self {
            Self::Gate(_) => None,
            Self::Message(epoch, _)
            | Self::Overflow(epoch)
            | Self::Touched(epoch, _)
            | Self::Turned(epoch)
            | Self::Emptied(epoch)
            | Self::Alive(epoch) => Some(epoch),
        }
    }
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
    /// Where changed names are told: the keys of those that come.
    expected: Option<Expected>,
}

impl Channel {
    /// One on which changed names are told too.
    pub(super) fn tracking() -> Self {
        Self { expected: Some(Expected::default()), ..Self::default() }
    }

    pub(super) const fn is_live(&self) -> bool {
        self.live.is_some()
    }

    pub(super) const fn gaps(&self) -> u64 {
        self.gaps
    }

    pub(super) fn handle<'a>(&mut self, event: Event<'a>) -> Option<Turn<'a>> {
        if event.epoch().is_some_and(|epoch| self.live != Some(epoch)) {
            // What an earlier connection brought, or one that is not told of yet: its opening covers it.
            return None;
        }
        match event {
            Event::Gate(Gate::Open(epoch)) if self.live != Some(epoch) => {
                self.live = Some(epoch);
                self.forget();
                Some(Turn::Opened)
            }
            Event::Gate(Gate::Open(_)) => None,
            Event::Gate(_) => self.live.take().map(|_| Turn::Closed),
            Event::Message(_, bytes) => Some(self.read(bytes)),
            Event::Overflow(_) => {
                self.forget();
                Some(self.gap())
            }
            Event::Touched(_, key) => {
                let explained =
                    self.expected.as_ref().is_none_or(|expected| expected.explains(key));
                (!explained).then_some(Turn::News(Station::NOBODY, News::Expired(key)))
            }
            Event::Turned(_) => {
                self.forget();
                None
            }
            Event::Emptied(_) => Some(Turn::Opened),
            Event::Alive(_) => {
                self.expected.iter_mut().for_each(Expected::beat);
                None
            }
        }
    }

    fn read<'a>(&mut self, message: &'a [u8]) -> Turn<'a> {
        let Some((by, news)) = message::decode(message) else { return self.gap() };
        if let (Some(expected), Some(key)) = (&mut self.expected, news.key()) {
            expected.note(key);
        }
        Turn::News(by, news)
    }

    /// No message that came explains what comes.
    fn forget(&mut self) {
        self.expected.iter_mut().for_each(Expected::turn);
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

    const STALE: Option<Turn<'_>> = Some(Turn::News(Station::NOBODY, News::Expired(b"key")));

    #[test]
    fn a_change_that_no_message_explains_makes_stale() {
        let mut channel = Channel::tracking();
        channel.handle(OPEN);
        assert_eq!(channel.handle(Event::Touched(1, b"key")), STALE);
        channel.handle(Event::Turned(1));
        channel.handle(Event::Message(1, &said()));
        assert_eq!(
            channel.handle(Event::Touched(1, b"key")),
            None,
            "that is the change that was told"
        );
        channel.handle(Event::Turned(1));
        assert_eq!(channel.handle(Event::Touched(1, b"key")), STALE, "somebody else's");
        assert_eq!(channel.handle(Event::Touched(2, b"key")), None, "its opening covers it");
    }

    #[test]
    fn a_message_explains_nothing_after_a_gap_or_two_heartbeats() {
        let ends: [&[Event<'_>]; 4] = [
            &[Event::Alive(1), Event::Alive(1)],
            &[Event::Overflow(1)],
            &[SHUT, OPEN],
            &[Event::Message(1, b"?"), Event::Alive(1), Event::Alive(1)],
        ];
        for end in ends {
            let mut channel = Channel::tracking();
            channel.handle(OPEN);
            channel.handle(Event::Message(1, &said()));
            channel.handle(Event::Alive(1));
            channel.handle(Event::Alive(2));
            assert_eq!(channel.handle(Event::Touched(1, b"key")), None);
            for event in end {
                channel.handle(*event);
            }
            assert_eq!(channel.handle(Event::Touched(1, b"key")), STALE, "{end:?}");
        }
    }

    #[test]
    fn an_emptied_server_opens_it_anew_and_nothing_was_lost() {
        let mut channel = Channel::tracking();
        channel.handle(OPEN);
        channel.handle(Event::Message(1, &said()));
        assert_eq!(channel.handle(Event::Emptied(1)), Some(Turn::Opened));
        assert_eq!(
            channel.handle(Event::Touched(1, b"key")),
            None,
            "told before, in the same turn"
        );
        assert_eq!(channel.gaps(), 0);
    }

    proptest! {
        /// Nobody is told of news while it is not open, and every change of connection is told.
        #[test]
        fn who_is_told_of_news_was_told_of_the_opening(
            steps in prop::collection::vec((0..8_u8, 1..4_u64), 0..40),
        ) {
            let (mut channel, said) = (Channel::tracking(), said());
            let (mut told_open, mut opened_on) = (false, None);
            for (step, epoch) in steps {
                let event = match step {
                    0 => Event::Gate(Gate::Open(epoch)),
                    1 => SHUT,
                    2 => Event::Message(epoch, &said),
                    3 => Event::Message(epoch, b"?"),
                    4 => Event::Touched(epoch, b"key"),
                    5 => Event::Turned(epoch),
                    6 => Event::Alive(epoch),
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
