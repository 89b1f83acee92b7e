//! Makes a connection to a server that is what it should be.

use std::sync::Arc;

use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, PushInfo, Value};
use tokio::time::Instant;
#[cfg(feature = "sentinel")]
use tokio::time::timeout;

use crate::clock::Reading;
#[cfg(feature = "cluster")]
use crate::cluster::Hub;
use crate::error::ServerError;
use crate::link;
use crate::reply;
#[cfg(feature = "sentinel")]
use crate::sentinel::{Found, Sentinels};

/// What a server must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A server of its own.
    Alone,
    /// A node of a cluster.
    #[cfg(feature = "cluster")]
    Node,
    /// One that takes writes.
    #[cfg(feature = "sentinel")]
    Primary,
}

/// Where a connection goes.
#[derive(Clone)]
pub(crate) enum Dial {
    /// To this server.
    To(Arc<ConnectionInfo>, Role),
    /// To any node of a cluster.
    #[cfg(feature = "cluster")]
    Any(Arc<Hub>),
    /// To the one that sentinels name at that time.
    #[cfg(feature = "sentinel")]
    Named(Arc<Sentinels>),
}

impl Dial {
    /// A connection whose server has answered, and whose end is told; and what its clock says.
    pub(crate) async fn connect(
        &self,
        push: impl Fn(PushInfo) -> Result<(), SendError> + Send + Sync + 'static,
    ) -> Result<(MultiplexedConnection, Reading), ServerError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(push);
        match self {
            Self::To(info, role) => reach(info, *role, &config).await,
            #[cfg(feature = "cluster")]
            Self::Any(hub) => reach(&hub.somewhere().await?, Role::Node, &config).await,
            #[cfg(feature = "sentinel")]
            Self::Named(sentinels) => {
                let Found { heir, named } = sentinels.primary().await?;
                if let Some(heir) = heir
                    && let Ok(Ok(connection)) =
                        timeout(sentinels.patience, reach(&heir, Role::Primary, &config)).await
                {
                    return Ok(connection);
                }
                reach(&named, Role::Primary, &config).await
            }
        }
    }
}

/// A connection to a server of this role.
async fn reach(
    info: &ConnectionInfo,
    role: Role,
    config: &AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, Reading), ServerError> {
    let client = Client::open(info.clone()).map_err(|error| ServerError::of(&error))?;
    let made = client.get_multiplexed_async_connection_with_config(config).await;
    let connection = made.map_err(|error| ServerError::of_connecting(&error))?;
    let reading = greet(connection.clone(), role).await?;
    Ok((connection, reading))
}

async fn greet(mut connection: MultiplexedConnection, role: Role) -> Result<Reading, ServerError> {
    let mut greeting = Pipeline::new();
    greeting.cmd("HELLO").cmd("PING").cmd("TIME");
    let asked = Instant::now();
    let answers = link::ask_all(&mut connection, &greeting).await?;
    let answered = Instant::now();
    let Ok([hello, ping, time]) = <[Value; 3]>::try_from(answers) else {
        return Err(ServerError::Protocol);
    };
    reply::value(ping)?;
    check(&reply::texts(hello)?, role)?;
    Ok(Reading { asked, answered, told: reply::time(time)? })
}

/// Whether a server that said this of itself is what it should be.
fn check(hello: &[(String, String)], role: Role) -> Result<(), ServerError> {
    let is = |name: &str, value: &str| hello.iter().any(|(key, text)| key == name && text == value);
    let in_cluster = is("mode", "cluster");
    match role {
        Role::Alone if in_cluster => Err(ServerError::IsACluster),
        Role::Alone => Ok(()),
        #[cfg(feature = "cluster")]
        Role::Node if in_cluster => Ok(()),
        #[cfg(feature = "cluster")]
        Role::Node => Err(ServerError::NotACluster),
        #[cfg(feature = "sentinel")]
        Role::Primary if in_cluster => Err(ServerError::IsACluster),
        #[cfg(feature = "sentinel")]
        Role::Primary if is("role", "master") => Ok(()),
        #[cfg(feature = "sentinel")]
        Role::Primary => Err(ServerError::ReadOnly),
    }
}
