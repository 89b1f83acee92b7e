//! What rides along with an entry besides its windows: tags and an etag. Without a heap there is
//! nothing to ride along, and the type is empty.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

/// At most this many tags are kept of one value.
#[cfg(feature = "alloc")]
pub const MAX_TAGS: usize = 64;

/// Tags (as hashes: a collision invalidates too much, never too little) and etag of one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label {
    #[cfg(feature = "alloc")]
    pub(crate) tags: Box<[u64]>,
    #[cfg(feature = "alloc")]
    pub(crate) etag: Option<Box<str>>,
}

#[cfg(feature = "alloc")]
impl Label {
    pub(crate) fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.etag.is_none()
    }

    pub(crate) fn tags(&self) -> &[u64] {
        &self.tags
    }

    pub(crate) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Takes from the label of the same value what this one does not say.
    pub(crate) fn complete_from(&mut self, old: Self) {
        if self.tags.is_empty() {
            self.tags = old.tags;
        }
        self.etag = self.etag.take().or(old.etag);
    }

    /// Adds a tag; `false` when there are [`MAX_TAGS`] already.
    pub(crate) fn add_tag(&mut self, tag: u64) -> bool {
        let mut tags = core::mem::take(&mut self.tags).into_vec();
        let room = tags.len() < MAX_TAGS;
        if room && !tags.contains(&tag) {
            tags.push(tag);
        }
        self.tags = tags.into_boxed_slice();
        room
    }
}

#[cfg(not(feature = "alloc"))]
impl Label {
    pub(crate) const fn is_empty(&self) -> bool {
        true
    }

    pub(crate) const fn complete_from(&mut self, _: Self) {}

    pub(crate) const fn tags(&self) -> &[u64] {
        &[]
    }

    pub(crate) const fn etag(&self) -> Option<&str> {
        None
    }
}
