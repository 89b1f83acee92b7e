//! The wires by which nodes hear of what others do to the store.

use std::sync::Weak;

use cache_std::store::{Backplane, Receiver, Station, TagChange};

use super::store::{Key, Server};
use super::tags::Tag;

/// How long it takes until the loss of a wire is noticed, at most, in milliseconds.
pub(super) const NOTICED: u64 = 700;

/// The wire by which one node hears.
pub(super) struct Line {
    receiver: Weak<dyn Receiver<Key>>,
    cut: bool,
    waiting: Vec<Message>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    Changed(Key),
    Filled(Key),
    Expired(Key),
    Cleared,
    Tag(Tag, TagChange),
}

impl Server {
    /// Cuts a node's line, which it notices after a while.
    pub(super) async fn cut(&self, line: usize) {
        let receiver = {
            let mut state = self.state();
            let Some(line) = state.lines.get_mut(line) else { return };
            line.cut = true;
            line.waiting.clear();
            line.receiver.clone()
        };
        self.world.note(|| format!("line {line} is cut"));
        self.world.sleep_ms(self.world.below(NOTICED)).await;
        if let Some(receiver) = receiver.upgrade() {
            self.world.note(|| format!("line {line} is closed"));
            receiver.closed();
        }
    }

    pub(super) fn mend(&self, line: usize) {
        let receiver = {
            let mut state = self.state();
            let Some(line) = state.lines.get_mut(line) else { return };
            if !core::mem::take(&mut line.cut) {
                return;
            }
            line.receiver.clone()
        };
        self.world.note(|| format!("line {line} is open"));
        receiver.upgrade().into_iter().for_each(|receiver| receiver.opened());
    }

    /// Tells all but who did it.
    pub(super) fn tell(&self, by: Station, message: Message) {
        let lines = self.state().lines.len();
        for line in 0..lines {
            if by.number() == line as u128 + 1 {
                continue;
            }
            let mut state = self.state();
            if state.lines[line].cut {
                continue;
            }
            state.lines[line].waiting.push(message);
            drop(state);
            let (server, delay) = (self.clone(), self.delay());
            self.world.spawn(async move {
                server.world.sleep(delay).await;
                server.deliver(line);
            });
        }
    }

    /// Delivers the oldest message.
    fn deliver(&self, number: usize) {
        let (receiver, message) = {
            let mut state = self.state();
            let line = &mut state.lines[number];
            if line.waiting.is_empty() {
                return;
            }
            (line.receiver.upgrade(), line.waiting.remove(0))
        };
        self.world.note(|| format!("line {number}: {message:?}"));
        let Some(receiver) = receiver else { return };
        match message {
            Message::Changed(key) => receiver.changed(key),
            Message::Filled(key) => receiver.filled(key),
            Message::Expired(key) => receiver.expired(key),
            Message::Cleared => receiver.cleared(),
            Message::Tag(tag, TagChange::Expire) => receiver.tag_expired(tag),
            Message::Tag(tag, TagChange::Invalidate) => receiver.tag_invalidated(tag),
        }
    }
}

impl Backplane<Key> for Server {
    fn attach(&self, receiver: Weak<dyn Receiver<Key>>) -> Station {
        let mut state = self.state();
        state.lines.push(Line { receiver: receiver.clone(), cut: false, waiting: vec![] });
        let station = Station::new(state.lines.len() as u128);
        drop(state);
        receiver.upgrade().into_iter().for_each(|receiver| receiver.opened());
        station
    }
}
