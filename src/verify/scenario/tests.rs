//! What holds for every built-in scenario, and what is refused of others.

use std::collections::BTreeSet;

use super::*;
use crate::verify::expect::{Expected, Side};

fn named(name: &str) -> &'static Scenario {
    built_in().iter().find(|scenario| scenario.name == name).expect("a built-in scenario")
}

#[test]
fn the_built_in_scenarios_are_well_formed_and_have_names_and_folders_of_their_own() {
    let names: Vec<_> = built_in().iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(
        names,
        ["http1", "http2", "no-allow-connect", "do-not-upgrade", "one-line-per-connection", "multiplexing"]
    );
    let cases: Vec<_> = built_in().iter().flat_map(Scenario::cases).collect();
    let folders: BTreeSet<_> = cases.iter().map(|case| case.folder.as_str()).collect();
    assert_eq!(folders.len(), cases.len(), "{folders:?}");
    assert!(folders.contains("http1") && folders.contains("http1-no-destination-rule"), "{folders:?}");
}

#[test]
fn of_each_scenario_at_most_one_case_stands_for_a_policy() {
    for scenario in built_in() {
        for policy in [Policy::Upgrade, Policy::DoNotUpgrade, Policy::Http2Application] {
            let cases = scenario.cases();
            let standing = cases.iter().filter(|case| case.stands_for == Some(policy)).count();
            assert!(standing <= 1, "{}: {standing} cases stand for {policy:?}", scenario.name);
        }
    }
}

#[test]
fn http2_expects_something_of_every_field_of_istios_format() {
    let keys = &named("one-line-per-connection").expect.keys;
    assert_eq!(keys.len(), 24);
    let expect = &named("http2").expect;
    for key in keys {
        assert!(expect.client.contains_key(key) || expect.server.contains_key(key), "{key} is free");
    }
}

/// In every frame that a client sends.
const MASKING_KEY: u64 = 4;

/// The bytes of all frames that a session sends and receives: RFC 6455, section 5.2, for short
/// payloads.
fn frame_bytes(steps: &[Placed<Step>]) -> (u64, u64) {
    let frame = |payload: usize| {
        assert!(payload < 126, "a longer payload has a longer header");
        u64::try_from(2 + payload).expect("small")
    };
    steps.iter().fold((0, 0), |(received, sent), step| match &step.value {
        Step::Send(Content::Text(text)) => (received + frame(text.len()) + MASKING_KEY, sent),
        Step::Receive(Awaited { message: Wanted::Equal(Content::Text(text)), .. }) => {
            (received, sent + frame(text.len()))
        }
        Step::Close(_) => (received + frame(2) + MASKING_KEY, sent + frame(2)),
        Step::Repeat { times, steps } => {
            let (more_received, more_sent) = frame_bytes(steps);
            let times = u64::try_from(*times).expect("small");
            (received + times * more_received, sent + times * more_sent)
        }
        Step::Connect(_) | Step::Meet(_) | Step::Release | Step::Logged(_) => (received, sent),
        other => panic!("{other:?} is in no built-in scenario"),
    })
}

#[test]
fn the_byte_counts_expected_of_a_session_are_the_sums_of_its_frames() {
    for case in built_in().iter().flat_map(Scenario::cases) {
        for sessions in case.sessions.iter().filter(|_| case.scenario != "no-allow-connect") {
            let (received, sent) = frame_bytes(&sessions.steps);
            for side in Side::BOTH {
                let expect = case.expect.of(side);
                assert_eq!(expect["bytes_received"].value, Expected::Number(received), "{}", case.folder);
                assert_eq!(expect["bytes_sent"].value, Expected::Number(sent), "{}", case.folder);
            }
        }
    }
}

#[test]
fn a_variant_keeps_of_its_scenario_what_it_does_not_say() {
    let cases = named("multiplexing").cases();
    let [http2, http1, ..] = cases.as_slice() else { panic!("two cases or more, not {}", cases.len()) };
    assert_eq!(http1.sessions, http2.sessions);
    assert_eq!(http1.line_count(Side::Client), 20);
    assert_eq!(http1.expect.client["bytes_received"], http2.expect.client["bytes_received"]);
    assert_ne!(http1.expect.client["response_flags"], http2.expect.client["response_flags"]);
}

#[test]
fn a_scenario_with_an_unknown_key_or_step_is_refused() {
    let minimal =
        "{name: x, description: x, documents: '', sessions: [{steps: [STEP]}], expect: {}, decided_by: []}";
    let parse = |step| yaml::from_str::<Scenario>(&minimal.replace("STEP", step));
    assert!(parse("send: x").is_ok());
    assert!(parse("sent: x").is_err());
    assert!(parse("connect: {pat: /}").is_err());
    assert!(yaml::from_str::<Scenario>(&minimal.replace("name", "nam")).is_err());
}
