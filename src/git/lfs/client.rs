//! Downloads LFS contents: asks the batch API where they are, then takes each and checks it.

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use tokio::time::timeout;
use url::Url;

use crate::egress::{
    Authorization, CaBundle, ClientIdentity, Destination, Egress, HttpClient, HttpConfig, HttpResponse, Override,
    Timeouts,
};
use crate::model::Reason;

use super::super::error::GitError;
use super::super::url::RepositoryUrl;
use super::batch::{Download, MOST_OBJECTS, read_answer, request};
use super::pointer::LfsPointer;
use super::store::{LfsStore, LfsWriter};

/// A batch of a hundred answers with signed URLs has some hundred kibibytes.
const ANSWER_LIMIT: usize = 4 << 20;

/// What the API speaks.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.git-lfs+json");

/// Some servers answer only who looks like git-lfs.
const AGENT: &str = concat!("git-lfs/3.0 (tidelock/", env!("CARGO_PKG_VERSION"), ")");

/// How to reach a repository's LFS server.
#[derive(Clone)]
pub struct LfsConfig {
    /// The repository.
    pub url: RepositoryUrl,
    /// The rules for all connections.
    pub egress: Egress,
    /// What the repository says about the route to its own host and port. The rules alone decide about downloads from
    /// other hosts.
    pub route: Override,
    /// Sent to the repository's own host and port alone, and there only where the server gives no other.
    pub authorization: Option<Authorization>,
    /// Shown to the repository's own host and port alone.
    pub identity: Option<ClientIdentity>,
    /// Authorities to trust for this repository besides the system's, for its downloads too.
    pub ca: Option<CaBundle>,
    /// Timers. `total` limits one [`LfsClient::fetch`] as a whole.
    pub timeouts: Timeouts,
}

/// What one fetch may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LfsLimits {
    /// Bytes of all contents together.
    pub bytes: u64,
}

impl Default for LfsLimits {
    /// 1 GiB.
    fn default() -> Self {
        Self { bytes: 1 << 30 }
    }
}

/// The LFS side of a repository.
pub struct LfsClient {
    url: RepositoryUrl,
    /// With the repository's credentials.
    own: HttpClient,
    /// To the repository's host, with what the server gives in place of the credentials; and to other hosts.
    granted: HttpClient,
}

impl LfsClient {
    /// Makes no connection yet.
    pub fn new(config: LfsConfig) -> Self {
        let LfsConfig { url, egress, route, authorization, identity, ca, timeouts } = config;
        let home = Destination::of_url(url.base()).ok();
        let client = |authorization| {
            let (route, ca, identity, timeouts) = (route.clone(), ca.clone(), identity.clone(), timeouts.clone());
            let user_agent = Some(AGENT.to_owned());
            let config = HttpConfig { route, ca, authorization, identity, timeouts, user_agent };
            let client = HttpClient::new(egress.clone(), config);
            match home.clone() {
                Some(home) => client.of(home),
                // Not http: no request is made.
                None => client,
            }
        };
        Self { own: client(authorization), granted: client(None), url }
    }

    /// Brings contents into the store that it does not have yet, each checked by its hash. Returns the bytes that came.
    /// On failure the contents that came before it stay.
    pub async fn fetch(&self, pointers: &[LfsPointer], store: &LfsStore, limits: LfsLimits) -> Result<u64, GitError> {
        let work = self.fetch_missing(pointers, store, limits);
        let result = match self.own.timeouts().total {
            None => work.await,
            Some(total) => timeout(total, work).await.unwrap_or_else(|_| {
                let message = format!("the LFS files did not come within the total of {} s", total.as_secs_f64());
                Err(GitError::new(Reason::Stalled, message))
            }),
        };
        result.map_err(|error| error.about(&self.url))
    }

    async fn fetch_missing(
        &self,
        pointers: &[LfsPointer],
        store: &LfsStore,
        limits: LfsLimits,
    ) -> Result<u64, GitError> {
        if !matches!(self.url.base().scheme(), "https" | "http") {
            let message = "LFS files are fetched over https only; write the repository's https URL into repoURL";
            return Err(GitError::new(Reason::LfsFailed, message));
        }
        let missing: Vec<LfsPointer> = {
            let (store, pointers) = (store.clone(), pointers.to_vec());
            blocking(move || Ok(pointers.into_iter().filter(|pointer| !store.has(pointer)).collect())).await?
        };
        let bytes = missing.iter().fold(0_u64, |sum, pointer| sum.saturating_add(pointer.size()));
        if bytes > limits.bytes {
            let message = format!(
                "the {} LFS files that are needed have {bytes} bytes, the limit of one transfer is {}; raise \
                 limits.transferMebibytes of the Repository, or keep what is no manifest out of the source's path",
                missing.len(),
                limits.bytes
            );
            return Err(GitError::new(Reason::LfsFailed, message));
        }
        let mut came = 0;
        for batch in missing.chunks(MOST_OBJECTS) {
            let answers = self.ask(batch).await?;
            for (pointer, answer) in batch.iter().zip(answers) {
                let about = |problem: &str| {
                    GitError::new(Reason::LfsFailed, format!("the LFS file {pointer} can't be fetched: {problem}"))
                };
                let download = answer.map_err(|problem| about(&problem))?;
                came += self.download(pointer, &download, store, pointers).await.map_err(|mut error| {
                    if error.reason == Reason::LfsFailed {
                        error = about(&error.message);
                    }
                    error
                })?;
            }
        }
        Ok(came)
    }

    async fn ask(&self, batch: &[LfsPointer]) -> Result<Vec<Result<Download, String>>, GitError> {
        let url = endpoint(self.url.base());
        let body = request(batch).map_err(|error| GitError::new(Reason::InternalError, error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, MEDIA_TYPE);
        headers.insert(CONTENT_TYPE, MEDIA_TYPE);
        let mut answer = self.own.post(&url, &headers, Bytes::from(body), true).await?;
        if answer.status != http::StatusCode::OK || answer.is_html() {
            return Err(refused_question(&mut answer, self.own.has_credentials()).await);
        }
        let Some(body) = answer.read_all(ANSWER_LIMIT).await? else {
            return Err(answer.error(Reason::ProtocolError, "the answer of the LFS API is too long").into());
        };
        let secure = url.scheme() == "https";
        read_answer(&body, batch, secure)
            .map_err(|problem| answer.error(Reason::ProtocolError, format!("LFS: {problem}")).into())
    }

    async fn download(
        &self,
        pointer: &LfsPointer,
        download: &Download,
        store: &LfsStore,
        needed: &[LfsPointer],
    ) -> Result<u64, GitError> {
        let own = download.href.origin() == self.url.base().origin();
        let client = if own && !download.headers.contains_key(AUTHORIZATION) { &self.own } else { &self.granted };
        let mut answer = client.get(&download.href, &download.headers).await?;
        if answer.status != http::StatusCode::OK || answer.is_html() {
            return Err(refused_download(&mut answer).await);
        }
        let mut writer: LfsWriter = {
            let (store, pointer, needed) = (store.clone(), pointer.clone(), needed.to_vec());
            blocking(move || store.begin(&pointer, &needed)).await?
        };
        while let Some(piece) = answer.next_chunk().await? {
            writer = blocking(move || writer.write(&piece).map(|()| writer)).await?;
        }
        blocking(move || writer.finish()).await?;
        Ok(answer.received)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| GitError::new(Reason::InternalError, error.to_string()))?
}

/// Where the batch API of a repository is, unless the repository says otherwise, which is not heeded: whoever can commit
/// must not be able to choose where credentials go.
fn endpoint(base: &Url) -> Url {
    let mut url = base.clone();
    let path = base.path().trim_end_matches('/');
    // `/team/.git` is a repository's own directory, not a name with an ending.
    let git = if path.strip_suffix(".git").is_some() { "" } else { ".git" };
    url.set_path(&format!("{path}{git}/info/lfs/objects/batch"));
    url
}

async fn refused_question(answer: &mut HttpResponse, has_credentials: bool) -> GitError {
    let status = answer.status.as_u16();
    if let Some(error) = page(answer).await {
        return error;
    }
    let (reason, message) = match status {
        // What a server says to refused credentials is not quoted: it may repeat them.
        401 | 403 if has_credentials => (
            Reason::AuthFailed,
            format!(
                "the LFS API refused the credentials ({status}); correct the Secret of the Repository's \
                 credentialsSecretRef, or give the user the right to read"
            ),
        ),
        401 | 403 => (
            Reason::AuthFailed,
            format!(
                "the LFS API wants credentials ({status}); name a Secret in credentialsSecretRef of a Repository that \
                 covers the URL"
            ),
        ),
        404 | 410 => (
            Reason::LfsFailed,
            format!(
                "there is no LFS API at the repository ({status}): LFS is turned off there, or the server says so because \
                 credentials are missing or lack the right to read"
            ),
        ),
        300..=399 => (Reason::RedirectRefused, format!("the LFS API redirects ({status}) where that is not followed")),
        429 => (Reason::ServerError, "the LFS API asks to slow down (429)".to_owned()),
        _ => {
            let said = match answer.quote().await {
                quote if quote.is_empty() => String::new(),
                quote => format!("; it says: \"{quote}\""),
            };
            (Reason::ServerError, format!("the LFS API answered {}{said}", answer.status))
        }
    };
    answer.error(reason, message).into()
}

/// Never quotes: stores repeat the signed URL in their refusals.
async fn refused_download(answer: &mut HttpResponse) -> GitError {
    let status = answer.status.as_u16();
    if let Some(error) = page(answer).await {
        return error;
    }
    let (reason, message) = match status {
        401 | 403 => (
            Reason::AuthFailed,
            format!("the download of an LFS file was refused ({status}), although the LFS API had granted it"),
        ),
        404 | 410 => (Reason::LfsFailed, format!("the server does not have it ({status}); was it ever pushed?")),
        429 => (Reason::ServerError, "the server of LFS files asks to slow down (429)".to_owned()),
        _ => (Reason::ServerError, format!("the server of LFS files answered {}", answer.status)),
    };
    answer.error(reason, message).into()
}

/// A page for people, from whoever is in the way.
async fn page(answer: &mut HttpResponse) -> Option<GitError> {
    if !answer.is_html() || !matches!(answer.status.as_u16(), 200..=299 | 511) {
        return None;
    }
    let quote = answer.quote().await;
    let message = format!(
        "an HTML page came where an answer about LFS files was expected; a proxy or a login page is in the way; it \
         says: \"{quote}\""
    );
    Some(answer.error(Reason::BlockedByProxy, message).into())
}
