//! S2, PE, PF, PT: what serves when, and when those who wait are told.

use advanced_caching::Freshness;
use advanced_caching::future::Builder;
use tokio::time::sleep;

use super::calls::{Answer, Calls, ask, builder, told};
use crate::world::{Origin, Told, ms, on_paused_time, secs, settled};

const DOWN: Origin = Origin("down");

/// Reads key 1 at 4 Hz for 6.5 s, with an origin that takes so long. Returns when, in milliseconds
/// since the first load ended, it was asked.
async fn refreshes_at_4_hz(takes: u64) -> Vec<u64> {
    let cache = builder().ttl(secs(1)).stale_while_revalidate(secs(6)).build().unwrap();
    cache.put(1, 0).await;
    let calls = Calls::new();
    while calls.now() <= 6_500 {
        let before = calls.now();
        let read: Answer = cache.get_or_load(&1, calls.load(ms(takes), Ok(1))).await;
        assert!(
            read.is_ok() && calls.now() == before,
            "{read:?} after {} ms",
            calls.now() - before
        );
        sleep(ms(250)).await;
    }
    calls.times()
}

#[test]
fn s2_at_4_hz_a_refresh_comes_each_time_an_entry_is_stale() {
    on_paused_time(async {
        assert_eq!(refreshes_at_4_hz(0).await, [1_000, 2_000, 3_000, 4_000, 5_000, 6_000]);
        assert_eq!(refreshes_at_4_hz(50).await, [1_000, 2_250, 3_500, 4_750, 6_000]);
    });
}

fn windows() -> Builder<u8, u32> {
    builder().ttl(secs(1)).stale_while_revalidate(secs(2)).stale_if_error(secs(60))
}

#[test]
fn pe_the_first_read_after_freshness_ended_is_served_in_no_time() {
    on_paused_time(async {
        let cache = windows().build().unwrap();
        cache.put(1, 1).await;
        sleep(secs(1)).await;
        let calls = Calls::new();
        for at in [0, 199] {
            sleep(ms(at)).await;
            let caller = ask(&cache, 1, calls.load(ms(200), Ok(2)));
            assert_eq!((told(caller).await, calls.now()), (Told::Value(1), at));
            assert_eq!(cache.freshness(&1), Some(Freshness::Stale));
        }
        sleep(ms(1)).await;
        settled().await;
        assert_eq!((cache.get(&1), calls.times()), (Some(2), vec![0]));
    });
}

/// Five reads 60 ms apart of a value that is so old, while the origin is down. Returns when it was
/// asked.
async fn five_reads_while_down(age: u64) -> Vec<u64> {
    let cache = windows().cool_down(secs(1), 2, secs(30)).build().unwrap();
    cache.put(1, 1).await;
    sleep(ms(age)).await;
    let calls = Calls::new();
    for _ in 0..5 {
        let caller = ask(&cache, 1, calls.load(ms(0), Err(DOWN)));
        assert_eq!(told(caller).await, Told::Value(1));
        sleep(ms(60)).await;
    }
    assert_eq!(cache.stats().failures, 1);
    calls.times()
}

#[test]
fn pf_five_reads_of_an_old_value_make_one_call_while_the_origin_is_down() {
    on_paused_time(async {
        assert_eq!(five_reads_while_down(1_000).await, [0], "a stale value");
        assert_eq!(five_reads_while_down(5_000).await, [0], "one kept for errors");
    });
}

#[test]
fn pt_past_the_soft_time_out_the_old_value_serves_and_the_load_lands() {
    on_paused_time(async {
        let cache = windows().soft_timeout(ms(200)).build().unwrap();
        cache.put(1, 1).await;
        sleep(secs(5)).await;
        let calls = Calls::new();
        let caller = ask(&cache, 1, calls.load(ms(700), Ok(2)));
        assert_eq!((told(caller).await, calls.now()), (Told::Value(1), 200));
        let late = ask(&cache, 1, calls.load(ms(700), Ok(3)));
        assert_eq!((told(late).await, calls.now()), (Told::Value(1), 200));
        sleep(ms(500)).await;
        settled().await;
        assert_eq!((cache.get(&1), calls.times()), (Some(2), vec![0]));
    });
}

#[test]
fn pt_past_the_hard_time_out_a_typed_error_is_told_and_the_load_lands() {
    on_paused_time(async {
        let cache = builder().hard_timeout(secs(1)).lease(secs(2)).build().unwrap();
        let calls = Calls::new();
        let caller = ask(&cache, 1, calls.load(ms(1_500), Ok(2)));
        let late = Told::TimedOut { retry_in: secs(1) };
        assert_eq!((told(caller).await, calls.now()), (late, 1_000));
        sleep(ms(500)).await;
        settled().await;
        assert_eq!((cache.get(&1), calls.times()), (Some(2), vec![0]));
    });
}

#[test]
fn pt_a_caller_may_have_less_patience_than_the_cache() {
    on_paused_time(async {
        let (cache, calls) = (builder().build().unwrap(), Calls::new());
        let read = cache.read(&1).wait_at_most(ms(20));
        let told: Answer = read.get_or_load(calls.load(ms(100), Ok(7))).await;
        assert!(told.as_ref().is_err_and(|e| e.is_timeout()), "{told:?}");
        assert_eq!(calls.now(), 20);
        sleep(ms(80)).await;
        settled().await;
        assert_eq!(cache.get(&1), Some(7));
    });
}
