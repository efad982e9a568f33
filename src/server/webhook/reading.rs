//! Takes a body that is not trusted yet: bounded, and past the MAC on its way.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::proof::Claim;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRead {
    /// It is longer than the limit.
    TooLarge,
    /// It ended before its end.
    Cut,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_body(body: &mut Incoming, claim: &mut Claim, limit: usize) -> Result<Vec<u8>, NotRead> {
    // Not what the sender says it will be: who announces much and sends little would hold memory for nothing.
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| NotRead::Cut)?.into_data() else { continue };
        if whole.len() + piece.len() > limit {
            return Err(NotRead::TooLarge);
        }
        if let Claim::Signed(signed) = claim {
            signed.update(&piece);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

/// Takes at most `limit` bytes of what is left of a body and keeps nothing. A connection that is closed with bytes unread is
/// reset, and the answer is lost on its way.
pub(super) async fn drain(body: &mut Incoming, limit: usize) {
    let mut seen = 0;
    while seen <= limit
        && let Some(Ok(frame)) = body.frame().await
    {
        seen += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}
