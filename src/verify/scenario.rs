//! A scenario: mesh documents, sessions step by step, and what is expected of the lines they leave. Plain data, written
//! in YAML; the built-in ones are files beside this one, embedded.

use std::sync::LazyLock;

use serde::Deserialize;

use super::expect::{Expectations, FieldRef};

/// The built-in scenarios, in the order in which they are listed and reported.
const BUILT_IN: [&str; 6] = [
    include_str!("scenarios/http1.yaml"),
    include_str!("scenarios/http2.yaml"),
    include_str!("scenarios/no-allow-connect.yaml"),
    include_str!("scenarios/do-not-upgrade.yaml"),
    include_str!("scenarios/one-line-per-connection.yaml"),
    include_str!("scenarios/multiplexing.yaml"),
];

/// The built-in scenarios.
///
/// # Panics
/// One of the embedded files is no scenario, which a test excludes.
#[must_use]
pub fn built_in() -> &'static [Scenario] {
    static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
        let parse = |text: &&str| serde_saphyr::from_str(text).expect("an embedded scenario is well formed");
        BUILT_IN.iter().map(parse).collect()
    });
    &SCENARIOS
}

/// One thing that is to be shown, by sessions through the pair.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What selects it on the command line, and the name of its folder of logs.
    pub name: String,
    /// One line for `--list`.
    pub description: String,
    /// What this is called beside its variants; only where there are some.
    #[serde(default)]
    pub label: Option<String>,
    /// For documents of which policy this is run when the user brings documents; for none if absent.
    #[serde(default)]
    pub stands_for: Option<Policy>,
    /// The Istio documents that apply, as `kubectl apply` takes them.
    pub documents: String,
    /// What the server's sidecar finds behind it.
    #[serde(default)]
    pub application: Application,
    /// The sessions, all at once.
    pub sessions: Vec<Sessions>,
    /// What their lines are to say.
    pub expect: Expectations,
    /// The fields that a verdict shows.
    pub decided_by: Vec<FieldRef>,
    /// The same again with something changed.
    #[serde(default)]
    pub variants: Vec<Variant>,
}

/// A scenario again, with other documents. What it does not say it takes from the scenario.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Appended to the scenario's name for the folder of logs.
    pub name: String,
    /// What it is called in a report.
    pub label: String,
    /// As in the scenario.
    #[serde(default)]
    pub stands_for: Option<Policy>,
    /// Instead of the scenario's.
    pub documents: String,
    /// Over the scenario's, field by field.
    #[serde(default)]
    pub expect: Expectations,
}

/// What the client's sidecar speaks to the server's, as the documents decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// `h2UpgradePolicy: UPGRADE`, or a port that is HTTP/2 by its protocol.
    Upgrade,
    /// HTTP/1.1.
    DoNotUpgrade,
}

/// The application behind the server's sidecar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// The echo server.
    #[default]
    Echo,
    /// An echo whose sessions with the path `/held` are answered only after a step `release`: slow, as slow as one likes.
    HeldEcho,
}

/// Sessions that go the same way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// How many, at once.
    #[serde(default = "one")]
    pub count: usize,
    /// What each does.
    pub steps: Vec<Step>,
}

const fn one() -> usize {
    1
}

/// One thing that a session does or waits for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Opens the connection and sends the opening handshake.
    Connect {
        /// The request's path and query.
        #[serde(default = "root")]
        path: String,
        /// The status that answers it.
        #[serde(default = "switching_protocols")]
        status: u16,
        /// The length of the answer's body, for a status that is a refusal.
        #[serde(default)]
        body_bytes: Option<usize>,
    },
    /// Sends a text message.
    Send(String),
    /// Waits for this text message, and no other before it.
    Receive(String),
    /// Sends a Close frame with this code, waits for the same code in answer and for the end of the connection.
    Close(u16),
    /// Waits until every session that has a step of this name has come to it.
    Meet(String),
    /// Lets the held echo answer.
    Release,
    /// Looks into the access logs: each sidecar has written this many lines by now.
    Logged(usize),
    /// Does these steps again and again.
    Repeat {
        /// How many times.
        times: usize,
        /// What.
        steps: Vec<Step>,
    },
}

fn root() -> String {
    "/".to_owned()
}

const fn switching_protocols() -> u16 {
    101
}

/// A scenario or one of its variants, complete: what one pair of sidecars is started for.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The scenario's name.
    pub scenario: String,
    /// Its folder of logs: the scenario's name, and the variant's appended.
    pub folder: String,
    /// What it is called beside the scenario's other variants.
    pub label: Option<String>,
    /// As in the scenario.
    pub stands_for: Option<Policy>,
    /// As in the scenario.
    pub documents: String,
    /// As in the scenario.
    pub application: Application,
    /// As in the scenario.
    pub sessions: Vec<Sessions>,
    /// The scenario's with the variant's over them.
    pub expect: Expectations,
    /// As in the scenario.
    pub decided_by: Vec<FieldRef>,
}

impl Scenario {
    /// The scenario itself and its variants, each complete.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        let itself = Case {
            scenario: self.name.clone(),
            folder: self.name.clone(),
            label: self.label.clone(),
            stands_for: self.stands_for,
            documents: self.documents.clone(),
            application: self.application,
            sessions: self.sessions.clone(),
            expect: self.expect.clone(),
            decided_by: self.decided_by.clone(),
        };
        let variant = |variant: &Variant| Case {
            folder: format!("{}-{}", self.name, variant.name),
            label: Some(variant.label.clone()),
            stands_for: variant.stands_for,
            documents: variant.documents.clone(),
            expect: self.expect.overlaid(&variant.expect),
            ..itself.clone()
        };
        let variants = self.variants.iter().map(variant).collect::<Vec<_>>();
        std::iter::once(itself).chain(variants).collect()
    }
}

impl Case {
    /// How many sessions it has in all, and so how many lines each sidecar is to write.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.iter().map(|sessions| sessions.count).sum()
    }
}

#[cfg(test)]
mod tests {
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
            [
                "http1",
                "http2",
                "no-allow-connect",
                "do-not-upgrade",
                "one-line-per-connection",
                "multiplexing"
            ]
        );
        let cases: Vec<_> = built_in().iter().flat_map(Scenario::cases).collect();
        let folders: BTreeSet<_> = cases.iter().map(|case| case.folder.as_str()).collect();
        assert_eq!(folders.len(), cases.len(), "{folders:?}");
        assert!(folders.contains("http1") && folders.contains("http1-no-destination-rule"), "{folders:?}");
    }

    #[test]
    fn of_each_scenario_at_most_one_case_stands_for_a_policy() {
        for scenario in built_in() {
            for policy in [Policy::Upgrade, Policy::DoNotUpgrade] {
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

    /// The bytes of all frames that a session sends and receives: RFC 6455, section 5.2, for short payloads.
    fn frame_bytes(steps: &[Step]) -> (u64, u64) {
        let frame = |payload: usize| {
            assert!(payload < 126, "a longer payload has a longer header");
            u64::try_from(2 + payload).expect("small")
        };
        steps.iter().fold((0, 0), |(received, sent), step| match step {
            Step::Send(text) => (received + frame(text.len()) + MASKING_KEY, sent),
            Step::Receive(text) => (received, sent + frame(text.len())),
            Step::Close(_) => (received + frame(2) + MASKING_KEY, sent + frame(2)),
            Step::Repeat { times, steps } => {
                let (more_received, more_sent) = frame_bytes(steps);
                let times = u64::try_from(*times).expect("small");
                (received + times * more_received, sent + times * more_sent)
            }
            Step::Connect { .. } | Step::Meet(_) | Step::Release | Step::Logged(_) => (received, sent),
        })
    }

    #[test]
    fn the_byte_counts_expected_of_a_session_are_the_sums_of_its_frames() {
        for case in built_in().iter().flat_map(Scenario::cases) {
            for sessions in case.sessions.iter().filter(|_| case.scenario != "no-allow-connect") {
                let (received, sent) = frame_bytes(&sessions.steps);
                for side in Side::BOTH {
                    let expect = case.expect.of(side);
                    assert_eq!(expect["bytes_received"], Expected::Number(received), "{}", case.folder);
                    assert_eq!(expect["bytes_sent"], Expected::Number(sent), "{}", case.folder);
                }
            }
        }
    }

    #[test]
    fn a_variant_keeps_of_its_scenario_what_it_does_not_say() {
        let cases = named("multiplexing").cases();
        let [http2, http1] = cases.as_slice() else { panic!("two cases, not {}", cases.len()) };
        assert_eq!(http1.sessions, http2.sessions);
        assert_eq!(http1.session_count(), 20);
        assert_eq!(http1.expect.client["bytes_received"], http2.expect.client["bytes_received"]);
        assert_ne!(http1.expect.client["response_flags"], http2.expect.client["response_flags"]);
    }

    #[test]
    fn a_scenario_with_an_unknown_key_or_step_is_refused() {
        let minimal = "{name: x, description: x, documents: '', sessions: [{steps: [STEP]}], expect: {}, decided_by: []}";
        let parse = |step| serde_saphyr::from_str::<Scenario>(&minimal.replace("STEP", step));
        assert!(parse("send: x").is_ok());
        assert!(parse("sent: x").is_err());
        assert!(parse("connect: {pat: /}").is_err());
        assert!(serde_saphyr::from_str::<Scenario>(&minimal.replace("name", "nam")).is_err());
    }
}
