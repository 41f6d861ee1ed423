//! Texts of a scenario that name what only a run knows: the authority that the documents give, the
//! addresses that the system gave. Written `${name}`; a name that does not exist is an error when
//! the scenario is read.

use std::net::SocketAddr;
use std::str::FromStr;

/// What a name stands for in one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fact {
    /// Nobody here can tell, as of logs that came from elsewhere.
    #[default]
    Unknown,
    /// It is known that there is none: the route of a `VirtualService` may have no name.
    Nothing,
    /// It is known to be this.
    Is(String),
}

impl From<String> for Fact {
    fn from(value: String) -> Self {
        Self::Is(value)
    }
}

impl From<Option<String>> for Fact {
    fn from(value: Option<String>) -> Self {
        value.map_or(Self::Nothing, Self::Is)
    }
}

impl From<SocketAddr> for Fact {
    fn from(address: SocketAddr) -> Self {
        Self::Is(address.to_string())
    }
}

/// What the names stand for in one run. By default nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What requests carry as `Host`: the Service's name and port, without the port where that is
    /// HTTP's own, 80; or what a route puts in its place.
    pub authority: Fact,
    /// The path that sessions ask for where the documents have routes, and `/` where they do not.
    pub path: Fact,
    /// The client's sidecar's route to the Service.
    pub route_name: Fact,
    /// The cluster that this route leads to.
    pub outbound_cluster: Fact,
    /// The server's sidecar's cluster.
    pub inbound_cluster: Fact,
    /// Where the client's sidecar listens: the Service's address, as the client sees it.
    pub client_sidecar: Fact,
    /// Where the server's sidecar listens: the pod's address, as the client's sidecar sees it.
    pub server_sidecar: Fact,
    /// Where the application listens.
    pub application: Fact,
}

/// A name that stands for one of the [`Facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Authority,
    Path,
    Route,
    OutboundCluster,
    InboundCluster,
    ClientSidecar,
    ServerSidecar,
    Application,
}

/// The names as they are written.
const NAMES: [(&str, Name); 8] = [
    ("authority", Name::Authority),
    ("path", Name::Path),
    ("route_name", Name::Route),
    ("outbound_cluster", Name::OutboundCluster),
    ("inbound_cluster", Name::InboundCluster),
    ("client_sidecar", Name::ClientSidecar),
    ("server_sidecar", Name::ServerSidecar),
    ("application", Name::Application),
];

impl Facts {
    fn value(&self, name: Name) -> &Fact {
        match name {
            Name::Authority => &self.authority,
            Name::Path => &self.path,
            Name::Route => &self.route_name,
            Name::OutboundCluster => &self.outbound_cluster,
            Name::InboundCluster => &self.inbound_cluster,
            Name::ClientSidecar => &self.client_sidecar,
            Name::ServerSidecar => &self.server_sidecar,
            Name::Application => &self.application,
        }
    }
}

/// A text with names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<TemplatePiece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum TemplatePiece {
    Text(String),
    Name(Name),
}

/// What becomes of a template in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filled {
    /// The text with every name replaced by what it stands for.
    Text(String),
    /// One of the names stands for nothing, and so does the whole.
    Nothing,
    /// What one of the names stands for is not known.
    Unknown,
}

impl Template {
    /// Replaces every name by what it stands for.
    #[must_use]
    pub fn fill(&self, facts: &Facts) -> Filled {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                TemplatePiece::Text(text) => filled.push_str(text),
                TemplatePiece::Name(name) => match facts.value(*name) {
                    Fact::Is(value) => filled.push_str(value),
                    Fact::Nothing => return Filled::Nothing,
                    Fact::Unknown => return Filled::Unknown,
                },
            }
        }
        Filled::Text(filled)
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
            pieces.push(TemplatePiece::Text(before.to_owned()));
            pieces.push(TemplatePiece::Name(*name));
            rest = after;
        }
        pieces.push(TemplatePiece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }
}

#[cfg(test)]
impl Facts {
    /// Values that cannot be mistaken for one another.
    pub(super) fn example() -> Self {
        Self {
            authority: Fact::Is("web.default.svc.cluster.local:8080".to_owned()),
            path: Fact::Is("/ws".to_owned()),
            route_name: Fact::Nothing,
            outbound_cluster: Fact::Is("outbound|8080||web.default.svc.cluster.local".to_owned()),
            inbound_cluster: Fact::Is("inbound|80||".to_owned()),
            client_sidecar: SocketAddr::from(([127, 0, 10, 1], 8080)).into(),
            server_sidecar: SocketAddr::from(([127, 0, 10, 2], 8000)).into(),
            application: SocketAddr::from(([127, 0, 10, 3], 8001)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, facts: &Facts) -> Filled {
        template.parse::<Template>().expect("a template").fill(facts)
    }

    #[test]
    fn names_are_replaced_and_everything_else_stays() {
        let text = |text: &str| Filled::Text(text.to_owned());
        let facts = Facts::example();
        assert_eq!(
            filled("${inbound_cluster} of ${authority}", &facts),
            text("inbound|80|| of web.default.svc.cluster.local:8080")
        );
        assert_eq!(filled("100 $ {curly}", &facts), text("100 $ {curly}"));
    }

    #[test]
    fn a_text_with_a_name_that_stands_for_nothing_is_nothing_and_with_an_unknown_one_unknown() {
        assert_eq!(filled("route ${route_name}", &Facts::example()), Filled::Nothing);
        assert_eq!(filled("route ${route_name}", &Facts::default()), Filled::Unknown);
        assert_eq!(filled("route", &Facts::default()), Filled::Text("route".to_owned()));
    }

    #[test]
    fn an_unknown_name_and_an_open_brace_are_errors_that_say_so() {
        let unknown = "${authorty}".parse::<Template>().expect_err("no such name");
        assert!(unknown.contains("`authorty`") && unknown.contains("server_sidecar"), "{unknown}");
        assert!("${authority".parse::<Template>().is_err());
    }
}
