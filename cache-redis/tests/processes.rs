//! R8: two real processes before one Redis server. They are this very program, started again.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cache_core::store::Plain;
use cache_redis::{RedisStore, Server};
use cache_tokio::future::Cache;
use support::{PATIENCE, RedisServer};
use tokio::task::JoinSet;

const CALLERS: usize = 50;

/// Where a process finds its server. Set in those that this program starts.
const ADDRESS: &str = "CACHE_TEST_ADDRESS";

/// A process with a cache, which does what it is told in lines, and says how that went.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Process {
    fn start(redis: &RedisServer) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["one_of_the_processes", "--exact", "--ignored", "--nocapture"])
            .env(ADDRESS, redis.address())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut process = Self { child, to, from: BufReader::new(from) };
        process.hears("ready");
        process
    }

    /// Has many callers ask for a key, whose loader takes so long and loads this.
    fn ask(&mut self, key: &str, millis: u64, value: &str) {
        writeln!(self.to, "{key} {millis} {value}").unwrap();
    }

    /// Waits for a line that begins with this, and answers the rest of it.
    fn hears(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.from.read_line(&mut line).unwrap();
            assert!(read > 0, "the process ended, and has not said `{what}`");
            // The harness of tests begins its line, and does not end it.
            if let Some((_, rest)) = line.split_once(&format!("> {what}")) {
                return rest.trim().to_owned();
            }
        }
    }

    /// What its callers were told, and how often it has loaded by then.
    fn told(&mut self) -> (String, u64) {
        let said = self.hears("told");
        let (value, loads) = said.split_once(' ').unwrap();
        (value.to_owned(), loads.parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    println!("> {what}");
}

type Texts = Cache<String, String>;

/// What is left of a line: callers who all ask for its key.
async fn answer(cache: Texts, loads: Arc<AtomicU64>, line: String) {
    let words: Vec<_> = line.split(' ').map(String::from).collect();
    let [key, millis, value] = words.try_into().unwrap();
    let takes = Duration::from_millis(millis.parse().unwrap());
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (cache, key, value, loads) =
            (cache.clone(), key.clone(), value.clone(), Arc::clone(&loads));
        callers.spawn(async move {
            let load = move || async move {
                loads.fetch_add(1, SeqCst);
                say(&format!("loading {value}"));
                tokio::time::sleep(takes).await;
                Ok::<_, String>(value)
            };
            cache.get_or_load(&key, load).await.unwrap()
        });
    }
    let mut told = callers.join_all().await;
    told.dedup();
    say(&format!("told {} {}", told.join("+"), loads.load(SeqCst)));
}

/// Not a test by itself: one of the processes, which ends with its input.
#[test]
#[ignore = "a part of the others"]
fn one_of_the_processes() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cache: Texts = runtime.block_on(async {
        let server = Server::builder(&address).unwrap().operation_timeout(PATIENCE);
        let server = server.connect_timeout(PATIENCE).build().unwrap();
        let store = RedisStore::<String, _>::new(&server, "app", Plain).unwrap();
        let builder = Cache::builder().ttl(Duration::from_secs(600)).hard_timeout(PATIENCE * 4);
        let builder = builder.l2_soft_timeout(PATIENCE).l2_hard_timeout(PATIENCE).l2_lease(LEASE);
        builder.l2(store.clone()).backplane(store.backplane()).build().unwrap()
    });
    let loads = Arc::new(AtomicU64::new(0));
    say("ready"); // its backplane need not be open
    for line in std::io::stdin().lines() {
        runtime.spawn(answer(cache.clone(), Arc::clone(&loads), line.unwrap()));
    }
    std::process::exit(0);
}

/// So long that a process which is not polled for a while still renews it.
const LEASE: Duration = Duration::from_secs(3);

#[test]
fn r8_two_processes_that_begin_load_a_cold_key_once() {
    let redis = RedisServer::start();
    let mut processes = [(); 2].map(|()| Process::start(&redis));
    let longer_than_the_lease = (LEASE * 2).as_millis() as u64;
    for (number, process) in processes.iter_mut().enumerate() {
        process.ask("key", longer_than_the_lease, &format!("by{number}"));
    }
    let [one, two] = processes.each_mut().map(Process::told);
    assert_eq!(one.0, two.0, "all are told the same");
    assert_eq!(one.1 + two.1, 1, "one load: {one:?} {two:?}");
}

/// Short loads, so that the backplanes open while they go on.
#[test]
fn r8_processes_that_begin_again_and_again_load_each_key_once() {
    let redis = RedisServer::start();
    for round in 0..5 {
        let mut processes = [(); 2].map(|()| Process::start(&redis));
        for (number, process) in processes.iter_mut().enumerate() {
            process.ask(&format!("key{round}"), 5, &format!("by{number}"));
        }
        let [one, two] = processes.each_mut().map(Process::told);
        assert_eq!((&one.0, one.1 + two.1), (&two.0, 1), "round {round}");
    }
}

/// Redis tells whole milliseconds.
const ROUNDING: Duration = Duration::from_millis(1);

/// How long the lease of the only key that is leased would last.
fn left_of_the_lease(redis: &RedisServer) -> Duration {
    let names = redis.names();
    let lease = names.iter().find(|name| is_lease(name)).expect("one is held");
    let answer = redis.ask(&["PTTL", lease]).unwrap();
    let left = answer.trim().strip_prefix(':').and_then(|number| number.parse().ok());
    Duration::from_millis(left.expect("a number"))
}

/// `app:default:l` and the version, and not the fence's `lf`.
fn is_lease(name: &str) -> bool {
    let rest = name.strip_prefix("app:default:l");
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[test]
fn r8_when_a_process_is_killed_another_loads_at_the_end_of_its_lease_and_no_earlier() {
    let redis = RedisServer::start();
    let [mut dying, mut other] = [(); 2].map(|()| Process::start(&redis));
    let began = Instant::now();
    dying.ask("key", 3_600_000, "dead");
    dying.hears("loading dead");
    other.ask("key", 1, "alive");
    // For longer than a lease, which it renews.
    while began.elapsed() < LEASE * 3 / 2 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    let left = left_of_the_lease(&redis);
    dying.child.kill().unwrap();
    let killed = Instant::now();
    other.hears("loading alive");
    let (since_asked, waited) = (asked.elapsed(), killed.elapsed());
    println!("loaded {waited:?} after the other was killed, of whose lease {left:?} was left");
    assert!(since_asked + ROUNDING >= left && waited < LEASE + PATIENCE);
    assert_eq!(other.told(), ("alive".to_owned(), 1));
    let mut third = Process::start(&redis);
    third.ask("key", 1, "again");
    assert_eq!(third.told(), ("alive".to_owned(), 0), "what is in the store is not the dead one's");
}
