//! A connection as operations use it.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use crate::error::ServerError;

/// The connection that an operation runs on, from its start to its end.
pub(crate) struct Link {
    connection: MultiplexedConnection,
}

impl Link {
    pub(crate) const fn new(connection: MultiplexedConnection) -> Self {
        Self { connection }
    }

    /// The answer to a command, which may be an error of the server's that concerns the command alone.
    pub(crate) async fn ask(&mut self, command: &Cmd) -> Result<Value, ServerError> {
        let answer = self.connection.send_packed_command(command).await;
        let answer = answer.map_err(|error| ServerError::of(&error))?;
        unless_of_the_server(&answer)?;
        Ok(answer)
    }

    /// The answers to commands that are sent at once, one for each.
    pub(crate) async fn ask_all(&mut self, commands: &Pipeline) -> Result<Vec<Value>, ServerError> {
        let count = commands.len();
        let answers = self.connection.send_packed_commands(commands, 0, count).await;
        let answers = answers.map_err(|error| ServerError::of(&error))?;
        answers.iter().try_for_each(unless_of_the_server)?;
        if answers.len() == count { Ok(answers) } else { Err(ServerError::Protocol) }
    }
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
