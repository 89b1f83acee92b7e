//! Answers of the server, read.

use redis::{ServerErrorKind, Value};

use crate::error::ServerError;

/// The answer, unless it is an error.
pub(crate) fn value(answer: Value) -> Result<Value, ServerError> {
    match answer {
        Value::ServerError(error) => Err(ServerError::of_reply(&error)),
        other => Ok(other),
    }
}

pub(crate) fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

pub(crate) fn bytes(answer: Value) -> Result<Vec<u8>, ServerError> {
    match value(answer)? {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Nil => Ok(vec![]),
        _ => Err(ServerError::Protocol),
    }
}

pub(crate) fn integer(answer: Value) -> Result<i64, ServerError> {
    match value(answer)? {
        Value::Int(number) => Ok(number),
        _ => Err(ServerError::Protocol),
    }
}

/// The number that a text says; `None` where there is none, or another text.
pub(crate) fn number(answer: Value) -> Result<Option<u64>, ServerError> {
    let bytes = bytes(answer)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()))
}

/// What `TIME` answers, in microseconds since 1970.
pub(crate) fn time(answer: Value) -> Result<u64, ServerError> {
    let Value::Array(parts) = value(answer)? else { return Err(ServerError::Protocol) };
    let Ok([seconds, micros]) = <[Value; 2]>::try_from(parts) else {
        return Err(ServerError::Protocol);
    };
    let [seconds, micros] = [number(seconds)?, number(micros)?];
    let [Some(seconds), Some(micros)] = [seconds, micros] else {
        return Err(ServerError::Protocol);
    };
    Ok(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// The next cursor and the names of a step of `SCAN`.
pub(crate) fn scan(answer: Value) -> Result<(u64, Vec<Vec<u8>>), ServerError> {
    let Value::Array(parts) = value(answer)? else { return Err(ServerError::Protocol) };
    let Ok([cursor, found]) = <[Value; 2]>::try_from(parts) else {
        return Err(ServerError::Protocol);
    };
    let cursor = number(cursor)?.ok_or(ServerError::Protocol)?;
    Ok((cursor, names(found).ok_or(ServerError::Protocol)?))
}

/// The names in an answer; `None` where there are none, or something else.
pub(crate) fn names(answer: Value) -> Option<Vec<Vec<u8>>> {
    let Value::Array(names) = answer else { return None };
    names.into_iter().map(|name| bytes(name).ok()).collect()
}

/// The pairs of a map whose values are texts. RESP2 has an array for it.
pub(crate) fn texts(answer: Value) -> Result<Vec<(String, String)>, ServerError> {
    let text = |answer| String::from_utf8(bytes(answer).ok()?).ok();
    let pair = |(key, value)| Some((text(key)?, text(value)?));
    match value(answer)? {
        Value::Map(pairs) => Ok(pairs.into_iter().filter_map(pair).collect()),
        Value::Array(parts) => {
            let mut parts = parts.into_iter();
            let pairs = std::iter::from_fn(|| Some((parts.next()?, parts.next()?)));
            Ok(pairs.filter_map(pair).collect())
        }
        _ => Err(ServerError::Protocol),
    }
}
