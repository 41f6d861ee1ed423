//! Drives the sessions of a case, step by step, with the real client, all at once.
//!
//! Nothing is judged here but that each step went as the scenario says; a session ends with the first that did not.
//! Sessions wait for one another only where a step says so, and for everything else only for a limited time.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::Barrier;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message};

use super::evidence::Logs;
use super::expect::Side;
use super::judge::Departure;
use super::scenario::{Case, Step};
use super::target::Running;
use crate::client::{self, ConnectConfig, ConnectError, Connection, WebSocketUri};

/// How long one step may take. Over loopback it takes milliseconds; behind a real Envoy, closing takes two seconds.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// How long a session waits for the others at a meeting: they may have a good many steps to take.
const MEETING_LIMIT: Duration = Duration::from_secs(30);

/// What the sessions of a case have in common.
struct Stage<'a> {
    target: &'a Running,
    authority: &'a str,
    logs: &'a Logs,
    meetings: HashMap<&'a str, Barrier>,
    /// A session has ended early, and those that wait for it do so in vain.
    departed: CancellationToken,
}

/// Drives every session of `case` to its end, in the order of the scenario. `authority` is what requests carry as `Host`.
pub(super) async fn drive(
    case: &Case,
    target: &Running,
    authority: &str,
    logs: &Logs,
) -> Vec<Result<(), Departure>> {
    let sessions: Vec<Vec<&Step>> = case
        .sessions
        .iter()
        .flat_map(|sessions| std::iter::repeat_n(unrolled(&sessions.steps), sessions.count))
        .collect();
    let stage =
        Stage { target, authority, logs, meetings: meetings(&sessions), departed: CancellationToken::new() };
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

impl Stage<'_> {
    async fn play(&self, steps: &[&Step]) -> Result<(), Departure> {
        let mut connection = None;
        for step in steps {
            match step {
                Step::Connect { path, status, body_bytes } => {
                    connection = self.connect(path, *status, *body_bytes).await?;
                }
                Step::Send(text) => send(open(&mut connection, "send")?, text).await?,
                Step::Receive(text) => receive(open(&mut connection, "receive")?, text).await?,
                Step::Close(code) => close(open(&mut connection, "close")?, *code).await?,
                Step::Meet(name) => self.meet(name).await?,
                Step::Release => self.target.release(),
                Step::Logged(count) => self.logged(*count)?,
                // Written out before.
                Step::Repeat { .. } => {}
            }
        }
        Ok(())
    }

    /// Connects; returns the connection if the answer that is expected opens one.
    async fn connect(
        &self,
        path: &str,
        status: u16,
        body_bytes: Option<usize>,
    ) -> Result<Option<Connection>, Departure> {
        let expected = match body_bytes {
            Some(bytes) => format!("{status} with a body of {bytes} bytes"),
            None => status.to_string(),
        };
        let departure = |actual| Departure { step: "connect", expected: expected.clone(), actual };
        let uri: WebSocketUri = format!("ws://{}{path}", self.authority)
            .parse()
            .map_err(|error: client::UriError| departure(error.to_string()))?;
        let config = ConnectConfig {
            address: Some(self.target.client_sidecar),
            timeout: STEP_LIMIT,
            ..ConnectConfig::new(uri)
        };
        match client::connect(&config).await {
            Ok(connection) if status == connection.response.status.as_u16() => Ok(Some(connection)),
            Ok(connection) => Err(departure(connection.response.status.as_u16().to_string())),
            Err(ConnectError::Refused(refusal)) => {
                let bytes = refusal.body.len();
                if refusal.head.status.as_u16() == status && body_bytes.is_none_or(|wanted| wanted == bytes) {
                    return Ok(None);
                }
                let body = String::from_utf8_lossy(&refusal.body);
                let actual =
                    format!("{} with a body of {bytes} bytes: {}", refusal.head.status.as_u16(), body.trim());
                Err(departure(actual))
            }
            Err(error) => Err(departure(error.to_string())),
        }
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

    fn logged(&self, expected: usize) -> Result<(), Departure> {
        let departure = |actual| Departure {
            step: "logged",
            expected: format!("{expected} lines at each sidecar by now"),
            actual,
        };
        for side in Side::BOTH {
            let count = self.logs.count(side).map_err(|error| departure(error.to_string()))?;
            if count != expected {
                return Err(departure(format!("{count} lines at the {side}'s sidecar")));
            }
        }
        Ok(())
    }
}

/// The connection, which a scenario may have forgotten to open.
fn open<'a>(
    connection: &'a mut Option<Connection>,
    step: &'static str,
) -> Result<&'a mut Connection, Departure> {
    connection.as_mut().ok_or_else(|| Departure {
        step,
        expected: "an open connection".to_owned(),
        actual: "none".to_owned(),
    })
}

async fn send(connection: &mut Connection, text: &str) -> Result<(), Departure> {
    let departure = |actual| Departure { step: "send", expected: format!("{text:?} sent"), actual };
    limited(connection.stream.send(Message::text(text)))
        .await
        .and_then(|sent| sent.map_err(|error| error.to_string()))
        .map_err(departure)
}

async fn receive(connection: &mut Connection, text: &str) -> Result<(), Departure> {
    let departure = |actual| Departure { step: "receive", expected: format!("{text:?}"), actual };
    match limited(next_message(connection)).await.map_err(departure)? {
        Ok(Message::Text(received)) if received == text => Ok(()),
        Ok(other) => Err(departure(named(&other))),
        Err(end) => Err(departure(end)),
    }
}

/// The closing handshake from the client's side; then the server's end of TCP, which comes first (RFC 6455, section
/// 7.1.1): to go before it would be another ending, and another access-log line.
async fn close(connection: &mut Connection, code: u16) -> Result<(), Departure> {
    let departure =
        |actual| Departure { step: "close", expected: format!("{code} in answer, then the end"), actual };
    let frame = CloseFrame { code: CloseCode::from(code), reason: "".into() };
    let exchange = async {
        connection.stream.close(Some(frame)).await.map_err(|error| error.to_string())?;
        match next_message(connection).await? {
            Message::Close(Some(answer)) if u16::from(answer.code) == code => {}
            other => return Err(named(&other)),
        }
        match next_message(connection).await {
            Err(_) => Ok(()),
            Ok(other) => Err(format!("{} after the Close", named(&other))),
        }
    };
    limited(exchange).await.and_then(|outcome| outcome).map_err(departure)
}

/// The next message that is not a control frame which the library answers itself; the end of the connection in words.
async fn next_message(connection: &mut Connection) -> Result<Message, String> {
    loop {
        match connection.stream.next().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => return Ok(message),
            Some(Err(error)) => return Err(error.to_string()),
            None => return Err("the end of the connection".to_owned()),
        }
    }
}

fn named(message: &Message) -> String {
    match message {
        Message::Text(text) => format!("{:?}", text.as_str()),
        Message::Close(Some(frame)) => format!("Close {}", u16::from(frame.code)),
        Message::Close(None) => "Close without a code".to_owned(),
        Message::Binary(bytes) => format!("a binary message of {} bytes", bytes.len()),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => "a control frame".to_owned(),
    }
}

async fn limited<T>(step: impl Future<Output = T>) -> Result<T, String> {
    timeout(STEP_LIMIT, step).await.map_err(|_| format!("nothing within {STEP_LIMIT:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let endings = drive(&case, &running, "web.default.svc.cluster.local:8080", &logs).await;
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
