//! All cells in a few numbers.

use crate::policy::{LRU, OPT, OURS};
use crate::report::aligned;
use crate::row::Row;

/// Cells with room for fewer entries say little and are left out: some caches hold more than such
/// a capacity, and a few entries more change much.
pub const FEWEST_ENTRIES: u64 = 100;

/// How each policy did over all cells that have room for [`FEWEST_ENTRIES`], best first.
pub fn summary(rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.entries >= FEWEST_ENTRIES).collect();
    if rows.is_empty() {
        return format!("No cell has room for {FEWEST_ENTRIES} entries, so there is no summary.\n");
    }
    let mut scores: Vec<Score<'_>> =
        policies(&rows).map(|policy| Score::of(policy, &rows)).collect();
    scores.sort_by(|one, other| one.mean.total_cmp(&other.mean));
    let mut lines = vec![HEADER.map(String::from).to_vec()];
    lines.extend(scores.iter().map(Score::line));
    let title = format!("All cells with room for at least {FEWEST_ENTRIES} entries\n");
    title + &aligned(&lines) + &against_peers(&rows)
}

const HEADER: [&str; 6] =
    ["policy", "cells", "mean miss %", "mean above opt", "worst above lru", "where"];

fn policies<'a>(rows: &[&'a Row]) -> impl Iterator<Item = &'a str> {
    let mut policies: Vec<&str> = rows.iter().map(|row| row.policy.as_str()).collect();
    policies.sort_unstable();
    policies.dedup();
    policies.into_iter()
}

/// One policy over all of its cells; differences in points of a hundred.
struct Score<'a> {
    policy: &'a str,
    cells: usize,
    mean: f64,
    above_opt: Option<f64>,
    worst: Option<(f64, &'a Row)>,
}

impl<'a> Score<'a> {
    fn of(policy: &'a str, rows: &[&'a Row]) -> Self {
        let own: Vec<&Row> = rows.iter().copied().filter(|row| row.policy == policy).collect();
        Self {
            policy,
            cells: own.len(),
            mean: mean(own.iter().map(|row| percent(row))).unwrap_or(f64::NAN),
            above_opt: mean(own.iter().filter_map(|row| points_above(row, OPT, rows))),
            worst: worst(own.iter().filter_map(|row| Some((points_above(row, LRU, rows)?, *row)))),
        }
    }

    fn line(&self) -> Vec<String> {
        let or_dash = |number: Option<String>| number.unwrap_or_else(|| "-".into());
        vec![
            self.policy.into(),
            self.cells.to_string(),
            format!("{:.2}", self.mean),
            or_dash(self.above_opt.map(|points| format!("{points:.2}"))),
            or_dash(self.worst.map(|(points, _)| format!("{points:+.2}"))),
            or_dash(self.worst.map(|(_, row)| place(row))),
        ]
    }
}

fn percent(row: &Row) -> f64 {
    row.miss_ratio * 100.0
}

fn place(row: &Row) -> String {
    format!("{} @ {}", row.trace, row.capacity_text)
}

fn points_above(row: &Row, policy: &str, rows: &[&Row]) -> Option<f64> {
    let other = rows.iter().find(|other| other.policy == policy && is_same_cell(row, other))?;
    Some(percent(row) - percent(other))
}

fn is_same_cell(row: &Row, other: &Row) -> bool {
    row.trace == other.trace && row.capacity == other.capacity
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn worst<'a>(all: impl Iterator<Item = (f64, &'a Row)>) -> Option<(f64, &'a Row)> {
    all.max_by(|(one, _), (other, _)| one.total_cmp(other))
}

/// How far ours is from the best peer of each cell.
fn against_peers(rows: &[&Row]) -> String {
    let ours = rows.iter().copied().filter(|row| row.policy == OURS);
    let distances: Vec<(f64, &Row)> =
        ours.filter_map(|row| Some((percent(row) - best_peer(row, rows)?, row))).collect();
    let Some((points, row)) = worst(distances.iter().copied()) else { return String::new() };
    let not_worse = distances.iter().filter(|(points, _)| *points <= 0.0).count();
    let mean = mean(distances.iter().map(|(points, _)| *points)).unwrap_or_default();
    format!(
        "ours above the best peer of each cell: mean {mean:+.2} points, worst {points:+.2} \
         ({}), not worse in {not_worse} of {} cells\n",
        place(row),
        distances.len()
    )
}

fn best_peer(row: &Row, rows: &[&Row]) -> Option<f64> {
    let peers = rows.iter().filter(|other| other.is_peer && is_same_cell(row, other));
    peers.map(|peer| percent(peer)).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::row;

    #[test]
    fn means_and_worsts_are_over_the_policys_own_cells() {
        let rows = [
            row("a", 100, "opt", 300),
            row("a", 100, "lru", 500),
            row("a", 100, "ours", 400),
            row("b", 200, "opt", 100),
            row("b", 200, "lru", 110),
            row("b", 200, "ours", 150),
            row("b", 99, "ours", 999),
        ];
        let expected = "\
All cells with room for at least 100 entries
policy  cells  mean miss %  mean above opt  worst above lru    where
opt         2        20.00            0.00            -1.00  b @ 200
ours        2        27.50            7.50            +4.00  b @ 200
lru         2        30.50           10.50            +0.00  b @ 200
";
        assert_eq!(summary(&rows), expected);
    }

    #[test]
    fn ours_is_compared_with_the_best_peer_of_each_cell() {
        let rows = [
            row("a", 100, "ours", 400),
            row("a", 100, "peer one", 380),
            row("a", 100, "peer two", 500),
            row("b", 200, "ours", 150),
            row("b", 200, "peer one", 300),
            row("b", 200, "peer two", 190),
        ];
        let text = summary(&rows);
        let last = text.lines().last().unwrap();
        let expected = "ours above the best peer of each cell: mean -1.00 points, \
                        worst +2.00 (a @ 100), not worse in 1 of 2 cells";
        assert_eq!(last, expected);
    }

    #[test]
    fn without_large_cells_it_says_so() {
        assert!(summary(&[row("a", 99, "lru", 1)]).starts_with("No cell has room for 100"));
    }
}
