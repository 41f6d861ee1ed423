//! Texts of a scenario that name what only a run knows: the authority that the documents give, the addresses that the
//! system gave. Written `${name}`; a name that does not exist is an error when the scenario is read.

use std::net::SocketAddr;
use std::str::FromStr;

/// What the names stand for in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What requests carry as `Host`: the Service's name and port, without the port where that is HTTP's own, 80.
    pub authority: String,
    /// The client's sidecar's route to the Service; a `VirtualService`'s route may have no name.
    pub route_name: Option<String>,
    /// Its cluster.
    pub outbound_cluster: Option<String>,
    /// The server's sidecar's cluster.
    pub inbound_cluster: Option<String>,
    /// Where the client's sidecar listens: the Service's address, as the client sees it.
    pub client_sidecar: SocketAddr,
    /// Where the server's sidecar listens: the pod's address, as the client's sidecar sees it.
    pub server_sidecar: SocketAddr,
    /// Where the application listens.
    pub application: SocketAddr,
}

/// A name that stands for one of the [`Facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Authority,
    Route,
    OutboundCluster,
    InboundCluster,
    ClientSidecar,
    ServerSidecar,
    Application,
}

/// The names as they are written.
const NAMES: [(&str, Name); 7] = [
    ("authority", Name::Authority),
    ("route_name", Name::Route),
    ("outbound_cluster", Name::OutboundCluster),
    ("inbound_cluster", Name::InboundCluster),
    ("client_sidecar", Name::ClientSidecar),
    ("server_sidecar", Name::ServerSidecar),
    ("application", Name::Application),
];

impl Facts {
    fn value(&self, name: Name) -> Option<String> {
        match name {
            Name::Authority => Some(self.authority.clone()),
            Name::Route => self.route_name.clone(),
            Name::OutboundCluster => self.outbound_cluster.clone(),
            Name::InboundCluster => self.inbound_cluster.clone(),
            Name::ClientSidecar => Some(self.client_sidecar.to_string()),
            Name::ServerSidecar => Some(self.server_sidecar.to_string()),
            Name::Application => Some(self.application.to_string()),
        }
    }
}

/// A text with names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(Name),
}

impl Template {
    /// The text with every name replaced by what it stands for; none if one of them stands for nothing.
    #[must_use]
    pub fn fill(&self, facts: &Facts) -> Option<String> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Name(name) => facts.value(*name),
        };
        self.0.iter().map(piece).collect()
    }
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (written, after) = after.split_once('}').ok_or_else(|| format!("{text:?} lacks a `}}`"))?;
            let known = NAMES.iter().find(|(name, _)| *name == written);
            let (_, name) = known.ok_or_else(|| {
                let names: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("nothing is named `{written}`: there are {}", names.join(", "))
            })?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(Piece::Name(*name));
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }
}

#[cfg(test)]
impl Facts {
    /// Values that cannot be mistaken for one another.
    pub(super) fn example() -> Self {
        Self {
            authority: "web.default.svc.cluster.local:8080".to_owned(),
            route_name: None,
            outbound_cluster: Some("outbound|8080||web.default.svc.cluster.local".to_owned()),
            inbound_cluster: Some("inbound|80||".to_owned()),
            client_sidecar: SocketAddr::from(([127, 0, 10, 1], 8080)),
            server_sidecar: SocketAddr::from(([127, 0, 10, 2], 8000)),
            application: SocketAddr::from(([127, 0, 10, 3], 8001)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_everything_else_stays() {
        let template: Template = "${inbound_cluster} of ${authority}".parse().expect("a template");
        let filled = template.fill(&Facts::example());
        assert_eq!(filled.as_deref(), Some("inbound|80|| of web.default.svc.cluster.local:8080"));
        let plain: Template = "100 $ {curly}".parse().expect("a template");
        assert_eq!(plain.fill(&Facts::example()).as_deref(), Some("100 $ {curly}"));
    }

    #[test]
    fn a_text_with_a_name_that_stands_for_nothing_is_nothing() {
        let template: Template = "route ${route_name}".parse().expect("a template");
        assert_eq!(template.fill(&Facts::example()), None);
    }

    #[test]
    fn an_unknown_name_and_an_open_brace_are_errors_that_say_so() {
        let unknown = "${authorty}".parse::<Template>().expect_err("no such name");
        assert!(unknown.contains("`authorty`") && unknown.contains("server_sidecar"), "{unknown}");
        assert!("${authority".parse::<Template>().is_err());
    }
}
