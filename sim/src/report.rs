//! The rows as tables for a terminal.

use std::borrow::Borrow;

use crate::row::Row;

/// One table per trace: policies down, capacities across.
pub fn tables(rows: &[Row]) -> String {
    let mut text = String::new();
    for trace in distinct(rows, |row| row.trace.as_str()) {
        let of_trace: Vec<&Row> = rows.iter().filter(|row| row.trace == trace).collect();
        text += &heading(of_trace[0]);
        text += &aligned(&cells(&of_trace));
        text.push('\n');
    }
    if rows.iter().any(holds_too_much) {
        text += "* held more than its capacity\n\n";
    }
    text
}

fn heading(row: &Row) -> String {
    let Row { trace, requests, unique, unit, .. } = row;
    format!("{trace}: misses in % of {requests} requests; {unique} keys; capacities in {unit}\n")
}

fn cells(rows: &[&Row]) -> Vec<Vec<String>> {
    let capacities = distinct(rows, |row| row.capacity);
    let mut header = vec!["policy".to_owned()];
    header.extend(capacities.iter().map(|capacity| {
        let row = rows.iter().find(|row| row.capacity == *capacity);
        row.map_or_else(String::new, |row| capacity_of(row))
    }));
    let mut lines = vec![header];
    for policy in distinct(rows, |row| row.policy.as_str()) {
        let mut line = vec![policy.to_owned()];
        line.extend(capacities.iter().map(|capacity| {
            let row = rows.iter().find(|row| row.policy == policy && row.capacity == *capacity);
            row.map_or_else(|| "-".to_owned(), |row| misses(row))
        }));
        lines.push(line);
    }
    lines
}

fn capacity_of(row: &Row) -> String {
    if row.capacity_text.ends_with('%') {
        format!("{} = {}", row.capacity_text, row.capacity)
    } else {
        row.capacity.to_string()
    }
}

fn misses(row: &Row) -> String {
    let mark = if holds_too_much(row) { "*" } else { "" };
    format!("{mark}{:.2}", row.miss_ratio * 100.0)
}

const fn holds_too_much(row: &Row) -> bool {
    row.most_held > row.capacity
}

/// The different values in order of their first row.
fn distinct<'a, R: Borrow<Row>, T: PartialEq>(
    rows: &'a [R],
    value: impl Fn(&'a Row) -> T,
) -> Vec<T> {
    let mut found = Vec::new();
    for row in rows {
        let value = value(row.borrow());
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// Lines of words in columns: the first to the left, the others to the right.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let words = lines.iter().filter_map(|line| line.get(column));
        words.map(|word| word.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    lines.iter().map(|line| aligned_line(line, &widths)).collect()
}

fn aligned_line(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (column, (word, width)) in line.iter().zip(widths).enumerate() {
        text += &if column == 0 { format!("{word:<width$}") } else { format!("  {word:>width$}") };
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::row;

    #[test]
    fn a_table_has_policies_down_and_capacities_across() {
        let mut rows =
            [row("t", 10, "opt", 500), row("t", 10, "lru", 612), row("t", 200, "opt", 45)];
        rows[0].capacity_text = "1%".into();
        let expected = "\
t: misses in % of 1000 requests; 20 keys; capacities in entries
policy  1% = 10   200
opt       50.00  4.50
lru       61.20     -

";
        assert_eq!(tables(&rows), expected);
    }

    #[test]
    fn what_held_too_much_is_marked() {
        let mut rows = [row("t", 10, "lru", 500)];
        rows[0].most_held = 11;
        let text = tables(&rows);
        assert!(text.contains("lru     *50.00\n") && text.contains("* held more"), "{text}");
    }

    #[test]
    fn each_trace_has_its_table() {
        let text = tables(&[row("a", 10, "lru", 1), row("b", 10, "lru", 1)]);
        assert_eq!(text.matches("policy").count(), 2);
        assert_eq!(tables(&[]), "");
    }
}
