//! The runtime of those who have none: one thread, on which connections live and timers run.
//!
//! Callers poll their operations on their own threads, as if they were in that runtime, and park. So an
//! operation may borrow what it is given, and a caller on another runtime's worker is not in the way of its
//! own: tokio's `block_on` would panic there.

use core::future::pending;
use core::pin::pin;
use core::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use core::task::{Context, Poll, Waker};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Wake;
use std::thread::{self, Thread, ThreadId};

use cache_core::store::StoreError;
use tokio::runtime::{Builder, Handle};
use tokio::task::unconstrained;

struct Home {
    runtime: Handle,
    thread: ThreadId,
}

static HOME: OnceLock<Home> = OnceLock::new();
static BEGINNING: Mutex<()> = Mutex::new(());

/// What the operation came to.
///
/// # Errors
/// It cannot be waited for here.
pub(super) fn wait<T>(operation: impl Future<Output = T>) -> Result<T, StoreError> {
    let gone = Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed());
    if gone {
        return Err(StoreError::unavailable("the caller's thread is ending"));
    }
    let home = home().map_err(StoreError::unavailable_by)?;
    if home.thread == thread::current().id() {
        return Err(StoreError::unavailable("the caller is who would have to answer"));
    }
    let _inside = home.runtime.enter();
    Ok(park_on(operation))
}

fn home() -> io::Result<&'static Home> {
    if let Some(home) = HOME.get() {
        return Ok(home);
    }
    let _one = BEGINNING.lock().unwrap_or_else(PoisonError::into_inner);
    match HOME.get() {
        Some(home) => Ok(home),
        None => begin().map(|home| HOME.get_or_init(|| home)),
    }
}

fn begin() -> io::Result<Home> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = thread::Builder::new().name("cache-redis".into());
    let thread = thread.spawn(move || runtime.block_on(pending::<()>()))?.thread().id();
    Ok(Home { runtime: handle, thread })
}

/// A thread that sleeps until it is woken.
struct Sleeper {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Release);
        self.thread.unpark();
    }
}

fn park_on<T>(operation: impl Future<Output = T>) -> T {
    // A worker's task has a budget, which only grows again when the task has returned.
    let mut operation = pin!(unconstrained(operation));
    let sleeper = Arc::new(Sleeper { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&sleeper));
    loop {
        if let Poll::Ready(answer) = operation.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answer;
        }
        while !sleeper.woken.swap(false, AcqRel) {
            thread::park();
        }
    }
}
