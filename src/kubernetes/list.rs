//! Reading from the API server: single objects, and lists page by page. Nothing here writes.

use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::connect::ConnectError;
use super::discovery::Resource;
use crate::telemetry::with_causes;

/// How many objects a page has at most, as kubectl asks for them.
const PAGE: u32 = 500;

/// Why a cluster cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No cluster was found.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The API server cannot be reached, or does not answer as one.
    #[error("ask the API server for {what}: {reason}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// What happened.
        reason: String,
    },
    /// The API server does not answer in time.
    #[error("ask the API server for {what}: no answer within {limit:?}")]
    TimedOut {
        /// What was asked for.
        what: String,
        /// How long it was awaited.
        limit: Duration,
    },
    /// The API server does not do it.
    #[error("{what}: the API server says {code}: {reason}")]
    Refused {
        /// What was asked for.
        what: String,
        /// Its status.
        code: u16,
        /// Its words.
        reason: String,
    },
    /// Nothing can be waited for on this machine.
    #[error("start: {0}")]
    Runtime(#[source] std::io::Error),
    /// There is no such namespace.
    #[error("the cluster has no namespace {0}")]
    NoNamespace(String),
}

impl ReadError {
    /// What may be done about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect(error) => Some(error.hint()),
            Self::TimedOut { .. } => Some("--timeout waits longer"),
            Self::Refused { code: 401, .. } => {
                Some("the credentials of the kubeconfig are not accepted: log in again")
            }
            Self::NoNamespace(_) => Some("-n names another, -A means all of them"),
            Self::Unreachable { .. } | Self::Refused { .. } | Self::Runtime(_) => None,
        }
    }
}

/// What was asked for, as far as it may be seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// What there is.
    Found(T),
    /// There is no such thing.
    Nothing,
    /// A right is missing; with what the API server says.
    Forbidden(String),
}

/// The API server, read with patience for each answer.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) client: Client,
    pub(super) limit: Duration,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Deserialize, Default)]
struct PageMetadata {
    r#continue: Option<String>,
}

/// What a page was answered with.
enum PageAnswer {
    Page(Page),
    /// The list has changed too much since its first page (410 Gone).
    Expired,
    Nothing,
    Forbidden(String),
}

impl Reader {
    /// What a GET of this path is answered with.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Answer<T>, ReadError> {
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| unreachable(what, &error))?;
        match self.ask(request, what).await {
            Ok(found) => Ok(Answer::Found(found)),
            Err(ReadError::Refused { code: 404, .. }) => Ok(Answer::Nothing),
            Err(ReadError::Refused { code: 403, reason, .. }) => Ok(Answer::Forbidden(reason)),
            Err(error) => Err(error),
        }
    }

    /// What `keep` keeps of the objects of a kind, in one namespace or in all.
    pub(super) async fn list<T>(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        mut keep: impl FnMut(Value) -> Option<T>,
    ) -> Result<Answer<Vec<T>>, ReadError> {
        let what = match namespace {
            Some(namespace) => format!("the {} of the namespace {namespace}", resource.plural),
            None => format!("all {}", resource.plural),
        };
        let path = resource.path(namespace);
        let mut params = ListParams::default().limit(PAGE);
        let mut kept = Vec::new();
        loop {
            match self.page(&path, &params, &what).await? {
                PageAnswer::Page(Page { metadata, items }) => {
                    kept.extend(items.into_iter().flatten().filter_map(&mut keep));
                    match metadata.r#continue.filter(|next| !next.is_empty()) {
                        Some(next) => params.continue_token = Some(next),
                        None => return Ok(Answer::Found(kept)),
                    }
                }
                // What was read is of another time than what is left: from the beginning, and in one
                // page, which does not grow old.
                PageAnswer::Expired => {
                    kept.clear();
                    params = ListParams::default();
                }
                PageAnswer::Nothing => return Ok(Answer::Nothing),
                PageAnswer::Forbidden(reason) => return Ok(Answer::Forbidden(reason)),
            }
        }
    }

    async fn page(&self, path: &str, params: &ListParams, what: &str) -> Result<PageAnswer, ReadError> {
        let request = Request::new(path).list(params).map_err(|error| unreachable(what, &error))?;
        match self.ask(request, what).await {
            Ok(page) => Ok(PageAnswer::Page(page)),
            Err(ReadError::Refused { code: 410, .. }) if params.continue_token.is_some() => {
                Ok(PageAnswer::Expired)
            }
            Err(ReadError::Refused { code: 404, .. }) => Ok(PageAnswer::Nothing),
            Err(ReadError::Refused { code: 403, reason, .. }) => Ok(PageAnswer::Forbidden(reason)),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        request: http::Request<Vec<u8>>,
        what: &str,
    ) -> Result<T, ReadError> {
        let answer = timeout(self.limit, self.client.request(request)).await;
        let answer = answer.map_err(|_| ReadError::TimedOut { what: what.to_owned(), limit: self.limit })?;
        answer.map_err(|error| match error {
            kube::Error::Api(status) => ReadError::Refused {
                what: what.to_owned(),
                code: status.code,
                reason: status.message.clone(),
            },
            error => unreachable(what, &error),
        })
    }
}

fn unreachable(what: &str, error: &dyn std::error::Error) -> ReadError {
    ReadError::Unreachable { what: what.to_owned(), reason: with_causes(error) }
}
