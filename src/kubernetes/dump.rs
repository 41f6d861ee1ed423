//! The dump of a pod's proxy, by a port-forward to Envoy's admin port.
//!
//! Istio's admin port listens on the pod's loopback, so `pods/proxy`, which comes from outside, does
//! not reach it; `pods/exec` does, by `pilot-agent`, but is the right to run anything in the pod.
//! A port-forward ends within the pod's network, and runs nothing.

use bytes::Bytes;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::client::UpgradeConnectionError;
use tokio::io::DuplexStream;
use tokio::time::timeout;

use super::list::Reader;
use crate::telemetry::with_causes;

/// Envoy's admin port, as Istio sets it (`proxyAdminPort`).
const ADMIN: u16 = 15_000;

/// With endpoints, by which a cluster is followed to another proxy.
const PATH: &str = "/config_dump?include_eds";

/// The longest dump that is read, as of a file.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Why there is no dump.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoDump {
    /// A right is missing; with what the API server says.
    Forbidden(String),
    /// The proxy, or the way to it.
    Failed(String),
}

impl Reader {
    /// What the proxy of a pod has in force.
    pub(super) async fn dump(&self, pod: &str, namespace: &str) -> Result<String, NoDump> {
        let late = |_| NoDump::Failed(format!("no answer within {:?}", self.limit));
        timeout(self.limit, self.forwarded(pod, namespace)).await.map_err(late)?
    }

    async fn forwarded(&self, pod: &str, namespace: &str) -> Result<String, NoDump> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut forwarder = pods.portforward(pod, &[ADMIN]).await.map_err(|error| refused(&error))?;
        let refusal = forwarder.take_error(ADMIN);
        let Some(stream) = forwarder.take_stream(ADMIN) else {
            return Err(NoDump::Failed("there is no stream".to_owned()));
        };
        let dump = config_dump(stream).await;
        let dump = match dump {
            Ok(dump) => Ok(dump),
            // Who closes the stream says why on another.
            Err(failure) => Err(match refusal {
                Some(refusal) => refusal.await.unwrap_or(failure),
                None => failure,
            }),
        };
        forwarder.abort();
        dump.map_err(NoDump::Failed)
    }
}

/// What Envoy answers on a stream to its admin port, or what went wrong, in words.
async fn config_dump(stream: DuplexStream) -> Result<String, String> {
    let words = |error: hyper::Error| with_causes(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    let asked = async move {
        let request = http::Request::get(PATH).header(HOST, format!("127.0.0.1:{ADMIN}"));
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(words)?;
        if !response.status().is_success() {
            return Err(format!("{PATH} is answered with {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| format!("{PATH}: {error}"))?.to_bytes();
        String::from_utf8(body.into()).map_err(|error| format!("{PATH}: {error}"))
    };
    // The connection ends once there is nobody who could ask more.
    let (dump, _) = tokio::join!(asked, connection);
    dump
}

fn refused(error: &kube::Error) -> NoDump {
    match error {
        kube::Error::Api(status) if status.code == 403 => NoDump::Forbidden(status.message.clone()),
        kube::Error::Api(status) => NoDump::Failed(status.message.clone()),
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(status)) => {
            let said = format!("the API server answers {status}");
            if status.as_u16() == 403 { NoDump::Forbidden(said) } else { NoDump::Failed(said) }
        }
        error => NoDump::Failed(with_causes(error)),
    }
}
