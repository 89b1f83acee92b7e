//! A lock as its holder knows it: until when it is counted on, and whether its server may have forgotten it.

use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
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

const SHORTEST: Duration = Duration::from_millis(1);

/// What a holder counts on.
#[derive(Clone, Copy)]
pub(super) struct Sure {
    until: Instant,
    /// A third of its time is over then.
    renew_at: Instant,
    /// What was asked for last.
    ttl: Duration,
    /// The number of the last question that was begun.
    question: u64,
    /// The server had it after so many connections had ended.
    lost: u64,
}

impl Sure {
    /// No more is counted on than the other has.
    fn shorten(&mut self, other: Self) {
        self.until = self.until.min(other.until);
        self.renew_at = self.renew_at.min(other.renew_at);
    }

    /// A third of its ttl.
    fn third(self) -> Duration {
        (self.ttl / 3).max(SHORTEST)
    }
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
        let until = self.at + LockOptions::surely(ttl);
        let sure = Sure { until, renew_at: self.at, ttl, question: 0, lost: self.lost };
        Sure { renew_at: self.at + sure.third(), ..sure }
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

    /// Makes it last for `ttl` from now, and from each renewal on.
    pub(super) async fn extend(&self, ttl: Duration) -> Result<(), ExtendError> {
        self.ask(Some(ttl)).await
    }

    /// Asks for this ttl, or again for that which was asked for last.
    async fn ask(&self, ttl: Option<Duration>) -> Result<(), ExtendError> {
        let asked = self.begin(ttl).ok_or(ExtendError::Lost)?;
        let renewed = self.locks.desk().renew(&self.name, &self.token, asked.ttl).await;
        if renewed.map_err(ExtendError::Store)? {
            self.note(asked);
            Ok(())
        } else {
            self.sure.send_replace(None);
            Err(ExtendError::Lost)
        }
    }

    /// Begins a question, and returns what may be counted on when it is answered; `None` where it is lost. Whatever
    /// becomes of the answer, the server may do it; only the answer makes it last longer.
    fn begin(&self, ttl: Option<Duration>) -> Option<Sure> {
        let asked = self.locks.asked();
        let mut begun = None;
        self.sure.send_if_modified(|sure| {
            begun = sure.as_mut().map(|sure| {
                let question = sure.question + 1;
                let kept = Sure { question, ..asked.kept(ttl.unwrap_or(sure.ttl)) };
                sure.shorten(kept);
                (sure.ttl, sure.question) = (kept.ttl, question);
                kept
            });
            begun.is_some()
        });
        begun
    }

    /// The server has it, unless it has said otherwise: what is lost does not come back. Where a later question was
    /// begun, the server may have done that after this one, so this one makes it last no longer.
    fn note(&self, now: Sure) {
        self.sure.send_if_modified(|sure| match sure {
            Some(sure) if sure.question == now.question => {
                *sure = now;
                true
            }
            Some(sure) => {
                sure.shorten(now);
                sure.lost = sure.lost.max(now.lost);
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

    /// Renews it at each third of what was asked for last, if it is to be renewed; asks for it whenever a connection has
    /// ended; and tries again soon where the server does not answer. Ends when it is lost, or was left to its ttl.
    pub(super) async fn guard(self: Arc<Self>, renews: bool) {
        let mut moved = self.locks.server.moves();
        let mut changes = self.sure.subscribe();
        loop {
            moved.borrow_and_update();
            let Some(sure) = *changes.borrow_and_update() else { return };
            let is_due = renews && sure.renew_at <= Instant::now();
            if !is_due && !self.is_doubtful(sure) {
                let over = sure.until + sure.ttl / 50 + LATE;
                if !renews && over <= Instant::now() {
                    return;
                }
                rings(&mut moved, &mut changes, if renews { sure.renew_at } else { over }).await;
                continue;
            }
            let asked = if renews { self.ask(None).await } else { self.confirm().await };
            match asked {
                Ok(()) => {}
                Err(ExtendError::Lost) => return,
                Err(_) => {
                    let soon = (sure.third() / 4).clamp(SHORTEST, Duration::from_secs(1));
                    changes.mark_unchanged(); // by what was just asked
                    rings(&mut moved, &mut changes, Instant::now() + soon).await;
                }
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

/// Waits until the connection or what is counted on may have changed, or the time has come.
async fn rings(
    moved: &mut watch::Receiver<()>,
    changes: &mut watch::Receiver<Option<Sure>>,
    at: Instant,
) {
    // An error: the server's last handle is gone, or the sender, and the guard has both.
    let (mut moved, mut changed) = (pin!(moved.changed()), pin!(changes.changed()));
    let either = poll_fn(|context| {
        let rings =
            moved.as_mut().poll(context).is_ready() || changed.as_mut().poll(context).is_ready();
        if rings { Poll::Ready(()) } else { Poll::Pending }
    });
    let _ = timeout_at(at, either).await;
}
