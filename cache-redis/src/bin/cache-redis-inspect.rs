//! Looks at entries in Redis and changes them as the library does, so that every process hears of it.
//!
//! A program of its own rather than an example, since whoever looks after a server installs it without the
//! repository; without a feature, since it brings no dependency and those who use the library do not build it.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use cache_core::store::{KeyBytes, Mutation, Plain, SharedStore, Station, Store, TagChange};
use cache_core::{Freshness, Instant, Lifetime};
use cache_redis::{Blocking, Inspected, Inspection, RedisStore, Server};

const HELP: &str = "\
usage: cache-redis-inspect --prefix PREFIX [OPTION ..] COMMAND

commands
  show KEY              the entry without its value: age, windows, freshness, lease
  expire KEY            stale from now on, kept for its windows after freshness
  remove KEY            gone
  clear                 every entry of the namespace is gone
  tag expire TAG        values with this tag, in the memories of all, are stale from now on
  tag invalidate TAG    they are gone
All that changes something is told to every process that listens.

options
  --address ADDRESS     such as redis://host:6379/0; without it, the variable REDIS_URL, which
                        unlike an argument is not seen by others on the machine. Never printed
  --prefix PREFIX       as the program gives it to `RedisStore::new`
  --namespace NAME      as it gives it to `RedisStore::namespace`; `default` unless said
  --key FORM            how keys are written here: text (unless said), hex, or the type of numbers,
                        such as u64

It ends with 0, with 1 where nothing was there, and with 2 where it could not be done.";

type Entries = Blocking<RedisStore<String, Plain>>;

/// The store leaves the caller's clock aside.
const NOW: Instant = Instant::ORIGIN;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| ["help", "--help", "-h"].contains(&word.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Task::of(words).and_then(Task::run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("cache-redis-inspect: {}", chain(&*error));
            ExitCode::from(2)
        }
    }
}

/// An error and those behind it.
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// What is to be done, and where.
struct Task {
    address: Option<String>,
    prefix: String,
    namespace: String,
    form: String,
    command: Vec<String>,
}

type Failure = Box<dyn Error>;

impl Task {
    fn of(words: Vec<String>) -> Result<Self, Failure> {
        let mut task = Self {
            address: env::var("REDIS_URL").ok(),
            prefix: String::new(),
            namespace: "default".into(),
            form: "text".into(),
            command: vec![],
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--address" => task.address = Some(value()?),
                "--prefix" => task.prefix = value()?,
                "--namespace" => task.namespace = value()?,
                "--key" => task.form = value()?,
                _ if word.starts_with("--") => return Err(unknown("option")),
                _ => {
                    task.command.push(word);
                    task.command.extend(words.by_ref());
                }
            }
        }
        Ok(task)
    }

    fn run(self) -> Result<bool, Failure> {
        let words: Vec<_> = self.command.iter().map(String::as_str).collect();
        match words[..] {
            ["show", key] => show(&self.entries()?.inspect(&self.key(key)?[..])?),
            ["expire", key] => self.change(key, Mutation::Expire),
            ["remove", key] => self.change(key, Mutation::Remove),
            ["clear"] => {
                Store::<[u8], String>::clear(&self.entries()?, NOW)?;
                Ok(done("cleared"))
            }
            ["tag", "expire", tag] => self.tell(tag, TagChange::Expire),
            ["tag", "invalidate", tag] => self.tell(tag, TagChange::Invalidate),
            _ => Err(unknown("command")),
        }
    }

    fn entries(&self) -> Result<Entries, Failure> {
        let address = self.address.as_deref();
        let address = address.ok_or("no address: set REDIS_URL, or give --address")?;
        if self.prefix.is_empty() {
            return Err("no prefix: give --prefix as the program has it".into());
        }
        // Somebody waits for it who can wait longer than a request.
        let server = Server::builder(address)?.operation_timeout(Duration::from_secs(5));
        let store = RedisStore::new(&server.build()?, &self.prefix, Plain)?;
        Ok(store.namespace(&self.namespace).max_value_bytes(512 << 20).blocking())
    }

    fn change(&self, key: &str, mutation: Mutation<'_, String>) -> Result<bool, Failure> {
        let key = self.key(key)?;
        if self.entries()?.mutate(&key[..], mutation, Station::NOBODY, NOW)? {
            return Ok(done("done"));
        }
        println!("nothing was there; it was told all the same");
        Ok(false)
    }

    fn tell(&self, tag: &str, change: TagChange) -> Result<bool, Failure> {
        let (entries, by) = (self.entries()?, Station::NOBODY);
        SharedStore::<[u8], String>::change_tag(&entries, tag, change, by, NOW)?;
        Ok(done("told"))
    }

    /// The bytes of a key that was written in the form that was said.
    fn key(&self, word: &str) -> Result<Vec<u8>, Failure> {
        fn number<N: KeyBytes + std::str::FromStr>(word: &str) -> Result<Vec<u8>, Failure> {
            let number: N = word.parse().map_err(|_| "the key is no such number")?;
            Ok(number.key_bytes().into_owned())
        }
        match self.form.as_str() {
            "text" => Ok(word.as_bytes().to_vec()),
            "hex" => hex(word).ok_or_else(|| "the key is not in pairs of hex digits".into()),
            "u8" => number::<u8>(word),
            "u16" => number::<u16>(word),
            "u32" => number::<u32>(word),
            "u64" => number::<u64>(word),
            "u128" => number::<u128>(word),
            "i32" => number::<i32>(word),
            "i64" => number::<i64>(word),
            _ => Err(unknown("form of keys")),
        }
    }
}

fn unknown(what: &str) -> Failure {
    format!("there is no such {what}; see `cache-redis-inspect help`").into()
}

fn done(what: &str) -> bool {
    println!("{what}");
    true
}

fn hex(word: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        word.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Prints what there is; whether there is an entry.
fn show(seen: &Inspection) -> Result<bool, Failure> {
    println!("version    {}", seen.version);
    match &seen.entry {
        Ok(Some(entry)) => show_entry(entry),
        Ok(None) => println!("entry      none"),
        Err(error) => println!("entry      {}", chain(error)),
    }
    match seen.lease {
        Some(left) => println!("lease      held, {} left unless it is renewed", span(left)),
        None => println!("lease      none"),
    }
    Ok(!matches!(seen.entry, Ok(None)))
}

fn show_entry(entry: &Inspected) {
    let Inspected { codec, schema, value_bytes, lifetime, kept_for, misdated, tags, .. } = *entry;
    let Lifetime { age, ttl, swr, sie, .. } = lifetime;
    println!("entry      {value_bytes} bytes of codec {codec}, schema {schema}");
    println!("age        {}", span(age));
    println!("freshness  {}", freshness(lifetime));
    println!("windows    ttl {}", span(ttl));
    println!("           stale-while-revalidate {}, stale-if-error {}", span(swr), span(sie));
    match kept_for {
        Some(left) => println!("kept for   {}", span(left)),
        None => println!("kept for   no expiry"),
    }
    if tags > 0 {
        let state = if entry.invalidated { ", of which one was invalidated since" } else { "" };
        println!("tags       {tags}{state}");
    }
    if misdated {
        println!(
            "misdated   it was written later than now, by the server's clock, so it counts as stale"
        );
    }
}

fn freshness(lifetime: Lifetime) -> String {
    let left = |window: Duration| {
        let ends = lifetime.ttl.saturating_add(window);
        match ends {
            Duration::MAX => "for ever".into(),
            _ => format!("for {}", span(ends.saturating_sub(lifetime.age))),
        }
    };
    match lifetime.freshness() {
        Freshness::Fresh => format!("fresh {}", left(Duration::ZERO)),
        Freshness::Stale => format!("stale, served as such {}", left(lifetime.swr)),
        _ => format!("expired, kept for errors {}", left(lifetime.sie)),
    }
}

fn span(span: Duration) -> String {
    if span == Duration::MAX {
        return "for ever".into();
    }
    format!("{:.3} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(words: &str) -> Result<Task, Failure> {
        Task::of(words.split(' ').map(String::from).collect())
    }

    #[test]
    fn options_come_first_and_keys_may_look_like_them() {
        let made = task("--prefix app --key u64 show --7").unwrap();
        assert_eq!((made.prefix.as_str(), made.form.as_str()), ("app", "u64"));
        assert_eq!(made.command, ["show", "--7"]);
        assert!(task("--prefix").is_err() && task("--what").is_err());
    }

    #[test]
    fn keys_are_the_bytes_that_programs_have() {
        let key = |form: &str, word: &str| task(&format!("--key {form}")).unwrap().key(word);
        assert_eq!(key("text", "é").unwrap(), "é".as_bytes());
        assert_eq!(key("hex", "00fF").unwrap(), [0, 255]);
        assert_eq!(key("u64", "42").unwrap(), &*42_u64.key_bytes());
        assert_eq!(key("i32", "-1").unwrap(), &*(-1_i32).key_bytes());
        for (form, word) in [("hex", "0"), ("hex", "xx"), ("u8", "256"), ("f64", "1")] {
            assert!(key(form, word).is_err(), "{form} {word}");
        }
    }

    #[test]
    fn spans_and_freshness_read_well() {
        let life = Lifetime::fresh_for(Duration::from_secs(2)).stale_if_error(Duration::MAX);
        assert_eq!(freshness(life), "fresh for 2.000 s");
        let old = life.aged(Duration::from_millis(2_500));
        assert_eq!(freshness(old), "expired, kept for errors for ever");
    }
}
