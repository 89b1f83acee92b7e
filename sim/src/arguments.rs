//! The command line.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::capacity::Capacity;
use crate::generate::Recipe;
use crate::trace::Format;

/// What `help` says.
pub const HELP: &str = "\
cache-sim replay --trace FILE.. --capacity LIST [OPTION ..]
    Replays traces through caches and tells their miss ratios.
    --trace FILE..       gzip or text, one request a line; `-` is the standard input
    --capacity LIST      1%,0.5%,500: shares of the trace's unique keys, or entries;
                         where objects have sizes, shares of all their bytes, or bytes
    --format FORMAT      plain (ID, or ID COUNT), sized (ID SIZE) or timed (SECONDS ID SIZE);
                         without it the file's name decides: .sized., .timed., else plain
    --count              counts entries although objects have sizes
    --ttl SECONDS        serves an entry no longer than so (timed traces)
    --peers              runs other people's caches, too
    --json FILE          writes all results, one row per trace, capacity and policy

cache-sim generate --kind KIND --keys N --requests N [OPTION ..] > FILE
    Writes a trace of the plain format.
    --kind KIND          zipf, loop, scan (zipf with runs over new keys)
                         or shift (zipf, and the popular keys change)
    --skew S             Zipf's exponent, 0.99 if not said
    --seed N             another seed gives another trace, 1 if not said

cache-sim nodes [OPTION ..]
    Runs several processes before one shared store, on virtual time, and checks what must hold.
    --seed N             the first seed, 0 if not said
    --count N            how many seeds, 1,000 if not said
    --verbose            tells everything that happens

cache-sim help
";

/// What the user wants.
#[derive(Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// Replay traces.
    Replay(Replay),
    /// Make a trace.
    Generate(Recipe),
    /// Run processes before a store.
    Nodes(Seeds),
    /// Show [`HELP`].
    Help,
}

/// The arguments of `nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// Tell everything that happens.
    pub verbose: bool,
}

/// The arguments of `replay`.
#[derive(Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Replay {
    /// The files, each with its format.
    pub traces: Vec<(PathBuf, Format)>,
    /// The capacities.
    pub capacities: Vec<Capacity>,
    /// Count entries although objects have sizes.
    pub by_count: bool,
    /// How long an entry is served.
    pub ttl: Option<Duration>,
    /// Run peers.
    pub peers: bool,
    /// Where to write the rows.
    pub json: Option<PathBuf>,
}

/// Reads the command line (without the program's name).
///
/// # Errors
/// One line that says what is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut words = arguments.into_iter();
    let command = words.next();
    let options = || Options::parse(words);
    match command.as_deref() {
        Some("replay") => replay(options()?).map(Command::Replay),
        Some("generate") => generate(options()?).map(Command::Generate),
        Some("nodes") => nodes(options()?).map(Command::Nodes),
        Some("help" | "--help" | "-h") => Ok(Command::Help),
        Some(other) => Err(format!("there is no command `{other}`; see `cache-sim help`")),
        None => Err("give a command: replay, generate, nodes or help".into()),
    }
}

fn replay(mut options: Options) -> Result<Replay, String> {
    let format = options.value("--format")?;
    let with_format = |file: String| {
        let file = PathBuf::from(file);
        let format = format.unwrap_or_else(|| Format::of(&file));
        (file, format)
    };
    let files = options.values("--trace")?.ok_or("--trace is missing: give one file or more")?;
    let replay = Replay {
        traces: files.into_iter().map(with_format).collect(),
        capacities: capacities(&options.required::<String>("--capacity")?)?,
        by_count: options.flag("--count")?,
        ttl: options.value("--ttl")?.map(ttl).transpose()?,
        peers: options.flag("--peers")?,
        json: options.value("--json")?,
    };
    options.end()?;
    if replay.ttl.is_some() && replay.traces.iter().all(|(_, format)| *format != Format::Timed) {
        return Err("--ttl needs a timed trace: in the others no time passes".into());
    }
    Ok(replay)
}

fn capacities(list: &str) -> Result<Vec<Capacity>, String> {
    list.split(',').map(str::parse).collect()
}

fn ttl(seconds: f64) -> Result<Duration, String> {
    let ttl = Duration::try_from_secs_f64(seconds).ok().filter(|ttl| *ttl >= SHORTEST_TTL);
    ttl.ok_or_else(|| format!("--ttl cannot be `{seconds}`; give seconds, at least 0.001"))
}

const SHORTEST_TTL: Duration = Duration::from_millis(1);

fn generate(mut options: Options) -> Result<Recipe, String> {
    let load = options.required("--kind")?;
    let mut recipe =
        Recipe::new(load, options.required("--keys")?, options.required("--requests")?);
    recipe.skew = options.value("--skew")?.unwrap_or(recipe.skew);
    recipe.seed = options.value("--seed")?.unwrap_or(recipe.seed);
    options.end()?;
    if recipe.keys == 0 || recipe.requests == 0 {
        return Err("--keys and --requests are at least 1".into());
    }
    if !(0.0..=10.0).contains(&recipe.skew) {
        return Err(format!("--skew cannot be `{}`; give 0 to 10", recipe.skew));
    }
    Ok(recipe)
}

fn nodes(mut options: Options) -> Result<Seeds, String> {
    let seeds = Seeds {
        first: options.value("--seed")?.unwrap_or(0),
        count: options.value("--count")?.unwrap_or(1_000),
        verbose: options.flag("--verbose")?,
    };
    options.end()?;
    if seeds.count == 0 { Err("--count is at least 1".into()) } else { Ok(seeds) }
}

/// Options with the words behind each.
struct Options(Vec<(String, Vec<String>)>);

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options: Vec<(String, Vec<String>)> = Vec::new();
        for word in words {
            if word.starts_with("--") {
                options.push((word, Vec::new()));
            } else if let Some((_, values)) = options.last_mut() {
                values.push(word);
            } else {
                return Err(format!("`{word}` is no option; see `cache-sim help`"));
            }
        }
        Ok(Self(options))
    }

    /// Takes an option out, all words of it if it is given more than once.
    fn take(&mut self, name: &str) -> Option<Vec<String>> {
        let given = self.0.extract_if(.., |(option, _)| option == name);
        given.map(|(_, values)| values).reduce(|one, other| [one, other].concat())
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        match self.take(name) {
            Some(values) if !values.is_empty() => Err(format!("{name} takes no value")),
            given => Ok(given.is_some()),
        }
    }

    fn values(&mut self, name: &str) -> Result<Option<Vec<String>>, String> {
        match self.take(name) {
            Some(values) if values.is_empty() => Err(format!("{name} needs a value")),
            given => Ok(given),
        }
    }

    fn value<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, String> {
        let Some(values) = self.values(name)? else { return Ok(None) };
        let [value] = values.as_slice() else { return Err(format!("{name} takes one value")) };
        let wrong = |error| format!("{name} cannot be `{value}`: {error}");
        value.parse().map(Some).map_err(wrong)
    }

    fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, String> {
        self.value(name)?.ok_or_else(|| format!("{name} is missing; see `cache-sim help`"))
    }

    /// Nothing may be left.
    fn end(&self) -> Result<(), String> {
        match self.0.first() {
            Some((unknown, _)) => Err(format!("there is no {unknown}; see `cache-sim help`")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Load;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn a_replay_has_many_files_and_capacities() {
        let line = "replay --trace a.txt b.sized.gz --capacity 1%,500 --json out.json --peers";
        let Ok(Command::Replay(replay)) = parsed(line) else { panic!("it is right") };
        let files = [("a.txt", Format::Plain), ("b.sized.gz", Format::Sized)];
        assert_eq!(replay.traces, files.map(|(file, format)| (file.into(), format)));
        assert_eq!(replay.capacities.len(), 2);
        assert!(replay.peers && !replay.by_count && replay.ttl.is_none());
        assert_eq!(replay.json, Some("out.json".into()));
    }

    #[test]
    fn one_format_is_for_all_files() {
        let line = "replay --trace a --trace b.sized.gz --capacity 1 --format timed --ttl 2.5";
        let Ok(Command::Replay(replay)) = parsed(line) else { panic!("it is right") };
        let formats: Vec<_> = replay.traces.iter().map(|(_, format)| *format).collect();
        assert_eq!(formats, [Format::Timed, Format::Timed]);
        assert_eq!(replay.ttl, Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn a_recipe_has_defaults() {
        let line = "generate --kind shift --keys 10 --requests 100";
        let mut recipe = Recipe::new(Load::Shift, 10, 100);
        assert_eq!(parsed(line), Ok(Command::Generate(recipe)));
        (recipe.skew, recipe.seed) = (0.5, 9);
        assert_eq!(parsed(&format!("{line} --skew 0.5 --seed 9")), Ok(Command::Generate(recipe)));
        assert_eq!(parsed("--help"), Ok(Command::Help));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let replay = "replay --trace a --capacity";
        let generate = "generate --kind zipf --keys 1 --requests";
        for (line, said) in [
            ("", "give a command"),
            ("play", "`play`"),
            ("replay", "--trace is missing"),
            ("replay --trace --capacity 1", "--trace needs a value"),
            ("replay --trace a", "--capacity is missing"),
            ("replay a --trace b", "`a`"),
            (&format!("{replay} 1,x"), "`x`"),
            (&format!("{replay} 1 2"), "--capacity takes one value"),
            (&format!("{replay} 1 --peers yes"), "--peers takes no value"),
            (&format!("{replay} 1 --fast"), "--fast"),
            (&format!("{replay} 1 --format odd"), "`odd`"),
            (&format!("{replay} 1 --ttl 5"), "--ttl needs a timed trace"),
            (&format!("{replay} 1 --format timed --ttl 0"), "--ttl cannot be"),
            (&format!("{generate} 0"), "at least 1"),
            (&format!("{generate} many"), "--requests cannot be `many`"),
            (&format!("{generate} 1 --skew NaN"), "--skew cannot be"),
            (&format!("{generate} 1 --kind loop"), "--kind takes one value"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n'), "{line}: {error}");
        }
    }
}
