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
    /// For so long others are waited for when one has answered.
    pub(crate) patience: Duration,
}

/// What one of them says: who agrees with the latest failover counts most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    /// Failovers of the service are counted.
    epoch: u64,
    /// Whether it has just promoted this one, which is not counted yet.
    promoted: bool,
    /// Whether it sees it.
    alive: bool,
    primary: Address,
}

impl Sentinels {
    /// The primary, by those who answer. All are asked at the same time, on connections that are made for
    /// the question: so those that hang, or are cut off from the others, do not decide.
    pub(crate) async fn primary(&self) -> Result<ConnectionInfo, ServerError> {
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
        let primary = known.ok_or(reason)?.primary;
        let address = primary.like(self.server.addr());
        Ok(self.server.clone().set_addr(address))
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
    read(address, details, &by)
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
    let details = reply::texts(details)?;
    let detail = |name: &str| {
        let found = details.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, text)| text.as_str())
    };
    let before = Address::told(&format!("{}:{}", detail("ip"), detail("port")), by);
    let down = detail("flags").split(',').any(|flag| matches!(flag, "s_down" | "o_down"));
    Ok(Told {
        epoch: detail("config-epoch").parse().unwrap_or(0),
        promoted: before.as_ref() != Some(&primary),
        alive: !down,
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
    fn a_name_that_is_not_known_is_said_to_be() {
        let by = Address::new("asked", 1);
        assert_eq!(read(Value::Nil, Value::Nil, &by), Err(ServerError::UnknownService));
        for nonsense in [&["a"] as &[_], &["a", "x"], &["?", "1"], &["a", "1", "2"]] {
            assert_eq!(told(nonsense, &[]), Err(ServerError::Protocol), "{nonsense:?}");
        }
    }
}
