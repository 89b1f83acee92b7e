//! What is reported: one row for each bench, peer and number of threads.

use serde_json::{Map, Number, Value};

use crate::quartiles::Quartiles;
use crate::round::{Contestant, Round};

/// One line of the report. What does not apply is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// What was measured.
    pub bench: &'static str,
    /// Who was measured.
    pub peer: &'static str,
    /// On how many threads at a time.
    pub threads: usize,
    /// Nanoseconds for each operation of a thread: the median over the rounds.
    pub ns_per_op: Option<f64>,
    /// Million operations in a second, of all threads together.
    pub mops: Option<f64>,
    /// Share of reads that found a value.
    pub hit_ratio: Option<f64>,
    /// Bytes of the heap for each entry held.
    pub bytes_per_entry: Option<f64>,
    /// What else there is to tell, by name.
    pub more: Vec<(&'static str, f64)>,
}

impl Row {
    /// A row that says nothing yet.
    pub fn new(bench: &'static str, peer: &'static str, threads: usize) -> Self {
        Self { bench, peer, threads, ..Self::default() }
    }

    /// What a contestant's rounds showed.
    pub fn of(bench: &'static str, contestant: &Contestant<'_>) -> Self {
        let rounds = &contestant.rounds;
        let ns = Quartiles::of(rounds.iter().map(|round| round.ns_per_op));
        let mut row = Self::new(bench, contestant.name, contestant.threads);
        row.ns_per_op = Some(ns.median);
        row.mops = Some(Quartiles::of(rounds.iter().map(|round| round.mops)).median);
        row.more = vec![("q1_ns", ns.q1), ("q3_ns", ns.q3), ("rounds", rounds.len() as f64)];
        row
    }

    /// The same row with the share of hits in these rounds.
    pub fn with_hits(mut self, rounds: &[Round]) -> Self {
        let hits: u64 = rounds.iter().map(|round| round.hits).sum();
        let operations: u64 = rounds.iter().map(|round| round.operations).sum();
        self.hit_ratio = (operations > 0).then(|| hits as f64 / operations as f64);
        self
    }

    /// The same row with one thing more.
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.more.push((name, value));
        self
    }

    /// Something of `more`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.more.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// The row as an object; what does not apply is null.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("bench".into(), self.bench.into());
        object.insert("peer".into(), self.peer.into());
        object.insert("threads".into(), self.threads.into());
        object.insert("ns_per_op".into(), number(self.ns_per_op));
        object.insert("mops".into(), number(self.mops));
        object.insert("hit_ratio".into(), number(self.hit_ratio));
        object.insert("bytes_per_entry".into(), number(self.bytes_per_entry));
        for (name, value) in &self.more {
            object.insert((*name).into(), number(Some(*value)));
        }
        object.into()
    }
}

/// To four decimals: more would only be noise.
fn number(value: Option<f64>) -> Value {
    let rounded = value.map(|value| (value * 1e4).round() / 1e4);
    rounded.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
}

/// The rows as a JSON list.
pub fn list(rows: &[Row]) -> Value {
    rows.iter().map(Row::json).collect()
}

/// The rows of one bench, for people.
pub fn table(title: &str, rows: &[Row]) -> String {
    let mut text = format!("\n{title}\n");
    let head = ["peer", "threads", "ns/op", "q1 .. q3", "Mops", "hits %", "more"].map(String::from);
    let cells: Vec<_> = [head].into_iter().chain(rows.iter().map(cells)).collect();
    let width = |n: usize| cells.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = core::array::from_fn(width);
    for row in &cells {
        let mut line = format!("  {:<1$}", row[0], widths[0]);
        for (cell, width) in row[1..6].iter().zip(&widths[1..6]) {
            line += &format!("  {cell:>width$}");
        }
        text += format!("{line}  {}", row[6]).trim_end();
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 7] {
    let range = row.get("q1_ns").zip(row.get("q3_ns"));
    let more = row.more.iter().filter(|(name, _)| !["q1_ns", "q3_ns", "rounds"].contains(name));
    let bytes = row.bytes_per_entry.map(|bytes| ("bytes_per_entry", bytes));
    let more = bytes.iter().chain(more).map(|(name, value)| format!("{name} {}", short(*value)));
    let shown = |value: Option<f64>| value.map_or_else(String::new, short);
    [
        row.peer.into(),
        row.threads.to_string(),
        shown(row.ns_per_op),
        range.map_or_else(String::new, |(q1, q3)| format!("{} .. {}", short(q1), short(q3))),
        shown(row.mops),
        row.hit_ratio.map_or_else(String::new, |ratio| format!("{:.2}", 100.0 * ratio)),
        more.collect::<Vec<_>>().join("  "),
    ]
}

/// A number with three or more digits that count.
pub fn short(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 => 0,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::round;
    use std::time::Duration;

    fn row() -> Row {
        let mut nanos = [30, 10, 20].into_iter();
        let play = || Round::alone(Duration::from_nanos(nanos.next().unwrap_or(0)), 1);
        let mut contestants = [Contestant::new("ours", 1, play)];
        round::play(&mut contestants, 3, &Progress::hidden());
        Row::of("hot", &contestants[0])
    }

    #[test]
    fn a_row_tells_the_median_and_the_quartiles() {
        let row = row();
        assert_eq!((row.ns_per_op, row.mops), (Some(20.0), Some(50.0)));
        assert_eq!((row.get("q1_ns"), row.get("q3_ns")), (Some(15.0), Some(25.0)));
        assert_eq!((row.get("rounds"), row.get("p99_ns")), (Some(3.0), None));
    }

    #[test]
    fn json_has_every_field_and_null_where_none_applies() {
        let text = list(&[row().with("p99_ns", 1.0 / 3.0)]).to_string();
        let expected = concat!(
            r#"[{"bench":"hot","bytes_per_entry":null,"hit_ratio":null,"mops":50.0,"#,
            r#""ns_per_op":20.0,"p99_ns":0.3333,"peer":"ours","q1_ns":15.0,"q3_ns":25.0,"#,
            r#""rounds":3.0,"threads":1}]"#,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn hits_are_counted_over_all_rounds() {
        let round = |operations, hits| Round { operations, hits, ..Round::default() };
        let row = Row::default();
        assert_eq!(row.clone().with_hits(&[round(10, 9), round(30, 11)]).hit_ratio, Some(0.5));
        assert_eq!(row.with_hits(&[]).hit_ratio, None);
    }

    #[test]
    fn the_table_aligns() {
        let text = table("title", &[row(), Row::new("hot", "somebody", 12)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "title");
        assert_eq!(lines[2], "  peer      threads  ns/op      q1 .. q3  Mops  hits %  more");
        assert_eq!(lines[3], "  ours            1   20.0  15.0 .. 25.0  50.0");
        assert_eq!(lines[4], "  somebody       12");
    }
}
