//! What is to be run: which scenarios, each with the documents that apply, and what these make of
//! the two sidecars. Wrong input is found here, before anything is started.

use std::path::{Path, PathBuf};
#[cfg(feature = "kubernetes")]
use std::sync::Arc;

use super::VerifyError;
use super::judge::{Check, Reservation, denied};
use super::pair::PairConfig;
use super::path::ROOT;
use super::reservations;
use super::scenario::{Case, Policy, SIMILAR, Scenario, built_in, load};
use super::target::envoy::Envoy;
#[cfg(feature = "kubernetes")]
use super::target::kubernetes::LiveMesh;
use crate::mesh::lint::{Circumstances, Finding, Levels, lint};
use crate::mesh::{Documents, ISTIO_VERSION, MeshDefaults, Source, Warning};
use crate::nearest::nearest;

/// What the user asks for.
#[derive(Debug, Clone, Default)]
pub struct PlanRequest {
    /// The scenarios by name or file; none: those that fit.
    pub scenarios: Vec<String>,
    /// The folder whose files scenarios may read, beside their own.
    pub scenario_root: Option<PathBuf>,
    /// Mesh documents instead of those of the scenarios.
    pub documents: Option<Documents>,
    /// What was found in these documents, with the levels that count.
    pub findings: Vec<Finding>,
    /// The levels of what is found in documents that scenarios bring.
    pub levels: Levels,
    /// The Istio release that the sidecars say they are of; without it the default one.
    pub istio_version: Option<String>,
    /// What the mesh does where these documents are silent, if they do not say so themselves.
    pub mesh: Option<MeshDefaults>,
    /// What is left out of the mesh's configuration.
    pub mesh_warnings: Vec<Warning>,
    /// The Service that sessions go to, where it is not the default one.
    pub service: Option<String>,
    /// The client's Deployment, where it is not the default one.
    pub client_workload: Option<String>,
    /// The path that built-in scenarios ask for, where it is not one that the documents have.
    pub path: Option<String>,
    /// The folder in which the access logs stay.
    pub keep: Option<PathBuf>,
    /// What sessions are driven through.
    pub targets: Targets,
}

/// The pairs of sidecars that sessions are driven through.
#[derive(Debug, Clone, Default)]
pub enum Targets {
    /// The sidecars of this program.
    #[default]
    Bundled,
    /// Two real Envoys.
    Envoy(Envoy),
    /// Both, and what they write is compared.
    Both(Envoy),
    /// A mesh in a cluster.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Arc<LiveMesh>),
}

impl Targets {
    /// Whether sessions meet all that documents say, and not only what a pair makes of it.
    pub(super) fn are_whole_meshes(&self) -> bool {
        match self {
            Self::Bundled | Self::Envoy(_) | Self::Both(_) => false,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(_) => true,
        }
    }
}

/// What will be run.
#[derive(Debug)]
pub struct Plan {
    /// In the order of the list.
    pub scenarios: Vec<PlannedScenario>,
    /// The folder in which the access logs stay.
    pub keep: Option<PathBuf>,
    /// What sessions are driven through.
    pub targets: Targets,
    /// How many findings in the documents are allowed.
    pub allowed_findings: usize,
}

/// A scenario with those of its cases that will be run.
#[derive(Debug)]
pub struct PlannedScenario {
    /// The name that selects it.
    pub name: String,
    /// Its file; none of a built-in one.
    pub file: Option<PathBuf>,
    /// At least one.
    pub cases: Vec<PlannedCase>,
    /// What their documents say and no session of them meets.
    pub reservations: Vec<Reservation>,
    /// What was found in their documents and is denied: a failed check of each.
    pub denied: Vec<Check>,
}

/// A case with what the documents make of it.
#[derive(Debug)]
pub struct PlannedCase {
    /// What is to be played and expected.
    pub case: Case,
    /// What the documents say.
    pub pair: PairConfig,
}

impl Plan {
    /// Plans what is asked for.
    ///
    /// # Errors
    /// A scenario does not exist or is malformed, or the documents do not say what is needed.
    pub fn new(request: PlanRequest) -> Result<Self, VerifyError> {
        let scenarios = select(&request.scenarios, request.scenario_root.as_deref())?;
        let istio_version = request.istio_version.as_deref().unwrap_or(ISTIO_VERSION);
        let mut allowed_findings = count_allowed(&request.findings);
        let scenarios = match &request.documents {
            None => {
                let mut planned = Vec::new();
                for scenario in &scenarios {
                    let found = with_own_documents(scenario, &request, istio_version)?;
                    allowed_findings += found.1;
                    planned.push(found.0);
                }
                planned
            }
            Some(documents) => {
                let mesh = documents.mesh(request.mesh.as_ref());
                let playing = |service: Option<&str>, path: Option<&str>| {
                    let client = request.client_workload.as_deref();
                    PairConfig::new(documents.clone(), service, client, path, &mesh, istio_version)
                };
                let pair = playing(request.service.as_deref(), request.path.as_deref())?;
                // A scenario of somebody's own says itself what its sessions ask for.
                let of_root = playing(request.service.as_deref(), Some(ROOT))?;
                let mut reservations = reservations::of(
                    &request.findings,
                    documents,
                    &request.mesh_warnings,
                    &pair,
                    &request.targets,
                );
                if !request.targets.are_whole_meshes() {
                    reservations.extend(reservations::of_other_clients(documents, &pair));
                    if request.service.is_none() {
                        reservations.extend(reservations::of_other_services(documents, &pair));
                    }
                    if request.service.as_ref().is_none_or(|named| !named.contains(':')) {
                        let of_service = |service: &str| playing(Some(service), request.path.as_deref());
                        reservations.extend(reservations::of_other_ports(documents, &pair, of_service));
                    }
                }
                let denied: Vec<Check> = request.findings.iter().filter_map(denied).collect();
                let named = !request.scenarios.is_empty();
                let cases = scenarios.iter().filter_map(|scenario| {
                    let pair = if scenario.file.is_some() { &of_root } else { &pair };
                    let planned = with_documents(scenario, pair, named)?;
                    let mut reservations = reservations.clone();
                    if !request.targets.are_whole_meshes() {
                        let path = request.path.as_deref().filter(|_| scenario.file.is_none());
                        let of_routes = planned
                            .cases
                            .iter()
                            .flat_map(|it| reservations::of_routes(&it.case, documents, &it.pair, path));
                        reservations.extend(of_routes);
                        if path.is_none() {
                            reservations.extend(reservations::of_chosen_path(documents, pair));
                        }
                    }
                    Some(PlannedScenario { reservations, denied: denied.clone(), ..planned })
                });
                cases.collect()
            }
        };
        Ok(Self { scenarios, keep: request.keep, targets: request.targets, allowed_findings })
    }
}

fn count_allowed(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.allowance().is_some()).count()
}

/// All cases of a scenario, each with the documents that it brings, and how many findings in them
/// are allowed.
fn with_own_documents(
    scenario: &Scenario,
    PlanRequest { targets, levels, .. }: &PlanRequest,
    istio_version: &str,
) -> Result<(PlannedScenario, usize), VerifyError> {
    let mut reservations: Vec<Reservation> = Vec::new();
    let mut found: Vec<Finding> = Vec::new();
    let mut planned = |case: Case| {
        let name = match &scenario.file {
            Some(path) => path.display().to_string(),
            None => format!("scenario {}", case.folder),
        };
        let mut texts = case.documents.texts(&name);
        let mut documents = case.documents.read(&name)?;
        if !case.document_files.is_empty() {
            let sources: Vec<_> = case.document_files.iter().cloned().map(Source::from).collect();
            let files = Source::read_all(&sources)?;
            documents.merge(Documents::of(&files)?)?;
            texts.extend(files);
        }
        let mesh = documents.mesh(None);
        let pair = PairConfig::new(documents.clone(), None, None, Some(ROOT), &mesh, istio_version)?;
        // The user cannot change a built-in one.
        if scenario.file.is_some() {
            for warning in documents.warnings() {
                tracing::warn!("{warning}");
            }
            // What cannot be judged at all has nothing that could be found in it.
            let findings = lint(&texts, &Circumstances { mesh: None, istio_version });
            let mut findings = findings.unwrap_or_default();
            levels.apply(&mut findings);
            // Cases have most documents in common.
            let left_out = reservations::of(&findings, &documents, &[], &pair, targets).into_iter();
            let left_out = left_out.chain(reservations::of_other_clients(&documents, &pair));
            let left_out = left_out.chain(reservations::of_routes(&case, &documents, &pair, None));
            let new: Vec<_> = left_out.filter(|it| !reservations.contains(it)).collect();
            reservations.extend(new);
            let new: Vec<_> = findings.into_iter().filter(|it| !found.contains(it)).collect();
            found.extend(new);
        }
        Ok::<_, VerifyError>(PlannedCase { case, pair })
    };
    let cases = scenario.cases().into_iter().map(&mut planned).collect::<Result<_, _>>()?;
    let planned = PlannedScenario {
        name: scenario.name.clone(),
        file: scenario.file.clone(),
        cases,
        reservations,
        denied: found.iter().filter_map(denied).collect(),
    };
    Ok((planned, count_allowed(&found)))
}

/// The one case of a scenario that stands for the user's documents. Where none does, a scenario
/// that was named is run all the same, to show where the documents differ from it, and one that was
/// not named is left out.
fn with_documents(scenario: &Scenario, pair: &PairConfig, named: bool) -> Option<PlannedScenario> {
    let policy = match (pair.upgrades, pair.application_is_http2) {
        (true, true) => Policy::Http2Application,
        (true, false) => Policy::Upgrade,
        (false, _) => Policy::DoNotUpgrade,
    };
    let cases = scenario.cases();
    let standing = cases.iter().find(|case| case.stands_for == Some(policy));
    let case = standing.or_else(|| cases.first().filter(|_| named))?.clone();
    // The label names the scenario's own documents, and this is the only case.
    let mut case = Case { label: None, folder: scenario.name.clone(), ..case };
    if scenario.file.is_none() {
        case.ask_for(&pair.path);
    }
    let cases = vec![PlannedCase { case, pair: pair.clone() }];
    let (name, file) = (scenario.name.clone(), scenario.file.clone());
    Some(PlannedScenario { name, file, cases, reservations: Vec::new(), denied: Vec::new() })
}

/// The scenarios that are asked for, each once: the built-in ones in the order of their list, then
/// those in files. All built-in ones if none is asked for.
///
/// A name is a built-in scenario's before it is a file's. Those in files read what is in their
/// folders, and in `root`.
///
/// # Errors
/// There is no such scenario and no such file, or the file is malformed.
pub fn select(asked: &[String], root: Option<&Path>) -> Result<Vec<Scenario>, VerifyError> {
    let is_built_in = |name: &String| built_in().iter().any(|scenario| scenario.name == *name);
    let wanted = |scenario: &&Scenario| asked.is_empty() || asked.contains(&scenario.name);
    let mut scenarios: Vec<Scenario> = built_in().iter().filter(wanted).cloned().collect();
    for file in asked.iter().filter(|name| !is_built_in(name)) {
        let path = Path::new(file);
        if scenarios.iter().any(|scenario| scenario.file.as_deref() == Some(path)) {
            continue;
        }
        if !looks_like_a_path(file) && !path.exists() {
            let names = built_in().iter().map(|scenario| scenario.name.as_str());
            return Err(VerifyError::UnknownScenario {
                name: file.clone(),
                nearest: nearest(file, names, SIMILAR),
            });
        }
        let scenario = load(path, root)?;
        if scenarios.iter().any(|other| other.name == scenario.name) {
            return Err(VerifyError::SameName { name: scenario.name });
        }
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

/// Whether a missing file is what is wrong with it, rather than a missing name.
fn looks_like_a_path(text: &str) -> bool {
    let has_extension = |extension: &str| Path::new(text).extension().is_some_and(|it| it == extension);
    text.contains('/') || has_extension("yaml") || has_extension("yml")
}
