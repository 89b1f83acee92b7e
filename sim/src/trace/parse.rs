//! One line of a trace.

use std::path::Path;
use std::str::{FromStr, SplitAsciiWhitespace};
use std::time::Duration;

/// What stands in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `ID`, or `ID COUNT` for requests for ID, ID+1, .. ID+COUNT-1.
    #[default]
    Plain,
    /// `ID SIZE`.
    Sized,
    /// `SECONDS ID SIZE`.
    Timed,
}

impl Format {
    /// The format that a file's name speaks of: `.sized.`, `.timed.`, else plain.
    pub fn of(file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match name.as_ref() {
            name if name.contains(".sized.") => Self::Sized,
            name if name.contains(".timed.") => Self::Timed,
            _ => Self::Plain,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "plain" => Ok(Self::Plain),
            "sized" => Ok(Self::Sized),
            "timed" => Ok(Self::Timed),
            _ => Err(format!("there is no format `{name}`; there are plain, sized and timed")),
        }
    }
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: u64,
    pub(super) count: u64,
    pub(super) size: u32,
    pub(super) at: Duration,
}

/// Reads one line.
pub(super) fn parse(line: &str, format: Format) -> Result<Record, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let at = match format {
        Format::Timed => seconds(&mut words)?,
        _ => Duration::ZERO,
    };
    let id = number(&mut words).ok_or("an id is a whole number below 2^64")?;
    let (count, size) = match format {
        Format::Plain => (count(&mut words, id)?, 1),
        _ => (1, size(&mut words)?),
    };
    match words.next() {
        None => Ok(Record { id, count, size, at }),
        Some(_) => Err("there are too many words"),
    }
}

fn number<T: FromStr>(words: &mut SplitAsciiWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}

fn seconds(words: &mut SplitAsciiWhitespace<'_>) -> Result<Duration, &'static str> {
    let seconds = number(words).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or("seconds are a number and not negative")
}

fn count(words: &mut SplitAsciiWhitespace<'_>, id: u64) -> Result<u64, &'static str> {
    let Some(word) = words.next() else { return Ok(1) };
    match word.parse() {
        Ok(0) | Err(_) => Err("a count is a whole number of at least 1"),
        Ok(count) if id.checked_add(count - 1).is_none() => Err("the last id is not below 2^64"),
        Ok(count) => Ok(count),
    }
}

/// An object without bytes weighs 1, so that a capacity in bytes bounds their number, too.
fn size(words: &mut SplitAsciiWhitespace<'_>) -> Result<u32, &'static str> {
    number(words).map(|size: u32| size.max(1)).ok_or("a size is a whole number below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, count: u64, size: u32, millis: u64) -> Result<Record, &'static str> {
        Ok(Record { id, count, size, at: Duration::from_millis(millis) })
    }

    #[test]
    fn each_format_has_its_words() {
        assert_eq!(parse("7", Format::Plain), record(7, 1, 1, 0));
        assert_eq!(parse("7 3", Format::Plain), record(7, 3, 1, 0));
        assert_eq!(parse("7 300", Format::Sized), record(7, 1, 300, 0));
        assert_eq!(parse("7 0", Format::Sized), record(7, 1, 1, 0));
        assert_eq!(parse("60 7 300", Format::Timed), record(7, 1, 300, 60_000));
        assert_eq!(parse("60.25 7 300\r", Format::Timed), record(7, 1, 300, 60_250));
    }

    #[test]
    fn what_is_malformed_is_no_record() {
        for line in ["", " ", "x", "-1", "1.5", "18446744073709551616", "1 x", "1 0", "1 2 3"] {
            assert!(parse(line, Format::Plain).is_err(), "{line:?}");
        }
        for line in ["", "1", "1 -1", "1 4294967296", "1 2 3"] {
            assert!(parse(line, Format::Sized).is_err(), "{line:?}");
        }
        for line in ["", "1", "1 2", "-1 2 3", "NaN 2 3", "inf 2 3", "1e99 2 3", "1 2 3 4"] {
            assert!(parse(line, Format::Timed).is_err(), "{line:?}");
        }
    }

    #[test]
    fn the_last_id_may_be_the_largest_and_no_larger() {
        let largest = u64::MAX;
        assert_eq!(parse(&format!("{largest} 1"), Format::Plain), record(largest, 1, 1, 0));
        assert!(parse(&format!("{largest} 2"), Format::Plain).is_err());
    }

    #[test]
    fn a_files_name_tells_its_format() {
        assert_eq!(Format::of(Path::new("a/b.sized.txt.gz")), Format::Sized);
        assert_eq!(Format::of(Path::new("b.timed.txt")), Format::Timed);
        assert_eq!(Format::of(Path::new("x.sized.d/b.txt")), Format::Plain);
        assert_eq!("timed".parse(), Ok(Format::Timed));
        assert!("Timed".parse::<Format>().is_err());
    }
}
