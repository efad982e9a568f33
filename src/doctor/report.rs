//! What an examination found.

use serde::Serialize;

use crate::model::Reason;

/// What lies at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The API server of the cluster.
    ApiServer,
    /// A proxy.
    Proxy,
    /// A git repository.
    Git,
    /// A Helm repository.
    Helm,
    /// An OCI registry.
    Oci,
    /// Something that was named on the command line.
    Address,
}

impl Kind {
    /// As texts call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiServer => "API server",
            Self::Proxy => "proxy",
            Self::Git => "git",
            Self::Helm => "Helm repository",
            Self::Oci => "OCI registry",
            Self::Address => "address",
        }
    }
}

/// A step on the way to a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepName {
    /// Which way out the rules choose.
    Route,
    /// Resolving a name: that of a direct destination, or the proxy's own.
    Dns,
    /// Opening a TCP connection.
    Tcp,
    /// TLS with the proxy itself.
    ProxyTls,
    /// Asking the proxy for a tunnel.
    Connect,
    /// TLS with the destination.
    Tls,
    /// What the destination says to the credentials.
    Auth,
    /// The refs of a git repository.
    LsRefs,
    /// The index of a Helm repository.
    Index,
    /// The manifest of an artifact.
    Manifest,
    /// Any answer at all.
    Answer,
}

impl StepName {
    /// As texts and JSON show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::ProxyTls => "proxy-tls",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::LsRefs => "ls-refs",
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Answer => "answer",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Well.
    Ok,
    /// Not well.
    Failed,
    /// It was not needed, or not come to.
    Skipped,
}

/// A certificate that was shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Whom it is about.
    pub subject: String,
    /// Who issued it.
    pub issuer: String,
    /// SHA-256 of the certificate, as hexadecimal pairs.
    pub sha256: String,
    /// The first moment at which it is not valid any more, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Which.
    pub step: StepName,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// What was found.
    pub detail: String,
    /// Why it failed, in the word that conditions use.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "word")]
    pub reason: Option<Reason>,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// What was shown, the destination's own first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn word<S: serde::Serializer>(reason: &Option<Reason>, serializer: S) -> Result<S::Ok, S::Error> {
    match reason {
        Some(reason) => serializer.serialize_str(reason.as_str()),
        None => serializer.serialize_none(),
    }
}

impl Step {
    /// A step that ended well.
    pub fn ok(step: StepName, milliseconds: Option<u64>, detail: impl Into<String>) -> Self {
        Self {
            step,
            outcome: Outcome::Ok,
            milliseconds,
            detail: detail.into(),
            reason: None,
            advice: None,
            certificates: Vec::new(),
        }
    }

    /// A step that was not taken, with why.
    pub fn skipped(step: StepName, why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::ok(step, None, why) }
    }

    /// A step that failed, with what to change.
    pub fn failed(step: StepName, milliseconds: Option<u64>, reason: Reason, detail: impl Into<String>) -> Self {
        let advice = super::advice::advice(reason).map(str::to_owned);
        Self { outcome: Outcome::Failed, reason: Some(reason), advice, ..Self::ok(step, milliseconds, detail) }
    }
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Examined {
    /// Its address, without credentials.
    pub destination: String,
    /// What lies there.
    pub kind: Kind,
    /// Objects that want it, such as `Application shop`.
    pub used_by: Vec<String>,
    /// Whether no step failed.
    pub ok: bool,
    /// The steps, in their order.
    pub steps: Vec<Step>,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this form. A field may be added within a version; none is taken away or given another meaning.
    pub version: u32,
    /// The namespace whose objects were read.
    pub namespace: String,
    /// Whether there is neither a problem nor a destination that fails.
    pub ok: bool,
    /// Mistakes in objects, and what could not be read.
    pub problems: Vec<String>,
    /// What is in force and may not be what was meant, such as proxy variables that contradict each other.
    pub warnings: Vec<String>,
    /// The destinations: the API server, proxies, then repositories by address.
    pub destinations: Vec<Examined>,
}

impl Report {
    /// Puts a report together.
    pub fn new(namespace: &str, problems: Vec<String>, warnings: Vec<String>, mut destinations: Vec<Examined>) -> Self {
        destinations.sort_by(|left, right| (left.kind, &left.destination).cmp(&(right.kind, &right.destination)));
        let ok = problems.is_empty() && destinations.iter().all(|examined| examined.ok);
        Self { version: 1, namespace: namespace.to_owned(), ok, problems, warnings, destinations }
    }

    /// The report as JSON, for programs.
    ///
    /// # Errors
    /// Never: it holds text and numbers only.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

impl Examined {
    /// Steps that were taken.
    pub fn new(destination: String, kind: Kind, used_by: Vec<String>, steps: Vec<Step>) -> Self {
        let ok = steps.iter().all(|step| step.outcome != Outcome::Failed);
        Self { destination, kind, used_by, ok, steps }
    }
}
