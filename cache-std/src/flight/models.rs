//! The end of a flight and those who wait for it, under a scheduler that tries many interleavings:
//! each rule holds as it is written, and a variant without it is caught.

use core::time::Duration;

use shuttle::thread;

use super::*;

/// Interleavings that are tried for each model.
const RUNS: usize = 3_000;

type Ends = fn(&Flight<u8>, End<u8>);

fn value(n: u8) -> End<u8> {
    let lifetime = Lifetime::fresh_for(Duration::ZERO);
    End::Value(n, Arrival { source: Source::Origin, lifetime, degraded: false, superseded: false })
}

fn told(flight: &Flight<u8>) -> u8 {
    match flight.end() {
        Some(End::Value(n, _)) => n,
        Some(End::Abandoned) => 0,
        _ => panic!("woken without an end"),
    }
}

/// Two wait for a flight that two threads want to end.
fn flight(wait: fn(&Flight<u8>), finish: Ends) {
    let model = move || {
        let flight = Flight::new();
        let follow = |_| {
            let flight = Arc::clone(&flight);
            thread::spawn(move || {
                wait(&flight);
                told(&flight)
            })
        };
        let followers = [1, 2].map(follow);
        let leader = Arc::clone(&flight);
        let leader = thread::spawn(move || finish(&leader, value(1)));
        finish(&flight, End::Abandoned);
        leader.join().unwrap();
        let [one, other] = followers.map(|follower| follower.join().unwrap());
        assert_eq!(one, other, "all are told the same");
        assert!(flight.lock().waiters.is_empty());
    };
    shuttle::check_random(model, RUNS);
}

fn wait(flight: &Flight<u8>) {
    let signal = Arc::new(Signal::new());
    if flight.join(&signal) == Joined::Waits {
        signal.block();
    }
}

fn finish(flight: &Flight<u8>, end: End<u8>) {
    flight.finish(end);
}

/// Rule 1: who joins looks for the end under the lock under which it comes.
#[test]
fn who_joins_while_the_flight_ends_is_told() {
    flight(wait, finish);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_looks_for_the_end_before_joining_waits_for_ever() {
    let careless = |flight: &Flight<u8>| {
        if flight.end().is_none() {
            let signal = Arc::new(Signal::new());
            flight.lock().waiters.push(Arc::clone(&signal));
            signal.block();
        }
    };
    flight(careless, finish);
}

/// Rule 2: the first end stays.
#[test]
#[should_panic(expected = "all are told the same")]
fn with_a_second_end_two_are_told_different_things() {
    let again: Ends = |flight, end| {
        let mut state = flight.lock();
        state.end = Some(end);
        let waiters = core::mem::take(&mut state.waiters);
        drop(state);
        waiters.iter().for_each(|signal| signal.set());
    };
    flight(wait, again);
}

/// Ends its flight when it is run, and gives it up when it is dropped.
struct Load(Arc<Flight<u8>>);

impl Load {
    fn run(&self) {
        self.0.finish(value(1));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.finish(End::Abandoned);
    }
}

/// A load in the queue of a pool that has no worker for it, and one who comes to need it.
fn queued(wait: fn(&Flight<u8>), leaves_pool: fn(&Flight<u8>)) {
    let model = move || {
        let flight = Flight::new();
        let load = Load(Arc::clone(&flight));
        flight.queue(Box::new(move || load.run()));
        let follower = Arc::clone(&flight);
        let follower = thread::spawn(move || {
            wait(&follower);
            told(&follower)
        });
        leaves_pool(&flight);
        follower.join().unwrap();
        assert!(flight.take_queued().is_none());
    };
    shuttle::check_random(model, RUNS);
}

fn pull_forward(flight: &Flight<u8>) {
    let signal = Arc::new(Signal::new());
    if flight.join(&signal) == Joined::Waits {
        if let Some(job) = flight.take_queued() {
            job();
        }
        signal.block();
    }
}

/// Rule 3: who must wait for a load that itself waits takes it.
#[test]
fn a_queued_load_is_pulled_forward_by_who_needs_it() {
    queued(pull_forward, |_| {});
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_only_joins_a_queued_load_waits_for_ever() {
    queued(wait, |_| {});
}

/// Rule 4: a load that its queue drops is given up.
#[test]
fn a_load_that_is_dropped_with_its_queue_is_given_up() {
    queued(wait, |flight| drop(flight.take_queued()));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_load_that_is_forgotten_with_its_queue_leaves_all_waiting() {
    queued(wait, |flight| core::mem::forget(flight.take_queued()));
}
