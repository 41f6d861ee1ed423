//! Envoy's `VirtualHost`: whose routes a request takes, by its authority.

use serde::{Deserialize, Serialize};

use super::route::Route;

/// A set of names (domains) and what a request for one of them meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// `websockets-server.default.svc.cluster.local:8080`, `inbound|http|8080`, `allow_any` or
    /// `block_all`.
    pub name: String,
    /// Exact names, `*.suffix`, `prefix.*`, or `*`; without ports.
    pub domains: Vec<String>,
    /// Tried in this order: a request takes the first that it matches.
    pub routes: Vec<Route>,
    /// Whether the request gets `x-envoy-attempt-count`.
    pub include_request_attempt_count: bool,
    /// `require_tls: ALL`: who comes in plain text is sent to `https` before any route counts.
    pub requires_tls: bool,
}

/// Finds the virtual host for an authority as Envoy does with `ignore_port_in_host_matching`:
/// without regard to the port and to letter case; an exact domain first, then the longest
/// `*suffix`, then the longest `prefix*`, then `*`.
#[must_use]
pub fn match_virtual_host<'a>(virtual_hosts: &'a [VirtualHost], authority: &str) -> Option<&'a VirtualHost> {
    let host = without_port(authority).to_ascii_lowercase();
    virtual_hosts
        .iter()
        .flat_map(|virtual_host| virtual_host.domains.iter().map(move |domain| (virtual_host, domain)))
        .filter_map(|(virtual_host, domain)| Some((specificity(domain, &host)?, virtual_host)))
        // Of equals the first; Envoy refuses a configuration that names a domain twice.
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, virtual_host)| virtual_host)
}

/// How well a domain matches a host, ordered as Envoy tries them, or nothing if it does not.
fn specificity(domain: &str, host: &str) -> Option<(u8, usize)> {
    let domain = domain.to_ascii_lowercase();
    if domain == "*" {
        return Some((0, 0));
    }
    // A wildcard stands for at least one character.
    if let Some(suffix) = domain.strip_prefix('*') {
        return (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len()));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        return (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()));
    }
    (domain == host).then_some((3, domain.len()))
}

/// Takes `:port` away; the colons inside an IPv6 address's brackets are none.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if authority.rfind(']').is_none_or(|bracket| bracket < colon) => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn virtual_host(name: &str, domains: &[&str]) -> VirtualHost {
        VirtualHost {
            name: name.to_owned(),
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            routes: Vec::new(),
            include_request_attempt_count: true,
            requires_tls: false,
        }
    }

    #[test]
    fn the_authority_picks_the_virtual_host_as_in_envoy() {
        let all = [
            virtual_host("any", &["*"]),
            virtual_host("prefix", &["websockets.*"]),
            virtual_host("short suffix", &["*.local"]),
            virtual_host("long suffix", &["*.cluster.local"]),
            virtual_host("exact", &["a.cluster.local", "a", "127.0.0.1", "[::1]"]),
        ];
        for (authority, expected) in [
            ("a.cluster.local", "exact"),
            ("a.cluster.local:8080", "exact"),
            ("a.cluster.local:1", "exact"),
            ("A.Cluster.LOCAL:8080", "exact"),
            ("a", "exact"),
            ("a:", "exact"),
            ("127.0.0.1:8080", "exact"),
            ("[::1]", "exact"),
            ("[::1]:8080", "exact"),
            ("b.cluster.local", "long suffix"),
            (".cluster.local", "short suffix"),
            ("b.local", "short suffix"),
            ("websockets.local", "short suffix"),
            ("websockets.example", "prefix"),
            ("websockets.", "any"),
            ("a.", "any"),
            ("", "any"),
        ] {
            let found = match_virtual_host(&all, authority).map(|found| found.name.as_str());
            assert_eq!(found, Some(expected), "{authority:?}");
        }
    }

    #[test]
    fn without_a_catch_all_an_unknown_authority_has_no_virtual_host() {
        assert_eq!(match_virtual_host(&[virtual_host("a", &["a", "*.a"])], "b"), None);
    }
}
