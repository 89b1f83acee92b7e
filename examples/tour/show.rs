//! How things are shown: headings, numbers, bars, tables, progress.

use core::time::Duration;
use std::io::{self, IsTerminal};
use std::sync::LazyLock;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

/// Colours are for people: on a terminal, unless `NO_COLOR` says otherwise.
static COLOURED: LazyLock<bool> =
    LazyLock::new(|| io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());

/// By their ANSI codes.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

pub(crate) fn paint(colour: Colour, text: &str) -> String {
    if *COLOURED { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.into() }
}

/// A heading with the question that a scene answers.
pub(crate) fn heading(title: &str, question: &str) {
    println!("\n{}\n{question}\n", paint(Colour::Bold, &format!("── {title} ──")));
}

pub(crate) fn indented(text: &str) {
    text.lines().for_each(|line| println!("  {line}"));
}

/// A time for people.
pub(crate) fn time(span: Duration) -> String {
    let nanos = span.as_nanos() as f64;
    let (value, unit) = match nanos {
        0.0..1e3 => return format!("{nanos} ns"),
        1e3..1e6 => (nanos / 1e3, "µs"),
        1e6..1e9 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    let digits = usize::from(value < 99.5 && value.fract() != 0.0);
    format!("{value:.digits$} {unit}")
}

/// A number with a comma at the thousands.
pub(crate) fn count(n: u64) -> String {
    if n < 1_000 { n.to_string() } else { format!("{},{:03}", count(n / 1_000), n % 1_000) }
}

/// A bar of up to `width` characters for `part` of `whole`.
pub(crate) fn bar(part: f64, whole: f64, width: usize) -> String {
    let eighths = (part / whole.max(1e-9) * width as f64 * 8.0).round() as usize;
    let eighths = eighths.clamp(usize::from(part > 0.0), width * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// A line of a table: a name to the left, cells to the right, and behind them a bar.
pub(crate) struct Row {
    cells: Vec<String>,
    bar: String,
}

impl Row {
    pub(crate) fn new(name: &str) -> Self {
        Self { cells: vec![name.into()], bar: String::new() }
    }

    pub(crate) fn cell(mut self, cell: impl Into<String>) -> Self {
        self.cells.push(cell.into());
        self
    }

    pub(crate) fn bar(mut self, colour: Colour, bar: String) -> Self {
        if !bar.is_empty() {
            self.bar = paint(colour, &bar);
        }
        self
    }

    fn print(&self, widths: &[usize]) {
        let mut line = format!("  {:<1$}", self.cells[0], widths[0]);
        for (cell, width) in self.cells.iter().zip(widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        println!("{}", format!("{line}  {}", self.bar).trim_end());
    }
}

/// Prints rows under a head, with columns as wide as they must be.
pub(crate) fn table(head: &[&str], rows: &[Row]) {
    let cells = head.iter().map(|cell| (*cell).to_owned());
    let head = Row { cells: cells.collect(), bar: String::new() };
    let all = || [&head].into_iter().chain(rows);
    let width = |n: usize| all().map(|row| row.cells[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.cells.len()).map(width).collect();
    all().for_each(|row| row.print(&widths));
}

/// A progress bar on a terminal; nothing elsewhere.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn new(what: &'static str, steps: u64) -> Self {
        let shown = io::stdout().is_terminal() && io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(steps) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("  {msg} {wide_bar} {percent}%");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what);
        Self(bar)
    }

    pub(crate) fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Sleeps, with a step for each millisecond.
    pub(crate) fn sleep(&self, span: Duration) {
        for _ in 0..span.as_millis() / 100 {
            thread::sleep(Duration::from_millis(100));
            self.advance(100);
        }
    }

    pub(crate) fn done(self) {
        self.0.finish_and_clear();
    }
}
