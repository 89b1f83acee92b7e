//! Files behind a cache: what one process has loaded, another finds, with its age, and so does the
//! same program after a restart.
//!
//! `cargo run --example file_store` takes about two seconds. It starts itself once more as a second
//! process on the same folder, checks what it promises, and exits with 1 if a promise did not hold.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use advanced_caching::DirStore;
use advanced_caching::store::Plain;
use advanced_caching::sync::{BuildError, Cache, Source};

const TTL: Duration = Duration::from_secs(60);
/// The second process is told its folder in this variable.
const FOLDER: &str = "FILE_STORE_FOLDER";

type Pages = Cache<String, String>;

fn main() -> ExitCode {
    let done = match std::env::var_os(FOLDER) {
        Some(folder) => second_process(Path::new(&folder)),
        None => first_process(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the example could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A cache with files behind its memory. Any number of processes may have one on the same folder.
fn open(folder: &Path) -> Result<Pages, BuildError> {
    let files = DirStore::new(folder, Plain).namespace("pages").max_bytes(10 << 20);
    Cache::builder().capacity(1_000).ttl(TTL).jitter_percent(0).l2(files).build()
}

/// A slow origin.
fn fetch(page: &str) -> impl FnOnce() -> io::Result<String> + Send + 'static {
    let page = page.to_owned();
    move || {
        thread::sleep(Duration::from_millis(200));
        Ok(format!("<html>{page}</html>"))
    }
}

/// An origin that must not be asked.
fn unused() -> io::Result<String> {
    Err(io::Error::other("the origin was asked"))
}

fn first_process() -> Result<bool, Box<dyn Error>> {
    let folder = Folder::create()?;
    println!("Folder   {}", folder.0.display());
    let (pages, mut promises) = (open(&folder.0)?, Promises(true));
    let page = pages.get_or_load("/home", fetch("/home"))?;
    println!("Loaded   {page} from the origin, in 200 ms");
    // The file is written when the load has answered; a shutdown waits for that.
    pages.control().shutdown(Duration::from_secs(5))?;
    drop(pages);
    thread::sleep(Duration::from_secs(1));

    println!("\nA restart, a second later");
    let pages = open(&folder.0)?;
    let seen = pages.read("/home").outcome(unused)?;
    println!("Read     {} from the folder, {:.1} s old", seen.value, seen.age().as_secs_f64());
    promises.check("the value has survived the restart", seen.source == Source::Store);
    promises.check("with its age", seen.age() >= Duration::from_secs(1) && seen.fresh_for() < TTL);

    println!("\nA second process on the same folder");
    pages.put("/price".to_owned(), "10".to_owned());
    let other = Command::new(std::env::current_exe()?).env(FOLDER, &folder.0).status()?;
    promises.check("the second process found what it was promised", other.success());
    let price = pages.get("/price");
    println!("Memory   /price is {price:?} here: no message tells this process, its ttl must pass");
    promises.check("a copy in memory lives by its ttl", price.as_deref() == Some("10"));
    let price = open(&folder.0)?.get_or_load("/price", fetch("/price"))?;
    promises.check("who reads from the folder never sees the old one again", price == "12");

    println!("\nInvalidated here, in memory and in the folder");
    pages.invalidate("/home");
    let seen = open(&folder.0)?.get_or_load("/home", unused);
    promises.check("nobody finds it any more", seen.is_err());
    Ok(promises.0)
}

fn second_process(folder: &Path) -> Result<bool, Box<dyn Error>> {
    let (pages, mut promises) = (open(folder)?, Promises(true));
    let seen = pages.read("/home").outcome(unused)?;
    println!("  Read   {} from the folder, {:.1} s old", seen.value, seen.age().as_secs_f64());
    promises.check("what another process has loaded is found", seen.source == Source::Store);
    let price = pages.get_or_load("/price", unused)?;
    promises.check("what another process has put is found", price == "10");
    pages.put("/price".to_owned(), "12".to_owned());
    println!("  Put    /price is 12 now");
    Ok(promises.0)
}

/// Whether all that was checked has held.
struct Promises(bool);

impl Promises {
    fn check(&mut self, claim: &str, held: bool) {
        println!("{} {claim}", if held { "✓" } else { "✗" });
        self.0 &= held;
    }
}

/// A temporary folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create() -> io::Result<Self> {
        let name = format!("advanced-caching-files-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        // What a run that was killed may have left, if it had the same number.
        let _ = std::fs::remove_dir_all(&folder.0);
        std::fs::create_dir_all(&folder.0).map(|()| folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
