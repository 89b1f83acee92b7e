//! How far the measurements are.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// A progress bar on a terminal; nothing elsewhere.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of as many steps as there are benches.
    pub fn new(benches: usize) -> Self {
        if !io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new(benches as u64);
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {prefix} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    /// No bar.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Which bench runs now.
    pub fn begin(&self, bench: &str) {
        self.0.set_prefix(bench.to_owned());
        self.0.set_message("is prepared");
    }

    /// Which round of whom runs now.
    pub fn tell(&self, peer: &str, round: usize, rounds: usize) {
        self.0.set_message(format!("{peer}, round {round} of {rounds}"));
    }

    /// One bench has ended; `text` stays above the bar.
    pub fn end(&self, text: &str) {
        self.0.inc(1);
        self.0.suspend(|| println!("{text}"));
    }

    /// All benches have ended.
    pub fn done(&self) {
        self.0.finish_and_clear();
    }
}
