//! Label sets and the closed vocabularies of their values.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::api::SyncState;
use crate::model::HealthStatus;

macro_rules! label_values {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[doc = $variant_doc])+ $variant),+ }

        impl $name {
            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

label_values! {
    /// How a reconcile ended.
    ReconcileResult {
        /// There was nothing to do.
        Idle => "idle",
        /// Objects were written.
        Changed => "changed",
        /// A gate is not open yet.
        Waiting => "waiting",
        /// It failed in a way that may pass.
        Retry => "retry",
        /// It failed in a way that only a change of spec, Secret or source can help.
        Stalled => "stalled",
    }
}

label_values! {
    /// What is asked of a git server.
    GitOperation {
        /// Which refs there are.
        ListRefs => "list_refs",
        /// The objects of a commit.
        Fetch => "fetch",
    }
}

label_values! {
    /// What renders.
    RenderTool {
        /// Plain files.
        Directory => "directory",
        /// Kustomize.
        Kustomize => "kustomize",
        /// Helm.
        Helm => "helm",
        /// The render failed, perhaps before the tool was known.
        Undetermined => "undetermined",
    }
}

label_values! {
    /// How a render ended.
    RenderResult {
        /// It was done.
        Done => "done",
        /// The cache had it.
        Cached => "cached",
        /// It failed.
        Failed => "failed",
    }
}

label_values! {
    /// What is asked of the API server.
    WriteVerb {
        /// Server-side apply of an object.
        Apply => "apply",
        /// The same without effect.
        DryRun => "dry_run",
        /// Delete of an object.
        Delete => "delete",
        /// A status, or a finalizer, of a kind of ours.
        Status => "status",
        /// An Inventory object.
        Inventory => "inventory",
        /// An event.
        Event => "event",
        /// The lease.
        Lease => "lease",
    }
}

label_values! {
    /// What became of a write, in the words that logs, events and status use.
    WriteOutcome {
        /// The object is new.
        Created => "created",
        /// The object was changed.
        Configured => "configured",
        /// The object was as wanted already.
        Unchanged => "unchanged",
        /// The object was deleted.
        Pruned => "pruned",
        /// Nothing was sent.
        Skipped => "skipped",
        /// The API server refused, or did not answer.
        Failed => "failed",
    }
}

label_values! {
    /// What became of a webhook.
    WebhookOutcome {
        /// A source is polled sooner for it.
        Accepted => "accepted",
        /// It is about nothing that is tracked.
        Ignored => "ignored",
        /// It was delivered before.
        Replayed => "replayed",
        /// It is not proved to come from who knows a secret.
        Unauthorized => "unauthorized",
        /// It can't be read.
        Malformed => "malformed",
        /// It is longer than any that is sent in earnest.
        TooLarge => "too_large",
        /// It came too slowly.
        TimedOut => "timed_out",
        /// Too many came.
        RateLimited => "rate_limited",
        /// It is asked for at another path, or by another method.
        NotFound => "not_found",
        /// This process does not do the work, or can't read the keys.
        Unavailable => "unavailable",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WebhookLabels {
    pub(super) vendor: &'static str,
    pub(super) outcome: WebhookOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReconcileLabels {
    pub(super) result: ReconcileResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GitLabels {
    pub(super) host: String,
    pub(super) operation: GitOperation,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EgressLabels {
    pub(super) route: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HostLabels {
    pub(super) host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RenderLabels {
    pub(super) tool: RenderTool,
    pub(super) result: RenderResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RenderToolLabels {
    pub(super) tool: RenderTool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WriteLabels {
    pub(super) verb: WriteVerb,
    pub(super) outcome: WriteOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HealthLabels {
    pub(super) health: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ApplicationLabels {
    sync: &'static str,
    health: &'static str,
}

impl ApplicationLabels {
    pub(super) const fn new(sync: SyncState, health: HealthStatus) -> Self {
        Self { sync: sync.as_str(), health: health.as_str() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ApplicationInfoLabels {
    namespace: String,
    name: String,
    sync: &'static str,
    health: &'static str,
}

impl ApplicationInfoLabels {
    pub(super) fn new(namespace: &str, name: &str, sync: SyncState, health: HealthStatus) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned(), sync: sync.as_str(), health: health.as_str() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RepositoryLabels {
    pub(super) repository: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TipLabels {
    pub(super) repository: String,
    pub(super) target: String,
}
