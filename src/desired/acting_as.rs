//! As whom the objects of an Application are touched: `destinationServiceAccounts` of its project, by Argo CD's rules. The
//! first entry that matches counts; an entry that matches and can't be used is an error, never passed over.

use globset::{GlobBuilder, GlobMatcher};

use super::Problem;
use crate::api::{AppProjectSpec, Destination, DestinationServiceAccount, IN_CLUSTER_SERVER};
use crate::model::{Identity, Reason, ServiceAccount};

/// Characters that stand in no name, and would make another user of it.
const NOT_IN_NAMES: &str = "!*[]{}\\/";

/// As whom an Application's objects are touched on the operator's own cluster.
///
/// `application_namespace` stands in for a destination without a namespace. With `required`, nobody but a ServiceAccount will
/// do.
///
/// # Errors
/// `InvalidSpec` when an entry can't be read, `ServiceAccountUnset` when one is required and none matches.
pub fn acting_as(
    project: &str,
    spec: &AppProjectSpec,
    destination: &Destination,
    application_namespace: &str,
    required: bool,
) -> Result<Identity, Problem> {
    let wanted = destination.namespace.as_deref().unwrap_or_default();
    for (index, entry) in spec.destination_service_accounts.iter().enumerate() {
        let place = format!("project `{project}`, spec.destinationServiceAccounts[{index}]");
        let server = glob(&place, "server", &entry.server)?;
        let namespace = glob(&place, "namespace", &entry.namespace)?;
        if server.is_match(IN_CLUSTER_SERVER) && namespace.is_match(wanted) {
            let own = if wanted.is_empty() { application_namespace } else { wanted };
            return account(&place, entry, own).map(Identity::ServiceAccount);
        }
    }
    if !required {
        return Ok(Identity::Own);
    }
    let shown = if wanted.is_empty() { "no namespace".to_owned() } else { format!("the namespace `{wanted}`") };
    let pattern = if wanted.is_empty() { "\"\"" } else { wanted };
    Err(Problem {
        reason: Reason::ServiceAccountUnset,
        message: format!(
            "project `{project}` names no ServiceAccount for {shown} of the cluster {IN_CLUSTER_SERVER}, and this operator touches \
             managed objects only as one (--require-impersonation): add {{server: {IN_CLUSTER_SERVER}, namespace: {pattern}, \
             defaultServiceAccount: NAME}} to spec.destinationServiceAccounts of the AppProject"
        ),
    })
}

/// `*` crosses every other character, as in Argo CD. A pattern that is no glob could have been meant to match, so it is an
/// error.
fn glob(place: &str, field: &str, pattern: &str) -> Result<GlobMatcher, Problem> {
    let invalid =
        |why: String| Problem { reason: Reason::InvalidSpec, message: format!("{place}: {field} `{pattern}` {why}") };
    if pattern.contains('!') {
        return Err(invalid("can't deny by `!`: put narrower entries first".to_owned()));
    }
    let built = GlobBuilder::new(pattern).literal_separator(false).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| invalid(format!("is no glob: {}", error.kind())))
}

fn account(place: &str, entry: &DestinationServiceAccount, own: &str) -> Result<ServiceAccount, Problem> {
    let text = entry.default_service_account.as_str();
    let (namespace, name) = text.split_once(':').unwrap_or((own, text));
    let usable = |part: &str| {
        !part.is_empty()
            && !part.contains(|character: char| character.is_whitespace() || NOT_IN_NAMES.contains(character))
    };
    if [namespace, name].into_iter().all(|part| usable(part) && !part.contains(':')) {
        return Ok(ServiceAccount::new(namespace, name));
    }
    Err(Problem {
        reason: Reason::InvalidSpec,
        message: format!(
            "{place}: defaultServiceAccount `{text}` is no ServiceAccount: write its name, or namespace:name when it is in another \
             namespace than the destination's"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(server: &str, namespace: &str, account: &str) -> DestinationServiceAccount {
        DestinationServiceAccount {
            server: server.to_owned(),
            namespace: namespace.to_owned(),
            default_service_account: account.to_owned(),
        }
    }

    fn chosen(entries: &[DestinationServiceAccount], namespace: &str, required: bool) -> Result<Identity, Problem> {
        let spec = AppProjectSpec { destination_service_accounts: entries.to_vec(), ..AppProjectSpec::default() };
        let destination = Destination { namespace: Some(namespace.to_owned()), ..Destination::default() };
        acting_as("shop", &spec, &destination, "tidelock", required)
    }

    fn account(namespace: &str, name: &str) -> Identity {
        Identity::ServiceAccount(ServiceAccount::new(namespace, name))
    }

    #[test]
    fn the_first_entry_that_matches_counts() {
        let entries = [
            entry("https://elsewhere.test", "*", "far"),
            entry("*", "shop-prod", "ops:prod"),
            entry(IN_CLUSTER_SERVER, "shop-*", "deployer"),
            entry("*", "*", "fallback"),
        ];
        assert_eq!(chosen(&entries, "shop-prod", false), Ok(account("ops", "prod")));
        assert_eq!(chosen(&entries, "shop-dev", false), Ok(account("shop-dev", "deployer")));
        assert_eq!(chosen(&entries, "other", true), Ok(account("other", "fallback")));
    }

    #[test]
    fn a_bare_name_is_of_the_destinations_namespace_else_of_the_applications() {
        let entries = [entry("*", "*", "deployer")];
        assert_eq!(chosen(&entries, "shop", false), Ok(account("shop", "deployer")));
        assert_eq!(chosen(&entries, "", false), Ok(account("tidelock", "deployer")));
        let problem = chosen(&entries, "shop:admin", false).unwrap_err();
        assert_eq!(problem.reason, Reason::InvalidSpec, "two names in one would make another user");
    }

    #[test]
    fn without_a_match_the_operator_acts_as_itself_only_where_it_may() {
        let entries = [entry("*", "shop", "deployer")];
        assert_eq!(chosen(&entries, "other", false), Ok(Identity::Own));
        let problem = chosen(&entries, "other", true).unwrap_err();
        assert_eq!(problem.reason, Reason::ServiceAccountUnset);
        assert_eq!(
            problem.message,
            "project `shop` names no ServiceAccount for the namespace `other` of the cluster https://kubernetes.default.svc, and this \
             operator touches managed objects only as one (--require-impersonation): add {server: https://kubernetes.default.svc, \
             namespace: other, defaultServiceAccount: NAME} to spec.destinationServiceAccounts of the AppProject"
        );
    }

    #[test]
    fn an_entry_that_can_not_be_used_is_not_passed_over() {
        let fallback = entry("*", "*", "fallback");
        for (bad, said) in [
            (entry("*", "shop", ""), "defaultServiceAccount `` is no ServiceAccount"),
            (entry("*", "shop", "a:b:c"), "defaultServiceAccount `a:b:c` is no ServiceAccount"),
            (entry("*", "shop", ":deployer"), "defaultServiceAccount `:deployer` is no ServiceAccount"),
            (entry("*", "shop", "dep*"), "defaultServiceAccount `dep*` is no ServiceAccount"),
            (entry("*", "sh[op", "deployer"), "namespace `sh[op` is no glob"),
            (entry("*", "!shop", "deployer"), "namespace `!shop` can't deny by `!`"),
        ] {
            let problem = chosen(&[bad, fallback.clone()], "shop", false).unwrap_err();
            assert_eq!(problem.reason, Reason::InvalidSpec);
            let start = format!("project `shop`, spec.destinationServiceAccounts[0]: {said}");
            assert!(problem.message.starts_with(&start), "{}", problem.message);
        }
    }
}
