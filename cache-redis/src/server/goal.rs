//! What an address leads to.

use redis::{ConnectionInfo, IntoConnectionInfo};

use crate::error::BuildError;

/// Servers, as they are written.
#[derive(Clone)]
pub(crate) enum Goal {
    One(ConnectionInfo),
    /// Some nodes of a cluster.
    #[cfg(feature = "cluster")]
    Cluster(Vec<ConnectionInfo>),
}

impl Goal {
    /// Reads `redis://`, `rediss://`, `unix://` and, for several servers, `redis+cluster://`.
    pub(crate) fn read(address: &str) -> Result<Self, BuildError> {
        let (scheme, rest) = address.split_once("://").ok_or(BuildError::Address)?;
        if scheme.starts_with("rediss") && cfg!(not(feature = "tls")) {
            return Err(BuildError::NotBuiltIn);
        }
        match scheme.split_once('+') {
            #[cfg(feature = "cluster")]
            Some((scheme @ ("redis" | "rediss"), "cluster")) => {
                Ok(Self::Cluster(several(scheme, rest)?))
            }
            #[cfg(not(feature = "cluster"))]
            Some(("redis" | "rediss", "cluster")) => Err(BuildError::NotBuiltIn),
            #[cfg(not(feature = "sentinel"))]
            Some(("redis" | "rediss", "sentinel")) => Err(BuildError::NotBuiltIn),
            _ => one(address).map(Self::One),
        }
    }

    /// Nodes, each with its whole address.
    #[cfg(feature = "cluster")]
    pub(crate) fn cluster<A: AsRef<str>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Self, BuildError> {
        let nodes = addresses.into_iter().map(|address| one(address.as_ref()));
        nodes.collect::<Result<_, _>>().map(Self::Cluster)
    }
}

fn one(address: &str) -> Result<ConnectionInfo, BuildError> {
    address.into_connection_info().map_err(|_| BuildError::Address)
}

/// `user:password@one:1,two:2/path`, each host with all the rest.
#[cfg(any(feature = "cluster", feature = "sentinel"))]
fn several(scheme: &str, rest: &str) -> Result<Vec<ConnectionInfo>, BuildError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (user, hosts) =
        authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
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
