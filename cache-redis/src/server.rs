//! A Redis server, as stores and locks share it.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::error::{BuildError, ServerError};
use crate::link::Link;

/// A Redis server of version 6 or later, reached by one connection that all who hold a clone share.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    settings: Settings,
    connection: Mutex<Option<MultiplexedConnection>>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    operation: Duration,
    connect: Duration,
}

impl Server {
    /// The server at an address such as `redis://:password@host:6379/0` or
    /// `unix:///run/redis.sock`. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn open(address: &str) -> Result<Self, BuildError> {
        Self::builder(address)?.build()
    }

    /// As [`open`](Self::open), with more to say.
    ///
    /// # Errors
    /// The address cannot be read.
    pub fn builder(address: &str) -> Result<ServerBuilder, BuildError> {
        let info = address.into_connection_info().map_err(|_| BuildError::Address)?;
        Ok(ServerBuilder::of(info))
    }

    /// Runs one operation under one time-out.
    pub(crate) async fn operate<T, F>(&self, work: impl FnOnce(Link) -> F) -> Result<T, ServerError>
    where
        F: Future<Output = Result<T, ServerError>>,
    {
        Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        let work = async {
            let mut slot = self.shared.connection.lock().await;
            if slot.is_none() {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.shared.settings.connect))
                    .set_response_timeout(None);
                let made =
                    self.shared.client.get_multiplexed_async_connection_with_config(&config).await;
                *slot = Some(made.map_err(|error| ServerError::of(&error))?);
            }
            let connection = slot.clone().ok_or(ServerError::Down)?;
            drop(slot);
            work(Link::new(connection)).await
        };
        let answer = tokio::time::timeout(self.shared.settings.operation, work).await;
        let answer = answer.unwrap_or(Err(ServerError::TimedOut));
        if matches!(answer, Err(ServerError::Broken)) {
            *self.shared.connection.lock().await = None;
        }
        answer
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What a [`Server`] is made of.
#[derive(Clone)]
pub struct ServerBuilder {
    info: ConnectionInfo,
    settings: Settings,
}

impl ServerBuilder {
    fn of(info: ConnectionInfo) -> Self {
        let settings =
            Settings { operation: Duration::from_millis(200), connect: Duration::from_millis(500) };
        Self { info, settings }
    }

    /// Time for one operation, whatever it waits for. 200 ms unless said.
    #[must_use]
    pub const fn operation_timeout(mut self, span: Duration) -> Self {
        self.settings.operation = span;
        self
    }

    /// The server. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn build(self) -> Result<Server, BuildError> {
        let redis = self.info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = self.info.set_redis_settings(redis).set_tcp_settings(tcp);
        let client = Client::open(info).map_err(|_| BuildError::Address)?;
        let connection = Mutex::new(None);
        Ok(Server { shared: Arc::new(Shared { client, settings: self.settings, connection }) })
    }
}
