//! Commands, each carried to the node that its key's slot belongs to.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use core::time::Duration;
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::MultiplexedConnection;
use redis::{Arg, Cmd, Pipeline, Value};
use tokio::time::{Instant, sleep, timeout_at};

use super::redirect::{self, Redirect};
use super::topology::Event;
use super::{Hub, Place, slot};
use crate::driver::Core;
use crate::error::ServerError;
use crate::link::{self, Answer, Each};
use crate::random::{self, Spread};
use crate::supervisor::Epoch;

/// How often an operation follows redirections, within its time-out.
const REDIRECTIONS: u32 = 8;

/// What an operation waits for, so that each node is told when its time is over.
#[derive(Default)]
pub(crate) struct Pending(Mutex<Vec<Option<Use>>>);

/// A connection of a node.
type Use = (Arc<Core>, Epoch);

impl Pending {
    fn begin(&self, core: &Arc<Core>, epoch: Epoch) -> usize {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Some((Arc::clone(core), epoch)));
        all.len() - 1
    }

    fn end(&self, number: usize) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all[number] = None;
    }

    /// The operation's time is over: those who have not answered did not in time.
    pub(crate) fn time_out(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (core, epoch) in all.into_iter().flatten() {
            core.report(epoch, Err(ServerError::TimedOut));
        }
    }
}

/// The cluster, as one operation uses it.
pub(crate) struct Routed {
    hub: Arc<Hub>,
    pending: Arc<Pending>,
    /// The node for commands without a key; any where there is none.
    here: Option<Place>,
    /// For so long a node is waited for.
    until: Instant,
}

/// Where a command goes.
#[derive(Clone)]
struct Way {
    place: Place,
    /// Whether this once a node is asked that does not own the slot yet.
    asking: bool,
}

/// Commands for one node, by their numbers.
struct Batch {
    way: Way,
    numbers: Vec<usize>,
}

impl Batch {
    /// The answers of its node, or that there are none, by the numbers of the commands.
    fn each(&self, told: Answers) -> Vec<(usize, Result<Answer, ServerError>)> {
        let numbers = self.numbers.iter().copied();
        match told {
            Ok(answers) => numbers.zip(answers.into_iter().map(Ok)).collect(),
            Err(error) => numbers.map(|number| (number, Err(error))).collect(),
        }
    }
}

fn redirect_of(answer: &Result<Answer, ServerError>, way: &Way) -> Option<Redirect> {
    redirect::of(&answer.as_ref().ok()?.value, &way.place.address)
}

type Answers = Result<Vec<Answer>, ServerError>;

impl Routed {
    pub(crate) const fn new(
        hub: Arc<Hub>,
        pending: Arc<Pending>,
        here: Option<Place>,
        until: Instant,
    ) -> Self {
        Self { hub, pending, here, until }
    }

    /// The answers, one for each command. A command is sent again only where a node said that it did not
    /// carry it out. What stands after a change and only reads is asked when the change is answered: the
    /// order of one connection, as far as somebody could see it. All else goes at the same time.
    pub(crate) async fn ask_all(&self, commands: &[&Cmd]) -> Answers {
        let mut answers = Vec::with_capacity(commands.len());
        for part in commands.chunk_by(|one, next| only_reads(one) || !only_reads(next)) {
            for answer in self.ask_each(part).await {
                answers.push(answer?);
            }
        }
        Ok(answers)
    }

    /// What each command comes to. All go at the same time, and a node that does not answer takes nothing
    /// from those that do.
    pub(crate) async fn ask_each(&self, commands: &[&Cmd]) -> Each {
        // What is left without an answer is redirected again and again.
        let mut answers = vec![Err(ServerError::Redirected); commands.len()];
        let mut ways = vec![];
        for (number, command) in commands.iter().enumerate() {
            match self.way(command) {
                Ok(way) => ways.push((number, way)),
                Err(error) => answers[number] = Err(error),
            }
        }
        for attempt in 0..=REDIRECTIONS {
            let batches = by_node(std::mem::take(&mut ways));
            let mut pause = attempt > 1;
            for (batch, told) in self.send_all(&batches, commands).await {
                for (number, answer) in batch.each(told) {
                    match redirect_of(&answer, &batch.way) {
                        None => answers[number] = answer,
                        Some(redirect) => {
                            pause |= redirect == Redirect::TryAgain;
                            match self.follow(redirect, commands[number]) {
                                Ok(way) => ways.push((number, way)),
                                Err(error) => answers[number] = Err(error),
                            }
                        }
                    }
                }
            }
            if ways.is_empty() {
                return answers;
            }
            if pause {
                let millis = u64::from(attempt) + 1;
                sleep(Spread::new(random::seed()).within(Duration::from_millis(4 * millis))).await;
            }
        }
        answers
    }

    fn way(&self, command: &Cmd) -> Result<Way, ServerError> {
        let place = match (key(command), &self.here) {
            (Some(key), _) => self.hub.owner(slot::of(key))?,
            (None, Some(here)) => here.clone(),
            (None, None) => self.hub.any()?,
        };
        Ok(Way { place, asking: false })
    }

    fn follow(&self, redirect: Redirect, command: &Cmd) -> Result<Way, ServerError> {
        match redirect {
            Redirect::Moved(slot, to) => {
                let place = self.hub.redirected(Event::Moved(slot, to.clone()), to);
                Ok(Way { place, asking: false })
            }
            Redirect::Ask(to) => {
                let place = self.hub.redirected(Event::Met(to.clone()), to);
                Ok(Way { place, asking: true })
            }
            Redirect::TryAgain => self.way(command),
        }
    }

    async fn send_all<'a>(
        &self,
        batches: &'a [Batch],
        commands: &[&Cmd],
    ) -> Vec<(&'a Batch, Answers)> {
        match batches {
            [batch] => vec![(batch, self.send(batch, commands).await)],
            batches => {
                let each = batches.iter().map(|batch| self.send(batch, commands));
                batches.iter().zip(all_of(each).await).collect()
            }
        }
    }

    /// The answers of one node, which its supervisor hears of.
    async fn send(&self, batch: &Batch, commands: &[&Cmd]) -> Answers {
        let core = &batch.way.place.core;
        let opened = timeout_at(self.until, core.open()).await;
        let (epoch, mut connection) = opened.unwrap_or(Err(ServerError::TimedOut))?;
        let number = self.pending.begin(core, epoch);
        let sent = batch.numbers.iter().map(|number| commands[*number]);
        let sending = core.send(sent, ask_node(&mut connection, batch, commands));
        let answers = timeout_at(self.until, sending).await;
        let answers = answers.unwrap_or(Err(ServerError::TimedOut));
        let at = core.server_time();
        self.pending.end(number);
        core.report(epoch, answers.as_ref().map(|_| ()).map_err(|error| *error));
        if matches!(answers, Err(ServerError::ClusterDown)) {
            self.hub.tell(Event::Unserved);
        }
        Ok(answers?.into_iter().map(|value| Answer { value, at }).collect())
    }
}

async fn ask_node(
    connection: &mut MultiplexedConnection,
    batch: &Batch,
    commands: &[&Cmd],
) -> Result<Vec<Value>, ServerError> {
    if let ([number], false) = (&*batch.numbers, batch.way.asking) {
        return Ok(vec![link::ask(connection, commands[*number]).await?]);
    }
    let mut pipeline = Pipeline::with_capacity(batch.numbers.len());
    for number in &batch.numbers {
        if batch.way.asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(commands[*number].clone());
    }
    let answers = link::ask_all(connection, &pipeline).await?;
    let each = if batch.way.asking { 2 } else { 1 };
    Ok(answers.into_iter().skip(each - 1).step_by(each).collect())
}

/// Commands that go to the same node go together, in their order.
fn by_node(ways: Vec<(usize, Way)>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = vec![];
    for (number, way) in ways {
        let same = |batch: &&mut Batch| {
            batch.way.asking == way.asking && batch.way.place.address == way.place.address
        };
        match batches.iter_mut().find(same) {
            Some(batch) => batch.numbers.push(number),
            None => batches.push(Batch { way, numbers: vec![number] }),
        }
    }
    batches
}

/// The first key of a command of ours; `None` for those that have none.
fn key(command: &Cmd) -> Option<&[u8]> {
    let mut words = command.args_iter().map(|word| match word {
        Arg::Simple(bytes) => bytes,
        _ => &[],
    });
    match words.next()? {
        b"EVAL" | b"EVALSHA" => match words.nth(1)? {
            b"0" => None,
            _ => words.next(),
        },
        b"SCAN" | b"PING" | b"TIME" | b"PUBLISH" | b"SCRIPT" => None,
        _ => words.next(),
    }
}

fn only_reads(command: &Cmd) -> bool {
    let Some(Arg::Simple(name)) = command.args_iter().next() else { return false };
    matches!(name, b"GET" | b"PTTL" | b"GETRANGE" | b"PING" | b"TIME")
}

/// What each comes to, at the same time.
async fn all_of<T>(futures: impl Iterator<Item = impl Future<Output = T> + Send>) -> Vec<T> {
    let mut all: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, done) in all.iter_mut().zip(&mut done) {
            if done.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(words: &[&str]) -> Option<String> {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        key(&command).map(|key| String::from_utf8(key.to_vec()).unwrap())
    }

    #[test]
    fn a_read_does_not_overtake_the_change_before_it() {
        let parts = |names: &str| {
            let commands: Vec<_> = names.split(' ').map(redis::cmd).collect();
            let parts = commands.chunk_by(|one, next| only_reads(one) || !only_reads(next));
            parts.map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(parts("PTTL GETRANGE PTTL GETRANGE GET"), [5]);
        assert_eq!(parts("GET SET"), [2]);
        assert_eq!(parts("EVALSHA GET"), [1, 1]);
        assert_eq!(parts("GET UNLINK UNLINK GET GET SET"), [3, 3]);
    }

    #[test]
    fn the_key_of_a_command_is_its_first() {
        assert_eq!(key_of(&["GET", "k"]), Some("k".into()));
        assert_eq!(key_of(&["SET", "k", "v", "PX", "1"]), Some("k".into()));
        assert_eq!(key_of(&["EVALSHA", "hash", "2", "k", "l", "v"]), Some("k".into()));
        assert_eq!(key_of(&["EVAL", "text", "0", "v"]), None);
        assert_eq!(key_of(&["SCAN", "0"]), None);
        assert_eq!(key_of(&["GET"]), None);
    }
}
