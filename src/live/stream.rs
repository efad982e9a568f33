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
        match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            Some(offset) => {
                let line = self.buffer.split_to(self.searched + offset + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
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
        let text = "{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n\n{\"type\":\"BOOKMARK\",\"object\":{}}\n{\"type\":\"DEL";
        assert_eq!(
            all(text).await,
            [format!("{:?}", Event::Added(json!({"a": 1}))), format!("{:?}", Event::Bookmark(json!({})))]
        );
    }

    #[tokio::test]
    async fn what_is_no_event_ends_the_watch_without_repeating_it() {
        let seen = all("{\"type\":\"ADDED\",\"object\":{\"password\":\"hunter2\"}\n").await;
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with("the watch delivered what is no event"), "{seen:?}");
        assert!(!seen[0].contains("hunter2"));
    }
}
