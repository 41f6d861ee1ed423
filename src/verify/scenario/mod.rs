//! A scenario: mesh documents, sessions step by step, and what is expected of the lines they leave.
//! Plain data, written in YAML; the built-in ones are files beside this one, embedded. The doc
//! comments are what an editor shows: they go into the published JSON schema.

mod file;
mod inline;
mod root;
mod scalar_or;
mod step;
mod values;

use std::path::PathBuf;
use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, schema_for};
use serde::Deserialize;

pub(super) use self::file::SIMILAR;
pub use self::file::{ScenarioError, load};
pub use self::inline::Inline;
pub use self::step::{Awaited, Closing, Connect, Content, Ended, PingPayload, Request, Step, Wanted};
pub use self::values::{Headers, Length, MethodName};
use super::expect::{Expectations, FieldRef, Side};
use crate::yaml::{self, Placed};

/// A scenario with comments, to begin one's own with.
pub const EXAMPLE: &str = include_str!("builtin/example.yaml");

/// The built-in scenarios, in the order in which they are listed and reported.
const BUILT_IN: [&str; 6] = [
    include_str!("builtin/http1.yaml"),
    include_str!("builtin/http2.yaml"),
    include_str!("builtin/no-allow-connect.yaml"),
    include_str!("builtin/do-not-upgrade.yaml"),
    include_str!("builtin/one-line-per-connection.yaml"),
    include_str!("builtin/multiplexing.yaml"),
];

/// The built-in scenarios.
///
/// # Panics
/// One of the embedded files is no scenario, which a test excludes.
#[must_use]
pub fn built_in() -> &'static [Scenario] {
    static SCENARIOS: LazyLock<Vec<Scenario>> = LazyLock::new(|| {
        let parse = |text: &&str| yaml::from_str(text).expect("an embedded scenario is well formed");
        BUILT_IN.iter().map(parse).collect()
    });
    &SCENARIOS
}

/// The JSON schema of a scenario's file.
#[must_use]
pub fn scenario_schema() -> Schema {
    schema_for!(Scenario)
}

/// One thing that is to be shown, by sessions through the pair.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What selects it on the command line, and the name of its folder of logs.
    pub name: String,
    /// One line for `--list`.
    pub description: String,
    /// What this is called beside its variants; only where there are some.
    #[serde(default)]
    pub label: Option<String>,
    /// For documents of which policy this is run when the user brings documents; for none if
    /// absent.
    #[serde(default)]
    pub stands_for: Option<Policy>,
    /// The Istio documents that apply, as `kubectl apply` takes them.
    #[serde(default)]
    pub documents: Inline,
    /// Files or folders with more of them, relative to this file.
    #[serde(default)]
    pub document_files: Vec<PathBuf>,
    /// What the server's sidecar finds behind it.
    #[serde(default)]
    pub application: Application,
    /// The sessions, all at once.
    pub sessions: Vec<Sessions>,
    /// What their lines are to say.
    #[serde(default)]
    pub expect: Expectations,
    /// The fields that a verdict shows.
    #[serde(default = "telling_fields")]
    pub decided_by: Vec<FieldRef>,
    /// The same again with something changed.
    #[serde(default)]
    pub variants: Vec<Variant>,
    /// Where it was read from; none of a built-in one.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// What a verdict shows of a scenario that does not say it.
fn telling_fields() -> Vec<FieldRef> {
    let of = |side| {
        ["protocol", "response_code", "response_flags"]
            .map(|key: &str| FieldRef { side, key: key.to_owned() })
    };
    Side::BOTH.into_iter().flat_map(of).collect()
}

/// A scenario again, with other documents. What it does not say it takes from the scenario.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
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
    #[serde(default)]
    pub documents: Inline,
    /// Instead of the scenario's.
    #[serde(default)]
    pub document_files: Vec<PathBuf>,
    /// Over the scenario's, field by field.
    #[serde(default)]
    pub expect: Expectations,
}

/// What is spoken on the way to the application, as the documents decide it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// HTTP/2 between the sidecars, HTTP/1.1 with the application: `h2UpgradePolicy: UPGRADE`.
    Upgrade,
    /// HTTP/1.1.
    DoNotUpgrade,
    /// HTTP/2 all the way from the client's sidecar: a port that is HTTP/2 by its name or
    /// appProtocol, or one without either under `h2UpgradePolicy: UPGRADE`.
    Http2Application,
}

/// The application behind the server's sidecar.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// The echo server.
    #[default]
    Echo,
    /// Only where this program starts the application, and not in a cluster: an echo whose sessions
    /// with the path `/held`, or the query `held`, are answered only after a step `release`: slow, as
    /// slow as one likes.
    HeldEcho,
}

/// Sessions that go the same way.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// How many, in parallel. All sessions of a scenario go at once.
    #[serde(default = "one")]
    pub count: usize,
    /// What each session does, one step after the other.
    pub steps: Vec<Placed<Step>>,
}

const fn one() -> usize {
    1
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
    pub documents: Inline,
    /// As in the scenario.
    pub document_files: Vec<PathBuf>,
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
            document_files: self.document_files.clone(),
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
            document_files: variant.document_files.clone(),
            expect: self.expect.overlaid(&variant.expect),
            ..itself.clone()
        };
        let variants = self.variants.iter().map(variant).collect::<Vec<_>>();
        std::iter::once(itself).chain(variants).collect()
    }

    /// The files that it names, to be changed to where they are.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        let steps = self.sessions.iter_mut().flat_map(|sessions| &mut sessions.steps);
        let of_variants = self.variants.iter_mut().flat_map(|variant| &mut variant.document_files);
        let of_steps = steps.flat_map(|step| step.value.files());
        self.document_files.iter_mut().chain(of_variants).chain(of_steps).collect()
    }
}

impl Case {
    /// Has its sessions ask for this path instead of `/`; queries stay.
    pub fn ask_for(&mut self, path: &str) {
        let steps = self.sessions.iter_mut().flat_map(|sessions| &mut sessions.steps);
        for connect in steps.flat_map(|step| step.value.connects_mut()) {
            if let Some(query) =
                connect.path.strip_prefix('/').filter(|it| it.is_empty() || it.starts_with('?'))
            {
                connect.path = format!("{path}{query}");
            }
        }
    }

    /// How many lines one sidecar is to write: one a request, unless the scenario says otherwise.
    #[must_use]
    pub fn line_count(&self, side: Side) -> usize {
        let said = self.expect.lines.of(side);
        said.unwrap_or_else(|| {
            self.sessions.iter().map(|sessions| sessions.count * step::lines(&sessions.steps)).sum()
        })
    }
}

#[cfg(test)]
mod tests;
