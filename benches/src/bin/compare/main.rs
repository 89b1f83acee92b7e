//! The cache next to its peers: `cargo xtask compare --help`.

mod background;
mod bytes;
mod expire;
mod hot;
mod loads;
mod tail;
mod writes;
mod zipf;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use cache_benches::heap::Counting;
use cache_benches::progress::Progress;
use cache_benches::request::Request;
use cache_benches::round::{self, Contestant};
use cache_benches::row::{self, Row};
use cache_benches::{chart, machine, peers};

#[global_allocator]
static HEAP: Counting = Counting::new();

/// What every bench is given.
struct Setup {
    request: Request,
    progress: Progress,
}

impl Setup {
    /// Plays rounds, and reports each contestant. Those with one thread come first: one who plays
    /// right after another with the same table would find it in the processor's cache.
    fn play(
        &self,
        bench: &'static str,
        contestants: &mut [Contestant<'_>],
        rounds: usize,
    ) -> Vec<Row> {
        contestants.sort_by_key(|contestant| contestant.threads);
        round::play(contestants, rounds, &self.progress);
        contestants.iter().map(|contestant| Row::of(bench, contestant)).collect()
    }
}

struct Bench {
    name: &'static str,
    what: &'static str,
    run: fn(&Setup, &'static str) -> Vec<Row>,
}

const fn bench(
    name: &'static str,
    what: &'static str,
    run: fn(&Setup, &'static str) -> Vec<Row>,
) -> Bench {
    Bench { name, what, run }
}

const BENCHES: &[Bench] = &[
    bench("hot_u64_1k", "get, all hits, u64 to u64, 1,000 entries", hot::u64_1k),
    bench("hot_u64_small", "get, all hits, u64 to u64, 250 entries of 500", hot::u64_small),
    bench("hot_u64_100k", "get, all hits, u64 to u64, 100,000 entries", hot::u64_100k),
    bench("hot_u64_1m", "get, all hits, u64 to u64, 1,000,000 entries", hot::u64_1m),
    bench("hot_str_1k", "get, all hits, String to Arc<str>, 1,000 entries", hot::str_1k),
    bench("hot_str_small", "the same, 250 entries of 500", hot::str_small),
    bench("hot_1kib_100k", "get, all hits, String to 1 KiB of Arc<str>, 100,000", hot::kib_100k),
    bench("same8_u64", "get, all threads on the same 8 keys", hot::same8),
    bench("overwrite", "put of keys that are there, 50,000 in 100,000", writes::overwrite),
    bench("insert_evict", "put of new keys into a full cache of 100,000", writes::insert_evict),
    bench("insert_evict_str", "the same, String to Arc<str>", writes::insert_evict_str),
    bench("zipf_u64", "read-through, Zipf 0.99 over 1 M keys, capacity 100,000", zipf::numbers),
    bench("zipf_str", "read-through, Zipf 0.99 over 100,000 Strings, capacity 10,000", zipf::texts),
    bench("tail", "as zipf_u64 with more threads than cores, by 16 operations", tail::tail),
    bench("get_or_load_hit", "a read that could load, of a key that is there", loads::hit),
    bench(
        "many_hit",
        "a read that could load, of 100 keys that are there, for each key",
        loads::many,
    ),
    bench("stale_hit", "a stale value, while its refresh is in flight", loads::stale),
    bench("background_read", "a value that a job keeps", background::read),
    bench("expire", "reclaiming entries whose time has passed, for each entry", expire::expire),
    bench("bytes", "heap for each of 1 M entries held, u64 to u64", bytes::bytes),
];

fn main() -> ExitCode {
    let benches: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
    match Request::parse(std::env::args().skip(1), &benches, peers::NAMES) {
        Ok(request) if request.help => help(),
        Ok(request) => match compare(request) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(wrong) => {
                eprintln!("compare: {wrong}");
                return ExitCode::FAILURE;
            }
        },
        Err(wrong) => {
            eprintln!("compare: {wrong}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn help() {
    println!("compare [--quick] [--only BENCH,..] [--peers PEER,..] [--rounds N]");
    println!("        [--json FILE] [--svg DIRECTORY]\n");
    println!("--quick    everything within a minute: fewer peers, rounds and operations");
    println!("--rounds   rounds of each bench; the report tells medians and quartiles over them\n");
    BENCHES.iter().for_each(|bench| println!("{:<16} {}", bench.name, bench.what));
    println!("\npeers: {}", peers::NAMES.join(", "));
}

fn compare(request: Request) -> Result<(), String> {
    println!("{}\n{}", machine::describe(), machine::versions(peers::CRATES));
    // A place that cannot be written to is told before the measuring, not after it.
    prepare(&request)?;
    let wanted: Vec<_> = BENCHES.iter().filter(|bench| request.wants_bench(bench.name)).collect();
    let setup = Setup { progress: Progress::new(wanted.len()), request };
    let mut rows = vec![];
    for bench in wanted {
        setup.progress.begin(bench.name);
        let found = (bench.run)(&setup, bench.name);
        setup.progress.end(&row::table(&format!("{}: {}", bench.name, bench.what), &found));
        draw(&setup.request, bench.name, &found)?;
        rows.extend(found);
    }
    setup.progress.done();
    match &setup.request.json {
        Some(path) => write(path, &format!("{:#}\n", row::list(&rows))),
        None => Ok(()),
    }
}

fn prepare(request: &Request) -> Result<(), String> {
    if let Some(directory) = &request.svg {
        fs::create_dir_all(directory)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    request.json.as_deref().map_or(Ok(()), |path| write(path, "[]\n"))
}

fn draw(request: &Request, bench: &str, rows: &[Row]) -> Result<(), String> {
    let Some(directory) = request.svg.as_ref().filter(|_| !rows.is_empty()) else { return Ok(()) };
    let chart = chart::of_bench(bench, rows, &machine::describe());
    write(&directory.join(format!("{bench}.svg")), &chart)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
