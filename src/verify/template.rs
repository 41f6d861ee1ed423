//! Texts of a scenario that name what only a run knows: the authority that the documents give, the addresses that the
//! system gave. Written `${name}`; a name that does not exist is an error when the scenario is read.

use std::net::SocketAddr;
use std::str::FromStr;

/// What the names stand for in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The Service's fully qualified name: `websockets-server.default.svc.cluster.local`.
    pub host: String,
    /// The Service's port.
    pub port: u16,
    /// The port of the pod that the Service's port leads to.
    pub target_port: u16,
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
    Host,
    Port,
    TargetPort,
    ClientSidecar,
    ServerSidecar,
    Application,
}

/// The names as they are written.
const NAMES: [(&str, Name); 7] = [
    ("authority", Name::Authority),
    ("host", Name::Host),
    ("port", Name::Port),
    ("target_port", Name::TargetPort),
    ("client_sidecar", Name::ClientSidecar),
    ("server_sidecar", Name::ServerSidecar),
    ("application", Name::Application),
];

impl Facts {
    /// Host and port of the Service, as the client's `Host` field has them.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn value(&self, name: Name) -> String {
        match name {
            Name::Authority => self.authority(),
            Name::Host => self.host.clone(),
            Name::Port => self.port.to_string(),
            Name::TargetPort => self.target_port.to_string(),
            Name::ClientSidecar => self.client_sidecar.to_string(),
            Name::ServerSidecar => self.server_sidecar.to_string(),
            Name::Application => self.application.to_string(),
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
    /// The text with every name replaced by what it stands for.
    #[must_use]
    pub fn fill(&self, facts: &Facts) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
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
            host: "web.default.svc.cluster.local".to_owned(),
            port: 80,
            target_port: 8000,
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
        let template: Template = "outbound|${port}||${host}".parse().expect("a template");
        assert_eq!(template.fill(&Facts::example()), "outbound|80||web.default.svc.cluster.local");
        let plain: Template = "100 $ {curly}".parse().expect("a template");
        assert_eq!(plain.fill(&Facts::example()), "100 $ {curly}");
    }

    #[test]
    fn an_unknown_name_and_an_open_brace_are_errors_that_say_so() {
        let unknown = "${prot}".parse::<Template>().expect_err("no such name");
        assert!(unknown.contains("`prot`") && unknown.contains("target_port"), "{unknown}");
        assert!("${port".parse::<Template>().is_err());
    }
}
