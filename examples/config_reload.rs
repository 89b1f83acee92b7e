//! A configuration file that is read again and again in the background: readers never wait and never
//! see a broken one.
//!
//! `cargo run --example config_reload` takes less than a second. It changes, breaks, removes and mends a
//! real file, checks what it promises, and exits with 1 if a promise did not hold.

use core::fmt;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use advanced_caching::sync::{Background, Status};

/// How often the file is read. In real life, seconds.
const EVERY: Duration = Duration::from_millis(50);
/// Longer than anything here takes, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Config {
    greeting: String,
    workers: u16,
}

/// Why a file cannot be used.
#[derive(Debug)]
enum Broken {
    Unreadable(std::io::Error),
    Line(String),
    Lacks(&'static str),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "the file cannot be read: {error}"),
            Self::Line(line) => write!(f, "not a setting: {line:?}"),
            Self::Lacks(name) => write!(f, "{name} is not set"),
        }
    }
}

/// Reads lines such as `workers = 4`.
fn read(path: &Path) -> Result<Config, Broken> {
    let text = fs::read_to_string(path).map_err(Broken::Unreadable)?;
    let (mut greeting, mut workers) = (None, None);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.split_once(" = ") {
            Some(("greeting", text)) => greeting = Some(text.to_owned()),
            Some(("workers", number)) => workers = number.parse().ok(),
            _ => return Err(Broken::Line(line.into())),
        }
    }
    let greeting = greeting.ok_or(Broken::Lacks("greeting"))?;
    Ok(Config { greeting, workers: workers.ok_or(Broken::Lacks("workers"))? })
}

fn main() -> ExitCode {
    match show() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the example could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The errors that were told, in order.
type Told = Arc<Mutex<Vec<String>>>;

fn show() -> Result<bool, Box<dyn Error>> {
    let file = File::create("greeting = Hello\nworkers = 4\n")?;
    let told = Told::default();
    let config = watch(file.0.clone(), &told)?;
    let first = config.ready()?; // once, at start-up
    println!("Started  {first:?}");
    let mut promises = Promises(first.workers == 4);

    println!("\nThe file is changed");
    file.write("greeting = Hello\nworkers = 8\n")?;
    let seen = wait(&config, |config, _| config.workers == 8);
    println!("Reloaded {:?}", config.get());
    promises.check("a change is seen without a restart", seen);

    println!("\nThe file is broken");
    file.write("greeting = Hello\nworkers == 16\n")?;
    let seen = wait(&config, |_, status| status.failures >= 2);
    println!("Kept     {:?}", config.get());
    println!("Status   {:?}", config.status());
    promises.check("a broken file is noticed, and tried again", seen);
    promises.check("the last good value stays", config.get().is_some_and(|now| now.workers == 8));
    let heard =
        told.lock().is_ok_and(|told| told.iter().any(|text| text.contains("workers == 16")));
    promises.check("who listens is told why", heard);

    println!("\nThe file is gone");
    fs::remove_file(&file.0)?;
    let before = told.lock().map_or(0, |told| told.len());
    let seen = wait(&config, |_, _| told.lock().is_ok_and(|told| told.len() > before + 1));
    promises.check("a file that is gone is like a broken one", seen && config.get().is_some());

    println!("\nThe file is mended, and the program says that it has changed it");
    file.write("greeting = Good evening\nworkers = 16\n")?;
    promises.check("a reload can be asked for", config.refresh_now());
    let seen = wait(&config, |config, status| config.workers == 16 && status.failures == 0);
    println!("Reloaded {:?}", config.get());
    promises.check("all is well again", seen);
    config.stop();
    promises.check("stopped, the value is still there", config.get().is_some());
    Ok(promises.0)
}

/// Reads the file in the background.
fn watch(path: PathBuf, told: &Told) -> Result<Background<Config>, Box<dyn Error>> {
    let told = Arc::clone(told);
    let listen = move |error: &dyn fmt::Display| {
        let mut told = told.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if told.last().is_none_or(|last| *last != error.to_string()) {
            println!("Error    {error}");
        }
        told.push(error.to_string());
    };
    let builder = Background::builder("config").every(EVERY).on_error(listen);
    Ok(builder.start(move || read(&path))?)
}

/// Waits until the value or the job is as it should be; `false` if that takes far too long.
fn wait(config: &Background<Config>, ready: impl Fn(&Config, &Status) -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let (Some(value), Some(status)) = (config.get(), config.status())
            && ready(&value, &status)
        {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Whether all that was checked has held.
struct Promises(bool);

impl Promises {
    fn check(&mut self, claim: &str, held: bool) {
        println!("{} {claim}", if held { "✓" } else { "✗" });
        self.0 &= held;
    }
}

/// A temporary file, removed when dropped.
struct File(PathBuf);

impl File {
    fn create(text: &str) -> std::io::Result<Self> {
        let name = format!("advanced-caching-config-{}", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.write(text).map(|()| file)
    }

    /// Whole or not at all: who reads meanwhile sees the old file or the new one.
    fn write(&self, text: &str) -> std::io::Result<()> {
        let new = self.0.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(new, &self.0)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
