//! Why the live state of a kind is not known.

use kube::core::Status;
use thiserror::Error;

use super::Scope;
use super::client::{Answer, NoAnswer};
use crate::model::{GroupKind, Identity, Reason, shorten};

/// The longest part of a server's own words that a message repeats, in bytes.
const MESSAGE_LIMIT: usize = 1024;

/// The live state can't be known, so nothing may be concluded from it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct LiveError {
    /// The reason as conditions carry it.
    pub reason: Reason,
    /// The kind it is about; `None` when the API server as a whole does not answer.
    pub kind: Option<GroupKind>,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
}

impl LiveError {
    /// An error about one kind.
    pub(super) fn of_kind(kind: &GroupKind, reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, kind: Some(kind.clone()), message: message.into() }
    }

    /// An error about the API server as a whole.
    pub(super) fn of_server(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, kind: None, message: message.into() }
    }

    /// No answer came to a request about a scope.
    pub(super) fn unanswered(scope: &Scope, error: &NoAnswer) -> Self {
        Self::of_kind(&scope.kind, Reason::ClusterUnreachable, format!("can't watch {scope}: {error}"))
    }

    /// The API server refused a request about a scope that was made with these rights.
    pub(super) fn refused(scope: &Scope, identity: &Identity, answer: &Answer) -> Self {
        Self::of_status(scope, identity, answer.status, &said(&answer.body))
    }

    /// The same from a status that came inside a watch.
    pub(super) fn of_status(scope: &Scope, identity: &Identity, code: u16, said: &str) -> Self {
        let kind = scope;
        let advice =
            || identity.advice(said).unwrap_or_else(|| "allow this operator to list and watch this kind".to_owned());
        let (reason, message) = match code {
            401 => (
                Reason::Forbidden,
                format!("can't watch {kind}: the API server does not accept this operator's credentials"),
            ),
            403 => (Reason::Forbidden, format!("can't watch {kind}: {said}; {}", advice())),
            404 => (Reason::KindNotFound, format!("can't watch {kind}: the API server does not serve it ({said})")),
            429 => (Reason::Throttled, format!("can't watch {kind}: the API server asks to slow down ({said})")),
            502..=504 => (
                Reason::ClusterUnreachable,
                format!("can't watch {kind}: the API server is not ready (HTTP {code}): {said}"),
            ),
            _ => (Reason::LiveStateUnknown, format!("can't list {kind} (HTTP {code}): {said}")),
        };
        Self::of_kind(&scope.kind, reason, message)
    }

    /// Whether waiting a little may help, as opposed to a change of rights, of a kind or of a webhook.
    pub fn is_transient(&self) -> bool {
        matches!(self.reason, Reason::ClusterUnreachable | Reason::Throttled)
    }
}

/// What a refusal says: the message of the `Status`, or the start of whatever came instead.
pub(super) fn said(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Status>(body) {
        Ok(status) if !status.message.is_empty() => status.message,
        _ => String::from_utf8_lossy(body).trim().to_owned(),
    };
    if text.is_empty() { "no explanation".to_owned() } else { shorten(&text, MESSAGE_LIMIT) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceAccount;

    #[test]
    fn a_refused_list_names_the_kind_and_what_to_do() {
        let kind = GroupKind::new("apps", "Deployment");
        let body = br#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps is forbidden: User \"x\" cannot list resource","reason":"Forbidden","details":{"group":"apps","kind":"deployments"},"code":403}"#;
        let answer = Answer { status: 403, retry_after: None, body: body.as_slice().into() };
        assert_eq!(
            LiveError::refused(&Scope::all_of(kind.clone()), &Identity::Own, &answer),
            LiveError {
                reason: Reason::Forbidden,
                kind: Some(kind.clone()),
                message:
                    "can't watch apps/Deployment: deployments.apps is forbidden: User \"x\" cannot list resource; \
                          allow this operator to list and watch this kind"
                        .to_owned(),
            }
        );
    }

    #[test]
    fn a_refusal_of_an_account_names_the_account_and_the_namespace() {
        let scope = Scope { kind: GroupKind::new("", "Secret"), namespace: Some("shop".to_owned()) };
        let identity = Identity::ServiceAccount(ServiceAccount::new("shop", "deployer"));
        let said =
            "secrets is forbidden: User \"system:serviceaccount:shop:deployer\" cannot watch resource \"secrets\"";
        let error = LiveError::of_status(&scope, &identity, 403, said);
        assert_eq!(error.reason, Reason::Forbidden);
        assert_eq!(
            error.message,
            format!(
                "can't watch Secret in the namespace `shop`: {said}; asked as the ServiceAccount `shop/deployer`, which the project \
                 names: bind a Role that allows it to that account"
            )
        );
    }

    #[test]
    fn a_failing_conversion_webhook_leaves_the_live_state_unknown() {
        let kind = GroupKind::new("example.org", "Widget");
        let scope = Scope::all_of(kind);
        let error = LiveError::of_status(
            &scope,
            &Identity::Own,
            500,
            "conversion webhook for example.org/v1, Kind=Widget failed",
        );
        assert_eq!(error.reason, Reason::LiveStateUnknown);
        assert!(!error.is_transient());
    }

    #[test]
    fn an_endless_answer_is_cut_at_a_character() {
        let text = said("é".repeat(2000).as_bytes());
        assert_eq!((text.chars().count(), text.len()), (511, 1023));
        assert!(text.ends_with('…'));
    }
}
