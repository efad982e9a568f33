//! As whom managed objects are touched.

use std::fmt;

/// What the API server puts before the user names of ServiceAccounts.
const USER_PREFIX: &str = "system:serviceaccount:";

/// A ServiceAccount of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceAccount {
    /// A ServiceAccount by namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The user that the API server knows it as.
    pub fn user_name(&self) -> String {
        format!("{USER_PREFIX}{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServiceAccount {
    /// `namespace/name`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// Whose rights a request is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// The operator's own.
    #[default]
    Own,
    /// Those of a ServiceAccount that the operator impersonates.
    ServiceAccount(ServiceAccount),
}

impl Identity {
    /// What is to be added to an API server's refusal of a request that was made with these rights, so that people know
    /// whose rights to change. `said` are the server's words.
    pub fn advice(&self, said: &str) -> Option<String> {
        match self {
            Self::Own => None,
            Self::ServiceAccount(account) if said.contains("cannot impersonate") => Some(format!(
                "the operator may not act as the ServiceAccount `{account}`: allow it the verb `impersonate` on serviceaccounts `{}` in \
                 the namespace `{}`",
                account.name, account.namespace
            )),
            Self::ServiceAccount(account) => Some(format!(
                "asked as the ServiceAccount `{account}`, which the project names: bind a Role that allows it to that account"
            )),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => formatter.write_str("the operator itself"),
            Self::ServiceAccount(account) => write!(formatter, "the ServiceAccount {account}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_tells_a_right_of_the_account_from_the_right_to_act_as_it() {
        let identity = Identity::ServiceAccount(ServiceAccount::new("shop", "deployer"));
        let own = identity.advice("serviceaccounts \"deployer\" is forbidden: User \"x\" cannot impersonate resource");
        assert_eq!(
            own.unwrap(),
            "the operator may not act as the ServiceAccount `shop/deployer`: allow it the verb `impersonate` on serviceaccounts \
             `deployer` in the namespace `shop`"
        );
        let theirs =
            identity.advice("secrets is forbidden: User \"system:serviceaccount:shop:deployer\" cannot create");
        assert!(theirs.unwrap().starts_with("asked as the ServiceAccount `shop/deployer`"));
        assert_eq!(Identity::Own.advice("no"), None);
    }
}
