//! The rules for stores and leases, against a real server.

mod support;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use cache_core::conformance::{
    self, Harness, LeaseHarness, LockHarness, Report, SharedHarness, StoreHarness, Violation,
    hostile_bytes,
};
use cache_core::store::{
    AsyncStore, Backplane, Plain, Receiver, Station, Store, StoreError, Stored,
};
use cache_core::{Instant, Lifetime};
use cache_redis::{Blocking, RedisLocks, RedisStore, Server};
#[cfg(feature = "cluster")]
use support::RedisCluster;
use support::{PATIENCE, RedisServer, eventually};
use tokio::runtime::Runtime;

type Texts = RedisStore<String, Plain>;

/// Where entries are.
enum Redis {
    One(RedisServer),
    #[cfg(feature = "cluster")]
    Cluster(RedisCluster),
}

impl Redis {
    fn address(&self) -> String {
        match self {
            Self::One(server) => server.address(),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => cluster.address(),
        }
    }

    /// Those that own slots.
    fn primaries(&self) -> &[RedisServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => &cluster.nodes[..3],
        }
    }

    fn all(&mut self) -> &mut [RedisServer] {
        match self {
            Self::One(server) => std::slice::from_mut(server),
            #[cfg(feature = "cluster")]
            Self::Cluster(cluster) => &mut cluster.nodes,
        }
    }

    fn names(&self) -> Vec<String> {
        self.primaries().iter().flat_map(RedisServer::names).collect()
    }

    fn restart(&mut self) {
        self.all().iter_mut().for_each(RedisServer::restart);
        #[cfg(feature = "cluster")]
        if let Self::Cluster(cluster) = self {
            cluster.settle();
        }
    }
}

/// Redis, and a clock that goes with the real one.
struct RealTime {
    redis: Rc<RefCell<Redis>>,
    runtime: Arc<Runtime>,
    made: Cell<u64>,
    started: std::time::Instant,
    unit: Duration,
}

/// A store, and what it was made with.
struct Placed {
    texts: Blocking<Texts>,
    server: Server,
    prefix: String,
}

impl RealTime {
    fn new(redis: Redis, unit: Duration) -> Self {
        Self {
            unit,
            redis: Rc::new(RefCell::new(redis)),
            runtime: Arc::new(Runtime::new().unwrap()),
            made: Cell::new(0),
            started: std::time::Instant::now(),
        }
    }

    fn server(&self) -> Server {
        let address = self.redis.borrow().address();
        Server::builder(&address)
            .unwrap()
            .operation_timeout(PATIENCE)
            .connect_timeout(PATIENCE)
            .build()
            .unwrap()
    }

    fn placed(&self, server: Server, prefix: &str, namespace: &str) -> Placed {
        let store = Texts::new(&server, prefix, Plain).unwrap().namespace(namespace);
        let store = store.max_value_bytes(1_000).max_key_bytes(1 << 20);
        // What one handle clears is gone for the other at once.
        let store = store.version_check(Duration::ZERO);
        Placed { texts: store.blocking(), server, prefix: prefix.into() }
    }

    fn prefix(&self) -> String {
        self.made.set(self.made.get() + 1);
        format!("test:{}", self.made.get())
    }

    async fn texts_of(&self, store: &Placed) -> Result<(), StoreError> {
        let absent = self.key(999);
        store.texts.as_async().get(&absent[..], self.now()).await.map(drop)
    }

    /// The names of the entries of a store.
    fn entries(&self, store: &Placed) -> Vec<String> {
        let stem = format!("{}:main:e", store.prefix);
        let names = self.redis.borrow().names();
        names.into_iter().filter(|name| name.starts_with(&stem)).collect()
    }
}

impl Harness for RealTime {
    type Key = [u8];

    fn key(&self, n: u64) -> Vec<u8> {
        format!("key {n}").into_bytes()
    }

    fn now(&self) -> Instant {
        Instant::from_secs(1_000) + self.started.elapsed()
    }

    fn advance(&self, span: Duration) -> Instant {
        std::thread::sleep(span);
        self.now()
    }

    fn unit(&self) -> Duration {
        self.unit
    }

    fn tolerance(&self) -> Duration {
        self.unit / 7
    }

    fn hostile_keys(&self) -> Vec<Vec<u8>> {
        hostile_bytes()
    }
}

impl StoreHarness for RealTime {
    type Value = String;
    type Store = Placed;

    fn make(&self) -> Placed {
        self.placed(self.server(), &self.prefix(), "main")
    }

    fn value(&self, n: u64) -> String {
        format!("value {n}")
    }

    fn none_value(&self) -> Option<String> {
        Some(String::new())
    }

    fn oversized_value(&self) -> Option<String> {
        Some("x".repeat(1_001))
    }

    fn another(&self, store: &Placed) -> Option<Placed> {
        Some(self.placed(self.server(), &store.prefix, "main"))
    }

    fn neighbour(&self, store: &Placed) -> Option<Placed> {
        Some(self.placed(store.server.clone(), &store.prefix, "beside"))
    }

    fn held(&self, store: &Placed) -> Option<usize> {
        Some(self.entries(store).len())
    }

    fn corrupt(&self, store: &Placed, key: &[u8]) -> bool {
        let key = String::from_utf8_lossy(key).replace(' ', "%20");
        let names = self.entries(store);
        let name = names.iter().find(|name| name.ends_with(&format!(":{{{key}}}"))).unwrap();
        let redis = self.redis.borrow();
        let damaged = |node: &RedisServer| node.ask(&["SETRANGE", name, "30", "damaged"]).is_some();
        redis.primaries().iter().any(damaged)
    }

    fn outage(&self, store: &Placed, on: bool) -> bool {
        if on {
            self.redis.borrow_mut().all().iter_mut().for_each(RedisServer::kill);
        } else {
            self.redis.borrow_mut().restart();
            let usable = async || self.texts_of(store).await.is_ok();
            self.runtime.block_on(eventually("the store is used again", usable));
        }
        true
    }
}

impl Store<[u8], String> for Placed {
    fn get(&self, key: &[u8], now: Instant) -> Result<Option<Stored<String>>, StoreError> {
        self.texts.get(key, now)
    }

    fn put(&self, key: &[u8], v: &String, life: Lifetime, now: Instant) -> Result<(), StoreError> {
        self.texts.put(key, v, life, now)
    }

    fn remove(&self, key: &[u8], now: Instant) -> Result<bool, StoreError> {
        Store::<[u8], String>::remove(&self.texts, key, now)
    }

    fn get_many(
        &self,
        keys: &[&[u8]],
        now: Instant,
        found: &mut dyn FnMut(usize, Stored<String>),
    ) -> Result<(), StoreError> {
        self.texts.get_many(keys, now, found)
    }

    fn put_if_absent(
        &self,
        key: &[u8],
        value: &String,
        life: Lifetime,
        now: Instant,
    ) -> Result<bool, StoreError> {
        self.texts.put_if_absent(key, value, life, now)
    }

    fn clear(&self, now: Instant) -> Result<(), StoreError> {
        Store::<[u8], String>::clear(&self.texts, now)
    }

    fn purge(&self, now: Instant, budget: usize) -> Result<usize, StoreError> {
        Store::<[u8], String>::purge(&self.texts, now, budget)
    }
}

impl LeaseHarness for RealTime {
    type Leases = Blocking<Texts>;

    fn make(&self) -> Blocking<Texts> {
        self.placed(self.server(), &self.prefix(), "main").texts
    }

    fn another(&self, leases: &Blocking<Texts>) -> Option<Blocking<Texts>> {
        let _ = leases;
        let prefix = format!("test:{}", self.made.get());
        Some(self.placed(self.server(), &prefix, "main").texts)
    }
}

impl LockHarness for RealTime {
    type Locks = Blocking<RedisLocks>;

    fn make(&self) -> Blocking<RedisLocks> {
        RedisLocks::new(&self.server(), self.prefix()).unwrap().blocking()
    }

    fn take_away(&self, _: &Blocking<RedisLocks>, name: &str) -> bool {
        let (prefix, name) = (self.made.get(), name.replace(' ', "%20"));
        let name = format!("test:{prefix}:default:k:{{{name}}}");
        let redis = self.redis.borrow();
        redis.primaries().iter().any(|node| node.ask(&["DEL", &name]).as_deref() == Some(":1\r\n"))
    }
}

impl SharedHarness for RealTime {
    type Value = String;
    type Store = Blocking<Texts>;

    fn make(&self) -> Blocking<Texts> {
        self.placed(self.server(), &self.prefix(), "main").texts
    }

    fn value(&self, n: u64) -> String {
        format!("value {n}")
    }

    fn another(&self, _: &Blocking<Texts>) -> Option<Blocking<Texts>> {
        let prefix = format!("test:{}", self.made.get());
        Some(self.placed(self.server(), &prefix, "main").texts)
    }

    /// Between the nodes of a cluster, messages may overtake each other.
    fn told_in_order(&self) -> bool {
        matches!(*self.redis.borrow(), Redis::One(_))
    }

    /// As another process would listen, when Redis says that it does.
    fn listen(
        &self,
        store: &Blocking<Texts>,
        receiver: Weak<dyn Receiver<Vec<u8>>>,
    ) -> Option<Station> {
        let _runtime = self.runtime.enter();
        let opened = Arc::new(Opened { opened: AtomicBool::new(false) });
        let backplane = store.as_async().backplane();
        let station = backplane.attach(receiver);
        let first: Arc<dyn Receiver<Vec<u8>>> = opened.clone();
        Backplane::attach(&backplane, Arc::downgrade(&first));
        let open = async || opened.opened.load(Relaxed);
        self.runtime.block_on(eventually("the channel is open", open));
        Some(station)
    }
}

/// Notes that the channel is open: attached after another, it is told after that one.
struct Opened {
    opened: AtomicBool,
}

impl Receiver<Vec<u8>> for Opened {
    fn opened(&self) {
        self.opened.store(true, Relaxed);
    }
    fn closed(&self) {}
    fn changed(&self, _: Vec<u8>) {}
    fn filled(&self, _: Vec<u8>) {}
    fn expired(&self, _: Vec<u8>) {}
    fn cleared(&self) {}
    fn tag_expired(&self, _: &str) {}
    fn tag_invalidated(&self, _: &str) {}
}

/// How long the machine kept waiting who wanted to do a little: sleep for a while, and ask the server
/// whether it is there.
struct Watch {
    ended: Arc<AtomicBool>,
    longest: JoinHandle<Duration>,
}

impl Watch {
    fn over(socket: PathBuf) -> Self {
        const PAUSE: Duration = Duration::from_millis(2);
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let longest = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !seen.load(Relaxed) {
                let began = std::time::Instant::now();
                std::thread::sleep(PAUSE);
                let _ = support::ping(&socket);
                longest = longest.max(began.elapsed().saturating_sub(PAUSE));
            }
            longest
        });
        Self { ended, longest }
    }

    fn end(self) -> Duration {
        self.ended.store(true, Relaxed);
        self.longest.join().unwrap()
    }
}

/// Checks rules that sleep in real time. A rule that seems broken counts only if the machine kept time;
/// where it did not, everything is checked again, more slowly.
fn conforms(start: fn() -> Redis, check: impl Fn(&RealTime) -> Result<Report, Violation>) {
    let mut unit = Duration::from_millis(150);
    loop {
        let harness = RealTime::new(start(), unit);
        let watch = Watch::over(harness.redis.borrow().primaries()[0].socket());
        let answer = check(&harness);
        let stalled = watch.end() > harness.tolerance() / 2;
        match answer {
            Ok(report) => return println!("{report}"),
            Err(broken) if !stalled || unit > SLOWEST => panic!("{broken}"),
            Err(broken) => println!("again, for the machine stalled: {broken}"),
        }
        unit *= 2;
    }
}

const SLOWEST: Duration = Duration::from_secs(4);

fn one() -> Redis {
    Redis::One(RedisServer::start())
}

#[cfg(feature = "cluster")]
fn cluster() -> Redis {
    Redis::Cluster(RedisCluster::start())
}

#[test]
fn the_leases_conform() {
    conforms(one, conformance::leases);
}

#[test]
fn r9_the_locks_conform() {
    conforms(one, conformance::locks);
}

#[test]
fn the_store_conforms_as_one_that_is_shared() {
    conforms(one, conformance::shared);
}

#[test]
fn the_store_conforms() {
    conforms(one, conformance::store);
}

#[cfg(feature = "cluster")]
#[test]
fn r5_the_leases_conform_in_a_cluster() {
    conforms(cluster, conformance::leases);
}

#[cfg(feature = "cluster")]
#[test]
fn r5_the_locks_conform_in_a_cluster() {
    conforms(cluster, conformance::locks);
}

#[cfg(feature = "cluster")]
#[test]
fn r5_the_store_conforms_in_a_cluster_as_one_that_is_shared() {
    conforms(cluster, conformance::shared);
}

#[cfg(feature = "cluster")]
#[test]
fn r5_the_store_conforms_in_a_cluster() {
    conforms(cluster, conformance::store);
}
