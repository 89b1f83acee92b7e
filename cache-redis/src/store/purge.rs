//! Memory of what was cleared, given back.

use core::sync::atomic::Ordering::Relaxed;

use cache_core::store::StoreError;

use super::{Space, version};
use crate::error::ServerError;
use crate::link::Link;
use crate::reply;

/// Names that Redis looks at in one step: about a tenth of a millisecond of its time.
const STEP: usize = 500;

impl Space {
    /// Frees up to `budget` entries of earlier versions. Never more than once through all names.
    pub(super) async fn sweep(&self, budget: usize) -> Result<usize, StoreError> {
        self.hub.wake();
        let mut freed = 0;
        while freed < budget {
            let from = self.cursor.load(Relaxed);
            let left = budget - freed;
            let step = self
                .server
                .operate(|mut link: Link| async move { self.step(&mut link, from, left).await });
            let (count, next) = step.await?;
            freed += count;
            self.cursor.store(next, Relaxed);
            if next == 0 {
                break;
            }
        }
        Ok(freed)
    }

    /// How many were freed, and where to go on: at the same place where more was found than may go.
    async fn step(
        &self,
        link: &mut Link,
        from: u64,
        budget: usize,
    ) -> Result<(usize, u64), ServerError> {
        let current = version::current(&self.names, link).await?;
        let mut command = redis::cmd("SCAN");
        command.arg(from).arg("MATCH").arg(self.names.entries()).arg("COUNT").arg(STEP);
        let (next, names) = reply::scan(link.ask(&command).await?)?;
        let cleared = |name: &&Vec<u8>| {
            self.names.entry_version(name).is_some_and(|version| version < current)
        };
        let cleared: Vec<_> = names.iter().filter(cleared).collect();
        let next = if cleared.len() > budget { from } else { next };
        if cleared.is_empty() {
            return Ok((0, next));
        }
        let mut command = redis::cmd("UNLINK");
        cleared.iter().take(budget).for_each(|name| {
            command.arg(name.as_slice());
        });
        let count = reply::integer(link.ask(&command).await?)?;
        Ok((usize::try_from(count).unwrap_or(0), next))
    }
}
