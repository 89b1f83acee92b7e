//! Jobs that were given the name of one that was stopped.

use std::time::Duration;

use cache_std::ManualTime;
use cache_std::background::{Background, Scheduler};

#[test]
fn s17_who_was_stopped_takes_nothing_from_who_has_the_name_now() {
    let scheduler = Scheduler::with_time(ManualTime::new());
    let start = |value: u32| {
        let job = Background::builder("prices").every(Duration::from_secs(10));
        job.scheduler(&scheduler).run_immediately(false).start(move || Ok::<_, String>(value))
    };
    let stopped = start(1).unwrap();
    stopped.stop();
    let other = start(2).unwrap();
    assert!(stopped.status().is_none() && !stopped.refresh_now());
    stopped.stop();
    drop(stopped);
    assert!(other.status().is_some() && other.refresh_now());
    assert_eq!(other.ready().as_deref(), Ok(&2));
}
