//! Values loaded in the background, on virtual time.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use advanced_caching::ManualTime;
use advanced_caching::sync::{Background, BackgroundBuilder, Scheduler, Status};

use crate::world::Origin;

mod failures;
mod readers;
mod shutdown;
mod ticks;

/// A scheduler on virtual time.
struct World {
    time: ManualTime,
    scheduler: Scheduler,
}

/// The origin of a job: each run says that it has begun and waits for its answer.
struct Runs {
    begun: Receiver<Sender<Result<u32, Origin>>>,
}

impl World {
    fn new() -> Self {
        let time = ManualTime::new();
        Self { scheduler: Scheduler::with_time(time.clone()), time }
    }

    fn job(&self, name: &str, every: Duration) -> BackgroundBuilder {
        Background::builder(name).every(every).scheduler(&self.scheduler)
    }

    fn advance<T>(&self, span: Duration, job: &Background<T>) -> Status {
        self.time.advance(span);
        self.settled(job)
    }

    /// Waits until a job has done what is due, and returns how it stands.
    fn settled<T>(&self, job: &Background<T>) -> Status {
        loop {
            let status = job.status().expect("the job was not stopped");
            if status.next_run.is_some_and(|next| !next.is_zero()) {
                return status;
            }
            thread::yield_now();
        }
    }
}

/// A loader that is answered by the test.
fn asks_the_test() -> (impl Fn() -> Result<u32, Origin> + Send + Sync, Runs) {
    let (begun, runs) = channel();
    let begun = Mutex::new(begun);
    let loader = move || {
        let (origin, answer) = channel();
        let told = begun.lock().unwrap().send(origin);
        // A test that is over answers no more.
        told.ok().and_then(|()| answer.recv().ok()).unwrap_or(Err(Origin("the test is over")))
    };
    (loader, Runs { begun: runs })
}

impl Runs {
    /// Waits for the next run to begin.
    fn next(&self) -> Sender<Result<u32, Origin>> {
        self.begun.recv().expect("the job was dropped")
    }
}

/// A loader that counts its runs and answers with their number.
fn counts() -> (impl Fn() -> Result<u32, Origin> + Send + Sync, Arc<Mutex<u32>>) {
    let runs = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&runs);
    let loader = move || {
        let mut runs = counter.lock().unwrap();
        *runs += 1;
        Ok(*runs)
    };
    (loader, runs)
}

/// The texts that `on_error` was told.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<Vec<String>>>);

impl Texts {
    fn note(&self, error: &dyn fmt::Display) {
        self.0.lock().unwrap().push(error.to_string());
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
