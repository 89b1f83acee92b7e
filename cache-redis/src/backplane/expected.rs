//! Changes of names that a message explains.
//!
//! A change of ours is a message and a change of the name in one step of the server. The server sends messages
//! as they are said, and the names that were changed once in a turn of its loop, after all messages of that
//! turn and before those of later ones. So the names that come explain themselves by the messages since the
//! names before; and when they have come, no message is left that could explain later ones.
//!
//! A message that changed nothing, such as that of a removal of what is not there, is followed by no names, and
//! would explain those of others that come next. It does so until two heartbeats were answered: of the second, the
//! question was sent after the message had come, and the answer comes after the names of its turn.

use std::collections::HashSet;

/// Keys that wait for their names, at most. Beyond it, names explain themselves by nothing, and are taken for
/// changes of others.
const KEYS: usize = 16_384;

/// Their bytes, at most.
const BYTES: usize = 4 << 20;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Since the last heartbeat that was answered.
    young: HashSet<Vec<u8>>,
    /// Since the one before.
    old: HashSet<Vec<u8>>,
    bytes: usize,
}

impl Expected {
    /// A message told of a change of this key.
    pub(super) fn note(&mut self, key: &[u8]) {
        let keys = self.young.len() + self.old.len();
        if keys < KEYS && self.bytes + key.len() <= BYTES && self.young.insert(key.to_vec()) {
            self.bytes += key.len();
        }
    }

    /// Whether a message explains a change of this key.
    pub(super) fn explains(&self, key: &[u8]) -> bool {
        self.young.contains(key) || self.old.contains(key)
    }

    /// All names of one turn have come.
    pub(super) fn turn(&mut self) {
        self.young.clear();
        self.old.clear();
        self.bytes = 0;
    }

    /// A heartbeat was answered.
    pub(super) fn beat(&mut self) {
        self.bytes -= self.old.iter().map(Vec::len).sum::<usize>();
        self.old.clear();
        std::mem::swap(&mut self.young, &mut self.old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_explains_the_names_of_its_turn_and_no_later_ones() {
        let mut expected = Expected::default();
        expected.note(b"a");
        expected.note(b"b");
        assert!(expected.explains(b"a") && expected.explains(b"b") && !expected.explains(b"c"));
        expected.turn();
        assert!(!expected.explains(b"a") && !expected.explains(b"b"));
    }

    #[test]
    fn a_message_without_names_is_forgotten_with_the_second_heartbeat() {
        let mut expected = Expected::default();
        expected.note(b"a");
        expected.beat();
        expected.note(b"b");
        assert!(expected.explains(b"a"), "its names may be on their way");
        expected.beat();
        assert!(!expected.explains(b"a") && expected.explains(b"b"));
        expected.beat();
        assert!(!expected.explains(b"b"));
    }

    #[test]
    fn what_finds_no_room_explains_nothing() {
        let mut expected = Expected::default();
        for n in 0..=KEYS {
            expected.note(&n.to_be_bytes());
        }
        assert!(expected.explains(&0_usize.to_be_bytes()));
        assert!(!expected.explains(&KEYS.to_be_bytes()));
        expected.turn();
        for _ in 0..3 {
            expected.note(&vec![0; BYTES]);
            expected.note(b"a");
            assert!(!expected.explains(b"a"));
            expected.beat();
            expected.beat();
        }
        expected.note(b"a");
        assert!(expected.explains(b"a"));
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// A change of ours by a script: the message, and whether something changed.
        Ours(u8, bool),
        Others(u8),
        /// The server's turn ends.
        Turn,
        /// A heartbeat is answered, if none was in this turn: the next is sent when that has come.
        Beat,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..4_u8, any::<bool>()).prop_map(|(key, changes)| Step::Ours(key, changes)),
            (0..4_u8).prop_map(Step::Others),
            Just(Step::Turn),
            Just(Step::Beat),
        ]
    }

    proptest! {
        /// A server that sends messages at once and names once in a turn. No change of ours is taken for one of
        /// others. A change of others is seen, unless a message of the same turn tells of the key, or one that
        /// changed nothing, no more than two heartbeats ago.
        #[test]
        fn changes_are_told_apart(steps in prop::collection::vec(step(), 0..60)) {
            let mut expected = Expected::default();
            let (mut beats, mut beaten) = (0_u32, false);
            // By key, whether others have changed it too.
            let mut touched = std::collections::BTreeMap::<u8, bool>::new();
            // By key: the beats when a message was said for which no names came.
            let mut masked = std::collections::BTreeMap::<u8, u32>::new();
            for step in steps.into_iter().chain([Step::Turn]) {
                match step {
                    Step::Ours(key, changes) => {
                        expected.note(&[key]);
                        masked.insert(key, beats);
                        if changes {
                            touched.entry(key).or_insert(false);
                        }
                    }
                    Step::Others(key) => drop(touched.insert(key, true)),
                    Step::Turn if touched.is_empty() => beaten = false,
                    Step::Turn => {
                        beaten = false;
                        for (key, others) in std::mem::take(&mut touched) {
                            let explained = expected.explains(&[key]);
                            let may_mask = masked.get(&key).is_some_and(|since| beats < since + 2);
                            prop_assert!(explained || others, "ours");
                            prop_assert!(!explained || may_mask, "of others");
                        }
                        masked.clear();
                        expected.turn();
                    }
                    Step::Beat if beaten => {}
                    Step::Beat => {
                        (beats, beaten) = (beats + 1, true);
                        expected.beat();
                    }
                }
            }
        }
    }
}
