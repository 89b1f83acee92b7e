//! TLS: whom a client trusts, what it is told when it does not, and old servers.
#![cfg(feature = "tls")]

mod support;

use std::time::Duration;

use cache_core::store::{AsyncStore, Plain, StoreError};
use cache_core::{Instant, Lifetime};
use cache_redis::{BuildError, Connection, RedisStore, Server, ServerBuilder, ServerError};
use support::{Authority, Issued, LOGIN, PATIENCE, RedisServer, behind, eventually, free_ports};

type Texts = RedisStore<String, Plain>;

const NOW: Instant = Instant::ORIGIN;

/// Long enough for every test, and a year that is over.
const LATER: i32 = 2_099;
const OVER: i32 = 2_020;

fn builder(address: &str) -> ServerBuilder {
    let builder = Server::builder(address).unwrap();
    builder.operation_timeout(PATIENCE).connect_timeout(PATIENCE)
}

fn store(builder: ServerBuilder) -> Texts {
    Texts::new(&builder.build().unwrap(), "app", Plain).unwrap()
}

async fn put(store: &Texts) -> Result<(), StoreError> {
    let minute = Lifetime::fresh_for(Duration::from_secs(60));
    store.put("key", &"value".to_owned(), minute, NOW).await
}

async fn kind(builder: ServerBuilder) -> Option<ServerError> {
    let store = store(builder);
    let error = put(&store).await.unwrap_err();
    let kind = behind(&error);
    assert_eq!(Some(store.server().connection()), kind.map(Connection::Down));
    kind
}

/// A server that shows this certificate, and its address.
fn start(authority: &Authority, shown: &Issued, more: &[&str]) -> (RedisServer, String) {
    let port = free_ports(1)[0];
    let settings = authority.settings(port, shown);
    let settings: Vec<_> =
        settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    let server = RedisServer::start_with(&settings);
    (server, format!("rediss://{LOGIN}@127.0.0.1:{port}"))
}

const ANYBODY: [&str; 2] = ["--tls-auth-clients", "no"];

#[tokio::test]
async fn r3_an_authority_of_ones_own_is_trusted_and_no_other_is() {
    let (ours, others) = (Authority::new(), Authority::new());
    let (_server, address) = start(&ours, &ours.issue("127.0.0.1", LATER), &ANYBODY);
    put(&store(builder(&address).certificate_authority(ours.pem.as_bytes()))).await.unwrap();
    let both = [ours.pem.as_str(), &others.pem].concat();
    put(&store(builder(&address).certificate_authority(both.as_bytes()))).await.unwrap();
    let unknown = Some(ServerError::UnknownIssuer);
    let of_others = builder(&address).certificate_authority(others.pem.as_bytes());
    assert_eq!(kind(of_others).await, unknown);
    assert_eq!(kind(builder(&address)).await, unknown, "the system's authorities");
}

#[tokio::test]
async fn r3_a_certificate_for_another_host_or_another_time_is_refused() {
    let authority = Authority::new();
    for (host, year, expected) in [
        ("127.0.0.2", LATER, ServerError::WrongHost),
        ("elsewhere.test", LATER, ServerError::WrongHost),
        ("127.0.0.1", OVER, ServerError::Expired),
    ] {
        let (_server, address) = start(&authority, &authority.issue(host, year), &ANYBODY);
        let told = kind(builder(&address).certificate_authority(authority.pem.as_bytes())).await;
        assert_eq!(told, Some(expected), "{host} {year}");
    }
}

const CANARY: &str = "canary-b8e3";

#[tokio::test]
async fn r3_a_wrong_password_over_tls_is_said_and_not_shown() {
    let authority = Authority::new();
    let issued = authority.issue("127.0.0.1", LATER);
    let settings = [&ANYBODY as &[_], &["--requirepass", "right"]].concat();
    let (_server, address) = start(&authority, &issued, &settings);
    let address = address.replace(&format!("{LOGIN}@"), "");
    let trusting = builder(&address).certificate_authority(authority.pem.as_bytes());
    put(&store(trusting.clone().credentials("", "right"))).await.unwrap();
    assert_eq!(kind(trusting.clone()).await, Some(ServerError::Auth));
    let wrong = trusting.credentials("somebody", CANARY);
    let mut shown = format!("{wrong:?} {:?}", wrong.clone().build());
    shown += &format!(" {:?}", kind(wrong).await);
    assert!(!shown.contains(CANARY) && shown.contains("Auth"), "{shown}");
}

#[tokio::test]
async fn r3_a_server_asks_for_the_clients_certificate() {
    let (authority, others) = (Authority::new(), Authority::new());
    let (_server, address) = start(&authority, &authority.issue("127.0.0.1", LATER), &[]);
    let trusting = builder(&address).certificate_authority(authority.pem.as_bytes());
    let with = |client: &Issued| {
        trusting.clone().client_certificate(client.pem.as_bytes(), client.key.as_bytes())
    };
    put(&store(with(&authority.issue("client", LATER)))).await.unwrap();
    assert_eq!(kind(trusting.clone()).await, Some(ServerError::Tls));
    assert_eq!(kind(with(&others.issue("client", LATER))).await, Some(ServerError::Tls));
    let [one, two] = ["one", "two"].map(|host| authority.issue(host, LATER));
    let mixed = trusting.clone().client_certificate(one.pem.as_bytes(), two.key.as_bytes());
    assert_eq!(kind(mixed).await, Some(ServerError::Tls), "the key of another");
}

/// Neither side falls back to what the other speaks.
#[tokio::test]
async fn r3_there_is_no_way_back_to_plain_text() {
    let authority = Authority::new();
    let port = free_ports(1)[0];
    let plain = RedisServer::start_with(&["--port", &port.to_string()]);
    let (secure, address) = start(&authority, &authority.issue("127.0.0.1", LATER), &ANYBODY);
    let trusting = |address: &str| {
        let builder = Server::builder(address).unwrap();
        builder.certificate_authority(authority.pem.as_bytes())
    };
    let to_plain = store(trusting(&format!("rediss://127.0.0.1:{port}")));
    let to_secure = store(Server::builder(&address.replace("rediss", "redis")).unwrap());
    for store in [to_plain, to_secure] {
        eventually("it is seen not to work", async || {
            assert!(put(&store).await.is_err());
            matches!(store.server().connection(), Connection::Down(_))
        })
        .await;
        println!("{:?}", store.server().connection());
    }
    assert!(plain.names().is_empty() && secure.names().is_empty());
}

#[tokio::test]
async fn r3_a_server_that_speaks_only_resp2_is_said_to_be_old() {
    // As those before Redis 6 are.
    let old = RedisServer::start_with(&["--rename-command", "HELLO", ""]);
    assert_eq!(kind(builder(&old.address())).await, Some(ServerError::OldServer));
}

#[test]
fn r3_what_is_no_certificate_is_refused_before_anything_is_sent() {
    let authority = Authority::new();
    let issued = authority.issue("client", LATER);
    let (pem, key) = (issued.pem.as_bytes(), issued.key.as_bytes());
    let build = |builder: ServerBuilder| builder.build().map(drop);
    for nonsense in [&b""[..], b"nonsense", key, b"-----BEGIN CERTIFICATE-----\n!"] {
        let built = build(builder("rediss://one").certificate_authority(nonsense));
        assert_eq!(built, Err(BuildError::Certificate));
    }
    let client = |pem, key| build(builder("rediss://one").client_certificate(pem, key));
    assert_eq!(client(pem, key), Ok(()));
    assert_eq!(client(pem, pem), Err(BuildError::Certificate));
    assert_eq!(client(key, key), Err(BuildError::Certificate));
    let plain = builder("redis://one").certificate_authority(pem);
    assert_eq!(build(plain), Err(BuildError::NoTls));
    assert_eq!(build(builder("rediss://one/#insecure")), Err(BuildError::Unverified));
}

#[cfg(feature = "cluster")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_all_nodes_of_a_cluster_are_reached_over_tls() {
    use support::RedisCluster;
    let authority = Authority::new();
    let cluster = RedisCluster::start_over_tls(&authority);
    let address = cluster.address().replace("redis+", "rediss+");
    let store = store(builder(&address).certificate_authority(authority.pem.as_bytes()));
    for n in 0..50 {
        let minute = Lifetime::fresh_for(Duration::from_secs(60));
        store.put(&format!("key-{n}"), &"value".to_owned(), minute, NOW).await.unwrap();
    }
    eventually("all are up", async || store.server().connection() == Connection::Up).await;
}
