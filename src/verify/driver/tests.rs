//! Sessions against an application without sidecars, written as a scenario writes them.

use super::*;
use crate::verify::played::LogFiles;
use crate::verify::scenario::{Application, Scenario};
use crate::verify::target::bundled::without_sidecars;

/// Drives sessions, written in YAML, against an application without sidecars; their endings as
/// `step: expected, actual`.
async fn driven(application: Application, sessions: &str) -> Vec<Result<(), String>> {
    let yaml = format!(
        "{{name: x, description: x, documents: '', sessions: {sessions}, expect: {{}}, decided_by: []}}"
    );
    let scenario: Scenario = crate::yaml::from_str(&yaml).expect("a scenario");
    let case = scenario.cases().remove(0);
    let folder = tempfile::tempdir().expect("a folder");
    let logs = LogFiles::within(folder.path());
    for side in Side::BOTH {
        std::fs::write(logs.path(side), "").expect("a log");
    }
    let running = without_sidecars(application).expect("loopback has a port");
    let authority = "web.default.svc.cluster.local:8080";
    let endings = drive(&case, &Loopback { target: &running, authority, logs: &logs }).await;
    running.stop().await;
    let say = |failure: StepFailure| format!("{}: {}, {}", failure.step, failure.expected, failure.actual);
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
