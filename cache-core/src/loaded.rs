//! What a loader answers.

use core::time::Duration;

use crate::entry::Lifetime;
use crate::label::Label;
use crate::policy::Policy;

/// A loader's answer: a value, "not modified", or "missing", with what the origin said about it.
///
/// A plain value turns into one by [`From`], and then lives as the cache's policy says.
///
/// ```
/// use core::time::Duration;
/// use cache_core::Loaded;
///
/// let token = Loaded::value("secret").ttl(Duration::from_secs(300));
/// let gone: Loaded<&str> = Loaded::missing();
/// let plain: Loaded<&str> = "value".into();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Loaded<V> {
    pub(crate) answer: Answer<V>,
    pub(crate) terms: Terms,
}

/// The three kinds of answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<V> {
    Value(V),
    NotModified,
    Missing,
}

/// What the origin said about how long and how the answer may be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) ttl: Option<Duration>,
    pub(crate) swr: Option<Duration>,
    pub(crate) sie: Option<Duration>,
    pub(crate) no_store: bool,
    pub(crate) age: Duration,
    pub(crate) label: Label,
    /// More tags were given than are kept: the value must not be stored, or an invalidation
    /// could miss it.
    pub(crate) too_many_tags: bool,
}

impl Terms {
    /// Whether the cache's policy supplies everything.
    #[inline]
    pub(crate) fn are_plain(&self) -> bool {
        self.ttl.is_none()
            && self.swr.is_none()
            && self.sie.is_none()
            && self.age.is_zero()
            && self.label.is_empty()
            && !self.no_store
            && !self.too_many_tags
    }
}

impl<V> Loaded<V> {
    /// A new value.
    pub fn value(value: V) -> Self {
        Self { answer: Answer::Value(value), terms: Terms::default() }
    }

    /// The old value still holds and gets new windows. It keeps its tags and its etag where the answer
    /// has none. Where there is no old value (any more) the
    /// load counts as failed.
    pub fn not_modified() -> Self {
        Self { answer: Answer::NotModified, terms: Terms::default() }
    }

    /// The origin knows no such key. Replaces an old value; remembered for the missing-ttl.
    pub fn missing() -> Self {
        Self { answer: Answer::Missing, terms: Terms::default() }
    }

    /// Fresh for `ttl`, whatever the policy says. Jitter is not applied. [`Duration::MAX`] is for
    /// ever; zero is stale at once.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.terms.ttl = Some(ttl);
        self
    }

    /// Stale-while-revalidate of this value alone.
    pub fn stale_while_revalidate(mut self, swr: Duration) -> Self {
        self.terms.swr = Some(swr);
        self
    }

    /// Stale-if-error of this value alone.
    pub fn stale_if_error(mut self, sie: Duration) -> Self {
        self.terms.sie = Some(sie);
        self
    }

    /// The value is this old already: its windows are shorter by as much.
    pub fn age(mut self, age: Duration) -> Self {
        self.terms.age = age;
        self
    }

    /// Delivered to those who wait and not kept; an old entry is removed.
    pub fn no_store(mut self) -> Self {
        self.terms.no_store = true;
        self
    }

    /// Keeps the answer by another policy than the cache's, where the origin said nothing itself: its
    /// windows without jitter, its missing-ttl, or not at all.
    pub fn kept_by(mut self, policy: &Policy) -> Self {
        let ttl = if self.is_missing() { Some(policy.missing_ttl()) } else { policy.freshness() };
        let terms = &mut self.terms;
        terms.no_store |= ttl.is_none();
        terms.ttl = terms.ttl.or(ttl);
        terms.swr = terms.swr.or_else(|| Some(policy.swr()));
        terms.sie = terms.sie.or_else(|| Some(policy.sie()));
        self
    }

    /// How long the answer would be kept under a policy, without jitter; `None` if it would not be.
    pub fn lifetime(&self, policy: &Policy) -> Option<Lifetime> {
        let terms = &self.terms;
        let refused = terms.no_store || terms.too_many_tags || self.is_missing();
        let ttl = terms.ttl.or_else(|| policy.freshness()).filter(|_| !refused)?;
        let lifetime = Lifetime::fresh_for(ttl)
            .aged(terms.age)
            .stale_while_revalidate(terms.swr.unwrap_or_else(|| policy.swr()))
            .stale_if_error(terms.sie.unwrap_or_else(|| policy.sie()));
        Some(lifetime)
    }

    /// Whether the answer has tags.
    pub fn is_tagged(&self) -> bool {
        !self.terms.label.tags().is_empty()
    }

    /// The [hashes](crate::tag_hash) of its tags.
    #[cfg(feature = "alloc")]
    pub fn tag_hashes(&self) -> &[u64] {
        self.terms.label.tags()
    }

    /// The value, if the answer is one.
    pub fn into_value(self) -> Option<V> {
        match self.answer {
            Answer::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if the answer is one.
    pub const fn as_value(&self) -> Option<&V> {
        match &self.answer {
            Answer::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the answer is "not modified".
    pub const fn is_not_modified(&self) -> bool {
        matches!(self.answer, Answer::NotModified)
    }

    /// Whether the answer is "missing".
    pub const fn is_missing(&self) -> bool {
        matches!(self.answer, Answer::Missing)
    }

    /// Whether the origin said how long the answer is fresh.
    pub const fn has_own_ttl(&self) -> bool {
        self.terms.ttl.is_some()
    }

    /// Whether the origin said nothing beyond the answer, so that the cache's policy supplies all.
    pub fn is_plain(&self) -> bool {
        self.terms.are_plain()
    }

    /// The value, if the origin said nothing beyond it.
    ///
    /// # Errors
    /// Any other answer, as it was.
    #[inline]
    pub fn into_plain(self) -> Result<V, Self> {
        match self.answer {
            Answer::Value(value) if self.terms.are_plain() => Ok(value),
            answer => Err(Self { answer, ..self }),
        }
    }

    /// The same answer about `value` instead of "not modified": for drivers that kept the old
    /// value while they asked.
    pub fn or_unmodified(self, value: Option<V>) -> Self {
        match (self.answer, value) {
            (Answer::NotModified, Some(value)) => {
                Self { answer: Answer::Value(value), terms: self.terms }
            }
            (answer, _) => Self { answer, terms: self.terms },
        }
    }
}

#[cfg(feature = "alloc")]
impl<V> Loaded<V> {
    /// Marks the value with `tag`, by which it can be invalidated later. At most
    /// [`MAX_TAGS`](crate::MAX_TAGS) tags; a value with more is delivered and not kept.
    pub fn tag(self, tag: &str) -> Self {
        self.tag_hash(crate::tags::tag_hash(tag))
    }

    /// The same with a tag whose name is not known any more, as
    /// [`Explanation::tag_hashes`](crate::Explanation::tag_hashes) tells it: for what brings values
    /// back that it has written.
    pub fn tag_hash(mut self, hash: u64) -> Self {
        self.terms.too_many_tags |= !self.terms.label.add_tag(hash);
        self
    }

    /// The same answer, with this etag if it has none.
    pub fn or_etag(self, etag: &str) -> Self {
        if self.terms.label.etag.is_some() { self } else { self.etag(etag) }
    }

    /// The origin's name for this version of the value, shown to the next load.
    pub fn etag(mut self, etag: &str) -> Self {
        self.terms.label.etag = Some(etag.into());
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::value(value)
    }
}
