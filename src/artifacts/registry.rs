//! A registry: tags, manifests and blobs of one repository, by the distribution API, with the login that it asks for.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, LINK, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;
use url::Url;

use crate::egress::{
    Authorization, CaBundle, ClientIdentity, Destination, Egress, HttpClient, HttpConfig, HttpResponse, Override,
    Timeouts,
};
use crate::model::Reason;

use super::challenge::{self, Challenge};
use super::digest::Digest;
use super::download::{judge, read, verify, within};
use super::error::ArtifactError;
use super::location::RegistryReference;
use super::manifest::{self, ACCEPTED, Content, Descriptor, Document, Manifest};

/// Bytes of a manifest, as the specification asks of registries.
const MANIFEST_LIMIT: usize = 4 << 20;
/// Bytes of one page of tags.
const TAGS_PAGE_LIMIT: usize = 4 << 20;
/// Tags asked for at once.
const TAGS_PAGE: usize = 1000;
/// Tags in all; a repository of more has to be asked for a tag or digest.
const MOST_TAGS: usize = 100_000;
/// Pages of tags: a registry that gives few or none on each must not be asked for ever.
const MOST_TAG_PAGES: usize = 200;
/// Characters of a tag, by the specification. What is longer is left out.
const LONGEST_TAG: usize = 128;
/// Bytes of a token service's answer.
const TOKEN_LIMIT: usize = 1 << 20;
/// Signatures of one artifact that are looked at.
const MOST_SIGNATURES: usize = 32;
/// Bytes of what a signature signs.
const PAYLOAD_LIMIT: usize = 64 << 10;
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const COSIGN_SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// How to reach a repository of a registry.
#[derive(Clone)]
pub struct RegistryConfig {
    /// Which repository.
    pub reference: RegistryReference,
    /// Whether the registry speaks plain HTTP.
    pub plain_http: bool,
    /// The rules for all connections.
    pub egress: Egress,
    /// What this repository says about the route to the registry's own host and port.
    pub route: Override,
    /// Given to the registry, or to the token service that it names, when it asks; a bearer token at once.
    pub authorization: Option<Authorization>,
    /// Shown to the registry's own host and port when it asks for a client certificate.
    pub identity: Option<ClientIdentity>,
    /// Authorities to trust for this repository besides the system's.
    pub ca: Option<CaBundle>,
    /// Timers. `total` limits each operation as a whole.
    pub timeouts: Timeouts,
    /// Bytes of one artifact.
    pub limit: usize,
}

/// A repository of a registry. Keeps connections and the login, so that a poll after the first is one request.
pub struct Registry {
    reference: RegistryReference,
    base: Url,
    plain_http: bool,
    client: HttpClient,
    authorization: Option<Authorization>,
    limit: usize,
    login: Mutex<Login>,
}

/// How the registry is logged in to.
#[derive(Clone, Default)]
enum Login {
    /// Not asked for yet.
    #[default]
    None,
    /// With every request.
    Always(Authorization),
    /// Until then.
    Until(Authorization, Instant),
}

/// An artifact that was found, with its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Digest of what the reference led to: of the index, when it is one.
    pub digest: Digest,
    /// Its files.
    pub content: Content,
    /// When it was made (RFC 3339), where it says so.
    pub created: Option<String>,
}

/// A signature by cosign, as it lies beside an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignSignature {
    /// What is signed: JSON that names the artifact's digest.
    pub payload: Vec<u8>,
    /// The signature in base64.
    pub signature: String,
}

impl Registry {
    /// Makes no connection yet.
    pub fn new(config: RegistryConfig) -> Result<Self, ArtifactError> {
        let RegistryConfig { reference, plain_http, egress, route, authorization, identity, ca, timeouts, limit } =
            config;
        let base = reference.base(plain_http).map_err(|error| {
            ArtifactError::new(Reason::InvalidSpec, format!("{reference}: the URL of the registry: {error}"))
        })?;
        // The login is not the client's: a user name and password go only to who asks for them.
        let http = HttpConfig { route, ca, authorization: None, identity, timeouts, user_agent: None };
        let login = match &authorization {
            Some(bearer @ Authorization::Bearer(_)) => Login::Always(bearer.clone()),
            Some(Authorization::Basic(_)) | None => Login::None,
        };
        let home = Destination::of_url(&base).map_err(|error| {
            ArtifactError::new(Reason::InvalidSpec, format!("{reference}: the URL of the registry: {error}"))
        })?;
        // A token service, or a store that layers are redirected to, is reached as the rules say for its host.
        let client = HttpClient::new(egress, http).of(home);
        Ok(Self { reference, base, plain_http, client, authorization, limit, login: Mutex::new(login) })
    }

    /// Which repository this is.
    pub fn reference(&self) -> &RegistryReference {
        &self.reference
    }

    /// All tags.
    pub async fn tags(&self) -> Result<Vec<String>, ArtifactError> {
        self.limited(self.try_tags()).await
    }

    /// The digest that a tag stands for now. One request, unless the login has run out.
    pub async fn digest_of(&self, tag: &str) -> Result<Digest, ArtifactError> {
        self.limited(self.try_digest_of(tag)).await
    }

    /// The artifact that a tag or digest leads to.
    pub async fn artifact(&self, reference: &str) -> Result<Artifact, ArtifactError> {
        self.limited(async {
            let (digest, manifest) = self.try_manifest(reference).await?;
            let content = manifest
                .content()
                .map_err(|error| ArtifactError::new(Reason::ArtifactInvalid, format!("`{reference}`: {error}")))?;
            Ok(Artifact { digest, content, created: manifest.created().map(str::to_owned) })
        })
        .await
    }

    /// The bytes of a layer, verified.
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ArtifactError> {
        self.limited(self.try_blob(descriptor, self.limit)).await
    }

    /// The signatures that cosign put beside an artifact; none when there are none. They are not checked here.
    pub async fn cosign_signatures(&self, artifact: &Digest) -> Result<Vec<CosignSignature>, ArtifactError> {
        self.limited(self.try_signatures(artifact)).await
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, ArtifactError>>) -> Result<T, ArtifactError> {
        let done = Box::pin(within(self.client.timeouts().total, "the registry's answer", work)).await;
        done.map_err(|error| error.about(&self.reference.to_string()))
    }

    async fn try_tags(&self) -> Result<Vec<String>, ArtifactError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut url = self.url("tags/list")?;
        url.set_query(Some(&format!("n={TAGS_PAGE}")));
        let mut tags = Vec::new();
        for page in 1.. {
            let mut answer = self.ask(Method::GET, &url, "application/json").await?;
            judge(&mut answer, Reason::ArtifactNotFound).await?;
            let text = read(&mut answer, TAGS_PAGE_LIMIT).await?;
            let listed: Page = serde_json::from_slice(&text)
                .map_err(|_| answer.error(Reason::ProtocolError, "the list of tags is not the JSON of a registry"))?;
            tags.extend(listed.tags.unwrap_or_default().into_iter().filter(|tag| tag.len() <= LONGEST_TAG));
            if tags.len() > MOST_TAGS {
                let message =
                    format!("it has more than {MOST_TAGS} tags: name a tag or digest in targetRevision, not a range");
                return Err(answer.error(Reason::ArtifactInvalid, message).into());
            }
            let next = answer.headers.get(LINK).and_then(|value| value.to_str().ok()).and_then(next_page);
            let Some(next) = next else { break };
            if page >= MOST_TAG_PAGES {
                let message = format!(
                    "its list of tags does not end after {MOST_TAG_PAGES} pages: name a tag or digest in targetRevision, \
                     not a range"
                );
                return Err(answer.error(Reason::ArtifactInvalid, message).into());
            }
            let following = url.join(&next).ok().filter(|following| following.origin() == self.base.origin());
            match following {
                Some(following) if following != url => url = following,
                _ => {
                    let message = "the list of tags goes on at a URL that is not the registry's";
                    return Err(answer.error(Reason::ProtocolError, message).into());
                }
            }
        }
        Ok(tags)
    }

    async fn try_digest_of(&self, tag: &str) -> Result<Digest, ArtifactError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let mut answer = self.ask(Method::HEAD, &url, ACCEPTED).await?;
        if matches!(answer.status.as_u16(), 404) {
            return Err(self.no_such(tag, &answer));
        }
        if answer.status.as_u16() == 405 {
            return self.try_manifest(tag).await.map(|(digest, _)| digest);
        }
        judge(&mut answer, Reason::ArtifactNotFound).await?;
        match stated_digest(&answer) {
            Some(digest) => Ok(digest),
            // A registry that does not say is asked for the whole.
            None => self.try_manifest(tag).await.map(|(digest, _)| digest),
        }
    }

    fn no_such(&self, reference: &str, answer: &HttpResponse) -> ArtifactError {
        let what = if Digest::parse(reference).is_some() { "artifact" } else { "tag" };
        let message =
            format!("there is no {what} `{reference}` in {}, or these credentials may not see it", self.reference);
        answer.error(Reason::ArtifactNotFound, message).into()
    }

    /// The manifest that a reference leads to, through an index if need be, and the digest of the first.
    async fn try_manifest(&self, reference: &str) -> Result<(Digest, Manifest), ArtifactError> {
        let mut first = None;
        let mut at = reference.to_owned();
        // An index of indexes is as deep as it gets.
        for _ in 0..3 {
            let url = self.url(&format!("manifests/{at}"))?;
            let mut answer = self.ask(Method::GET, &url, ACCEPTED).await?;
            if answer.status.as_u16() == 404 {
                return Err(self.no_such(&at, &answer));
            }
            judge(&mut answer, Reason::ArtifactNotFound).await?;
            let text = read(&mut answer, MANIFEST_LIMIT).await?;
            let digest = Digest::of(&text);
            let promised = Digest::parse(&at).or_else(|| stated_digest(&answer));
            verify(&text, promised.as_ref(), &answer)?;
            let document =
                manifest::parse(&text).map_err(|error| answer.error(Reason::ArtifactInvalid, error.to_string()))?;
            let first = first.get_or_insert(digest).clone();
            match document {
                Document::Manifest(manifest) => return Ok((first, manifest)),
                Document::Index(descriptor) => at = descriptor.digest.to_string(),
            }
        }
        let message = format!("`{reference}` is an index of indexes of indexes: no artifact was found in it");
        Err(ArtifactError::new(Reason::ArtifactInvalid, message))
    }

    async fn try_blob(&self, descriptor: &Descriptor, limit: usize) -> Result<Vec<u8>, ArtifactError> {
        if descriptor.size > limit as u64 {
            let message = format!(
                "a layer has {} bytes, and {limit} is the limit of one transfer; raise limits.transferMebibytes of the \
                 Repository if that is meant",
                descriptor.size
            );
            return Err(ArtifactError::new(Reason::PackTooLarge, message));
        }
        let url = self.url(&format!("blobs/{}", descriptor.digest))?;
        let mut answer = self.ask(Method::GET, &url, "*/*").await?;
        judge(&mut answer, Reason::ArtifactInvalid).await?;
        let whole = read(&mut answer, limit).await?;
        verify(&whole, Some(&descriptor.digest), &answer)?;
        Ok(whole)
    }

    async fn try_signatures(&self, artifact: &Digest) -> Result<Vec<CosignSignature>, ArtifactError> {
        let tag = format!("sha256-{}.sig", artifact.hex());
        let manifest = match self.try_manifest(&tag).await {
            Ok((_, manifest)) => manifest,
            Err(error) if error.reason == Reason::ArtifactNotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut signatures = Vec::new();
        for layer in manifest.layers.iter().take(MOST_SIGNATURES) {
            let Some(signature) = layer.annotations.get(COSIGN_SIGNATURE) else { continue };
            if layer.size > PAYLOAD_LIMIT as u64 {
                continue;
            }
            let payload = self.try_blob(layer, PAYLOAD_LIMIT).await?;
            signatures.push(CosignSignature { payload, signature: signature.clone() });
        }
        Ok(signatures)
    }

    fn url(&self, below: &str) -> Result<Url, ArtifactError> {
        // A tag comes from the Application: it must not lead elsewhere.
        let plain = below.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-:/".contains(letter));
        let made = self.base.join(&format!("{}/{below}", self.reference.name())).ok();
        made.filter(|_| plain && !below.contains("..")).ok_or_else(|| {
            let message = format!("`{below}` holds a character that no tag can have; check targetRevision");
            ArtifactError::new(Reason::InvalidSpec, message)
        })
    }

    /// One request, and a second after a login when one is asked for. What is refused with the login is not tried again.
    async fn ask(&self, method: Method, url: &Url, accept: &'static str) -> Result<HttpResponse, ArtifactError> {
        let answer = self.send(&method, url, accept).await?;
        if answer.status.as_u16() != 401 || answer.url.origin() != self.base.origin() {
            return Ok(answer);
        }
        let headers = answer.headers.get_all(WWW_AUTHENTICATE);
        let challenge = challenge::parse(headers.iter().filter_map(|value| value.to_str().ok()));
        let refused = |message: &str| Err(ArtifactError::from(answer.error(Reason::AuthFailed, message)));
        let was = self.login();
        let login = match (challenge, &self.authorization) {
            (_, Some(Authorization::Bearer(_))) => {
                return refused("the registry refused the bearer token: it has expired, or is for something else");
            }
            (None, _) => {
                return refused("the registry refused the request and names no way to log in that is known here");
            }
            (Some(Challenge::Basic), None) => {
                return refused(
                    "the registry wants a user name and password: put them into a Secret, and name it in a Repository's \
                     credentialsSecretRef",
                );
            }
            (Some(Challenge::Basic), Some(_)) if matches!(was, Login::Always(_)) => {
                return refused("the registry refused the user name or password");
            }
            (Some(Challenge::Basic), Some(basic)) => Login::Always(basic.clone()),
            (Some(Challenge::Bearer { realm, service, scope }), _) => {
                self.fetch_token(&realm, service.as_deref(), scope.as_deref()).await?
            }
        };
        *self.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
        let answer = self.send(&method, url, accept).await?;
        if answer.status.as_u16() == 401 {
            *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Login::None;
            let message = if self.authorization.is_some() {
                "the registry refused the user name or password, or does not let this user read the repository"
            } else {
                "the registry does not let anybody read the repository without a login: put a user name and password into a \
                 Secret, and name it in a Repository's credentialsSecretRef"
            };
            return Err(answer.error(Reason::AuthFailed, message).into());
        }
        Ok(answer)
    }

    fn login(&self) -> Login {
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if let Login::Until(_, end) = &*login
            && *end <= Instant::now()
        {
            *login = Login::None;
        }
        login.clone()
    }

    async fn send(&self, method: &Method, url: &Url, accept: &'static str) -> Result<HttpResponse, ArtifactError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Login::Always(login) | Login::Until(login, _) = self.login() {
            headers.insert(AUTHORIZATION, login.header());
        }
        let answer = if method == Method::HEAD {
            self.client.head(url, &headers).await?
        } else {
            self.client.get(url, &headers).await?
        };
        Ok(answer)
    }

    /// Asks a token service for a token, with the user name and password if there are any.
    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<Login, ArtifactError> {
        let wrong = |message: String| ArtifactError::new(Reason::AuthFailed, message);
        let mut url = Url::parse(realm)
            .or_else(|_| self.base.join(realm))
            .map_err(|error| wrong(format!("the registry names a token service whose URL can't be read ({error})")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let allowed = url.scheme() == "https" || (url.scheme() == "http" && self.plain_http);
        if !allowed || !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(format!(
                "the registry names a token service at {host} that credentials are not sent to: it is not https"
            )));
        }
        let scope = scope.map_or_else(|| format!("repository:{}:pull", self.reference.name()), str::to_owned);
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &scope);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(basic) = &self.authorization {
            headers.insert(AUTHORIZATION, basic.header());
        }
        let mut answer = self.client.get(&url, &headers).await?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403) {
            let message = format!(
                "the token service of the registry ({host}) answered {}: {}",
                answer.status,
                if self.authorization.is_some() {
                    "it refused the user name or password"
                } else {
                    "it gives no token without a user name and password; name a Secret in a Repository's credentialsSecretRef"
                }
            );
            return Err(answer.error(Reason::AuthFailed, message).into());
        }
        judge(&mut answer, Reason::ServerError)
            .await
            .map_err(|error| error.about("the token service of the registry"))?;
        let text = read(&mut answer, TOKEN_LIMIT).await?;
        let no_token = || answer.error(Reason::ProtocolError, "the token service answered without a token");
        let found = challenge::token(&text).ok_or_else(no_token)?;
        let login = Authorization::bearer(found.token).map_err(|_| no_token())?;
        Ok(Login::Until(login, Instant::now() + found.lasts.max(Duration::from_secs(1))))
    }
}

fn stated_digest(answer: &HttpResponse) -> Option<Digest> {
    let text = answer.headers.get(CONTENT_DIGEST)?.to_str().ok()?;
    text.starts_with("sha256:").then(|| Digest::parse(text)).flatten()
}

/// The target of `Link: <…>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|part| {
        let (target, parameters) = part.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel") && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
            })
        });
        is_next.then(|| target.to_owned())
    })
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
