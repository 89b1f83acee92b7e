//! What the caller of `compare` wants.

use core::str::FromStr;
use std::path::PathBuf;

/// Peers that are measured when it must be quick.
const QUICK: &[&str] = &["ours", "hashbrown", "quick_cache", "moka", "arc_swap"];

/// The flags of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Everything within a minute.
    pub quick: bool,
    /// Only the manual is wanted.
    pub help: bool,
    /// Where the rows go.
    pub json: Option<PathBuf>,
    /// Where the charts go.
    pub svg: Option<PathBuf>,
    /// The benches that are wanted; none means all.
    only: Vec<String>,
    /// The peers that are wanted; none means all, or a few if it must be quick.
    peers: Vec<String>,
    /// Rounds of each bench, if not its own number of them.
    rounds: Option<usize>,
}

impl Request {
    /// Reads the arguments.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn parse(
        arguments: impl IntoIterator<Item = String>,
        benches: &[&str],
        peers: &[&str],
    ) -> Result<Self, String> {
        let mut request = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--quick" => request.quick = true,
                "--help" | "-h" => request.help = true,
                "--json" => request.json = Some(value()?.into()),
                "--svg" => request.svg = Some(value()?.into()),
                "--only" => request.only = names("bench", &value()?, benches)?,
                "--peers" => request.peers = names("peer", &value()?, peers)?,
                "--rounds" => request.rounds = Some(count(&value()?)?),
                other => return Err(format!("there is no flag `{other}`; see --help")),
            }
        }
        Ok(request)
    }

    /// Whether a bench is wanted.
    pub fn wants_bench(&self, bench: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == bench)
    }

    /// Whether a peer is wanted.
    pub fn wants(&self, peer: &str) -> bool {
        match self.peers.as_slice() {
            [] => !self.quick || QUICK.contains(&peer),
            wanted => wanted.iter().any(|wanted| wanted == peer),
        }
    }

    /// One of two numbers: for thorough or for quick measurements.
    pub fn either<T>(&self, thorough: T, quick: T) -> T {
        if self.quick { quick } else { thorough }
    }

    /// How many rounds to play, where a bench has its own idea of it.
    pub fn rounds(&self, thorough: usize, quick: usize) -> usize {
        self.rounds.unwrap_or_else(|| self.either(thorough, quick))
    }
}

fn names(kind: &str, list: &str, known: &[&str]) -> Result<Vec<String>, String> {
    let names: Vec<_> = list.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => {
            let known = known.join(", ");
            Err(format!("there is no {kind} `{unknown}`; there are {known}"))
        }
        None => Ok(names),
    }
}

fn count(text: &str) -> Result<usize, String> {
    let count = usize::from_str(text).ok().filter(|count| *count > 0);
    count.ok_or_else(|| format!("--rounds needs a number from 1, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        let words = line.split_whitespace().map(String::from);
        Request::parse(words, &["hot", "bytes"], &["ours", "moka", "cached"])
    }

    #[test]
    fn flags_and_lists_are_understood() {
        let request = parse("--quick --json q.json --only bytes,hot --rounds 3").unwrap();
        assert!(request.quick && request.wants_bench("hot") && request.wants_bench("bytes"));
        assert_eq!(request.json, Some(PathBuf::from("q.json")));
        assert_eq!((request.rounds(11, 5), parse("").unwrap().rounds(11, 5)), (3, 11));
        assert!(!parse("--only hot").unwrap().wants_bench("bytes"));
    }

    #[test]
    fn a_quick_call_measures_few_peers_unless_told_which() {
        assert!(parse("").unwrap().wants("cached"));
        let quick = parse("--quick").unwrap();
        assert!(quick.wants("moka") && !quick.wants("cached"));
        let told = parse("--quick --peers cached").unwrap();
        assert!(told.wants("cached") && !told.wants("moka"));
    }

    #[test]
    fn what_is_unknown_is_named_in_one_line() {
        let wrong = |line| parse(line).unwrap_err();
        assert_eq!(wrong("--fast"), "there is no flag `--fast`; see --help");
        assert_eq!(wrong("--only hot,hat"), "there is no bench `hat`; there are hot, bytes");
        assert_eq!(wrong("--peers x"), "there is no peer `x`; there are ours, moka, cached");
        assert_eq!(wrong("--json"), "--json needs a value");
        assert_eq!(wrong("--rounds 0"), "--rounds needs a number from 1, not `0`");
    }
}
