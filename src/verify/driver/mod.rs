//! Drives the sessions of a case, step by step, all at once.
//!
//! Nothing is judged here but that each step went as the scenario says; a session ends with the
//! first that did not. Sessions wait for one another only where a step says so, and for everything
//! else only for a limited time. How a session is opened and what a step does to it is up to a
//! [`Dialer`]: over loopback it is the real client in this process.

mod loopback;
mod plain_http;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Barrier;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use self::loopback::Loopback;
use super::expect::Side;
use super::scenario::{Awaited, Case, Closing, Connect, Content, Ended, Request, Step};
use crate::yaml::Placed;

/// How long a session waits for the others at a meeting: they may have a good many steps to take.
const MEETING_LIMIT: Duration = Duration::from_secs(30);

/// A step that did not go as the scenario says. The session ended there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StepFailure {
    /// The step's name, as in the scenario.
    pub(super) step: &'static str,
    /// What the step expects, in words.
    pub(super) expected: String,
    /// What happened instead, in words.
    pub(super) actual: String,
    /// The step's line in the scenario's file.
    pub(super) line: Option<u64>,
}

impl StepFailure {
    /// The failure of a step whose line is not known.
    pub(super) fn new(step: &'static str, expected: String, actual: String) -> Self {
        Self { step, expected, actual, line: None }
    }
}

/// Opens sessions: over loopback, or in a pod.
pub(super) trait Dialer {
    /// An open session. Dropping it drops its connection, without a Close frame.
    type DrivenSession: DrivenSession;

    /// Connects; returns the session if the answer that is expected opens one.
    async fn connect(&self, connect: &Connect) -> Result<Option<Self::DrivenSession>, StepFailure>;

    /// Sends a plain HTTP request and takes its answer.
    async fn request(&self, request: &Request) -> Result<(), StepFailure>;

    /// Lets a held echo answer.
    fn release(&self);

    /// How many lines a sidecar has written by now.
    async fn logged(&self, side: Side) -> Result<usize, String>;
}

/// An open session.
pub(super) trait DrivenSession {
    /// Sends a message.
    async fn send(&mut self, content: &Content) -> Result<(), StepFailure>;

    /// Waits for this message, and no other before it.
    async fn receive(&mut self, awaited: &Awaited) -> Result<(), StepFailure>;

    /// Sends a Ping and waits for its Pong.
    async fn ping(&mut self, payload: &str) -> Result<(), StepFailure>;

    /// Sends a Close frame, waits for the same code in answer and for the end of the connection.
    async fn close(&mut self, closing: &Closing) -> Result<(), StepFailure>;

    /// Waits for the other side's Close frame, or for the end without one, and for the end of the
    /// connection.
    async fn closed(&mut self, ended: &Ended) -> Result<(), StepFailure>;
}

/// Drives the sessions of one case, which share this.
struct CaseDriver<'a, D> {
    dialer: &'a D,
    meetings: HashMap<&'a str, Barrier>,
    /// Cancelled when a session ends early: those that wait for it at a meeting end, too.
    departed: CancellationToken,
}

/// Drives every session of `case` to its end, in the order of the scenario.
pub(super) async fn drive<D: Dialer>(case: &Case, dialer: &D) -> Vec<Result<(), StepFailure>> {
    let sessions: Vec<Vec<&Placed<Step>>> = case
        .sessions
        .iter()
        .flat_map(|sessions| std::iter::repeat_n(unrolled(&sessions.steps), sessions.count))
        .collect();
    let stage = CaseDriver { dialer, meetings: meetings(&sessions), departed: CancellationToken::new() };
    let session = async |steps: &Vec<&Placed<Step>>| {
        let ending = stage.play(steps).await;
        if ending.is_err() {
            stage.departed.cancel();
        }
        ending
    };
    join_all(sessions.iter().map(session)).await
}

/// The steps with those of every `repeat` written out.
fn unrolled(steps: &[Placed<Step>]) -> Vec<&Placed<Step>> {
    let mut all = Vec::new();
    for step in steps {
        match &step.value {
            Step::Repeat { times, steps } => all.extend(unrolled(steps).repeat(*times)),
            _ => all.push(step),
        }
    }
    all
}

/// A barrier for each meeting, for as many as come to it.
fn meetings<'a>(sessions: &[Vec<&'a Placed<Step>>]) -> HashMap<&'a str, Barrier> {
    let mut expected: HashMap<&str, usize> = HashMap::new();
    for steps in sessions {
        let mut names: Vec<&str> = steps
            .iter()
            .filter_map(|step| match &step.value {
                Step::Meet(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        // A session that comes twice is one that comes.
        names.sort_unstable();
        names.dedup();
        for name in names {
            *expected.entry(name).or_default() += 1;
        }
    }
    expected.into_iter().map(|(name, count)| (name, Barrier::new(count))).collect()
}

impl<D: Dialer> CaseDriver<'_, D> {
    /// One session, to its end or to the first step that went otherwise.
    async fn play(&self, steps: &[&Placed<Step>]) -> Result<(), StepFailure> {
        let mut session = None;
        for step in steps {
            let at_its_line = |failure| StepFailure { line: step.line(), ..failure };
            self.step(&step.value, &mut session).await.map_err(at_its_line)?;
        }
        Ok(())
    }

    async fn step(&self, step: &Step, session: &mut Option<D::DrivenSession>) -> Result<(), StepFailure> {
        match step {
            // What was open before is dropped.
            Step::Connect(connect) => *session = self.dialer.connect(connect).await?,
            Step::Send(content) => open(session, "send")?.send(content).await?,
            Step::Receive(awaited) => open(session, "receive")?.receive(awaited).await?,
            Step::Ping(payload) => open(session, "ping")?.ping(&payload.0).await?,
            Step::Wait(length) => tokio::time::sleep(length.0).await,
            Step::Close(closing) => {
                open(session, "close")?.close(closing).await?;
                *session = None;
            }
            Step::Closed(ended) => {
                open(session, "closed")?.closed(ended).await?;
                *session = None;
            }
            Step::Drop => {
                open(session, "drop")?;
                *session = None;
            }
            Step::Request(request) => self.dialer.request(request).await?,
            Step::Meet(name) => self.meet(name).await?,
            Step::Release => self.dialer.release(),
            Step::Logged(count) => self.logged(*count).await?,
            // Written out before.
            Step::Repeat { .. } => {}
        }
        Ok(())
    }

    async fn meet(&self, name: &str) -> Result<(), StepFailure> {
        let failure = |actual: &str| StepFailure::new("meet", name.to_owned(), actual.to_owned());
        // Every meeting of every session has its barrier.
        let Some(barrier) = self.meetings.get(name) else { return Ok(()) };
        tokio::select! {
            // Where both is true, all have come.
            biased;
            met = timeout(MEETING_LIMIT, barrier.wait()) => {
                met.map(|_| ()).map_err(|_| failure("not all sessions came in time"))
            }
            () = self.departed.cancelled() => Err(failure("another session ended before it came")),
        }
    }

    async fn logged(&self, expected: usize) -> Result<(), StepFailure> {
        let failure =
            |actual| StepFailure::new("logged", format!("{expected} lines at each sidecar by now"), actual);
        for side in Side::BOTH {
            let count = self.dialer.logged(side).await.map_err(failure)?;
            if count != expected {
                return Err(failure(format!("{count} lines at the {side}'s sidecar")));
            }
        }
        Ok(())
    }
}

/// The session, which a scenario may have forgotten to open.
fn open<'a, S>(session: &'a mut Option<S>, step: &'static str) -> Result<&'a mut S, StepFailure> {
    session.as_mut().ok_or_else(|| StepFailure::new(step, "an open connection".to_owned(), "none".to_owned()))
}

#[cfg(test)]
mod tests;
