//! Watch events out of a body: one JSON document per line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;

use super::client::{NoAnswer, explain};

/// The longest line that is read. An object can't be larger than etcd's limit of 1.5 MiB, so this is never reached by a
/// server that works.
const LINE_LIMIT: usize = 32 << 20;

/// One event of a watch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Event {
    /// The object came into the selection.
    Added(Value),
    /// The object changed.
    Modified(Value),
    /// The object is gone, or left the selection.
    Deleted(Value),
    /// Nothing of interest happened up to the `resourceVersion` of this object.
    Bookmark(Value),
    /// The watch ends with this `Status`.
    Error(Value),
}

/// What reading a watch gives.
#[derive(Debug)]
pub(super) enum Next {
    /// An event.
    Event(Event),
    /// The server ended the watch, as it does every few minutes.
    End,
    /// Nothing came for as long as was waited.
    Quiet,
}

/// The events of a watch.
pub(super) struct Events {
    body: Body,
    buffer: BytesMut,
    /// Up to where the buffer is known to hold no line end.
    searched: usize,
}

impl Events {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next event, waiting for at most `quiet` between two pieces of the body.
    pub(super) async fn next(&mut self, quiet: Duration) -> Result<Next, NoAnswer> {
        loop {
            while let Some(line) = self.take_line() {
                if !line.trim_ascii().is_empty() {
                    return parse(&line).map(Next::Event);
                }
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(cut("an event of the watch is too large".to_owned()));
            }
            let Ok(frame) = tokio::time::timeout(quiet, self.body.frame()).await else { return Ok(Next::Quiet) };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(cut(format!("the watch was cut off: {}", explain(&error)))),
                // A rest without a line end is an event that was cut off; it will come again.
                None => return Ok(Next::End),
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let Some(offset) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + offset + 1).freeze();
        self.searched = 0;
        Some(line)
    }
}

/// The position that a watch has reached with an object; empty when the object states none.
pub(super) fn position_of(object: &Value) -> &str {
    let version = object.get("metadata").and_then(|metadata| metadata.get("resourceVersion")?.as_str());
    version.unwrap_or_default()
}

/// Whether a bookmark says that a streamed list is complete.
pub(super) fn ends_initial_events(bookmark: &Value) -> bool {
    let annotations = bookmark.get("metadata").and_then(|metadata| metadata.get("annotations"));
    annotations.and_then(|annotations| annotations.get("k8s.io/initial-events-end")?.as_str()) == Some("true")
}

fn parse(line: &[u8]) -> Result<Event, NoAnswer> {
    serde_json::from_slice(line).map_err(|error| cut(format!("the watch delivered what is no event: {error}")))
}

fn cut(message: String) -> NoAnswer {
    NoAnswer { message, timed_out: false }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn all(text: &str) -> Vec<String> {
        let mut events = Events::new(Body::from(text.as_bytes().to_vec()));
        let mut seen = Vec::new();
        loop {
            match events.next(Duration::from_secs(5)).await {
                Ok(Next::Event(event)) => seen.push(format!("{event:?}")),
                Ok(Next::End) => return seen,
                Ok(Next::Quiet) => seen.push("quiet".to_owned()),
                Err(error) => {
                    seen.push(error.message);
                    return seen;
                }
            }
        }
    }

    #[tokio::test]
    async fn lines_become_events_and_an_unfinished_line_is_left_out() {
        let text =
            "{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n\n{\"type\":\"BOOKMARK\",\"object\":{}}\n{\"type\":\"DEL";
        assert_eq!(
            all(text).await,
            [format!("{:?}", Event::Added(json!({"a": 1}))), format!("{:?}", Event::Bookmark(json!({})))]
        );
    }

    #[test]
    fn only_the_annotated_bookmark_ends_a_streamed_list() {
        let end = json!({"metadata": {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}});
        assert!(ends_initial_events(&end));
        assert_eq!(position_of(&end), "7");
        assert!(!ends_initial_events(&json!({"metadata": {"resourceVersion": "7"}})));
        assert_eq!(position_of(&json!({})), "");
    }

    #[tokio::test]
    async fn what_is_no_event_ends_the_watch_without_repeating_it() {
        let seen = all("{\"type\":\"ADDED\",\"object\":{\"password\":\"hunter2\"}\n").await;
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with("the watch delivered what is no event"), "{seen:?}");
        assert!(!seen[0].contains("hunter2"));
    }
}
