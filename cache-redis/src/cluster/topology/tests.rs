use super::super::slots::tests::shared_by;
use super::*;
use proptest::prelude::*;

const START: Instant = Instant::from_secs(1_000);

fn at(host: &str) -> Address {
    Address::new(host, 1)
}

fn new(seed: u64) -> Topology {
    Topology::new(vec![at("seed"), at("other seed")], Terms::DEFAULT, seed)
}

/// One that knows three primaries, at [`START`].
fn mapped(seed: u64) -> Topology {
    let mut machine = new(seed);
    machine.poll(START).unwrap();
    machine.handle(Event::Mapped(shared_by(&["a", "b", "c"])), START);
    machine
}

/// Who is asked next, and when.
fn next_asked(machine: &mut Topology) -> (Instant, Address) {
    let when = machine.poll_at().expect("it waits").max(START);
    let Some(Action::Ask(asked)) = machine.poll(when) else { panic!("nobody is asked") };
    (when, asked)
}

#[test]
fn all_seeds_are_asked_before_a_caller_is_told() {
    let mut machine = new(1);
    assert_eq!(machine.poll(START), Some(Action::Ask(at("seed"))));
    assert_eq!((machine.poll(START), machine.poll_at()), (None, None), "one at a time");
    machine.handle(Event::NotMapped(ServerError::Refused), START);
    assert_eq!(machine.gate(), Gate::Starting);
    assert_eq!(next_asked(&mut machine), (START, at("other seed")), "at once");
    machine.handle(Event::NotMapped(ServerError::Down), START);
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Down));
    let (when, _) = next_asked(&mut machine);
    machine.handle(Event::Mapped(shared_by(&["a"])), when);
    assert_eq!((machine.gate(), machine.owner(5)), (Gate::Open, Some(&at("a"))));
}

#[test]
fn callers_are_told_the_reason_that_says_most() {
    let mut machine = new(1);
    for reason in [ServerError::Auth, ServerError::Refused] {
        next_asked(&mut machine);
        machine.handle(Event::NotMapped(reason), START);
    }
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Auth));
    let (when, _) = next_asked(&mut machine);
    machine.handle(Event::NotMapped(ServerError::Refused), when);
    next_asked(&mut machine);
    machine.handle(Event::NotMapped(ServerError::Refused), when);
    assert_eq!(machine.gate(), Gate::Shut(ServerError::Refused), "the next round begins anew");
}

#[test]
fn a_map_is_not_asked_for_while_all_is_well() {
    let mut machine = mapped(1);
    assert_eq!((machine.poll_at(), machine.poll(START + Duration::from_secs(3_600))), (None, None));
    machine.handle(Event::Met(at("new")), START);
    machine.handle(Event::Down(at("nobody")), START);
    assert_eq!(machine.poll(START), None);
    assert_eq!(machine.nodes().count(), 4);
}

#[test]
fn a_node_that_is_down_is_asked_last() {
    for seed in 0..50 {
        let mut machine = mapped(seed);
        machine.handle(Event::Down(at("b")), START);
        let (mut when, mut asked) = next_asked(&mut machine);
        assert!(asked == at("a") || asked == at("c"), "the primaries that are up");
        let mut order = vec![];
        while asked != at("b") {
            order.push(asked);
            machine.handle(Event::NotMapped(ServerError::Down), when);
            (when, asked) = next_asked(&mut machine);
        }
        assert_eq!(order.len(), 7, "two primaries, three replicas, two seeds");
    }
}

#[test]
fn it_is_asked_for_until_no_primary_of_it_is_down() {
    let mut machine = mapped(1);
    machine.handle(Event::Down(at("b")), START);
    let mut now = START;
    for _ in 0..9 {
        let (when, _) = next_asked(&mut machine);
        machine.handle(Event::Mapped(shared_by(&["a", "b", "c"])), when);
        assert!(when.saturating_since(now) <= Terms::DEFAULT.last_delay);
        now = when;
    }
    let (when, _) = next_asked(&mut machine);
    machine.handle(Event::Mapped(shared_by(&["a", "b'", "c"])), when);
    assert_eq!(machine.owner(6_000), Some(&at("b'")));
    // Nothing is left but to leave the old one, after a while.
    assert_eq!(machine.poll_at(), Some(when + KEPT));
    assert_eq!(machine.poll(when + KEPT), Some(Action::Leave(at("b"))));
    assert_eq!((machine.poll_at(), machine.nodes().count()), (None, 3));
}

#[test]
fn one_that_comes_back_is_no_reason_to_ask() {
    let mut machine = mapped(1);
    machine.handle(Event::Down(at("b")), START);
    machine.handle(Event::Up(at("b")), START);
    assert_eq!(machine.poll(START + Duration::from_secs(3_600)), None);
}

#[test]
fn a_redirection_holds_at_once_and_a_thousand_ask_once_for_each_delay() {
    let mut machine = mapped(1);
    let mut asked = 0;
    let millis = 1_000;
    for slot in 0..millis {
        let now = START + Duration::from_millis(slot.into());
        machine.handle(Event::Moved(slot, at("new")), now);
        assert_eq!(machine.owner(slot), Some(&at("new")));
        if machine.poll(now).is_some() {
            asked += 1;
            let mut slots = shared_by(&["a", "b", "c"]);
            (0..=slot).for_each(|moved| slots.set(moved, at("new")));
            machine.handle(Event::Mapped(slots), now);
        }
    }
    assert!((2..=20).contains(&asked), "{asked} questions within a second");
}

#[test]
fn what_the_map_says_already_is_no_news() {
    let mut machine = mapped(1);
    machine.handle(Event::Moved(0, at("a")), START);
    assert_eq!(machine.poll_at(), None);
}

#[test]
fn delays_are_short_again_after_a_while_without_trouble() {
    let mut machine = mapped(1);
    machine.rounds = 9;
    let later = START + Duration::from_secs(60);
    machine.handle(Event::Unserved, later);
    machine.poll(later).unwrap();
    machine.handle(Event::Mapped(shared_by(&["a", "b", "c"])), later);
    machine.handle(Event::Unserved, later);
    let (when, _) = next_asked(&mut machine);
    assert!(when.saturating_since(later) <= Duration::from_millis(25));
}

#[test]
fn what_does_not_mend_itself_is_asked_for_seldom() {
    let mut longest = Duration::ZERO;
    for seed in 0..200 {
        let mut machine = new(seed);
        let (_, _) = next_asked(&mut machine);
        machine.handle(Event::NotMapped(ServerError::NotACluster), START);
        let (_, _) = next_asked(&mut machine);
        machine.handle(Event::NotMapped(ServerError::NotACluster), START);
        assert_eq!(machine.gate(), Gate::Shut(ServerError::NotACluster));
        longest = longest.max(next_asked(&mut machine).0.saturating_since(START));
    }
    assert!(longest > Duration::from_secs(4) && longest <= Duration::from_secs(5), "{longest:?}");
}

#[test]
fn a_runtime_that_ended_with_a_question_under_way_does_not_stop_it() {
    let mut machine = mapped(1);
    machine.handle(Event::Unserved, START);
    let (when, _) = next_asked(&mut machine);
    machine.restart();
    assert!(matches!(machine.poll(when), Some(Action::Ask(_))));
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Poll,
    Tell(Event),
}

fn steps() -> impl Strategy<Value = Step> {
    let host = prop::sample::select(vec!["a", "b", "c", "d", "seed"]);
    let map = prop::sample::subsequence(vec!["a", "b", "c", "d"], 1..4);
    let event = prop_oneof![
        map.prop_map(|hosts| Event::Mapped(shared_by(&hosts))),
        Just(Event::NotMapped(ServerError::Down)),
        Just(Event::Unserved),
        (any::<u16>(), host.clone()).prop_map(|(slot, host)| Event::Moved(slot, at(host))),
        host.clone().prop_map(|host| Event::Met(at(host))),
        host.clone().prop_map(|host| Event::Down(at(host))),
        host.prop_map(|host| Event::Up(at(host))),
    ];
    prop_oneof![
        (0..20_000_000_000_u64).prop_map(Step::Pass),
        Just(Step::Pass(u64::MAX)),
        Just(Step::Poll),
        event.prop_map(Step::Tell),
    ]
}

proptest! {
    /// Whatever is told in whatever order: one question at a time, all owners are nodes that are known, and
    /// while a primary is down there is something to wait for.
    #[test]
    fn no_order_of_events_stops_it(
        seed in any::<u64>(), steps in prop::collection::vec(steps(), 0..60),
    ) {
        let mut machine = new(seed);
        let mut now = START;
        for step in steps {
            match step {
                Step::Pass(nanos) => now = now + Duration::from_nanos(nanos),
                Step::Poll => {
                    let asking = machine.asking;
                    let asks = matches!(machine.poll(now), Some(Action::Ask(_)));
                    prop_assert!(!(asking && asks));
                }
                Step::Tell(event) => machine.handle(event, now),
            }
            for primary in machine.primaries() {
                prop_assert!(machine.nodes.contains_key(primary));
            }
            if machine.wants() && !machine.asking {
                prop_assert!(machine.poll_at().is_some());
            }
        }
    }
}
