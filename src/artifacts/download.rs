//! Whole bodies over the egress layer, bounded and verified.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::timeout;
use url::Url;

use crate::egress::{HttpClient, HttpResponse};
use crate::model::Reason;

use super::digest::Digest;
use super::error::ArtifactError;

/// Bytes of one chart or artifact unless the Repository says otherwise.
pub const DEFAULT_LIMIT: usize = 128 << 20;

/// Downloads a chart's archive. Redirects are followed, each hop by the rules for its host; credentials go only to the host
/// of `url`, and only if the client has any.
pub async fn archive(
    client: &HttpClient,
    url: &Url,
    digest: Option<&Digest>,
    limit: usize,
) -> Result<Vec<u8>, ArtifactError> {
    archive_with(client, url, &HeaderMap::new(), digest, limit).await
}

/// The same with headers, of which the sensitive ones go only to the host of `url`.
pub(super) async fn archive_with(
    client: &HttpClient,
    url: &Url,
    headers: &HeaderMap,
    digest: Option<&Digest>,
    limit: usize,
) -> Result<Vec<u8>, ArtifactError> {
    let work = async {
        let mut answer = client.get(url, headers).await?;
        judge(&mut answer, Reason::ChartNotFound).await?;
        let whole = read(&mut answer, limit).await?;
        verify(&whole, digest, &answer)?;
        Ok(whole)
    };
    within(client.timeouts().total, "the archive", work).await
}

/// Limits an operation as a whole.
pub(super) async fn within<T>(
    total: Option<Duration>,
    what: &str,
    work: impl Future<Output = Result<T, ArtifactError>>,
) -> Result<T, ArtifactError> {
    let Some(total) = total else { return work.await };
    timeout(total, work).await.unwrap_or_else(|_| {
        let message = format!(
            "{what} did not come within {} s, the limit of one operation (timeouts.total of the Repository)",
            total.as_secs()
        );
        Err(ArtifactError::new(Reason::Stalled, message))
    })
}

/// Takes an answer that is no success for what it is. `missing` is the reason for a 404.
pub(super) async fn judge(answer: &mut HttpResponse, missing: Reason) -> Result<(), ArtifactError> {
    let status = answer.status.as_u16();
    if answer.status.is_success() {
        if answer.is_html() {
            let said = said(answer).await;
            let message = format!("a web page came in place of the file; something on the way blocks it{said}");
            return Err(answer.error(Reason::BlockedByProxy, message).into());
        }
        return Ok(());
    }
    let url = shown(&answer.url);
    let said = said(answer).await;
    let (reason, message) = match status {
        401 | 403 => (
            Reason::AuthFailed,
            format!("the server refused {url} with {}: check the credentials{said}", answer.status),
        ),
        404 | 410 => (missing, format!("the server does not have {url} ({}){said}", answer.status)),
        _ => (Reason::ServerError, format!("the server answered {} for {url}{said}", answer.status)),
    };
    Err(answer.error(reason, message).into())
}

/// What the server says, quoted. Nothing where it may repeat what it was asked with: stores do so with the login that they
/// refuse, and with URLs that are signed.
async fn said(answer: &mut HttpResponse) -> String {
    if matches!(answer.status.as_u16(), 401 | 403) || answer.url.query().is_some() {
        return String::new();
    }
    let quote = answer.quote().await;
    if quote.is_empty() { String::new() } else { format!(": \"{quote}\"") }
}

/// A URL as messages show it: a query may hold a signature, what stands before the host a password.
pub(super) fn shown(url: &Url) -> String {
    let mut plain = url.clone();
    // Both setters fail only on URLs without a host.
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    plain.set_fragment(None);
    let queried = plain.query().is_some();
    plain.set_query(None);
    // Put behind as it is: within the URL it would be encoded.
    format!("{plain}{}", if queried { "?…" } else { "" })
}

/// The whole body, at most `limit` bytes.
pub(super) async fn read(answer: &mut HttpResponse, limit: usize) -> Result<Vec<u8>, ArtifactError> {
    if let Some(whole) = answer.read_all(limit).await? {
        Ok(whole)
    } else {
        let message = format!(
            "it has more than {limit} bytes, the limit of one transfer; raise limits.transferMebibytes of the Repository \
             if that is meant"
        );
        Err(answer.error(Reason::PackTooLarge, message).into())
    }
}

/// Whether the bytes are what they should be.
pub(super) fn verify(whole: &[u8], digest: Option<&Digest>, answer: &HttpResponse) -> Result<(), ArtifactError> {
    let Some(wanted) = digest else { return Ok(()) };
    let found = Digest::of(whole);
    if found == *wanted {
        return Ok(());
    }
    let message = format!(
        "what came has the digest {found}, and {wanted} was promised: it was changed on the way, or the repository contradicts \
         itself"
    );
    Err(answer.error(Reason::ArtifactInvalid, message).into())
}
