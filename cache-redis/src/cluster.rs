//! A cluster: one supervised connection for each primary, and the task that keeps the map of slots.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::Poll;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Instant;
use redis::ConnectionInfo;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::address::Address;
use crate::clock::Micros;
use crate::dial::{Dial, Role};
use crate::driver::{self, Core, Spans, Subscription};
use crate::error::ServerError;
use crate::link;
use crate::random::{self, Spread};
use crate::supervisor;

mod redirect;
mod routed;
mod slot;
mod slots;
mod topology;

pub(crate) use routed::{Pending, Routed};
use slots::Slots;
use topology::{Action, Event, Gate, Topology};

/// What the driver and those who use the connections share.
pub(crate) struct Hub {
    /// All that is said of each node but its address.
    template: ConnectionInfo,
    spans: Spans,
    origin: tokio::time::Instant,
    inner: Mutex<Inner>,
    /// Tells that something happened: to the driver, to those who wait for the first map or for a first
    /// connection, and to those who watch.
    moved: Arc<watch::Sender<()>>,
}

struct Inner {
    machine: Topology,
    nodes: HashMap<Address, Known>,
    driver: Option<JoinHandle<()>>,
    /// Connections lost by nodes that were left.
    lost: u64,
    /// Whether nobody will use it any more.
    left: bool,
}

struct Known {
    core: Arc<Core>,
    /// Whether the machine was told that it is down.
    down: bool,
}

/// A node, and where it is.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: Address,
    pub(crate) core: Arc<Core>,
}

/// How many of the primaries are down, and why one of them is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) primaries: usize,
    pub(crate) down: usize,
    pub(crate) reason: Option<ServerError>,
}

type Work = Pin<Box<dyn Future<Output = Event> + Send>>;

impl Hub {
    /// `seeds` are some of the nodes.
    pub(crate) fn new(
        template: ConnectionInfo,
        seeds: Vec<Address>,
        spans: Spans,
        moved: Arc<watch::Sender<()>>,
    ) -> Self {
        let machine = Topology::new(seeds, spans.terms, random::seed());
        let inner = Inner { machine, nodes: HashMap::new(), driver: None, lost: 0, left: false };
        Self {
            template,
            spans,
            origin: tokio::time::Instant::now(),
            inner: Mutex::new(inner),
            moved,
        }
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first map of slots, and for nothing else.
    pub(crate) async fn ready(self: &Arc<Self>) -> Result<(), ServerError> {
        if self.start()? == Gate::Open {
            return Ok(());
        }
        let mut moved = self.moved.subscribe();
        loop {
            match self.start()? {
                Gate::Open => return Ok(()),
                Gate::Shut(reason) => return Err(reason),
                Gate::Starting => moved.changed().await.map_err(|_| ServerError::Down)?,
            }
        }
    }

    /// Sees to it that there is a driver.
    fn start(self: &Arc<Self>) -> Result<Gate, ServerError> {
        let runtime = Handle::try_current().map_err(|_| ServerError::NoRuntime)?;
        let mut inner = self.lock();
        if inner.left {
            return Err(ServerError::Down);
        }
        if inner.driver.as_ref().is_none_or(JoinHandle::is_finished) {
            inner.machine.restart();
            inner.driver = Some(runtime.spawn(drive(Arc::clone(self))));
        }
        Ok(inner.machine.gate())
    }

    /// The primary of a slot.
    pub(crate) fn owner(&self, slot: u16) -> Result<Place, ServerError> {
        let mut inner = self.lock();
        if let Some(address) = inner.machine.owner(slot).cloned() {
            return Ok(self.place(&mut inner, address));
        }
        drop(inner);
        self.tell(Event::Unserved);
        Err(ServerError::ClusterDown)
    }

    /// The time of the node that has this name, as far as it is known without asking.
    pub(crate) fn time_at(&self, name: &[u8]) -> Option<Micros> {
        let inner = self.lock();
        let owner = inner.machine.owner(slot::of(name))?;
        inner.nodes.get(owner)?.core.known_time()
    }

    /// All primaries.
    pub(crate) fn primaries(&self) -> Vec<Place> {
        let mut inner = self.lock();
        let primaries = inner.machine.primaries().to_vec();
        primaries.into_iter().map(|address| self.place(&mut inner, address)).collect()
    }

    /// Another connection to any of the nodes, which listens.
    pub(crate) fn listening(
        self: &Arc<Self>,
        subscription: Subscription,
        moved: Arc<watch::Sender<()>>,
    ) -> Core {
        Core::new(Dial::Any(Arc::clone(self)), self.spans, moved).subscribed(subscription)
    }

    /// The way to any of them.
    pub(crate) async fn somewhere(self: &Arc<Self>) -> Result<ConnectionInfo, ServerError> {
        self.ready().await?;
        self.any().map(|place| self.info(&place.address))
    }

    /// A primary that is not known to be down, if there is one.
    fn any(&self) -> Result<Place, ServerError> {
        let all = self.primaries();
        let is_up = |place: &&Place| !matches!(place.core.gate(), supervisor::Gate::Shut(_));
        let up: Vec<_> = all.iter().filter(is_up).cloned().collect();
        let mut some = if up.is_empty() { all } else { up };
        if some.is_empty() {
            return Err(ServerError::ClusterDown);
        }
        let number = Spread::new(random::seed()).below(some.len() as u64);
        Ok(some.swap_remove(number as usize))
    }

    /// The node that a redirection names.
    pub(crate) fn redirected(&self, event: Event, to: Address) -> Place {
        self.tell(event);
        self.place(&mut self.lock(), to)
    }

    fn place(&self, inner: &mut Inner, address: Address) -> Place {
        let known = inner.nodes.entry(address.clone()).or_insert_with(|| {
            let core = Core::new(self.dial(&address), self.spans, Arc::clone(&self.moved));
            Known { core: Arc::new(core), down: false }
        });
        Place { address, core: Arc::clone(&known.core) }
    }

    fn dial(&self, address: &Address) -> Dial {
        Dial::To(Arc::new(self.info(address)), Role::Node)
    }

    fn info(&self, address: &Address) -> ConnectionInfo {
        self.template.clone().set_addr(address.like(self.template.addr()))
    }

    /// Tells the machine, and its driver.
    pub(crate) fn tell(&self, event: Event) {
        let now = self.now();
        self.lock().machine.handle(event, now);
        self.moved.send_replace(());
    }

    /// How it is: `None` before the first map.
    pub(crate) fn health(&self) -> Result<Option<Health>, ServerError> {
        let inner = self.lock();
        match inner.machine.gate() {
            Gate::Starting => return Ok(None),
            Gate::Shut(reason) => return Err(reason),
            Gate::Open => {}
        }
        let mut health = Health::default();
        for address in inner.machine.primaries() {
            health.primaries += 1;
            if let Some(known) = inner.nodes.get(address)
                && let supervisor::Gate::Shut(reason) = known.core.gate()
            {
                health.down += 1;
                health.reason = Some(reason);
            }
        }
        Ok(Some(health))
    }

    /// How often a connection was given up.
    pub(crate) fn lost(&self) -> u64 {
        let inner = self.lock();
        inner.lost + inner.nodes.values().map(|known| known.core.lost()).sum::<u64>()
    }

    /// Ends all that runs.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.left = true;
        if let Some(driver) = inner.driver.take() {
            driver.abort();
        }
        inner.nodes.values().for_each(|known| known.core.stop());
    }

    /// Asks a node for the map, on a connection of its own: so it is no matter whether that node is in use.
    async fn ask(self: Arc<Self>, address: Address) -> Event {
        let told = timeout(self.spans.connect, self.map_of(&address)).await;
        match told.unwrap_or(Err(ServerError::TimedOut)) {
            Ok(slots) => Event::Mapped(slots),
            Err(ServerError::TimedOut | ServerError::Broken) => Event::NotMapped(ServerError::Down),
            Err(reason) => Event::NotMapped(reason),
        }
    }

    async fn map_of(&self, address: &Address) -> Result<Slots, ServerError> {
        let (mut connection, _) = self.dial(address).connect(|_| Ok(())).await?;
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        Slots::read(link::ask(&mut connection, &question).await?, address)
    }

    /// Does what the machine wants now, but for what takes time; when it wants to be asked again.
    fn step(self: &Arc<Self>, under_way: &mut Option<Work>) -> Option<Instant> {
        let now = self.now();
        let mut inner = self.lock();
        inner.observe(now);
        let nodes: Vec<_> = inner.machine.nodes().cloned().collect();
        for address in nodes {
            // Connected before it is asked, so that its heartbeat tells at once when it hangs.
            let _ = self.place(&mut inner, address).core.try_open();
        }
        while let Some(action) = inner.machine.poll(now) {
            match action {
                Action::Ask(address) => *under_way = Some(Box::pin(Arc::clone(self).ask(address))),
                Action::Leave(address) => inner.leave(&address),
            }
        }
        inner.machine.poll_at()
    }
}

impl Inner {
    /// Tells the machine which nodes came up or went down.
    fn observe(&mut self, now: Instant) {
        for (address, known) in &mut self.nodes {
            let down = matches!(known.core.gate(), supervisor::Gate::Shut(_));
            if down != known.down {
                known.down = down;
                let event = if down { Event::Down } else { Event::Up };
                self.machine.handle(event(address.clone()), now);
            }
        }
    }

    fn leave(&mut self, address: &Address) {
        if let Some(known) = self.nodes.remove(address) {
            let open = matches!(known.core.gate(), supervisor::Gate::Open(_));
            known.core.stop();
            self.lost += known.core.lost() + u64::from(open);
        }
    }
}

/// Does what the machine wants, one question at a time.
async fn drive(hub: Arc<Hub>) {
    let mut news = hub.moved.subscribe();
    let mut under_way: Option<Work> = None;
    loop {
        let at = hub.step(&mut under_way);
        let left = at.map(|at| at.saturating_since(hub.now()));
        let news = async { drop(news.changed().await) };
        let work = poll_fn(|context| match &mut under_way {
            Some(work) => work.as_mut().poll(context),
            None => Poll::Pending,
        });
        if let Some(event) = driver::until(work, news, left).await {
            under_way = None;
            hub.tell(event);
        }
    }
}
