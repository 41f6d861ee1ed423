//! What the proxy answers by itself (Envoy's `sendLocalReply`), and when no answer came from the upstream.

use std::borrow::Cow;

use bytes::Bytes;
use http::StatusCode;

use super::super::attempts::Failure;
use super::super::exchange::Leg;
use super::super::headers;
use super::super::reset::Gone;
use super::super::upstream::cluster::Cluster;
use super::super::upstream::{Answer, ResponseParts};
use super::{ActiveStream, Ending};
use crate::access_log::{Protocol, ResponseFlag};

impl ActiveStream {
    /// What a request without a response head gets.
    pub(super) fn fail(&mut self, cluster: &Cluster, failure: Failure) -> Ending {
        match failure {
            Failure::Gone(Gone::ProtocolError(details)) if self.protocol != Protocol::Http2 => {
                self.stats().cx_protocol_error.increment();
                self.record.response_flags.set(ResponseFlag::DownstreamProtocolError);
                self.local_reply(StatusCode::BAD_REQUEST, "Bad Request", details)
            }
            Failure::Gone(gone) => Ending::Gone(gone),
            Failure::Overloaded => self.give_way(),
            Failure::NoHost => {
                self.record.response_flags.set(ResponseFlag::NoHealthyUpstream);
                let status = StatusCode::SERVICE_UNAVAILABLE;
                cluster.stats.rq_completed.count(status);
                self.local_reply(status, "no healthy upstream", "no_healthy_upstream")
            }
            Failure::TimedOut => {
                self.record.response_flags.set(ResponseFlag::UpstreamRequestTimeout);
                cluster.stats.rq_timeout.increment();
                cluster.stats.rq_completed.count(StatusCode::GATEWAY_TIMEOUT);
                self.local_reply(StatusCode::GATEWAY_TIMEOUT, "upstream request timeout", "response_timeout")
            }
            Failure::Expired(expired) => {
                let details = expired.note(&mut self.record, &self.worker.stats.connection_manager);
                let status = if self.downstream.is_request_complete() {
                    StatusCode::GATEWAY_TIMEOUT
                } else {
                    StatusCode::REQUEST_TIMEOUT
                };
                self.local_reply(status, expired.body(), details)
            }
            Failure::Reset { reset, retried, after_interim } => {
                cluster.stats.rq_completed.count(reset.status());
                self.record.response_flags.set(reset.flag());
                self.record.upstream_transport_failure_reason =
                    reset.transport_failure().map(|reason| Cow::Owned(reason.replace(' ', "_")));
                self.local_reply(reset.status(), &reset.body(retried), reset.details(after_interim))
            }
        }
    }

    /// Answers by itself (Envoy's `sendLocalReply`).
    pub(super) fn local_reply(
        &mut self,
        status: StatusCode,
        body: &str,
        details: impl Into<Cow<'static, str>>,
    ) -> Ending {
        self.record.response_code_details = Some(details.into());
        let fields = headers::local_reply(body);
        let head = ResponseParts { status, fields, end: body.is_empty(), answer: Answer::Final };
        let sent = self.send_head(head).and_then(|()| {
            if !body.is_empty() {
                self.record.bytes_sent += body.len() as u64;
                self.downstream.send(Bytes::copy_from_slice(body.as_bytes()))?;
                self.downstream.finish();
            }
            Ok(())
        });
        sent.map_or_else(Ending::Gone, |()| Ending::Complete)
    }
}
