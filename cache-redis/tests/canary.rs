//! What must not be read by others is in no text that this crate makes: passwords, keys and values.

mod support;

use std::error::Error;
use std::fmt::{Debug, Display};
use std::process::Command;
use std::time::Duration;

use cache_core::store::{AsyncLeases, AsyncStore, Codec, CodecError, Plain, StoreError};
use cache_core::{Instant, Lifetime};
use cache_redis::{
    AcquireError, BuildError, ExtendError, LockOptions, RedisLocks, RedisStore, Server, ServerError,
};
use support::{PATIENCE, RedisServer};

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

const PASSWORD: &str = "canary-password-4be1";
const KEY: &str = "canary-key-93d7";
const VALUE: &str = "canary-value-c06a";

/// All that was shown.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn debug(&mut self, shown: &dyn Debug) {
        self.0 += &format!("{shown:?}\n{shown:#?}\n");
    }

    fn display(&mut self, shown: &dyn Display) {
        self.0 += &format!("{shown}\n{shown:#}\n");
    }

    /// An error and all behind it.
    fn error(&mut self, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.debug(&error);
            self.display(&error);
            next = error.source();
        }
    }
}

/// Whether a canary is in a text, as it is or as bytes.
fn canary_in(text: &str) -> Option<&'static str> {
    [PASSWORD, KEY, VALUE].into_iter().find(|canary| {
        let bytes = canary.as_bytes();
        let decimal = format!("{bytes:?}");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: String = text.split_whitespace().collect();
        let decimal: String = decimal.trim_matches(['[', ']']).split_whitespace().collect();
        text.contains(canary) || text.to_lowercase().contains(&hex) || lines.contains(&decimal)
    })
}

fn open(redis: &RedisServer, login: &str) -> Server {
    let address = format!("{}?{login}", redis.address_without_login());
    let builder = Server::builder(&address).unwrap().operation_timeout(PATIENCE);
    builder.connect_timeout(PATIENCE).build().unwrap()
}

/// A server that has a user of each kind: `all` may do everything, `few` next to nothing.
fn start() -> RedisServer {
    let redis = RedisServer::start();
    let password = format!(">{PASSWORD}");
    redis.ask(&["ACL", "SETUSER", "all", "on", &password, "~*", "&*", "+@all"]).unwrap();
    let few = ["ACL", "SETUSER", "few", "on", &password, "~other:*", "+@all", "-evalsha"];
    redis.ask(&few).unwrap();
    redis
}

/// A codec whose errors tell nothing themselves, like those of the library.
#[derive(Debug)]
struct Picky;

impl Codec<String> for Picky {
    const ID: u8 = 0;

    fn encode(&self, _: &String, _: &mut Vec<u8>) -> Result<(), CodecError> {
        Err("it has no such form".into())
    }

    fn decode(&self, _: &[u8]) -> Result<String, CodecError> {
        Err("it is none of these".into())
    }
}

/// Where a password may be said, and what cannot be made of it.
fn show_builders(shown: &mut Shown) {
    let addresses = [
        format!("redis://user:{PASSWORD}@localhost:1/0"),
        format!("unix:///tmp/none.sock?user=somebody&pass={PASSWORD}"),
        format!("rediss://user:{PASSWORD}@localhost:1/0"),
        format!("redis+cluster://user:{PASSWORD}@one:1,two:2"),
        format!("redis+sentinel://user:{PASSWORD}@one:1,two:2/service/0"),
        format!("redis+sentinel://user:{PASSWORD}@one:1,two:2"),
        format!("redis://user:{PASSWORD}@host:port:{PASSWORD}/x"),
        format!("{PASSWORD}://{PASSWORD}"),
        format!("redis://user:{PASSWORD}@[::1/{PASSWORD}"),
        format!("redis://user:{PASSWORD}@localhost/{PASSWORD}"),
    ];
    for address in addresses {
        match Server::builder(&address) {
            Err(error) => shown.error(&error),
            Ok(builder) => {
                let builder = builder.credentials("somebody", PASSWORD);
                shown.debug(&builder);
                shown.debug(&builder.clone().build());
                shown.debug(&builder.operation_timeout(Duration::ZERO).build());
            }
        }
    }
    for error in [BuildError::Address, BuildError::Certificate, BuildError::EmptyPrefix] {
        shown.error(&error);
    }
    #[cfg(feature = "sentinel")]
    {
        let sentinels = [format!("redis://:{PASSWORD}@one:1")];
        let builder = Server::sentinel(sentinels, "service").unwrap();
        shown.debug(&builder.sentinel_credentials("somebody", PASSWORD));
    }
    #[cfg(feature = "tls")]
    {
        let builder = Server::builder("rediss://one").unwrap();
        let builder = builder.client_certificate(PASSWORD.as_bytes(), PASSWORD.as_bytes());
        shown.debug(&builder);
        shown.debug(&builder.build());
    }
}

/// The errors of everything that a store and locks do.
async fn show_errors(server: &Server, shown: &mut Shown) {
    let store = RedisStore::<String, _>::new(server, "app", Plain).unwrap();
    let picky = RedisStore::<String, _>::new(server, "app", Picky).unwrap();
    let short = store.clone().max_key_bytes(3).max_value_bytes(3);
    let life = Lifetime::fresh_for(MINUTE);
    let value = VALUE.to_owned();
    let ends: [Result<(), StoreError>; 8] = [
        store.put(KEY, &value, life, NOW).await,
        store.get(KEY, NOW).await.map(drop),
        store.remove(KEY, NOW).await.map(drop),
        store.put_if_absent(KEY, &value, life, NOW).await.map(drop),
        store.acquire(KEY, MINUTE, NOW).await.map(drop),
        short.put(KEY, &value, life, NOW).await,
        short.put("k", &value, life, NOW).await,
        picky.put(KEY, &value, life, NOW).await,
    ];
    ends.iter().filter_map(|end| end.as_ref().err()).for_each(|error| shown.error(error));
    if let Err(error) = picky.get(KEY, NOW).await {
        shown.error(&error);
    }
    let locks = RedisLocks::new(server, "app").unwrap();
    match locks.acquire(KEY, LockOptions::new(MINUTE)).await {
        Ok(lock) => {
            shown.debug(&lock);
            shown.debug(&locks.acquire(KEY, LockOptions::new(MINUTE)).await);
            shown.debug(&lock.release().await);
        }
        Err(error) => shown.error(&error),
    }
    shown.debug(&(&store, &locks, server, server.connection(), server.watch(), store.stats()));
    shown.debug(&store.backplane());
    let none = StoreError::unavailable("of no server");
    shown.error(&AcquireError::Store(none));
    shown.error(&ExtendError::Lost);
}

/// What is under the name of the only entry is replaced.
async fn show_what_cannot_be_read(redis: &RedisServer, server: &Server, shown: &mut Shown) {
    let store = RedisStore::<String, _>::new(server, "app", Plain).unwrap();
    let life = Lifetime::fresh_for(MINUTE);
    let listed = "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], ARGV[1])";
    for damage in 0..4 {
        store.put(KEY, &VALUE.to_owned(), life, NOW).await.unwrap();
        let names = redis.names();
        let name = names.iter().find(|name| name.contains(":e")).unwrap();
        match damage {
            0 => redis.ask(&["SET", name, VALUE]).unwrap(),
            1 => redis.ask(&["SETRANGE", name, "90", VALUE]).unwrap(),
            2 => redis.ask(&["EVAL", listed, "1", name, VALUE]).unwrap(),
            _ => redis.ask(&["SETRANGE", name, "26", "\u{2}"]).unwrap(),
        };
        let error = store.get(KEY, NOW).await.map(drop).unwrap_err();
        shown.error(&error);
        let text = store.put_if_absent(KEY, &VALUE.to_owned(), life, NOW).await;
        shown.debug(&text);
    }
    // A text that is none: the codec's error would have its bytes.
    let bytes = RedisStore::<Vec<u8>, _>::new(server, "app", Plain).unwrap();
    let no_text = [VALUE.as_bytes(), &[0xff]].concat();
    bytes.put(KEY, &no_text, life, NOW).await.unwrap();
    shown.error(&store.get(KEY, NOW).await.map(drop).unwrap_err());
}

/// A value of another type: the decoder's error would quote it.
#[cfg(any(feature = "json", feature = "messagepack"))]
async fn show_what_is_of_another_type<C>(server: &Server, codec: C, shown: &mut Shown)
where
    C: Codec<String> + Codec<char> + Copy + Send + Sync,
{
    let texts = RedisStore::<String, _>::new(server, "app", codec).unwrap();
    let letters = RedisStore::<char, _>::new(server, "app", codec).unwrap();
    texts.put(KEY, &VALUE.to_owned(), Lifetime::fresh_for(MINUTE), NOW).await.unwrap();
    let error = letters.get(KEY, NOW).await.map(drop).unwrap_err();
    shown.error(&error);
}

async fn show_all() -> String {
    let mut shown = Shown::default();
    show_builders(&mut shown);
    let mut redis = start();
    let all = open(&redis, &format!("user=all&pass={PASSWORD}"));
    show_errors(&all, &mut shown).await;
    show_what_cannot_be_read(&redis, &all, &mut shown).await;
    #[cfg(feature = "json")]
    show_what_is_of_another_type(&all, cache_core::store::Json, &mut shown).await;
    #[cfg(feature = "messagepack")]
    show_what_is_of_another_type(&all, cache_core::store::MessagePack, &mut shown).await;
    let logins = [format!("user=few&pass={PASSWORD}"), format!("user=all&pass=no-{PASSWORD}")];
    for login in logins {
        show_errors(&open(&redis, &login), &mut shown).await;
    }
    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    show_errors(&all, &mut shown).await;
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    show_errors(&all, &mut shown).await;
    redis.kill();
    show_errors(&all, &mut shown).await;
    shown.0
}

/// Denied, out of memory, a replica, down, damaged and so on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_no_key_and_no_value_is_in_any_text() {
    let shown = show_all().await;
    let kinds = [ServerError::Denied, ServerError::OutOfMemory, ServerError::ReadOnly];
    for kind in kinds.into_iter().chain([ServerError::Auth, ServerError::Down]) {
        assert!(shown.contains(&format!("{kind:?}")), "{kind:?} did not happen: {shown}");
    }
    let found = canary_in(&shown);
    assert_eq!(found, None, "it is in what is shown");
}

/// The same in a process of its own, all of whose output is looked at: nothing is logged or printed.
#[test]
fn no_password_no_key_and_no_value_is_in_any_output() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "no_password_no_key_and_no_value_is_in_any_text", "--nocapture"]);
    let output = again.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1").output().unwrap();
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let text = text.concat();
    assert!(output.status.success() && text.contains("1 passed"), "it ran");
    assert_eq!(canary_in(&text), None, "it is in what was printed");
}

#[test]
fn a_canary_is_found_in_each_form() {
    for shown in [KEY.to_owned(), format!("{:?}", KEY.as_bytes()), format!("{:#?}", KEY.as_bytes())]
    {
        assert_eq!(canary_in(&shown), Some(KEY), "{shown}");
    }
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(canary_in(&hex), Some(KEY));
    assert_eq!(canary_in("nothing"), None);
}
