//! Charts: one bar for each row, on a logarithmic scale.

use core::fmt::Write;

use crate::row::{Row, short};

/// A bar: its name and its length.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Bar {
    /// What stands to the left of it.
    pub name: String,
    /// How long it is; more than zero.
    pub value: f64,
}

impl Bar {
    /// A bar.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), value }
    }

    /// What a row measured: bytes where it has them, else time.
    fn of(row: &Row) -> Option<Self> {
        let value = row.bytes_per_entry.or(row.ns_per_op).filter(|value| *value > 0.0)?;
        let threads =
            if row.threads == 1 { String::new() } else { format!(", {} threads", row.threads) };
        Some(Self::new(format!("{}{threads}", row.peer), value))
    }
}

const NAMES: f64 = 190.0;
const BARS: f64 = 520.0;
const VALUES: f64 = 90.0;
const LINE: f64 = 22.0;
/// Where the first bar begins.
const TOP: f64 = 64.0;

/// The chart of one bench; `below` is written under it.
pub fn of_bench(bench: &str, rows: &[Row], below: &str) -> String {
    let bars: Vec<_> = rows.iter().filter_map(Bar::of).collect();
    let is_bytes = rows.iter().any(|row| row.bytes_per_entry.is_some());
    let unit = if is_bytes { "bytes per entry" } else { "ns per operation" };
    svg(&format!("{bench}: {unit}, less is better"), &bars, below)
}

/// A chart as an SVG file.
pub fn svg(title: &str, bars: &[Bar], below: &str) -> String {
    let (width, bottom) = (NAMES + BARS + VALUES, TOP + LINE * bars.len() as f64);
    let height = bottom + 34.0;
    let scale = Scale::of(bars);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    svg += &text(12.0, 24.0, "font-size=\"16\" font-weight=\"bold\"", title);
    scale.draw(&mut svg, bottom);
    for (n, bar) in bars.iter().enumerate() {
        draw(&mut svg, TOP + LINE * n as f64, bar, &scale);
    }
    svg += &text(12.0, bottom + 22.0, "font-size=\"11\" fill=\"#666\"", below);
    svg + "</svg>\n"
}

fn draw(svg: &mut String, y: f64, bar: &Bar, scale: &Scale) {
    let length = scale.place(bar.value);
    let colour = if bar.name.starts_with("ours") { "#c2410c" } else { "#64748b" };
    *svg += &text(NAMES - 8.0, y + 15.0, "text-anchor=\"end\"", &bar.name);
    let height = LINE - 5.0;
    let y = y + 1.0;
    let _ = writeln!(
        svg,
        "<rect x=\"{NAMES}\" y=\"{y}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{colour}\"/>"
    );
    *svg += &text(NAMES + length + 6.0, y + 14.0, "", &short(bar.value));
}

fn text(x: f64, y: f64, style: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>\n", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Powers of ten from just below the least value to just above the greatest.
struct Scale {
    from: i32,
    to: i32,
}

impl Scale {
    fn of(bars: &[Bar]) -> Self {
        let least = bars.iter().map(|bar| bar.value).fold(f64::INFINITY, f64::min);
        let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        if !(least > 0.0 && least.is_finite() && most.is_finite()) {
            return Self { from: 0, to: 1 };
        }
        // A bar of exactly a power of ten must still have a length.
        let from = (least.log10().ceil() - 1.0) as i32;
        Self { from, to: (most.log10().ceil() as i32).max(from + 1) }
    }

    /// How far from the left a value lies.
    fn place(&self, value: f64) -> f64 {
        let decades = f64::from(self.to - self.from);
        BARS * (value.log10() - f64::from(self.from)) / decades
    }

    fn draw(&self, svg: &mut String, bottom: f64) {
        for power in self.from..=self.to {
            let value = 10_f64.powi(power);
            let x = NAMES + self.place(value);
            let (above, top) = (TOP - 8.0, TOP - 4.0);
            *svg += &text(
                x,
                above,
                "font-size=\"11\" fill=\"#666\" text-anchor=\"middle\"",
                &label(value),
            );
            let _ = writeln!(
                svg,
                "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/>"
            );
        }
    }
}

fn label(power_of_ten: f64) -> String {
    if power_of_ten < 1.0 { power_of_ten.to_string() } else { format!("{power_of_ten:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_as_much_is_one_decade_longer() {
        let scale = Scale::of(&[Bar::new("a", 3.0), Bar::new("b", 450.0)]);
        assert_eq!((scale.from, scale.to), (0, 3));
        assert!((scale.place(30.0) - scale.place(3.0) - BARS / 3.0).abs() < 1e-9);
        assert_eq!(scale.place(1_000.0), BARS);
    }

    #[test]
    fn a_bar_of_a_whole_power_has_a_length() {
        let scale = Scale::of(&[Bar::new("a", 10.0)]);
        assert_eq!((scale.from, scale.to), (0, 1));
        assert_eq!(scale.place(10.0), BARS);
    }

    #[test]
    fn a_chart_names_every_bar_and_escapes_what_it_is_told() {
        let mut row = Row::new("hot", "ours", 2);
        row.ns_per_op = Some(12.34);
        let chart = of_bench("hot", &[row, Row::new("hot", "none", 1)], "a < b & c");
        assert!(chart.starts_with("<svg ") && chart.ends_with("</svg>\n"));
        assert!(chart.contains(">ours, 2 threads</text>") && chart.contains(">12.3</text>"));
        assert!(!chart.contains("none") && chart.contains("a &lt; b &amp; c"));
        assert!(chart.contains("hot: ns per operation, less is better"));
    }

    #[test]
    fn a_chart_of_nothing_is_still_one() {
        assert!(svg("empty", &[], "").ends_with("</svg>\n"));
    }
}
