use super::*;
use crate::policy::Policy;
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

const fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn at(n: u64) -> Instant {
    Instant::from_secs(n)
}

/// A schedule of job 1 alone, added at 100 s.
fn schedule_of(job: JobBuilder) -> Schedule<u32> {
    let mut schedule = Schedule::new(4);
    schedule.insert(1, job.build().unwrap(), at(100)).unwrap();
    schedule
}

/// Runs job 1 from `start` to `end`, and tells what it was popped with.
fn run(schedule: &mut Schedule<u32>, start: u64, end: u64) -> Due<u32> {
    let due = schedule.pop_due(at(start)).expect("due by now");
    assert!(schedule.succeeded(&1, at(end)));
    due
}

#[test]
fn every_bad_setting_is_named() {
    let field = |job: JobBuilder| job.build().expect_err("this setting cannot be").field();
    assert_eq!(field(Job::every(Duration::ZERO)), "every");
    assert_eq!(field(Job::every(s(1)).valid_for(Duration::ZERO)), "valid_for");
    assert_eq!(field(Job::every(s(1)).valid_for(Duration::from_nanos(9_999))), "valid_for");
    assert_eq!(field(Job::every(s(1)).back_off(Duration::ZERO, 2, s(1))), "back_off");
    assert_eq!(field(Job::every(s(1)).back_off(s(1), 0, s(1))), "back_off");
    assert_eq!(field(Job::every(s(1)).back_off(s(2), 2, s(1))), "back_off");
    let error = Job::every(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.to_string(), "every is zero: give an interval of at least 1 ns");
    assert!(error.mend().contains("1 ns"));
}

#[test]
fn a_job_is_not_added_twice_nor_above_the_limit() {
    let job = Job::every(s(1)).build().unwrap();
    let mut schedule = Schedule::new(1);
    assert_eq!(schedule.insert("a", job.clone(), at(1)), Ok(()));
    assert_eq!(schedule.insert("a", job.clone(), at(1)), Err(InsertError::Duplicate));
    assert_eq!(schedule.insert("b", job.clone(), at(1)), Err(InsertError::Full { limit: 1 }));
    assert!(schedule.remove(&"a"));
    assert!(!schedule.remove(&"a"));
    assert_eq!(schedule.poll_at(), None);
    assert_eq!(schedule.insert("b", job, at(1)), Ok(()));
    assert!(InsertError::Full { limit: 1 }.to_string().contains("1 jobs"));
}

#[test]
fn runs_come_at_once_or_after_one_period() {
    assert_eq!(schedule_of(Job::every(s(10))).poll_at(), Some(at(100)));
    let mut patient = schedule_of(Job::every(s(10)).run_immediately(false));
    assert_eq!(patient.poll_at(), Some(at(110)));
    assert_eq!(patient.pop_due(at(109)), None);
    assert!(patient.pop_due(at(110)).is_some());
}

#[test]
fn the_earliest_comes_first() {
    let mut schedule = Schedule::new(3);
    for (id, interval) in [('a', 30), ('b', 10), ('c', 20)] {
        let job = Job::every(s(interval)).run_immediately(false).build().unwrap();
        schedule.insert(id, job, at(0)).unwrap();
    }
    let order: Vec<char> =
        core::iter::from_fn(|| schedule.pop_due(at(99)).map(|due| due.id)).collect();
    assert_eq!(order, ['b', 'c', 'a']);
    assert_eq!(schedule.running(), 3);
}

#[test]
fn a_running_job_is_not_due() {
    let mut schedule = schedule_of(Job::every(s(10)));
    assert!(schedule.pop_due(at(100)).is_some());
    assert_eq!(schedule.pop_due(at(999)), None);
    assert!(schedule.status(&1).unwrap().running);
    assert!(schedule.succeeded(&1, at(999)));
    assert!(!schedule.succeeded(&1, at(999)));
    assert!(!schedule.failed(&1, at(999)));
    assert!(schedule.pop_due(at(999)).is_some());
}

#[test]
fn delay_counts_from_the_start_of_the_run() {
    let mut schedule = schedule_of(Job::every(s(10)));
    assert_eq!(run(&mut schedule, 103, 105).late, s(3));
    assert_eq!(schedule.poll_at(), Some(at(113)));
    // The tick of 113 s runs at 138 s; those of 123 s and 133 s have no run of their own.
    let due = run(&mut schedule, 138, 139);
    assert_eq!((due.scheduled_at, due.late, due.missed), (at(113), s(25), 2));
    assert_eq!(schedule.poll_at(), Some(at(148)));
}

#[test]
fn skip_keeps_to_the_grid() {
    let mut schedule = schedule_of(Job::every(s(10)).missed(MissedTick::Skip));
    assert_eq!(run(&mut schedule, 100, 101).missed, 0);
    assert_eq!(run(&mut schedule, 138, 139).missed, 2);
    assert_eq!(schedule.poll_at(), Some(at(140)));
    assert_eq!(schedule.status(&1).unwrap().missed, 2);
}

#[test]
fn burst_catches_up_run_by_run() {
    let mut schedule = schedule_of(Job::every(s(10)).missed(MissedTick::Burst));
    let planned: Vec<_> =
        (0..4).map(|_| run(&mut schedule, 131, 131)).map(|due| (due.late, due.missed)).collect();
    assert_eq!(planned, [(s(31), 0), (s(21), 0), (s(11), 0), (s(1), 0)]);
    assert_eq!(schedule.poll_at(), Some(at(140)));
}

#[test]
fn a_failed_run_is_tried_again_soon_and_never_after_the_tick() {
    let mut schedule = schedule_of(Job::every(s(10)).missed(MissedTick::Skip));
    let mut next = Vec::new();
    for _ in 0..5 {
        let now = schedule.poll_at().unwrap();
        schedule.pop_due(now).unwrap();
        schedule.failed(&1, now);
        next.push(schedule.poll_at().unwrap());
    }
    // Back-offs of 1, 2 and 4 s; the fourth would pass the tick; then the maximum, the period.
    assert_eq!(next, [101, 103, 107, 110, 120].map(at));
    assert_eq!(schedule.status(&1).unwrap().failures, 5);
    schedule.pop_due(at(120)).unwrap();
    schedule.succeeded(&1, at(121));
    let status = schedule.status(&1).unwrap();
    assert_eq!((status.failures, status.last_ok), (0, Some(at(121))));
    assert_eq!((status.last_error, status.next_run), (Some(at(110)), Some(at(130))));
}

#[test]
fn a_run_that_fails_slowly_still_backs_off() {
    let mut schedule = schedule_of(Job::every(s(10)));
    schedule.pop_due(at(100)).unwrap();
    schedule.failed(&1, at(145));
    assert_eq!(schedule.poll_at(), Some(at(146)));
}

#[test]
fn the_default_back_off_is_not_longer_than_the_period() {
    for (period, waits) in [(s(3), [1_000, 2_000, 3_000]), (s(1) / 10, [100, 100, 100])] {
        let mut schedule = schedule_of(Job::every(period));
        for wait in waits {
            let end = schedule.poll_at().unwrap() + s(50);
            schedule.pop_due(end - s(50)).unwrap();
            schedule.failed(&1, end);
            assert_eq!(schedule.poll_at(), Some(end + Duration::from_millis(wait)));
        }
    }
}

#[test]
fn a_value_that_expires_first_shortens_the_period() {
    let period = |interval, ttl| Job::every(interval).valid_for(ttl).build().unwrap().period();
    assert_eq!(period(s(300), s(600)), s(300));
    assert_eq!(period(s(300), s(300)), s(300) * 7 / 8);
    assert_eq!(period(s(300), Duration::MAX), s(300));
}

#[test]
fn a_trigger_makes_due_at_once() {
    let mut schedule = schedule_of(Job::every(s(10)));
    run(&mut schedule, 100, 101);
    assert!(schedule.trigger(&1, at(104)));
    assert_eq!(schedule.poll_at(), Some(at(104)));
    assert_eq!(run(&mut schedule, 104, 105).missed, 0);
    assert_eq!(schedule.poll_at(), Some(at(114)));
    assert!(!schedule.trigger(&2, at(104)));
}

#[test]
fn a_trigger_does_not_postpone() {
    let mut schedule = schedule_of(Job::every(s(10)));
    assert!(schedule.trigger(&1, at(120)));
    assert_eq!(schedule.poll_at(), Some(at(100)));
}

#[test]
fn a_job_triggered_while_it_runs_runs_once_more() {
    let mut schedule = schedule_of(Job::every(s(10)));
    schedule.pop_due(at(100)).unwrap();
    assert!(schedule.trigger(&1, at(101)) && schedule.trigger(&1, at(102)));
    assert_eq!(schedule.poll_at(), None);
    schedule.failed(&1, at(103));
    assert_eq!(schedule.poll_at(), Some(at(103)));
    run(&mut schedule, 103, 104);
    assert_eq!(schedule.poll_at(), Some(at(113)));
}

#[test]
fn a_job_removed_while_it_runs_keeps_its_id_until_the_end() {
    let mut schedule = schedule_of(Job::every(s(10)));
    let job = Job::every(s(1)).build().unwrap();
    schedule.pop_due(at(100)).unwrap();
    assert!(schedule.remove(&1));
    assert!(!schedule.remove(&1) && !schedule.trigger(&1, at(100)));
    assert_eq!(schedule.status(&1), None);
    assert_eq!(schedule.insert(1, job.clone(), at(101)), Err(InsertError::Ending));
    assert_eq!((schedule.len(), schedule.running()), (1, 1));
    assert!(schedule.succeeded(&1, at(102)));
    assert!(schedule.is_empty());
    assert_eq!(schedule.insert(1, job, at(102)), Ok(()));
}

#[test]
fn a_job_without_end_runs_once() {
    let mut schedule = schedule_of(Job::every(Duration::MAX));
    run(&mut schedule, 100, 101);
    assert_eq!(schedule.poll_at(), None);
    assert_eq!(schedule.status(&1).unwrap().next_run, None);
    schedule.trigger(&1, at(200));
    assert_eq!(schedule.poll_at(), Some(at(200)));
}

#[test]
fn a_paused_job_waits_for_its_trigger_and_begins_anew() {
    for missed in [MissedTick::Burst, MissedTick::Delay, MissedTick::Skip] {
        let mut schedule = schedule_of(Job::every(s(10)).missed(missed));
        schedule.pop_due(at(100)).unwrap();
        assert!(!schedule.pause(&1), "it runs");
        schedule.succeeded(&1, at(101));
        assert!(schedule.pause(&1) && !schedule.pause(&2));
        assert_eq!((schedule.poll_at(), schedule.running()), (None, 0));
        assert_eq!(schedule.take_due(&1, Instant::FAR_FUTURE), None);
        assert!(schedule.trigger(&1, at(503)));
        assert_eq!(schedule.take_due(&1, at(502)), None);
        assert_eq!(schedule.take_due(&1, at(503)).unwrap().missed, 0);
        schedule.succeeded(&1, at(504));
        assert_eq!(schedule.poll_at(), Some(at(513)), "{missed:?}");
    }
}

#[test]
fn jitter_only_shortens_and_differs_from_run_to_run_and_from_seed_to_seed() {
    let periods = |seed| {
        let job = Job::every(s(100)).jitter_percent(20).seed(seed).build().unwrap();
        (0..1_000).map(move |run| job.period_after(run)).collect::<BTreeSet<_>>()
    };
    let (one, other) = (periods(1), periods(2));
    assert!(one.iter().all(|period| (s(80)..=s(100)).contains(period)));
    assert!(one.len() > 990 && one.is_disjoint(&other));
    assert!(*one.first().unwrap() < s(82) && *one.last().unwrap() > s(98), "all of the range");
    let endless = Job::every(Duration::MAX).jitter_percent(99).build().unwrap();
    assert_eq!(endless.period_after(7), Duration::MAX);
    assert_eq!(Job::every(s(1)).jitter_percent(100).build().unwrap_err().field(), "jitter_percent");
}

fn instants() -> impl Strategy<Value = Instant> {
    prop_oneof![0..1_000u64, any::<u64>(), (u64::MAX - 1_000)..=u64::MAX]
        .prop_map(Instant::from_nanos)
}

fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1..1_000u64,
        (1..100_000u64).prop_map(|n| n * 1_000_000),
        1..u64::MAX,
        Just(u64::MAX),
    ]
    .prop_map(Duration::from_nanos)
}

fn missed_ticks() -> impl Strategy<Value = MissedTick> {
    prop_oneof![Just(MissedTick::Burst), Just(MissedTick::Delay), Just(MissedTick::Skip)]
}

fn jobs() -> impl Strategy<Value = Job> {
    let jitter = (0..100u8, any::<u64>());
    let ttl = proptest::option::of((10_000..u64::MAX).prop_map(Duration::from_nanos));
    let back_off = proptest::option::of((spans(), 1..5u32, spans()));
    (spans(), any::<bool>(), ttl, missed_ticks(), back_off, jitter).prop_map(
        |(interval, immediately, ttl, missed, back_off, (jitter, seed))| {
            let mut job = Job::every(interval).run_immediately(immediately).missed(missed);
            job = job.jitter_percent(jitter).seed(seed);
            if let Some(ttl) = ttl {
                job = job.valid_for(ttl);
            }
            if let Some((a, factor, b)) = back_off {
                job = job.back_off(a.min(b), factor, a.max(b));
            }
            job.build().unwrap()
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, Job),
    Remove(u8),
    Pass(Duration),
    ToNext,
    GoBack(Duration),
    Pop,
    Succeed(u8),
    Fail(u8),
    Trigger(u8),
    Take(u8),
    Pause(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..4u8, jobs()).prop_map(|(id, job)| Step::Insert(id, job)),
        1 => (0..4u8).prop_map(Step::Remove),
        3 => spans().prop_map(Step::Pass),
        4 => Just(Step::ToNext),
        1 => spans().prop_map(Step::GoBack),
        6 => Just(Step::Pop),
        4 => (0..4u8).prop_map(Step::Succeed),
        3 => (0..4u8).prop_map(Step::Fail),
        2 => (0..4u8).prop_map(Step::Trigger),
        3 => (0..4u8, 0..3u8).prop_map(|(id, n)| if n == 0 { Step::Pause(id) } else { Step::Take(id) }),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A schedule, its clock, and which runs a driver would have under way.
struct World {
    schedule: Schedule<u8>,
    now: Instant,
    running: BTreeSet<u8>,
}

impl World {
    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Insert(id, job) => {
                let added = self.schedule.insert(id, job, now).is_ok();
                assert!(!added || !self.running.contains(&id), "a second run could begin");
            }
            Step::Remove(id) => drop(self.schedule.remove(&id)),
            Step::Pass(span) => self.now = now + span,
            Step::ToNext => self.now = self.schedule.poll_at().unwrap_or(now).max(now),
            Step::GoBack(span) => self.now = now - span,
            Step::Pop => self.pop(),
            Step::Succeed(id) => {
                assert_eq!(self.schedule.succeeded(&id, now), self.running.remove(&id));
            }
            Step::Fail(id) => self.fail(id),
            Step::Trigger(id) => drop(self.schedule.trigger(&id, now)),
            Step::Take(id) => {
                let due = self.schedule.take_due(&id, now);
                self.begun(due);
            }
            Step::Pause(id) => {
                let known = self.schedule.status(&id).is_some();
                let paused = known && !self.running.contains(&id);
                assert_eq!(self.schedule.pause(&id), paused);
            }
        }
    }

    fn pop(&mut self) {
        let due = self.schedule.pop_due(self.now);
        self.begun(due);
    }

    fn begun(&mut self, due: Option<Due<u8>>) {
        let Some(due) = due else { return };
        assert!(self.running.insert(due.id), "two runs of one job");
        assert_eq!(due.late, self.now.saturating_since(due.scheduled_at));
    }

    fn fail(&mut self, id: u8) {
        let was_running = self.running.remove(&id);
        assert_eq!(self.schedule.failed(&id, self.now), was_running);
        let Some(planned) = self.schedule.jobs.get(&id).filter(|_| was_running) else { return };
        let longest = planned.job.retry_at(u32::MAX, Instant::FAR_FUTURE, self.now);
        let State::Waiting { due } = planned.state else { panic!("the run has ended") };
        assert!(due <= longest, "the back-off has a bound");
        assert!(due <= planned.tick || self.now.has_reached(planned.tick));
    }

    fn check(&self) {
        assert_eq!(self.schedule.running(), self.running.len());
        let Some(next) = self.schedule.poll_at() else {
            return assert_eq!(self.pops_at(Instant::FAR_FUTURE), None);
        };
        assert!(self.pops_at(next).is_some());
        if next != Instant::ORIGIN {
            assert_eq!(self.pops_at(next - Duration::from_nanos(1)), None);
        }
    }

    fn pops_at(&self, now: Instant) -> Option<Due<u8>> {
        self.schedule.clone().pop_due(now)
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_schedule_is_whole(start in instants(), steps in steps()) {
        let schedule = Schedule::new(3);
        let mut world = World { schedule, now: start, running: BTreeSet::new() };
        for step in steps {
            world.step(step);
            world.check();
        }
    }

    #[test]
    fn the_next_run_comes_before_the_value_can_expire(
        start in 0..u64::MAX / 2, late in 0..u64::MAX / 8, took in spans(), interval in spans(),
        ttl in 10_000..u64::MAX / 8, missed in missed_ticks(), hash in any::<u64>(),
    ) {
        let ttl = Duration::from_nanos(ttl);
        let job = Job::every(interval).valid_for(ttl).missed(missed).build().unwrap();
        let mut schedule = Schedule::new(1);
        schedule.insert((), job, Instant::from_nanos(start)).unwrap();
        let begun = Instant::from_nanos(start) + Duration::from_nanos(late);
        schedule.pop_due(begun).unwrap();
        schedule.succeeded(&(), begun + took);
        let jittered = Policy::ttl(ttl).build().unwrap().windows(begun, hash).unwrap();
        prop_assert!(schedule.poll_at().unwrap() < jittered.fresh_until);
    }

    #[test]
    fn under_skip_each_tick_is_run_or_counted(
        interval in 1..1_000u64, waits in proptest::collection::vec(0..5_000u64, 1..50),
    ) {
        let job = Job::every(Duration::from_nanos(interval)).missed(MissedTick::Skip);
        let mut schedule = Schedule::new(1);
        let mut now = Instant::from_nanos(7);
        schedule.insert((), job.build().unwrap(), now).unwrap();
        let mut runs = 0;
        for wait in waits {
            now = now + Duration::from_nanos(wait);
            if schedule.pop_due(now).is_some() {
                runs += 1;
                schedule.succeeded(&(), now);
            }
        }
        let ticks = runs + schedule.status(&()).unwrap().missed;
        let next = Instant::from_nanos(7) + Duration::from_nanos(ticks * interval);
        prop_assert_eq!(schedule.poll_at(), Some(next));
    }
}
