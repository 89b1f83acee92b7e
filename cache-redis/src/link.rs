//! A connection as operations use it.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Arg, Cmd, Pipeline, Value};

use crate::clock::Micros;
#[cfg(feature = "cluster")]
use crate::cluster::Routed;
use crate::driver::Core;
use crate::error::ServerError;

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    /// The server's time when it was answered, or a little later.
    pub(crate) at: Micros,
}

/// What an operation runs on, from its start to its end.
pub(crate) struct Link {
    means: Means,
    bytes: ByteLimit,
}

/// What each command came to.
pub(crate) type Each = Vec<Result<Answer, ServerError>>;

enum Means {
    /// One connection.
    One(MultiplexedConnection, Arc<Core>),
    /// A cluster, in which each command finds its own way.
    #[cfg(feature = "cluster")]
    Routed(Routed),
}

impl Link {
    pub(crate) const fn new(
        connection: MultiplexedConnection,
        core: Arc<Core>,
        bytes: ByteLimit,
    ) -> Self {
        Self { means: Means::One(connection, core), bytes }
    }

    #[cfg(feature = "cluster")]
    pub(crate) const fn routed(routed: Routed, bytes: ByteLimit) -> Self {
        Self { means: Means::Routed(routed), bytes }
    }

    /// The answer to a command, which may be an error of the server's that concerns the command alone.
    pub(crate) async fn ask(&mut self, command: &Cmd) -> Result<Value, ServerError> {
        Ok(self.ask_at(command).await?.value)
    }

    /// As [`ask`](Self::ask), with the time of the answer.
    pub(crate) async fn ask_at(&mut self, command: &Cmd) -> Result<Answer, ServerError> {
        let _held = self.bytes.hold([command].into_iter())?;
        match &mut self.means {
            Means::One(connection, core) => {
                let value = core.send([command].into_iter(), ask(connection, command)).await?;
                Ok(Answer { value, at: core.server_time() })
            }
            #[cfg(feature = "cluster")]
            Means::Routed(routed) => {
                routed.ask_all(&[command]).await?.pop().ok_or(ServerError::Protocol)
            }
        }
    }

    /// The answers to commands that are sent at once, one for each. In a cluster, those for different
    /// nodes are carried out in no order, except that what reads waits for the changes before it.
    pub(crate) async fn ask_all(
        &mut self,
        commands: &Pipeline,
    ) -> Result<Vec<Answer>, ServerError> {
        let _held = self.bytes.hold(commands.cmd_iter())?;
        match &mut self.means {
            Means::One(connection, core) => {
                let answers = core.send(commands.cmd_iter(), ask_all(connection, commands)).await?;
                let at = core.server_time();
                Ok(answers.into_iter().map(|value| Answer { value, at }).collect())
            }
            #[cfg(feature = "cluster")]
            Means::Routed(routed) => {
                let commands: Vec<_> = commands.cmd_iter().collect();
                routed.ask_all(&commands).await
            }
        }
    }

    /// As [`ask_all`](Self::ask_all), but in a cluster, nodes that do not answer take nothing from those that
    /// do. For commands that only read.
    pub(crate) async fn ask_each(&mut self, commands: &Pipeline) -> Result<Each, ServerError> {
        let _held = self.bytes.hold(commands.cmd_iter())?;
        match &mut self.means {
            Means::One(connection, core) => {
                let answers = core.send(commands.cmd_iter(), ask_all(connection, commands)).await?;
                let at = core.server_time();
                Ok(answers.into_iter().map(|value| Ok(Answer { value, at })).collect())
            }
            #[cfg(feature = "cluster")]
            Means::Routed(routed) => {
                let commands: Vec<_> = commands.cmd_iter().collect();
                Ok(routed.ask_each(&commands).await)
            }
        }
    }
}

/// Bytes of commands that may be on their way.
#[derive(Clone)]
pub(crate) struct ByteLimit {
    held: Arc<AtomicUsize>,
    all: usize,
}

/// Bytes that are on their way.
struct Held<'a>(&'a AtomicUsize, usize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Relaxed);
    }
}

impl ByteLimit {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { held: Arc::default(), all: bytes.min(usize::MAX / 2) }
    }

    /// Room for these, which is theirs until it is dropped. What is longer than all there is may go alone.
    fn hold<'a>(&self, commands: impl Iterator<Item = &'a Cmd>) -> Result<Held<'_>, ServerError> {
        let size: usize = commands.flat_map(Cmd::args_iter).map(length).sum();
        let size = size.clamp(1, self.all.max(1));
        let before = self.held.fetch_add(size, Relaxed);
        let held = Held(&self.held, size);
        if before <= self.all - size.min(self.all) && self.all > 0 {
            Ok(held)
        } else {
            Err(ServerError::Busy)
        }
    }
}

fn length(word: Arg<&[u8]>) -> usize {
    match word {
        Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    }
}

/// As [`Link::ask`], on one connection.
pub(crate) async fn ask(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<Value, ServerError> {
    let answer = connection.send_packed_command(command).await;
    let answer = answer.map_err(|error| ServerError::of(&error))?;
    unless_of_the_server(&answer)?;
    Ok(answer)
}

/// As [`Link::ask_all`], on one connection.
pub(crate) async fn ask_all(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
) -> Result<Vec<Value>, ServerError> {
    let count = commands.len();
    let answers = connection.send_packed_commands(commands, 0, count).await;
    let answers = answers.map_err(|error| ServerError::of(&error))?;
    answers.iter().try_for_each(unless_of_the_server)?;
    if answers.len() == count { Ok(answers) } else { Err(ServerError::Protocol) }
}

/// Errors that say more of the server than of the command end the operation.
fn unless_of_the_server(answer: &Value) -> Result<(), ServerError> {
    let Value::ServerError(error) = answer else { return Ok(()) };
    match ServerError::of_reply(error) {
        // The caller's next step, or a finding about one key.
        ServerError::Replied | ServerError::WrongType => Ok(()),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(size: usize) -> Cmd {
        let mut command = redis::cmd("SET");
        command.arg(vec![0_u8; size - 3]);
        command
    }

    #[test]
    fn bytes_are_held_until_they_are_answered() {
        let limit = ByteLimit::new(100);
        let (small, large) = (of(60), of(1_000));
        let held = limit.hold([&small].into_iter()).unwrap();
        assert_eq!(limit.hold([&small].into_iter()).err(), Some(ServerError::Busy));
        assert_eq!(limit.hold([&large].into_iter()).err(), Some(ServerError::Busy));
        drop(held);
        let held = limit.hold([&large].into_iter()).expect("alone");
        assert_eq!(limit.hold([&small].into_iter()).err(), Some(ServerError::Busy));
        drop(held);
        assert!(limit.hold([&of(40), &of(60)].into_iter()).is_ok());
        assert_eq!(ByteLimit::new(0).hold([&small].into_iter()).err(), Some(ServerError::Busy));
        assert!(ByteLimit::new(usize::MAX).hold([&large].into_iter()).is_ok());
    }
}
