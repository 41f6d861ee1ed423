//! Sessions from the client's pod: a command in its container for each, `websockets-cli client`, or
//! Python's client where the pod has only that. What is typed and shown is the session.

use std::time::Duration;

use kube::api::AttachedProcess;
use regex::Regex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::api::Kubernetes;
use super::{KubernetesError, Pod};
use crate::verify::driver::DrivenSession;
use crate::verify::driver::StepFailure;
use crate::verify::scenario::{Awaited, Closing, Content, Ended, Wanted};

/// How long one step may take: behind real sidecars a close takes two seconds, and a busy cluster
/// is slow to start a command.
const STEP_LIMIT: Duration = Duration::from_secs(30);

/// Passes lines on to the client until the one that ends them. The exec protocol of older clusters
/// cannot close standard input by itself, and the end of its input is what makes the client close
/// the session.
const SCRIPT: &str =
    r#"while IFS= read -r line && [ "$line" != "$0" ]; do printf '%s\n' "$line"; done | "$@""#;

/// The line that ends the input.
const END: &str = "websockets-cli: end of input";

/// The client program that a pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Program {
    /// `websockets-cli client`: messages on standard output, talk on standard error.
    WebsocketsCli,
    /// `python3 -m websockets`, the guide's: everything on standard output, messages behind `< `.
    Python,
}

/// What a client shows.
#[derive(Debug, PartialEq, Eq)]
enum ShownScreen {
    Message(String),
    Talk(String),
}

/// A session that a client in the pod has open.
pub(super) struct ExecSession {
    /// Ends the command when it is dropped.
    _process: AttachedProcess,
    input: Box<dyn AsyncWrite + Unpin>,
    shown: UnboundedReceiver<ShownScreen>,
}

impl Program {
    /// Finds out which program the client's container has.
    pub(super) async fn find(cluster: &Kubernetes, pod: &Pod) -> Result<Self, KubernetesError> {
        let command = ["sh", "-c", "command -v websockets-cli || command -v python3 || true"];
        let found = cluster.run(pod, &pod.container, &command).await?;
        match found.rsplit('/').next().unwrap_or_default().trim() {
            "websockets-cli" => Ok(Self::WebsocketsCli),
            "python3" => Ok(Self::Python),
            _ => Err(KubernetesError::NoClient { pod: pod.name.clone(), container: pod.container.clone() }),
        }
    }

    fn command(self, uri: &str, request_id: &str) -> Vec<String> {
        let words: &[&str] = match self {
            Self::WebsocketsCli => &["websockets-cli", "client", "--no-compression", "--header"],
            Self::Python => &["python3", "-m", "websockets"],
        };
        let mut command: Vec<String> = words.iter().copied().map(str::to_owned).collect();
        if self == Self::WebsocketsCli {
            command.push(format!("x-request-id: {request_id}"));
        }
        command.push(uri.to_owned());
        command
    }

    /// What a line shows, of standard output or of standard error.
    fn read(self, line: &str, is_output: bool) -> ShownScreen {
        match self {
            Self::WebsocketsCli if is_output => ShownScreen::Message(line.to_owned()),
            Self::WebsocketsCli => ShownScreen::Talk(line.to_owned()),
            Self::Python => match line.split_once("< ") {
                Some(("", message)) => ShownScreen::Message(message.to_owned()),
                _ => ShownScreen::Talk(line.to_owned()),
            },
        }
    }
}

/// Opens a session, if the answer that is expected opens one. With `websockets-cli` its request id
/// is `request_id`.
pub(super) async fn connect(
    (cluster, pod, program): (&Kubernetes, &Pod, Program),
    uri: &str,
    request_id: &str,
    status: u16,
) -> Result<Option<ExecSession>, StepFailure> {
    let failure = |actual: String| StepFailure::new("connect", status.to_string(), actual);
    let client = program.command(uri, request_id);
    let command: Vec<&str> =
        ["sh", "-c", SCRIPT, END].into_iter().chain(client.iter().map(String::as_str)).collect();
    let started = cluster.exec(&pod.name, &pod.namespace, &pod.container, &command).await;
    let mut process = started.map_err(|error| failure(error.to_string()))?;
    let (sender, shown) = unbounded_channel();
    if let Some(output) = process.stdout() {
        tokio::spawn(read_lines(output, program, true, sender.clone()));
    }
    if let Some(errors) = process.stderr() {
        tokio::spawn(read_lines(errors, program, false, sender));
    }
    let input = process.stdin().ok_or_else(|| failure("a command without standard input".to_owned()))?;
    let mut session = ExecSession { _process: process, input: Box::new(input), shown };
    loop {
        let talk = match session.next().await.map_err(&failure)? {
            ShownScreen::Talk(talk) => talk,
            ShownScreen::Message(message) => return Err(failure(format!("{message:?}"))),
        };
        if talk.starts_with("Connected to ") {
            return if status == 101 { Ok(Some(session)) } else { Err(failure("101".to_owned())) };
        }
        if talk.starts_with("Failed to connect") {
            return if talk.contains(&format!("HTTP {status}")) { Ok(None) } else { Err(failure(talk)) };
        }
    }
}

impl ExecSession {
    /// The next thing that the client shows; an error once the client has ended.
    async fn next(&mut self) -> Result<ShownScreen, String> {
        self.next_within(STEP_LIMIT).await
    }

    async fn next_within(&mut self, limit: Duration) -> Result<ShownScreen, String> {
        let shown = timeout(limit, self.shown.recv()).await;
        shown
            .map_err(|_| format!("nothing within {limit:?}"))?
            .ok_or_else(|| "the end of the client".to_owned())
    }

    /// Waits until the client says that the connection is closed, and how.
    async fn closed_with(&mut self, code: u16) -> Result<(), String> {
        loop {
            match self.next().await? {
                ShownScreen::Talk(talk) if talk.starts_with(&format!("Connection closed: {code} ")) => {
                    return Ok(());
                }
                ShownScreen::Talk(talk) if talk.starts_with("Connection closed") => return Err(talk),
                ShownScreen::Talk(_) => {}
                ShownScreen::Message(message) => return Err(format!("{message:?}")),
            }
        }
    }

    async fn write(&mut self, line: &str) -> Result<(), String> {
        let written = async {
            self.input.write_all(format!("{line}\n").as_bytes()).await?;
            self.input.flush().await
        };
        written.await.map_err(|error| error.to_string())
    }
}

impl DrivenSession for ExecSession {
    async fn send(&mut self, content: &Content) -> Result<(), StepFailure> {
        let Content::Text(text) = content else { return Err(beyond("send", "anything but a text")) };
        let failure = |actual| StepFailure::new("send", format!("{text:?} sent"), actual);
        if text.contains(['\n', '\r']) {
            return Err(beyond("send", "a text of several lines"));
        }
        self.write(text).await.map_err(failure)
    }

    async fn receive(&mut self, awaited: &Awaited) -> Result<(), StepFailure> {
        let expected = match &awaited.message {
            Wanted::Equal(Content::Text(text)) => format!("{text:?}"),
            Wanted::Matching(pattern) => format!("a match of {pattern}"),
            Wanted::Equal(_) => return Err(beyond("receive", "anything but a text")),
        };
        let fits = |message: &str| match &awaited.message {
            Wanted::Equal(Content::Text(text)) => message == text,
            Wanted::Matching(pattern) => pattern.is_match(message),
            Wanted::Equal(_) => false,
        };
        let failure = |actual| StepFailure::new("receive", expected.clone(), actual);
        let limit = awaited.within.map_or(STEP_LIMIT, |length| length.0);
        loop {
            match self.next_within(limit).await.map_err(failure)? {
                ShownScreen::Message(message) if fits(&message) => return Ok(()),
                ShownScreen::Message(message) => return Err(failure(format!("{message:?}"))),
                ShownScreen::Talk(talk) if talk.starts_with("Connection closed") => {
                    return Err(failure(talk));
                }
                ShownScreen::Talk(_) => {}
            }
        }
    }

    async fn ping(&mut self, _payload: &str) -> Result<(), StepFailure> {
        Err(beyond("ping", "a Ping"))
    }

    async fn close(&mut self, closing: &Closing) -> Result<(), StepFailure> {
        if closing.code != 1000 || !closing.reason.is_empty() {
            return Err(beyond("close", "another code than 1000, or a reason"));
        }
        let failure = |actual| StepFailure::new("close", "1000 in answer, then the end".to_owned(), actual);
        self.write(END).await.map_err(failure)?;
        self.closed_with(closing.code).await.map_err(failure)
    }

    async fn closed(&mut self, ended: &Ended) -> Result<(), StepFailure> {
        let failure = |actual| StepFailure::new("closed", format!("Close {}", ended.code), actual);
        self.closed_with(ended.code).await.map_err(failure)
    }
}

/// What the client of a pod cannot be told to do.
pub(super) fn beyond(step: &'static str, what: &str) -> StepFailure {
    let actual = format!("{what} is not for the client in a pod");
    StepFailure::new(step, "what a client in a pod can do".to_owned(), actual)
}

/// Reads the lines of a stream to its end. Python's client writes for a terminal, with carriage
/// returns and escape sequences.
async fn read_lines(
    stream: impl AsyncRead + Unpin,
    program: Program,
    is_output: bool,
    shown: UnboundedSender<ShownScreen>,
) {
    let mut stream = BufReader::new(stream);
    let mut bytes = Vec::new();
    while matches!(stream.read_until(b'\n', &mut bytes).await, Ok(1..)) {
        for line in plain_lines(&String::from_utf8_lossy(&bytes)) {
            // Nobody listens any more: the session is over.
            if shown.send(program.read(&line, is_output)).is_err() {
                return;
            }
        }
        bytes.clear();
    }
}

/// The lines of a text without what only moves a cursor.
fn plain_lines(text: &str) -> Vec<String> {
    // CSI sequences, and saving and restoring the cursor (ECMA-48; DECSC, DECRC).
    let sequences = Regex::new("\u{1b}(\\[[0-9;?]*[A-Za-z]|[78])").expect("a regular expression");
    let text = sequences.replace_all(text, "");
    text.split(['\r', '\n'])
        .map(|line| line.trim_start_matches("> ").to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_client_is_read_through_what_it_writes_for_a_terminal() {
        let lines =
            plain_lines("\u{1b}7\u{1b}[A\u{1b}[L< hello\u{1b}8\r> \u{1b}[K\rConnection closed: 1000 (OK).\n");
        assert_eq!(lines, ["< hello", "Connection closed: 1000 (OK)."]);
        assert_eq!(Program::Python.read("< hello", true), ShownScreen::Message("hello".to_owned()));
        assert_eq!(
            Program::Python.read("Connected to ws://a.", true),
            ShownScreen::Talk("Connected to ws://a.".to_owned())
        );
    }

    #[test]
    fn the_programs_own_client_has_messages_on_standard_output_and_talk_on_standard_error() {
        assert_eq!(Program::WebsocketsCli.read("< hello", true), ShownScreen::Message("< hello".to_owned()));
        assert_eq!(Program::WebsocketsCli.read("hello", false), ShownScreen::Talk("hello".to_owned()));
    }
}
