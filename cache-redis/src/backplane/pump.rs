//! The task that takes what came, and tells those who listen.

use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::Ordering::Relaxed;
use core::task::Poll;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Hub;
use super::channel::{Channel, Event, Turn};
use super::inbox::{Arrival, Inbox, What};
use super::lines::{LineId, Lines};
use crate::Connection;
#[cfg(feature = "cluster")]
use crate::address::Address;
#[cfg(feature = "cluster")]
use crate::cluster::Place;
use crate::driver::{Core, Heard, Subscription};
use crate::supervisor::Gate;

/// How often it looks whether somebody listens still.
const LOOK: Duration = Duration::from_millis(500);

/// Messages told before other tasks get their turn.
const ROW: usize = 256;

/// Begins to tell. The connections are there as long as the task is.
pub(super) fn start(hub: &Arc<Hub>, runtime: &Handle) {
    let mut pump = Pump {
        hub: Arc::clone(hub),
        runtime: runtime.clone(),
        inbox: Arc::default(),
        moved: Arc::default(),
        lines: Lines::default(),
        posts: BTreeMap::new(),
        lines_made: 0,
        retired: false,
    };
    pump.listen();
    runtime.spawn(pump.run());
}

struct Pump {
    hub: Arc<Hub>,
    runtime: Handle,
    inbox: Arc<Inbox>,
    /// Rings when a connection may have changed.
    moved: Arc<watch::Sender<()>>,
    lines: Lines,
    posts: BTreeMap<LineId, Post>,
    lines_made: LineId,
    retired: bool,
}

/// A connection that listens.
struct Post {
    core: Arc<Core>,
    /// Of the primary of a cluster whose names it tells.
    #[cfg(feature = "cluster")]
    primary: Option<Address>,
}

impl Pump {
    async fn run(mut self) {
        let mut moves = self.moved.subscribe();
        let mut server_moves = self.hub.server.moves();
        loop {
            moves.borrow_and_update();
            server_moves.borrow_and_update();
            let more = self.turn();
            if self.hub.retire() {
                self.retired = true;
                return;
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            let moved = first_of(moves.changed(), server_moves.changed());
            let news = first_of(self.inbox.filled(), self.hub.joined.notified());
            first_of(first_of(moved, news), sleep(LOOK)).await;
        }
    }

    /// Tells what is to be told; whether there is more.
    fn turn(&mut self) -> bool {
        #[cfg(feature = "cluster")]
        self.follow();
        let gates: Vec<_> =
            self.posts.iter().map(|(line, post)| (*line, post.core.gate())).collect();
        for (line, gate) in &gates {
            self.handle(*line, Event::Gate(*gate));
        }
        self.hub.set_connection(self.connection(&gates));
        if self.lines.is_open() {
            self.hub.greet();
        }
        for _ in 0..ROW {
            let Some(Arrival { line, epoch, what }) = self.inbox.pop() else { return false };
            match what {
                What::Message(bytes) => self.handle(line, Event::Message(epoch, &bytes)),
                What::Touched(key) => self.handle(line, Event::Touched(epoch, &key)),
                What::Turned => self.handle(line, Event::Turned(epoch)),
                What::Emptied => self.handle(line, Event::Emptied(epoch)),
                What::Alive => self.handle(line, Event::Alive(epoch)),
                What::Overflow => self.handle(line, Event::Overflow(epoch)),
            }
        }
        true
    }

    fn connection(&self, gates: &[(LineId, Gate)]) -> Connection {
        let reason = gates.iter().find_map(|(_, gate)| match gate {
            Gate::Shut(reason) => Some(*reason),
            _ => None,
        });
        match reason {
            Some(reason) => Connection::Down(reason),
            None if self.lines.is_open() => Connection::Up,
            None => Connection::Starting,
        }
    }

    fn handle(&mut self, line: LineId, event: Event<'_>) {
        let before = self.lines.gaps(line);
        let turn = self.lines.handle(line, event);
        self.hub.gaps.fetch_add(self.lines.gaps(line) - before, Relaxed);
        match (&self.hub.tracked, event) {
            (Some(tracked), Event::Touched(..)) if turn.is_some() => tracked.count_change(),
            (Some(tracked), Event::Emptied(_)) => tracked.count_emptied(),
            _ => {}
        }
        self.tell(turn);
    }

    fn tell(&self, turn: Option<Turn<'_>>) {
        if let Some(turn) = turn {
            self.hub.tell(&turn);
        }
    }

    /// Makes the line by which messages come: that of one server tells changed names too.
    fn listen(&mut self) {
        let tracks = self.hub.tracked.is_some() && !self.is_in_cluster();
        let (line, subscription) = self.next_line(tracks);
        let core = self.hub.server.listening(subscription, Arc::clone(&self.moved));
        let channel = if tracks { Channel::tracking() } else { Channel::default() };
        let turn = self.lines.join(line, channel, true);
        let post = Post {
            core: Arc::new(core),
            #[cfg(feature = "cluster")]
            primary: None,
        };
        self.post(line, post);
        self.tell(turn);
    }

    fn post(&mut self, line: LineId, post: Post) {
        post.core.start(&self.runtime);
        self.posts.insert(line, post);
    }

    fn next_line(&mut self, tracks: bool) -> (LineId, Subscription) {
        let line = self.lines_made;
        self.lines_made += 1;
        let (inbox, tracked) = (Arc::clone(&self.inbox), self.hub.tracked.clone());
        let tracked = tracked.filter(|_| tracks);
        let subscription = Subscription {
            channel: self.hub.channel.clone(),
            tracked: tracked.as_ref().map(|tracked| tracked.prefix()),
            hear: Box::new(move |epoch, heard| {
                let heard = match (heard, &tracked) {
                    (Heard::Touched(names), Some(tracked)) => Heard::Touched(tracked.keys(&names)),
                    (heard, _) => heard,
                };
                inbox.push(line, epoch, heard);
            }),
        };
        (line, subscription)
    }

    #[cfg(not(feature = "cluster"))]
    const fn is_in_cluster(&self) -> bool {
        false
    }
}

/// In a cluster, a line to each primary where changed names are told.
#[cfg(feature = "cluster")]
impl Pump {
    fn is_in_cluster(&self) -> bool {
        self.hub.server.primaries().is_some()
    }

    /// Has as many lines as there are primaries now.
    fn follow(&mut self) {
        if self.hub.tracked.is_none() {
            return;
        }
        let Some(primaries) = self.hub.server.primaries() else { return };
        let turn = self.lines.set_partial(primaries.is_empty());
        self.tell(turn);
        let known = |address: &Address| primaries.iter().any(|place| place.address == *address);
        let over = |post: &Post| post.primary.as_ref().is_some_and(|address| !known(address));
        let over = self.posts.iter().filter(|(_, post)| over(post)).map(|(line, _)| *line);
        let over: Vec<_> = over.collect();
        for line in over {
            self.leave(line);
        }
        for place in primaries {
            let there = |post: &Post| post.primary.as_ref() == Some(&place.address);
            if !self.posts.values().any(there) {
                self.track(&place);
            }
        }
    }

    fn track(&mut self, place: &Place) {
        let (line, subscription) = self.next_line(true);
        let core = place.core.listening(subscription, Arc::clone(&self.moved));
        let turn = self.lines.join(line, Channel::tracking(), false);
        let primary = Some(place.address.clone());
        self.post(line, Post { core: Arc::new(core), primary });
        self.tell(turn);
    }

    fn leave(&mut self, line: LineId) {
        if let Some(post) = self.posts.remove(&line) {
            post.core.stop();
        }
        let turn = self.lines.leave(line);
        self.tell(turn);
    }
}

/// Also where the runtime ends and the task is dropped: then nobody is told any more, and must know.
impl Drop for Pump {
    fn drop(&mut self) {
        self.posts.values().for_each(|post| post.core.stop());
        if !self.retired {
            // Before another may begin, whose opening is not to be followed by this.
            self.hub.tell(&Turn::Closed);
            self.hub.ended();
        }
    }
}

/// Waits for one of them.
async fn first_of(one: impl Future, other: impl Future) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        let ready =
            one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
