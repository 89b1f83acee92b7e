//! A future that is nearly always ready at once.

use core::pin::Pin;
use core::task::{Context, Poll};

/// Answers a hit when it is first polled, and makes another future only where there is none. Small,
/// and written by hand: an `async fn` that holds the other future costs half as much again as the hit.
pub(super) enum HitOr<M, G> {
    /// To be called: answers a hit, or what is to be waited for.
    Look(M),
    Slow(Pin<Box<G>>),
    /// It was ready, and must not be polled again.
    Done,
}

// Nothing in it is ever pinned but what is in the box.
impl<M, G> Unpin for HitOr<M, G> {}

impl<M, G, V, E> Future for HitOr<M, G>
where
    M: FnOnce() -> Result<V, Pin<Box<G>>>,
    G: Future<Output = Result<V, E>>,
{
    type Output = Result<V, E>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slow = match core::mem::replace(&mut *self, Self::Done) {
            Self::Look(look) => match look() {
                Ok(value) => return Poll::Ready(Ok(value)),
                Err(slow) => slow,
            },
            Self::Slow(slow) => slow,
            Self::Done => return Poll::Pending,
        };
        let polled = slow.as_mut().poll(context);
        if polled.is_pending() {
            *self = Self::Slow(slow);
        }
        polled
    }
}

/// Out of the way of hits.
#[cold]
#[inline(never)]
pub(super) fn boxed<G>(slow: G) -> Pin<Box<G>> {
    Box::pin(slow)
}
