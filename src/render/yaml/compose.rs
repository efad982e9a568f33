//! Parser events → values: collections, anchors, merge keys, and the budgets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::scalar::{self, ScalarError};
use super::text::saturate;
use super::{Decoded, Document, DuplicateKeys, YamlError, YamlLimits};
use crate::model::Reason;

/// The parser buffers characters at four bytes each; a bounded reader keeps that from being done to the whole text.
pub(super) const CHUNK: usize = 16 * 1024;
/// More warnings than this about one text help nobody.
const MOST_WARNINGS: usize = 20;
/// Keys are shown in errors up to this many characters.
const SHOWN_KEY: usize = 80;
const MERGE_TAG: &str = "tag:yaml.org,2002:merge";

pub(super) fn decode(text: &str, limits: &YamlLimits, duplicates: DuplicateKeys) -> Result<Decoded, YamlError> {
    let mut parser = Parser::new();
    parser.set_input(BufReader::with_capacity(CHUNK, text.as_bytes()));
    let mut composer = Composer {
        parser,
        limits: *limits,
        duplicates,
        nodes: 0,
        copied_bytes: 0,
        anchors: BTreeMap::new(),
        warnings: Vec::new(),
    };
    let documents = composer.stream()?;
    Ok(Decoded { documents, warnings: composer.warnings })
}

/// A composed value with what it costs to copy it.
#[derive(Clone)]
struct Node {
    value: Value,
    nodes: usize,
    bytes: usize,
    height: usize,
}

enum Anchored {
    /// The anchor's own value is still being read: an alias to it would contain itself.
    Open,
    Done(Node),
}

struct Composer<'a> {
    parser: Parser<BufReader<&'a [u8]>>,
    limits: YamlLimits,
    duplicates: DuplicateKeys,
    nodes: usize,
    copied_bytes: usize,
    anchors: BTreeMap<String, Anchored>,
    warnings: Vec<String>,
}

fn at(mark: Mark) -> (u32, u32) {
    let number = |zero_based: u64| saturate(usize::try_from(zero_based).unwrap_or(usize::MAX).saturating_add(1));
    (number(mark.line), number(mark.column))
}

pub(super) fn invalid(mark: Mark, message: impl Into<String>) -> YamlError {
    let (line, column) = at(mark);
    YamlError::new(Reason::InvalidYaml, line, column, message)
}

/// What the parser complains about. Its texts are constants: they hold nothing of the input.
pub(super) fn refusal(error: &libyaml_safer::Error) -> YamlError {
    let message = match error.context() {
        Some(context) => format!("{} {context}", error.problem()),
        None => error.problem().to_owned(),
    };
    match error.problem_mark() {
        Some(mark) => invalid(mark, message),
        None => YamlError::new(Reason::InvalidYaml, 0, 0, message),
    }
}

fn budget(mark: Mark, message: impl Into<String>) -> YamlError {
    YamlError { reason: Reason::YamlBudget, ..invalid(mark, message) }
}

fn shown(key: &str) -> String {
    let mut text: String = key.chars().take(SHOWN_KEY).collect();
    if text.len() < key.len() {
        text.push('…');
    }
    text
}

impl Composer<'_> {
    fn event(&mut self) -> Result<Event, YamlError> {
        self.parser.parse().map_err(|error| refusal(&error))
    }

    fn stream(&mut self) -> Result<Vec<Document>, YamlError> {
        let mut documents = Vec::new();
        loop {
            let event = self.event()?;
            match event.data {
                EventData::StreamEnd => return Ok(documents),
                EventData::DocumentStart { .. } => {
                    if documents.len() >= self.limits.documents {
                        let limit = self.limits.documents;
                        return Err(budget(event.start_mark, format!("more than {limit} documents in one text")));
                    }
                    self.anchors.clear();
                    let root = self.event()?;
                    let (line, _) = at(root.start_mark);
                    let node = self.compose(root, 0)?;
                    if !node.value.is_null() {
                        documents.push(Document { value: node.value, line });
                    }
                }
                EventData::StreamStart { .. }
                | EventData::DocumentEnd { .. }
                | EventData::Alias { .. }
                | EventData::Scalar { .. }
                | EventData::SequenceStart { .. }
                | EventData::SequenceEnd
                | EventData::MappingStart { .. }
                | EventData::MappingEnd => {}
            }
        }
    }

    /// Counts values; `depth` is that of the deepest of them.
    fn charge(&mut self, mark: Mark, nodes: usize, depth: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            return Err(budget(mark, format!("more than {} values in one text", self.limits.nodes)));
        }
        if depth > self.limits.depth {
            return Err(budget(mark, format!("nested deeper than {} levels", self.limits.depth)));
        }
        Ok(())
    }

    /// Counts a copy of a value, which anchors and aliases make.
    fn charge_copy(&mut self, mark: Mark, node: &Node, depth: usize) -> Result<(), YamlError> {
        self.charge(mark, node.nodes, depth.saturating_add(node.height))?;
        self.copied_bytes = self.copied_bytes.saturating_add(node.bytes);
        if self.copied_bytes > self.limits.copied_bytes {
            let limit = self.limits.copied_bytes;
            return Err(budget(mark, format!("anchors and aliases expand to more than {limit} bytes")));
        }
        Ok(())
    }

    /// The value that an event begins, inside `depth` collections.
    fn compose(&mut self, event: Event, depth: usize) -> Result<Node, YamlError> {
        let mark = event.start_mark;
        match event.data {
            EventData::Scalar { anchor, tag, value, plain_implicit, quoted_implicit: _, style } => {
                let node = self.scalar(mark, value, tag.as_deref(), plain_implicit, style, depth)?;
                self.keep(mark, anchor, node, depth)
            }
            EventData::Alias { anchor } => self.alias(mark, &anchor, depth),
            EventData::SequenceStart { anchor, .. } => {
                self.charge(mark, 1, depth + 1)?;
                self.open(anchor.as_ref());
                let mut node = Node { value: Value::Null, nodes: 1, bytes: 0, height: 1 };
                let mut items = Vec::new();
                loop {
                    let event = self.event()?;
                    if event.data == EventData::SequenceEnd {
                        break;
                    }
                    let item = self.compose(event, depth + 1)?;
                    node.hold(&item);
                    items.push(item.value);
                }
                node.value = Value::Array(items);
                self.keep(mark, anchor, node, depth)
            }
            EventData::MappingStart { anchor, .. } => {
                self.charge(mark, 1, depth + 1)?;
                self.open(anchor.as_ref());
                let node = self.mapping(depth)?;
                self.keep(mark, anchor, node, depth)
            }
            EventData::StreamStart { .. }
            | EventData::StreamEnd
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. }
            | EventData::SequenceEnd
            | EventData::MappingEnd => Err(invalid(mark, "a value is missing")),
        }
    }

    fn scalar(
        &mut self,
        mark: Mark,
        text: String,
        tag: Option<&str>,
        plain_implicit: bool,
        style: ScalarStyle,
        depth: usize,
    ) -> Result<Node, YamlError> {
        self.charge(mark, 1, depth)?;
        let bytes = text.len();
        let value = scalar::resolve(text, tag, plain_implicit && style == ScalarStyle::Plain)
            .and_then(scalar::Scalar::into_value)
            .map_err(|error: ScalarError| invalid(mark, error.message()))?;
        Ok(Node { value, nodes: 1, bytes, height: 0 })
    }

    fn open(&mut self, anchor: Option<&String>) {
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor.clone(), Anchored::Open);
        }
    }

    fn keep(&mut self, mark: Mark, anchor: Option<String>, node: Node, depth: usize) -> Result<Node, YamlError> {
        if let Some(anchor) = anchor {
            self.charge_copy(mark, &node, depth)?;
            self.anchors.insert(anchor, Anchored::Done(node.clone()));
        }
        Ok(node)
    }

    fn alias(&mut self, mark: Mark, anchor: &str, depth: usize) -> Result<Node, YamlError> {
        let node = match self.anchors.get(anchor) {
            None => return Err(invalid(mark, format!("unknown anchor `{}`", shown(anchor)))),
            Some(Anchored::Open) => {
                return Err(invalid(mark, format!("the value of anchor `{}` contains itself", shown(anchor))));
            }
            Some(Anchored::Done(node)) => Node { value: Value::Null, ..*node },
        };
        // Paid for before it is copied.
        self.charge_copy(mark, &node, depth)?;
        match self.anchors.get(anchor) {
            Some(Anchored::Done(found)) => Ok(Node { value: found.value.clone(), ..node }),
            Some(Anchored::Open) | None => Ok(node),
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Node, YamlError> {
        let mut node = Node { value: Value::Null, nodes: 1, bytes: 0, height: 1 };
        let mut map = Map::new();
        let mut explicit = BTreeSet::new();
        loop {
            let event = self.event()?;
            let mark = event.start_mark;
            if event.data == EventData::MappingEnd {
                break;
            }
            let Some((key, bytes)) = self.key(event, depth)? else {
                let event = self.event()?;
                let mark = event.start_mark;
                let merged = self.compose(event, depth + 1)?;
                node.hold(&merged);
                merge(&mut map, merged.value).map_err(|message| invalid(mark, message))?;
                continue;
            };
            let event = self.event()?;
            let value = self.compose(event, depth + 1)?;
            node.hold(&value);
            node.bytes = node.bytes.saturating_add(bytes);
            if !explicit.insert(key.clone()) {
                self.duplicate(mark, &key)?;
            }
            map.insert(key, value.value);
        }
        node.value = Value::Object(map);
        Ok(node)
    }

    /// A key with the bytes it takes, or `None` for a merge key.
    fn key(&mut self, event: Event, depth: usize) -> Result<Option<(String, usize)>, YamlError> {
        let mark = event.start_mark;
        let not_a_key = |kind: &str| invalid(mark, format!("{kind} can't be a key in a Kubernetes object"));
        match event.data {
            EventData::Scalar { anchor, tag, value, plain_implicit, quoted_implicit: _, style } => {
                let plain = plain_implicit && style == ScalarStyle::Plain;
                if value == "<<" && (plain || tag.as_deref() == Some(MERGE_TAG)) {
                    return Ok(None);
                }
                self.charge(mark, 1, depth + 1)?;
                let resolved =
                    scalar::resolve(value, tag.as_deref(), plain).map_err(|error| invalid(mark, error.message()))?;
                if let Some(anchor) = anchor {
                    let value = resolved.clone().into_value().map_err(|error| invalid(mark, error.message()))?;
                    let bytes = value.as_str().map_or(0, str::len);
                    self.keep(mark, Some(anchor), Node { value, nodes: 1, bytes, height: 0 }, depth)?;
                }
                let key = resolved.into_key().ok_or_else(|| not_a_key("null"))?;
                let bytes = key.len();
                Ok(Some((key, bytes)))
            }
            EventData::Alias { anchor } => {
                let key = match self.alias(mark, &anchor, depth)?.value {
                    Value::String(text) => text,
                    Value::Bool(value) => value.to_string(),
                    Value::Number(number) => number.to_string(),
                    Value::Null => return Err(not_a_key("null")),
                    Value::Array(_) => return Err(not_a_key("a sequence")),
                    Value::Object(_) => return Err(not_a_key("a mapping")),
                };
                let bytes = key.len();
                Ok(Some((key, bytes)))
            }
            EventData::SequenceStart { .. } => Err(not_a_key("a sequence")),
            EventData::MappingStart { .. } => Err(not_a_key("a mapping")),
            EventData::StreamStart { .. }
            | EventData::StreamEnd
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. }
            | EventData::SequenceEnd
            | EventData::MappingEnd => Err(invalid(mark, "a key is missing")),
        }
    }

    fn duplicate(&mut self, mark: Mark, key: &str) -> Result<(), YamlError> {
        let (line, column) = at(mark);
        let message = format!("the key `{}` appears twice in one mapping", shown(key));
        match self.duplicates {
            DuplicateKeys::Refuse => Err(YamlError::new(Reason::DuplicateKey, line, column, message)),
            DuplicateKeys::Warn => {
                if self.warnings.len() < MOST_WARNINGS {
                    self.warnings.push(format!("line {line}: {message}; the last one counts"));
                }
                Ok(())
            }
        }
    }
}

impl Node {
    fn hold(&mut self, inner: &Self) {
        self.nodes = self.nodes.saturating_add(inner.nodes);
        self.bytes = self.bytes.saturating_add(inner.bytes);
        self.height = self.height.max(inner.height.saturating_add(1));
    }
}

/// Merges as the Go library does: what is merged later wins over what stood before it, within a list of mappings the
/// earlier one wins.
fn merge(map: &mut Map<String, Value>, merged: Value) -> Result<(), &'static str> {
    const WANTED: &str = "a merge key `<<` wants a mapping or a sequence of mappings";
    match merged {
        Value::Object(entries) => map.extend(entries),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(entries) = item else { return Err(WANTED) };
                map.extend(entries);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(WANTED),
    }
    Ok(())
}
