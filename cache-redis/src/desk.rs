//! Rights that end by themselves: what leases and locks have in common.

use core::time::Duration;

use cache_core::store::{HeldLease, StoreError};

use crate::key::{Kind, Names};
use crate::link::Link;
use crate::script::Script;
use crate::{Server, form, random, reply, script};

/// For so long the number of a lease is kept after its end. By less than this may the server's clock be
/// set back while its memory is lost.
const FENCE_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// Gives and takes rights on the keys of one namespace.
pub(crate) struct Desk<'a> {
    pub(crate) server: &'a Server,
    pub(crate) names: &'a Names,
    pub(crate) right: Kind,
    pub(crate) fence: Kind,
}

impl Desk<'_> {
    pub(crate) async fn acquire(
        &self,
        key: &[u8],
        ttl: Duration,
    ) -> Result<Option<HeldLease>, StoreError> {
        let no_token = || StoreError::unavailable("there are no random bytes for a token");
        let token = random::token().ok_or_else(no_token)?;
        let answer = self.run(&script::ACQUIRE, key, &token, Some(ttl)).await?;
        let fence = reply::number(answer)?;
        Ok(fence.map(|fence| HeldLease::new(token, fence)))
    }

    pub(crate) async fn renew(
        &self,
        key: &[u8],
        token: &[u8; 16],
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let answer = self.run(&script::RENEW, key, token, Some(ttl)).await?;
        Ok(reply::integer(answer)? == 1)
    }

    pub(crate) async fn release(&self, key: &[u8], token: &[u8; 16]) -> Result<bool, StoreError> {
        let answer = self.run(&script::RELEASE, key, token, None).await?;
        Ok(reply::integer(answer)? == 1)
    }

    async fn run(
        &self,
        script: &Script,
        key: &[u8],
        token: &[u8; 16],
        ttl: Option<Duration>,
    ) -> Result<redis::Value, StoreError> {
        let names = [self.names.of(self.right, key)?, self.names.of(self.fence, key)?];
        let spans = ttl.map(|ttl| [ttl, ttl.saturating_add(FENCE_KEPT)]);
        let spans = spans.map(|spans| spans.map(|span| form::millis(span).to_string()));
        let operation = self.server.operate(|mut link: Link| async move {
            let keys = names.each_ref().map(Vec::as_slice);
            let mut arguments = vec![token.as_slice()];
            arguments.extend(spans.iter().flatten().map(String::as_bytes));
            script.run(&mut link, &keys, &arguments).await
        });
        Ok(operation.await?)
    }
}
