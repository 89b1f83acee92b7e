//! Traces from files.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::{error, fmt};

use flate2::read::MultiGzDecoder;

use super::parse::{self, Format};
use super::{Builder, Trace};

/// The first two bytes of a gzip file (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Why a trace could not be read; names the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    Io(String, io::Error),
    /// File, line (from 1), and what is wrong with it.
    Malformed(String, usize, &'static str),
    /// There is no request in it.
    Empty(String),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(file, error) => write!(f, "{file}: {error}"),
            Self::Malformed(file, line, wrong) => write!(f, "{file}: line {line}: {wrong}"),
            Self::Empty(file) => write!(f, "{file}: there is no request in it"),
        }
    }
}

impl error::Error for TraceError {}

impl Trace {
    /// Reads a file, or the standard input if it is named `-`.
    ///
    /// # Errors
    /// The file cannot be read, or a line is malformed.
    pub fn open(file: &Path, format: Format) -> Result<Self, TraceError> {
        let name = file.display().to_string();
        if name == "-" {
            return Self::read(io::stdin().lock(), "stdin", format);
        }
        match File::open(file) {
            Ok(input) => Self::read(input, &name, format),
            Err(error) => Err(TraceError::Io(name, error)),
        }
    }

    /// Reads gzip or plain text; `name` is what errors call it.
    ///
    /// # Errors
    /// The input cannot be read, or a line is malformed.
    pub fn read(input: impl Read, name: &str, format: Format) -> Result<Self, TraceError> {
        let failed = |error| TraceError::Io(name.into(), error);
        let mut lines = unpacked(input).map_err(failed)?;
        let (mut builder, mut line) = (Builder::default(), Vec::new());
        for number in 1.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            add_line(&mut builder, &line, format)
                .map_err(|wrong| TraceError::Malformed(name.into(), number, wrong))?;
        }
        builder.build(short_name(name)).ok_or_else(|| TraceError::Empty(name.into()))
    }
}

fn unpacked<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut first = Vec::new();
    input.by_ref().take(2).read_to_end(&mut first)?;
    let is_gzip = first == GZIP;
    let input = io::Cursor::new(first).chain(input);
    Ok(if is_gzip {
        Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(input))))
    } else {
        Box::new(BufReader::new(input))
    })
}

fn add_line(builder: &mut Builder, line: &[u8], format: Format) -> Result<(), &'static str> {
    let line = str::from_utf8(line).map_err(|_| "it is not text")?;
    builder.add(parse::parse(line, format)?)
}

/// A file's name without its folder and what says how it is packed.
fn short_name(file: &str) -> String {
    let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".txt").unwrap_or(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn ids(input: &[u8]) -> Vec<u64> {
        let trace = Trace::read(input, "t", Format::Plain).unwrap();
        trace.requests().map(|request| request.id).collect()
    }

    #[test]
    fn gzip_and_text_read_alike() {
        let text = "5\n7 3\n5\n";
        assert_eq!(ids(text.as_bytes()), [5, 7, 8, 9, 5]);
        assert_eq!(ids(&packed(text)), [5, 7, 8, 9, 5]);
        let members = [packed("1\n"), packed("2\n")].concat();
        assert_eq!(ids(&members), [1, 2]);
    }

    #[test]
    fn a_last_line_needs_no_end() {
        assert_eq!(ids(b"4"), [4]);
        assert_eq!(ids(b"4\r\n5"), [4, 5]);
    }

    #[test]
    fn errors_name_file_and_line() {
        let wrong = |input: &[u8]| Trace::read(input, "x/t.txt", Format::Plain).unwrap_err();
        let error = wrong(b"1\n2\nthree\n4\n").to_string();
        assert_eq!(error, "x/t.txt: line 3: an id is a whole number below 2^64");
        assert_eq!(wrong(b"1\n\n2\n").to_string().split(": ").nth(1), Some("line 2"));
        assert_eq!(wrong(&packed("1 0\n")).to_string().split(": ").nth(1), Some("line 1"));
        assert_eq!(wrong(b"1\n\xff\xff\n").to_string(), "x/t.txt: line 2: it is not text");
        assert_eq!(wrong(b"").to_string(), "x/t.txt: there is no request in it");
    }

    #[test]
    fn a_cut_gzip_file_is_an_error() {
        let whole = packed("1\n2\n3\n");
        let cut = &whole[..whole.len() - 9];
        assert!(matches!(Trace::read(cut, "t", Format::Plain), Err(TraceError::Io(..))));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Trace::open(Path::new("no/such.txt"), Format::Plain).unwrap_err();
        assert!(error.to_string().starts_with("no/such.txt: "), "{error}");
    }

    #[test]
    fn the_short_name_says_what_and_not_where() {
        assert_eq!(short_name("a/b/io.timed.txt.gz"), "io.timed");
        assert_eq!(short_name("stdin"), "stdin");
    }
}
