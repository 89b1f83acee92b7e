//! The supervisor's hands: makes connections, asks whether they live, and lends them to operations.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cache_core::Instant;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{Cmd, Pipeline, PushInfo, PushKind, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::clock::{Micros, Reading, ServerClock};
use crate::dial::Dial;
use crate::error::ServerError;
use crate::link;
use crate::random;
use crate::reply;
use crate::supervisor::{Action, Epoch, Event, Gate, Supervisor, Terms};
use crate::writes::{self, Writes};

/// A channel that every connection subscribes to, and who gets what is said there.
pub(crate) struct Subscription {
    pub(crate) channel: Vec<u8>,
    /// What the names begin with whose changes the server is to tell too.
    pub(crate) tracked: Option<Vec<u8>>,
    /// Called in the order in which things come, with the connection's number.
    pub(crate) hear: Box<dyn Fn(Epoch, Heard) + Send + Sync>,
}

/// What comes to who listens.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message on the channel.
    Said(Vec<u8>),
    /// Names that somebody has changed within one turn of the server: after all messages of that turn, and
    /// before those of later ones.
    Touched(Vec<Vec<u8>>),
    /// The server was emptied, or says something that cannot be read.
    Emptied,
    /// A heartbeat was answered, where names are told. Comes later than what the server sent before the answer.
    Alive,
}

/// What the driver and those who use its connections share.
pub(crate) struct Core {
    dial: Dial,
    spans: Spans,
    subscription: Option<Subscription>,
    origin: tokio::time::Instant,
    clock: ServerClock,
    inner: Mutex<Inner>,
    /// Whether something failed since the last answer, which is then worth telling.
    troubled: AtomicBool,
    /// Wakes the driver.
    told: Notify,
    /// Wakes those who wait for the first connection, or watch.
    moved: Arc<watch::Sender<()>>,
    writes: Writes,
}

struct Inner {
    machine: Supervisor,
    connection: Option<MultiplexedConnection>,
    driver: Option<JoinHandle<()>>,
    /// Whether nobody will use it any more.
    left: bool,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub(crate) terms: Terms,
    /// To make a connection.
    pub(crate) connect: Duration,
    /// An operation, and the answer to a heartbeat.
    pub(crate) answer: Duration,
}

impl Inner {
    fn is_driven(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| !driver.is_finished())
    }
}

type Work = Pin<Box<dyn Future<Output = (Event, Option<MultiplexedConnection>)> + Send>>;

impl Core {
    pub(crate) fn new(dial: Dial, spans: Spans, moved: Arc<watch::Sender<()>>) -> Self {
        let machine = Supervisor::new(spans.terms, random::seed());
        let origin = tokio::time::Instant::now();
        Self {
            dial,
            spans,
            subscription: None,
            origin,
            clock: ServerClock::new(origin),
            inner: Mutex::new(Inner { machine, connection: None, driver: None, left: false }),
            troubled: AtomicBool::new(false),
            told: Notify::new(),
            moved,
            writes: Writes::new(spans.terms),
        }
    }

    /// Another connection to the same server, by the same terms, which listens. It is open from when the
    /// server has confirmed that it does.
    pub(crate) fn listening(
        &self,
        subscription: Subscription,
        moved: Arc<watch::Sender<()>>,
    ) -> Self {
        Self::new(self.dial.clone(), self.spans, moved).subscribed(subscription)
    }

    /// One that listens.
    pub(crate) fn subscribed(self, subscription: Subscription) -> Self {
        Self { subscription: Some(subscription), ..self }
    }

    /// Starts the driver, unless it runs.
    pub(crate) fn start(self: &Arc<Self>, runtime: &Handle) {
        let mut inner = self.lock();
        if !inner.is_driven() {
            self.drive(&mut inner, runtime);
        }
    }

    /// With the first operation, or the first since the runtime of those before has ended.
    fn drive(self: &Arc<Self>, inner: &mut Inner, runtime: &Handle) {
        inner.machine.restart();
        inner.connection = None;
        inner.driver = Some(runtime.spawn(drive(Arc::clone(self))));
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's time, at latest.
    pub(crate) fn server_time(&self) -> Micros {
        self.clock.now()
    }

    /// The same; `None` before the first connection.
    pub(crate) fn known_time(&self) -> Option<Micros> {
        self.clock.known()
    }

    pub(crate) fn gate(&self) -> Gate {
        self.lock().machine.gate()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().machine.lost()
    }

    /// The connection, at once; only before the first one was tried, when that has been.
    pub(crate) async fn open(
        self: &Arc<Self>,
    ) -> Result<(Epoch, MultiplexedConnection), ServerError> {
        if let Some(open) = self.try_open()? {
            return Ok(open);
        }
        let mut moved = self.moved.subscribe();
        loop {
            match self.try_open()? {
                Some(open) => return Ok(open),
                None => moved.changed().await.map_err(|_| ServerError::Down)?,
            }
        }
    }

    /// As [`open`](Self::open), but never waits: `None` before the first connection was tried.
    pub(crate) fn try_open(
        self: &Arc<Self>,
    ) -> Result<Option<(Epoch, MultiplexedConnection)>, ServerError> {
        let mut inner = self.lock();
        if inner.left {
            return Err(ServerError::Down);
        }
        if !inner.is_driven() {
            let runtime = Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
            self.drive(&mut inner, &runtime);
        }
        match (inner.machine.gate(), &inner.connection) {
            (Gate::Open(epoch), Some(connection)) => Ok(Some((epoch, connection.clone()))),
            (Gate::Shut(reason), _) => Err(reason),
            (Gate::Starting, _) => Ok(None),
            (Gate::Open(_), None) => Err(ServerError::Down),
        }
    }

    /// What commands come to that are sent to this server, unless they write and it has no memory.
    pub(crate) async fn send<'a, T>(
        &self,
        mut commands: impl Iterator<Item = &'a Cmd>,
        sending: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, ServerError> {
        if !commands.any(writes::is_write) {
            return sending.await;
        }
        self.writes.admit(self.now())?;
        let answer = sending.await;
        self.writes.note(answer.as_ref().err().copied(), self.now());
        answer
    }

    /// Tells how an operation ended.
    pub(crate) fn report(&self, epoch: Epoch, outcome: Result<(), ServerError>) {
        match outcome {
            Ok(()) if self.troubled.load(Relaxed) => {
                self.troubled.store(false, Relaxed);
                self.tell(Event::Answered(epoch), None);
            }
            Ok(()) => {}
            Err(error) => {
                self.troubled.store(true, Relaxed);
                self.tell(Event::Failed(epoch, error), None);
            }
        }
    }

    /// Tells the supervisor, and lets go of a connection that it gave up. A connection that was made is
    /// at hand before anybody sees that there is one.
    fn tell(&self, event: Event, made: Option<MultiplexedConnection>) {
        let now = self.now();
        let given_up = {
            let mut inner = self.lock();
            let before = inner.machine.gate();
            inner.machine.handle(event, now);
            match inner.machine.gate() {
                gate if gate == before => return,
                Gate::Open(_) => std::mem::replace(&mut inner.connection, made),
                _ => inner.connection.take(),
            }
        };
        drop(given_up);
        self.moved.send_replace(());
        self.told.notify_one();
    }

    /// Ends the driver.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.left = true;
        if let Some(driver) = inner.driver.take() {
            driver.abort();
        }
    }

    async fn connect(self: Arc<Self>, epoch: Epoch) -> (Event, Option<MultiplexedConnection>) {
        let made = timeout(self.spans.connect, self.greet(epoch)).await;
        match made.unwrap_or(Err(ServerError::Down)) {
            Ok((connection, reading)) => {
                self.clock.set(reading);
                (Event::Connected(epoch), Some(connection))
            }
            Err(ServerError::TimedOut | ServerError::Broken) => {
                (Event::NotConnected(ServerError::Down), None)
            }
            Err(error) => (Event::NotConnected(error), None),
        }
    }

    /// A connection whose server has answered, and which tells when it ends.
    async fn greet(
        self: &Arc<Self>,
        epoch: Epoch,
    ) -> Result<(MultiplexedConnection, Reading), ServerError> {
        let core = Arc::downgrade(self);
        let connecting = self.dial.connect(move |push: PushInfo| pushed(&core, epoch, push));
        let (mut connection, reading) = connecting.await?;
        if let Some(Subscription { channel, tracked, .. }) = &self.subscription {
            // First, so that no message is heard whose change is not told.
            if let Some(names) = tracked {
                track(&mut connection, names).await?;
            }
            let confirmed = connection.subscribe(channel.as_slice()).await;
            confirmed.map_err(|error| ServerError::of(&error))?;
        }
        Ok((connection, reading))
    }

    async fn heartbeat(
        self: Arc<Self>,
        epoch: Epoch,
        connection: MultiplexedConnection,
    ) -> (Event, Option<MultiplexedConnection>) {
        let event = match timeout(self.spans.answer, beat(connection)).await {
            Ok(Err(error)) if error.is_of_the_connection() => Event::Failed(epoch, error),
            Ok(Err(_)) => {
                self.mark(epoch);
                Event::Alive(epoch)
            }
            Ok(Ok(reading)) => {
                self.clock.correct(reading);
                self.mark(epoch);
                Event::Alive(epoch)
            }
            Err(_) => Event::Missed(epoch),
        };
        (event, None)
    }

    /// Tells who hears of names that a heartbeat was answered.
    fn mark(&self, epoch: Epoch) {
        if let Some(Subscription { tracked: Some(_), hear, .. }) = &self.subscription {
            hear(epoch, Heard::Alive);
        }
    }

    /// Begins what the supervisor wants done; when it wants to be asked again.
    fn next(self: &Arc<Self>, under_way: &mut UnderWay) -> Option<Instant> {
        let mut inner = self.lock();
        match inner.machine.poll(self.now()) {
            Some(Action::Connect(epoch)) => {
                under_way.heartbeat = None; // of a connection that was given up
                under_way.connections.push(Box::pin(Arc::clone(self).connect(epoch)));
            }
            Some(Action::Heartbeat(epoch)) => {
                let connection = inner.connection.clone();
                under_way.heartbeat = connection.map(|connection| {
                    Box::pin(Arc::clone(self).heartbeat(epoch, connection)) as Work
                });
            }
            None => {}
        }
        inner.machine.poll_at()
    }
}

/// What the supervisor wanted done, and is not done yet.
#[derive(Default)]
struct UnderWay {
    heartbeat: Option<Work>,
    /// Those that are being made; the supervisor says how many.
    connections: Vec<Work>,
}

impl UnderWay {
    /// What one of them came to.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(Event, Option<MultiplexedConnection>)> {
        if let Some(work) = &mut self.heartbeat
            && let Poll::Ready(done) = work.as_mut().poll(context)
        {
            self.heartbeat = None;
            return Poll::Ready(done);
        }
        for n in 0..self.connections.len() {
            let Poll::Ready(done) = self.connections[n].as_mut().poll(context) else { continue };
            drop(self.connections.swap_remove(n));
            if matches!(done.0, Event::Connected(_)) {
                self.connections.clear(); // one is enough
            }
            return Poll::Ready(done);
        }
        Poll::Pending
    }
}

/// What the server says without being asked. Runs in the connection's task.
fn pushed(core: &Weak<Core>, epoch: Epoch, push: PushInfo) -> Result<(), SendError> {
    let Some(core) = core.upgrade() else { return Ok(()) };
    match (push.kind, &core.subscription) {
        (PushKind::Disconnection | PushKind::Unsubscribe, _) => {
            core.report(epoch, Err(ServerError::Broken));
        }
        (PushKind::Message, Some(subscription)) => {
            // The channel, then what was said.
            let said = push.data.into_iter().nth(1).map(reply::bytes);
            (subscription.hear)(epoch, Heard::Said(said.and_then(Result::ok).unwrap_or_default()));
        }
        (PushKind::Invalidate, Some(subscription)) => {
            let names = push.data.into_iter().next().and_then(reply::names);
            (subscription.hear)(epoch, names.map_or(Heard::Emptied, Heard::Touched));
        }
        _ => {}
    }
    Ok(())
}

/// Has the server tell of every change of names that begin like this.
async fn track(connection: &mut MultiplexedConnection, names: &[u8]) -> Result<(), ServerError> {
    let mut track = redis::cmd("CLIENT");
    track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(names);
    match link::ask(connection, &track).await {
        // It has no such command, or not for this user.
        Ok(Value::ServerError(_)) | Err(ServerError::Denied) => Err(ServerError::NoTracking),
        answer => answer.map(drop),
    }
}

/// A heartbeat, which asks for the time as well.
async fn beat(mut connection: MultiplexedConnection) -> Result<Reading, ServerError> {
    let mut beat = Pipeline::with_capacity(2);
    beat.cmd("PING").cmd("TIME");
    let asked = tokio::time::Instant::now();
    let answers = link::ask_all(&mut connection, &beat).await?;
    let answered = tokio::time::Instant::now();
    let Ok([ping, time]) = <[Value; 2]>::try_from(answers) else {
        return Err(ServerError::Protocol);
    };
    reply::value(ping)?;
    Ok(Reading { asked, answered, told: reply::time(time)? })
}

/// Does what the supervisor wants.
async fn drive(core: Arc<Core>) {
    let mut under_way = UnderWay::default();
    loop {
        let at = core.next(&mut under_way);
        let left = at.map(|at| at.saturating_since(core.now()));
        let work = poll_fn(|context| under_way.poll(context));
        if let Some((event, made)) = until(work, core.told.notified(), left).await {
            core.tell(event, made);
        }
    }
}

/// What the work came to, unless there is news or the time is over before.
pub(crate) async fn until<T>(
    work: impl Future<Output = T>,
    news: impl Future<Output = ()>,
    left: Option<Duration>,
) -> Option<T> {
    let (mut work, mut news) = (pin!(work), pin!(news));
    let mut over = pin!(async {
        match left {
            Some(left) => sleep(left).await,
            None => core::future::pending().await,
        }
    });
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        let woken =
            news.as_mut().poll(context).is_ready() || over.as_mut().poll(context).is_ready();
        if woken { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
