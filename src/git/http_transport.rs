//! Smart HTTP: the advertisement is a GET, each command a POST.

use bytes::Bytes;
use url::Url;

use crate::egress::{HttpClient, HttpResponse, Timeouts};
use crate::model::Reason;

use super::advertisement::Server;
use super::answer::{Content, get_headers, judge, post_headers};
use super::error::GitError;

/// Conversations with one repository over HTTP. Keeps connections.
pub(super) struct HttpTransport {
    client: HttpClient,
    /// The repository's URL.
    home: Url,
}

/// Where commands are posted.
#[derive(Clone, Debug)]
pub(super) struct HttpLine {
    /// The repository's URL, or where it redirected to.
    base: Url,
    /// Whether that is where the credentials are meant for.
    with_credentials: bool,
    /// Whether commands are in protocol version 2. Only then may they say so: a server that had not heard it before (a
    /// proxy took it away) would take a command of an old version for a broken one.
    version2: bool,
}

impl HttpTransport {
    /// Makes no connection yet.
    pub(super) fn new(client: HttpClient, home: Url) -> Self {
        Self { client, home }
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        self.client.timeouts()
    }

    pub(super) fn route(&self) -> String {
        self.client.route(&self.home)
    }

    /// The answer to `info/refs`.
    pub(super) async fn greet(&self) -> Result<HttpResponse, GitError> {
        let mut url = below(&self.home, "info/refs");
        url.set_query(Some("service=git-upload-pack"));
        let mut answer = self.client.get(&url, &get_headers()).await?;
        self.judge(&mut answer, Content::Advertisement).await?;
        Ok(answer)
    }

    /// Where commands go after this answer to `info/refs`.
    pub(super) fn line(&self, greeting: &HttpResponse, server: &Server) -> Result<HttpLine, GitError> {
        let Some(path) = greeting.url.path().strip_suffix("/info/refs").map(str::to_owned) else {
            let host = greeting.url.host_str().unwrap_or_default();
            let message = format!("the server redirects to a URL on {host} that is not a git repository's");
            return Err(greeting.error(Reason::RedirectRefused, message).into());
        };
        let mut base = greeting.url.clone();
        base.set_path(&path);
        base.set_query(None);
        let with_credentials = base.origin() == self.home.origin();
        Ok(HttpLine { base, with_credentials, version2: matches!(server, Server::Version2(_)) })
    }

    /// Posts a command.
    pub(super) async fn command(&self, line: &HttpLine, body: Bytes) -> Result<HttpResponse, GitError> {
        let url = below(&line.base, "git-upload-pack");
        let mut answer = self.client.post(&url, &post_headers(line.version2), body, line.with_credentials).await?;
        self.judge(&mut answer, Content::Result).await?;
        Ok(answer)
    }

    async fn judge(&self, answer: &mut HttpResponse, wanted: Content) -> Result<(), GitError> {
        judge(answer, wanted, &self.home, self.client.has_credentials()).await
    }
}

fn below(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/{name}", base.path().trim_end_matches('/')));
    url
}
