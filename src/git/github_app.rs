//! Installation tokens of a GitHub App: a key that signs a claim, the claim exchanged for a token that git takes as a
//! password for about an hour.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderName};
use http::{HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::Mutex;
use url::Url;

use crate::egress::{Authorization, BasicCredentials, HttpClient, HttpResponse};
use crate::model::{Reason, shorten};

use super::error::GitError;

/// Where the API of github.com is.
const DEFAULT_BASE: &str = "https://api.github.com";

/// The claim begins this long before our time, since servers refuse claims from their future.
const BACKDATED: SignedDuration = SignedDuration::from_secs(60);

/// And ends this long after it: GitHub takes at most ten minutes.
const CLAIM_LASTS: SignedDuration = SignedDuration::from_secs(540);

/// A token is replaced this long before it ends, so that a transfer that begins with it can end with it.
const RENEWED_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// After a refusal the same claim is not tried again before this: a poll and everything that hangs on it ask once.
const REFUSAL_HOLDS: SignedDuration = SignedDuration::from_secs(20);

/// How long a token is used although a server refuses it.
const KEPT_ALTHOUGH_REFUSED: SignedDuration = SignedDuration::from_mins(10);

/// Clocks that differ by more than this are named in an error.
const NOTABLE_SKEW: SignedDuration = SignedDuration::from_secs(30);

/// An answer with a token has about a kibibyte; with a list of repositories more.
const ANSWER_LIMIT: usize = 1 << 20;

/// Values that are no GitHub App. None of them is repeated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GitHubAppError {
    /// The id of the app.
    #[error("`githubAppID` is not a number; write the App ID from the settings page of the app")]
    AppId,
    /// The id of the installation.
    #[error("`githubAppInstallationID` is not a number; write the last part of the installation's URL")]
    InstallationId,
    /// The key.
    #[error(
        "`githubAppPrivateKey` holds no RSA private key of 2048 bits or more in PEM form (`-----BEGIN RSA PRIVATE \
         KEY-----` or `-----BEGIN PRIVATE KEY-----`); store the file that GitHub gave as it is"
    )]
    PrivateKey,
    /// The URL of the API.
    #[error(
        "`githubAppEnterpriseBaseUrl` is not the URL of an API; write `https://HOST/api/v3`, without user, query and \
         fragment"
    )]
    BaseUrl,
}

/// A GitHub App as it is installed somewhere. Keeps its token until shortly before it ends; share one value between all
/// who use the same Secret. Its `Debug` shows no key and no token.
pub struct GitHubApp {
    app_id: u64,
    installation_id: u64,
    key: RsaKeyPair,
    base: Url,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    refused: Option<(Timestamp, GitError)>,
    /// How many tokens came.
    count: u64,
}

struct Token {
    authorization: Authorization,
    issued: Timestamp,
    expires: Timestamp,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Complaint {
    message: String,
}

impl GitHubApp {
    /// Reads the values of a Secret: `githubAppID`, `githubAppInstallationID`, `githubAppPrivateKey` (PEM), and
    /// `githubAppEnterpriseBaseUrl` where it is not github.com.
    pub fn new(
        app_id: &str,
        installation_id: &str,
        private_key: &[u8],
        base_url: Option<&str>,
    ) -> Result<Self, GitHubAppError> {
        let app_id = app_id.trim().parse().map_err(|_| GitHubAppError::AppId)?;
        let installation_id = installation_id.trim().parse().map_err(|_| GitHubAppError::InstallationId)?;
        let key = match PrivateKeyDer::from_pem_slice(private_key) {
            Ok(PrivateKeyDer::Pkcs1(key)) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            Ok(PrivateKeyDer::Pkcs8(key)) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
            Ok(_) | Err(_) => return Err(GitHubAppError::PrivateKey),
        };
        let key = key.map_err(|_| GitHubAppError::PrivateKey)?;
        let base = match base_url.map(str::trim).filter(|text| !text.is_empty()) {
            None => DEFAULT_BASE,
            Some(text) => text,
        };
        let base = Url::parse(base).map_err(|_| GitHubAppError::BaseUrl)?;
        let plain = base.username().is_empty() && base.password().is_none();
        let bare = base.query().is_none() && base.fragment().is_none() && base.host_str().is_some();
        if !(plain && bare && matches!(base.scheme(), "https" | "http")) {
            return Err(GitHubAppError::BaseUrl);
        }
        Ok(Self { app_id, installation_id, key, base, state: Mutex::default() })
    }

    /// Where tokens come from. Rules of egress are asked for this URL too.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// What git is shown: the user `x-access-token` with a token. Asks for a new one where there is none that holds for
    /// another five minutes. `client` reaches the API by the same way as the repository, with its trust; it needs no
    /// credentials of its own, and those that it has are not sent.
    ///
    /// A refusal is remembered for a moment, so that one poll asks once. While a new token can't be had, the one that is
    /// about to end is used to its end.
    pub async fn authorization(&self, client: &HttpClient, now: Timestamp) -> Result<Authorization, GitError> {
        let mut state = self.state.lock().await;
        let remaining = |token: &Token| token.expires.duration_since(now);
        if let Some(token) = state.token.as_ref().filter(|token| remaining(token) > RENEWED_BEFORE) {
            return Ok(token.authorization.clone());
        }
        let old = state.token.as_ref().filter(|token| remaining(token) > SignedDuration::ZERO);
        let old = old.map(|token| token.authorization.clone());
        if let Some((at, error)) = &state.refused {
            let age = now.duration_since(*at);
            if age >= SignedDuration::ZERO && age < REFUSAL_HOLDS {
                return old.ok_or_else(|| error.clone());
            }
        }
        let asked = match client.timeouts().total {
            None => self.ask(client, now).await,
            Some(total) => tokio::time::timeout(total, self.ask(client, now)).await.unwrap_or_else(|_| {
                let message = format!("no token came within the total of {} s", total.as_secs_f64());
                Err(GitError::new(Reason::Stalled, message))
            }),
        };
        match asked {
            Ok(token) => {
                let authorization = token.authorization.clone();
                *state = State { token: Some(token), refused: None, count: state.count + 1 };
                Ok(authorization)
            }
            Err(mut error) => {
                error.message = format!(
                    "no token for the GitHub App {} (installation {}): {}",
                    self.app_id, self.installation_id, error.message
                );
                state.refused = Some((now, error.clone()));
                old.ok_or(error)
            }
        }
    }

    /// Forgets the token, because a server refused it. One that has just come is kept: another would be refused too, and
    /// each would be one more attempt.
    pub async fn forget(&self, now: Timestamp) {
        let mut state = self.state.lock().await;
        let is_new = |token: &Token| now.duration_since(token.issued) < KEPT_ALTHOUGH_REFUSED;
        if !state.token.as_ref().is_some_and(is_new) {
            *state = State { count: state.count, ..State::default() };
        }
    }

    /// How many tokens came so far: another number means that [`Self::authorization`] gives another token than before.
    pub async fn tokens(&self) -> u64 {
        self.state.lock().await.count
    }

    async fn ask(&self, client: &HttpClient, now: Timestamp) -> Result<Token, GitError> {
        let claim = self.claim(now)?;
        let mut url = self.base.clone();
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{path}/app/installations/{}/access_tokens", self.installation_id));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(API_VERSION.0, API_VERSION.1);
        let bearer = SecretString::from(format!("Bearer {}", claim.expose_secret()));
        // Base64 and dots are characters that a header may hold.
        let mut bearer = HeaderValue::from_str(bearer.expose_secret())
            .map_err(|_| GitError::new(Reason::InternalError, "the claim can't be put into a header"))?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        let mut answer = client.post(&url, &headers, Bytes::from_static(b"{}"), true).await?;
        if answer.status != http::StatusCode::CREATED {
            return Err(self.refusal(&mut answer, now).await);
        }
        let Some(body) = answer.read_all(ANSWER_LIMIT).await? else {
            return Err(answer.error(Reason::ProtocolError, "the answer with the token is too long").into());
        };
        let unreadable = || answer.error(Reason::ProtocolError, "the API answered 201 without a token and its end");
        // The parser's error could quote the token.
        let TokenAnswer { token, expires_at } = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let credentials =
            BasicCredentials::new(SecretString::from("x-access-token"), token.into()).map_err(|_| unreadable())?;
        Ok(Token { authorization: credentials.into(), issued: now, expires: expires_at })
    }

    /// The signed claim to be the app: a JSON Web Token with RS256.
    fn claim(&self, now: Timestamp) -> Result<SecretString, GitError> {
        let claims = serde_json::json!({
            "iat": now.as_second() - BACKDATED.as_secs(),
            "exp": now.as_second() + CLAIM_LASTS.as_secs(),
            "iss": self.app_id.to_string(),
        });
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(r#"{"alg":"RS256","typ":"JWT"}"#), encode(&claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| GitError::new(Reason::InternalError, "the claim could not be signed"))?;
        Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    async fn refusal(&self, answer: &mut HttpResponse, now: Timestamp) -> GitError {
        let status = answer.status.as_u16();
        let theirs = answer.headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(http_date);
        let html = answer.is_html();
        let said = if html {
            answer.quote().await
        } else {
            let body = answer.read_all(64 << 10).await.ok().flatten().unwrap_or_default();
            serde_json::from_slice::<Complaint>(&body).map(|complaint| plain(&complaint.message)).unwrap_or_default()
        };
        // Whoever sits on the way may send back what it got.
        let said = if said.contains("eyJ") { String::new() } else { said };
        let quoted = if said.is_empty() { String::new() } else { format!("; it says: \"{said}\"") };
        let host = self.base.host_str().unwrap_or_default();
        let (reason, message) = match status {
            511 => (Reason::BlockedByProxy, format!("a login page of the network is in the way{quoted}")),
            _ if html => (
                Reason::BlockedByProxy,
                format!(
                    "an HTML page ({status}) came where the API was expected; a proxy is in the way, or {host} is not an API{quoted}"
                ),
            ),
            401 => (
                Reason::AuthFailed,
                format!(
                    "the API refused the claim (401){quoted}; {}",
                    skew_or(
                        &said,
                        theirs,
                        now,
                        "check githubAppID, and that githubAppPrivateKey is one of this app's keys"
                    )
                ),
            ),
            403 => (
                Reason::AuthFailed,
                format!(
                    "the API refused a token (403){quoted}; is the installation suspended, or this address not on its allow list?"
                ),
            ),
            404 => (
                Reason::AuthFailed,
                format!(
                    "the API knows no such installation of this app (404){quoted}; check githubAppInstallationID, and githubAppEnterpriseBaseUrl"
                ),
            ),
            300..=399 => (
                Reason::RedirectRefused,
                format!(
                    "the API redirects ({status}), which is not followed with a signed claim; write the new URL into githubAppEnterpriseBaseUrl"
                ),
            ),
            429 => (Reason::ServerError, format!("the API asks to slow down (429){quoted}")),
            _ => (Reason::ServerError, format!("the API answered {}{quoted}", answer.status)),
        };
        answer.error(reason, message).into()
    }
}

const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-github-api-version"), HeaderValue::from_static("2022-11-28"));

/// What to do about a refused claim: about the clock when that is what is wrong.
fn skew_or(said: &str, theirs: Option<Timestamp>, now: Timestamp, otherwise: &str) -> String {
    let skew = theirs.map(|theirs| theirs.duration_since(now)).filter(|skew| skew.abs() > NOTABLE_SKEW);
    let lower = said.to_ascii_lowercase();
    let about_time = ["'iat'", "'exp'", "issued at", "expiration", "expired"].iter().any(|word| lower.contains(word));
    match skew {
        Some(skew) => {
            let way = if skew.is_negative() { "ahead of" } else { "behind" };
            format!("this machine's clock is {} s {way} the server's: correct it", skew.abs().as_secs())
        }
        None if about_time => "this machine's clock seems to be wrong: correct it".to_owned(),
        None => otherwise.to_owned(),
    }
}

fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

fn plain(text: &str) -> String {
    let text: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    shorten(&text, 200)
}

impl fmt::Debug for GitHubApp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "GitHubApp({}, installation {})", self.app_id, self.installation_id)
    }
}

#[cfg(test)]
#[path = "github_app_tests.rs"]
mod tests;
