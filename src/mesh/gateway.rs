//! What the documents make of a gateway.
//!
//! Istio: `pilot/pkg/model/gateway.go` (`mergeGateways`: which servers share a port),
//! `pilot/pkg/networking/core/gateway.go` (listeners, chains, virtual hosts).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::config::{HttpConnectionManager, Route, VirtualHost, Workload};
use super::document::{
    Documents, Gateway as GatewayDocument, ProxyRole, RoutedProxy, Server, ServerProtocol, ServerTls,
    TlsMode, TlsVersion, VirtualService, WarningCollector, resolve_gateway, selects,
};
use super::error::{MeshError, Warning};
use super::host::resolve;
use super::listener::{
    ClientCertificates, Credential, DownstreamTlsContext, FilterChain, Gateway, Listener, PemSecret,
    TerminalFilter,
};
use super::mesh_config::MeshDefaults;
use super::patches::{self, PatchTarget, TargetListener};
use super::routing::Routing;
use super::rules::NOT_PLAYED;
use crate::yaml::Placed;

/// Which gateway is asked about.
#[derive(Debug, Clone, Copy)]
pub struct GatewayQuery<'a> {
    /// The pod that the gateway is: without one no selector matches.
    pub workload: Option<&'a Workload>,
    /// Where servers with a `port.number` are bound; without a number: those of the only one.
    pub listen: &'a [(Option<u16>, SocketAddr)],
    /// The version that an `EnvoyFilter`'s `proxyVersion` is searched in.
    pub istio_version: &'a str,
    /// What the mesh does where no document says otherwise.
    pub mesh: &'a MeshDefaults,
}

/// Derives a gateway, and says what of it cannot be served.
///
/// # Errors
/// No `Gateway` is for it, a certificate is missing, or an address has no number that it is for.
pub fn gateway(
    documents: &Documents,
    query: &GatewayQuery<'_>,
) -> Result<(Gateway, Vec<Warning>), MeshError> {
    let mut builder = Builder {
        documents,
        query,
        routing: Routing::new(documents, query.workload, query.mesh).of_gateway(),
        warnings: WarningCollector::default(),
        secrets: BTreeMap::new(),
    };
    let gateways = selected(documents, query.workload)?;
    let servers: Vec<OwnServer<'_>> = gateways
        .iter()
        .flat_map(|gateway| gateway.servers.iter().map(|server| OwnServer { gateway, server }))
        .collect();
    let mut listeners = Vec::new();
    for (number, address) in addresses(&servers, query.listen)? {
        let own = servers.iter().filter(|own| own.server.port.number.0 == number).copied();
        listeners.extend(builder.listener(number, address, own.collect())?);
    }
    for own in &servers {
        let number = own.server.port.number.0;
        if !listeners.iter().any(|listener| listener.number == number)
            && !query.listen.iter().any(|(of, _)| *of == Some(number))
        {
            let text = format!("no --listen is for the port {number}, so the server is not opened");
            builder.warnings.warn(&NOT_PLAYED, own.server, &text);
        }
    }
    if listeners.is_empty() {
        return Err(MeshError::Underivable("no server of the Gateways can be opened here".to_owned()));
    }
    let Builder { warnings, secrets, .. } = builder;
    Ok((Gateway { listeners, secrets }, warnings.into_warnings()))
}

/// The `Gateway`s whose selector selects the pod, the oldest first.
fn selected<'d>(
    documents: &'d Documents,
    workload: Option<&Workload>,
) -> Result<Vec<&'d GatewayDocument>, MeshError> {
    let is_for = |gateway: &&GatewayDocument| match workload {
        Some(workload) => selects(&gateway.selector, &workload.labels),
        None => gateway.selector.is_empty(),
    };
    let mut found: Vec<&GatewayDocument> = documents.gateways().iter().filter(is_for).collect();
    found.sort_by_key(|gateway| gateway.metadata.age());
    if !found.is_empty() {
        return Ok(found);
    }
    Err(MeshError::Underivable(match (documents.gateways(), workload) {
        ([], _) => "no Gateway in the documents: a gateway opens what its Gateways say".to_owned(),
        ([first, ..], None) => format!(
            "the Gateway {} has a selector: name the Deployment of the gateway's pods with --workload",
            first.metadata.name
        ),
        ([first, ..], Some(workload)) => format!(
            "no Gateway selects the pods of the Deployment {}: compare the selector of {} with the labels of \
             the Deployment's pod template",
            workload.name, first.metadata.name
        ),
    }))
}

/// The numbers of the servers' ports with their addresses.
fn addresses(
    servers: &[OwnServer<'_>],
    listen: &[(Option<u16>, SocketAddr)],
) -> Result<BTreeMap<u16, SocketAddr>, MeshError> {
    let numbers: BTreeSet<u16> = servers.iter().map(|own| own.server.port.number.0).collect();
    let all = || numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let mut addresses = BTreeMap::new();
    for (number, address) in listen {
        let number = match (number, numbers.first()) {
            (Some(number), _) if numbers.contains(number) => *number,
            (None, Some(only)) if numbers.len() == 1 => *only,
            (Some(number), _) => {
                let all = all();
                return Err(MeshError::Underivable(format!(
                    "no server of the Gateways has the port {number} of --listen {number}={address}: they have {all}"
                )));
            }
            (None, _) => {
                let all = all();
                return Err(MeshError::Underivable(format!(
                    "the Gateways have servers with the ports {all}: say which one --listen {address} is for, as in \
                     --listen PORT={address}"
                )));
            }
        };
        if addresses.insert(number, *address).is_some() {
            return Err(MeshError::Underivable(format!("--listen is given twice for the port {number}")));
        }
    }
    Ok(addresses)
}

/// A server with its `Gateway`.
#[derive(Clone, Copy)]
struct OwnServer<'d> {
    gateway: &'d GatewayDocument,
    server: &'d Placed<Server>,
}

impl OwnServer<'_> {
    /// `NAMESPACE/NAME` of the `Gateway`.
    fn name(&self) -> String {
        let metadata = &self.gateway.metadata;
        format!("{}/{}", metadata.namespace, metadata.name)
    }

    fn tls(&self) -> Option<&ServerTls> {
        self.server.tls.as_ref()
    }

    /// The hosts in lower case, each with the namespace whose `VirtualService`s may have it.
    fn hosts(&self) -> Vec<(Option<String>, String)> {
        let hosts = self.server.hosts.iter().map(|written| match written.split_once('/') {
            Some(("*", host)) => (None, host.to_ascii_lowercase()),
            Some((".", host)) => (Some(self.gateway.metadata.namespace.clone()), host.to_ascii_lowercase()),
            Some((namespace, host)) => (Some(namespace.to_owned()), host.to_ascii_lowercase()),
            None => (None, written.to_ascii_lowercase()),
        });
        hosts.collect()
    }

    /// The server names of its filter chain; none: all.
    fn server_names(&self) -> Vec<String> {
        let names: Vec<String> = self.hosts().into_iter().map(|(_, host)| host).collect();
        if names.iter().any(|name| name == "*") { Vec::new() } else { names }
    }
}

/// Makes one gateway.
struct Builder<'a, 'q> {
    documents: &'a Documents,
    query: &'q GatewayQuery<'a>,
    routing: Routing<'a>,
    warnings: WarningCollector,
    secrets: BTreeMap<String, PemSecret>,
}

impl<'a> Builder<'a, '_> {
    /// The listener of a port, of those servers that can share it.
    fn listener(
        &mut self,
        number: u16,
        address: SocketAddr,
        servers: Vec<OwnServer<'a>>,
    ) -> Result<Option<Listener>, MeshError> {
        let mut plain: Vec<OwnServer<'a>> = Vec::new();
        let mut filter_chains: Vec<FilterChain> = Vec::new();
        for own in servers {
            let spoken = own.server.port.protocol;
            let is_plain = spoken == ServerProtocol::Http;
            if (is_plain && !filter_chains.is_empty()) || (!is_plain && !plain.is_empty()) {
                let text = "plain text and TLS cannot share a port: an older server has it, and this one is not opened";
                self.warnings.warn(&NOT_PLAYED, own.server, text);
                continue;
            }
            if is_plain {
                plain.push(own);
                continue;
            }
            let names = own.server_names();
            if filter_chains.iter().any(|chain| {
                chain.server_names.iter().any(|name| names.contains(name))
                    || (chain.server_names.is_empty() && names.is_empty())
            }) {
                let text = "an older server of this port has one of these hosts, so this one is not opened";
                self.warnings.warn(&NOT_PLAYED, own.server, text);
                continue;
            }
            filter_chains.extend(self.chain(own, address, number)?);
        }
        if !plain.is_empty() {
            let configuration = format!("http.{}", address.port());
            let filter = self.http(&plain, address, number, &configuration);
            filter_chains.push(FilterChain { server_names: Vec::new(), tls: None, filter });
        }
        Ok((!filter_chains.is_empty()).then_some(Listener { number, address, filter_chains }))
    }

    /// The chain of a server with TLS.
    fn chain(
        &mut self,
        own: OwnServer<'a>,
        address: SocketAddr,
        number: u16,
    ) -> Result<Option<FilterChain>, MeshError> {
        let server = own.server;
        let terminates = own.tls().is_some_and(ServerTls::terminates);
        match server.port.protocol {
            ServerProtocol::Https if terminates => {}
            ServerProtocol::Https | ServerProtocol::Tls if own.tls().is_none() => {
                let text = "a server with TLS has no tls, so it is not opened";
                self.warnings.warn(&NOT_PLAYED, server, text);
                return Ok(None);
            }
            _ => {
                let text = "bytes without HTTP are not implemented here, so the server is not opened";
                self.warnings.warn(&NOT_PLAYED, server, text);
                return Ok(None);
            }
        }
        let Some(tls) = self.tls(own)? else { return Ok(None) };
        let metadata = &own.gateway.metadata;
        let port = &server.port;
        let configuration =
            format!("https.{}.{}.{}.{}", port.number.0, port.name, metadata.name, metadata.namespace);
        let filter = self.http(&[own], address, number, &configuration);
        Ok(Some(FilterChain { server_names: own.server_names(), tls: Some(tls), filter }))
    }

    /// How a server ends TLS; nothing, and a warning, where that is not known.
    fn tls(&mut self, own: OwnServer<'a>) -> Result<Option<DownstreamTlsContext>, MeshError> {
        let tls = own.tls().cloned().unwrap_or_default();
        let client_certificates = match tls.mode {
            TlsMode::Mutual => ClientCertificates::Required,
            TlsMode::OptionalMutual => ClientCertificates::Optional,
            TlsMode::IstioMutual => {
                let text = "ISTIO_MUTUAL is not implemented here, so the server is not opened";
                self.warnings.warn(&NOT_PLAYED, own.server, text);
                return Ok(None);
            }
            TlsMode::Simple | TlsMode::Passthrough | TlsMode::AutoPassthrough => ClientCertificates::NotAsked,
        };
        let credential = match (&tls.credential_name, &tls.server_certificate, &tls.private_key) {
            (Some(name), ..) if !name.is_empty() => self.secret(own.server, name, client_certificates)?,
            (_, Some(certificate), Some(key)) => Credential::Files {
                certificate: certificate.into(),
                key: key.into(),
                ca: tls.ca_certificates.as_ref().map(Into::into),
            },
            _ => {
                return Err(MeshError::Underivable(format!(
                    "{}: a server with TLS needs a credentialName, or serverCertificate and privateKey",
                    place(own.server)
                )));
            }
        };
        Ok(Some(DownstreamTlsContext {
            credential,
            client_certificates,
            only_tls13: tls.min_protocol_version == TlsVersion::V1_3,
            only_tls12: matches!(
                tls.max_protocol_version,
                TlsVersion::V1_0 | TlsVersion::V1_1 | TlsVersion::V1_2
            ),
        }))
    }

    /// The certificate of a `credentialName`, from the Secret in the gateway's own namespace.
    fn secret(
        &mut self,
        server: &Placed<Server>,
        name: &str,
        clients: ClientCertificates,
    ) -> Result<Credential, MeshError> {
        let namespace = self.routing.namespace;
        let missing = |what: &str| {
            MeshError::Underivable(format!(
                "{}: credentialName {name}: {what} in the namespace {namespace}, that of the gateway's pods",
                place(server)
            ))
        };
        let secret = self
            .documents
            .secret(namespace, name)
            .ok_or_else(|| missing(&format!("no Secret {name} is among the documents")))?;
        let text = |keys: [&str; 2]| keys.into_iter().find_map(|key| secret.text(key));
        let certificate = text(["tls.crt", "cert"]);
        let certificate = certificate.ok_or_else(|| missing(&format!("the Secret {name} has no tls.crt")))?;
        let key =
            text(["tls.key", "key"]).ok_or_else(|| missing(&format!("the Secret {name} has no tls.key")))?;
        let beside = self.documents.secret(namespace, &format!("{name}-cacert"));
        let of_clients = |secret: &super::document::Secret| {
            ["ca.crt", "cacert"].into_iter().find_map(|key| secret.text(key))
        };
        let ca = of_clients(secret).or_else(|| beside.and_then(of_clients));
        if ca.is_none() && clients != ClientCertificates::NotAsked {
            return Err(missing(&format!(
                "neither the Secret {name} has ca.crt, nor is there a Secret {name}-cacert that has"
            )));
        }
        let full = format!("{namespace}/{name}");
        self.secrets.insert(full.clone(), PemSecret { certificate, key, ca });
        Ok(Credential::Secret(full))
    }

    /// The connection manager of servers that share a chain, and their virtual hosts.
    fn http(
        &self,
        servers: &[OwnServer<'a>],
        address: SocketAddr,
        number: u16,
        configuration: &str,
    ) -> TerminalFilter {
        let target = PatchTarget {
            namespace: self.routing.namespace,
            workload: self.query.workload,
            istio_version: self.query.istio_version,
            direction: TargetListener::Gateway(address.port()),
        };
        let mut connection_manager = HttpConnectionManager::gateway();
        connection_manager.xff_num_trusted_hops =
            self.query.workload.map_or(0, |workload| self.documents.trusted_proxies(workload));
        patches::apply(self.documents, &target, &mut connection_manager);
        let mut virtual_hosts = self.virtual_hosts(servers, number);
        let gateway = servers.first().map(OwnServer::name);
        let of = (configuration, number, gateway.as_deref());
        patches::apply_to_routes(self.documents, &target, of, &mut virtual_hosts);
        TerminalFilter::Http { connection_manager: Box::new(connection_manager), virtual_hosts }
    }

    /// One for each host that a server and a `VirtualService` share, and for each host of a server
    /// that redirects to https.
    fn virtual_hosts(&self, servers: &[OwnServer<'a>], number: u16) -> Vec<VirtualHost> {
        let mut hosts: Vec<VirtualHost> = Vec::new();
        for own in servers {
            let redirects = own.tls().is_some_and(|tls| tls.https_redirect);
            let name = own.name();
            for service in self.bound(&name) {
                let own_namespace = &service.metadata.namespace;
                let proxy = RoutedProxy {
                    role: ProxyRole::Gateway { name: &name, routes_namespace: own_namespace },
                    workload: self.query.workload,
                    namespace: self.routing.namespace,
                    port: number,
                };
                let routes = self.routing.routes(service, proxy);
                for host in shared_hosts(&own.hosts(), service) {
                    let host = virtual_host(&mut hosts, &host, number);
                    host.routes.extend(routes.iter().cloned());
                    host.requires_tls |= redirects;
                }
            }
            for (_, host) in own.hosts().iter().filter(|_| redirects) {
                virtual_host(&mut hosts, host, number).requires_tls = true;
            }
        }
        for host in &mut hosts {
            // Those for every path come last (`SortVHostRoutes`).
            host.routes.sort_by_key(|route| route.conditions.is_every_path());
        }
        if hosts.is_empty() {
            let mut blackhole = empty_virtual_host(format!("blackhole:{number}"));
            blackhole.domains = vec!["*".to_owned()];
            hosts.push(blackhole);
        }
        hosts
    }

    /// The `VirtualService`s that are bound to a `Gateway`, the oldest first.
    fn bound(&self, gateway: &str) -> Vec<&'a VirtualService> {
        let is_bound = |service: &&VirtualService| {
            let namespace = &service.metadata.namespace;
            service.gateways.iter().any(|written| resolve_gateway(written, namespace) == gateway)
                && service.export_to.includes(self.routing.namespace, namespace)
        };
        let mut bound: Vec<_> = self.documents.virtual_services().iter().filter(is_bound).collect();
        bound.sort_by_key(|service| service.metadata.age());
        bound
    }
}

fn place(server: &Placed<Server>) -> String {
    server.place.as_ref().map_or_else(|| server.path.clone(), |place| format!("{place}: {}", server.path))
}

fn empty_virtual_host(name: String) -> VirtualHost {
    VirtualHost {
        name,
        domains: Vec::new(),
        routes: Vec::<Route>::new(),
        include_request_attempt_count: true,
        requires_tls: false,
    }
}

/// The virtual host of that host, which is made if it is not there.
fn virtual_host<'h>(hosts: &'h mut Vec<VirtualHost>, host: &str, number: u16) -> &'h mut VirtualHost {
    let name = format!("{host}:{number}");
    let position = hosts.iter().position(|known| known.name == name).unwrap_or_else(|| {
        hosts.push(VirtualHost { domains: vec![host.to_owned()], ..empty_virtual_host(name) });
        hosts.len() - 1
    });
    &mut hosts[position]
}

/// The hosts that a server and a `VirtualService` share: of two of which one includes the other, the
/// narrower one (`pickMatchingGatewayHosts`).
fn shared_hosts(of_server: &[(Option<String>, String)], service: &VirtualService) -> BTreeSet<String> {
    let namespace = &service.metadata.namespace;
    let mut shared = BTreeSet::new();
    for written in &service.hosts {
        let routed = resolve(written, namespace).to_ascii_lowercase();
        for (of, served) in of_server {
            if of.as_ref().is_some_and(|of| of != namespace) {
                continue;
            }
            if includes(served, &routed) {
                shared.insert(routed.clone());
            } else if includes(&routed, served) {
                shared.insert(served.clone());
            }
        }
    }
    shared
}

/// Whether every name that the narrower one stands for is one of the wider one's (`SubsetOf`).
fn includes(wider: &str, narrower: &str) -> bool {
    match wider.strip_prefix('*') {
        Some(suffix) => narrower.strip_prefix('*').unwrap_or(narrower).ends_with(suffix),
        None => wider == narrower,
    }
}
