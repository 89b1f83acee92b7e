//! A Redis Cluster of a test's own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Authority, LOGIN, PATIENCE, RedisServer};

/// Ports that nobody listens on, below those that connections take by themselves.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 10_000 + (std::process::id() % 100) as u16 * 200;
    let ports = std::iter::from_fn(|| Some(begin + NEXT.fetch_add(1, Relaxed)));
    ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

/// Primaries, then a replica for each.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisServer>,
    pub(crate) ports: Vec<u16>,
    ids: Vec<String>,
}

const SLOTS: usize = 16_384;

impl RedisCluster {
    /// Three primaries with a replica each, which all agree.
    pub(crate) fn start() -> Self {
        Self::start_by(|port| vec!["--port".into(), port.to_string()])
    }

    /// One that is reached over TLS alone.
    pub(crate) fn start_over_tls(authority: &Authority) -> Self {
        let shown = authority.issue("127.0.0.1", 2_099);
        Self::start_by(|port| {
            let more =
                ["--tls-auth-clients", "no", "--tls-cluster", "yes", "--tls-replication", "yes"];
            let more = more.into_iter().map(String::from);
            authority.settings(port, &shown).into_iter().chain(more).collect()
        })
    }

    fn start_by(settings: impl Fn(u16) -> Vec<String>) -> Self {
        // The bus has ports of its own: the default ones could be those of other servers.
        let ports = free_ports(12);
        let (ports, buses) = ports.split_at(6);
        let node = |(port, bus): (&u16, &u16)| start_node(*bus, &settings(*port));
        let nodes: Vec<_> = ports.iter().zip(buses).map(node).collect();
        let ids = nodes.iter().map(|node| text(&node.ask(&["CLUSTER", "MYID"]).unwrap()));
        let ids = ids.collect();
        let cluster = Self { nodes, ports: ports.to_vec(), ids };
        cluster.join(buses);
        cluster
    }

    fn join(&self, buses: &[u16]) {
        for (n, node) in self.nodes.iter().enumerate() {
            let epoch = (n + 1).to_string();
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).unwrap();
            if n < 3 {
                let (from, to) = (SLOTS * n / 3, SLOTS * (n + 1) / 3 - 1);
                let range = [from.to_string(), to.to_string()];
                node.ask(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).unwrap();
            }
            let (port, bus) = (self.ports[n].to_string(), buses[n].to_string());
            if n == 0 {
                continue;
            }
            self.nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).unwrap();
        }
        until("all nodes know each other", || {
            self.nodes.iter().all(|node| info(node, "CLUSTER").contains("cluster_known_nodes:6"))
        });
        for (n, replica) in self.nodes.iter().enumerate().skip(3) {
            let id = &self.ids[n - 3];
            until("it is a replica", || replica.ask(&["CLUSTER", "REPLICATE", id]).is_some());
        }
        self.settle();
    }

    /// Waits until all that run agree, and replicas have what their primaries have.
    pub(crate) fn settle(&self) {
        let serves = |node: &RedisServer| {
            let replication = node.ask(&["INFO", "replication"]).unwrap_or_default();
            let linked = replication.contains("role:master")
                || replication.contains("master_link_status:up");
            linked && self.is_joined(node) && info(node, "CLUSTER").contains("cluster_state:ok")
        };
        until("the cluster serves", || {
            let owners = || self.nodes.iter().filter(|node| node.runs()).map(owners);
            let first = owners().next().unwrap();
            self.nodes.iter().filter(|node| node.runs()).all(serves)
                && owners().all(|map| map == first)
        });
    }

    /// Whether it has a link to all that run. What is published before that is lost on the way.
    fn is_joined(&self, node: &RedisServer) -> bool {
        let told = text(&node.ask(&["CLUSTER", "NODES"]).unwrap_or_default());
        let linked = |line: &&str| line.contains(" connected") && !line.contains("handshake");
        let running = self.nodes.iter().filter(|node| node.runs()).count();
        told.lines().filter(linked).count() >= running
    }

    pub(crate) fn address(&self) -> String {
        let nodes: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+cluster://{LOGIN}@{}", nodes.join(","))
    }

    /// The slot of a name, as a node says.
    pub(crate) fn slot(&self, name: &str) -> u16 {
        let node = self.nodes.iter().find(|node| node.runs()).unwrap();
        let answer = node.ask(&["CLUSTER", "KEYSLOT", name]).unwrap();
        answer.trim_start_matches(':').trim().parse().unwrap()
    }

    /// The number of the node that owned a name's slot at the start.
    pub(crate) fn first_owner(&self, name: &str) -> usize {
        let slot = usize::from(self.slot(name));
        (0..3).find(|n| slot < SLOTS * (n + 1) / 3).unwrap()
    }

    /// Whether the replica of a primary has taken its place.
    pub(crate) fn is_promoted(&self, primary: usize) -> bool {
        let replication = self.nodes[primary + 3].ask(&["INFO", "replication"]);
        replication.is_some_and(|text| text.contains("role:master"))
    }

    /// Begins to move a slot: what is not at `from` any more is to be asked for at `to`.
    pub(crate) fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let set = |node: usize, state, other: usize| {
            self.nodes[node].ask(&["CLUSTER", "SETSLOT", &slot, state, &self.ids[other]]).unwrap();
        };
        set(to, "IMPORTING", from);
        set(from, "MIGRATING", to);
    }

    /// Moves the keys of a slot that is being moved, up to `count`; how many there were.
    pub(crate) fn move_keys(&self, slot: u16, from: usize, to: usize, count: usize) -> usize {
        let (slot, count) = (slot.to_string(), count.to_string());
        let found = self.nodes[from].ask(&["CLUSTER", "GETKEYSINSLOT", &slot, &count]).unwrap();
        let lines: Vec<_> = found.split("\r\n").skip(1).filter(|line| !line.is_empty()).collect();
        let names: Vec<_> = lines.chunks(2).map(|pair| pair[1]).collect();
        let port = self.ports[to].to_string();
        let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "REPLACE", "KEYS"];
        command.extend(&names);
        if !names.is_empty() {
            self.nodes[from].ask(&command).unwrap();
        }
        names.len()
    }

    /// Ends a move: the slot is `to`'s, and everybody is told.
    pub(crate) fn end_move(&self, slot: u16, to: usize) {
        let slot = slot.to_string();
        let others = (0..3).filter(|n| *n != to);
        for node in std::iter::once(to).chain(others) {
            self.nodes[node].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.ids[to]]).unwrap();
        }
    }
}

fn start_node(bus: u16, settings: &[String]) -> RedisServer {
    let bus = bus.to_string();
    let mut arguments = vec!["--bind", "127.0.0.1", "--cluster-enabled", "yes"];
    arguments.extend(["--cluster-port", &bus, "--cluster-node-timeout", "1000"]);
    arguments.extend(["--cluster-require-full-coverage", "no", "--cluster-config-file"]);
    arguments.extend(["nodes.conf", "--repl-diskless-sync-delay", "0"]);
    arguments.extend(settings.iter().map(String::as_str));
    RedisServer::start_with(&arguments)
}

fn info(node: &RedisServer, what: &str) -> String {
    node.ask(&[what, "INFO"]).unwrap_or_default()
}

/// What a node says of slots and their primaries, in an order of its own.
fn owners(node: &RedisServer) -> Vec<String> {
    let told = text(&node.ask(&["CLUSTER", "NODES"]).unwrap_or_default());
    let primary = |line: &&str| line.contains("master") && !line.contains("fail");
    let mut owners: Vec<_> = told
        .lines()
        .filter(primary)
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            format!("{} {}", words[0], words.get(8..).unwrap_or_default().join(" "))
        })
        .collect();
    owners.sort();
    owners
}

/// What a bulk string holds.
fn text(answer: &str) -> String {
    answer.split_once("\r\n").map_or("", |(_, text)| text).trim_end().to_owned()
}

pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < patience, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Keys of each of the first primaries, in turn.
pub(crate) fn keys_of(cluster: &RedisCluster, each: usize) -> [Vec<String>; 3] {
    let mut keys = [const { vec![] }; 3];
    let mut names = (0..).map(|n| format!("key-{n}"));
    while keys.iter().any(|of: &Vec<_>| of.len() < each) {
        let name = names.next().unwrap();
        let of = &mut keys[cluster.first_owner(&name)];
        if of.len() < each {
            of.push(name);
        }
    }
    keys
}

/// A primary that does not keep the version of the namespace, which all operations read.
pub(crate) fn victim(cluster: &RedisCluster) -> usize {
    (cluster.first_owner("app:default:v") + 1) % 3
}
