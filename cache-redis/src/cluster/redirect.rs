//! What an answer says of the slot of its command. None of these commands was carried out.

use redis::{ServerErrorKind, Value};

use crate::address::Address;

/// What to do with a command that a node did not carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// The slot is this node's, from now on.
    Moved(u16, Address),
    /// The key is not here any more: this once, this node is to be asked.
    Ask(Address),
    /// The command's keys are on both sides of a move that goes on.
    TryAgain,
}

/// `None` for the answer of a command that was carried out, and for all other errors.
pub(crate) fn of(answer: &Value, by: &Address) -> Option<Redirect> {
    let Value::ServerError(error) = answer else { return None };
    let place = || {
        let (slot, address) = error.details()?.trim().split_once(' ')?;
        Some((slot.parse().ok()?, Address::told(address, by)?))
    };
    match error.kind()? {
        ServerErrorKind::Moved => place().map(|(slot, to)| Redirect::Moved(slot, to)),
        ServerErrorKind::Ask => place().map(|(_, to)| Redirect::Ask(to)),
        ServerErrorKind::TryAgain => Some(Redirect::TryAgain),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Redirect> {
        let answer = redis::parse_redis_value(format!("{line}\r\n").as_bytes()).unwrap();
        of(&answer, &Address::new("here", 7_000))
    }

    #[test]
    fn redirections_are_read() {
        let there = Address::new("127.0.0.1", 6_381);
        let moved = Redirect::Moved(3_999, there.clone());
        assert_eq!(read("-MOVED 3999 127.0.0.1:6381"), Some(moved));
        assert_eq!(read("-ASK 3999 127.0.0.1:6381"), Some(Redirect::Ask(there)));
        let own = Redirect::Moved(1, Address::new("here", 6_381));
        assert_eq!(read("-MOVED 1 :6381"), Some(own));
        let tried = read("-TRYAGAIN Multiple keys request during rehashing of slot");
        assert_eq!(tried, Some(Redirect::TryAgain));
    }

    #[test]
    fn other_answers_are_none() {
        for line in ["+OK", "$-1", "-ERR no", "-MOVED", "-MOVED x y", "-ASK 1 there", "-OOM no"] {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(read("-CLUSTERDOWN Hash slot not served"), None);
    }
}
