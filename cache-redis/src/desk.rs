//! Rights that end by themselves: what leases and locks have in common.

use core::time::Duration;

use cache_core::store::{HeldLease, StoreError};

use crate::script::Script;
use crate::{form, random, reply, script};

/// For so long the number of a lease is kept after its end. By less than this may the server's clock be
/// set back while its memory is lost.
const FENCE_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Where rights are kept: runs a script on the names of a right and of its number, in one step.
pub(crate) trait Room: Sync {
    fn run(
        &self,
        script: &'static Script,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> impl Future<Output = Result<redis::Value, StoreError>> + Send;
}

/// Gives and takes rights.
pub(crate) struct Desk<'a, R>(pub(crate) &'a R);

impl<R: Room> Desk<'_, R> {
    pub(crate) async fn acquire(
        &self,
        key: &[u8],
        ttl: Duration,
    ) -> Result<Option<HeldLease>, StoreError> {
        let no_token = || StoreError::unavailable("there are no random bytes for a token");
        let token = random::token().ok_or_else(no_token)?;
        let [ttl, kept] = spans(ttl);
        let arguments: [&[u8]; 3] = [&token, ttl.as_bytes(), kept.as_bytes()];
        let answer = self.0.run(&script::ACQUIRE, key, &arguments).await?;
        let fence = reply::number(answer)?;
        Ok(fence.map(|fence| HeldLease::new(token, fence)))
    }

    pub(crate) async fn renew(
        &self,
        key: &[u8],
        token: &[u8; 16],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let [ttl, kept] = spans(ttl);
        let arguments: [&[u8]; 3] = [token, ttl.as_bytes(), kept.as_bytes()];
        let answer = self.0.run(&script::RENEW, key, &arguments).await?;
        Ok(reply::integer(answer)? == 1)
    }

    pub(crate) async fn release(&self, key: &[u8], token: &[u8; 16]) -> Result<bool, StoreError> {
        let answer = self.0.run(&script::RELEASE, key, &[token]).await?;
        Ok(reply::integer(answer)? == 1)
    }
}

/// How long a right lasts, and its number.
fn spans(ttl: Duration) -> [String; 2] {
    [ttl, ttl.saturating_add(FENCE_KEPT)].map(|span| form::millis(span).to_string())
}
