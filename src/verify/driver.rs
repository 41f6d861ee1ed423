//! Drives the sessions of a case, step by step, all at once.
//!
//! Nothing is judged here but that each step went as the scenario says; a session ends with the first that did not.
//! Sessions wait for one another only where a step says so, and for everything else only for a limited time. How a
//! session is opened and what a step does to it is up to a [`Dialer`]: over loopback it is the real client in this process.

mod loopback;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Barrier;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use self::loopback::Loopback;
use super::expect::Side;
use super::judge::Departure;
use super::scenario::{Case, Step};

/// How long a session waits for the others at a meeting: they may have a good many steps to take.
const MEETING_LIMIT: Duration = Duration::from_secs(30);

/// What opens sessions.
pub(super) trait Dialer {
    /// An open session.
    type Session: Session;

    /// Connects; returns the session if the answer that is expected opens one.
    async fn connect(
        &self,
        path: &str,
        status: u16,
        body_bytes: Option<usize>,
    ) -> Result<Option<Self::Session>, Departure>;

    /// Lets a held echo answer.
    fn release(&self);

    /// How many lines a sidecar has written by now.
    async fn logged(&self, side: Side) -> Result<usize, String>;
}

/// An open session.
pub(super) trait Session {
    /// Sends a text message.
    async fn send(&mut self, text: &str) -> Result<(), Departure>;

    /// Waits for this text message, and no other before it.
    async fn receive(&mut self, text: &str) -> Result<(), Departure>;

    /// Sends a Close frame with this code, waits for the same code in answer and for the end of the connection.
    async fn close(&mut self, code: u16) -> Result<(), Departure>;
}

/// What the sessions of a case have in common.
struct Stage<'a, D> {
    dialer: &'a D,
    meetings: HashMap<&'a str, Barrier>,
    /// A session has ended early, and those that wait for it do so in vain.
    departed: CancellationToken,
}

/// Drives every session of `case` to its end, in the order of the scenario.
pub(super) async fn drive<D: Dialer>(case: &Case, dialer: &D) -> Vec<Result<(), Departure>> {
    let sessions: Vec<Vec<&Step>> = case
        .sessions
        .iter()
        .flat_map(|sessions| std::iter::repeat_n(unrolled(&sessions.steps), sessions.count))
        .collect();
    let stage = Stage { dialer, meetings: meetings(&sessions), departed: CancellationToken::new() };
    let session = async |steps: &Vec<&Step>| {
        let ending = stage.play(steps).await;
        if ending.is_err() {
            stage.departed.cancel();
        }
        ending
    };
    join_all(sessions.iter().map(session)).await
}

/// The steps with those of every `repeat` written out.
fn unrolled(steps: &[Step]) -> Vec<&Step> {
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Repeat { times, steps } => all.extend(unrolled(steps).repeat(*times)),
            step => all.push(step),
        }
    }
    all
}

/// A barrier for each meeting, for as many as come to it.
fn meetings<'a>(sessions: &[Vec<&'a Step>]) -> HashMap<&'a str, Barrier> {
    let mut expected: HashMap<&str, usize> = HashMap::new();
    for steps in sessions {
        let mut names: Vec<&str> = steps
            .iter()
            .filter_map(|step| match step {
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

impl<D: Dialer> Stage<'_, D> {
    async fn play(&self, steps: &[&Step]) -> Result<(), Departure> {
        let mut session = None;
        for step in steps {
            match step {
                Step::Connect { path, status, body_bytes } => {
                    session = self.dialer.connect(path, *status, *body_bytes).await?;
                }
                Step::Send(text) => open(&mut session, "send")?.send(text).await?,
                Step::Receive(text) => open(&mut session, "receive")?.receive(text).await?,
                Step::Close(code) => open(&mut session, "close")?.close(*code).await?,
                Step::Meet(name) => self.meet(name).await?,
                Step::Release => self.dialer.release(),
                Step::Logged(count) => self.logged(*count).await?,
                // Written out before.
                Step::Repeat { .. } => {}
            }
        }
        Ok(())
    }

    async fn meet(&self, name: &str) -> Result<(), Departure> {
        let departure =
            |actual: &str| Departure { step: "meet", expected: name.to_owned(), actual: actual.to_owned() };
        // Every meeting of every session has its barrier.
        let Some(barrier) = self.meetings.get(name) else { return Ok(()) };
        tokio::select! {
            // Where both is true, all have come.
            biased;
            met = timeout(MEETING_LIMIT, barrier.wait()) => {
                met.map(|_| ()).map_err(|_| departure("not all sessions came in time"))
            }
            () = self.departed.cancelled() => Err(departure("another session ended before it came")),
        }
    }

    async fn logged(&self, expected: usize) -> Result<(), Departure> {
        let departure = |actual| Departure {
            step: "logged",
            expected: format!("{expected} lines at each sidecar by now"),
            actual,
        };
        for side in Side::BOTH {
            let count = self.dialer.logged(side).await.map_err(departure)?;
            if count != expected {
                return Err(departure(format!("{count} lines at the {side}'s sidecar")));
            }
        }
        Ok(())
    }
}

/// The session, which a scenario may have forgotten to open.
fn open<'a, S>(session: &'a mut Option<S>, step: &'static str) -> Result<&'a mut S, Departure> {
    session.as_mut().ok_or_else(|| Departure {
        step,
        expected: "an open connection".to_owned(),
        actual: "none".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::evidence::Logs;
    use crate::verify::scenario::{Application, Scenario};
    use crate::verify::target::bundled::without_sidecars;

    /// Drives sessions, written in YAML, against an application without sidecars; their endings as `step: expected, actual`.
    async fn driven(application: Application, sessions: &str) -> Vec<Result<(), String>> {
        let yaml = format!(
            "{{name: x, description: x, documents: '', sessions: {sessions}, expect: {{}}, decided_by: []}}"
        );
        let scenario: Scenario = serde_saphyr::from_str(&yaml).expect("a scenario");
        let case = scenario.cases().remove(0);
        let folder = tempfile::tempdir().expect("a folder");
        let logs = Logs::within(folder.path());
        for side in Side::BOTH {
            std::fs::write(logs.path(side), "").expect("a log");
        }
        let running = without_sidecars(application).expect("loopback has a port");
        let authority = "web.default.svc.cluster.local:8080";
        let endings = drive(&case, &Loopback { target: &running, authority, logs: &logs }).await;
        running.stop().await;
        let say = |departure: Departure| {
            format!("{}: {}, {}", departure.step, departure.expected, departure.actual)
        };
        endings.into_iter().map(|ending| ending.map_err(say)).collect()
    }

    #[tokio::test]
    async fn a_session_is_played_step_by_step_to_the_end_of_its_connection() {
        let steps = "[{connect: {}}, {send: hello}, {receive: hello}, \
                     {repeat: {times: 3, steps: [{send: world}, {receive: world}]}}, {logged: 0}, {close: 1000}]";
        assert_eq!(driven(Application::Echo, &format!("[{{steps: {steps}}}]")).await, [Ok(())]);
    }

    #[tokio::test]
    async fn a_step_that_goes_otherwise_ends_its_session_and_says_what_happened() {
        for (steps, ending) in [
            ("[{connect: {}}, {send: a}, {receive: b}, {close: 1000}]", "receive: \"b\", \"a\""),
            ("[{connect: {status: 503, body_bytes: 95}}]", "connect: 503 with a body of 95 bytes, 101"),
            ("[{send: a}]", "send: an open connection, none"),
            (
                "[{connect: {}}, {logged: 1}]",
                "logged: 1 lines at each sidecar by now, 0 lines at the client's sidecar",
            ),
        ] {
            let endings = driven(Application::Echo, &format!("[{{steps: {steps}}}]")).await;
            assert_eq!(endings, [Err(ending.to_owned())]);
        }
    }

    #[tokio::test]
    async fn a_held_session_is_answered_only_when_it_is_released_and_holds_up_no_other() {
        let sessions = "[{count: 3, steps: [{connect: {}}, {meet: open}, {send: a}, {receive: a}, {close: 1000}, \
                         {meet: answered}]}, \
                         {steps: [{connect: {path: /held}}, {meet: open}, {send: b}, {meet: answered}, release, \
                         {receive: b}, {close: 1000}]}]";
        assert_eq!(driven(Application::HeldEcho, sessions).await, [Ok(()), Ok(()), Ok(()), Ok(())]);
    }

    #[tokio::test]
    async fn who_waits_for_a_session_that_ended_early_is_not_left_waiting() {
        let sessions =
            "[{steps: [{connect: {status: 503}}, {meet: both}]}, {steps: [{connect: {}}, {meet: both}]}]";
        let endings = driven(Application::Echo, sessions).await;
        assert_eq!(endings[0], Err("connect: 503, 101".to_owned()));
        assert_eq!(endings[1], Err("meet: both, another session ended before it came".to_owned()));
    }
}
