//! A replica that sentinels promote just now: when it is used, and who is not taken for it.
#![cfg(feature = "sentinel")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use cache_core::store::{AsyncStore, Plain, StoreError};
use cache_core::{Instant, Lifetime};
use cache_redis::{Connection, RedisStore, Server};
use support::{RedisServer, SERVICE, eventually, free_ports};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Texts = RedisStore<String, Plain>;

/// A port where nobody listens.
const GONE: &str = "1";

/// A sentinel whose service fails over and comes to no end.
struct Sentinel {
    port: u16,
    /// How often it was asked for the replicas.
    asked: Arc<AtomicU32>,
    listening: JoinHandle<()>,
}

impl Sentinel {
    /// One that names a primary which is not there, and says these things of its one replica.
    async fn of(replica: u16, flags: &'static str, role: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicU32::new(0));
        let says = Says { replica, flags, role, asked: Arc::clone(&asked) };
        let listening = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(says.clone().answer(caller));
            }
        });
        Self { port, asked, listening }
    }

    fn store(&self) -> Texts {
        let address = format!("redis://127.0.0.1:{}", self.port);
        let server = Server::sentinel([address], SERVICE).unwrap().build().unwrap();
        Texts::new(&server, "app", Plain).unwrap()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[derive(Clone)]
struct Says {
    replica: u16,
    flags: &'static str,
    role: &'static str,
    asked: Arc<AtomicU32>,
}

impl Says {
    async fn answer(self, caller: TcpStream) {
        let mut caller = BufReader::new(caller);
        while let Some(words) = command(&mut caller).await {
            let replica = self.replica.to_string();
            let address = ["ip", "127.0.0.1", "port"];
            let answer = match words.get(1).map(String::as_str) {
                Some("GET-MASTER-ADDR-BY-NAME") => array(&["127.0.0.1", GONE]),
                Some("MASTER") => {
                    let flags = "s_down,o_down,master,failover_in_progress";
                    let more = [GONE, "flags", flags, "config-epoch", "0"];
                    array(&[&address[..], &more].concat())
                }
                Some("REPLICAS") => {
                    self.asked.fetch_add(1, Relaxed);
                    let more = [&*replica, "flags", self.flags, "role-reported", self.role];
                    format!("*1\r\n{}", array(&[&address[..], &more].concat()))
                }
                _ => "+OK\r\n".to_owned(),
            };
            if caller.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn array(words: &[&str]) -> String {
    let texts: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{texts}", words.len())
}

/// The words of the next command; `None` when there is none any more.
async fn command(caller: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..number(caller).await? {
        let mut word = vec![0; number(caller).await? + 2];
        caller.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8(word).ok()?.to_uppercase());
    }
    Some(words)
}

/// What stands behind the first sign of a line.
async fn number(caller: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    caller.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim().parse().ok()
}

fn server(more: &[&str]) -> (RedisServer, u16) {
    let port = free_ports(1)[0];
    let text = port.to_string();
    let settings = [&["--bind", "127.0.0.1", "--port", &text], more].concat();
    (RedisServer::start_with(&settings), port)
}

async fn put(store: &Texts) -> Result<(), StoreError> {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    store.put("key", &"value".to_owned(), minute, Instant::ORIGIN).await
}

/// Sentinels know of a promotion only when they next ask the new primary, up to a second later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_replica_is_used_from_its_promotion_on_though_no_sentinel_names_it() {
    let (redis, port) = server(&[]);
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let sentinel = Sentinel::of(port, "slave,promoted", "slave").await;
    let store = sentinel.store();
    eventually("it is asked for again and again", async || {
        put(&store).await.unwrap_err();
        sentinel.asked.load(Relaxed) >= 5
    })
    .await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]).unwrap();
    eventually("it is put", async || put(&store).await.is_ok()).await;
    assert!(!redis.names().is_empty());
}

/// Who was the primary of before, is started again, and says that it is the primary, loses what it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_a_primary_of_before_is_not_taken_for_the_one_that_is_promoted() {
    let (redis, port) = server(&[]);
    for (flags, role) in [("slave", "slave"), ("slave", "master"), ("slave,promoted", "master")] {
        let sentinel = Sentinel::of(port, flags, role).await;
        let store = sentinel.store();
        eventually("it is asked for again and again", async || {
            put(&store).await.unwrap_err();
            sentinel.asked.load(Relaxed) >= 5
        })
        .await;
        assert!(matches!(store.server().connection(), Connection::Down(_)));
    }
    assert!(redis.names().is_empty());
}
