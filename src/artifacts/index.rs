//! The `index.yaml` of a Helm repository. Pure; read as a stream of events, so that of a large index only what is wanted
//! is ever held.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

use libyaml_safer::{EventData, Parser, ScalarStyle};
use thiserror::Error;

use super::digest::Digest;

/// The parser buffers characters at four bytes each; a bounded reader keeps that from being done to the whole text.
const CHUNK: usize = 16 * 1024;
/// Names of charts that are kept for messages.
const MOST_NAMES: usize = 20_000;
/// Longer texts are nothing that an index needs.
const LONGEST: usize = 4096;
/// URLs of one version; more are never tried.
const MOST_URLS: usize = 8;
/// How deep an index may nest: what is deeper is not read, but parsed.
const DEEPEST: usize = 256;

/// An index that can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IndexError {
    /// Not YAML.
    #[error("index.yaml is not valid YAML: line {line}: {problem}")]
    Unreadable {
        /// Line, counted from 1; 0 when unknown.
        line: u64,
        /// What the parser says: nothing of the text.
        problem: String,
    },
    /// YAML, but no index.
    #[error("it is no index of a Helm repository: it has no mapping `entries`")]
    NoEntries,
    /// Collections in collections without end.
    #[error("index.yaml nests deeper than {DEEPEST} levels")]
    TooDeep,
}

/// One version of a chart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChartEntry {
    /// Version, as it is written.
    pub version: String,
    /// Digest of the archive, where the index states one.
    pub digest: Option<Digest>,
    /// That it states one by which nothing can be verified, so that the archive can't be used.
    pub digest_unusable: bool,
    /// Where the archive is, absolute or relative to the repository.
    pub urls: Vec<String>,
    /// When it was made (RFC 3339), where the index states it.
    pub created: Option<String>,
}

/// What is wanted of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The versions of the wanted charts, in the order of the index.
    pub charts: BTreeMap<String, Vec<ChartEntry>>,
    /// The names of all charts, for saying what there is; at most 20 000.
    pub names: BTreeSet<String>,
}

/// Reads what is wanted of an index.
pub fn parse(text: &[u8], wanted: &BTreeSet<String>) -> Result<Index, IndexError> {
    let mut reader = Reader { parser: Parser::new(), depth: 0 };
    reader.parser.set_input(BufReader::with_capacity(CHUNK, text));
    reader.index(wanted)
}

struct Reader<'a> {
    parser: Parser<BufReader<&'a [u8]>>,
    depth: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Result<EventData, IndexError> {
        let event = self.parser.parse().map_err(|error| IndexError::Unreadable {
            line: error.problem_mark().map_or(0, |mark| mark.line + 1),
            problem: error.problem().to_owned(),
        })?;
        match &event.data {
            EventData::SequenceStart { .. } | EventData::MappingStart { .. } => self.depth += 1,
            EventData::SequenceEnd | EventData::MappingEnd => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if self.depth > DEEPEST { Err(IndexError::TooDeep) } else { Ok(event.data) }
    }

    /// Passes over the rest of the value that an event begins.
    fn skip(&mut self, first: &EventData) -> Result<(), IndexError> {
        if matches!(first, EventData::SequenceStart { .. } | EventData::MappingStart { .. }) {
            let outside = self.depth - 1;
            while self.depth > outside {
                self.next()?;
            }
        }
        Ok(())
    }

    /// The next key of a mapping; `None` at its end. Keys that are no text are passed over with their values.
    fn key(&mut self) -> Result<Option<String>, IndexError> {
        loop {
            match self.next()? {
                EventData::MappingEnd | EventData::StreamEnd => return Ok(None),
                EventData::Scalar { value, .. } => return Ok(Some(value)),
                other => {
                    self.skip(&other)?;
                    let value = self.next()?;
                    self.skip(&value)?;
                }
            }
        }
    }

    /// The next value as text; `None` when it is something else.
    fn text(&mut self) -> Result<Option<String>, IndexError> {
        match self.next()? {
            EventData::Scalar { value, .. } => Ok((value.len() <= LONGEST).then_some(value)),
            other => self.skip(&other).map(|()| None),
        }
    }

    /// A stated digest: empty where none is stated, `None` where something else stands.
    fn digest(&mut self) -> Result<Option<String>, IndexError> {
        match self.next()? {
            EventData::Scalar { value, style, .. }
                if style == ScalarStyle::Plain && matches!(&*value, "null" | "~") =>
            {
                Ok(Some(String::new()))
            }
            EventData::Scalar { value, .. } => Ok((value.len() <= LONGEST).then_some(value)),
            other => self.skip(&other).map(|()| None),
        }
    }

    fn index(&mut self, wanted: &BTreeSet<String>) -> Result<Index, IndexError> {
        loop {
            match self.next()? {
                EventData::StreamStart { .. } | EventData::DocumentStart { .. } => {}
                EventData::MappingStart { .. } => break,
                _ => return Err(IndexError::NoEntries),
            }
        }
        let mut found = None;
        while let Some(key) = self.key()? {
            let value = self.next()?;
            if key == "entries" && matches!(value, EventData::MappingStart { .. }) {
                found = Some(self.entries(wanted)?);
            } else if key == "entries" && matches!(&value, EventData::Scalar { value, .. } if value.is_empty()) {
                // An index without charts.
                found = Some(Index::default());
            } else {
                self.skip(&value)?;
            }
        }
        found.ok_or(IndexError::NoEntries)
    }

    fn entries(&mut self, wanted: &BTreeSet<String>) -> Result<Index, IndexError> {
        let mut index = Index::default();
        while let Some(name) = self.key()? {
            let value = self.next()?;
            if wanted.contains(&name) && matches!(value, EventData::SequenceStart { .. }) {
                let versions = self.versions()?;
                index.charts.insert(name.clone(), versions);
            } else {
                self.skip(&value)?;
            }
            if index.names.len() < MOST_NAMES && name.len() <= LONGEST {
                index.names.insert(name);
            }
        }
        Ok(index)
    }

    fn versions(&mut self) -> Result<Vec<ChartEntry>, IndexError> {
        let mut versions = Vec::new();
        loop {
            match self.next()? {
                EventData::SequenceEnd => return Ok(versions),
                EventData::MappingStart { .. } => {
                    let entry = self.version()?;
                    if !entry.version.is_empty() {
                        versions.push(entry);
                    }
                }
                other => self.skip(&other)?,
            }
        }
    }

    fn version(&mut self) -> Result<ChartEntry, IndexError> {
        let mut entry = ChartEntry::default();
        while let Some(key) = self.key()? {
            match key.as_str() {
                "version" => entry.version = self.text()?.unwrap_or_default(),
                "digest" => {
                    let text = self.digest()?;
                    entry.digest = text.as_deref().and_then(Digest::parse);
                    entry.digest_unusable = entry.digest.is_none() && text.as_deref() != Some("");
                }
                "created" => entry.created = self.text()?,
                "urls" => entry.urls = self.urls()?,
                _ => {
                    let value = self.next()?;
                    self.skip(&value)?;
                }
            }
        }
        Ok(entry)
    }

    fn urls(&mut self) -> Result<Vec<String>, IndexError> {
        let first = self.next()?;
        if !matches!(first, EventData::SequenceStart { .. }) {
            return self.skip(&first).map(|()| Vec::new());
        }
        let mut urls = Vec::new();
        loop {
            match self.next()? {
                EventData::SequenceEnd => return Ok(urls),
                EventData::Scalar { value, .. } if urls.len() < MOST_URLS && value.len() <= LONGEST => urls.push(value),
                other => self.skip(&other)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = r#"
apiVersion: v1
entries:
  redis:
  - annotations: {nested: [a, {b: c}]}
    version: 1.2.3
    digest: E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855
    created: "2026-01-02T03:04:05Z"
    dependencies:
    - {name: common, version: 2.x, repository: "oci://r/c"}
    urls: [charts/redis-1.2.3.tgz, "https://other.test/redis.tgz"]
  - {version: "1.2.2", digest: none, urls: []}
  - name: redis
  nginx:
  - {version: 9.9.9, urls: [x]}
  ? [a, b]
  : c
generated: "2026-01-02T03:04:05Z"
"#;

    fn wanted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_wanted_charts_are_kept_and_all_names_are_known() {
        let index = parse(INDEX.as_bytes(), &wanted(&["redis", "kafka"])).unwrap();
        let first = ChartEntry {
            version: "1.2.3".into(),
            digest: Some(Digest::of(b"")),
            digest_unusable: false,
            urls: vec!["charts/redis-1.2.3.tgz".into(), "https://other.test/redis.tgz".into()],
            created: Some("2026-01-02T03:04:05Z".into()),
        };
        let second = ChartEntry { version: "1.2.2".into(), digest_unusable: true, ..ChartEntry::default() };
        assert_eq!(index.charts, BTreeMap::from([("redis".to_owned(), vec![first, second])]));
        assert_eq!(index.names, wanted(&["nginx", "redis"]));
        let json = br#"{"entries": {"a": [{"version": "1.0.0", "urls": ["a.tgz"]}]}}"#;
        assert_eq!(parse(json, &wanted(&["a"])).unwrap().charts["a"][0].version, "1.0.0");
    }

    #[test]
    fn a_digest_that_can_not_be_verified_is_told_from_none() {
        let sha512 = format!("sha512:{}", "a".repeat(128));
        for (stated, unusable) in [
            ("\"\"", false),
            ("null", false),
            ("~", false),
            ("\"null\"", true),
            ("abc", true),
            (&*sha512, true),
            ("[a]", true),
        ] {
            let text = format!("entries: {{a: [{{version: 1.0.0, digest: {stated}, urls: [u]}}]}}");
            let index = parse(text.as_bytes(), &wanted(&["a"])).unwrap();
            let entry = &index.charts["a"][0];
            assert_eq!((&entry.digest, entry.digest_unusable), (&None, unusable), "{stated}");
        }
    }

    #[test]
    fn what_is_no_index_is_said_so() {
        assert_eq!(parse(b"", &wanted(&[])), Err(IndexError::NoEntries));
        assert_eq!(parse(b"<html>", &wanted(&[])), Err(IndexError::NoEntries));
        assert_eq!(parse(b"apiVersion: v1\n", &wanted(&[])), Err(IndexError::NoEntries));
        assert_eq!(parse(b"entries:\n", &wanted(&[])), Ok(Index::default()));
        assert_eq!(parse(b"entries: {}\n", &wanted(&[])), Ok(Index::default()));
        assert!(matches!(parse(b"entries:\n  a: [", &wanted(&[])), Err(IndexError::Unreadable { line: 2.., .. })));
        let deep = format!("entries: {{a: {}", "[".repeat(400));
        assert_eq!(parse(deep.as_bytes(), &wanted(&[])), Err(IndexError::TooDeep));
    }
}
