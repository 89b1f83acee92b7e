//! What the program does.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::arguments::{self, Command, Replay, Seeds};
use crate::generate::Recipe;
use crate::nodes;
use crate::policy::{Kind, OWN};
use crate::replay::{self, Plan};
use crate::row::{self, Row};
use crate::trace::{Format, Trace};
use crate::{report, summary};

/// Runs the program. The exit code is 2 for a wrong command line and 1 for what else fails.
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let command = match arguments::parse(arguments) {
        Ok(command) => command,
        Err(wrong) => return fail(2, &wrong),
    };
    match command {
        Command::Replay(arguments) => replay(&arguments),
        Command::Generate(recipe) => done(generate(&recipe)),
        Command::Nodes(seeds) => done(nodes(seeds)),
        Command::Help => done(show(arguments::HELP)),
    }
}

fn fail(code: u8, wrong: &str) -> ExitCode {
    eprintln!("cache-sim: {wrong}");
    ExitCode::from(code)
}

fn done(result: Result<(), String>) -> ExitCode {
    result.map_or_else(|wrong| fail(1, &wrong), |()| ExitCode::SUCCESS)
}

fn replay(arguments: &Replay) -> ExitCode {
    match kinds(arguments.peers) {
        Ok(kinds) => done(replay_through(&kinds, arguments)),
        Err(wrong) => fail(2, wrong),
    }
}

fn nodes(seeds: Seeds) -> Result<(), String> {
    let Seeds { first, count, verbose } = seeds;
    let (all, wrong) = nodes::run_all(first..first.saturating_add(count), verbose);
    wrong.iter().take(20).for_each(|wrong| eprintln!("{wrong}"));
    show(&format!("{count} seeds: {all}\n"))?;
    if wrong.is_empty() { Ok(()) } else { Err(format!("{} seeds went wrong", wrong.len())) }
}

/// The policies to run.
fn kinds(with_peers: bool) -> Result<Vec<Kind>, &'static str> {
    let mut kinds = OWN.to_vec();
    if with_peers {
        kinds.extend(peers()?);
    }
    Ok(kinds)
}

#[cfg(feature = "peers")]
#[allow(clippy::unnecessary_wraps)] // it fails without the feature
const fn peers() -> Result<&'static [Kind], &'static str> {
    Ok(crate::peers::PEERS)
}

#[cfg(not(feature = "peers"))]
const fn peers() -> Result<&'static [Kind], &'static str> {
    Err("this build has no peers; build it with `--features peers` (it is on by default)")
}

fn replay_through(kinds: &[Kind], arguments: &Replay) -> Result<(), String> {
    let traces = read(&arguments.traces)?;
    // What cannot be written at the end should fail before the work.
    let json = arguments.json.as_deref().map(create).transpose()?;
    let mut plan = Plan::new(&traces, &arguments.capacities, kinds);
    (plan.by_count, plan.ttl) = (arguments.by_count, arguments.ttl);
    let rows = replay::run(&plan);
    if let Some((file, name)) = json {
        write_json(&rows, file, name)?;
    }
    show(&(report::tables(&rows) + &summary::summary(&rows)))
}

fn read(files: &[(PathBuf, Format)]) -> Result<Vec<Trace>, String> {
    let open = |(file, format): &(PathBuf, Format)| {
        Trace::open(file, *format).map_err(|error| error.to_string())
    };
    let mut traces = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = traces.iter().map(|trace| trace.name.clone()).collect();
    for (trace, (file, _)) in traces.iter_mut().zip(files) {
        // The report tells traces apart by their names.
        if names.iter().filter(|name| **name == trace.name).count() > 1 {
            trace.name = file.display().to_string();
        }
    }
    Ok(traces)
}

fn create(file: &Path) -> Result<(File, &Path), String> {
    let created = File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((created, file))
}

fn write_json(rows: &[Row], file: File, name: &Path) -> Result<(), String> {
    let written = row::write_json(rows, BufWriter::new(file));
    written.map_err(|error| format!("{}: {error}", name.display()))
}

fn generate(recipe: &Recipe) -> Result<(), String> {
    shown(recipe.write(BufWriter::new(io::stdout().lock())))
}

fn show(text: &str) -> Result<(), String> {
    shown(io::stdout().write_all(text.as_bytes()))
}

/// Who reads may stop early, as `head` does.
fn shown(written: io::Result<()>) -> Result<(), String> {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("the standard output cannot be written: {error}"))
        }
        _ => Ok(()),
    }
}
