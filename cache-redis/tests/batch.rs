//! Batches of keys of a Redis Cluster, while one of its nodes fails.
#![cfg(feature = "cluster")]

mod support;

use std::time::Duration;

use cache_core::store::{AsyncStore, Plain};
use cache_core::{Instant, Lifetime};
use cache_redis::{RedisStore, Server, ServerBuilder, ServerError};
use support::{PATIENCE, RedisCluster, RedisServer, eventually, keys_of, victim};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;

async fn fill(store: &Texts, keys: &[Vec<String>; 3]) {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    for key in keys.iter().flatten() {
        let put = async || store.put(key, &format!("of {key}"), minute, NOW).await.is_ok();
        eventually("it is put", put).await;
    }
}

/// The keys of a batch that are on other nodes than one that fails are told, and then that some were not
/// read.
async fn batch_without(
    fail: impl FnOnce(&mut RedisServer),
    builder: ServerBuilder,
    cluster: &mut RedisCluster,
) {
    let (keys, victim) = (keys_of(cluster, 3), victim(cluster));
    let store = Texts::new(&builder.build().unwrap(), "app", Plain).unwrap();
    fill(&store, &keys).await;
    let asked: Vec<_> = keys.iter().flatten().collect();
    let mut others: Vec<_> = asked.iter().map(|key| key.as_str()).collect();
    others.retain(|key| !keys[victim].iter().any(|of| of == key));
    let read = async || {
        let mut found = vec![];
        let mut note = |n: usize, _| found.push(asked[n].as_str());
        let answer = store.get_many(&asked, NOW, &mut note).await;
        (answer, found)
    };
    let (answer, found) = read().await;
    assert!(answer.is_ok() && found.len() == asked.len(), "{answer:?}, {found:?}");
    fail(&mut cluster.nodes[victim]);
    eventually("some are not read", async || {
        let (answer, found) = read().await;
        assert!(found == others || answer.is_ok(), "{answer:?}, {found:?}");
        answer.is_err()
    })
    .await;
    let failures =
        [ServerError::Down, ServerError::Broken, ServerError::TimedOut, ServerError::Refused];
    assert!(failures.iter().any(|error| store.server().failures(*error) > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_batch_is_answered_by_the_nodes_that_are_there() {
    let mut cluster = RedisCluster::start();
    let builder = Server::builder(&cluster.address()).unwrap();
    let builder = builder.operation_timeout(PATIENCE).connect_timeout(PATIENCE);
    batch_without(RedisServer::kill, builder, &mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_batch_is_answered_by_the_nodes_that_do_not_hang() {
    let mut cluster = RedisCluster::start();
    let builder = Server::builder(&cluster.address()).unwrap();
    // Nothing else finds out that the node hangs.
    let builder = builder.operation_timeout(Duration::from_secs(5)).heartbeat(PATIENCE);
    batch_without(|node| node.signal("STOP"), builder, &mut cluster).await;
}
