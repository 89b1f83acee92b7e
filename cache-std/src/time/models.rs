//! Waits on a clock that moves meanwhile, under a scheduler that tries many interleavings: each rule
//! holds as it is written, and a variant without it is caught.

use core::future::poll_fn;
use core::task::{Context, Poll};
use core::time::Duration;

use shuttle::thread;

use super::*;

/// Interleavings that are tried for each model.
const RUNS: usize = 3_000;
const SECOND: Duration = Duration::from_secs(1);

/// One thread sleeps for a second, another moves the clock by that.
fn sleeps(
    sleep: fn(&ManualTime, Instant),
    advance: fn(&ManualTime),
) -> impl Fn() + Send + Sync + 'static {
    move || {
        let time = ManualTime::new();
        let (sleeper, until) = (time.clone(), time.now() + SECOND);
        let sleeper = thread::spawn(move || sleep(&sleeper, until));
        advance(&time);
        sleeper.join().unwrap();
        assert!(time.now().has_reached(until) && time.parked() == 0);
    }
}

fn sleep(time: &ManualTime, until: Instant) {
    time.sleep_until(until);
}

fn advance(time: &ManualTime) {
    time.advance(SECOND);
}

/// Rule 1: who wants to sleep looks at the clock and lies down under one lock.
#[test]
fn who_lies_down_while_the_clock_is_moved_is_woken() {
    shuttle::check_random(sleeps(sleep, advance), RUNS);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_looks_at_the_clock_first_sleeps_on() {
    let careless = |time: &ManualTime, until| {
        if time.now().has_reached(until) {
            return;
        }
        let signal = Arc::new(Signal::new());
        let sleeper = Sleeper { id: 0, until, signal: Arc::clone(&signal) };
        time.lock().sleepers.push(sleeper);
        signal.block();
        time.unregister(0);
    };
    shuttle::check_random(sleeps(careless, advance), RUNS);
}

/// Rule 2: a poke is remembered until somebody has seen it.
#[test]
#[should_panic(expected = "deadlock")]
fn a_poke_that_is_not_remembered_is_slept_through() {
    let forgetful = |time: &ManualTime| {
        let mut manual = time.lock();
        manual.now = manual.now + SECOND;
        let due: Vec<_> =
            manual.sleepers.iter().map(|sleeper| Arc::clone(&sleeper.signal)).collect();
        drop(manual);
        due.iter().for_each(|signal| signal.changed.notify_all());
    };
    shuttle::check_random(sleeps(sleep, forgetful), RUNS);
}

/// Rule 3: the clock is read and moved under one lock.
fn two_seconds(advance: fn(&ManualTime)) {
    let model = move || {
        let time = ManualTime::new();
        let (other, start) = (time.clone(), time.now());
        let other = thread::spawn(move || advance(&other));
        advance(&time);
        other.join().unwrap();
        assert_eq!(time.now().saturating_since(start), SECOND * 2);
    };
    shuttle::check_random(model, RUNS);
}

#[test]
fn who_move_the_clock_together_move_it_by_both_spans() {
    two_seconds(advance);
}

#[test]
#[should_panic(expected = "left == right")]
fn who_read_the_clock_first_lose_a_span() {
    two_seconds(|time| time.set(time.now() + SECOND));
}

/// A task waits for a signal that a thread sets, and is polled by hand meanwhile.
fn task_waits(
    poll: fn(&Signal, &mut Context<'_>) -> Poll<bool>,
) -> impl Fn() + Send + Sync + 'static {
    move || {
        let signal = Arc::new(Signal::new());
        let (setter, task) = (Arc::clone(&signal), Arc::clone(&signal));
        let task = thread::spawn(move || {
            shuttle::future::block_on(poll_fn(|context| poll(&task, context)))
        });
        setter.poke();
        setter.set();
        task.join().unwrap();
    }
}

/// Rule 4: a task looks at the signal and leaves its waker under one lock.
#[test]
fn a_task_that_polls_while_the_signal_is_set_is_woken() {
    let poll = |signal: &Signal, context: &mut Context<'_>| loop {
        match signal.poll(context) {
            Poll::Ready(false) => {} // poked
            polled => return polled,
        }
    };
    shuttle::check_random(task_waits(poll), RUNS);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_task_that_looks_first_and_leaves_its_waker_later_is_not() {
    let poll = |signal: &Signal, context: &mut Context<'_>| {
        if signal.is_set() {
            return Poll::Ready(true);
        }
        signal.leave_waker(context.waker());
        Poll::Pending
    };
    shuttle::check_random(task_waits(poll), RUNS);
}
