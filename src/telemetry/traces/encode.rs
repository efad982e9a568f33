//! Spans ⇄ bodies of OTLP over HTTP. Pure.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;

/// The body that brings these spans.
pub(super) fn request(spans: Vec<SpanData>, resource: &ResourceAttributesWithSchema, gzip: bool) -> Vec<u8> {
    let resource_spans = group_spans_by_resource_and_scope(spans, resource);
    let plain = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    if gzip { compressed(plain) } else { plain }
}

fn compressed(plain: Vec<u8>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory can't fail; were it to, the receiver would refuse what is missing its end.
    match encoder.write_all(&plain).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed,
        Err(_) => plain,
    }
}

/// How many spans a receiver that accepted a request has refused, and why. An answer that is not understood refuses none.
pub(super) fn refused(answer: &[u8]) -> Option<(u64, String)> {
    let answer = ExportTraceServiceResponse::decode(answer).ok()?;
    let ExportTracePartialSuccess { rejected_spans, error_message } = answer.partial_success?;
    let count = u64::try_from(rejected_spans).ok().filter(|count| *count > 0)?;
    Some((count, error_message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_refuses_is_read_and_nonsense_refuses_nothing() {
        let answer = |partial_success| ExportTraceServiceResponse { partial_success }.encode_to_vec();
        let partial = |rejected_spans| {
            answer(Some(ExportTracePartialSuccess { rejected_spans, error_message: "too large".to_owned() }))
        };
        assert_eq!(refused(&partial(3)), Some((3, "too large".to_owned())));
        assert_eq!(refused(&partial(0)), None);
        assert_eq!(refused(&partial(-1)), None);
        assert_eq!(refused(&answer(None)), None);
        assert_eq!(refused(b""), None);
        assert_eq!(refused(b"<html>no</html>"), None);
    }
}
