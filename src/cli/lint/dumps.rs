//! `--config-dump`: the dumps that are named, and the side that each is of.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

#[cfg(feature = "kubernetes")]
use crate::kubernetes::PodDump;
use crate::mesh::config_dump::{DumpedProxy, Side, masked};
use crate::mesh::lint::{Finding, lint_dumps};
use crate::mesh::{MeshError, Source};
use crate::yaml::Text;

/// The sides that may be named.
const SIDES: [(&str, Side); 4] = [
    ("client=", Side::Client),
    ("server=", Side::Server),
    ("gateway=", Side::Gateway),
    ("waypoint=", Side::Waypoint),
];

/// One dump, as it is named: `[SIDE=]FILE`.
#[derive(Debug, Clone)]
pub(super) struct DumpArg {
    side: Option<Side>,
    path: PathBuf,
}

impl FromStr for DumpArg {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let named: Option<(Side, &str)> =
            SIDES.iter().find_map(|(prefix, side)| Some((*side, word.strip_prefix(prefix)?)));
        let (side, path) = named.map_or((None, word), |(side, path)| (Some(side), path));
        if path.is_empty() {
            return Err("expected a file, or a side and a file such as client=dump.json".to_owned());
        }
        if let Some((side, _)) = word.split_once('=').filter(|_| named.is_none() && !Path::new(word).exists())
        {
            return Err(format!("{side} is no side: expected client, server, gateway or waypoint"));
        }
        Ok(Self { side, path: path.into() })
    }
}

/// What was read of the dumps.
#[derive(Default)]
pub(super) struct Dumps {
    pub(super) proxies: Vec<DumpedProxy>,
    /// The dumps with their secrets covered, for whoever shows lines of them.
    pub(super) shown: Vec<Arc<Text>>,
}

impl Dumps {
    pub(super) fn read(named: &[DumpArg]) -> Result<Self, MeshError> {
        let mut dumps = Self::default();
        for DumpArg { side, path } in named {
            for text in Source::read_all(&[Source::from(path.clone())])? {
                dumps.add(&text, *side)?;
            }
        }
        Ok(dumps)
    }

    /// Adds what a proxy printed, or what was collected of several.
    pub(super) fn add(&mut self, text: &Arc<Text>, side: Option<Side>) -> Result<(), MeshError> {
        self.proxies.extend(DumpedProxy::read(text, side)?);
        self.shown.push(masked(text));
        Ok(())
    }

    /// Adds what the proxy of a pod in a cluster printed; what it does not say of itself the cluster
    /// knows.
    #[cfg(feature = "kubernetes")]
    pub(super) fn add_of_pod(&mut self, dump: &PodDump) -> Result<(), MeshError> {
        self.add(&dump.text, None)?;
        if let Some(proxy) = self.proxies.last_mut() {
            if proxy.addresses.is_empty() {
                proxy.addresses.clone_from(&dump.addresses);
            }
            if proxy.side == Side::Unknown {
                proxy.side = if dump.is_sidecar { Side::Sidecar } else { Side::Gateway };
            }
        }
        Ok(())
    }

    /// What is wrong in them, in the order of the files and places.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = lint_dumps(&self.proxies);
        let position = |finding: &Finding| self.shown.iter().position(|text| text.name == finding.place.file);
        findings.sort_by_key(|finding| (position(finding), finding.place.line, finding.place.column));
        findings
    }
}
