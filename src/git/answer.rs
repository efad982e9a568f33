//! Whether an answer over HTTP is git's, and what it is otherwise.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, PRAGMA};
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::egress::HttpResponse;
use crate::model::Reason;

use super::error::GitError;

/// What kind of answer is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// To `info/refs`.
    Advertisement,
    /// To a command.
    Result,
}

impl Content {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Advertisement => "application/x-git-upload-pack-advertisement",
            Self::Result => "application/x-git-upload-pack-result",
        }
    }
}

/// Headers of the request for `info/refs`.
pub(super) fn get_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(VERSION.0, VERSION.1);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    // A cached list of refs would hide new commits.
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers
}

/// Headers of a command.
pub(super) fn post_headers(version2: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if version2 {
        headers.insert(VERSION.0, VERSION.1);
    }
    headers.insert(ACCEPT, HeaderValue::from_static(Content::Result.media_type()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-git-upload-pack-request"));
    headers
}

const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"));

/// Passes an answer of git's, and gives everything else its reason. `home` is where the credentials are meant for.
pub(super) async fn judge(
    answer: &mut HttpResponse,
    wanted: Content,
    home: &Url,
    has_credentials: bool,
) -> Result<(), GitError> {
    let status = answer.status.as_u16();
    let kind = answer.content_type();
    if status == 200 && kind == wanted.media_type() {
        return Ok(());
    }
    let html = answer.is_html();
    let said = match answer.quote().await {
        quote if quote.is_empty() => String::new(),
        quote => format!("; it says: \"{quote}\""),
    };
    let (reason, message) = match status {
        200..=299 | 511 if html => (
            Reason::BlockedByProxy,
            format!("an HTML page came where git was expected; a proxy or a login page is in the way{said}"),
        ),
        200..=299 if kind == "text/plain" && wanted == Content::Advertisement => (
            Reason::ProtocolError,
            "the server offers the repository as plain files (\"dumb\" HTTP), which is not supported".to_owned(),
        ),
        200..=299 => (Reason::ProtocolError, format!("the answer has the type `{}`, not git's{said}", short(&kind))),
        // What a server says to refused credentials is not quoted: it may repeat them.
        401 => (Reason::AuthFailed, refused(status, "", &answer.url, home, has_credentials)),
        403 => (Reason::AuthFailed, refused(status, &said, &answer.url, home, has_credentials)),
        404 | 410 => (
            Reason::RepositoryNotFound,
            format!(
                "the server has no such repository ({status}); many servers say so too when credentials are missing or \
                 lack the right to read it"
            ),
        ),
        300..=399 => (Reason::RedirectRefused, format!("the server redirects ({status}) where that is not followed")),
        429 => (Reason::ServerError, format!("the server asks to slow down (429){said}")),
        _ => (Reason::ServerError, format!("the server answered {}{said}", answer.status)),
    };
    Err(answer.error(reason, message).into())
}

fn refused(status: u16, said: &str, at: &Url, home: &Url, has_credentials: bool) -> String {
    if at.origin() != home.origin() {
        let host = at.host_str().unwrap_or_default();
        format!(
            "{host}, to which the server redirects, wants credentials ({status}){said}; they are not sent to another \
             host: write the new URL into the Repository"
        )
    } else if has_credentials {
        format!(
            "the server refused the user name or password ({status}){said}; correct the Secret of the Repository's \
             credentialsSecretRef, or give the user the right to read"
        )
    } else {
        format!(
            "the server wants credentials ({status}){said}; name a Secret with username and password in the \
             Repository's credentialsSecretRef"
        )
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(60).collect()
}
