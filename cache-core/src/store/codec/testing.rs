//! Types that contain themselves.
#![allow(dead_code, unused_imports, reason = "not every codec needs them all")]

use alloc::boxed::Box;
use alloc::vec::Vec;

#[cfg(any(feature = "json", feature = "messagepack", feature = "postcard"))]
mod types {
    use super::*;
    use serde::{Deserialize, Serialize};

    /// One level for each element.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) enum List {
        End,
        More(Box<Self>),
    }

    impl List {
        pub(crate) fn of(len: usize) -> Self {
            (0..len).fold(Self::End, |list, _| Self::More(Box::new(list)))
        }
    }

    /// A structure and a list for each level.
    #[derive(Serialize, Deserialize)]
    pub(crate) struct Node {
        pub(crate) children: Vec<Self>,
    }

    /// Most decoders never come to the end of it: whatever is there could be another one.
    #[derive(Serialize, Deserialize)]
    pub(crate) struct Endless(Option<Box<Self>>);
}

#[cfg(any(feature = "json", feature = "messagepack", feature = "postcard"))]
pub(super) use types::{Endless, List, Node};

/// Runs on as little stack as threads have by default.
pub(super) fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap();
    assert!(thread.join().is_ok());
}
