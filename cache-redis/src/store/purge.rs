//! Memory of what was cleared, given back.

use std::sync::{Mutex, PoisonError};

use cache_core::store::StoreError;
use redis::Pipeline;

use super::{Space, version};
use crate::address::Address;
use crate::error::ServerError;
use crate::link::Link;
use crate::reply;
use crate::server::Site;

/// Names that Redis looks at in one step: about a tenth of a millisecond of its time, for which others wait.
const STEP: usize = 100;

/// Where a purge goes on: at which server, and where there.
#[derive(Debug, Default)]
pub(super) struct Cursor(Mutex<(Option<Address>, u64)>);

impl Cursor {
    fn get(&self) -> (Option<Address>, u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, address: Option<&Address>, from: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (address.cloned(), from);
    }
}

impl Space {
    /// Frees up to `budget` entries of earlier versions. Never more than once through all names.
    pub(super) async fn sweep(&self, budget: usize) -> Result<usize, StoreError> {
        self.hub.wake();
        let sites = self.server.sites().await?;
        let (at, mut from) = self.cursor.get();
        let place = sites.iter().position(|site| site.address() == at.as_ref());
        let mut freed = 0;
        // A server that is gone, and its cursor with it: begin anew.
        from = if place.is_some() { from } else { 0 };
        for site in &sites[place.unwrap_or(0)..] {
            while freed < budget {
                let (count, next) = self.step_on(site, from, budget - freed).await?;
                freed += count;
                from = next;
                if next == 0 {
                    break;
                }
            }
            self.cursor.set(site.address(), from);
            if from != 0 || freed >= budget {
                return Ok(freed);
            }
        }
        self.cursor.set(None, 0);
        Ok(freed)
    }

    async fn step_on(
        &self,
        site: &Site,
        from: u64,
        budget: usize,
    ) -> Result<(usize, u64), ServerError> {
        let step = |mut link: Link| async move { self.step(&mut link, from, budget).await };
        self.server.operate_on(site, step).await
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
        // One by one: in a cluster, the names have slots of their own.
        let mut commands = Pipeline::new();
        for name in cleared.iter().take(budget) {
            commands.cmd("UNLINK").arg(name.as_slice());
        }
        let counts =
            link.ask_all(&commands).await?.into_iter().map(|answer| reply::integer(answer.value));
        let count: i64 = counts.sum::<Result<_, _>>()?;
        Ok((usize::try_from(count).unwrap_or(0), next))
    }
}
