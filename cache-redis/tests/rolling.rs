//! A program is replaced node by node: for a while, old and new ones share the same keys and cannot read each
//! other's entries.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use cache_core::store::{Codec, CodecError, Plain};
use cache_redis::{RedisStore, Server, StoreStats};
use cache_tokio::future::Cache;
use support::{PATIENCE, Random, RedisServer};
use tokio::task::JoinSet;

type Memory = Cache<u64, String>;

const KEYS: u64 = 50;
const CALLERS: u64 = 8;
const OPERATIONS: u64 = 10_000;

/// A codec of another number.
#[derive(Clone, Copy, Debug)]
struct Backwards;

impl Codec<String> for Backwards {
    const ID: u8 = 0x88;

    fn encode(&self, value: &String, out: &mut Vec<u8>) -> Result<(), CodecError> {
        out.extend(value.bytes().rev());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        Ok(String::from_utf8(bytes.iter().rev().copied().collect())?)
    }
}

/// A node of one of the programs. What its entries hold begins with the program's name.
struct Node {
    program: &'static str,
    cache: Memory,
    stats: Box<dyn Fn() -> StoreStats + Send + Sync>,
    /// What of each key is known here: a later read must not see less.
    known: Vec<AtomicU64>,
}

impl Node {
    fn new<C>(program: &'static str, redis: &RedisServer, codec: C, schema: u16) -> Self
    where
        C: Codec<String> + Send + Sync + 'static,
    {
        let server = Server::builder(&redis.address()).unwrap().operation_timeout(PATIENCE);
        let server = server.connect_timeout(PATIENCE).build().unwrap();
        let store = RedisStore::new(&server, "app", codec).unwrap().schema(schema);
        let minute = Duration::from_secs(60);
        // Memory keeps so little that most operations meet what others have stored.
        let builder = Cache::builder().ttl(minute).capacity(KEYS as usize / 5);
        let builder = builder.l2_hard_timeout(PATIENCE).l2(store.clone());
        let cache = builder.backplane(store.backplane()).build().unwrap();
        let known = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Self { program, cache, stats: Box::new(move || store.stats()), known }
    }

    fn value(&self, key: u64, version: u64) -> String {
        format!("{} {key} {version}", self.program)
    }

    async fn read(&self, key: u64, origin: &Arc<Vec<AtomicU64>>) {
        let (least, loaded) = (self.known[key as usize].load(SeqCst), Arc::clone(origin));
        let program = self.program;
        let load = move || async move {
            let version = loaded[key as usize].load(SeqCst);
            tokio::task::yield_now().await;
            Ok::<_, String>(format!("{program} {key} {version}"))
        };
        let value = self.cache.get_or_load(&key, load).await.expect("no trouble is the caller's");
        let most = origin[key as usize].load(SeqCst);
        let version = value.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
        assert_eq!(value, self.value(key, version), "of another program or another key");
        assert!((least..=most).contains(&version), "{version}, not of {least}..={most}");
    }

    /// Changes the origin, and says so.
    async fn write(&self, key: u64, origin: &[AtomicU64]) {
        let version = origin[key as usize].fetch_add(1, SeqCst) + 1;
        self.cache.invalidate(&key).await;
        self.known[key as usize].fetch_max(version, SeqCst);
    }
}

/// Makes an entry one of a later version of this library, if there is an entry.
fn write_as_a_later_version(redis: &RedisServer, random: &mut Random) -> bool {
    let names = redis.names();
    let entries: Vec<_> = names.iter().filter(|name| name.contains(":e")).collect();
    if entries.is_empty() {
        return false;
    }
    let name = entries[random.below(entries.len() as u64) as usize];
    let mark = "if redis.call('EXISTS', KEYS[1]) == 1 then
                    redis.call('SETRANGE', KEYS[1], 26, ARGV[1]) return 1 end return 0";
    redis.ask(&["EVAL", mark, "1", name, "\u{2}"]).unwrap().starts_with(":1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_old_and_new_nodes_on_the_same_keys_cost_no_error_and_no_wrong_value() {
    let redis = Arc::new(RedisServer::start());
    let nodes = Arc::new([
        Node::new("old", &redis, Plain, 0),
        Node::new("new-schema", &redis, Plain, 1),
        Node::new("new-codec", &redis, Backwards, 0),
    ]);
    let origin: Arc<Vec<AtomicU64>> = Arc::new((0..KEYS).map(|_| AtomicU64::new(1)).collect());
    let (mut callers, later) = (JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for caller in 0..CALLERS {
        let (redis, nodes) = (Arc::clone(&redis), Arc::clone(&nodes));
        let (origin, later) = (Arc::clone(&origin), Arc::clone(&later));
        callers.spawn(async move {
            let mut random = Random(caller);
            for n in 0..OPERATIONS / CALLERS {
                let node = &nodes[random.below(nodes.len() as u64) as usize];
                let key = random.below(KEYS);
                match random.below(20) {
                    0 => node.write(key, &origin).await,
                    _ => node.read(key, &origin).await,
                }
                if n % 25 == 0 && write_as_a_later_version(&redis, &mut random) {
                    later.fetch_add(1, SeqCst);
                }
            }
        });
    }
    callers.join_all().await;
    // Each by itself meets an entry of each of the others, and says that it cannot read it.
    let later = later.load(SeqCst);
    for node in nodes.iter() {
        let stats = (node.stats)();
        println!("{}: {} foreign of {OPERATIONS} operations", node.program, stats.foreign);
        assert!(stats.foreign > 0 && stats.corrupt == 0, "{}: {stats:?}", node.program);
    }
    println!("{later} entries were of a later version");
    assert!(later > 0);
}

/// Each kind by itself: who meets it counts it, and loads.
#[tokio::test]
async fn r3_each_kind_of_foreign_entry_is_counted_by_who_meets_it() {
    let origin = Arc::new(vec![AtomicU64::new(1)]);
    for kind in ["schema", "codec", "later version"] {
        let redis = RedisServer::start();
        let writer = match kind {
            "schema" => Node::new(kind, &redis, Plain, 1),
            "codec" => Node::new(kind, &redis, Backwards, 0),
            _ => Node::new(kind, &redis, Plain, 0),
        };
        writer.cache.put(0, writer.value(0, 1)).await;
        if kind == "later version" {
            assert!(write_as_a_later_version(&redis, &mut Random(0)));
        }
        let reader = Node::new("old", &redis, Plain, 0);
        reader.read(0, &origin).await;
        let stats = (reader.stats)();
        // When the reader's line to the server opens, a load that is under way asks the store once more.
        assert!((1..=2).contains(&stats.foreign) && stats.corrupt == 0, "{kind}: {stats:?}");
    }
}
