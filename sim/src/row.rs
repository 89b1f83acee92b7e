//! The result of one cell, and all of them as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// How one policy did on one trace with one capacity.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The trace's name.
    pub trace: String,
    /// Entries or bytes, see `unit`.
    pub capacity: u64,
    /// The policy's name.
    pub policy: String,
    /// Whether the policy is one of other people's caches.
    pub is_peer: bool,
    /// Requests of the trace.
    pub requests: u64,
    /// Requests that missed.
    pub misses: u64,
    /// Misses of all requests.
    pub miss_ratio: f64,
    /// The capacity as it was asked for.
    pub capacity_text: String,
    /// The capacity's share of all unique keys or bytes.
    pub capacity_share: f64,
    /// What the capacity counts: `entries` or `bytes`.
    pub unit: &'static str,
    /// How many entries of mean size the capacity holds.
    pub entries: u64,
    /// Unique keys of the trace.
    pub unique: u64,
    /// The most that was seen held; looked at now and then. More than `capacity` is a cache that
    /// does not keep its bound.
    pub most_held: u64,
    /// How long the replay took.
    pub seconds: f64,
}

/// Writes the rows as a list, one row a line.
///
/// # Errors
/// The output cannot be written.
pub fn write_json(rows: &[Row], mut out: impl Write) -> io::Result<()> {
    for (number, row) in rows.iter().enumerate() {
        out.write_all(if number == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut out, row)?;
    }
    out.write_all(if rows.is_empty() { b"[]\n" } else { b"\n]\n" })?;
    out.flush()
}

/// A row with what tests look at.
#[cfg(test)]
pub(crate) fn row(trace: &str, capacity: u64, policy: &str, misses: u64) -> Row {
    Row {
        trace: trace.into(),
        capacity,
        policy: policy.into(),
        is_peer: policy.starts_with("peer"),
        requests: 1_000,
        misses,
        miss_ratio: misses as f64 / 1_000.0,
        capacity_text: format!("{capacity}"),
        capacity_share: 0.5,
        unit: "entries",
        entries: capacity,
        unique: capacity * 2,
        most_held: capacity,
        seconds: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(rows: &[Row]) -> Value {
        let mut out = Vec::new();
        write_json(rows, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn rows_are_a_list_of_objects() {
        let rows = [row("a \"b\"", 100, "lru", 250), row("c", 7, "opt", 0)];
        let json = written(&rows);
        assert_eq!(json.as_array().unwrap().len(), 2);
        assert_eq!(json[0]["trace"], "a \"b\"");
        let fields = ["capacity", "policy", "requests", "misses", "miss_ratio"];
        let values: Vec<_> = fields.iter().map(|field| json[0][field].clone()).collect();
        assert_eq!(Value::from(values), json!([100, "lru", 1_000, 250, 0.25]));
        assert_eq!(json[1]["policy"], "opt");
        assert_eq!(written(&[]), json!([]));
    }
}
