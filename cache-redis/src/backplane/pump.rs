//! The task that takes what came, and tells those who listen.

use core::pin::pin;
use core::sync::atomic::Ordering::Relaxed;
use core::time::Duration;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::sleep;

use super::Hub;
use super::channel::{Channel, Event, Turn};
use super::inbox::{Arrival, Inbox};
use crate::driver::{Core, Subscription};

/// How often it looks whether somebody listens still.
const LOOK: Duration = Duration::from_millis(500);

/// Messages told before other tasks get their turn.
const ROW: usize = 256;

/// Begins to tell. The connection is there as long as the task is.
pub(super) fn start(hub: &Arc<Hub>, runtime: &Handle) {
    let inbox = Arc::new(Inbox::default());
    let arrivals = Arc::clone(&inbox);
    let subscription = Subscription {
        channel: hub.channel.clone(),
        hear: Box::new(move |epoch, message| arrivals.push(epoch, message)),
    };
    let core = Arc::new(hub.server.listening(subscription));
    let pump =
        Pump { hub: Arc::clone(hub), core, inbox, channel: Channel::default(), retired: false };
    pump.core.start(runtime);
    runtime.spawn(pump.run());
}

struct Pump {
    hub: Arc<Hub>,
    core: Arc<Core>,
    inbox: Arc<Inbox>,
    channel: Channel,
    retired: bool,
}

impl Pump {
    async fn run(mut self) {
        let mut moves = self.core.moves();
        loop {
            moves.borrow_and_update();
            let more = self.turn();
            if self.hub.retire() {
                self.retired = true;
                return;
            }
            if more {
                tokio::task::yield_now().await;
                continue;
            }
            first_of(moves.changed(), self.inbox.filled(), self.hub.joined.notified()).await;
        }
    }

    /// Tells what is to be told; whether there is more.
    fn turn(&mut self) -> bool {
        self.handle(Event::Gate(self.core.gate()));
        if self.channel.is_live() {
            self.hub.greet();
        }
        for _ in 0..ROW {
            match self.inbox.pop() {
                Some(Arrival::Message(epoch, bytes)) => self.handle(Event::Message(epoch, &bytes)),
                Some(Arrival::Overflow(epoch)) => self.handle(Event::Overflow(epoch)),
                None => return false,
            }
        }
        true
    }

    fn handle(&mut self, event: Event<'_>) {
        let before = self.channel.gaps();
        let turn = self.channel.handle(event);
        self.hub.gaps.fetch_add(self.channel.gaps() - before, Relaxed);
        if let Some(turn) = turn {
            self.hub.tell(&turn);
        }
    }
}

/// Also where the runtime ends and the task is dropped: then nobody is told any more, and must know.
impl Drop for Pump {
    fn drop(&mut self) {
        self.core.stop();
        if !self.retired {
            // Before another may begin, whose opening is not to be followed by this.
            self.hub.tell(&Turn::Closed);
            self.hub.ended();
        }
    }
}

/// Waits for any of them, or a while.
async fn first_of(
    moved: impl Future,
    filled: impl Future<Output = ()>,
    joined: impl Future<Output = ()>,
) {
    let (mut moved, mut filled, mut joined) = (pin!(moved), pin!(filled), pin!(joined));
    let mut over = pin!(sleep(LOOK));
    core::future::poll_fn(|context| {
        let ready = moved.as_mut().poll(context).is_ready()
            || filled.as_mut().poll(context).is_ready()
            || joined.as_mut().poll(context).is_ready()
            || over.as_mut().poll(context).is_ready();
        if ready { core::task::Poll::Ready(()) } else { core::task::Poll::Pending }
    })
    .await;
}
