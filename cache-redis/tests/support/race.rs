//! Bar 13: memory is never outdated for long, whatever the order in which things happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use cache_tokio::future::{Cache, LoadError};
use tokio::task::JoinSet;

use super::{RedisServer, eventually};

type Memory = Cache<u64, String>;

/// Readers and writers of two processes, whose channels are cut now and then.
pub(crate) async fn race([writer, reader]: [Memory; 2], nodes: &[RedisServer]) {
    let versions: Arc<Vec<AtomicU64>> = Arc::new((0..200).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    let known = Arc::clone(&versions);
    let current = move |cache: &Memory, key: u64| {
        let (cache, versions) = (cache.clone(), Arc::clone(&known));
        async move {
            let load = move || async move { Ok(versions[key as usize].load(Relaxed).to_string()) };
            let value: Result<String, LoadError<String>> = cache.get_or_load(&key, load).await;
            value.unwrap().parse::<u64>().unwrap()
        }
    };
    for _ in 0..8 {
        let (stop, current, reader) = (Arc::clone(&stop), current.clone(), reader.clone());
        readers.spawn(async move {
            let mut key = 0;
            while !stop.load(Relaxed) {
                current(&reader, key).await;
                key = (key + 1) % 200;
                // Hits do not: with as many readers as threads, nobody else would run while all keys are fresh.
                tokio::task::yield_now().await;
            }
        });
    }
    for write in 0..2_000_u64 {
        let key = write * 7 % 200;
        versions[key as usize].fetch_add(1, Relaxed);
        writer.invalidate(&key).await;
        if write % 500 == 250 {
            // Messages are lost, and who listens is told so.
            nodes.iter().for_each(|node| drop(node.ask(&["CLIENT", "KILL", "TYPE", "pubsub"])));
        }
    }
    // Under the eyes of readers who may still hold what they have read.
    eventually("all read the last version", async || {
        let mut outdated = 0;
        for key in 0..200 {
            let last = versions[key as usize].load(Relaxed);
            outdated += u32::from(current(&reader, key).await != last);
        }
        outdated == 0
    })
    .await;
    stop.store(true, Relaxed);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}
