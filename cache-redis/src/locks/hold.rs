//! A lock as its holder knows it: until when it is counted on, and whether its server may have forgotten it.

use core::time::Duration;
use std::sync::Arc;

use cache_core::store::{ExtendError, HeldLease, LockOptions, StoreError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::RedisLocks;
use crate::key::Kind;
use crate::link::Link;
use crate::{form, reply};

/// Before this was sent.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    at: Instant,
    /// Connections that had ended by then. A server that has been restarted since has ended one more.
    lost: u64,
}

/// By so much, and a fiftieth of its ttl, the server may end it later than its holder thinks.
const LATE: Duration = Duration::from_secs(1);

/// What a holder counts on.
#[derive(Clone, Copy)]
pub(super) struct Sure {
    until: Instant,
    /// The server had it after so many connections had ended.
    lost: u64,
}

impl RedisLocks {
    pub(super) fn asked(&self) -> Asked {
        Asked { at: Instant::now(), lost: self.server.connections_lost() }
    }
}

impl Asked {
    /// The holder's own end of what the server keeps for `ttl`: counted from before it was asked.
    pub(super) fn kept(self, ttl: Duration) -> Sure {
        let ttl = Duration::from_millis(form::millis(ttl));
        Sure { until: self.at + LockOptions::surely(ttl), lost: self.lost }
    }
}

/// A right as its holder knows it.
pub(super) struct Hold {
    locks: RedisLocks,
    name: Vec<u8>,
    token: [u8; 16],
    fence: u64,
    /// `None` once it is known to be lost.
    sure: watch::Sender<Option<Sure>>,
    /// On which it was acquired.
    runtime: Handle,
}

impl Hold {
    pub(super) fn new(
        locks: RedisLocks,
        name: &[u8],
        lease: &HeldLease,
        runtime: &Handle,
        sure: Sure,
    ) -> Arc<Self> {
        let (token, fence) = (*lease.token(), lease.fence());
        let sure = watch::Sender::new(Some(sure));
        Arc::new(Self { locks, name: name.into(), token, fence, sure, runtime: runtime.clone() })
    }

    pub(super) const fn fence(&self) -> u64 {
        self.fence
    }

    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn valid_for(&self) -> Duration {
        let sure = *self.sure.borrow();
        let sure = sure.filter(|sure| !self.is_doubtful(*sure));
        sure.map_or(Duration::ZERO, |sure| sure.until.saturating_duration_since(Instant::now()))
    }

    /// Whether the server may have forgotten it since.
    fn is_doubtful(&self, sure: Sure) -> bool {
        sure.lost != self.locks.server.connections_lost()
    }

    pub(super) async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        let asked = self.locks.asked();
        // Whatever becomes of the answer, the server may have done it; only that makes it last longer.
        self.shorten(asked.kept(ttl).until);
        let renewed = self.locks.desk().renew(&self.name, &self.token, ttl).await;
        if renewed.map_err(ExtendError::Store)? {
            self.note(asked.kept(ttl));
            Ok(())
        } else {
            self.sure.send_replace(None);
            Err(ExtendError::Lost)
        }
    }

    /// It is not counted on for longer than this.
    fn shorten(&self, until: Instant) {
        self.sure.send_if_modified(|sure| match sure {
            Some(sure) if sure.until > until => {
                sure.until = until;
                true
            }
            _ => false,
        });
    }

    /// The server has it, unless it has said otherwise: what is lost does not come back.
    fn note(&self, now: Sure) {
        self.sure.send_if_modified(|sure| match sure {
            Some(sure) => {
                *sure = now;
                true
            }
            None => false,
        });
    }

    /// As [`release`](Self::release), and tries for a while.
    pub(super) async fn give_back(&self) {
        self.locks.desk().give_back(&self.name, &self.token).await;
    }

    pub(super) async fn release(&self) -> Result<bool, StoreError> {
        self.locks.desk().release(&self.name, &self.token).await
    }

    /// Asks whether the server still has it, and makes it last no longer.
    async fn confirm(&self) -> Result<(), ExtendError> {
        let asked = self.locks.asked();
        if self.is_kept().await.map_err(ExtendError::Store)? {
            self.sure.send_if_modified(|sure| {
                sure.as_mut().map(|sure| sure.lost = asked.lost).is_some()
            });
            Ok(())
        } else {
            self.sure.send_replace(None);
            Err(ExtendError::Lost)
        }
    }

    async fn is_kept(&self) -> Result<bool, StoreError> {
        let name = self.locks.names.of(Kind::Lock, &self.name)?;
        let mut question = redis::cmd("GET");
        question.arg(&*name);
        let answer = self
            .locks
            .server
            .operate(|mut link: Link| async move { reply::value(link.ask(&question).await?) });
        let answer = answer.await?;
        Ok(!matches!(answer, redis::Value::Nil) && reply::bytes(answer)? == self.token)
    }

    /// Renews it at each third, if it is to be renewed; asks for it whenever a connection has ended; and tries
    /// again soon where the server does not answer. Ends when it is lost, or was left to its ttl.
    pub(super) async fn guard(self: Arc<Self>, options: LockOptions) {
        let mut moved = self.locks.server.moves();
        let third = (options.ttl / 3).clamp(Duration::from_millis(1), form::FOR_EVER);
        let soon = (third / 4).clamp(Duration::from_millis(1), Duration::from_secs(1));
        let mut renew_at = options.renew.then(|| Instant::now() + third);
        loop {
            moved.borrow_and_update();
            let Some(sure) = *self.sure.borrow() else { return };
            let is_due = renew_at.is_some_and(|at| at <= Instant::now());
            if !is_due && !self.is_doubtful(sure) {
                let over = sure.until + options.ttl.min(form::FOR_EVER) / 50 + LATE;
                if renew_at.is_none() && over <= Instant::now() {
                    return;
                }
                rings(&mut moved, renew_at.unwrap_or(over)).await;
                continue;
            }
            let asked =
                if options.renew { self.extend(options.ttl).await } else { self.confirm().await };
            match asked {
                Ok(()) => renew_at = renew_at.map(|_| Instant::now() + third),
                Err(ExtendError::Lost) => return,
                Err(_) => rings(&mut moved, Instant::now() + soon).await,
            }
        }
    }

    pub(super) async fn lost(&self) {
        let mut changes = self.sure.subscribe();
        loop {
            let Some(sure) = *changes.borrow_and_update() else { return };
            match timeout_at(sure.until, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if changes.has_changed().unwrap_or(false) => {}
                Err(_) => return,
            }
        }
    }
}

/// Waits until the connection may have changed, or the time has come.
async fn rings(moved: &mut watch::Receiver<()>, at: Instant) {
    // An error: the server's last handle is gone, which this one has.
    let _ = timeout_at(at, moved.changed()).await;
}
