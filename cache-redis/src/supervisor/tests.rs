use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

const START: Instant = Instant::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);

fn new(seed: u64) -> Supervisor {
    Supervisor::new(Terms::DEFAULT, seed)
}

/// One that is connected, at [`START`].
fn connected() -> Supervisor {
    let mut machine = new(1);
    connect(&mut machine, START);
    machine
}

/// Begins a connection; its number.
fn begin(machine: &mut Supervisor, now: Instant) -> Epoch {
    match machine.poll(now) {
        Some(Action::Connect(epoch)) => epoch,
        other => panic!("{other:?}, and no connection"),
    }
}

/// Begins one, and makes it.
fn connect(machine: &mut Supervisor, now: Instant) {
    let epoch = begin(machine, now);
    machine.handle(Event::Connected(epoch), now);
}

/// When the next connection is tried.
fn retry_at(machine: &mut Supervisor) -> Instant {
    machine.poll_at().expect("it waits")
}

#[test]
fn operations_wait_for_the_first_connection_alone() {
    let mut machine = new(1);
    assert_eq!(machine.gate(), Gate::Starting);
    begin(&mut machine, START);
    assert_eq!(machine.poll(START), None, "once");
    assert_eq!(machine.gate(), Gate::Starting);
    machine.handle(Event::NotConnected(ServerError::Refused), START);
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Refused));
    let at = retry_at(&mut machine);
    let second = begin(&mut machine, at);
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Refused), "while it is tried");
    machine.handle(Event::Connected(second), at);
    assert_eq!(machine.gate(), Gate::Open(2));
}

/// What ran on it has ended, and nobody has seen what the server did since.
#[test]
fn a_connection_whose_runtime_ended_was_lost() {
    let mut machine = connected();
    machine.restart();
    assert_eq!((machine.lost(), machine.gate()), (1, Gate::Starting));
    machine.restart();
    assert_eq!(machine.lost(), 1, "there was none");
}

#[test]
fn two_heartbeats_without_an_answer_give_it_up() {
    let mut machine = connected();
    let mut now = START;
    for missed in [true, false, true, true] {
        assert_eq!(machine.gate(), Gate::Open(1));
        now = machine.poll_at().unwrap();
        assert_eq!(machine.poll(now), Some(Action::Heartbeat(1)));
        assert_eq!(machine.poll_at(), None, "one at a time");
        machine.handle(if missed { Event::Missed(1) } else { Event::Alive(1) }, now);
    }
    assert_eq!((machine.gate(), machine.lost()), (Gate::Shut(ServerError::Down), 1));
    assert_eq!(now, START + SECOND, "every quarter of a second");
}

/// A path that swallows everything is noticed after two heartbeats and the time for one answer.
#[test]
fn heartbeats_are_as_far_apart_however_long_their_answers_take() {
    let mut machine = connected();
    let answer = Duration::from_millis(200);
    let first = machine.poll_at().unwrap();
    machine.poll(first);
    machine.handle(Event::Missed(1), first + answer);
    let second = machine.poll_at().unwrap();
    assert_eq!(second, first + Terms::DEFAULT.heartbeat);
    machine.poll(second);
    machine.handle(Event::Missed(1), second + answer);
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Down));
    assert_eq!(second + answer, START + Duration::from_millis(700));
}

#[test]
fn twenty_timeouts_in_a_row_give_it_up_and_an_answer_between_does_not() {
    let timed_out = Event::Failed(1, ServerError::TimedOut);
    let mut machine = connected();
    for event in [[timed_out; 19].as_slice(), &[Event::Answered(1)], &[timed_out; 19]].concat() {
        machine.handle(event, START);
    }
    assert_eq!(machine.gate(), Gate::Open(1));
    machine.handle(timed_out, START);
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Down));
}

#[test]
fn only_errors_that_concern_the_connection_give_it_up() {
    use ServerError::*;
    for error in [OutOfMemory, WrongType, Denied, Replied, Busy, Cleared] {
        let mut machine = connected();
        machine.handle(Event::Failed(1, error), START);
        assert_eq!(machine.gate(), Gate::Open(1), "{error:?}");
    }
    for (error, reason) in
        [(Broken, Down), (Protocol, Down), (ReadOnly, ReadOnly), (Loading, Loading), (Auth, Auth)]
    {
        let mut machine = connected();
        machine.handle(Event::Failed(1, error), START);
        assert_eq!(machine.gate(), Gate::Shut(reason), "{error:?}");
    }
}

#[test]
fn what_is_told_late_of_an_earlier_connection_does_not_count() {
    let mut machine = connected();
    machine.handle(Event::Failed(1, ServerError::Broken), START);
    let at = retry_at(&mut machine);
    connect(&mut machine, at);
    for late in [Event::Failed(1, ServerError::Broken), Event::Missed(1), Event::Missed(1)] {
        machine.handle(late, at);
    }
    machine.handle(Event::NotConnected(ServerError::Refused), at);
    assert_eq!((machine.gate(), machine.lost()), (Gate::Open(2), 1));
}

#[test]
fn delays_double_to_a_limit_and_begin_anew_when_it_lives() {
    let mut longest = [Duration::ZERO; 8];
    for seed in 0..500 {
        let mut machine = new(seed);
        let mut now = START;
        for longest in &mut longest {
            begin(&mut machine, now);
            machine.handle(Event::NotConnected(ServerError::Refused), now);
            let at = retry_at(&mut machine);
            *longest = (*longest).max(at.saturating_since(now));
            now = at;
        }
    }
    let limits = [25, 50, 100, 200, 400, 400, 400, 400].map(Duration::from_millis);
    for (longest, limit) in longest.into_iter().zip(limits) {
        assert!(longest <= limit && longest > limit * 9 / 10, "{longest:?} of {limit:?}");
    }
    let mut machine = connected();
    machine.failures = 9;
    let at = machine.poll_at().unwrap();
    machine.poll(at);
    machine.handle(Event::Alive(1), at);
    machine.handle(Event::Failed(1, ServerError::Broken), at);
    assert!(retry_at(&mut machine).saturating_since(at) <= Duration::from_millis(25));
}

/// A connection that is made and breaks at once must not be made again without pause.
#[test]
fn a_connection_that_lives_for_no_heartbeat_does_not_shorten_the_delays() {
    let mut machine = new(3);
    let mut now = START;
    for _ in 0..8 {
        connect(&mut machine, now);
        let Gate::Open(epoch) = machine.gate() else { panic!("it is up") };
        machine.handle(Event::Failed(epoch, ServerError::ReadOnly), now);
        now = retry_at(&mut machine);
    }
    assert!(machine.failures == 8);
}

#[test]
fn a_hundred_clients_come_back_spread_over_the_whole_delay() {
    let mut at: Vec<_> = (0..100_u64)
        .map(|n| {
            let mut machine = new(n.wrapping_mul(0x1234_5678_9abc_def1));
            begin(&mut machine, START);
            machine.failures = 10;
            machine.handle(Event::NotConnected(ServerError::Refused), START);
            retry_at(&mut machine).saturating_since(START)
        })
        .collect();
    at.sort();
    assert!(at[99].saturating_sub(at[0]) >= Duration::from_millis(320), "{at:?}");
    let in_each_tenth = |n: u32| {
        let (from, to) = (Duration::from_millis(40) * n, Duration::from_millis(40) * (n + 1));
        at.iter().any(|delay| (from..to).contains(delay))
    };
    assert!((0..10).all(in_each_tenth), "{at:?}");
}

/// An outage from [`START`] on, of a server that refuses connections until it is back: when the new
/// connection is made.
fn back_after(outage: Duration, seed: u64) -> Duration {
    let mut machine = new(seed);
    connect(&mut machine, START);
    machine.handle(Event::Failed(1, ServerError::Broken), START);
    loop {
        let at = retry_at(&mut machine);
        let epoch = begin(&mut machine, at);
        if at.saturating_since(START) >= outage {
            machine.handle(Event::Connected(epoch), at);
            assert_eq!(machine.gate(), Gate::Open(epoch));
            return at.saturating_since(START);
        }
        machine.handle(Event::NotConnected(ServerError::Refused), at);
    }
}

/// A short outage ends within the first delay; a long one when delays have become as long as they get.
#[test]
fn after_an_outage_a_hundred_clients_come_back_over_four_fifths_of_the_delay() {
    let Terms { first_delay, last_delay, .. } = Terms::DEFAULT;
    for (outage, window) in [(Duration::ZERO, first_delay), (SECOND * 10, last_delay)] {
        let back = |n: u64| back_after(outage, n.wrapping_mul(0x1234_5678_9abc_def1));
        let mut at: Vec<_> = (0..100).map(back).collect();
        at.sort();
        let spread = at[99].saturating_sub(at[0]);
        assert!(spread >= window * 4 / 5 && at[99] <= outage + window, "{spread:?} of {window:?}");
        at.dedup();
        assert!(at.len() > 95, "{} instants", at.len());
    }
}

/// A path that swallows everything from [`START`] on, on every connection that was there or was begun
/// before it is well again: when the connection is made after that.
fn back_from_a_hole(hole: Duration, seed: u64) -> Duration {
    let (answer, making) = (Duration::from_millis(200), Duration::from_millis(500));
    let mut machine = new(seed);
    connect(&mut machine, START);
    let mut asked: Option<Instant> = None;
    let mut hanging: VecDeque<Instant> = VecDeque::new();
    loop {
        let over = asked.map(|at| at + answer).or_else(|| hanging.front().map(|at| *at + making));
        let now =
            over.into_iter().chain(machine.poll_at()).min().expect("there is something to do");
        match machine.poll(now) {
            Some(Action::Heartbeat(_)) => asked = Some(now),
            Some(Action::Connect(epoch)) if now.has_reached(START + hole) => {
                machine.handle(Event::Connected(epoch), now);
                assert_eq!(machine.gate(), Gate::Open(epoch));
                return now.saturating_since(START + hole);
            }
            Some(Action::Connect(_)) => {
                asked = None;
                hanging.push_back(now);
                assert!(hanging.len() <= 2, "{hanging:?} at once");
            }
            None if asked.take().is_some() => machine.handle(Event::Missed(1), now),
            None => {
                hanging.pop_front();
                machine.handle(Event::NotConnected(ServerError::Down), now);
            }
        }
    }
}

/// The loss is noticed after 0.7 s; whoever waits from then on waits for no longer than the longest delay.
#[test]
fn a_path_that_swallows_everything_is_used_soon_after_it_is_well() {
    let mut longest = Duration::ZERO;
    for seed in 0..2_000 {
        for tenths in 7..50 {
            let back = back_from_a_hole(Duration::from_millis(100 * tenths), seed);
            longest = longest.max(back);
        }
    }
    assert!(longest <= Terms::DEFAULT.last_delay, "{longest:?}");
    assert!(longest >= Duration::from_millis(380), "{longest:?}: it looks as if nobody was tried");
}

/// Their loss was noticed at the same instant. What counts is when they come back, after whatever time.
#[test]
fn after_a_hole_a_hundred_clients_come_back_over_four_fifths_of_the_delay() {
    let window = Terms::DEFAULT.last_delay;
    for outage in [1_200, 2_000, 3_000, 5_000, 10_000].map(Duration::from_millis) {
        let back = |n: u64| back_from_a_hole(outage, n.wrapping_mul(0x1234_5678_9abc_def1));
        let mut at: Vec<_> = (0..100).map(back).collect();
        at.sort();
        let spread = at[99].saturating_sub(at[0]);
        assert!(spread >= window * 4 / 5, "{spread:?} of {window:?} after {outage:?}");
        at.dedup();
        assert!(at.len() > 95, "{} instants", at.len());
    }
}

#[test]
fn a_connection_is_begun_beside_one_that_hangs_and_the_first_to_be_made_counts() {
    let mut machine = connected();
    machine.handle(Event::Failed(1, ServerError::Broken), START);
    let at = retry_at(&mut machine);
    let hangs = begin(&mut machine, at);
    let later = retry_at(&mut machine);
    let waited = later.saturating_since(at);
    let Terms { beside, last_delay, .. } = Terms::DEFAULT;
    assert!(waited >= beside && waited <= last_delay, "{waited:?}");
    let second = begin(&mut machine, later);
    assert!(second > hangs);
    assert_eq!((machine.poll(later + SECOND), machine.poll_at()), (None, None), "two are enough");
    machine.handle(Event::NotConnected(ServerError::Down), later);
    assert!(retry_at(&mut machine) <= later + last_delay, "room for another");
    machine.handle(Event::Connected(second), later);
    // Of the connection that was dropped, and of one of before.
    machine.handle(Event::Failed(hangs, ServerError::Broken), later);
    assert_eq!(machine.gate(), Gate::Open(second));
    assert_eq!(machine.lost(), 1);
}

/// A wrong password is not sent again because another attempt hangs.
#[test]
fn what_does_not_mend_itself_is_not_hurried() {
    let (mut longest, Terms { last_delay, .. }) = (Duration::ZERO, Terms::DEFAULT);
    for seed in 0..100 {
        let mut machine = new(seed);
        begin(&mut machine, START);
        let at = retry_at(&mut machine);
        begin(&mut machine, at);
        machine.handle(Event::NotConnected(ServerError::Auth), at);
        longest = longest.max(retry_at(&mut machine).saturating_since(at));
    }
    assert!(longest > 10 * last_delay, "{longest:?}");
}

/// A thousand callers a second, on a server that hangs for five seconds from the start on, and then is
/// well. Everything takes as long as it may.
#[derive(Default)]
struct Hang {
    held: u32,
    failed_at_once: u32,
    connects: u32,
    /// When the first caller was served after it was well.
    served_at: Option<Instant>,
}

const WELL_AT: Instant = Instant::from_secs(1_005);

fn hang(seed: u64) -> Hang {
    let mut machine = new(seed);
    connect(&mut machine, START);
    let mut seen = Hang::default();
    let mut due: Vec<(Instant, Event)> = vec![];
    for millis in 0..6_000 {
        let now = START + Duration::from_millis(millis);
        let well = now.has_reached(WELL_AT);
        due.retain(|(at, event)| {
            let over = now.has_reached(*at);
            if over {
                machine.handle(*event, now);
            }
            !over
        });
        let (waits, ends) = if well { (1, true) } else { (200, false) };
        match machine.poll(now) {
            Some(Action::Heartbeat(epoch)) => {
                let event = if ends { Event::Alive(epoch) } else { Event::Missed(epoch) };
                due.push((now + Duration::from_millis(waits), event));
            }
            Some(Action::Connect(epoch)) if ends => due.push((now, Event::Connected(epoch))),
            Some(Action::Connect(_)) => {
                seen.connects += 1;
                let event = Event::NotConnected(ServerError::Down);
                due.push((now + Duration::from_millis(500), event));
            }
            None => {}
        }
        match machine.gate() {
            Gate::Open(_) if well => {
                seen.served_at.get_or_insert(now);
            }
            Gate::Open(epoch) => {
                seen.held += 1;
                let timed_out = Event::Failed(epoch, ServerError::TimedOut);
                due.push((now + Duration::from_millis(200), timed_out));
            }
            _ => seen.failed_at_once += 1,
        }
    }
    seen
}

#[test]
fn a_hang_holds_few_callers_and_is_over_soon_after_its_end() {
    for seed in 0..100 {
        let seen = hang(seed);
        assert!(seen.held <= 300, "{} callers were held", seen.held);
        assert!(seen.failed_at_once >= 4_700);
        assert!(seen.connects <= 20, "{} connections were tried", seen.connects);
        let after = seen.served_at.expect("served").saturating_since(WELL_AT);
        assert!(
            after <= Terms::DEFAULT.last_delay + Duration::from_millis(2),
            "served {after:?} after its end"
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Pass(u64),
    Poll,
    Tell(Event),
}

fn steps() -> impl Strategy<Value = Step> {
    use ServerError::*;
    let error = prop::sample::select(vec![
        TimedOut,
        Broken,
        ReadOnly,
        Loading,
        Auth,
        OutOfMemory,
        Refused,
        Protocol,
    ]);
    let event = prop_oneof![
        (0..4_u64).prop_map(Event::Connected),
        error.clone().prop_map(Event::NotConnected),
        (0..4_u64).prop_map(Event::Alive),
        (0..4_u64).prop_map(Event::Missed),
        (0..4_u64).prop_map(Event::Answered),
        (0..4_u64, error).prop_map(|(epoch, error)| Event::Failed(epoch, error)),
    ];
    prop_oneof![
        (0..600_000_000_u64).prop_map(Step::Pass),
        Just(Step::Pass(u64::MAX)),
        Just(Step::Poll),
        event.prop_map(Step::Tell),
    ]
}

proptest! {
    /// Whatever is told in whatever order: epochs only grow, a connection is asked for only where there is
    /// none, two at once at most, and there is always something to wait for.
    #[test]
    fn no_order_of_events_stops_it(
        seed in any::<u64>(), steps in prop::collection::vec(steps(), 0..200),
    ) {
        let mut machine = new(seed);
        let (mut now, mut epoch, mut under_way) = (START, 0, 0_u32);
        for step in steps {
            match step {
                Step::Pass(nanos) => now = now + Duration::from_nanos(nanos),
                Step::Poll => {
                    let open = matches!(machine.gate(), Gate::Open(_));
                    let action = machine.poll(now);
                    prop_assert_eq!(open, matches!(action, Some(Action::Heartbeat(_)))
                        || open && action.is_none());
                    under_way += u32::from(matches!(action, Some(Action::Connect(_))));
                }
                Step::Tell(Event::Connected(_)) if under_way > 0 => {
                    // One of those that are under way; the other is dropped.
                    machine.handle(Event::Connected(machine.begun - u64::from(under_way) + 1), now);
                    under_way = 0;
                }
                Step::Tell(Event::Connected(_) | Event::NotConnected(_)) if under_way == 0 => {}
                Step::Tell(event) => {
                    under_way -= u32::from(matches!(event, Event::NotConnected(_)));
                    machine.handle(event, now);
                }
            }
            prop_assert!(under_way <= 2);
            prop_assert_eq!(machine.poll_at().is_some(), under_way < 2 && !machine.asks());
            if let Gate::Open(now) = machine.gate() {
                prop_assert!(now >= epoch);
                epoch = now;
            }
            if let State::Down(Down { next_at, .. }) = machine.state {
                prop_assert!(next_at.saturating_since(now) <= Terms::DEFAULT.settings_delay);
            }
        }
    }
}

impl Supervisor {
    const fn asks(&self) -> bool {
        matches!(self.state, State::Up(Up { asking: true, .. }))
    }
}
