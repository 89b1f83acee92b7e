//! A socket in front of a server, on which connections go wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They arrive after so long.
    Open(Duration),
    /// They are taken, and lost. A connection that has been here stays so.
    Hole,
    /// The connection is closed.
    Cut,
}

/// Passes connections on, as long as it lives.
pub(crate) struct Proxy {
    folder: TempDir,
    path: watch::Sender<Way>,
    swallowed: Arc<AtomicU32>,
    listening: JoinHandle<()>,
}

impl Proxy {
    pub(crate) fn before(server: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let path = watch::Sender::new(Way::Open(Duration::ZERO));
        let swallowed = Arc::default();
        let passing = Passing { server: server.to_owned(), swallowed: Arc::clone(&swallowed) };
        let listening = tokio::spawn(listen(listener, passing, path.clone()));
        Self { folder, path, swallowed, listening }
    }

    pub(crate) fn address(&self) -> String {
        super::address(&self.folder.path().join("proxy.sock"))
    }

    /// Changes what becomes of bytes, of connections that are there too.
    pub(crate) fn set(&self, path: Way) {
        self.path.send_replace(path);
    }

    /// So many of the connections to come are taken, and their bytes lost.
    pub(crate) fn swallow(&self, connections: u32) {
        self.swallowed.store(connections, Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.set(Way::Cut);
    }
}

struct Passing {
    server: PathBuf,
    swallowed: Arc<AtomicU32>,
}

async fn listen(listener: UnixListener, passing: Passing, path: watch::Sender<Way>) {
    while let Ok((client, _)) = listener.accept().await {
        let swallowed =
            passing.swallowed.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        let lost = swallowed.is_ok();
        let Ok(server) = UnixStream::connect(&passing.server).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        tokio::spawn(pump(from_client, to_server, path.subscribe(), lost));
        tokio::spawn(pump(from_server, to_client, path.subscribe(), lost));
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut path: watch::Receiver<Way>,
    mut lost: bool,
) {
    let mut bytes = [0; 4_096];
    loop {
        lost |= *path.borrow_and_update() == Way::Hole;
        tokio::select! {
            changed = path.changed() => {
                if changed.is_err() || *path.borrow() == Way::Cut {
                    return;
                }
            }
            count = from.read(&mut bytes) => {
                let Ok(count @ 1..) = count else { return };
                let delay = match *path.borrow() {
                    Way::Open(delay) => delay,
                    Way::Hole => { lost = true; Duration::ZERO }
                    Way::Cut => return,
                };
                sleep(delay).await;
                if !lost && to.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
