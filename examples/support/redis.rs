//! A Redis server of an example's own.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything here takes, unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A `redis-server` on a free port of this machine, killed when dropped. It keeps nothing on disk.
pub(crate) struct RedisServer {
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// One that answers.
    pub(crate) fn start() -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = Self { port, process: None };
        server.restart().map(|()| server)
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it, empty, and waits until it answers.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.kill();
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.map_err(missing)?);
        let start = Instant::now();
        while !self.answers() {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("redis-server was started and does not answer"));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut answer = [0; 5];
        let asked = stream.set_read_timeout(Some(PATIENCE));
        let asked = asked.and_then(|()| stream.write_all(b"PING\r\n"));
        asked.and_then(|()| stream.read_exact(&mut answer)).is_ok() && answer == *b"+PONG"
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn missing(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotFound {
        return error;
    }
    let advice = "there is no `redis-server`; install it: `apt install redis-server` on Debian and \
                  Ubuntu, `dnf install redis` on Fedora, `brew install redis` on macOS";
    io::Error::other(advice)
}

/// Whether all that was checked has held.
pub(crate) struct Promises(pub(crate) bool);

impl Promises {
    pub(crate) fn check(&mut self, claim: &str, held: bool) {
        println!("{} {claim}", if held { "✓" } else { "✗" });
        self.0 &= held;
    }
}

/// Asks again and again until it is so; `false` if that takes far too long.
pub(crate) async fn eventually(mut so: impl AsyncFnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if so().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}
