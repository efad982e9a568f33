//! The reasons that conditions, events and metrics carry. One vocabulary for the whole program.

use std::fmt;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Why something is as it is: the `reason` of a condition, the label of a metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])+ $name),+ }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name as it stands in conditions.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

reasons! {
    // Reaching git (`egress`, `git`).
    /// No rule lets a connection to this host leave.
    EgressDenied,
    /// The name could not be resolved (only ever tried on direct routes).
    DnsFailed,
    /// The address did not answer the dial in time.
    ConnectTimeout,
    /// The address refused or reset the dial.
    ConnectFailed,
    /// The proxy did not answer the dial, or closed before it answered.
    ProxyUnreachable,
    /// The proxy wants credentials, or refused those it got (407).
    ProxyAuthRequired,
    /// The proxy refuses this destination (403 and other 4xx).
    ProxyForbidden,
    /// The proxy got no connection to the destination, or no sensible answer from it (502, 504, and what Squid says so of).
    ProxyUpstreamFailed,
    /// The proxy takes no connections now (503, 429, 408): it is overloaded or under maintenance, or, as some mean by it,
    /// can't reach the destination.
    ProxyUnavailable,
    /// The proxy failed within itself (500 and other 5xx).
    ProxyFailed,
    /// The proxy's own certificate is not trusted.
    ProxyTlsUntrusted,
    /// The destination's certificate is not trusted; often an intercepting proxy whose CA is not configured.
    TlsUntrusted,
    /// TLS failed for another reason than trust.
    TlsFailed,
    /// An HTML page came where git was expected: a block page.
    BlockedByProxy,
    /// The git server refused the credentials (401, 403).
    AuthFailed,
    /// The git server does not have this repository (404).
    RepositoryNotFound,
    /// The git server answered with an error status.
    ServerError,
    /// The answer was not the git protocol.
    ProtocolError,
    /// The repository names its objects by a hash that can't be read (SHA-256).
    ObjectFormatUnsupported,
    /// The branch, tag or commit does not exist.
    RefNotFound,
    /// No answer before the first byte's deadline.
    ServerSilent,
    /// Bytes stopped flowing in the middle of an answer.
    Stalled,
    /// The connection ended in the middle of an answer.
    ConnectionCut,
    /// A redirect that is not followed (another scheme, too many, or with credentials to another host).
    RedirectRefused,
    /// The pack exceeds the byte or object limit.
    PackTooLarge,
    /// The local object store failed.
    StoreFailed,
    /// The host key of an SSH server is not listed, or is another than the listed one.
    HostKeyUntrusted,
    /// A submodule can't be taken: its host is not allowed, or it can't be fetched.
    SubmoduleFailed,
    /// The content behind a git LFS pointer is missing: LFS is off, or the fetch failed.
    LfsFailed,
    /// The chart or version does not exist in the Helm repository.
    ChartNotFound,
    /// The tag, digest or version does not exist in the registry.
    ArtifactNotFound,
    /// A chart or an artifact is not what it says: a digest differs, an archive can't be read or leaves its root.
    ArtifactInvalid,
    /// A commit, tag or artifact lacks a signature by an allowed key.
    SignatureInvalid,
    /// The newest commit or artifact is older than `maxAge`.
    Stale,
    /// Long transfers are cut on the way, so commits are fetched in pieces.
    FetchedInPieces,
    /// The record of what was verified does not match its seal.
    SealBroken,
    /// No Repository object covers this URL, or several do.
    RepositoryUnknown,
    /// A Secret that is referred to is missing or lacks a key.
    SecretNotFound,
    /// An object that is referred to by name does not exist.
    ReferenceNotFound,

    // Rendering and assembling (`render`, `desired`).
    /// The path does not exist at this revision.
    PathNotFound,
    /// A path or symlink leaves the tree.
    PathEscape,
    /// A file is not valid YAML or JSON.
    InvalidYaml,
    /// A mapping has the same key twice.
    DuplicateKey,
    /// Depth, alias expansion or size of a document is over the limit.
    YamlBudget,
    /// The files are over the size limit.
    InputTooLarge,
    /// A document is not a Kubernetes object.
    InvalidManifest,
    /// `kustomize build` failed.
    KustomizeFailed,
    /// `helm template` failed.
    HelmFailed,
    /// A rendering tool ran past its deadline.
    RenderTimeout,
    /// A rendering tool wrote more than the limit, or used more memory.
    RenderLimit,
    /// Rendering needs a feature that is not supported.
    RenderUnsupported,
    /// The render produced no object and `allowEmpty` is not set.
    EmptyRender,
    /// The same object is defined twice.
    DuplicateResource,
    /// The API server does not know this kind.
    KindNotFound,
    /// The AppProject does not allow this.
    NotPermitted,
    /// The project names no ServiceAccount for this destination, and the operator acts as nobody else.
    ServiceAccountUnset,
    /// An object is not in the namespaces that the operator is limited to.
    OutsideNamespaces,
    /// The Application's spec can't be carried out.
    InvalidSpec,
    /// A field is set that this version does not act on.
    UnsupportedField,

    // Applying and gating (`apply`, `plan`).
    /// An object belongs to another Application.
    OwnedByOther,
    /// An admission policy or webhook refused an object.
    AdmissionDenied,
    /// The API server refused an object as invalid.
    InvalidObject,
    /// A field that can't change was changed.
    ImmutableField,
    /// The API server refused for lack of rights.
    Forbidden,
    /// A namespace that an object needs does not exist.
    NamespaceNotFound,
    /// A namespace that an object needs is being deleted.
    NamespaceTerminating,
    /// The API server did not answer, or not in time.
    ClusterUnreachable,
    /// The API server asked to slow down for longer than we wait.
    Throttled,
    /// Another operator holds the lease, so this one may not write any more.
    LeaseLost,
    /// A kind's objects can't be listed, so what the cluster holds of it is unknown.
    LiveStateUnknown,
    /// Any other refusal of the API server.
    ApplyFailed,
    /// A delete was refused or did not finish.
    PruneFailed,
    /// Objects wait to be pruned but pruning is off or needs consent.
    PruneWaiting,
    /// A wave waits for an object to become healthy.
    WaitingForHealth,
    /// A wave's object is degraded.
    HealthDegraded,
    /// A wave did not become healthy in time.
    HealthTimeout,
    /// Deletion can't go on.
    DeletionBlocked,
    /// Explicit dependencies and waves contradict each other.
    DependencyCycle,
    /// An object waits for another that it depends on.
    WaitingForDependency,
    /// A hook runs.
    WaitingForHook,
    /// A hook failed.
    HookFailed,
    /// A wave made no progress for as long as `gate.noProgressTimeout` allows.
    NoProgress,
    /// A sync window keeps the sync from starting.
    WindowClosed,
    /// A person ended the operation.
    Terminated,
    /// Another controller keeps changing a field that git sets.
    DriftFight,
    /// A rule of the user (health, ignored differences) can't be used.
    InvalidRule,

    // Good and neutral states.
    /// Everything is as git wants it and healthy.
    Succeeded,
    /// Work is under way.
    Progressing,
    /// Live state differs from git and no automated policy corrects it.
    OutOfSync,
    /// A connection to git works.
    Connected,
    /// What the object says is acted on.
    InForce,
    /// The newest commit or artifact is as young as `maxAge` wants it.
    Fresh,
    /// Not yet looked at.
    Pending,
    /// Something a person should know although it stops nothing.
    Warning,
    /// A mistake in this program; please report it.
    InternalError,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Reason {
    /// Whether only a change of the spec, of a Secret or of the source can help. Such failures are retried at poll
    /// pace, never in a hot loop.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::EgressDenied
                | Self::ProxyAuthRequired
                | Self::ProxyForbidden
                | Self::ProxyTlsUntrusted
                | Self::TlsUntrusted
                | Self::AuthFailed
                | Self::RepositoryNotFound
                | Self::ObjectFormatUnsupported
                | Self::RefNotFound
                | Self::RedirectRefused
                | Self::PackTooLarge
                | Self::HostKeyUntrusted
                | Self::SubmoduleFailed
                | Self::LfsFailed
                | Self::ChartNotFound
                | Self::ArtifactNotFound
                | Self::ArtifactInvalid
                | Self::SignatureInvalid
                | Self::RepositoryUnknown
                | Self::SecretNotFound
                | Self::ReferenceNotFound
                | Self::PathNotFound
                | Self::PathEscape
                | Self::InvalidYaml
                | Self::DuplicateKey
                | Self::YamlBudget
                | Self::InputTooLarge
                | Self::InvalidManifest
                | Self::KustomizeFailed
                | Self::HelmFailed
                | Self::RenderUnsupported
                | Self::EmptyRender
                | Self::DuplicateResource
                | Self::NotPermitted
                | Self::ServiceAccountUnset
                | Self::OutsideNamespaces
                | Self::InvalidSpec
                | Self::UnsupportedField
                | Self::DependencyCycle
        )
    }
}
