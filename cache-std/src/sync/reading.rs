//! How far a read that may load has come, whoever waits for it: a thread, or a task.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use std::sync::Arc;

use cache_core::{Instant, Refusal};

use super::call::{Call, Patience, Step};
use super::lead::Lead;
use super::outcome::{LoadPart, Served};
use crate::error::LoadError;
use crate::flight::{CannotWait, End, Flight};

/// Where a read stands: what it waits for, if it waits.
pub(crate) struct Reading<V>(Stage<V>);

enum Stage<V> {
    /// The algorithm is to be asked, for the first time or again.
    Ask,
    /// Another's flight, until then. Whether tags had changed since it began.
    Other(Arc<Flight<V>>, Instant, bool),
    /// The flight that it leads, which runs elsewhere or has ended.
    Own(Arc<Flight<V>>, Patience),
}

/// What is to be done next.
pub(crate) enum Next<K: Eq, V, S: BuildHasher, E> {
    /// Nothing: this is the answer.
    Done(Result<Served<V>, LoadError<E>>),
    /// The load is to be started behind the caller's back; the value is the answer.
    Refresh(Served<V>, Lead<K, V, S>),
    /// The load is to be started, and waited for. Whether its caller waits to the end, whenever that
    /// is.
    Load(Lead<K, V, S>, bool),
    /// What is [pending](Reading::pending) is to be waited for.
    Wait,
}

impl<V> Reading<V> {
    pub(crate) const fn new() -> Self {
        Self(Stage::Ask)
    }

    /// The flight that is to be waited for, and until when. Without one, the algorithm is to be
    /// asked.
    pub(crate) fn pending(&self) -> Option<(Arc<Flight<V>>, Instant)> {
        match &self.0 {
            Stage::Ask => None,
            Stage::Other(flight, until, _) => Some((Arc::clone(flight), *until)),
            Stage::Own(flight, patience) => Some((Arc::clone(flight), patience.until())),
        }
    }

    /// Whether it leads what it waits for.
    pub(crate) const fn leads(&self) -> bool {
        matches!(self.0, Stage::Own(..))
    }
}

impl<Q, K, V, S> Call<'_, Q, K, V, S>
where
    K: Borrow<Q> + Clone + Eq + Hash,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    V: Clone,
    S: BuildHasher,
{
    /// Follows what the algorithm said.
    pub(crate) fn take<E>(
        &self,
        reading: &mut Reading<V>,
        step: Step<K, V, S>,
    ) -> Next<K, V, S, E> {
        match step {
            Step::Serve(served) => Next::Done(Ok(served)),
            Step::Refresh(old, lead) => Next::Refresh(old, lead),
            Step::Load(lead, patience) => {
                let endless = patience.is_endless();
                reading.0 = Stage::Own(Arc::clone(&lead.flight), patience);
                Next::Load(lead, endless)
            }
            Step::Follow(flight, ..) if flight.is_mine() => Next::Done(Err(LoadError::Recursive)),
            Step::Follow(flight, until, late) => {
                reading.0 = Stage::Other(flight, until, late);
                Next::Wait
            }
            Step::Missing => Next::Done(Err(LoadError::Missing)),
            Step::Fail(retry_at, cause) => Next::Done(Err(self.refusal(retry_at, cause))),
            Step::Busy => Next::Done(Err(self.busy())),
        }
    }

    /// What follows from a wait for what was [pending](Reading::pending): the answer, or more to
    /// wait for, or to ask the algorithm again.
    pub(crate) fn waited<E>(
        &self,
        reading: &mut Reading<V>,
        waited: Result<Option<End<V>>, CannotWait>,
    ) -> Option<Result<Served<V>, LoadError<E>>>
    where
        E: Send + Sync + 'static,
    {
        match core::mem::replace(&mut reading.0, Stage::Ask) {
            Stage::Ask => None,
            Stage::Other(_, until, late) => self.waited_for_other(reading, (until, late), waited),
            Stage::Own(flight, patience) => self.waited_for_own(reading, flight, patience, waited),
        }
    }

    /// Only who waited for a flight that was given up, or outwaited its lease, comes round again, and who joined it
    /// after a tag of what it loaded had changed: the tags were not known then.
    fn waited_for_other<E>(
        &self,
        reading: &mut Reading<V>,
        (until, late): (Instant, bool),
        waited: Result<Option<End<V>>, CannotWait>,
    ) -> Option<Result<Served<V>, LoadError<E>>>
    where
        E: Send + Sync + 'static,
    {
        match waited {
            Ok(None) if !self.waits => {
                let old = self.fallback(LoadPart::Joined);
                Some(old.ok_or_else(|| self.refusal(until, Refusal::TimedOut)))
            }
            Ok(None | Some(End::Abandoned)) => None,
            Ok(Some(End::Value(_, arrival))) if late && arrival.superseded => None,
            Ok(Some(End::Adopted(next))) => {
                if let Some(old) = self.adopted(LoadPart::Joined) {
                    return Some(Ok(old));
                }
                if next.is_mine() {
                    return Some(Err(LoadError::Recursive));
                }
                reading.0 = Stage::Other(next, until, late);
                None
            }
            Ok(Some(end)) => Some(self.deliver(end, LoadPart::Joined)),
            Err(cannot) => Some(self.fallback(LoadPart::Cooling).ok_or_else(|| cannot.told())),
        }
    }

    /// Who has an old value to fall back on waits in two parts: to the soft time-out, and then, if the
    /// old value may not serve after all, to the hard one.
    fn waited_for_own<E>(
        &self,
        reading: &mut Reading<V>,
        flight: Arc<Flight<V>>,
        patience: Patience,
        waited: Result<Option<End<V>>, CannotWait>,
    ) -> Option<Result<Served<V>, LoadError<E>>>
    where
        E: Send + Sync + 'static,
    {
        match waited {
            Ok(Some(End::Adopted(next))) => match self.adopted(LoadPart::Started) {
                Some(old) => return Some(Ok(old)),
                None => reading.0 = Stage::Own(next, patience),
            },
            Ok(Some(end)) => return Some(self.deliver(end, LoadPart::Started)),
            Ok(None) | Err(_) if patience.is_soft() => match self.fallback(LoadPart::Started) {
                Some(old) => return Some(Ok(old)),
                None => reading.0 = Stage::Own(flight, patience.hard()),
            },
            Ok(None) => return Some(Err(self.refusal(patience.lease_until(), Refusal::TimedOut))),
            Err(cannot) => return Some(Err(cannot.told())),
        }
        None
    }
}

impl<V> fmt::Debug for Reading<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.0 {
            Stage::Ask => "Ask",
            Stage::Other(..) => "Other",
            Stage::Own(..) => "Own",
        };
        f.debug_tuple("Reading").field(&stage).finish()
    }
}
