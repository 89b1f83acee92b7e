//! Where a server listens.

use core::fmt;
use std::sync::Arc;

#[cfg(any(feature = "cluster", feature = "sentinel"))]
use redis::ConnectionAddr;

/// A host and a port. Its text is not shown, as that of no address is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) host: Arc<str>,
    pub(crate) port: u16,
}

#[cfg(any(feature = "cluster", feature = "sentinel"))]
impl Address {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The same as the client library has it; `None` for a Unix socket.
    pub(crate) fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Self::new(host, *port))
            }
            _ => None,
        }
    }

    /// As the client library has it, with TLS as another address has it.
    pub(crate) fn like(&self, other: &ConnectionAddr) -> ConnectionAddr {
        let (host, port) = (self.host.to_string(), self.port);
        match other {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                let (insecure, tls_params) = (*insecure, tls_params.clone());
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        }
    }

    /// What a server told of another: `host:port`. It leaves the host out where it is its own, and writes
    /// `?` where it does not know it.
    pub(crate) fn told(text: &str, by: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::told_parts(host, port.parse().ok()?, by)
    }

    /// As [`told`](Self::told), in two parts.
    pub(crate) fn told_parts(host: &str, port: u16, by: &Self) -> Option<Self> {
        match host {
            "?" => None,
            "" => Some(Self { host: Arc::clone(&by.host), port }),
            host => Some(Self::new(host, port)),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(..)")
    }
}

#[cfg(all(test, any(feature = "cluster", feature = "sentinel")))]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_leaves_out_is_its_own() {
        let by = Address::new("here", 7_000);
        assert_eq!(Address::told("there:7001", &by), Some(Address::new("there", 7_001)));
        assert_eq!(Address::told(":7001", &by), Some(Address::new("here", 7_001)));
        assert_eq!(
            Address::told("2001:db8::1:7001", &by),
            Some(Address::new("2001:db8::1", 7_001))
        );
        for nonsense in ["?:7001", "there", "there:", "there:70000", ""] {
            assert_eq!(Address::told(nonsense, &by), None, "{nonsense}");
        }
    }
}
