//! What an address leads to.

#[cfg(feature = "sentinel")]
use redis::RedisConnectionInfo;
use redis::{ConnectionInfo, IntoConnectionInfo};

#[cfg(feature = "sentinel")]
use crate::address::Address;
use crate::error::BuildError;

/// Servers, as they are written.
#[derive(Clone)]
pub(crate) enum Goal {
    One(ConnectionInfo),
    /// Some nodes of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(Vec<ConnectionInfo>),
    /// The primary that sentinels name.
    #[cfg(feature = "sentinel")]
    Sentinel(Service),
}

/// A service behind sentinels.
#[cfg(feature = "sentinel")]
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) sentinels: Vec<ConnectionInfo>,
    pub(crate) name: String,
    /// A server of it, but for its address.
    pub(crate) server: ConnectionInfo,
}

impl Goal {
    /// Reads `redis://`, `rediss://`, `unix://` and, for several servers, `redis+cluster://` and
    /// `redis+sentinel://`.
    pub(crate) fn read(address: &str) -> Result<Self, BuildError> {
        let (scheme, rest) = address.split_once("://").ok_or(BuildError::Address)?;
        if scheme.starts_with("rediss") && cfg!(not(feature = "tls")) {
            return Err(BuildError::NotBuiltIn);
        }
        match scheme.split_once('+') {
            Some((scheme @ ("redis" | "rediss"), "cluster")) => Self::read_cluster(scheme, rest),
            Some((scheme @ ("redis" | "rediss"), "sentinel")) => Self::read_service(scheme, rest),
            _ => one(address).map(Self::One),
        }
    }

    #[cfg(feature = "cluster")]
    fn read_cluster(scheme: &str, rest: &str) -> Result<Self, BuildError> {
        several(scheme, rest).map(Self::Cluster)
    }

    #[cfg(not(feature = "cluster"))]
    const fn read_cluster(_: &str, _: &str) -> Result<Self, BuildError> {
        Err(BuildError::NotBuiltIn)
    }

    #[cfg(feature = "sentinel")]
    fn read_service(scheme: &str, rest: &str) -> Result<Self, BuildError> {
        service(scheme, rest).map(Self::Sentinel)
    }

    #[cfg(not(feature = "sentinel"))]
    const fn read_service(_: &str, _: &str) -> Result<Self, BuildError> {
        Err(BuildError::NotBuiltIn)
    }

    /// Nodes, each with its whole address.
    #[cfg(feature = "cluster")]
    pub(crate) fn cluster<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Self, BuildError> {
        let nodes = addresses.into_iter().map(|address| one(address.as_ref()));
        nodes.collect::<Result<_, _>>().map(Self::Cluster)
    }

    /// Sentinels, each with its whole address; name and password are theirs.
    #[cfg(feature = "sentinel")]
    pub(crate) fn sentinel<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
        service: &str,
    ) -> Result<Self, BuildError> {
        let sentinels = addresses.into_iter().map(|address| one(address.as_ref()));
        let sentinels: Vec<_> = sentinels.collect::<Result<_, _>>()?;
        let first = sentinels.first().ok_or(BuildError::Address)?.clone();
        let server = first.set_redis_settings(RedisConnectionInfo::default());
        Service::new(sentinels, service, server).map(Self::Sentinel)
    }
}

#[cfg(feature = "sentinel")]
impl Service {
    fn new(
        sentinels: Vec<ConnectionInfo>,
        name: &str,
        server: ConnectionInfo,
    ) -> Result<Self, BuildError> {
        let known = |sentinel: &ConnectionInfo| Address::of(sentinel.addr()).is_some();
        if name.is_empty() || !sentinels.iter().all(known) {
            return Err(BuildError::Address);
        }
        Ok(Self { sentinels, name: name.to_owned(), server })
    }
}

/// `user:password@one:1,two:2/service/database`: name, password and database are the server's.
#[cfg(feature = "sentinel")]
fn service(scheme: &str, rest: &str) -> Result<Service, BuildError> {
    let (authority, path) = rest.split_once('/').ok_or(BuildError::Address)?;
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let at = if user.is_empty() { "" } else { "@" };
    let server = one(&format!("{scheme}://{user}{at}service/{database}"))?;
    let sentinels = hosts.split(',').map(|host| {
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let port = if has_port { "" } else { ":26379" };
        one(&format!("{scheme}://{host}{port}"))
    });
    Service::new(sentinels.collect::<Result<_, _>>()?, name, server)
}

fn one(address: &str) -> Result<ConnectionInfo, BuildError> {
    address.into_connection_info().map_err(|_| BuildError::Address)
}

/// `user:password@one:1,two:2/path`, each host with all the rest.
#[cfg(feature = "cluster")]
fn several(scheme: &str, rest: &str) -> Result<Vec<ConnectionInfo>, BuildError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let at = if user.is_empty() { "" } else { "@" };
    let each = hosts.split(',').map(|host| one(&format!("{scheme}://{user}{at}{host}{path}")));
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cluster")]
    fn nodes(address: &str) -> Vec<String> {
        let Ok(Goal::Cluster(nodes)) = Goal::read(address) else { panic!("no cluster") };
        let text = |node: &ConnectionInfo| {
            let redis = node.redis_settings();
            format!("{:?} {:?} {}", redis.username(), redis.password(), node.addr())
        };
        nodes.iter().map(text).collect()
    }

    #[cfg(feature = "cluster")]
    #[test]
    fn all_nodes_share_the_name_and_the_password() {
        let read = nodes("redis+cluster://me:p%40ss@one:7000,two");
        let expected = ["one:7000", "two:6379"];
        let expected = expected.map(|host| format!("Some(\"me\") Some(\"p@ss\") {host}"));
        assert_eq!(read, expected);
        assert_eq!(nodes("redis+cluster://one:1,two:2/").len(), 2);
    }

    #[cfg(feature = "sentinel")]
    #[test]
    fn a_service_is_read_with_its_sentinels() {
        let address = "redis+sentinel://me:p%40ss@one:1,two/shop/3";
        let Ok(Goal::Sentinel(service)) = Goal::read(address) else { panic!("no service") };
        let sentinels: Vec<_> = service.sentinels.iter().map(|at| at.addr().to_string()).collect();
        assert_eq!((sentinels, &*service.name), (vec!["one:1".into(), "two:26379".into()], "shop"));
        let server = service.server.redis_settings();
        assert_eq!((server.username(), server.password()), (Some("me"), Some("p@ss")));
        assert_eq!(server.db(), 3);
        assert_eq!(service.sentinels[0].redis_settings().password(), None);
        for wrong in ["one:1", "one:1/", "/shop", "one:1,/shop", "one:1/shop/x"] {
            let read = Goal::read(&format!("redis+sentinel://{wrong}"));
            assert_eq!(read.err(), Some(BuildError::Address), "{wrong}");
        }
    }

    #[test]
    fn what_was_not_built_in_is_said() {
        for (address, built_in) in [
            ("rediss://one", cfg!(feature = "tls")),
            ("redis+cluster://one", cfg!(feature = "cluster")),
            ("redis+sentinel://one/shop", cfg!(feature = "sentinel")),
        ] {
            let expected = if built_in { None } else { Some(BuildError::NotBuiltIn) };
            assert_eq!(Goal::read(address).err(), expected, "{address}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for wrong in
            ["redis://", "http://one", "one:6379", "redis+other://one", "valkey+cluster://a"]
        {
            assert_eq!(Goal::read(wrong).err(), Some(BuildError::Address), "{wrong}");
        }
        #[cfg(feature = "cluster")]
        for wrong in ["redis+cluster://", "redis+cluster://one,,two", "redis+cluster://one:x"] {
            assert_eq!(Goal::read(wrong).err(), Some(BuildError::Address), "{wrong}");
        }
    }
}
