//! Those who want to know how the connection is.

use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::{Arc, Weak};

use futures_core::Stream;
use tokio::sync::watch::Receiver;

use super::{Connection, Shared};

/// Waits for changes of the connection; also a [`Stream`] of them, which ends with the
/// [`Server`](crate::Server), and does not keep it. Made by [`Server::watch`](crate::Server::watch).
///
/// One who is slow sees the latest state, not all. It never shows the same state twice in a row.
///
/// ```no_run
/// use cache_redis::{Connection, Server};
///
/// # async fn watch(server: Server) {
/// let mut watch = server.watch();
/// while let Some(connection) = watch.changed().await {
///     match connection {
///         Connection::Up => println!("Redis is used"),
///         Connection::Down(reason) => println!("Redis is not used: {reason}"),
///         _ => {}
///     }
/// }
/// # }
/// ```
pub struct ConnectionWatch {
    server: Weak<Shared>,
    seen: Connection,
    /// Ends when something happened; `None` when nothing can any more.
    bell: Option<Bell>,
}

type Bell = Pin<Box<dyn Future<Output = Option<Receiver<()>>> + Send + Sync>>;

fn bell(mut moved: Receiver<()>) -> Bell {
    Box::pin(async move { moved.changed().await.ok().map(|()| moved) })
}

impl ConnectionWatch {
    pub(super) fn new(server: &Arc<Shared>) -> Self {
        // Listened to before looked at, so that nothing can happen unheard in between.
        let bell = Some(bell(server.moved.subscribe()));
        Self { server: Arc::downgrade(server), seen: server.connection(), bell }
    }

    /// The next state that differs from the one that was seen last; at first, from that when the watch was
    /// made. `None` when the server is gone. Dropping the future loses none.
    pub async fn changed(&mut self) -> Option<Connection> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Option<Connection>> {
        while let Some(ringing) = &mut self.bell {
            let moved = ready!(ringing.as_mut().poll(context));
            self.bell = moved.map(bell);
            let Some(server) = self.server.upgrade() else {
                self.bell = None;
                break;
            };
            let is = server.connection();
            if is != self.seen {
                self.seen = is;
                return Poll::Ready(Some(is));
            }
        }
        Poll::Ready(None)
    }
}

impl Stream for ConnectionWatch {
    type Item = Connection;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.get_mut().poll_changed(context)
    }
}

impl fmt::Debug for ConnectionWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionWatch").field("seen", &self.seen).finish_non_exhaustive()
    }
}
