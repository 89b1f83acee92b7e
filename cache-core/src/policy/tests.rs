use super::*;
use proptest::prelude::*;
use std::string::ToString;

const SECOND: Duration = Duration::from_secs(1);

fn field_of(builder: PolicyBuilder) -> &'static str {
    let error = builder.build().expect_err("this setting cannot be");
    assert!(!error.mend().is_empty());
    error.field()
}

#[test]
fn every_bad_setting_is_named() {
    let ok = || Policy::ttl(SECOND);
    assert_eq!(field_of(PolicyBuilder::new()), "ttl");
    assert_eq!(field_of(Policy::ttl(Duration::ZERO)), "ttl");
    assert_eq!(field_of(Policy::ttl(Duration::MAX)), "ttl");
    assert_eq!(field_of(ok().stale_while_revalidate(Duration::ZERO)), "stale_while_revalidate");
    assert_eq!(field_of(ok().stale_if_error(Duration::ZERO)), "stale_if_error");
    assert_eq!(field_of(ok().lease(Duration::ZERO)), "lease");
    assert_eq!(field_of(ok().soft_timeout(Duration::ZERO)), "soft_timeout");
    assert_eq!(field_of(ok().hard_timeout(Duration::ZERO)), "hard_timeout");
    assert_eq!(field_of(ok().missing_ttl(Duration::ZERO)), "missing_ttl");
    assert_eq!(field_of(ok().missing_ttl(SECOND).forget_missing()), "missing_ttl");
    assert_eq!(field_of(ok().jitter_percent(101)), "jitter_percent");
    assert_eq!(field_of(ok().early_refresh_percent(0)), "early_refresh_percent");
    assert_eq!(field_of(ok().early_refresh_percent(100)), "early_refresh_percent");
    assert_eq!(field_of(ok().cool_down(Duration::ZERO, 2, SECOND)), "cool_down");
    assert_eq!(field_of(ok().cool_down(SECOND, 0, SECOND)), "cool_down");
    assert_eq!(field_of(ok().cool_down(SECOND * 2, 2, SECOND)), "cool_down");
    assert_eq!(field_of(ok().soft_timeout(SECOND * 2).hard_timeout(SECOND)), "soft_timeout");
    assert_eq!(field_of(Policy::forever().early_refresh_percent(50)), "early_refresh_percent");
    let no_store = Policy::no_store;
    assert_eq!(field_of(no_store().stale_while_revalidate(SECOND)), "stale_while_revalidate");
    assert_eq!(field_of(no_store().stale_if_error(SECOND)), "stale_if_error");
    assert_eq!(field_of(no_store().early_refresh_percent(50)), "early_refresh_percent");
    assert_eq!(field_of(no_store().missing_ttl(SECOND)), "missing_ttl");
}

#[test]
fn an_error_says_what_to_do() {
    let error = Policy::ttl(Duration::ZERO).build().unwrap_err();
    let text = "ttl is zero: say no_store() or forever(), or a longer time";
    assert_eq!(error.to_string(), text);
}

#[test]
fn defaults_are_those_of_the_table() {
    let policy = Policy::ttl(SECOND * 60).build().unwrap();
    assert_eq!(policy.missing_ttl(), SECOND * 10);
    assert_eq!((policy.swr(), policy.sie()), (Duration::ZERO, Duration::ZERO));
    assert_eq!(policy.lease(), SECOND * 30);
    assert_eq!((policy.soft_timeout(), policy.hard_timeout()), (SECOND, SECOND * 30));
    let waits = [1, 2, 3, 6, 100].map(|failures| policy.cool_down.after(failures).as_secs());
    assert_eq!(waits, [1, 2, 4, 30, 30]);
}

#[test]
fn a_short_hard_timeout_pulls_the_default_soft_one_down() {
    let policy = Policy::ttl(SECOND).hard_timeout(SECOND / 2).build().unwrap();
    assert_eq!(policy.soft_timeout(), SECOND / 2);
}

#[cfg(feature = "serde")]
#[test]
fn a_policy_read_from_text_is_checked() {
    let policy = Policy::ttl(SECOND).stale_if_error(SECOND).build().unwrap();
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
    let zero = serde_json::to_string(&Policy::ttl(Duration::ZERO)).unwrap();
    assert!(serde_json::from_str::<Policy>(&zero).unwrap_err().to_string().contains("ttl"));
}

proptest! {
    #[test]
    fn jitter_only_shortens_and_never_beyond_its_share(
        ttl in 1..u64::MAX - 1, percent in 0..=100u8, hash in any::<u64>(),
    ) {
        let ttl = Duration::from_nanos(ttl);
        let policy = Policy::ttl(ttl).jitter_percent(percent).build().unwrap();
        let jittered = policy.spans().jittered_ttl(hash);
        prop_assert!(jittered <= ttl);
        let least = ttl.as_nanos() * u128::from(100 - percent) / 100;
        prop_assert!(jittered.as_nanos() >= least);
    }

    #[test]
    fn one_number_gives_all_windows_back(
        start in prop_oneof![0..1_000u64, 0..u64::MAX / 4],
        ttl in prop_oneof![1..1_000u64, 1..u64::MAX / 4],
        early in proptest::option::of(1..100u8),
        hash in any::<u64>(),
    ) {
        let mut builder = Policy::ttl(Duration::from_nanos(ttl)).stale_while_revalidate(SECOND);
        if let Some(percent) = early {
            builder = builder.early_refresh_percent(percent);
        }
        let policy = builder.build().unwrap();
        let windows = policy.windows(Instant::from_nanos(start), hash).unwrap();
        let back = policy.windows_of_resting(policy.resting_deadline(&windows), hash);
        let error = back.stored_at.as_nanos().abs_diff(windows.stored_at.as_nanos())
            .max(back.fresh_until.as_nanos().abs_diff(windows.fresh_until.as_nanos()));
        prop_assert!(error <= 128, "{windows:?} came back as {back:?}");
        prop_assert!(back.fresh_until <= windows.fresh_until);
    }

    #[test]
    fn cool_downs_never_shrink(failures in 1..200u32, factor in 1..10u32) {
        let policy = Policy::ttl(SECOND).cool_down(SECOND, factor, SECOND * 100).build().unwrap();
        prop_assert!(policy.cool_down.after(failures) <= policy.cool_down.after(failures + 1));
        prop_assert!(policy.cool_down(failures, 7) >= policy.cool_down.after(failures) * 9 / 10);
    }
}

#[test]
fn a_value_that_never_ends_keeps_its_age() {
    let policy = Policy::forever().build().unwrap();
    let stored = Instant::from_secs(5);
    let windows = policy.windows(stored, 1).unwrap();
    assert_eq!(windows.fresh_until, Instant::FAR_FUTURE);
    let back = policy.windows_of_resting(policy.resting_deadline(&windows), 1);
    assert_eq!(back, windows);
}
