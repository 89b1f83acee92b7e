//! What a store in Redis costs, next to the client library that it uses, on a server of its own:
//! `cargo run --profile compare -p cache-benches --features peers --bin redis`. Needs `redis-server`. With
//! `purge` as its argument, it measures that alone.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use advanced_caching::future::Cache;
use advanced_caching::redis::{RedisStore, Server};
use advanced_caching::store::{AsyncStore, Backplane, Plain, Receiver};
use advanced_caching::{Instant as At, Lifetime};
use cache_benches::progress::Progress;
use cache_benches::quartiles::{self, Quartiles};
use cache_benches::round::{Contestant, Round, play};
use redis::aio::MultiplexedConnection;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

#[path = "redis/cpu.rs"]
mod cpu;
#[path = "redis/purge.rs"]
mod purge;

const KEYS: usize = 1_000;
const VALUE: usize = 1_024;
/// Bytes of an entry, at most, as a store has them by default.
const LIMIT: usize = 16 << 20;
const ROUNDS: usize = 15;
const NOW: At = At::ORIGIN;
const LIFE: Lifetime = Lifetime::fresh_for(Duration::from_secs(3_600));

type Store = RedisStore<Vec<u8>, Plain>;

/// A server on a socket in a folder of its own.
struct RedisServer {
    folder: PathBuf,
    process: Child,
}

impl RedisServer {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("cache-benches-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(folder.join("redis.sock"))
            .arg("--dir")
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed");
        while std::os::unix::net::UnixStream::connect(folder.join("redis.sock")).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { folder, process }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Both ways to the server.
struct Ways {
    runtime: Runtime,
    bare: MultiplexedConnection,
    store: Store,
}

impl Ways {
    fn to(server: &RedisServer) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let bare = runtime.block_on(async {
            let client = redis::Client::open(format!("{}?protocol=resp3", server.address()));
            client.expect("an address").get_multiplexed_async_connection().await
        });
        let server = Server::open(&server.address()).expect("an address");
        let store = Store::new(&server, "bench", Plain).expect("a prefix");
        let ways = Self { runtime, bare: bare.expect("a connection"), store };
        ways.fill();
        ways
    }

    fn fill(&self) {
        let mut bare = self.bare.clone();
        self.runtime.block_on(async {
            for n in 0..KEYS {
                let value = vec![b'x'; VALUE];
                self.store.put(&key(n), &value, LIFE, NOW).await.expect("it is up");
                let mut set = redis::cmd("SET");
                let set = set.arg(key(n)).arg(value).arg("PX").arg(3_600_000);
                set.exec_async(&mut bare).await.expect("it is up");
            }
        });
    }

    /// A round of tasks that ask `each` times, one after another.
    fn round<F>(&self, tasks: usize, each: usize, ask: impl Fn(usize) -> F) -> Round
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let start = Instant::now();
        self.runtime.block_on(async {
            let all: Vec<_> = (0..tasks).map(|task| tokio::spawn(ask(task * each))).collect();
            for task in all {
                task.await.expect("it does not panic");
            }
        });
        Round::alone(start.elapsed(), tasks * each)
    }
}

fn key(n: usize) -> String {
    format!("key:{:04}", n % KEYS)
}

fn main() {
    let server = RedisServer::start();
    let ways = Ways::to(&server);
    if std::env::args().any(|word| word == "purge") {
        return purge::purges(&ways, &server);
    }
    println!("{KEYS} keys, values of {VALUE} bytes, one server on a socket, two threads");
    for (tasks, each) in [(1, 2_000), (64, 500)] {
        gets(&ways, tasks, each);
        puts(&ways, tasks, each);
        batches(&ways, tasks, each / 20);
    }
    cpu::reads(&ways);
    hits(&ways);
    messages(&ways, &server);
    purge::purges(&ways, &server);
}

/// The median of each, and how it compares with the first.
fn compare(title: &str, mut contestants: Vec<Contestant<'_>>) {
    play(&mut contestants, ROUNDS, &Progress::hidden());
    println!("{title}");
    let mut base = None;
    for each in &contestants {
        let spans = each.rounds.iter().map(|round| round.ns_per_op / 1e3);
        let Quartiles { q1, median, q3, .. } = Quartiles::of(spans);
        let ratio = median / *base.get_or_insert(median);
        println!("  {:20} {median:8.2} us  {q1:8.2} .. {q3:8.2}  {ratio:5.2}", each.name);
    }
}

fn gets(ways: &Ways, tasks: usize, each: usize) {
    let bare = |at: usize| {
        let mut connection = ways.bare.clone();
        async move {
            for n in at..at + each {
                let get = redis::cmd("GET").arg(key(n)).query_async(&mut connection).await;
                black_box::<Option<Vec<u8>>>(get.expect("it is up"));
            }
        }
    };
    // The floor of ours, which never fetches more than its limit.
    let limited = |at: usize| {
        let mut connection = ways.bare.clone();
        async move {
            for n in at..at + each {
                let mut get = redis::cmd("GETRANGE");
                let get = get.arg(key(n)).arg(0).arg(LIMIT).query_async(&mut connection).await;
                black_box::<Vec<u8>>(get.expect("it is up"));
            }
        }
    };
    let ours = |check| {
        let store = ways.store.clone().version_check(check);
        move |at: usize| {
            let store = store.clone();
            async move {
                for n in at..at + each {
                    black_box(store.get(&key(n), NOW).await.expect("it is up"));
                }
            }
        }
    };
    let (ours, checked) = (ours(Duration::from_secs(1)), ours(Duration::ZERO));
    let contestants = vec![
        Contestant::new("GET", 1, || ways.round(tasks, each, bare)),
        Contestant::new("GETRANGE", 1, || ways.round(tasks, each, limited)),
        Contestant::new("get", 1, || ways.round(tasks, each, &ours)),
        Contestant::new("get, always checked", 1, || ways.round(tasks, each, &checked)),
    ];
    compare(&format!("get, {tasks} at a time"), contestants);
}

fn puts(ways: &Ways, tasks: usize, each: usize) {
    let bare = |at: usize| {
        let mut connection = ways.bare.clone();
        async move {
            for n in at..at + each {
                let mut set = redis::cmd("SET");
                let set = set.arg(key(n)).arg(vec![b'x'; VALUE]).arg("PX").arg(3_600_000);
                set.exec_async(&mut connection).await.expect("it is up");
            }
        }
    };
    let ours = |at: usize| {
        let store = ways.store.clone();
        async move {
            for n in at..at + each {
                let value = vec![b'x'; VALUE];
                store.put(&key(n), &value, LIFE, NOW).await.expect("it is up");
            }
        }
    };
    let contestants = vec![
        Contestant::new("SET PX", 1, || ways.round(tasks, each, bare)),
        Contestant::new("put", 1, || ways.round(tasks, each, ours)),
    ];
    compare(&format!("put, {tasks} at a time"), contestants);
}

fn batches(ways: &Ways, tasks: usize, each: usize) {
    let bare = |at: usize| {
        let mut connection = ways.bare.clone();
        async move {
            for n in at..at + each {
                let keys: Vec<_> = (0..100).map(|k| key(n + k)).collect();
                let found = redis::cmd("MGET").arg(&keys).query_async(&mut connection).await;
                black_box::<Vec<Option<Vec<u8>>>>(found.expect("it is up"));
            }
        }
    };
    // What a pipeline can do at best, without a limit and with one.
    let pipeline = |limited: bool| {
        move |at: usize| {
            let mut connection = ways.bare.clone();
            async move {
                for n in at..at + each {
                    let mut all = redis::pipe();
                    for k in 0..100 {
                        if limited {
                            all.cmd("GETRANGE").arg(key(n + k)).arg(0).arg(LIMIT);
                        } else {
                            all.cmd("GET").arg(key(n + k));
                        }
                    }
                    let found = all.query_async(&mut connection).await;
                    black_box::<Vec<Option<Vec<u8>>>>(found.expect("it is up"));
                }
            }
        }
    };
    let (gets, limited) = (pipeline(false), pipeline(true));
    let ours = |at: usize| {
        let store = ways.store.clone();
        async move {
            for n in at..at + each {
                let keys: Vec<_> = (0..100).map(|k| key(n + k)).collect();
                let keys: Vec<&String> = keys.iter().collect();
                let mut found = vec![];
                let mut note = |_, stored| found.push(stored);
                store.get_many(&keys, NOW, &mut note).await.expect("it is up");
                black_box(found);
            }
        }
    };
    let contestants = vec![
        Contestant::new("pipeline of GETs", 1, || ways.round(tasks, each, gets)),
        Contestant::new("of GETRANGEs", 1, || ways.round(tasks, each, limited)),
        Contestant::new("MGET", 1, || ways.round(tasks, each, bare)),
        Contestant::new("get_many", 1, || ways.round(tasks, each, ours)),
    ];
    compare(&format!("get_many of 100, {tasks} at a time"), contestants);
}

/// Hits in memory, of a cache alone and of one in front of the store.
fn hits(ways: &Ways) {
    const HITS: usize = 1_000_000;
    let builder = || Cache::builder().capacity(10_000).ttl(Duration::from_secs(3_600));
    let alone: Cache<String, Arc<str>> = builder().build().expect("settings that fit");
    let store = RedisStore::<Arc<str>, Plain>::new(ways.store.server(), "hits", Plain);
    let store = store.expect("a prefix");
    let backed = builder().l2(store.clone()).backplane(store.backplane()).build();
    let backed = backed.expect("settings that fit");
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    ways.runtime.block_on(async {
        for key in &keys {
            alone.put(key.clone(), Arc::<str>::from("value")).await;
            backed.put(key.clone(), Arc::<str>::from("value")).await;
        }
    });
    let read = |cache: &Cache<String, Arc<str>>| {
        let start = Instant::now();
        ways.runtime.block_on(async {
            for n in 0..HITS {
                let load = || async { Err::<Arc<str>, _>("it is a hit") };
                black_box(cache.get_or_load(&keys[n % KEYS], load).await.expect("it is a hit"));
            }
        });
        Round::alone(start.elapsed(), HITS)
    };
    let contestants = vec![
        Contestant::new("memory alone", 1, || read(&alone)),
        Contestant::new("before Redis", 1, || read(&backed)),
    ];
    compare("a hit in memory", contestants);
}

/// Counts what it is told, and when the last was.
struct Ear {
    start: Instant,
    opened: AtomicUsize,
    changed: AtomicUsize,
    nanos: AtomicUsize,
    told: Notify,
}

impl Receiver<String> for Ear {
    fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    fn closed(&self) {}

    fn changed(&self, _: String) {
        self.nanos.store(self.start.elapsed().as_nanos() as usize, Relaxed);
        self.changed.fetch_add(1, Relaxed);
        self.told.notify_one();
    }

    fn filled(&self, _: String) {}
    fn expired(&self, _: String) {}
    fn cleared(&self) {}
    fn tag_expired(&self, _: &str) {}
    fn tag_invalidated(&self, _: &str) {}
}

/// From the call of a put to another process's receiver, at about a thousand a second.
fn messages(ways: &Ways, server: &RedisServer) {
    const MESSAGES: usize = 3_000;
    let other = Server::open(&server.address()).expect("an address");
    let other = Store::new(&other, "bench", Plain).expect("a prefix");
    let ear = Arc::new(Ear {
        start: Instant::now(),
        opened: AtomicUsize::new(0),
        changed: AtomicUsize::new(0),
        nanos: AtomicUsize::new(0),
        told: Notify::new(),
    });
    let spans = ways.runtime.block_on(async {
        let receiver: Arc<dyn Receiver<String>> = Arc::clone(&ear) as _;
        other.backplane().attach(Arc::downgrade(&receiver));
        while ear.opened.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut spans = vec![];
        for n in 0..MESSAGES {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let asked = ear.start.elapsed().as_nanos() as usize;
            ways.store.put(&key(n), &vec![b'x'; VALUE], LIFE, NOW).await.expect("it is up");
            while ear.changed.load(Relaxed) <= n {
                ear.told.notified().await;
            }
            spans.push(ear.nanos.load(Relaxed).saturating_sub(asked) as f64 / 1e3);
        }
        spans
    });
    let sorted = quartiles::sorted(spans);
    let at = |part| quartiles::quantile(&sorted, part);
    println!(
        "from put to another's receiver: median {:.0} us, 99 % {:.0} us, longest {:.0} us",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
