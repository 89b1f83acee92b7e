//! Rights that end by themselves: what leases and locks have in common.

use core::error::Error;
use core::mem;
use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{HeldLease, StoreError};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::error::ServerError;
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

impl<R: Room + Send> Room for Arc<R> {
    async fn run(
        &self,
        script: &'static Script,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> Result<redis::Value, StoreError> {
        (**self).run(script, key, arguments).await
    }
}

/// How often, and after which pauses, it is tried to give back a right that may have been given: for a minute, since
/// a server that hangs carries out what it was sent when it goes on.
const TRIES: usize = 240;
const PAUSE: Duration = Duration::from_millis(250);

/// A right that was asked for, and may have been given though nobody knows. Dropped before it is over, it is given
/// back: what is sent later on the same connection is carried out later.
struct Asked<R: Room + Clone + Send + 'static> {
    room: R,
    key: Vec<u8>,
    token: [u8; 16],
    over: bool,
}

impl<R: Room + Clone + Send + 'static> Drop for Asked<R> {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.over {
            return;
        }
        let (room, key, token) = (self.room.clone(), mem::take(&mut self.key), self.token);
        runtime.spawn(async move { Desk(&room).give_back(&key, &token).await });
    }
}

/// Whether the server has certainly not done what was asked.
fn is_refusal(error: &StoreError) -> bool {
    let kind = error.source().and_then(|source| source.downcast_ref::<ServerError>());
    !matches!(kind, Some(ServerError::TimedOut | ServerError::Broken))
}

/// Gives and takes rights.
pub(crate) struct Desk<'a, R>(pub(crate) &'a R);

impl<R: Room> Desk<'_, R> {
    /// Where the answer is lost, or this is dropped, a right that may have been given is given back.
    pub(crate) async fn acquire(
        &self,
        key: &[u8],
        ttl: Duration,
    ) -> Result<Option<HeldLease>, StoreError>
    where
        R: Clone + Send + 'static,
    {
        let no_token = || StoreError::unavailable("there are no random bytes for a token");
        let token = random::token().ok_or_else(no_token)?;
        let [ttl, kept] = spans(ttl);
        let arguments: [&[u8]; 3] = [&token, ttl.as_bytes(), kept.as_bytes()];
        let mut asked = Asked { room: self.0.clone(), key: key.to_vec(), token, over: false };
        let answer = self.0.run(&script::ACQUIRE, key, &arguments).await;
        asked.over = answer.as_ref().err().is_none_or(is_refusal);
        drop(asked);
        let fence = reply::number(answer?)?;
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

    /// As [`release`](Self::release), and tries for a while.
    pub(crate) async fn give_back(&self, key: &[u8], token: &[u8; 16]) {
        let mut not_there = 0;
        for _ in 0..TRIES {
            match self.release(key, token).await {
                Ok(true) => return,
                // It was never given; or will be, since what was sent on another connection waits there.
                Ok(false) if not_there == 4 => return,
                Ok(false) => not_there += 1,
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
        // It ends by itself.
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
