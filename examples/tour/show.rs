//! How things are shown: tables, bars, progress, promises.

use core::time::Duration;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// A heading with the question that a scene answers.
pub(crate) fn heading(title: &str, question: &str) {
    println!("\n== {title} ==\n{question}\n");
}

/// A time for people.
pub(crate) fn time(span: Duration) -> String {
    match span.as_nanos() {
        0..1_000 => format!("{} ns", span.as_nanos()),
        1_000..1_000_000 => format!("{:.1} µs", span.as_nanos() as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", span.as_nanos() as f64 / 1e6),
        _ => format!("{:.1} s", span.as_secs_f64()),
    }
}

/// A bar of up to `width` characters for `part` of `whole`.
pub(crate) fn bar(part: f64, whole: f64, width: usize) -> String {
    let eighths =
        if whole > 0.0 { (part / whole * width as f64 * 8.0).round() as usize } else { 0 };
    let eighths = eighths.clamp(usize::from(part > 0.0), width * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// Prints rows with aligned columns; the first column to the left, the others to the right, and
/// the last, if it is a bar, to the left again.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count());
        cells.chain([head[n].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let mut line = String::from("  ");
        for (n, cell) in cells.iter().enumerate() {
            let pad = " ".repeat(widths[n] - cell.chars().count());
            let left = n == 0 || head[n].is_empty();
            line += &if left { format!("{cell}{pad}  ") } else { format!("{pad}{cell}  ") };
        }
        println!("{}", line.trim_end());
    };
    print(head.to_vec());
    rows.iter().for_each(|row| print(row.iter().map(String::as_str).collect()));
}

/// A progress bar on a terminal; nothing elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(what: &'static str, steps: u64) -> Self {
        let shown = std::io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(steps) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("  {msg} {wide_bar} {percent}%");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Self(bar)
    }

    pub(crate) fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    pub(crate) fn done(self) {
        self.0.finish_and_clear();
    }
}

/// What the tour claims, and whether it held.
#[derive(Default)]
pub(crate) struct Promises(Vec<(String, bool)>);

impl Promises {
    pub(crate) fn check(&mut self, claim: impl Into<String>, held: bool) {
        self.0.push((claim.into(), held));
    }

    /// Prints the list; whether all held.
    pub(crate) fn print(&self) -> bool {
        println!("\n== Promises ==");
        let colour = std::io::stdout().is_terminal();
        for (claim, held) in &self.0 {
            let word = if *held { "held  " } else { "BROKEN" };
            let (on, off) = match (colour, held) {
                (false, _) => ("", ""),
                (true, true) => ("\x1b[32m", "\x1b[0m"),
                (true, false) => ("\x1b[31m", "\x1b[0m"),
            };
            println!("  {on}{word}{off}  {claim}");
        }
        self.0.iter().all(|(_, held)| *held)
    }
}
