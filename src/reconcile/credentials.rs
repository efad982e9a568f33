//! What a Secret holds → how to log in. The keys say which way; which keys there are is told on mistakes, their values
//! never.

use secrecy::SecretString;

use super::secrets::SecretValues;
use crate::egress::{Authorization, BasicCredentials, ClientIdentity, CredentialsError, IdentityError};
use crate::git::{GitHubApp, GitHubAppError};
use crate::model::Hash64;
use thiserror::Error;

/// Keys of user name and password.
const BASIC: [&str; 2] = ["username", "password"];
/// Key of a token.
const BEARER: &str = "bearerToken";
/// Keys of a GitHub App, under Argo CD's names.
const APP: [&str; 3] = ["githubAppID", "githubAppInstallationID", "githubAppPrivateKey"];
/// Key of the URL of an API that is not github.com's.
const APP_BASE: &str = "githubAppEnterpriseBaseUrl";
/// Keys of a client certificate, as in Secrets of type `kubernetes.io/tls`.
const CERTIFICATE: [&str; 2] = ["tls.crt", "tls.key"];

/// A Secret that says no usable way to log in.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum LoginError {
    /// One of a pair is missing, or is not text.
    #[error("it has the key `{present}` but no key `{missing}` with text")]
    Half { present: &'static str, missing: &'static str },
    /// None of the keys that say a way.
    #[error(
        "it has none of the keys that say how to log in: `username` and `password`; `bearerToken`; `tls.crt` and `tls.key`; \
         `githubAppID`, `githubAppInstallationID` and `githubAppPrivateKey`; `sshPrivateKey`"
    )]
    Nothing,
    /// Several ways at once.
    #[error("it says two ways to log in, by `{0}` and by `{1}`; keep one")]
    Several(&'static str, &'static str),
    /// Values that can't be sent.
    #[error(transparent)]
    Unusable(#[from] CredentialsError),
    /// A certificate or key that can't be read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A GitHub App that can't be used.
    #[error(transparent)]
    App(#[from] GitHubAppError),
}

/// How to log in.
#[derive(Default)]
pub(super) struct Login {
    /// Sent with every request.
    pub authorization: Option<Authorization>,
    /// Shown to a server that asks for a client certificate.
    pub identity: Option<ClientIdentity>,
    /// A GitHub App, whose token takes the place of `authorization`; with the fingerprint of its Secret.
    pub app: Option<(GitHubApp, Hash64)>,
}

impl Login {
    /// Reads the Secret of a Repository.
    pub(super) fn of_repository(values: &SecretValues) -> Result<Self, LoginError> {
        let (basic, bearer, app) = (basic(values)?, bearer(values)?, app(values)?);
        let (authorization, app) = match (basic, bearer, app) {
            (Some(_), Some(_), _) => return Err(LoginError::Several(BASIC[0], BEARER)),
            (Some(_), None, Some(_)) => return Err(LoginError::Several(BASIC[0], APP[0])),
            (None, Some(_), Some(_)) => return Err(LoginError::Several(BEARER, APP[0])),
            (Some(basic), None, None) => (Some(basic.into()), None),
            (None, bearer, app) => (bearer, app),
        };
        let identity = identity(values)?;
        if authorization.is_none() && identity.is_none() && app.is_none() {
            return Err(LoginError::Nothing);
        }
        Ok(Self { authorization, identity, app: app.map(|app| (app, values.fingerprint)) })
    }
}

/// User name and password. Both or neither.
pub(super) fn basic(values: &SecretValues) -> Result<Option<BasicCredentials>, LoginError> {
    let [username, password] = BASIC.map(|key| values.text(key).map(|text| SecretString::from(text.to_owned())));
    match (username, password) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(LoginError::Half { present: BASIC[0], missing: BASIC[1] }),
        (None, Some(_)) => Err(LoginError::Half { present: BASIC[1], missing: BASIC[0] }),
        (Some(username), Some(password)) => Ok(Some(BasicCredentials::new(username, password)?)),
    }
}

fn bearer(values: &SecretValues) -> Result<Option<Authorization>, LoginError> {
    let Some(token) = values.text(BEARER) else { return Ok(None) };
    Ok(Some(Authorization::bearer(SecretString::from(token.to_owned()))?))
}

/// A GitHub App: three keys, and a fourth where it is not github.com.
fn app(values: &SecretValues) -> Result<Option<GitHubApp>, LoginError> {
    let [id, installation] = [APP[0], APP[1]].map(|key| values.text(key));
    let key = values.bytes(APP[2]);
    let half = |present: usize, missing: usize| LoginError::Half { present: APP[present], missing: APP[missing] };
    match (id, installation, key) {
        (None, None, None) => Ok(None),
        (Some(id), Some(installation), Some(key)) => {
            Ok(Some(GitHubApp::new(id, installation, key, values.text(APP_BASE))?))
        }
        (Some(_), None, _) => Err(half(0, 1)),
        (Some(_), _, None) => Err(half(0, 2)),
        (None, Some(_), _) => Err(half(1, 0)),
        (None, None, Some(_)) => Err(half(2, 0)),
    }
}

/// A client certificate with its key. Both or neither.
pub(super) fn identity(values: &SecretValues) -> Result<Option<ClientIdentity>, LoginError> {
    let [certificate, key] = CERTIFICATE.map(|key| values.bytes(key));
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(LoginError::Half { present: CERTIFICATE[0], missing: CERTIFICATE[1] }),
        (None, Some(_)) => Err(LoginError::Half { present: CERTIFICATE[1], missing: CERTIFICATE[0] }),
        (Some(certificate), Some(key)) => Ok(Some(ClientIdentity::parse(certificate, key)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(pairs: &[(&str, &str)]) -> Result<String, String> {
        Login::of_repository(&SecretValues::of(pairs))
            .map(|login| format!("{:?} {:?}", login.authorization, login.identity))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_keys_of_a_secret_say_how_to_log_in() {
        assert_eq!(login(&[("username", "ann"), ("password", "p w\n")]).unwrap(), "Some(Basic) None");
        assert_eq!(login(&[("bearerToken", "canary")]).unwrap(), "Some(Bearer) None");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pair = [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())];
        let mut both: Vec<(&str, &str)> = pair.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(login(&both).unwrap(), "None Some(ClientIdentity(1 certificates))");
        both.push(("bearerToken", "canary"));
        assert_eq!(login(&both).unwrap(), "Some(Bearer) Some(ClientIdentity(1 certificates))");
    }

    #[test]
    fn what_says_no_way_or_two_is_refused_without_showing_a_value() {
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
        for (pairs, says) in [
            (vec![("token", "canary")], "it has none of the keys"),
            (vec![("username", "canary")], "it has the key `username` but no key `password`"),
            (vec![("password", "canary")], "it has the key `password` but no key `username`"),
            (vec![("tls.crt", "canary")], "it has the key `tls.crt` but no key `tls.key`"),
            (vec![("username", "a"), ("password", "canary"), ("bearerToken", "canary")], "two ways to log in"),
            (vec![("username", "a"), ("password", "canary\r\nX: y")], "control character"),
            (vec![("bearerToken", "canary\u{7f}")], "control character"),
            (vec![("tls.crt", "canary"), ("tls.key", "canary")], "`tls.crt` holds no certificate"),
            (vec![("tls.crt", &certificate), ("tls.key", "canary")], "`tls.key` holds no private key"),
            (vec![("tls.crt", &certificate), ("tls.key", &other)], "does not belong to the first certificate"),
        ] {
            let error = login(&pairs).expect_err(says);
            assert!(error.contains(says) && !error.contains("canary"), "{error}");
        }
    }
}
