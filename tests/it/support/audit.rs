//! What an operator asked of the API server, counted by the API server.

use serde::Deserialize;
use serde_json::Value;

use super::journals::Mark;
use super::testbed::Testbed;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Reference,
    #[serde(default)]
    response_status: Status,
    #[serde(default)]
    request_object: Value,
    request_received_timestamp: String,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    resource: String,
    namespace: String,
    name: String,
    api_group: String,
    subresource: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

/// One request of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural name of the kind.
    pub resource: String,
    /// `status` or the like.
    pub subresource: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Status of the answer.
    pub code: u16,
    /// Whether it was only a try.
    pub dry_run: bool,
    /// When it came (RFC 3339, microseconds).
    pub received: String,
    /// Body of a delete.
    pub body: Value,
    /// The path and query.
    pub uri: String,
    /// Which program asked, and which process of it.
    pub agent: String,
}

impl Request {
    /// Whether it asked to change something.
    pub fn is_write(&self) -> bool {
        !self.dry_run && matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// Whether it asked to change something, and that was done.
    pub fn is_done_write(&self) -> bool {
        self.is_write() && (200..300).contains(&self.code)
    }

    /// `resource namespace/name`, for messages and comparisons.
    pub fn object(&self) -> String {
        format!("{} {}/{}", self.resource, self.namespace, self.name)
    }

    /// `verb resource namespace/name`.
    pub fn line(&self) -> String {
        format!("{} {}", self.verb, self.object())
    }
}

/// The audit log as far as one operator is concerned, from a mark on.
#[derive(Clone, Debug)]
pub struct Audit {
    mark: Mark,
    user: String,
}

impl Audit {
    /// From now on, of one user.
    pub fn from_now(user: &str) -> Self {
        Self { mark: Mark::end_of(&Testbed::shared().audit_log), user: user.to_owned() }
    }

    /// All requests that were answered (a watch: begun), in the order of their arrival.
    pub fn requests(&self) -> Vec<Request> {
        let mut requests: Vec<Request> = self
            .mark
            .lines()
            .iter()
            // The log of a whole cluster is long: what does not name the user is not worth parsing.
            .filter(|line| line.contains(&self.user))
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("not an audit event: {error}: {line}"))
            })
            .filter(|entry: &Entry| entry.user.username == self.user)
            .filter(|entry| match entry.verb.as_str() {
                "watch" => entry.stage == "ResponseStarted",
                _ => entry.stage == "ResponseComplete",
            })
            .map(|entry| {
                assert!(
                    entry.user_agent.starts_with("tidelock/"),
                    "a request of the operator does not say so: User-Agent {:?} at {}",
                    entry.user_agent,
                    entry.request_uri
                );
                let Reference { resource, namespace, name, api_group, subresource } = entry.object_ref;
                Request {
                    dry_run: entry.request_uri.contains("dryRun=All"),
                    verb: entry.verb,
                    group: api_group,
                    resource,
                    subresource,
                    namespace,
                    name,
                    code: entry.response_status.code,
                    received: entry.request_received_timestamp,
                    body: entry.request_object,
                    uri: entry.request_uri,
                    agent: entry.user_agent,
                }
            })
            .collect();
        requests.sort_by(|left, right| left.received.cmp(&right.received));
        requests
    }

    /// Writes that were done in a namespace, tries aside.
    pub fn writes_in(&self, namespace: &str) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|request| request.is_done_write() && request.namespace == namespace)
            .collect()
    }

    /// Deletions that were done, anywhere.
    pub fn deletions(&self) -> Vec<Request> {
        let deletes = |request: &Request| request.verb.starts_with("delete") && request.is_done_write();
        self.requests().into_iter().filter(deletes).collect()
    }
}

/// Requests as lines, sorted: for those whose order is nobody's business.
pub fn sorted(requests: &[Request]) -> Vec<String> {
    let mut lines = lines(requests);
    lines.sort();
    lines
}

/// Requests as lines, for assertions on whole values.
pub fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(Request::line).collect()
}
