//! Tracking, when the server that tells of names is replaced by another, or is one of several.
#![cfg(all(feature = "cluster", feature = "sentinel"))]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cache_core::store::{AsyncStore, Plain};
use cache_core::{Instant, Lifetime};
use cache_redis::{Connection, RedisStore, Server, ServerError};
use support::{Listener, RedisCluster, RedisServer, Told, Watched, eventually};

type Texts = RedisStore<String, Plain>;
type Ear = Listener<String>;

const NOW: Instant = Instant::ORIGIN;

/// With the time-outs that are usual: a server that is gone is to be noticed.
fn store(address: &str) -> Texts {
    Texts::new(&Server::open(address).unwrap(), "app", Plain).unwrap()
}

async fn tracks(address: &str) -> (Texts, Arc<Ear>) {
    let store = store(address).tracking();
    let (ear, _) = Ear::on(&store.backplane());
    ear.hears(Told::Opened, 1).await;
    (store, ear)
}

async fn put(store: &Texts, key: &str) {
    let life = Lifetime::fresh_for(Duration::from_secs(600));
    eventually("it is put", async || store.put(key, &"text".to_owned(), life, NOW).await.is_ok())
        .await;
}

fn expired(key: &str) -> Told {
    Told::Expired(key.to_owned())
}

/// Another program deletes an entry that was put, at the server that has it.
async fn is_told(ear: &Ear, writer: &Texts, servers: &[RedisServer], key: &str) {
    put(writer, key).await;
    eventually("the put is told", async || ear.count(&Told::Changed(key.to_owned())) > 0).await;
    let has = |server: &&RedisServer| {
        server.runs() && server.entry_of(key).is_some() && is_primary(server)
    };
    let server = servers.iter().find(has).expect("it is somewhere");
    server.ask(&["DEL", &server.entry_of(key).unwrap()]).unwrap();
    ear.hears(expired(key), 1).await;
}

fn is_primary(server: &RedisServer) -> bool {
    server.ask(&["INFO", "replication"]).is_some_and(|text| text.contains("role:master"))
}

async fn is_open(store: &Texts) {
    let plane = store.backplane();
    eventually("all is told", async || plane.is_open() && plane.connection() == Connection::Up)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_the_primary_that_sentinels_name_next_is_tracked_too() {
    let mut watched = Watched::start();
    watched.servers.iter().for_each(RedisServer::allow_tracking);
    let writer = store(&watched.address());
    let (listens, ear) = tracks(&watched.address()).await;
    is_told(&ear, &writer, &watched.servers, "before").await;
    watched.servers[0].kill();
    ear.hears(Told::Closed, 1).await;
    eventually("the replica is promoted", async || watched.is_promoted()).await;
    ear.hears(Told::Opened, 2).await;
    is_open(&listens).await;
    is_told(&ear, &writer, &watched.servers, "after").await;
}

/// Keys of all primaries.
async fn all_are_told(ear: &Ear, writer: &Texts, cluster: &RedisCluster, name: &str) {
    let mut owners = std::collections::BTreeSet::new();
    for n in 0..12 {
        let key = format!("{name}{n}");
        owners.insert(cluster.first_owner(&format!("{{{key}}}")));
        is_told(ear, writer, &cluster.nodes, &key).await;
    }
    assert_eq!(owners.len(), 3, "the keys are of all slots' thirds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_all_primaries_of_a_cluster_are_tracked_and_a_new_one_is_a_gap() {
    let mut cluster = RedisCluster::start();
    cluster.nodes.iter().for_each(RedisServer::allow_tracking);
    let writer = store(&cluster.address());
    let (listens, ear) = tracks(&cluster.address()).await;
    all_are_told(&ear, &writer, &cluster, "before").await;
    assert_eq!(listens.backplane().tracked().unwrap().changes, 12, "each by one primary");
    assert_eq!(ear.count(&Told::Opened), 1);
    cluster.nodes[0].kill();
    ear.hears(Told::Closed, 1).await;
    eventually("the replica is promoted", async || cluster.is_promoted(0)).await;
    ear.hears(Told::Opened, 2).await;
    cluster.settle();
    is_open(&listens).await;
    all_are_told(&ear, &writer, &cluster, "after").await;
}

/// An emptied node has emptied a part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_emptied_or_cut_off_is_a_gap() {
    let cluster = RedisCluster::start();
    cluster.nodes.iter().for_each(RedisServer::allow_tracking);
    let (listens, ear) = tracks(&cluster.address()).await;
    for (n, node) in cluster.nodes[..3].iter().enumerate() {
        node.ask(&["FLUSHALL"]).unwrap();
        ear.hears(Told::Opened, n + 2).await;
    }
    assert_eq!(listens.backplane().tracked().unwrap().emptied, 3);
    for node in &cluster.nodes[..3] {
        let opened = ear.count(&Told::Opened);
        node.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
        ear.hears(Told::Opened, opened + 1).await;
        is_open(&listens).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_that_does_not_let_its_user_track_is_enough_to_say_so() {
    let cluster = RedisCluster::start();
    cluster.nodes[1..].iter().for_each(RedisServer::allow_tracking);
    let listens = store(&cluster.address()).tracking();
    let (ear, _) = Ear::on(&listens.backplane());
    let (plane, denied) = (listens.backplane(), Connection::Down(ServerError::NoTracking));
    eventually("it says so", async || plane.connection() == denied).await;
    put(&store(&cluster.address()), "key").await;
    eventually("messages are told", async || ear.count(&Told::Changed("key".into())) == 1).await;
    assert!(!plane.is_open() && ear.count(&Told::Opened) == 0);
    cluster.nodes[0].allow_tracking();
    ear.hears(Told::Opened, 1).await;
    is_open(&listens).await;
}
