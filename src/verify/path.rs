//! The path that sessions ask for where a scenario leaves it open: one that a route to the Service
//! takes, since documents may have none for `/`.

use super::pair::Handshake;
use crate::http1::Fields;
use crate::mesh::{PathMatch, Route, RouteAction};

/// The path of who asks for none.
pub(super) const ROOT: &str = "/";

/// What a session asks for by default, and the route that takes it: `/` if that leads to the Service,
/// else what the first route that does takes. Where none does, what is sent anywhere, or answered.
pub(super) fn played<'r>(routes: &'r [Route], host: &str, authority: &str) -> (String, Option<&'r Route>) {
    let of_routes = routes.iter().filter_map(|route| taken_by(route, authority));
    let asked = std::iter::once(ROOT.to_owned()).chain(of_routes);
    let met = asked.map(|path| {
        let route = route_of(routes, &path, authority);
        (path, route)
    });
    met.min_by_key(|(_, route)| match route.map(|route| &route.action) {
        Some(RouteAction::Forward { cluster, .. }) if leads_to(&cluster.name, host) => 0,
        Some(RouteAction::Forward { .. }) => 1,
        Some(_) => 2,
        None => 3,
    })
    .unwrap_or_else(|| (ROOT.to_owned(), None))
}

/// The route that takes a path.
pub(super) fn route_of<'r>(routes: &'r [Route], path: &str, authority: &str) -> Option<&'r Route> {
    let handshake = Handshake { path, authority, fields: &Fields::new() };
    routes.iter().find(|route| route.conditions.matches(&handshake))
}

/// Istio's name of a cluster ends with its host.
fn leads_to(cluster: &str, host: &str) -> bool {
    cluster.rsplit('|').next() == Some(host)
}

/// A path that fulfils the conditions of a route, if one is found.
fn taken_by(route: &Route, authority: &str) -> Option<String> {
    let candidates = match &route.conditions.path {
        PathMatch::Prefix(path) | PathMatch::Exact(path) => vec![path.clone()],
        // What stands before the first sign that means something, and a little behind it.
        PathMatch::Regex(pattern) => {
            let written = pattern.as_str().trim_start_matches('^');
            let signs = |sign: char| "\\.+*?()|[]{}^$".contains(sign);
            let plain = written.split(signs).next().unwrap_or_default();
            ["", "a", "1", "/", "/a", "/1"].map(|more| format!("{plain}{more}")).into()
        }
    };
    candidates.into_iter().find(|path| {
        let handshake = Handshake { path, authority, fields: &Fields::new() };
        path.starts_with('/') && !path.contains(['?', '#', ' ']) && route.conditions.matches(&handshake)
    })
}

#[cfg(test)]
mod tests {
    use super::super::pair::PairConfig;
    use crate::mesh::{Documents, ISTIO_VERSION, MeshDefaults};

    /// What is asked for where a `VirtualService` has these routes.
    fn asked(routes: &str) -> String {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web}}\n\
             spec: {{hosts: [websockets-server], http: [{routes}]}}\n"
        );
        let documents = Documents::parse("web.yaml", &text).expect("documents");
        let mesh = MeshDefaults::default();
        PairConfig::new(documents, None, None, None, &mesh, ISTIO_VERSION).expect("a pair").path
    }

    #[test]
    fn a_path_is_asked_for_that_a_route_to_the_service_takes() {
        const TO: &str = "route: [{destination: {host: websockets-server}}]";
        let of = |condition: &str| format!("{{match: [{{{condition}}}], {TO}}}");
        for (routes, expected) in [
            (format!("{{{TO}}}"), "/"),
            (of("uri: {prefix: /ws}"), "/ws"),
            (of("uri: {exact: /ws/a}"), "/ws/a"),
            (of("uri: {regex: '/ws/.*'}"), "/ws/"),
            (of("uri: {regex: '/ws/[0-9]+'}"), "/ws/1"),
            (of("uri: {regex: '.*'}"), "/"),
            (of("uri: {prefix: /ws}, headers: {x-a: {exact: b}}"), "/"),
            (of("authority: {exact: websockets-server.default.svc.cluster.local:8080}"), "/"),
            ("{redirect: {uri: /a}}".to_owned(), "/"),
            (format!("{}, {{redirect: {{uri: /a}}}}", of("uri: {prefix: /ws}")), "/ws"),
            (format!("{}, {{{TO}}}", of("uri: {prefix: /ws}")), "/"),
            (format!("{}, {{route: [{{destination: {{host: other}}}}]}}", of("uri: {prefix: /ws}")), "/ws"),
        ] {
            assert_eq!(asked(&routes), expected, "{routes}");
        }
    }
}
