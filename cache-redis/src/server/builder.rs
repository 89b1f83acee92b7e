//! What is to be said of a server.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use redis::io::tcp::TcpSettings;
use redis::{ConnectionInfo, ProtocolVersion};
use tokio::sync::watch;

use super::goal::Goal;
use super::{Server, Target};
#[cfg(feature = "cluster")]
use crate::address::Address;
#[cfg(feature = "cluster")]
use crate::cluster::Hub;
use crate::dial::{Dial, Role};
use crate::driver::{Core, Spans};
use crate::error::BuildError;
use crate::supervisor::Terms;

/// What a [`Server`] is made of.
#[derive(Clone)]
pub struct ServerBuilder {
    goal: Goal,
    spans: Spans,
    in_flight: usize,
}

impl ServerBuilder {
    pub(super) const fn of(goal: Goal) -> Self {
        let spans = Spans {
            terms: Terms::DEFAULT,
            connect: Duration::from_millis(500),
            answer: Duration::from_millis(200),
        };
        Self { goal, spans, in_flight: 1_024 }
    }

    /// From the settings of the client library, for what an address cannot say. This alone depends on
    /// that library's version. RESP3 and `TCP_NODELAY` are set in any case.
    pub const fn from_redis(info: ConnectionInfo) -> Self {
        Self::of(Goal::One(info))
    }

    /// Time for one operation, whatever it waits for, and for an answer to a heartbeat. 200 ms unless said.
    #[must_use]
    pub const fn operation_timeout(mut self, span: Duration) -> Self {
        self.spans.answer = span;
        self
    }

    /// Time to make a connection. 500 ms unless said.
    #[must_use]
    pub const fn connect_timeout(mut self, span: Duration) -> Self {
        self.spans.connect = span;
        self
    }

    /// Time from one heartbeat to the next. Two without an answer end the connection. 250 ms unless said.
    #[must_use]
    pub const fn heartbeat(mut self, span: Duration) -> Self {
        self.spans.terms.heartbeat = span;
        self
    }

    /// Operations that may be under way at the same time; more are
    /// [`ServerError::Busy`](crate::ServerError::Busy). 1,024 unless said.
    #[must_use]
    pub const fn max_in_flight(mut self, operations: usize) -> Self {
        self.in_flight = operations;
        self
    }

    /// The server. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn build(self) -> Result<Server, BuildError> {
        let Self { goal, spans, in_flight } = self;
        if [spans.answer, spans.connect, spans.terms.heartbeat].iter().any(Duration::is_zero) {
            return Err(BuildError::ZeroTimeout);
        }
        let moved = Arc::new(watch::Sender::new(()));
        let target = match goal {
            Goal::One(info) => {
                let dial = Dial::To(Box::new(settled(info)), Role::Alone);
                Target::One(Arc::new(Core::new(dial, spans, moved)))
            }
            #[cfg(feature = "cluster")]
            Goal::Cluster(nodes) => Target::Cluster(Arc::new(cluster(nodes, spans, moved)?)),
        };
        Ok(Server::on(target, spans.answer, in_flight))
    }
}

/// With what all connections have in common.
fn settled(info: ConnectionInfo) -> ConnectionInfo {
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    info.set_redis_settings(redis).set_tcp_settings(tcp)
}

#[cfg(feature = "cluster")]
fn cluster(
    nodes: Vec<ConnectionInfo>,
    spans: Spans,
    moved: Arc<watch::Sender<()>>,
) -> Result<Hub, BuildError> {
    let seeds = nodes.iter().map(|node| Address::of(node.addr()).ok_or(BuildError::Address));
    let seeds = seeds.collect::<Result<_, _>>()?;
    let template = nodes.into_iter().next().ok_or(BuildError::Address)?;
    if template.redis_settings().db() != 0 {
        return Err(BuildError::Address);
    }
    Ok(Hub::new(settled(template), seeds, spans, moved))
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spans, in_flight, .. } = self;
        f.debug_struct("ServerBuilder")
            .field("operation_timeout", &spans.answer)
            .field("connect_timeout", &spans.connect)
            .field("heartbeat", &spans.terms.heartbeat)
            .field("max_in_flight", in_flight)
            .finish_non_exhaustive()
    }
}
