//! The time of processors that a read from Redis takes in its client, whatever it waits for.

use std::hint::black_box;
use std::time::Duration;

use advanced_caching::store::AsyncStore;

use super::{NOW, Ways, key};

const READS: usize = 100_000;
const ROUNDS: usize = 5;

/// What this process has used so far: all of its threads, in nanoseconds, as Linux counts them.
fn used() -> Option<u64> {
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Some(std::fs::read_dir("/proc/self/task").ok()?.filter_map(of).sum())
}

/// The least of some rounds: what else runs on the machine only adds to it.
fn least(ways: &Ways, mut round: impl FnMut()) -> Option<Duration> {
    let _guard = ways.runtime.enter();
    let rounds = (0..ROUNDS).map(|_| {
        let before = used()?;
        round();
        Some(Duration::from_nanos((used()? - before) / READS as u64))
    });
    rounds.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// Reads one after another, and by 64 tasks, by the client library alone and by a store.
pub(super) fn reads(ways: &Ways) {
    println!("time of processors for a read, in the client");
    for tasks in [1, 64] {
        let bare = least(ways, || {
            ways.round(tasks, READS / tasks, |at| {
                let mut connection = ways.bare.clone();
                async move {
                    for n in at..at + READS / tasks {
                        let get = redis::cmd("GET").arg(key(n)).query_async(&mut connection).await;
                        black_box::<Option<Vec<u8>>>(get.expect("it is up"));
                    }
                }
            });
        });
        let ours = least(ways, || {
            ways.round(tasks, READS / tasks, |at| {
                let store = ways.store.clone();
                async move {
                    for n in at..at + READS / tasks {
                        black_box(store.get(&key(n), NOW).await.expect("it is up"));
                    }
                }
            });
        });
        match (bare, ours) {
            (Some(bare), Some(ours)) => {
                let ratio = ours.as_secs_f64() / bare.as_secs_f64();
                println!("  {tasks:3} tasks: GET {bare:8.2?}, get {ours:8.2?}, {ratio:.2}");
            }
            _ => println!("  this system does not tell"),
        }
    }
}
