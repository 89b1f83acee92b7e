//! What a store does that processes share: changes end leases, refuse late fills, make stale, and are told.

mod support;

use std::time::Duration;

use cache_core::store::{
    AsyncLeases, AsyncSharedStore, AsyncStore, Mutation, Plain, Station, StoreError, Stored,
    TagChange,
};
use cache_core::{Freshness, Instant, Lifetime};
use cache_redis::{RedisStore, Server, ServerError};
use support::{Listener, PATIENCE, Proxy, RedisServer, Told, Way, behind};

type Texts = RedisStore<String, Plain>;
type Ear = Listener<String>;

const NOW: Instant = Instant::ORIGIN;
const MINUTE: Duration = Duration::from_secs(60);

async fn tell(store: &Texts, tag: &str, change: TagChange, by: Station) {
    AsyncSharedStore::<str, String>::change_tag(store, tag, change, by, NOW).await.unwrap();
}

fn open(address: &str) -> Server {
    let builder = Server::builder(address).unwrap().operation_timeout(PATIENCE);
    builder.connect_timeout(PATIENCE).build().unwrap()
}

/// A store as a process of its own has it.
fn process(redis: &RedisServer) -> Texts {
    Texts::new(&open(&redis.address()), "app", Plain).unwrap().namespace("texts")
}

fn minute() -> Lifetime {
    Lifetime::fresh_for(MINUTE)
}

async fn mutate(store: &Texts, key: &str, mutation: Mutation<'_, String>, by: Station) -> bool {
    store.mutate(key, mutation, by, NOW).await.unwrap()
}

async fn put(store: &Texts, key: &str, value: &str, life: Lifetime) {
    mutate(store, key, Mutation::put(&value.to_owned(), life), Station::NOBODY).await;
}

async fn get(store: &Texts, key: &str) -> Option<Stored<String>> {
    store.get(key, NOW).await.unwrap()
}

async fn value(store: &Texts, key: &str) -> Option<String> {
    get(store, key).await.map(|found| found.value)
}

async fn clear(store: &Texts, by: Station) {
    AsyncSharedStore::<str, String>::clear_all(store, by, NOW).await.unwrap();
}

/// The name of the only entry.
fn only(redis: &RedisServer) -> String {
    let mut names = redis.names();
    names.retain(|name| name.contains(":e"));
    assert_eq!(names.len(), 1, "{names:?}");
    names.remove(0)
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Put,
    PutIfAbsent,
    Expire,
    Remove,
    Clear,
    Fill,
}

async fn do_it(change: Change, store: &Texts, key: &str) {
    let other = "other".to_owned();
    match change {
        Change::Put => store.put(key, &other, minute(), NOW).await.unwrap(),
        Change::PutIfAbsent => {
            assert!(store.put_if_absent(key, &other, minute(), NOW).await.unwrap());
        }
        Change::Expire => drop(mutate(store, key, Mutation::Expire, Station::NOBODY).await),
        Change::Remove => drop(store.remove(key, NOW).await.unwrap()),
        Change::Clear => clear(store, Station::NOBODY).await,
        Change::Fill => {}
    }
}

/// Every change ends the lease, also where there is no entry: a fill that began before is refused, and the
/// next who asks gets a lease at once.
#[tokio::test]
async fn r8_every_change_ends_the_lease_and_refuses_the_fill() {
    let redis = RedisServer::start();
    let (one, other) = (process(&redis), process(&redis));
    use Change::{Clear, Expire, Fill, Put, PutIfAbsent, Remove};
    for change in [Put, PutIfAbsent, Expire, Remove, Clear, Fill] {
        let key = &format!("{change:?}");
        let lease = one.acquire(key, MINUTE, NOW).await.unwrap().unwrap();
        assert!(other.acquire(key, MINUTE, NOW).await.unwrap().is_none(), "{change:?}");
        do_it(change, &other, key).await;
        let before = value(&other, key).await;
        let late = "late".to_owned();
        let filled =
            mutate(&one, key, Mutation::fill(&late, minute(), lease), Station::NOBODY).await;
        assert_eq!(filled, matches!(change, Fill), "{change:?}");
        let expected = if filled { Some(late) } else { before };
        assert_eq!(value(&other, key).await, expected, "{change:?}");
        assert!(other.acquire(key, MINUTE, NOW).await.unwrap().is_some(), "{change:?}");
    }
}

#[tokio::test]
async fn r8_a_fill_is_refused_after_the_end_of_its_lease_or_by_another() {
    let redis = RedisServer::start();
    let (one, other) = (process(&redis), process(&redis));
    let text = "text".to_owned();
    let short = one.acquire("key", Duration::from_millis(1), NOW).await.unwrap().unwrap();
    support::eventually("it is over", async || {
        !one.renew("key", &short, Duration::from_millis(1), NOW).await.unwrap()
    })
    .await;
    let filled = Mutation::fill(&text, minute(), short);
    assert!(!mutate(&one, "key", filled, Station::NOBODY).await);
    let lease = one.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
    let of_another_key = one.acquire("another", MINUTE, NOW).await.unwrap().unwrap();
    let filled = Mutation::fill(&text, minute(), of_another_key);
    assert!(!mutate(&other, "key", filled, Station::NOBODY).await);
    assert_eq!(value(&one, "key").await, None);
    assert!(mutate(&other, "key", Mutation::fill(&text, minute(), lease), Station::NOBODY).await);
    assert_eq!(value(&one, "key").await, Some(text));
}

#[tokio::test]
async fn s21_a_clear_that_another_did_a_moment_ago_counts_for_changes_at_once() {
    let redis = RedisServer::start();
    let hour = MINUTE * 60;
    let (one, slow) = (process(&redis), process(&redis).version_check(hour));
    put(&one, "key", "old", minute()).await;
    assert_eq!(value(&slow, "key").await.as_deref(), Some("old"));
    let lease = slow.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
    clear(&one, Station::NOBODY).await;
    assert_eq!(value(&one.clone(), "key").await, None, "clones know it at once");
    assert_eq!(value(&slow, "key").await.as_deref(), Some("old"), "for the time of its check");
    // The new version has an entry of this key, which the other does not know of.
    put(&one, "key", "new", minute()).await;
    let late = "late".to_owned();
    assert!(!mutate(&slow, "key", Mutation::fill(&late, minute(), lease), Station::NOBODY).await);
    assert_eq!(value(&slow, "key").await.as_deref(), Some("new"), "it has asked meanwhile");
    clear(&one, Station::NOBODY).await;
    put(&one, "key", "newer", minute()).await;
    assert!(mutate(&slow, "key", Mutation::Remove, Station::NOBODY).await);
    assert_eq!(value(&one, "key").await, None);
}

#[tokio::test]
async fn the_version_is_asked_for_again_when_the_check_is_over() {
    let redis = RedisServer::start();
    let (one, other) = (process(&redis), process(&redis).version_check(Duration::from_millis(30)));
    put(&one, "key", "old", minute()).await;
    assert!(get(&other, "key").await.is_some());
    clear(&one, Station::NOBODY).await;
    support::eventually("it is seen", async || get(&other, "key").await.is_none()).await;
}

#[tokio::test]
async fn an_expired_entry_is_stale_and_keeps_its_windows() {
    let redis = RedisServer::start();
    let store = process(&redis);
    let (swr, sie) = (Lifetime::stale_while_revalidate, Lifetime::stale_if_error);
    let for_ever = Lifetime::fresh_for(Duration::MAX);
    let kept = [
        (swr(minute(), MINUTE), MINUTE, Freshness::Stale),
        (sie(minute(), MINUTE * 5), MINUTE * 5, Freshness::Expired),
        (sie(swr(minute(), MINUTE), MINUTE * 5), MINUTE * 5, Freshness::Stale),
        (swr(minute(), MINUTE).aged(MINUTE / 2), MINUTE, Freshness::Stale),
        // Stale already: what is left of it does not grow.
        (swr(minute(), MINUTE).aged(MINUTE * 3 / 2), MINUTE / 2, Freshness::Stale),
        (sie(for_ever, MINUTE), MINUTE, Freshness::Expired),
        (swr(minute(), Duration::MAX), Duration::MAX, Freshness::Stale),
        (swr(Lifetime::fresh_for(MINUTE * 10_000_000), MINUTE), MINUTE, Freshness::Stale),
        (
            swr(Lifetime::fresh_for(Duration::from_nanos(1_500_001)), MINUTE),
            MINUTE,
            Freshness::Stale,
        ),
    ];
    for (life, left, freshness) in kept {
        put(&store, "key", "text", life).await;
        assert!(mutate(&store, "key", Mutation::Expire, Station::NOBODY).await);
        let found = get(&store, "key").await.unwrap_or_else(|| panic!("{life:?} is gone"));
        assert_eq!(found.lifetime.freshness(), freshness, "{life:?}");
        let remains = found.lifetime.remaining();
        let nearly = remains.saturating_add(MINUTE / 4) >= left;
        assert!(remains <= left && nearly, "{life:?}: {remains:?}");
        assert!(found.lifetime.age >= life.age);
        // Once more: nothing is longer than before.
        assert!(mutate(&store, "key", Mutation::Expire, Station::NOBODY).await);
        assert!(get(&store, "key").await.unwrap().lifetime.remaining() <= remains);
    }
    assert_eq!(store.stats().misdated, 0);
}

#[tokio::test]
async fn an_expired_entry_without_windows_goes_and_so_does_what_cannot_be_read() {
    let redis = RedisServer::start();
    let store = process(&redis);
    assert!(!mutate(&store, "key", Mutation::Expire, Station::NOBODY).await, "nothing is there");
    for life in [minute(), Lifetime::fresh_for(Duration::MAX)] {
        put(&store, "key", "text", life).await;
        assert!(mutate(&store, "key", Mutation::Expire, Station::NOBODY).await);
        assert_eq!(value(&store, "key").await, None);
    }
    put(&store, "key", "text", minute().stale_if_error(MINUTE)).await;
    let name = only(&redis);
    let replaced: [&[&str]; 3] = [
        &["SETRANGE", &name, "26", "\u{2}"],
        &["SET", &name, "of others"],
        &[
            "EVAL",
            "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], 'x')",
            "1",
            &name,
        ],
    ];
    for command in replaced {
        redis.ask(command).unwrap();
        assert!(mutate(&store, "key", Mutation::Expire, Station::NOBODY).await, "{command:?}");
        assert_eq!(value(&store, "key").await, None, "{command:?}");
    }
    // An expiry that somebody took away comes back.
    put(&store, "key", "text", minute().stale_if_error(MINUTE)).await;
    redis.ask(&["PERSIST", &only(&redis)]).unwrap();
    assert!(mutate(&store, "key", Mutation::Expire, Station::NOBODY).await);
    let found = get(&store, "key").await.unwrap().lifetime;
    assert!(found.freshness() == Freshness::Expired && found.remaining() <= MINUTE);
}

#[tokio::test]
async fn a_change_is_told_to_others_in_order_and_not_to_who_did_it() {
    let redis = RedisServer::start();
    let (here, there) = (process(&redis), process(&redis));
    let ((one, station), (two, _)) = (Ear::on(&here.backplane()), Ear::on(&here.backplane()));
    let (far, _) = Ear::on(&there.backplane());
    for ear in [&one, &two, &far] {
        ear.hears(Told::Opened, 1).await;
    }
    let text = "text".to_owned();
    mutate(&here, "a", Mutation::put(&text, minute()), station).await;
    mutate(&here, "a", Mutation::Expire, station).await;
    mutate(&here, "a", Mutation::Remove, station).await;
    let lease = here.acquire("b", MINUTE, NOW).await.unwrap().unwrap();
    mutate(&here, "b", Mutation::fill(&text, minute(), lease), station).await;
    clear(&here, station).await;
    tell(&here, "t", TagChange::Expire, station).await;
    tell(&here, "ü", TagChange::Invalidate, station).await;
    assert!(here.put_if_absent("c", &text, minute(), NOW).await.unwrap());
    let all = [
        Told::Opened,
        Told::Changed("a".into()),
        Told::Expired("a".into()),
        Told::Changed("a".into()),
        Told::Filled("b".into()),
        Told::Cleared,
        Told::TagExpired("t".into()),
        Told::TagInvalidated("ü".into()),
        Told::Changed("c".into()),
    ];
    for ear in [&two, &far, &one] {
        ear.hears(Told::Changed("c".into()), 1).await;
    }
    assert_eq!([two.told(), far.told()], [all.to_vec(), all.to_vec()]);
    assert_eq!(one.told(), [Told::Opened, Told::Changed("c".into())], "its own are left out");
}

#[tokio::test]
async fn what_changes_nothing_is_told_only_where_others_may_have_the_value() {
    let redis = RedisServer::start();
    let store = process(&redis);
    let (ear, _) = Ear::on(&process(&redis).backplane());
    ear.hears(Told::Opened, 1).await;
    let text = "text".to_owned();
    let lease = store.acquire("filled", MINUTE, NOW).await.unwrap().unwrap();
    mutate(&store, "filled", Mutation::Remove, Station::NOBODY).await;
    assert!(
        !mutate(&store, "filled", Mutation::fill(&text, minute(), lease), Station::NOBODY).await
    );
    put(&store, "there", "text", minute()).await;
    assert!(!store.put_if_absent("there", &text, minute(), NOW).await.unwrap());
    // Nothing is in Redis; other processes may have it in memory.
    assert!(!mutate(&store, "absent", Mutation::Remove, Station::NOBODY).await);
    assert!(!mutate(&store, "absent", Mutation::Expire, Station::NOBODY).await);
    put(&store, "end", "text", minute().aged(MINUTE)).await;
    ear.hears(Told::Changed("end".into()), 1).await;
    let told = [
        Told::Opened,
        Told::Changed("filled".into()),
        Told::Changed("there".into()),
        Told::Changed("absent".into()),
        Told::Expired("absent".into()),
        Told::Changed("end".into()),
    ];
    assert_eq!(ear.told(), told);
}

/// Who hears of a change and asks sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_sees_what_has_happened() {
    let redis = RedisServer::start();
    let (here, there) = (process(&redis), process(&redis));
    let (ear, _) = Ear::on(&there.backplane());
    ear.hears(Told::Opened, 1).await;
    for n in 0..200 {
        put(&here, "key", &n.to_string(), minute()).await;
        ear.hears(Told::Changed("key".into()), n + 1).await;
        assert_eq!(value(&there, "key").await, Some(n.to_string()));
    }
}

#[tokio::test]
async fn what_is_too_large_changes_nothing_and_is_not_told() {
    let redis = RedisServer::start();
    let store = process(&redis).max_value_bytes(10);
    let (ear, _) = Ear::on(&process(&redis).backplane());
    ear.hears(Told::Opened, 1).await;
    put(&store, "key", "text", minute()).await;
    let lease = store.acquire("key", MINUTE, NOW).await.unwrap().unwrap();
    let long = "x".repeat(11);
    let refused = store.mutate("key", Mutation::put(&long, minute()), Station::NOBODY, NOW).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { size: 11, limit: 10, .. })));
    assert_eq!(value(&store, "key").await.as_deref(), Some("text"));
    assert!(store.release("key", lease, NOW).await.unwrap(), "the lease is in force");
    mutate(&store, "end", Mutation::Remove, Station::NOBODY).await;
    ear.hears(Told::Changed("end".into()), 1).await;
    assert_eq!(ear.count(&Told::Changed("key".into())), 1);
}

/// The answer is lost, the change is not: it was told, as always.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_answer_is_lost_was_told() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis.socket());
    let server = Server::builder(&proxy.address()).unwrap().heartbeat(PATIENCE).build().unwrap();
    let store = Texts::new(&server, "app", Plain).unwrap().namespace("texts");
    let (ear, _) = Ear::on(&process(&redis).backplane());
    ear.hears(Told::Opened, 1).await;
    support::eventually("it works", async || {
        store.put("a", &"text".to_owned(), minute(), NOW).await.is_ok()
    })
    .await;
    // Longer than the time-out of an operation, there and back.
    proxy.set(Way::Open(Duration::from_millis(300)));
    let answer = store.put("b", &"text".to_owned(), minute(), NOW).await.unwrap_err();
    assert_eq!(behind(&answer), Some(ServerError::TimedOut));
    ear.hears(Told::Changed("b".into()), 1).await;
}

/// A server that was stopped carries out what was sent to it when it wakes. The age of a fill counts from
/// then, so it may be no later than the end of its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r8_a_fill_that_was_held_up_for_longer_than_its_lease_is_refused() {
    let redis = RedisServer::start();
    let builder = Server::builder(&redis.address()).unwrap().heartbeat(PATIENCE);
    let store = Texts::new(&builder.build().unwrap(), "app", Plain).unwrap();
    let (text, ttl) = ("text".to_owned(), Duration::from_millis(300));
    let (mut key, mut number) = (String::new(), 0);
    // A lease whose acquisition was not answered in time is nobody's, so each is of another key.
    let mut next = || {
        number += 1;
        format!("key {number}")
    };
    support::eventually("the server knows the script", async || {
        let key = next();
        let Ok(Some(lease)) = store.acquire(&key, MINUTE, NOW).await else { return false };
        let fill = Mutation::fill(&text, minute(), lease);
        store.mutate(&key, fill, Station::NOBODY, NOW).await.is_ok()
    })
    .await;
    for (wait, kept) in [(Duration::ZERO, true), (ttl * 2, false)] {
        let mut lease = None;
        // No machine is too slow for what is to be kept.
        let ttl = if kept { MINUTE } else { ttl };
        support::eventually("there is a lease", async || {
            key = next();
            lease = store.acquire(&key, ttl, NOW).await.unwrap_or(None);
            lease.is_some()
        })
        .await;
        redis.signal("STOP");
        let fill = Mutation::fill(&text, minute(), lease.unwrap());
        let answer = store.mutate(&key, fill, Station::NOBODY, NOW).await.unwrap_err();
        assert_eq!(behind(&answer), Some(ServerError::TimedOut));
        tokio::time::sleep(wait).await;
        redis.signal("CONT");
        // On the same connection, and so after the fill.
        support::eventually("it is read", async || match store.get(&key, NOW).await {
            Ok(found) => {
                assert_eq!(found.is_some(), kept);
                true
            }
            Err(_) => false,
        })
        .await;
    }
}

#[tokio::test]
async fn nothing_is_changed_in_silence() {
    let redis = RedisServer::start();
    let rules = "ACL SETUSER mute on >secret allkeys resetchannels +@all -publish";
    redis.ask(&rules.split_whitespace().collect::<Vec<_>>()).unwrap();
    let mute = open(&format!("{}?user=mute&pass=secret", redis.address_without_login()));
    let mute = Texts::new(&mute, "app", Plain).unwrap().namespace("texts");
    let store = process(&redis);
    put(&store, "key", "text", minute()).await;
    for mutation in [Mutation::put(&"new".to_owned(), minute()), Mutation::Expire, Mutation::Remove]
    {
        let error = mute.mutate("key", mutation, Station::NOBODY, NOW).await.unwrap_err();
        assert!(behind(&error).is_some(), "{error:?}");
    }
    AsyncSharedStore::<str, String>::clear_all(&mute, Station::NOBODY, NOW).await.unwrap_err();
    assert_eq!(value(&store, "key").await.as_deref(), Some("text"));
}

#[tokio::test]
async fn clones_share_what_is_counted_and_the_store_says_that_it_is_shared() {
    let redis = RedisServer::start();
    let store = process(&redis).max_key_bytes(3);
    let clone = store.clone();
    clone.get("long key", NOW).await.unwrap_err();
    assert_eq!(store.stats().too_large, 1);
    let shared = AsyncStore::<str, String>::shared(&store).expect("it is shared");
    assert!(!shared.mutate("key", Mutation::Remove, Station::NOBODY, NOW).await.unwrap());
    let apart = clone.namespace("apart");
    assert_eq!(apart.stats().too_large, 0);
}
