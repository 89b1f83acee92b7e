//! What is to be said of a server.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

#[cfg(not(feature = "tls"))]
use redis::ConnectionAddr;
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionInfo, ProtocolVersion};
use tokio::sync::watch;

use super::goal::Goal;
#[cfg(feature = "sentinel")]
use super::goal::Service;
use super::{Server, Target};
#[cfg(feature = "cluster")]
use crate::address::Address;
#[cfg(feature = "cluster")]
use crate::cluster::Hub;
use crate::dial::{Dial, Role};
use crate::driver::{Core, Spans};
use crate::error::BuildError;
use crate::form;
#[cfg(feature = "sentinel")]
use crate::sentinel::Sentinels;
use crate::supervisor::Terms;
#[cfg(feature = "tls")]
use crate::tls::Certificates;

/// What a [`Server`] is made of.
#[derive(Clone)]
pub struct ServerBuilder {
    goal: Goal,
    spans: Spans,
    in_flight: usize,
    bytes: usize,
    login: Option<Login>,
    #[cfg(feature = "tls")]
    certificates: Certificates,
}

/// Who asks.
#[derive(Clone)]
struct Login {
    name: Option<String>,
    password: String,
}

impl Login {
    fn on(&self, info: ConnectionInfo) -> ConnectionInfo {
        let mut redis = info.redis_settings().clone().set_password(&self.password);
        if let Some(name) = &self.name {
            redis = redis.set_username(name);
        }
        info.set_redis_settings(redis)
    }
}

impl ServerBuilder {
    pub(super) const fn of(goal: Goal) -> Self {
        let spans = Spans {
            terms: Terms::DEFAULT,
            connect: Duration::from_millis(500),
            answer: Duration::from_millis(200),
        };
        Self {
            goal,
            spans,
            in_flight: 1_024,
            bytes: 64 << 20,
            login: None,
            #[cfg(feature = "tls")]
            certificates: Certificates { authority: None, client: None },
        }
    }

    /// From the settings of the client library, for what an address cannot say. This alone depends on
    /// that library's version. RESP3 and what TCP is told (no delay, keepalive) are set in any case.
    pub const fn from_redis(info: ConnectionInfo) -> Self {
        Self::of(Goal::One(info))
    }

    /// Name and password for the server, in place of those in the address. With an empty name, the default
    /// user's password.
    #[must_use]
    pub fn credentials(mut self, name: &str, password: &str) -> Self {
        let name = (!name.is_empty()).then(|| name.to_owned());
        self.login = Some(Login { name, password: password.to_owned() });
        self
    }

    /// Whom to trust instead of the system's authorities: one or more certificates, in PEM. For `rediss://`,
    /// where the server's certificate is verified in any case.
    ///
    /// Where the program has installed no provider of cryptography for `rustls`, that of `ring` is.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificate_authority(mut self, pem: &[u8]) -> Self {
        self.certificates.authority = Some(pem.to_vec());
        self
    }

    /// The certificate that is shown to the server, with those up to an authority that it trusts, and the
    /// key, in PEM.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn client_certificate(mut self, pem: &[u8], key: &[u8]) -> Self {
        self.certificates.client = Some((pem.to_vec(), key.to_vec()));
        self
    }

    /// Name and password for the sentinels, where they ask for one. With an empty name, the default
    /// user's password. Of no effect on what has no sentinels.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn sentinel_credentials(mut self, name: &str, password: &str) -> Self {
        let name = (!name.is_empty()).then(|| name.to_owned());
        let login = Login { name, password: password.to_owned() };
        if let Goal::Sentinel(service) = &mut self.goal {
            let sentinels = std::mem::take(&mut service.sentinels).into_iter();
            service.sentinels = sentinels.map(|sentinel| login.on(sentinel)).collect();
        }
        self
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

    /// Bytes of commands that may be under way at the same time; more are
    /// [`ServerError::Busy`](crate::ServerError::Busy). A longer command may go alone. 64 MiB unless said.
    #[must_use]
    pub const fn max_bytes_in_flight(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// The server. Nothing is sent before the first operation.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn build(mut self) -> Result<Server, BuildError> {
        let Spans { answer, connect, terms } = &mut self.spans;
        for span in [answer, connect, &mut terms.heartbeat] {
            if span.is_zero() {
                return Err(BuildError::ZeroTimeout);
            }
            // The longest cannot be added to an instant.
            *span = (*span).min(form::FOR_EVER);
        }
        let spans = self.spans;
        let rings = Arc::new(watch::Sender::new(()));
        let moved = Arc::clone(&rings);
        let target = match &self.goal {
            Goal::One(info) => {
                let dial = Dial::To(Arc::new(self.settled(info)?), Role::Alone);
                Target::One(Arc::new(Core::new(dial, spans, moved)))
            }
            #[cfg(feature = "cluster")]
            Goal::Cluster(nodes) => Target::Cluster(Arc::new(self.cluster(nodes, moved)?)),
            #[cfg(feature = "sentinel")]
            Goal::Sentinel(service) => {
                let dial = Dial::Named(Arc::new(self.sentinels(service)?));
                Target::One(Arc::new(Core::new(dial, spans, moved)))
            }
        };
        Ok(Server::on(target, rings, spans.answer, [self.in_flight, self.bytes]))
    }

    /// With what all connections to servers have in common.
    fn settled(&self, info: &ConnectionInfo) -> Result<ConnectionInfo, BuildError> {
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = self.secured(info.clone().set_redis_settings(redis).set_tcp_settings(tcp()))?;
        Ok(match &self.login {
            Some(login) => login.on(info),
            None => info,
        })
    }

    #[cfg(feature = "tls")]
    fn secured(&self, info: ConnectionInfo) -> Result<ConnectionInfo, BuildError> {
        self.certificates.on(info)
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, info: ConnectionInfo) -> Result<ConnectionInfo, BuildError> {
        match info.addr() {
            ConnectionAddr::TcpTls { .. } => Err(BuildError::NotBuiltIn),
            _ => Ok(info),
        }
    }

    #[cfg(feature = "cluster")]
    fn cluster(
        &self,
        nodes: &[ConnectionInfo],
        moved: Arc<watch::Sender<()>>,
    ) -> Result<Hub, BuildError> {
        let seeds = nodes.iter().map(|node| Address::of(node.addr()).ok_or(BuildError::Address));
        let seeds = seeds.collect::<Result<_, _>>()?;
        let template = nodes.first().ok_or(BuildError::Address)?;
        if template.redis_settings().db() != 0 {
            return Err(BuildError::Address);
        }
        Ok(Hub::new(self.settled(template)?, seeds, self.spans, moved))
    }

    #[cfg(feature = "sentinel")]
    fn sentinels(&self, service: &Service) -> Result<Sentinels, BuildError> {
        let sentinels = service.sentinels.iter().cloned();
        let sentinels = sentinels.map(|sentinel| self.secured(sentinel.set_tcp_settings(tcp())));
        Ok(Sentinels {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            service: service.name.clone(),
            server: self.settled(&service.server)?,
            patience: self.spans.connect / 4,
        })
    }
}

/// A machine that is gone is noticed by TCP within seconds, also where heartbeats are seldom.
fn tcp() -> TcpSettings {
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new().with_time(5 * second).with_interval(second);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    let settings = settings.set_user_timeout(2 * second);
    settings
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spans, in_flight, bytes, .. } = self;
        f.debug_struct("ServerBuilder")
            .field("operation_timeout", &spans.answer)
            .field("connect_timeout", &spans.connect)
            .field("heartbeat", &spans.terms.heartbeat)
            .field("max_in_flight", in_flight)
            .field("max_bytes_in_flight", bytes)
            .finish_non_exhaustive()
    }
}
