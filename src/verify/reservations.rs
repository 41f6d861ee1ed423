//! What a run has to say beside its verdicts: what the documents of its sessions say and no session
//! of it meets. Sessions that went as expected are then not judged to be right.

use super::judge::Reservation;
use super::pair::{Handshake, PairConfig};
use super::path::{self, ROOT};
use super::plan::Targets;
use super::scenario::{Case, Connect, Step};
use crate::http1::Fields;
use crate::mesh::lint::{Finding, Judged};
use crate::mesh::{
    Documents, MeshError, Route, RouteMatch, Rule, Sessions, Warning, match_virtual_host, rules,
};
use crate::yaml::{Place, Placed};

/// Those of the findings that no session between the pair meets, and what the sidecars leave out of
/// the documents and, by its own warnings, of the mesh's configuration; each once.
///
/// In a cluster sessions meet all that is there.
pub(super) fn of(
    findings: &[Finding],
    documents: &Documents,
    mesh_warnings: &[Warning],
    pair: &PairConfig,
    targets: &Targets,
) -> Vec<Reservation> {
    if targets.are_whole_meshes() {
        return Vec::new();
    }
    let not_met = findings.iter().filter(|finding| rules::NOT_MET.contains(&finding.rule));
    let not_met = not_met.map(|finding| reservation(&finding.place, &finding.message, finding.rule));
    let judged = Judged::of(findings);
    let left_out = documents.warnings().iter().filter(|warning| match warning.rule {
        rule if *rule == rules::NOT_PLAYED => !judged.covers(warning),
        // Of several documents of a kind the finding names the first.
        rule => *rule == rules::NOT_JUDGED,
    });
    let left_out = left_out.chain(mesh_warnings);
    let left_out = left_out.map(|warning| reservation(&warning.place, &warning.text, warning.rule));
    let sessions = Sessions { client: &pair.client, service: &pair.service, server: &pair.server };
    let places = documents.by_place();
    let about_these =
        |it: &Reservation| it.place.as_ref().is_none_or(|place| places.concerns(place, &sessions));
    not_met.chain(left_out).filter(about_these).collect()
}

/// The other Services whose sessions documents are about, where the one that is played was not named.
pub(super) fn of_other_services(documents: &Documents, pair: &PairConfig) -> Vec<Reservation> {
    let mut named = vec![pair.service.host()];
    let mut reservations = Vec::new();
    for (service, place) in documents.services_of_destination_rules() {
        let host = service.host();
        if named.contains(&host) {
            continue;
        }
        reservations.push(Reservation {
            place: Some(place),
            message: format!("no session here goes to {host}: all go to {}", pair.service.host()),
            code: rules::NOT_PLAYED.code,
            fix: format!("Play them too: --service {}/{}.", service.namespace(), service.name()).into(),
        });
        named.push(host);
    }
    reservations
}

/// The routes to the Service that no session of a case takes, where they do something else than those
/// that are taken do. Where somebody said which path counts, those for other paths are nobody's.
pub(super) fn of_routes(
    case: &Case,
    documents: &Documents,
    pair: &PairConfig,
    only_path: Option<&str>,
) -> Vec<Reservation> {
    let virtual_host = match_virtual_host(&pair.outbound.virtual_hosts, &pair.service.host());
    let routes = virtual_host.map_or(&[][..], |virtual_host| &virtual_host.routes);
    let mut taken: Vec<&Route> = Vec::new();
    for connect in case.sessions.iter().flat_map(|sessions| connects(&sessions.steps)) {
        let authority = connect.host.as_deref().unwrap_or(&pair.authority);
        let handshake = Handshake { path: &connect.path, authority, fields: &connect.headers.0 };
        taken.extend(routes.iter().find(|route| route.conditions.matches(&handshake)));
    }
    let is_alike = |one: &Route, other: &Route| {
        one.action == other.action
            && one.request_fields == other.request_fields
            && one.response_fields == other.response_fields
    };
    let counting =
        only_path.map_or_else(|| routes.iter().collect(), |path| of_path(routes, path, &pair.authority));
    let untaken = counting.into_iter().filter(|route| !taken.iter().any(|taken| is_alike(taken, route)));
    let place = documents.place_of_routes(&pair.service.host());
    let reservation = |route: &Route| Reservation {
        place: place.clone(),
        message: format!("no session here takes the route for {}", route.conditions),
        code: rules::NOT_PLAYED.code,
        fix: SAY_THE_PATH.into(),
    };
    untaken.map(reservation).collect()
}

/// The routes that sessions may take that ask for this path, by what else they have.
fn of_path<'r>(routes: &'r [Route], path: &str, authority: &str) -> Vec<&'r Route> {
    let mut found = Vec::new();
    for route in routes {
        let conditions =
            RouteMatch { fields: Vec::new(), query_parameters: Vec::new(), ..route.conditions.clone() };
        if conditions.matches(&Handshake { path, authority, fields: &Fields::new() }) {
            found.push(route);
            if route.conditions.fields.is_empty() && route.conditions.query_parameters.is_empty() {
                break;
            }
        }
    }
    found
}

/// What to do where the path decides.
const SAY_THE_PATH: &str = "Say which path your clients ask for, --path PATH, or play several by a scenario of your own \
    (verify init FILE) with `connect: {path: …}`.";

/// That sessions ask for a path of which nobody said that clients do, and what clients of `/` meet.
pub(super) fn of_chosen_path(documents: &Documents, pair: &PairConfig) -> Option<Reservation> {
    let virtual_host = match_virtual_host(&pair.outbound.virtual_hosts, &pair.service.host());
    let routes = virtual_host.map_or(&[][..], |virtual_host| &virtual_host.routes);
    let has_root = path::route_of(routes, ROOT, &pair.authority).is_some();
    (pair.path != ROOT && !has_root).then(|| Reservation {
        place: documents.place_of_routes(&pair.service.host()),
        message: format!(
            "sessions here ask for {}, which a route matches; / has no route: it would be answered with 404 (NR)",
            pair.path
        ),
        code: rules::NOT_PLAYED.code,
        fix: SAY_THE_PATH.into(),
    })
}

/// The routes to the Service that are for other clients, or for other ports.
pub(super) fn of_other_clients(documents: &Documents, pair: &PairConfig) -> Vec<Reservation> {
    let others = documents.routes_of_others(&pair.service, &pair.client, pair.port);
    let reservation = |(place, whose): (Place, String)| Reservation {
        place: Some(place),
        message: format!("no session here takes the routes for {whose}"),
        code: rules::NOT_PLAYED.code,
        fix: "Play such a client: its Deployment among the documents, and --client-workload NAME.".into(),
    };
    others.into_iter().map(reservation).collect()
}

/// The other HTTP ports of the Service where the sidecars speak other versions of HTTP; `playing` is what
/// is played for one of them.
pub(super) fn of_other_ports(
    documents: &Documents,
    pair: &PairConfig,
    playing: impl Fn(&str) -> Result<PairConfig, MeshError>,
) -> Vec<Reservation> {
    let (service, host) = (&pair.service, pair.service.host());
    let named = |port: u16| format!("{}/{}:{port}", service.namespace(), service.name());
    let versions = |pair: &PairConfig| {
        (pair.upgrades, pair.application_is_http2, pair.inbound.connection_manager.allow_connect)
    };
    let others = service.http_port_numbers().filter(|port| *port != pair.port);
    // What cannot be played at all is no session that could be missed here.
    let differing =
        others.filter(|port| playing(&named(*port)).is_ok_and(|it| versions(&it) != versions(pair)));
    let reservation = |port: u16| Reservation {
        place: documents.place_of_service(service),
        message: format!(
            "no session here goes to port {port} of {host}, where the sidecars speak otherwise: all go to {}",
            pair.port
        ),
        code: rules::NOT_PLAYED.code,
        fix: format!("Play them too: --service {}.", named(port)).into(),
    };
    differing.map(reservation).collect()
}

fn connects(steps: &[Placed<Step>]) -> Vec<&Connect> {
    let mut found = Vec::new();
    for step in steps {
        match &step.value {
            Step::Connect(connect) => found.push(connect),
            Step::Repeat { steps, .. } => found.extend(connects(steps)),
            _ => {}
        }
    }
    found
}

fn reservation(place: &Place, message: &str, rule: &'static Rule) -> Reservation {
    Reservation {
        place: Some(place.clone()),
        message: message.to_owned(),
        code: rule.code,
        fix: rule.fix.into(),
    }
}
