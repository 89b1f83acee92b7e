//! The version of a namespace, which every operation checks on its way.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use cache_core::store::StoreError;
use redis::{Pipeline, Value};

use super::RedisStore;
use crate::error::ServerError;
use crate::key::Names;
use crate::link::Link;
use crate::{reply, script};

/// How often an operation follows a namespace that is cleared while it runs.
const ATTEMPTS: usize = 8;

/// The version that was seen last; 0 before the first.
#[derive(Debug, Default)]
pub(super) struct Version(AtomicU64);

impl Version {
    pub(super) fn set(&self, version: u64) {
        self.0.store(version, Relaxed);
    }

    async fn get(&self, names: &Names, link: &mut Link) -> Result<u64, ServerError> {
        match self.0.load(Relaxed) {
            0 => {
                let kept = current(names, link).await?;
                self.set(kept);
                Ok(kept)
            }
            seen => Ok(seen),
        }
    }
}

/// The version in force.
pub(super) async fn current(names: &Names, link: &mut Link) -> Result<u64, ServerError> {
    ask(names, link, b"kept").await
}

/// Begins the next version.
pub(super) async fn next(names: &Names, link: &mut Link) -> Result<u64, ServerError> {
    ask(names, link, b"new").await
}

async fn ask(names: &Names, link: &mut Link, which: &[u8]) -> Result<u64, ServerError> {
    let answer = script::VERSION.run(link, &[&names.version()], &[which]).await?;
    reply::number(answer)?.ok_or(ServerError::Protocol)
}

impl<V, C> RedisStore<V, C> {
    /// Runs commands on names of the namespace's version in force, in one trip. Where the namespace was
    /// cleared in the meantime, they run again on those of the next version.
    pub(super) async fn on_version(
        &self,
        commands: impl Fn(u64, &mut Pipeline) -> Result<(), StoreError> + Send,
    ) -> Result<Vec<Value>, StoreError> {
        let operation = self
            .server
            .operate(|mut link: Link| async move { self.attempts(&mut link, commands).await });
        operation.await?
    }

    async fn attempts(
        &self,
        link: &mut Link,
        commands: impl Fn(u64, &mut Pipeline) -> Result<(), StoreError> + Send,
    ) -> Result<Result<Vec<Value>, StoreError>, ServerError> {
        for _ in 0..ATTEMPTS {
            let version = self.version.get(&self.names, link).await?;
            let mut pipeline = Pipeline::new();
            pipeline.cmd("GET").arg(self.names.version());
            if let Err(refused) = commands(version, &mut pipeline) {
                return Ok(Err(refused));
            }
            let mut answers = link.ask_all(&pipeline).await?;
            let rest = answers.split_off(1);
            let current = answers.pop().map_or(Ok(None), reply::number)?;
            if current == Some(version) {
                return Ok(Ok(rest));
            }
            self.version.set(current.unwrap_or(0));
        }
        Err(ServerError::Cleared)
    }
}
