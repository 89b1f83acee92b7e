//! What other clients notice of a purge of half a million entries.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use advanced_caching::redis::{RedisStore, Server};
use advanced_caching::store::{AsyncStore, Plain};
use cache_benches::quartiles;
use redis::aio::MultiplexedConnection;

use super::{LIFE, NOW, RedisServer, Ways};

type Store = RedisStore<String, Plain>;

const ENTRIES: usize = 500_000;
const ROUNDS: usize = 5;

/// Another client, that asks again and again.
struct Bystander {
    ended: Arc<AtomicBool>,
    waits: JoinHandle<Vec<f64>>,
}

impl Bystander {
    fn of(socket: &Path) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, mut socket) =
            (Arc::clone(&ended), UnixStream::connect(socket).expect("a server"));
        let waits = spawn(move || {
            let mut waits = vec![];
            while !seen.load(Relaxed) {
                let began = Instant::now();
                socket.write_all(b"PING\r\n").expect("it is up");
                socket.read_exact(&mut [0; 7]).expect("it answers");
                waits.push(began.elapsed().as_secs_f64() * 1e3);
                sleep(Duration::from_micros(200));
            }
            waits
        });
        Self { ended, waits }
    }

    /// How long it waited for each answer, in milliseconds.
    fn end(self) -> Vec<f64> {
        self.ended.store(true, Relaxed);
        self.waits.join().expect("it does not panic")
    }
}

/// Copies an entry under so many names, and begins the next version of the namespace.
async fn fill(store: &Store, bare: &mut MultiplexedConnection) {
    store.put("key", &"x".repeat(100), LIFE, NOW).await.expect("it is up");
    let names = redis::cmd("KEYS").arg("bench:many:e*").query_async::<Vec<String>>(bare).await;
    let name = names.expect("it is up").pop().expect("the entry");
    let copy = "local bytes = redis.call('GET', KEYS[1])
                for n = tonumber(ARGV[2]), tonumber(ARGV[2]) + 999 do
                    redis.call('SET', ARGV[1] .. '{' .. n .. '}', bytes, 'PX', 3600000) end";
    for from in (0..ENTRIES).step_by(1_000) {
        let mut eval = redis::cmd("EVAL");
        eval.arg(copy)
            .arg(1)
            .arg(&name)
            .arg(name.strip_suffix("{key}").expect("its end"))
            .arg(from);
        eval.exec_async(bare).await.expect("it is up");
    }
    AsyncStore::<str, String>::clear(store, NOW).await.expect("it is up");
}

/// How long another client waits, with nothing else to do for the server, and while it purges: each time
/// for as long, one after another.
pub(crate) fn purges(ways: &Ways, server: &RedisServer) {
    let socket = server.socket();
    let server = Server::builder(&server.address()).expect("an address");
    let server =
        server.operation_timeout(Duration::from_secs(10)).build().expect("settings that fit");
    let store = Store::new(&server, "bench", Plain).expect("a prefix").namespace("many");
    let (mut calm, mut purging, mut spans) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        ways.runtime.block_on(fill(&store, &mut ways.bare.clone()));
        let (bystander, began) = (Bystander::of(&socket), Instant::now());
        let purge = AsyncStore::<str, String>::purge(&store, NOW, usize::MAX);
        let freed = ways.runtime.block_on(purge).expect("it is up");
        assert_eq!(freed, ENTRIES + 1);
        let took = began.elapsed();
        purging.push(bystander.end());
        spans.push(took.as_secs_f64() * 1e3);
        let bystander = Bystander::of(&socket);
        sleep(took);
        calm.push(bystander.end());
    }
    let spans = quartiles::sorted(spans);
    println!(
        "purge of {ENTRIES}: {:.0} ms; another client's answers",
        quartiles::quantile(&spans, 0.5)
    );
    for (name, rounds) in [("without it", calm), ("meanwhile", purging)] {
        let longest = |round: &Vec<f64>| round.iter().copied().fold(0.0, f64::max);
        let longest = quartiles::sorted(rounds.iter().map(longest));
        let all = quartiles::sorted(rounds.concat());
        println!(
            "  {name:12} median {:.3} ms, 99.9 % {:.2} ms, longest {:.2} ms ({:.2} in the median round)",
            quartiles::quantile(&all, 0.5),
            quartiles::quantile(&all, 0.999),
            quartiles::quantile(&all, 1.0),
            quartiles::quantile(&longest, 0.5),
        );
    }
}
