//! Redis servers of a test's own.
#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cache_core::store::StoreError;
use cache_redis::ServerError;
use tempfile::TempDir;

mod certificates;
mod cluster;
mod listener;
mod proxy;
mod race;
mod random;
mod sentinels;

pub(crate) use certificates::{Authority, Issued};
pub(crate) use cluster::{RedisCluster, free_ports, keys_of, until, victim};
pub(crate) use listener::{Listener, Told};
pub(crate) use proxy::{Proxy, Way};
pub(crate) use race::race;
pub(crate) use random::Random;
pub(crate) use sentinels::{SERVICE, Watched};

/// Long enough for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The commands that the documentation of `Server` lists; in a cluster it names more.
pub(crate) const RIGHTS: &str = "+get +set +pttl +getrange +setrange +unlink +scan +eval +evalsha +time \
                                 +pexpire +del +hello +auth +ping +publish +subscribe";
pub(crate) const CLUSTER_RIGHTS: &str = "+cluster|slots +asking";

/// What who listens needs besides where the server is to tell of changed names.
pub(crate) const TRACKING_RIGHT: &str = "+client|tracking";

/// Name and password of the user that may do these and nothing else, on any key and channel.
pub(crate) const LOGIN: &str = "least:enough";

/// A `redis-server` on a Unix socket in a folder of its own, killed when dropped. It keeps nothing on
/// disk.
pub(crate) struct RedisServer {
    folder: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
    stopped: AtomicBool,
}

impl RedisServer {
    /// A server that answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with more settings, such as `--requirepass`.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let (folder, stopped) = (TempDir::new().unwrap(), AtomicBool::new(false));
        let mut server = Self { folder, arguments, process: None, stopped };
        server.restart();
        server
    }

    /// A sentinel with these lines of settings, and with a password unless it is empty.
    pub(crate) fn start_sentinel(settings: &str, password: &str) -> Self {
        let mut arguments = vec!["--sentinel"];
        if !password.is_empty() {
            arguments.extend(["--requirepass", password]);
        }
        let mut server = Self {
            folder: TempDir::new().unwrap(),
            arguments: arguments.into_iter().map(String::from).collect(),
            process: None,
            stopped: AtomicBool::new(false),
        };
        let lines = format!("{settings}\nunixsocket {}\n", server.socket().display());
        fs::write(server.folder.path().join("sentinel.conf"), lines).unwrap();
        server.restart();
        server
    }

    /// Starts it again after [`kill`](Self::kill), and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.launch();
        let patience = Instant::now() + PATIENCE;
        while self.ask(&["PING"]).is_none() {
            assert!(Instant::now() < patience, "redis-server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn launch(&mut self) {
        self.kill();
        let _ = fs::remove_file(self.socket());
        let mut command = Command::new("redis-server");
        if self.arguments.iter().any(|word| word == "--sentinel") {
            command.arg(self.folder.path().join("sentinel.conf"));
        } else {
            command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
            command.arg(self.socket()).arg("--dir").arg(self.folder.path());
            command.args(["--enable-debug-command", "local"]);
            command.args(["--user", "least", "on", ">enough", "~*", "&*", "nocommands"]);
            command.args(RIGHTS.split(' '));
            if self.arguments.iter().any(|word| word == "--cluster-enabled") {
                command.args(CLUSTER_RIGHTS.split(' '));
            }
        }
        let process = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let missing = "redis-server is needed: `cargo xtask test redis` installs it where it can";
        self.process = Some(process.unwrap_or_else(|error| panic!("{missing} ({error})")));
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.stopped.store(false, Relaxed);
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Whether it was started, and neither killed nor stopped by a signal.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some() && !self.stopped.load(Relaxed)
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        match name {
            "STOP" => self.stopped.store(true, Relaxed),
            "CONT" => self.stopped.store(false, Relaxed),
            _ => {}
        }
        let id = self.process.as_ref().expect("it runs").id().to_string();
        let done = Command::new("kill").args(["-s", name, &id]).status();
        assert!(done.is_ok_and(|status| status.success()), "no signal was sent");
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Its address for a user who may do what the library needs, and nothing else.
    pub(crate) fn address(&self) -> String {
        address(&self.socket())
    }

    /// For who says his own name, or none.
    pub(crate) fn address_without_login(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The answer to a command by a connection of its own, which may do everything, as Redis writes it;
    /// `None` where it does not answer, or with an error.
    pub(crate) fn ask(&self, command: &[&str]) -> Option<String> {
        let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
        self.ask_bytes(&words).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`ask`](Self::ask), of any bytes.
    pub(crate) fn ask_bytes(&self, command: &[&[u8]]) -> Option<Vec<u8>> {
        let mut stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut request = vec![];
        if let Some(at) = self.arguments.iter().position(|word| word == "--requirepass") {
            write_command(&[b"AUTH", self.arguments[at + 1].as_bytes()], &mut request);
        }
        write_command(command, &mut request);
        let sentinel = self.arguments.iter().any(|word| word == "--sentinel");
        if !sentinel {
            write_command(&[b"QUIT"], &mut request);
        }
        stream.write_all(&request).ok()?;
        if sentinel {
            // It knows no `QUIT`. A server may forget what is left of a long answer when it sees the end of
            // the questions; a sentinel's are short.
            stream.shutdown(Shutdown::Write).ok()?;
        }
        let mut answer = vec![];
        stream.read_to_end(&mut answer).ok()?;
        let answer = if sentinel { &answer[..] } else { answer.strip_suffix(b"+OK\r\n")? };
        (!answer.is_empty() && !answer.starts_with(b"-")).then(|| answer.to_vec())
    }

    /// Lets the user with the least rights track names.
    pub(crate) fn allow_tracking(&self) {
        self.ask(&["ACL", "SETUSER", "least", TRACKING_RIGHT]).expect("it answers");
    }

    /// The name of the entry of a key of plain letters and digits.
    pub(crate) fn entry_of(&self, key: &str) -> Option<String> {
        let end = format!(":{{{key}}}");
        let is_entry = |name: &String| name.contains(":e") && name.ends_with(&end);
        self.names().into_iter().find(is_entry)
    }

    /// The names of all keys.
    pub(crate) fn names(&self) -> Vec<String> {
        let answer = self.ask(&["KEYS", "*"]).expect("it answers");
        let lines = answer.split("\r\n").filter(|line| !line.is_empty());
        lines.filter(|line| !line.starts_with(['*', '$'])).map(String::from).collect()
    }
}

/// Asks whether the server on a socket is there, and waits for the answer.
pub(crate) fn ping(socket: &Path) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"PING\r\n")?;
    stream.read_exact(&mut [0; 7])
}

/// The address of a socket, for the user with the least rights.
pub(crate) fn address(socket: &Path) -> String {
    format!("unix://{}?user=least&pass=enough", socket.display())
}

fn write_command(words: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is so, on the machine's own time.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !so().await {
        assert!(Instant::now() < patience, "it never came about that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The server's error behind a store's.
pub(crate) fn behind(error: &StoreError) -> Option<ServerError> {
    core::error::Error::source(error)?.downcast_ref().copied()
}
