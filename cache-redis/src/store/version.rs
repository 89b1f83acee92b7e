//! The version of a namespace: which of the names in Redis count.

use core::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::store::StoreError;
use redis::Pipeline;
use tokio::time::Instant;

use super::Space;
use crate::error::ServerError;
use crate::key::Names;
use crate::link::{Answer, Each, Link};
use crate::script::Script;
use crate::{reply, script};

/// How often an operation follows a namespace that is cleared while it runs.
const ATTEMPTS: usize = 8;

/// Whether an operation asks for the version on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Where the last answer is older than this.
    After(Duration),
    /// In any case: what changes an entry of a version that is over changes nothing that anybody reads.
    Always,
}

/// The version that was seen last.
#[derive(Debug)]
pub(crate) struct Version {
    origin: Instant,
    /// 0 where none is known. Written before `asked_at`, and read after it: so it is never older than that.
    number: AtomicU64,
    /// When it was asked for, in microseconds since the origin, counted from 1; 0 where it may be over.
    asked_at: AtomicU64,
    steps: Mutex<Steps>,
}

#[derive(Debug, Default)]
struct Steps {
    /// How often it was asked for, or forgotten.
    steps: u64,
    /// The step whose answer this is. Answers to earlier questions come too late.
    step: u64,
}

/// The version to go by, and the question whether it is in force.
#[derive(Clone, Copy, Debug)]
struct Plan {
    number: u64,
    question: Option<Question>,
}

#[derive(Clone, Copy, Debug)]
struct Question {
    step: u64,
    asked_at: u64,
}

impl Default for Version {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            number: AtomicU64::new(0),
            asked_at: AtomicU64::new(0),
            steps: Mutex::default(),
        }
    }
}

impl Version {
    /// What is known may be over: the next operation asks. Answers to what was asked before do not count.
    pub(crate) fn forget(&self) {
        let mut steps = self.lock();
        steps.steps += 1;
        steps.step = steps.steps;
        self.asked_at.store(0, Release);
    }

    /// The number that was seen last; 0 where none is known. Earlier ones are over.
    pub(crate) fn known(&self) -> u64 {
        self.number.load(Acquire)
    }

    /// As [`forget`](Self::forget), and what is likely to be in force.
    pub(crate) fn guess(&self, number: u64) {
        self.forget();
        let _steps = self.lock();
        self.asked_at.store(0, Release);
        self.number.store(number, Release);
    }

    fn plan(&self, check: Check, now: Instant) -> Plan {
        if let Check::After(age) = check
            && let Some(number) = self.recent(age, now)
        {
            return Plan { number, question: None };
        }
        let mut steps = self.lock();
        steps.steps += 1;
        let question = Question { step: steps.steps, asked_at: self.micros(now) };
        Plan { number: self.number.load(Acquire), question: Some(question) }
    }

    /// The version, if it was asked for less than `age` ago. Takes no lock.
    pub(super) fn recent(&self, age: Duration, now: Instant) -> Option<u64> {
        let asked_at = self.asked_at.load(Acquire);
        let number = self.number.load(Acquire);
        let passed = Duration::from_micros(self.micros(now).saturating_sub(asked_at));
        (asked_at != 0 && number != 0 && passed < age).then_some(number)
    }

    /// The answer; `None` where there is no version.
    fn learn(&self, question: Question, number: Option<u64>) {
        let mut steps = self.lock();
        if question.step > steps.step {
            steps.step = question.step;
            self.number.store(number.unwrap_or(0), Release);
            self.asked_at.store(number.map_or(0, |_| question.asked_at), Release);
        }
    }

    fn micros(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin).as_micros();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version in force, by asking.
pub(super) async fn current(names: &Names, link: &mut Link) -> Result<u64, ServerError> {
    let answer = script::VERSION.run(link, &[&names.version()], &[]).await?;
    reply::number(answer)?.ok_or(ServerError::Protocol)
}

/// The commands of one trip, by one version.
pub(super) struct Trip<'a> {
    pub(super) version: u64,
    pub(super) commands: &'a mut Pipeline,
    /// Room for one name after another.
    pub(super) name: Vec<u8>,
    /// Whether scripts are sent whole, since the server does not know them.
    whole: bool,
}

impl Trip<'_> {
    pub(super) fn script(&mut self, script: &Script, keys: &[&[u8]], arguments: &[&[u8]]) {
        script.add(self.whole, keys, arguments, self.commands);
    }
}

impl Space {
    /// Runs commands on names of the namespace's version, in one trip. Where they were told to check it, and it
    /// was over by the time they had run, they run again on those of the next version.
    pub(super) async fn on_version(
        &self,
        check: Check,
        commands: impl Fn(&mut Trip<'_>) -> Result<(), StoreError> + Send,
    ) -> Result<Vec<Answer>, StoreError> {
        self.hub.wake();
        let operation = self.server.operate(|mut link: Link| async move {
            match self.attempts(&mut link, check, commands).await? {
                Ok(answers) => answers.into_iter().collect::<Result<_, _>>().map(Ok),
                Err(refused) => Ok(Err(refused)),
            }
        });
        operation.await?
    }

    /// As [`on_version`](Self::on_version), for commands that only read: in a cluster, nodes that do not answer
    /// take nothing from those that do.
    pub(super) async fn each_on_version(
        &self,
        check: Check,
        commands: impl Fn(&mut Trip<'_>) -> Result<(), StoreError> + Send,
    ) -> Result<Each, StoreError> {
        self.hub.wake();
        let operation = self.server.operate(|mut link: Link| async move {
            self.attempts(&mut link, check, commands).await
        });
        let answers = operation.await??;
        if let Some(Err(error)) = answers.iter().find(|answer| answer.is_err()) {
            self.server.note(*error);
        }
        Ok(answers)
    }

    async fn attempts(
        &self,
        link: &mut Link,
        check: Check,
        commands: impl Fn(&mut Trip<'_>) -> Result<(), StoreError> + Send,
    ) -> Result<Result<Each, StoreError>, ServerError> {
        let mut whole = false;
        for _ in 0..ATTEMPTS {
            let Plan { number: version, question } = self.plan(link, check).await?;
            let mut pipeline = Pipeline::with_capacity(3);
            let trip = &mut Trip { version, whole, commands: &mut pipeline, name: vec![] };
            if let Err(refused) = commands(trip) {
                return Ok(Err(refused));
            }
            let mut in_force = true;
            // Asked last: it was in force when they ran if it is afterwards.
            if question.is_some() {
                pipeline.cmd("GET").arg(self.names.version());
            }
            let mut answers = match check {
                Check::Always => link.ask_all(&pipeline).await?.into_iter().map(Ok).collect(),
                Check::After(_) => link.ask_each(&pipeline).await?,
            };
            if let Some(question) = question {
                let now = answers.pop().map_or(Ok(None), |answer| reply::number(answer?.value))?;
                self.version.learn(question, now);
                in_force = now == Some(version);
            }
            let is_unknown = |answer: &Answer| reply::is_unknown_script(&answer.value);
            let unknown = !whole && answers.iter().flatten().any(is_unknown);
            if in_force && !unknown {
                return Ok(Ok(answers));
            }
            whole |= unknown;
        }
        Err(ServerError::Cleared)
    }

    /// The plan, which has a number.
    async fn plan(&self, link: &mut Link, check: Check) -> Result<Plan, ServerError> {
        let plan = self.version.plan(check, Instant::now());
        match plan.question {
            Some(question) if plan.number == 0 => {
                let number = current(&self.names, link).await?;
                self.version.learn(question, Some(number));
                Ok(Plan { number, ..self.version.plan(check, Instant::now()) })
            }
            _ => Ok(plan),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_asked_for_once_in_a_while() {
        let (version, start) = (Version::default(), Instant::now());
        let check = Check::After(SECOND);
        let question = version.plan(check, start).question.expect("none is known");
        version.learn(question, Some(7));
        let plan = version.plan(check, start + SECOND / 2);
        assert_eq!((plan.number, plan.question.is_some()), (7, false));
        assert!(version.plan(check, start + SECOND).question.is_some());
        assert!(version.plan(Check::Always, start).question.is_some());
        assert!(version.plan(Check::After(Duration::ZERO), start).question.is_some());
    }

    #[test]
    fn what_was_asked_before_it_was_forgotten_is_no_answer() {
        let (version, start) = (Version::default(), Instant::now());
        let check = Check::After(SECOND);
        let early = version.plan(check, start).question.unwrap();
        version.forget();
        version.learn(early, Some(7));
        assert_eq!(version.plan(check, start).number, 0);
        let late = version.plan(check, start).question.unwrap();
        version.learn(late, Some(8));
        let plan = version.plan(check, start);
        assert_eq!((plan.number, plan.question.is_some()), (8, false));
    }

    #[test]
    fn of_two_answers_that_of_the_later_question_counts() {
        let (version, now) = (Version::default(), Instant::now());
        let [one, two] = [(); 2].map(|()| version.plan(Check::Always, now).question.unwrap());
        version.learn(two, Some(8));
        version.learn(one, Some(7));
        assert_eq!(version.plan(Check::Always, now).number, 8);
        let lost = version.plan(Check::Always, now).question.unwrap();
        version.learn(lost, None);
        assert_eq!(version.plan(Check::After(SECOND), now).number, 0);
    }
}
