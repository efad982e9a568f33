//! What an API server's refusals mean.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::core::Status;
use thiserror::Error;

use crate::live::client::{Answer, NoAnswer};
use crate::model::{GroupKind, Identity, Reason, shorten};

/// The longest part of a server's own words that a message repeats, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// Why an object could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ApplyError {
    /// The reason as conditions carry it.
    pub reason: Reason,
    /// What is wrong, as a sentence. Never holds anything of a Secret but names of its fields.
    pub message: String,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether the same request may succeed later without a change of the object or of rights.
    pub retryable: bool,
}

impl ApplyError {
    /// The object itself is wrong, as far as can be said without asking the server.
    pub(super) fn invalid(message: String) -> Self {
        Self { reason: Reason::InvalidObject, message, retry_after: None, retryable: false }
    }

    /// The object changed again and again between being read and being written.
    pub(super) fn contended(rounds: u32, doing: &str) -> Self {
        Self {
            reason: Reason::ApplyFailed,
            message: format!("the object changed {rounds} times between being read and being {doing}"),
            retry_after: None,
            retryable: true,
        }
    }

    /// Whether the refusal may be about the change rather than about what is wanted, so that making the object anew may work
    /// (`Force=true`).
    pub(super) fn may_be_unchangeable(&self) -> bool {
        matches!(self.reason, Reason::ImmutableField | Reason::InvalidObject)
    }

    /// Nothing may be written because the lease is lost.
    pub(super) fn lease_lost(kind: &GroupKind) -> Self {
        Self {
            reason: Reason::LeaseLost,
            message: format!("{kind} was not written: this operator does not hold the lease any more"),
            retry_after: None,
            retryable: false,
        }
    }

    /// No answer came.
    pub(super) fn unanswered(error: &NoAnswer) -> Self {
        Self { reason: Reason::ClusterUnreachable, message: error.message.clone(), retry_after: None, retryable: true }
    }

    /// The server refused a request about an object of this kind.
    pub(super) fn refused(kind: &GroupKind, answer: &Answer) -> Self {
        let status = serde_json::from_slice::<Status>(&answer.body).ok();
        let refusal = Refusal { code: answer.status, status: status.as_ref() };
        let (reason, retryable) = refusal.meaning();
        let message = if kind.group.is_empty() && kind.kind == "Secret" && !refusal.is_of_authorizer() {
            refusal.without_words(reason)
        } else {
            refusal.words(&answer.body)
        };
        let asked = status.and_then(|status| status.details).map(|details| details.retry_after_seconds);
        let asked = asked.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(u64::from(seconds)));
        Self { reason, message, retry_after: answer.retry_after.or(asked).filter(|_| retryable), retryable }
    }
}

impl ApplyError {
    /// The same for a request that was made with these rights: a lack of rights names whose they are.
    #[must_use]
    pub(super) fn asked_by(mut self, identity: &Identity) -> Self {
        if self.reason == Reason::Forbidden
            && let Some(advice) = identity.advice(&self.message)
        {
            self.message = format!("{}; {advice}", self.message);
        }
        self
    }
}

struct Refusal<'a> {
    code: u16,
    status: Option<&'a Status>,
}

/// How validation says that a field can't change; every kind has words of its own.
const IMMUTABLE: [&str; 9] = [
    "field is immutable",
    "is immutable after creation",
    "are immutable",
    "Value is immutable",
    "may not be changed",
    "may not change once set",
    "may not change fields other than",
    "for fields other than",
    "cannot change roleRef",
];

impl Refusal<'_> {
    fn message(&self) -> &str {
        self.status.map(|status| status.message.as_str()).unwrap_or_default()
    }

    fn says(&self, text: &str) -> bool {
        self.message().contains(text)
    }

    fn has_cause(&self, reason: &str) -> bool {
        let details = self.status.and_then(|status| status.details.as_ref());
        details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
    }

    /// Whether the request was refused before anything of its body was looked at: such words name nothing but the request.
    fn is_of_authorizer(&self) -> bool {
        self.code == 403 && self.policy().is_none() && self.says(" is forbidden: User \"") && self.says(" cannot ")
    }

    /// The reason, and whether waiting may help.
    fn meaning(&self) -> (Reason, bool) {
        if self.policy().is_some() {
            return (Reason::AdmissionDenied, false);
        }
        if self.has_cause("NamespaceTerminating") || self.says("because it is being terminated") {
            return (Reason::NamespaceTerminating, false);
        }
        match self.code {
            401 => (Reason::Forbidden, false),
            403 => (self.forbidden(), false),
            404 => (self.not_found(), false),
            400 | 405 | 406 | 413 | 415 | 422 => (self.invalid(), false),
            429 => (Reason::Throttled, true),
            500 if self.is_malformed() => (Reason::InvalidObject, false),
            // Somebody wrote at the same time (an apply has no version that could be stale), or a webhook or the storage
            // does not answer.
            409 | 500 => (Reason::ApplyFailed, true),
            502..=504 => (Reason::ClusterUnreachable, true),
            _ => (Reason::ApplyFailed, false),
        }
    }

    /// The admission policy or webhook that refused.
    fn policy(&self) -> Option<String> {
        let message = self.message();
        for policy in ["ValidatingAdmissionPolicy '", "MutatingAdmissionPolicy '"] {
            if let Some((_, rest)) = message.split_once(policy)
                && rest.contains("denied request")
            {
                return rest.split_once('\'').map(|(name, _)| format!("{policy}{name}'"));
            }
        }
        let (_, rest) = message.split_once("admission webhook \"")?;
        let (name, rest) = rest.split_once('"')?;
        rest.trim_start().starts_with("denied the request").then(|| format!("admission webhook \"{name}\""))
    }

    /// Server-side apply answers with a plain 500 when it can't even read the object.
    fn is_malformed(&self) -> bool {
        let words =
            ["failed to create typed", "to proper version", "field not declared in schema", "request is too large"];
        // A conversion webhook that fails is the webhook's fault, and may recover.
        words.iter().any(|words| self.says(words)) && !self.says("conversion webhook")
    }

    /// A 403 that is not about rights is an admission plugin's (quota, pod security, limit ranges).
    fn forbidden(&self) -> Reason {
        let of_rights = self.status.is_none()
            || (self.says("User \"") && self.says(" cannot "))
            || self.says("attempting to grant RBAC permissions");
        if of_rights { Reason::Forbidden } else { Reason::AdmissionDenied }
    }

    fn not_found(&self) -> Reason {
        let details = self.status.and_then(|status| status.details.as_ref());
        match details {
            Some(details) if details.kind == "namespaces" && !details.name.is_empty() => Reason::NamespaceNotFound,
            Some(details) if !details.name.is_empty() => Reason::ApplyFailed,
            Some(_) | None => Reason::KindNotFound,
        }
    }

    fn invalid(&self) -> Reason {
        let causes = self.status.and_then(|status| status.details.as_ref()).map(|details| details.causes.as_slice());
        let texts = causes.unwrap_or_default().iter().map(|cause| cause.message.as_str()).chain([self.message()]);
        let mut immutable = texts.map(|text| IMMUTABLE.iter().any(|words| text.contains(words)));
        if immutable.any(|found| found) { Reason::ImmutableField } else { Reason::InvalidObject }
    }

    /// The fields that the refusal names.
    fn fields(&self) -> BTreeSet<&str> {
        let causes = self.status.and_then(|status| status.details.as_ref()).map(|details| details.causes.as_slice());
        let fields = causes.unwrap_or_default().iter().map(|cause| cause.field.as_str());
        fields.filter(|field| !field.is_empty()).collect()
    }

    /// The server's own words, shortened.
    fn words(&self, body: &[u8]) -> String {
        let text = match self.message() {
            "" => String::from_utf8_lossy(body).trim().to_owned(),
            message => message.to_owned(),
        };
        if text.is_empty() {
            format!("the API server refused with HTTP {}", self.code)
        } else {
            shorten(&text, MESSAGE_LIMIT)
        }
    }

    /// What can be said of a refusal without repeating any of the server's words, which may hold values of the object.
    fn without_words(&self, reason: Reason) -> String {
        let mut text = format!("the API server refused this Secret (HTTP {}, {reason})", self.code);
        if let Some(policy) = self.policy() {
            text.push_str(" by ");
            text.push_str(&policy);
        }
        let fields: Vec<&str> = self.fields().into_iter().collect();
        if !fields.is_empty() {
            text.push_str(" for ");
            text.push_str(&fields.join(", "));
        }
        text.push_str("; its explanation is withheld because it may hold values of the Secret");
        shorten(&text, MESSAGE_LIMIT)
    }
}

#[cfg(test)]
mod tests;
