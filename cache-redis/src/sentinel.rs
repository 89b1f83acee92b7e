//! Sentinels, which know the primary of a service.

use core::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::error::ServerError;
use crate::{link, reply};

/// The sentinels of a service.
pub(crate) struct Sentinels {
    pub(crate) sentinels: Vec<ConnectionInfo>,
    pub(crate) service: String,
    /// All that is said of the service's servers but their address.
    pub(crate) server: ConnectionInfo,
    /// For so long others are waited for when one has answered, and for an heir.
    pub(crate) patience: Duration,
}

/// Where the service's primary is.
pub(crate) struct Found {
    /// Who is being promoted. Whether it has been, only it can say; if so, the one that is named takes no
    /// more writes that last.
    pub(crate) heir: Option<ConnectionInfo>,
    pub(crate) named: ConnectionInfo,
}

/// What one of them says: who agrees with the latest failover counts most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    /// Failovers of the service are counted.
    epoch: u64,
    /// Whether it has just promoted this one, which is not counted yet.
    promoted: bool,
    /// Whether it is about to promote one.
    failing_over: bool,
    /// The replica that it promotes, of which it does not know yet that it is the primary. It asks but once
    /// a second.
    heir: Option<Address>,
    /// Whether it sees it.
    alive: bool,
    primary: Address,
}

impl Sentinels {
    /// The primary, by those who answer. All are asked at the same time, on connections that are made for
    /// the question: so those that hang, or are cut off from the others, do not decide.
    pub(crate) async fn primary(&self) -> Result<Found, ServerError> {
        let mut asked = JoinSet::new();
        for sentinel in &self.sentinels {
            asked.spawn(ask(sentinel.clone(), self.service.clone()));
        }
        let until = Instant::now() + self.patience;
        let mut known: Option<Told> = None;
        let mut reason = ServerError::Down;
        loop {
            let next = match &known {
                None => asked.join_next().await,
                Some(_) => timeout_at(until, asked.join_next()).await.unwrap_or(None),
            };
            match next {
                Some(Ok(Ok(told))) => known = known.max(Some(told)),
                Some(Ok(Err(error))) => reason = reason.or_more_telling(error),
                Some(Err(_)) => {}
                None => break,
            }
        }
        let Told { heir, primary, .. } = known.ok_or(reason)?;
        Ok(Found { heir: heir.map(|heir| self.at(&heir)), named: self.at(&primary) })
    }

    fn at(&self, address: &Address) -> ConnectionInfo {
        self.server.clone().set_addr(address.like(self.server.addr()))
    }
}

async fn ask(sentinel: ConnectionInfo, service: String) -> Result<Told, ServerError> {
    let by = Address::of(sentinel.addr()).unwrap_or_else(|| Address::new("localhost", 0));
    let client = Client::open(sentinel).map_err(|error| ServerError::of(&error))?;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let made = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = made.map_err(|error| ServerError::of_connecting(&error))?;
    let mut questions = Pipeline::new();
    questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&service);
    questions.cmd("SENTINEL").arg("MASTER").arg(&service);
    let answers = link::ask_all(&mut connection, &questions).await?;
    let Ok([address, details]) = <[Value; 2]>::try_from(answers) else {
        return Err(ServerError::Protocol);
    };
    let mut told = read(address, details, &by)?;
    if told.failing_over {
        // Who may not ask this learns of the new primary later.
        let mut question = redis::cmd("SENTINEL");
        question.arg("REPLICAS").arg(&service);
        let replicas = link::ask(&mut connection, &question).await;
        told.heir = replicas.ok().and_then(|replicas| heir(replicas, &by));
    }
    Ok(told)
}

/// Of a service's replicas the one that this sentinel has chosen to be promoted, by the vote of most, and
/// that was a replica when last seen. A primary of before, which comes back and says that it is the primary,
/// is not.
fn heir(replicas: Value, by: &Address) -> Option<Address> {
    let Value::Array(replicas) = replicas else { return None };
    replicas.into_iter().find_map(|replica| {
        let replica = Details(reply::texts(replica).ok()?);
        let chosen = replica.has_flag("promoted") && replica.get("role-reported") == "slave";
        chosen.then(|| replica.address(by)).flatten()
    })
}

/// What a sentinel says of a server.
struct Details(Vec<(String, String)>);

impl Details {
    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, text)| text.as_str())
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.get("flags").split(',').any(|is| is == flag)
    }

    fn address(&self, by: &Address) -> Option<Address> {
        Address::told(&format!("{}:{}", self.get("ip"), self.get("port")), by)
    }
}

fn read(address: Value, details: Value, by: &Address) -> Result<Told, ServerError> {
    let address = match reply::value(address)? {
        Value::Nil => return Err(ServerError::UnknownService),
        Value::Array(parts) => parts,
        _ => return Err(ServerError::Protocol),
    };
    let Ok([host, port]) = <[Value; 2]>::try_from(address) else {
        return Err(ServerError::Protocol);
    };
    let primary = at(host, port, by).ok_or(ServerError::Protocol)?;
    let details = Details(reply::texts(details)?);
    let promoted = details.address(by).as_ref() != Some(&primary);
    Ok(Told {
        epoch: details.get("config-epoch").parse().unwrap_or(0),
        promoted,
        failing_over: !promoted && details.has_flag("failover_in_progress"),
        heir: None,
        alive: !details.has_flag("s_down") && !details.has_flag("o_down"),
        primary,
    })
}

fn at(host: Value, port: Value, by: &Address) -> Option<Address> {
    let host = String::from_utf8(reply::bytes(host).ok()?).ok()?;
    let port = reply::number(port).ok()??;
    Address::told_parts(&host, port.try_into().ok()?, by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[&str]) -> Value {
        let text = |word: &&str| Value::BulkString(word.as_bytes().to_vec());
        Value::Array(words.iter().map(text).collect())
    }

    fn told(address: &[&str], details: &[&str]) -> Result<Told, ServerError> {
        read(texts(address), texts(details), &Address::new("asked", 1))
    }

    #[test]
    fn the_latest_failover_counts_then_a_promotion_then_who_is_seen() {
        let told = |host: &str, epoch: &str, flags: &str| {
            let details = ["ip", "a", "port", "1", "flags", flags, "config-epoch", epoch];
            told(&[host, "1"], &details).unwrap()
        };
        let order = [
            told("a", "1", "s_down,master"),
            told("a", "1", "master"),
            told("b", "1", "s_down,o_down,master,failover_in_progress"),
            told("a", "2", "s_down,master"),
        ];
        assert!(order.is_sorted(), "{order:?}");
        assert!(order.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn who_promotes_one_counts_more_than_who_does_not_and_less_than_who_has() {
        let details = ["ip", "a", "port", "1", "config-epoch", "1", "flags", "master"];
        let settled = told(&["a", "1"], &details).unwrap();
        let details = [&details[..7], &["s_down,o_down,master,failover_in_progress"]].concat();
        let promoted = told(&["b", "1"], &details).unwrap();
        assert!(promoted.promoted && !promoted.failing_over);
        let promotes = told(&["a", "1"], &details).unwrap();
        assert!(promotes.failing_over);
        let promotes = Told { heir: Some(Address::new("b", 1)), ..promotes };
        assert!(settled < promotes && promotes < promoted);
    }

    #[test]
    fn the_heir_is_the_replica_that_was_chosen_and_has_not_said_that_it_is_a_primary() {
        let by = Address::new("asked", 1);
        let replica = |ip: &str, flags: &str, role: &str| {
            texts(&["ip", ip, "port", "7", "flags", flags, "role-reported", role])
        };
        let others = || vec![replica("a", "slave", "slave"), replica("b", "s_down,slave", "slave")];
        let heir_of = |one: Value| heir(Value::Array([others(), vec![one]].concat()), &by);
        let chosen = Some(Address::new("c", 7));
        assert_eq!(heir_of(replica("c", "slave,promoted", "slave")), chosen);
        assert_eq!(heir_of(replica("c", "slave,disconnected,promoted", "slave")), chosen);
        assert_eq!(heir_of(replica("c", "slave", "slave")), None, "it was not chosen");
        assert_eq!(heir_of(replica("c", "slave", "master")), None, "a primary of before");
        assert_eq!(heir_of(replica("c", "slave,promoted", "master")), None, "it may be one");
        for nonsense in [Value::Nil, Value::Int(1), texts(&["ip", "c"])] {
            assert_eq!(heir_of(nonsense.clone()), None);
            assert_eq!(heir(nonsense, &by), None);
        }
    }

    #[test]
    fn a_name_that_is_not_known_is_said_to_be() {
        let by = Address::new("asked", 1);
        assert_eq!(read(Value::Nil, Value::Nil, &by), Err(ServerError::UnknownService));
        for nonsense in [&["a"] as &[_], &["a", "x"], &["?", "1"], &["a", "1", "2"]] {
            assert_eq!(told(nonsense, &[]), Err(ServerError::Protocol), "{nonsense:?}");
        }
    }
}
