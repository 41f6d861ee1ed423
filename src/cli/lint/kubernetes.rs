//! `lint --kubernetes`: the documents and, with `--proxies`, the dumps are read from a live cluster.
//! A program without the feature `kubernetes` has the options too, so that it can say what is
//! missing.

#[cfg(feature = "kubernetes")]
use super::Input;
use crate::cli::cluster;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::{InForce, ReadConfig, ReadError, read};
#[cfg(feature = "kubernetes")]
use crate::mesh::lint::of_unread;

/// The options, and what they are for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A live cluster")]
#[group(skip)]
pub(super) struct Args {
    /// Read the documents that are in force in a Kubernetes cluster, of all kinds that decide about
    /// sessions. Nothing in the cluster is changed.
    ///
    /// A right that is missing is a finding with the rule that a role has to have (not-read), and
    /// the exit status is 2 unless there is an error: what was not read is not said to be right.
    #[arg(long, group = "input", conflicts_with_all = ["filename", "config_dump"])]
    kubernetes: bool,

    #[command(flatten)]
    cluster: cluster::Args,

    /// The namespace that is judged, with what Istio's root namespace says of the whole mesh.
    /// [default: the context's]
    #[arg(short, long, value_name = "NAME", requires = "kubernetes", conflicts_with_all = ["all_namespaces", "filename", "config_dump"])]
    namespace: Option<String>,

    /// All namespaces are judged together.
    #[arg(short = 'A', long, requires = "kubernetes", conflicts_with_all = ["filename", "config_dump"])]
    all_namespaces: bool,

    /// Ask the proxies too what they have in force, one pod of each workload, by a port-forward to
    /// Envoy's admin port (15000).
    #[arg(long, requires = "kubernetes", conflicts_with_all = ["filename", "config_dump"])]
    proxies: bool,

    /// How long each answer is awaited, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "kubernetes", conflicts_with_all = ["filename", "config_dump"])]
    timeout: u64,
}

impl Args {
    /// An option that says which cluster, where none is meant.
    pub(super) fn is_of_no_cluster(&self) -> Option<&'static str> {
        self.cluster.named().filter(|_| !self.kubernetes)
    }

    /// Whether a cluster is meant at all.
    pub(super) fn is_asked_for(&self) -> bool {
        self.kubernetes
    }

    /// Reads what is in force.
    #[cfg(feature = "kubernetes")]
    pub(super) fn read(&self) -> Result<InForce, ReadError> {
        let config = ReadConfig {
            cluster: self.cluster.choice(),
            all_namespaces: self.all_namespaces,
            namespace: self.namespace.clone(),
            proxies: self.proxies,
            limit: std::time::Duration::from_secs(self.timeout),
        };
        read(&config)
    }
}

#[cfg(feature = "kubernetes")]
impl Input {
    /// What a cluster has in force. A dump that cannot be read as one is not read.
    pub(super) fn of_cluster(InForce { documents, dumps, unread, covered }: InForce) -> Self {
        let mut input = Self { texts: documents, ..Self::default() };
        for dump in &dumps {
            if let Err(error) = input.dumps.add_of_pod(dump) {
                input.unread.push(of_unread(&dump.text.name, error.to_string(), String::new()));
            }
        }
        input.unread.extend(
            unread.iter().map(|unread| of_unread(&unread.place(), unread.to_string(), unread.rule())),
        );
        let documents = input.texts.len();
        let proxies = if dumps.is_empty() { String::new() } else { format!(" and {} proxies", dumps.len()) };
        let istio = if covered.has_istio { "" } else { "; no kind of Istio's is installed" };
        let others = match covered.namespace {
            Some(_) => "; what other namespaces say of its hosts was not (-A)",
            None => "",
        };
        let covered = covered.words();
        input.covered = Some(format!("read {documents} documents{proxies} of {covered}{istio}{others}"));
        input
    }
}
