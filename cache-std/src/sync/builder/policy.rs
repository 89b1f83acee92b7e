//! The settings of the policy.

use core::time::Duration;

use cache_core::PolicyBuilder;

use super::Builder;

/// The settings of the policy, each as in [`PolicyBuilder`].
impl<K, V, S, D> Builder<K, V, S, D> {
    fn policy_with(mut self, change: impl FnOnce(PolicyBuilder) -> PolicyBuilder) -> Self {
        self.policy = change(self.policy);
        self
    }

    /// All settings of the policy at once.
    pub fn policy(self, policy: PolicyBuilder) -> Self {
        self.policy_with(|_| policy)
    }

    /// Values stay fresh for `ttl`.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.policy_with(|policy| policy.ttl(ttl))
    }

    /// Values stay fresh until they are expired or removed.
    pub fn forever(self) -> Self {
        self.policy_with(PolicyBuilder::forever)
    }

    /// Nothing is kept; loads are still shared by those who wait.
    pub fn no_store(self) -> Self {
        self.policy_with(PolicyBuilder::no_store)
    }

    /// Extra time after freshness in which the old value is served at once while one refresh runs.
    pub fn stale_while_revalidate(self, swr: Duration) -> Self {
        self.policy_with(|policy| policy.stale_while_revalidate(swr))
    }

    /// Extra time after freshness in which the old value is served when the load fails or is late.
    pub fn stale_if_error(self, sie: Duration) -> Self {
        self.policy_with(|policy| policy.stale_if_error(sie))
    }

    /// Shortens each ttl by up to `percent` of it; 0 switches jitter off.
    pub fn jitter_percent(self, percent: u8) -> Self {
        self.policy_with(|policy| policy.jitter_percent(percent))
    }

    /// Refreshes a value that is read after `percent` of its ttl, before it is stale.
    pub fn early_refresh_percent(self, percent: u8) -> Self {
        self.policy_with(|policy| policy.early_refresh_percent(percent))
    }

    /// How long a key that the origin does not know is remembered as missing.
    pub fn missing_ttl(self, ttl: Duration) -> Self {
        self.policy_with(|policy| policy.missing_ttl(ttl))
    }

    /// Missing keys are not remembered.
    pub fn forget_missing(self) -> Self {
        self.policy_with(PolicyBuilder::forget_missing)
    }

    /// Back-off after failed loads.
    pub fn cool_down(self, initial: Duration, factor: u32, maximum: Duration) -> Self {
        self.policy_with(|policy| policy.cool_down(initial, factor, maximum))
    }

    /// With `true`, the cool-down holds back loads of cold keys, too.
    pub fn fail_fast(self, on: bool) -> Self {
        self.policy_with(|policy| policy.fail_fast(on))
    }

    /// How long a flight keeps others from loading the same key.
    pub fn lease(self, lease: Duration) -> Self {
        self.policy_with(|policy| policy.lease(lease))
    }

    /// How long a caller who could have an old value waits before it takes that.
    pub fn soft_timeout(self, soft: Duration) -> Self {
        self.policy_with(|policy| policy.soft_timeout(soft))
    }

    /// How long any caller waits for a load. With [`Duration::MAX`], and where no old value could
    /// serve earlier, loads run on the caller's own thread.
    pub fn hard_timeout(self, hard: Duration) -> Self {
        self.policy_with(|policy| policy.hard_timeout(hard))
    }
}
