//! A connection as operations use it.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

#[cfg(feature = "cluster")]
use crate::cluster::Routed;
use crate::error::ServerError;

/// What an operation runs on, from its start to its end.
pub(crate) struct Link(Means);

enum Means {
    /// One connection.
    One(MultiplexedConnection),
    /// A cluster, in which each command finds its own way.
    #[cfg(feature = "cluster")]
    Routed(Routed),
}

impl Link {
    pub(crate) const fn new(connection: MultiplexedConnection) -> Self {
        Self(Means::One(connection))
    }

    #[cfg(feature = "cluster")]
    pub(crate) const fn routed(routed: Routed) -> Self {
        Self(Means::Routed(routed))
    }

    /// The answer to a command, which may be an error of the server's that concerns the command alone.
    pub(crate) async fn ask(&mut self, command: &Cmd) -> Result<Value, ServerError> {
        match &mut self.0 {
            Means::One(connection) => ask(connection, command).await,
            #[cfg(feature = "cluster")]
            Means::Routed(routed) => {
                let mut answers = routed.ask_all(&[command]).await?;
                answers.pop().ok_or(ServerError::Protocol)
            }
        }
    }

    /// The answers to commands that are sent at once, one for each. In a cluster, those for different
    /// nodes are carried out in no order.
    pub(crate) async fn ask_all(&mut self, commands: &Pipeline) -> Result<Vec<Value>, ServerError> {
        match &mut self.0 {
            Means::One(connection) => ask_all(connection, commands).await,
            #[cfg(feature = "cluster")]
            Means::Routed(routed) => {
                let commands: Vec<_> = commands.cmd_iter().collect();
                routed.ask_all(&commands).await
            }
        }
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
    match ServerError::of_reply(error.kind(), error.code()) {
        // The caller's next step, or a finding about one key.
        ServerError::Replied | ServerError::WrongType => Ok(()),
        error => Err(error),
    }
}
