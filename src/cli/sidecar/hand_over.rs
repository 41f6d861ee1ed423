//! From the image of the program that has read the command line and the documents to one that has
//! not, in the same process.
//!
//! A sidecar serves for as long as its pod lives, on a small budget of memory. What parses options
//! and YAML is most of the program's code, is needed for a moment, and would stay mapped for all
//! that time. So the program is started anew (`execve`: same process, arguments, standard streams
//! and signals to come), with what was made of them.
//!
//! That is also when glibc is told how its allocator is to give memory back ([`allocator`]).

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::super::allocator;
use super::Prepared;

/// The environment variable by which the new image knows where it finds what it has to do: in the
/// file descriptor of that number. A file without a name, as there may be keys in it, which nobody
/// is to read in the environment of the process.
const VARIABLE: &str = "WEBSOCKETS_CLI_SIDECAR";

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct HandedOver<P> {
    /// The process that it is for: another one that inherited the variable is not meant.
    process: u32,
    prepared: P,
}

/// Starts the program anew. Returns only if that cannot be done, as there is no way to the program any
/// more. Then this image can serve as well.
pub(super) fn to_new_image(prepared: &Prepared) -> io::Error {
    let start = || {
        let program = std::env::current_exe()?;
        let mut file = anonymous_file()?;
        serde_json::to_writer(&mut file, &HandedOver { process: std::process::id(), prepared })?;
        file.rewind()?;
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        let (name, settings) = allocator::environment();
        Ok(command.args(arguments).env(VARIABLE, file.as_raw_fd().to_string()).env(name, settings).exec())
    };
    start().unwrap_or_else(|error| error)
}

/// What the image before this one has handed over, if there was one.
pub(super) fn from_old_image() -> Option<Prepared> {
    let descriptor: RawFd = std::env::var(VARIABLE).ok()?.parse().ok()?;
    let path = format!("/proc/self/fd/{descriptor}");
    // Whatever else has that number in another process is not waited for.
    if !std::fs::read_link(&path).ok()?.to_string_lossy().starts_with("/memfd:sidecar") {
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let HandedOver { process, prepared } = serde_json::from_str(&text).ok()?;
    if process != std::process::id() {
        return None;
    }
    // Nothing is left of it in this process.
    let _ = nix::unistd::close(descriptor);
    Some(prepared)
}

/// A file that only this process has, and the one that it becomes.
#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(File::from(memfd_create(c"sidecar", MFdFlags::empty())?))
}

/// Other systems have no such file.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::{Format, Target};
    use crate::mesh::{self, Documents, MeshDefaults, OutboundQuery, OutboundTrafficPolicy};
    use crate::sidecar::{Config, Direction};
    use crate::tls::PemFiles;

    #[test]
    fn what_is_handed_over_arrives_as_it_was() {
        let listen = "127.0.0.1:15001".parse().unwrap();
        let query = OutboundQuery {
            workload: None,
            listen,
            policy: OutboundTrafficPolicy::RegistryOnly,
            istio_version: mesh::ISTIO_VERSION,
            mesh: &MeshDefaults::default(),
        };
        let mut mesh = mesh::outbound(&Documents::builtin(), &query).unwrap();
        mesh.connection_manager.stream_idle_timeout = Some(std::time::Duration::from_millis(1500));
        let config = Config {
            direction: Direction::Outbound { mesh, passthrough: Some(listen) },
            listen,
            endpoints: "[::1]:15006".parse::<std::net::SocketAddr>().unwrap().into(),
            concurrency: 3,
            max_buffered_bytes: 1 << 20,
            access_log: Target::File("/var/log/access.log".into()),
            access_log_format: Format::Text,
            mutual_tls: None,
            admin: None,
            drain_time: std::time::Duration::from_millis(2500),
        };
        let files = |name: &str| name.into();
        let mutual_tls =
            Some(PemFiles { certificate: files("a.pem"), key: files("b.pem"), ca: files("c.pem") });
        let prepared = Prepared { config, mutual_tls };
        let text = serde_json::to_string(&prepared).unwrap();
        let arrived: Prepared = serde_json::from_str(&text).unwrap();
        let (Direction::Outbound { mesh, .. }, Direction::Outbound { mesh: arrived_mesh, .. }) =
            (&prepared.config.direction, &arrived.config.direction)
        else {
            panic!("an outbound sidecar arrives as an inbound one");
        };
        assert_eq!(arrived_mesh.connection_manager, mesh.connection_manager);
        assert_eq!(arrived_mesh.virtual_hosts, mesh.virtual_hosts);
        assert_eq!(serde_json::to_string(&arrived).unwrap(), text);
        assert_eq!(arrived.mutual_tls, prepared.mutual_tls);
    }
}
