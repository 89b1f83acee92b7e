//! A primary, a replica, and sentinels that watch them.

use super::{LOGIN, RedisServer, free_ports, until};

pub(crate) struct Watched {
    /// The first primary, and its replica.
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
    pub(crate) ports: Vec<u16>,
    servers_ports: [u16; 2],
}

pub(crate) const SERVICE: &str = "shop";

impl Watched {
    /// Two servers and three sentinels, which know each other.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], ["", ""])
    }

    /// As [`start`](Self::start), with more settings of servers, and passwords of servers and of sentinels.
    pub(crate) fn start_with(settings: &[&str], passwords: [&str; 2]) -> Self {
        let [of_servers, of_sentinels] = passwords;
        let login = match of_servers {
            "" => String::new(),
            password => format!("sentinel auth-pass {SERVICE} {password}"),
        };
        let ports = free_ports(5);
        let texts: Vec<_> = ports.iter().map(u16::to_string).collect();
        let bound = ["--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0", "--port"];
        let first = [&bound, &[&*texts[0]] as &[_], settings].concat();
        let primary = RedisServer::start_with(&first);
        let follows = [&*texts[1], "--replicaof", "127.0.0.1", &texts[0]];
        let replica = RedisServer::start_with(&[&bound, &follows as &[_], settings].concat());
        until("the replica follows", || {
            let told = replica.ask(&["INFO", "replication"]).unwrap_or_default();
            told.contains("master_link_status:up")
        });
        let sentinel = |port: &String| {
            let watch = [
                format!("port {port}"),
                "bind 127.0.0.1".into(),
                format!("sentinel monitor {SERVICE} 127.0.0.1 {} 2", texts[0]),
                format!("sentinel down-after-milliseconds {SERVICE} 500"),
                format!("sentinel failover-timeout {SERVICE} 5000"),
                login.clone(),
            ];
            RedisServer::start_sentinel(&watch.join("\n"), of_sentinels)
        };
        let sentinels: Vec<_> = texts[2..].iter().map(sentinel).collect();
        let watched = Self {
            servers: [primary, replica],
            sentinels,
            ports: ports[2..].to_vec(),
            servers_ports: [ports[0], ports[1]],
        };
        until("the sentinels know each other and the replica", || {
            watched.sentinels.iter().all(|sentinel| {
                let told = sentinel.ask(&["SENTINEL", "MASTER", SERVICE]).unwrap_or_default();
                let lines: Vec<_> = told.split("\r\n").collect();
                let is = |name: &str, value: &str| {
                    let at = lines.iter().position(|line| *line == name);
                    at.is_some_and(|at| lines[at + 2] == value)
                };
                is("num-other-sentinels", "2") && is("num-slaves", "1") && is("flags", "master")
            })
        });
        watched
    }

    pub(crate) fn address(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{LOGIN}@{}/{SERVICE}", hosts.join(","))
    }

    /// Whether the second server is the primary now.
    pub(crate) fn is_promoted(&self) -> bool {
        let replication = self.servers[1].ask(&["INFO", "replication"]);
        replication.is_some_and(|text| text.contains("role:master"))
    }

    /// Whether a sentinel names the second server.
    pub(crate) fn is_named(&self) -> bool {
        let port = format!("\r\n{}\r\n", self.servers_ports[1]);
        let names = |sentinel: &RedisServer| {
            let told = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
            told.is_some_and(|told| told.contains(&port))
        };
        self.sentinels.iter().any(names)
    }
}
