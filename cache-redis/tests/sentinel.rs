//! A primary behind sentinels: failovers, a name that nobody knows, passwords.
#![cfg(feature = "sentinel")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

use cache_core::store::{AsyncStore, Plain, StoreError};
use cache_core::{Instant, Lifetime};
use cache_redis::{BuildError, Connection, RedisStore, Server, ServerBuilder, ServerError};
use support::{LOGIN, PATIENCE, RedisServer, SERVICE, Watched, behind, eventually, free_ports};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;

fn store(server: &Server) -> Texts {
    Texts::new(server, "app", Plain).unwrap()
}

/// One that waits as long as it takes.
fn patient(builder: ServerBuilder) -> Texts {
    let builder = builder.operation_timeout(PATIENCE).connect_timeout(PATIENCE);
    store(&builder.build().unwrap())
}

async fn put(store: &Texts, key: &str) -> Result<(), StoreError> {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    store.put(key, &format!("of {key}"), minute, NOW).await
}

async fn kind(store: &Texts) -> Option<ServerError> {
    behind(&put(store, "key").await.unwrap_err())
}

/// The primary fails in some way, under callers who write without pause.
async fn failover(fail: impl FnOnce(&mut RedisServer)) {
    let mut watched = Watched::start();
    let store = Arc::new(store(&Server::open(&watched.address()).unwrap()));
    eventually("it is put", async || put(&store, "key").await.is_ok()).await;
    let (stop, errors) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let caller = tokio::spawn({
        let (store, stop, errors) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&errors));
        async move {
            let (mut slowest, mut failed, mut back) = (Duration::ZERO, false, None);
            while !stop.load(Relaxed) {
                let began = Clock::now();
                let is_err = put(&store, "key").await.is_err();
                errors.fetch_add(u32::from(is_err), Relaxed);
                failed |= is_err;
                back = back.filter(|_| !is_err).or_else(|| failed.then(Clock::now));
                slowest = slowest.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (slowest, back)
        }
    });
    let failed = Clock::now();
    fail(&mut watched.servers[0]);
    eventually("the replica is promoted", async || watched.is_promoted()).await;
    let promoted = Clock::now();
    eventually("a sentinel says so", async || watched.is_named()).await;
    let named = Clock::now();
    eventually("it is written again", async || put(&store, "again").await.is_ok()).await;
    let (after, told) = (promoted - failed, named - promoted);
    stop.store(true, Relaxed);
    let ((slowest, back), errors) = (caller.await.unwrap(), errors.load(Relaxed));
    let back = back.expect("there were errors").saturating_duration_since(promoted);
    println!(
        "promoted after {after:?}; from then on, named after {told:?}, written after {back:?}"
    );
    println!("{errors} errors, slowest call {slowest:?}");
    assert!(watched.servers[1].names().iter().any(|name| name.contains("again")));
    assert!(back < PATIENCE && store.server().connections_lost() >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_killed_primary_is_replaced_by_the_one_that_sentinels_name() {
    failover(RedisServer::kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_stopped_primary_is_replaced_though_it_never_wakes() {
    failover(|primary| primary.signal("STOP")).await;
}

/// Nobody fails: the primary becomes a replica, and takes no more writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_demoted_primary_is_left() {
    let watched = Watched::start();
    let store = patient(Server::builder(&watched.address()).unwrap());
    put(&store, "before").await.unwrap();
    watched.sentinels[0].ask(&["SENTINEL", "FAILOVER", SERVICE]).unwrap();
    eventually("the replica is promoted", async || watched.is_promoted()).await;
    eventually("the new primary has it", async || {
        let _ = put(&store, "after").await;
        watched.servers[1].names().iter().any(|name| name.contains("after"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_what_sentinels_do_not_know_is_said() {
    let watched = Watched::start();
    let address = watched.address().replace(SERVICE, "shoe");
    let unknown = patient(Server::builder(&address).unwrap());
    assert_eq!(kind(&unknown).await, Some(ServerError::UnknownService));
    let is = unknown.server().connection();
    assert_eq!(is, Connection::Down(ServerError::UnknownService));
    let nobody = format!("redis+sentinel://127.0.0.1:{}/{SERVICE}", free_ports(1)[0]);
    let nobody = patient(Server::builder(&nobody).unwrap());
    assert_eq!(kind(&nobody).await, Some(ServerError::Refused));
}

/// Two of three sentinels are gone or hang: the third is enough to find the primary.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_one_sentinel_that_answers_is_enough() {
    let mut watched = Watched::start();
    watched.sentinels[0].kill();
    watched.sentinels[1].signal("STOP");
    let store = store(&Server::open(&watched.address()).unwrap());
    eventually("it is put", async || put(&store, "key").await.is_ok()).await;
}

const CANARY: &str = "canary-51d0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_servers_and_sentinels_have_passwords_of_their_own() {
    let settings = ["--requirepass", "right", "--masterauth", "right"];
    let watched = Watched::start_with(&settings, ["right", CANARY]);
    let with = |server: &str, sentinel: &str| {
        let hosts = watched.ports.iter().map(|port| format!("redis://127.0.0.1:{port}"));
        let builder = Server::sentinel(hosts, SERVICE).unwrap();
        builder.credentials("", server).sentinel_credentials("", sentinel)
    };
    put(&patient(with("right", CANARY)), "key").await.unwrap();
    let wrong = patient(with(CANARY, CANARY));
    let error = put(&wrong, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Auth));
    assert_eq!(kind(&patient(with("right", "wrong"))).await, Some(ServerError::Auth));
    let by_url = watched.address().replace(LOGIN, ":right");
    let by_url = Server::builder(&by_url).unwrap().sentinel_credentials("", CANARY);
    put(&patient(by_url), "key").await.unwrap();
    let shown =
        format!("{error} {error:?} {wrong:?} {:?} {:?}", wrong.server(), with(CANARY, CANARY));
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn r6_a_service_needs_sentinels_and_a_name() {
    let none: [&str; 0] = [];
    assert_eq!(Server::sentinel(none, SERVICE).err(), Some(BuildError::Address));
    assert_eq!(Server::sentinel(["redis://one"], "").err(), Some(BuildError::Address));
    assert_eq!(Server::sentinel(["unix:///one"], SERVICE).err(), Some(BuildError::Address));
}
