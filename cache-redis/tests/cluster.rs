//! A Redis Cluster: keys of all slots, primaries that are killed or stopped, slots that move.
#![cfg(feature = "cluster")]

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant as Clock};

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Plain, Station, StoreError, TagChange,
};
use cache_core::{Instant, Lifetime};
use cache_redis::{Connection, LockOptions, RedisLocks, RedisStore, Released, Server, ServerError};
use support::{
    LOGIN, Listener, PATIENCE, RedisCluster, RedisServer, Told, behind, eventually, free_ports,
    keys_of, victim,
};
use tokio::task::JoinSet;

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;

fn store(server: &Server) -> Texts {
    Texts::new(server, "app", Plain).unwrap()
}

/// A store with the time-outs that are usual.
fn store_at(address: &str) -> Texts {
    store(&Server::open(address).unwrap())
}

/// One that waits as long as it takes.
fn patient(address: &str) -> Texts {
    let builder = Server::builder(address).unwrap();
    let builder = builder.operation_timeout(PATIENCE).connect_timeout(PATIENCE);
    store(&builder.build().unwrap())
}

async fn put(store: &Texts, key: &str) -> Result<(), StoreError> {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    store.put(key, &format!("of {key}"), minute, NOW).await
}

async fn get(store: &Texts, key: &str) -> Result<bool, StoreError> {
    let found = store.get(key, NOW).await?;
    if let Some(found) = &found {
        assert_eq!(found.value, format!("of {key}"), "the answer to another question");
    }
    Ok(found.is_some())
}

/// What callers met who read and write without pause: each primary's apart.
#[derive(Clone, Default)]
struct Met {
    errors: BTreeMap<String, u32>,
    /// What each call took.
    took: Vec<Duration>,
}

impl fmt::Debug for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut took = self.took.clone();
        took.sort();
        let at = |percent: usize| took.get((took.len() * percent / 100).min(took.len() - 1));
        write!(f, "{} calls, errors {:?}, ", took.len(), self.errors)?;
        write!(f, "p50 {:?}, p99 {:?}, slowest {:?}", at(50), at(99), took.last())
    }
}

struct Load {
    stop: Arc<AtomicBool>,
    callers: JoinSet<(usize, Met)>,
}

impl Load {
    fn on(store: &Arc<Texts>, keys: &[Vec<String>; 3]) -> Self {
        let (stop, mut callers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for (n, key) in
            keys.iter().enumerate().flat_map(|(n, of)| of.iter().map(move |key| (n, key)))
        {
            let (store, stop, key) = (Arc::clone(store), Arc::clone(&stop), key.clone());
            callers.spawn(async move {
                let mut met = Met::default();
                while !stop.load(Relaxed) {
                    met.note(put(&store, &key)).await;
                    met.note(async { get(&store, &key).await.map(drop) }).await;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                (n, met)
            });
        }
        Self { stop, callers }
    }

    async fn end(self) -> [Met; 3] {
        self.stop.store(true, Relaxed);
        let mut all = <[Met; 3]>::default();
        for (n, met) in self.callers.join_all().await {
            all[n].took.extend(met.took);
            met.errors
                .into_iter()
                .for_each(|(error, count)| *all[n].errors.entry(error).or_default() += count);
        }
        all
    }
}

impl Met {
    async fn note(&mut self, call: impl Future<Output = Result<(), StoreError>>) {
        let began = Clock::now();
        let ended = call.await;
        self.took.push(began.elapsed());
        if let Err(error) = ended {
            *self.errors.entry(format!("{:?}", behind(&error))).or_default() += 1;
        }
    }
}

async fn fill(store: &Texts, keys: &[Vec<String>; 3]) {
    for key in keys.iter().flatten() {
        eventually("it is put", async || put(store, key).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_keys_of_all_slots_are_kept_found_cleared_and_purged() {
    let cluster = RedisCluster::start();
    let store = patient(&cluster.address());
    assert_eq!(store.server().connection(), Connection::Starting);
    let keys: Vec<_> = (0..300).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        put(&store, key).await.unwrap();
        assert!(get(&store, key).await.unwrap());
    }
    assert_eq!(store.server().connection(), Connection::Up);
    let mut found = vec![];
    let asked: Vec<&String> = keys.iter().collect();
    store.get_many(&asked, NOW, &mut |n, stored| found.push((n, stored.value))).await.unwrap();
    found.sort();
    let expected: Vec<_> = keys.iter().map(|key| format!("of {key}")).enumerate().collect();
    assert_eq!(found, expected);
    assert!(store.remove("key-0", NOW).await.unwrap());
    AsyncStore::<str, String>::clear(&store, NOW).await.unwrap();
    assert!(!get(&store, "key-1").await.unwrap());
    put(&store, "key-1").await.unwrap();
    let mut freed = 0;
    for budget in [100, 50, 1_000] {
        freed += AsyncStore::<str, String>::purge(&store, NOW, budget).await.unwrap();
    }
    assert_eq!(freed, 299, "all that was cleared, on all primaries");
    assert!(get(&store, "key-1").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_leases_and_locks_are_held_in_a_cluster() {
    let cluster = RedisCluster::start();
    let store = patient(&cluster.address());
    let locks = RedisLocks::new(store.server(), "app").unwrap();
    let ten = Duration::from_secs(10);
    for n in 0..20 {
        let key = format!("key-{n}");
        let lease = store.acquire(&*key, ten, NOW).await.unwrap().expect("it is free");
        assert!(store.acquire(&*key, ten, NOW).await.unwrap().is_none());
        assert!(store.renew(&*key, &lease, ten, NOW).await.unwrap());
        assert!(store.release(&*key, lease, NOW).await.unwrap());
        let lock = locks.acquire(&*key, LockOptions::new(ten)).await.unwrap();
        assert_eq!(lock.release().await.unwrap(), Released::Released);
    }
}

/// A primary fails in some way; its replica is promoted. What its keys' callers and the others' met, and
/// how long after the promotion the keys were written again.
async fn failover(fail: impl FnOnce(&mut RedisServer)) -> (usize, [Met; 3], Duration) {
    let mut cluster = RedisCluster::start();
    let store = Arc::new(store_at(&cluster.address()));
    let keys = keys_of(&cluster, 8);
    fill(&store, &keys).await;
    let victim = victim(&cluster);
    let mut watch = store.server().watch();
    let before = Load::on(&store, &keys);
    tokio::time::sleep(Duration::from_secs(1)).await;
    before.end().await.iter().for_each(|met| println!("before: {met:?}"));
    let load = Load::on(&store, &keys);
    let failed = Clock::now();
    fail(&mut cluster.nodes[victim]);
    eventually("it is noticed", async || {
        let changed = tokio::time::timeout(PATIENCE, watch.changed()).await;
        matches!(changed, Ok(Some(Connection::Partly { .. })))
    })
    .await;
    let noticed = failed.elapsed();
    eventually("the replica is promoted", async || cluster.is_promoted(victim)).await;
    let promoted = Clock::now();
    let again = keys[victim].first().unwrap();
    eventually("its keys are written again", async || put(&store, again).await.is_ok()).await;
    let back = promoted.elapsed();
    println!(
        "noticed after {noticed:?}, promoted after {:?}, written again {back:?} later",
        promoted - failed
    );
    eventually("all is well", async || store.server().connection() == Connection::Up).await;
    let met = load.end().await;
    for (n, met) in met.iter().enumerate() {
        println!("{} {met:?}", if n == victim { "of the one that failed:" } else { "of another:" });
    }
    (victim, met, back)
}

/// On a machine that keeps time there are no errors at all. One that stalls may cost some; had the others'
/// callers waited for the promotion too, most calls would have ended with one.
fn others_did_not_notice(victim: usize, met: &[Met; 3]) {
    for (n, met) in met.iter().enumerate().filter(|(n, _)| *n != victim) {
        let errors: u32 = met.errors.values().sum();
        assert!((errors as usize) * 4 < met.took.len(), "callers of primary {n} met {met:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_killed_primary_is_replaced_by_its_replica() {
    let (victim, met, back) = failover(RedisServer::kill).await;
    others_did_not_notice(victim, &met);
    assert!(back < PATIENCE);
}

/// A client that hears of failures by refused connections alone would wait until the node wakes: here it
/// never does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_stopped_primary_is_replaced_though_it_never_wakes() {
    let (victim, met, back) = failover(|node| node.signal("STOP")).await;
    others_did_not_notice(victim, &met);
    assert!(back < PATIENCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_slots_that_move_under_load_cost_no_error() {
    let cluster = RedisCluster::start();
    let store = Arc::new(patient(&cluster.address()));
    let keys = keys_of(&cluster, 16);
    fill(&store, &keys).await;
    let load = Load::on(&store, &keys);
    let began = Clock::now();
    let mut moved = 0;
    let version = cluster.slot("app:default:v");
    for (from, of) in keys.iter().enumerate() {
        let to = (from + 1) % 3;
        let mut slots: Vec<_> = of.iter().map(|key| cluster.slot(key)).collect();
        slots.extend((version / 5_462 == from as u16).then_some(version));
        // Many more without keys.
        slots.extend(from as u16 * 5_462..from as u16 * 5_462 + 316);
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            cluster.begin_move(slot, from, to);
            // One by one, so that some are here and some there.
            while cluster.move_keys(slot, from, to, 1) > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            cluster.end_move(slot, to);
            moved += 1;
        }
    }
    println!("{moved} slots moved in {:?}", began.elapsed());
    for met in load.end().await {
        println!("{met:?}");
        assert!(met.errors.is_empty() && !met.took.is_empty());
    }
    for key in keys.iter().flatten() {
        assert!(get(&store, key).await.unwrap(), "{key} was lost");
    }
}

#[tokio::test]
async fn r5_a_key_that_moves_is_asked_for_on_both_sides() {
    let cluster = RedisCluster::start();
    let store = patient(&cluster.address());
    let keys = keys_of(&cluster, 2);
    let (key, slot) = (&keys[0][0], cluster.slot(&keys[0][0]));
    put(&store, key).await.unwrap();
    cluster.begin_move(slot, 0, 1);
    assert!(get(&store, key).await.unwrap(), "it is still where it was");
    assert_eq!(cluster.move_keys(slot, 0, 1, 10), 1);
    assert!(get(&store, key).await.unwrap(), "it is asked for on the other side");
    // Redis itself carries out nothing on two names while their slot moves, unless both are there: a change
    // of an entry, whose lease is absent, and a lease, whose number is.
    let ten = Duration::from_secs(10);
    let error = put(&store, key).await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Redirected));
    let error = store.acquire(&**key, ten, NOW).await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Redirected));
    cluster.end_move(slot, 1);
    assert!(get(&store, key).await.unwrap(), "it is where it was moved to");
    assert!(store.acquire(&**key, ten, NOW).await.unwrap().is_some());
    assert_eq!(store.server().connections_lost(), 0);
}

/// The two names of a lease are on two sides: nobody can run the script, until the move goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_what_is_on_both_sides_is_tried_again_within_its_time() {
    let cluster = RedisCluster::start();
    let store = patient(&cluster.address());
    let keys = keys_of(&cluster, 1);
    let (key, slot) = (&*keys[0][0], cluster.slot(&keys[0][0]));
    let minute = Duration::from_secs(60);
    let lease = store.acquire(key, minute, NOW).await.unwrap().expect("it is free");
    cluster.begin_move(slot, 0, 1);
    assert_eq!(cluster.move_keys(slot, 0, 1, 1), 1, "one of the two");
    let began = Clock::now();
    let error = store.renew(key, &lease, minute, NOW).await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Redirected));
    println!("given up after {:?}", began.elapsed());
    cluster.move_keys(slot, 0, 1, 10);
    assert!(store.renew(key, &lease, minute, NOW).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_one_node_that_answers_is_enough_to_begin_with() {
    let cluster = RedisCluster::start();
    let nobody = free_ports(1)[0];
    let address =
        format!("redis+cluster://{LOGIN}@127.0.0.1:{nobody},127.0.0.1:{}", cluster.ports[4]);
    let store = patient(&address);
    put(&store, "key").await.unwrap();
    let nobody = patient(&format!("redis+cluster://127.0.0.1:{nobody}"));
    let error = put(&nobody, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::Refused));
    // One that hangs is given up like one that is not there.
    cluster.nodes[3].signal("STOP");
    let [hangs, answers] = [3, 4].map(|n: usize| cluster.ports[n]);
    let address = format!("redis+cluster://{LOGIN}@127.0.0.1:{hangs},127.0.0.1:{answers}");
    let (store, began) = (store_at(&address), Clock::now());
    eventually("it is put", async || put(&store, "key").await.is_ok()).await;
    println!("behind a node that hangs: put after {:?}", began.elapsed());
}

#[tokio::test]
async fn r5_the_longest_spans_there_are_do_not_overflow() {
    let nobody = free_ports(1)[0];
    for scheme in ["redis", "redis+cluster"] {
        let builder = Server::builder(&format!("{scheme}://127.0.0.1:{nobody}")).unwrap();
        let [builder, all] = [builder.clone(), builder.connect_timeout(Duration::MAX)];
        for builder in [builder, all.heartbeat(Duration::MAX)] {
            let store = store(&builder.operation_timeout(Duration::MAX).build().unwrap());
            let answer =
                tokio::time::timeout(PATIENCE, get(&store, "key")).await.expect("it is refused");
            assert_eq!(behind(&answer.unwrap_err()), Some(ServerError::Refused));
        }
    }
}

/// Nothing goes on when nobody needs it any more.
#[test]
fn r5_no_task_is_left_of_a_cluster_that_was_dropped() {
    let cluster = RedisCluster::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = patient(&cluster.address());
        for key in keys_of(&cluster, 2).iter().flatten() {
            put(&store, key).await.unwrap();
        }
        let metrics = tokio::runtime::Handle::current().metrics();
        assert!(metrics.num_alive_tasks() > 0);
        drop(store);
        eventually("all tasks end", async || metrics.num_alive_tasks() == 0).await;
    });
}

#[tokio::test]
async fn r5_a_slot_that_nobody_serves_is_an_error_of_its_own() {
    let cluster = RedisCluster::start();
    let store = patient(&cluster.address());
    let keys = keys_of(&cluster, 1);
    let version = cluster.first_owner("app:default:v");
    let key = &*keys[(version + 1) % 3][0];
    put(&store, key).await.unwrap();
    let slot = cluster.slot(key).to_string();
    cluster.nodes.iter().for_each(|node| drop(node.ask(&["CLUSTER", "DELSLOTS", &slot])));
    eventually("it is told", async || {
        let answer = get(&store, key).await;
        matches!(&answer, Err(error) if behind(error) == Some(ServerError::ClusterDown))
    })
    .await;
    assert!(get(&store, &keys[version][0]).await.is_ok());
    assert_eq!(store.server().connections_lost(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_addresses_of_the_wrong_kind_are_told_apart() {
    let port = free_ports(1)[0].to_string();
    let alone = RedisServer::start_with(&["--port", &port]);
    let store = patient(&format!("redis+cluster://{LOGIN}@127.0.0.1:{port}"));
    let error = put(&store, "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::NotACluster));
    assert_eq!(store.server().connection(), Connection::Down(ServerError::NotACluster));
    drop(alone);
    let node = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let error = put(&patient(&node.address()), "key").await.unwrap_err();
    assert_eq!(behind(&error), Some(ServerError::IsACluster));
}

#[test]
fn r5_a_cluster_outlives_the_runtime_of_its_first_operation() {
    let cluster = RedisCluster::start();
    let store = patient(&cluster.address());
    for n in 0..3 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for key in (0..10).map(|key| format!("key-{key}")) {
            runtime.block_on(put(&store, &key)).unwrap_or_else(|error| panic!("{n} {error:?}"));
            assert!(runtime.block_on(get(&store, &key)).unwrap());
        }
    }
}

/// What one process changes, the others hear of, whichever nodes they are connected to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_changes_are_told_to_all_who_listen_in_a_cluster() {
    let cluster = RedisCluster::start();
    let here = patient(&cluster.address());
    let stores: Vec<_> = (0..3).map(|_| patient(&cluster.address())).collect();
    let ears: Vec<_> =
        stores.iter().map(|store| Listener::<String>::on(&store.backplane()).0).collect();
    for ear in &ears {
        ear.hears(Told::Opened, 1).await;
    }
    for key in keys_of(&cluster, 2).iter().flatten() {
        put(&here, key).await.unwrap();
        for ear in &ears {
            ear.hears(Told::Changed(key.clone()), 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_who_listens_to_a_node_that_dies_goes_to_another_and_knows_of_it() {
    let mut cluster = RedisCluster::start();
    let keys = keys_of(&cluster, 1);
    let (here, there) = (store_at(&cluster.address()), store_at(&cluster.address()));
    let (ear, _) = Listener::<String>::on(&there.backplane());
    ear.hears(Told::Opened, 1).await;
    let listens = |node: &RedisServer| {
        let told = node.ask(&["PUBSUB", "NUMSUB", "app:default:c"]);
        told.is_some_and(|told| told.ends_with(":1\r\n"))
    };
    let dies = cluster.nodes[..3].iter().position(listens).expect("a primary");
    cluster.nodes[dies].kill();
    ear.hears(Told::Closed, 1).await;
    ear.hears(Told::Opened, 2).await;
    for key in keys.iter().flatten() {
        eventually("it is put", async || put(&here, key).await.is_ok()).await;
        ear.hears(Told::Changed(key.clone()), 1).await;
    }
}

/// What is told has no slot: whichever primary is down, it goes by another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_tags_are_told_while_a_primary_is_down() {
    let mut cluster = RedisCluster::start();
    for lost in [3, 0] {
        cluster.nodes[lost].kill();
    }
    let (here, there) = (store_at(&cluster.address()), store_at(&cluster.address()));
    let (ear, _) = Listener::<String>::on(&there.backplane());
    ear.hears(Told::Opened, 1).await;
    let tell = async || {
        let (change, by) = (TagChange::Expire, Station::NOBODY);
        AsyncSharedStore::<str, String>::change_tag(&here, "tag", change, by, NOW).await.is_ok()
    };
    eventually("it is told", tell).await;
    ear.hears(Told::TagExpired("tag".into()), 1).await;
}
