//! The connections of one listener: a state machine without I/O over the [channel](Channel) of each.
//!
//! One line brings the messages. A single server tells changed names on the same line; in a cluster each primary
//! tells those of its own keys, on a line to it, on which messages are heard only to explain them. All is told
//! while all lines are open.

use std::collections::BTreeMap;

use super::channel::{Channel, Event, Turn};

/// Which line. Numbers are not used again.
pub(super) type LineId = u64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: BTreeMap<LineId, Line>,
    /// Whether lines are missing.
    partial: bool,
}

#[derive(Debug)]
struct Line {
    channel: Channel,
    /// Whether its messages are told.
    tells: bool,
}

impl Lines {
    /// One more line, which is not open yet.
    pub(super) fn join(
        &mut self,
        id: LineId,
        channel: Channel,
        tells: bool,
    ) -> Option<Turn<'static>> {
        self.change(|lines| drop(lines.lines.insert(id, Line { channel, tells })))
    }

    /// One line less. What it may have told of last was not heard.
    #[cfg(any(feature = "cluster", test))]
    pub(super) fn leave(&mut self, id: LineId) -> Option<Turn<'static>> {
        let left = self.change(|lines| drop(lines.lines.remove(&id)));
        left.or_else(|| self.is_open().then_some(Turn::Opened))
    }

    /// Whether lines are missing that are to join.
    #[cfg(any(feature = "cluster", test))]
    pub(super) fn set_partial(&mut self, partial: bool) -> Option<Turn<'static>> {
        self.change(|lines| lines.partial = partial)
    }

    /// Whether everything is told.
    pub(super) fn is_open(&self) -> bool {
        let live = |line: &Line| line.channel.is_live();
        !self.partial && !self.lines.is_empty() && self.lines.values().all(live)
    }

    /// Messages that were lost or not understood, on a line that is there.
    pub(super) fn gaps(&self, id: LineId) -> u64 {
        self.lines.get(&id).map_or(0, |line| line.channel.gaps())
    }

    pub(super) fn handle<'a>(&mut self, id: LineId, event: Event<'a>) -> Option<Turn<'a>> {
        let was_open = self.is_open();
        let line = self.lines.get_mut(&id)?;
        let message = matches!(event, Event::Message(..));
        match line.channel.handle(event)? {
            Turn::News(..) if message && !line.tells => None,
            Turn::News(by, news) => Some(Turn::News(by, news)),
            Turn::Opened => self.is_open().then_some(Turn::Opened),
            Turn::Closed => was_open.then_some(Turn::Closed),
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Option<Turn<'static>> {
        let was_open = self.is_open();
        change(self);
        match (was_open, self.is_open()) {
            (false, true) => Some(Turn::Opened),
            (true, false) => Some(Turn::Closed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServerError;
    use crate::message::{self, News};
    use crate::supervisor::Gate;
    use cache_core::store::Station;
    use proptest::prelude::*;

    const OPEN: Event<'_> = Event::Gate(Gate::Open(1));
    const SHUT: Event<'_> = Event::Gate(Gate::Shut(ServerError::Down));
    const CHANGED: News<'_> = News::Changed(b"key");
    const BY: Station = Station::new(7);

    fn said() -> Vec<u8> {
        message::encode(BY, CHANGED)
    }

    fn joined() -> Lines {
        let mut lines = Lines::default();
        lines.join(0, Channel::default(), true);
        lines.join(1, Channel::tracking(), false);
        lines
    }

    #[test]
    fn it_is_open_while_all_lines_are() {
        let mut lines = joined();
        assert_eq!(lines.handle(0, OPEN), None);
        assert_eq!(lines.handle(1, OPEN), Some(Turn::Opened));
        assert_eq!(lines.handle(0, SHUT), Some(Turn::Closed));
        assert_eq!(lines.handle(1, SHUT), None, "once");
        assert_eq!((lines.handle(0, OPEN), lines.handle(1, OPEN)), (None, Some(Turn::Opened)));
        assert_eq!(lines.join(2, Channel::tracking(), false), Some(Turn::Closed));
        assert_eq!(lines.handle(2, OPEN), Some(Turn::Opened));
        assert_eq!(lines.handle(2, Event::Gate(Gate::Open(2))), Some(Turn::Opened), "a gap");
        assert_eq!(lines.leave(2), Some(Turn::Opened), "its last news may be lost");
        assert_eq!(lines.leave(2), Some(Turn::Opened));
        assert_eq!(lines.set_partial(true), Some(Turn::Closed));
        assert_eq!(lines.leave(1), None);
        assert_eq!(lines.set_partial(false), Some(Turn::Opened));
        assert_eq!(lines.leave(0), Some(Turn::Closed), "nobody tells anything");
    }

    #[test]
    fn messages_are_told_once_and_explain_on_every_line() {
        let (mut lines, said) = (joined(), said());
        lines.handle(0, OPEN);
        let told = Some(Turn::News(BY, CHANGED));
        assert_eq!(lines.handle(0, Event::Message(1, &said)), told, "while names are not told yet");
        lines.handle(1, OPEN);
        assert_eq!(lines.handle(1, Event::Message(1, &said)), None);
        assert_eq!(lines.handle(1, Event::Touched(1, b"key")), None);
        lines.handle(1, Event::Turned(1));
        let stale = Some(Turn::News(Station::NOBODY, News::Expired(b"key")));
        assert_eq!(lines.handle(1, Event::Touched(1, b"key")), stale);
        assert_eq!(lines.handle(0, Event::Touched(1, b"key")), None, "it tells no names");
        assert_eq!(lines.handle(9, Event::Message(1, &said)), None);
    }

    proptest! {
        /// Who is told is told of each opening and each end, whatever the order of lines.
        #[test]
        fn what_is_told_is_how_it_is(steps in prop::collection::vec((0..5_u8, 0..3_u64, 1..3_u64), 0..40)) {
            let (mut lines, mut told) = (Lines::default(), false);
            for (step, id, epoch) in steps {
                let turn = match step {
                    0 => lines.join(id, Channel::tracking(), id == 0),
                    1 => lines.leave(id),
                    2 => lines.set_partial(epoch == 1),
                    3 => lines.handle(id, Event::Gate(Gate::Open(epoch))),
                    _ => lines.handle(id, SHUT),
                };
                match turn {
                    Some(Turn::Opened) => told = true,
                    Some(Turn::Closed) => {
                        prop_assert!(told);
                        told = false;
                    }
                    Some(Turn::News(..)) => prop_assert!(false),
                    None => {}
                }
                prop_assert_eq!(told, lines.is_open());
            }
        }
    }
}
