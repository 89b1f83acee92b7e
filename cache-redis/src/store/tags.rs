//! Tags of entries: what has happened to them, and what that makes of an entry.
//!
//! Changes of tags are numbered, for each namespace by one number that only grows and is not below the server's
//! time in microseconds. A tag has a string of its own: the number of its last invalidation, then those of its last
//! expirations, oldest first. An entry says which change was the last before its value was loaded. All strings
//! of a namespace's tags are in one slot of a cluster, so that a script may have several.
//!
//! A tag's string is made before the first entry with it, and outlives them all. So where there is none, the
//! server has lost it, and the entry counts as invalidated. One that is made anew must not bring back what an earlier
//! one had ended: so a log of the last changes tells whether the tag was among those since the value was loaded.

use core::time::Duration;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::{StoreError, TagChange};
use cache_core::tag_hash;
use redis::{Pipeline, Value};
use tokio::time::Instant;

use super::Space;
use crate::clock::Micros;
use crate::error::ServerError;
use crate::form::Opened;
use crate::link::Link;
use crate::{form, reply, script};

/// Expirations that a tag's string has at most; the scripts keep as many.
const EXPIRATIONS: usize = 4;

/// Tags whose strings are remembered.
const MOST: usize = 4_096;

/// A tag's string outlives entries by this, and loads that began before the tag's first use.
const SPARE: Duration = Duration::from_secs(24 * 3_600);

/// What has happened to a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    invalidated: u64,
    expired: Vec<u64>,
}

/// What tags make of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Untouched,
    StaleFrom(Micros),
    Gone,
}

impl History {
    /// `None` where there is no string, or another.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut numbers = std::str::from_utf8(bytes).ok()?.split(' ').map(str::parse);
        let invalidated = numbers.next()?.ok()?;
        let expired = numbers.collect::<Result<Vec<u64>, _>>().ok()?;
        (expired.len() <= EXPIRATIONS).then_some(Self { invalidated, expired })
    }

    /// What it makes of an entry whose value was loaded after the change `seen`. Numbers of expirations stand for
    /// their time; where the first that counts may be forgotten, the entry is stale since it was written.
    fn verdict(&self, seen: u64) -> Verdict {
        if self.invalidated > seen {
            return Verdict::Gone;
        }
        match self.expired.iter().position(|at| *at > seen) {
            None => Verdict::Untouched,
            Some(0) if self.expired.len() == EXPIRATIONS => Verdict::StaleFrom(0),
            Some(first) => Verdict::StaleFrom(self.expired[first]),
        }
    }
}

impl Verdict {
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Gone, _) | (_, Self::Gone) => Self::Gone,
            (Self::StaleFrom(one), Self::StaleFrom(other)) => Self::StaleFrom(one.min(other)),
            (Self::Untouched, verdict) | (verdict, Self::Untouched) => verdict,
        }
    }
}

/// What has happened to some tags; none where the server has lost it.
pub(super) struct Histories(HashMap<u64, Option<History>>);

impl Histories {
    fn verdict(&self, tags: &[u64], seen: u64) -> Verdict {
        let of = |tag| self.0.get(tag).and_then(Option::as_ref);
        let verdicts = tags.iter().map(|tag| of(tag).map_or(Verdict::Gone, |it| it.verdict(seen)));
        verdicts.fold(Verdict::Untouched, Verdict::worse)
    }

    /// Whether an entry may be answered; stale from when one of its tags says.
    pub(super) fn allow(&self, opened: &mut Opened<'_>) -> bool {
        match self.verdict(&opened.tags, opened.tags_seen()) {
            Verdict::Untouched => {}
            Verdict::StaleFrom(at) => opened.expire(at),
            Verdict::Gone => return false,
        }
        true
    }
}

/// What was read of a namespace's tags, and when. Forgotten when they change, as far as that is heard.
#[derive(Debug, Default)]
pub(crate) struct TagMemory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    histories: HashMap<u64, (History, Instant)>,
    /// The number of the last change.
    last: Option<(u64, Instant)>,
    /// Grows when something is forgotten: an answer to what was asked before does not count.
    epoch: u64,
}

impl TagMemory {
    /// Tags have changed, or may have.
    pub(crate) fn forget(&self) {
        let mut known = self.lock();
        known.epoch += 1;
        known.last = None;
        known.histories.clear();
    }

    fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// The number of the last change, if it was asked for less than `age` ago.
    fn last(&self, age: Duration) -> Option<u64> {
        self.lock().last.filter(|(_, asked)| asked.elapsed() < age).map(|(last, _)| last)
    }

    fn learn_last(&self, last: u64, asked: Instant, epoch: u64) {
        let mut known = self.lock();
        if known.epoch == epoch {
            known.last = Some((last, asked));
        }
    }

    /// The history of a tag, if it was asked for less than `age` ago.
    fn history(&self, tag: u64, age: Duration) -> Option<History> {
        let known = self.lock();
        let (history, asked) = known.histories.get(&tag)?;
        (asked.elapsed() < age).then(|| history.clone())
    }

    fn learn(&self, tag: u64, history: History, asked: Instant, epoch: u64) {
        let mut known = self.lock();
        if known.epoch != epoch {
            return;
        }
        if known.histories.len() >= MOST && !known.histories.contains_key(&tag) {
            known.histories.clear();
        }
        known.histories.insert(tag, (history, asked));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Space {
    /// What has happened to these tags. One more trip, unless all were asked for lately.
    pub(super) async fn histories(&self, tags: &[u64]) -> Result<Histories, StoreError> {
        let (age, mut all) = (self.settings.version_check, HashMap::new());
        let (epoch, asked) = (self.tags.epoch(), Instant::now());
        let mut unknown = vec![];
        for tag in tags.iter().copied() {
            if let Entry::Vacant(place) = all.entry(tag) {
                let known = self.tags.history(tag, age);
                if known.is_none() {
                    unknown.push(tag);
                }
                place.insert(known);
            }
        }
        if unknown.is_empty() {
            return Ok(Histories(all));
        }
        let mut questions = Pipeline::with_capacity(unknown.len());
        for tag in &unknown {
            questions.cmd("GET").arg(self.names.tag(*tag));
        }
        let operation =
            self.server.operate(|mut link: Link| async move { link.ask_all(&questions).await });
        for (tag, answer) in unknown.into_iter().zip(operation.await?) {
            // What is no string is none of ours.
            let history = History::read(&reply::bytes(answer.value).unwrap_or_default());
            if let Some(history) = &history {
                self.tags.learn(tag, history.clone(), asked, epoch);
            }
            all.insert(tag, history);
        }
        Ok(Histories(all))
    }

    /// The number of the last change of tags, as of now or a moment ago.
    pub(super) async fn last_tag_change(&self) -> Result<u64, StoreError> {
        if let Some(last) = self.tags.last(self.settings.version_check) {
            return Ok(last);
        }
        let (epoch, asked) = (self.tags.epoch(), Instant::now());
        let name = self.names.tag_changes();
        let operation = self.server.operate(|mut link: Link| async move {
            let answer = script::VERSION.run(&mut link, &[&name], &[]).await?;
            reply::number(answer)?.ok_or(ServerError::Protocol)
        });
        let last = operation.await?;
        self.tags.learn_last(last, asked, epoch);
        Ok(last)
    }

    /// Has the strings of tags outlive an entry of this expiry, in milliseconds, that was loaded after the change
    /// `seen`, or is made now. Answers the change that it is to go by; `None` where one of its tags was invalidated
    /// since.
    pub(super) async fn use_tags(
        &self,
        tags: &[u64],
        seen: Option<u64>,
        expiry: u64,
    ) -> Result<Option<u64>, StoreError> {
        let mut names = vec![self.names.tag_changes(), self.names.tag_log()];
        names.extend(tags.iter().map(|tag| self.names.tag(*tag)));
        let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let kept = Duration::from_millis(expiry).saturating_add(SPARE);
        let kept = form::millis(kept).to_string();
        let seen_text = seen.map(|seen| seen.to_string()).unwrap_or_default();
        let arguments = [kept.as_bytes(), seen_text.as_bytes()];
        let operation = self.server.operate(|mut link: Link| async move {
            script::USE_TAGS.run(&mut link, &keys, &arguments).await
        });
        let Value::Array(answer) = operation.await? else {
            return Err(ServerError::Protocol.into());
        };
        let mut answer = answer.into_iter();
        let last = answer.next().map_or(Ok(None), reply::number)?.ok_or(ServerError::Protocol)?;
        let seen = seen.unwrap_or(last);
        for string in answer {
            let history = History::read(&reply::bytes(string)?);
            if history.is_none_or(|history| history.verdict(seen) == Verdict::Gone) {
                // What is known may be why: the next load is to know better.
                self.tags.forget();
                return Ok(None);
            }
        }
        Ok(Some(seen))
    }

    /// Numbers a change of a tag, and tells of it.
    pub(super) async fn change_tag(
        &self,
        tag: &str,
        change: TagChange,
        message: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.hub.wake();
        // However this ends, and if it is dropped.
        let _unsure = Unsure(&self.tags);
        let hash = tag_hash(tag);
        let names = [self.names.tag_changes(), self.names.tag(hash), self.names.tag_log()];
        let hash = format!("{hash:016x}");
        let how: &[u8] = match change {
            TagChange::Expire => b"e",
            TagChange::Invalidate => b"i",
        };
        let kept = form::millis(SPARE).to_string();
        let operation = self.server.operate(|mut link: Link| async move {
            let arguments = [&self.channel[..], &message, how, kept.as_bytes(), hash.as_bytes()];
            let [changes, name, log] = &names;
            script::CHANGE_TAG.run(&mut link, &[changes, name, log], &arguments).await
        });
        operation.await.map(drop).map_err(StoreError::from)
    }
}

/// Forgets what is known of tags when it is dropped.
struct Unsure<'a>(&'a TagMemory);

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        self.0.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn verdict(text: &str, seen: u64) -> Verdict {
        History::read(text.as_bytes()).map_or(Verdict::Gone, |history| history.verdict(seen))
    }

    #[test]
    fn what_came_before_the_value_does_not_count() {
        assert_eq!(verdict("5", 5), Verdict::Untouched);
        assert_eq!(verdict("5", 4), Verdict::Gone);
        assert_eq!(verdict("5 7 9", 9), Verdict::Untouched);
        assert_eq!(verdict("5 7 9", 7), Verdict::StaleFrom(9));
        assert_eq!(verdict("5 7 9", 6), Verdict::StaleFrom(7));
        assert_eq!(verdict("5 7 9", 4), Verdict::Gone);
        assert_eq!(verdict("0 6 7 8 9", 5), Verdict::StaleFrom(0), "an earlier one is forgotten");
        assert_eq!(verdict("0 6 7 8 9", 6), Verdict::StaleFrom(7));
        for nonsense in ["", "x", "5 x", "0 1 2 3 4 5", "-1"] {
            assert_eq!(verdict(nonsense, u64::MAX), Verdict::Gone, "{nonsense:?}");
        }
    }

    #[test]
    fn of_many_tags_the_worst_counts() {
        let all = [Verdict::Untouched, Verdict::StaleFrom(2), Verdict::StaleFrom(1), Verdict::Gone];
        for (at, one) in all.into_iter().enumerate() {
            for (other_at, other) in all.into_iter().enumerate() {
                assert_eq!(one.worse(other), all[at.max(other_at)]);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_change_is_not_remembered_and_nothing_for_long() {
        let (memory, now) = (TagMemory::default(), Instant::now());
        let epoch = memory.epoch();
        memory.learn(1, History::default(), now, epoch);
        memory.learn_last(7, now, epoch);
        assert_eq!(memory.history(1, SECOND), Some(History::default()));
        assert_eq!((memory.history(2, SECOND), memory.last(SECOND)), (None, Some(7)));
        tokio::time::advance(SECOND).await;
        assert_eq!((memory.history(1, SECOND), memory.last(SECOND)), (None, None));
        memory.forget();
        memory.learn(1, History::default(), Instant::now(), epoch);
        memory.learn_last(7, Instant::now(), epoch);
        assert_eq!((memory.history(1, SECOND), memory.last(SECOND)), (None, None));
        (0..=MOST as u64).for_each(|tag| {
            memory.learn(tag, History::default(), Instant::now(), memory.epoch());
        });
        assert!(memory.lock().histories.len() <= MOST);
    }
}
