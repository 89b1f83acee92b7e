//! When others were told of what.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// So many changes of a key are remembered.
const REMEMBERED: usize = 64;

/// The changes of one key of which others were told, each with the instant when that was done.
#[derive(Default)]
pub(crate) struct Changes(Mutex<VecDeque<(Instant, u64)>>);

impl Changes {
    /// Others were told of this version.
    pub(crate) fn told(&self, version: u64) {
        let mut changes = self.0.lock().unwrap();
        changes.push_back((Instant::now(), version));
        if changes.len() > REMEMBERED {
            changes.pop_front();
        }
    }

    /// For how long, at an instant, a version had been out of date for those who were told.
    pub(crate) fn outdated_for(&self, version: u64, at: Instant) -> Duration {
        let changes = self.0.lock().unwrap();
        let first = changes.iter().find(|(_, newer)| *newer > version);
        first.map_or(Duration::ZERO, |(told, _)| at.saturating_duration_since(*told))
    }
}

#[test]
fn a_version_is_out_of_date_since_the_first_that_is_newer() {
    let changes = Changes::default();
    let before = Instant::now();
    changes.told(2);
    changes.told(3);
    let later = Instant::now() + Duration::from_secs(10);
    assert!(changes.outdated_for(1, later) >= Duration::from_secs(10));
    assert!(changes.outdated_for(1, later) >= changes.outdated_for(2, later));
    assert!(changes.outdated_for(2, later) >= Duration::from_secs(10));
    assert_eq!(changes.outdated_for(3, later), Duration::ZERO);
    assert_eq!(changes.outdated_for(1, before), Duration::ZERO, "nobody was told yet");
    (4..200).for_each(|version| changes.told(version));
    assert!(changes.outdated_for(3, later) > Duration::ZERO);
}
