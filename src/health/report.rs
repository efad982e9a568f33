//! How far the rules agree with examples that somebody else has judged.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::{AssessContext, assess};
use crate::model::{Health, HealthStatus};

/// The examples could not be read.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A file or directory could not be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file is not what is expected there.
    #[error("cannot parse `{path}`: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: serde_yaml::Error,
    },
}

/// One example and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `group/Kind`, as the directories say.
    pub kind: String,
    /// The file of the example, relative to its kind.
    pub input: String,
    /// The verdict that is wanted.
    pub wanted: HealthStatus,
    /// Our verdict; `None` for a kind without health.
    pub found: Option<Health>,
}

impl Case {
    /// Whether the verdicts agree. A kind without health counts as healthy.
    pub fn agrees(&self) -> bool {
        self.found_status() == self.wanted
    }

    /// Whether we are content with what is not well: the one mistake that lets a sync go on when it must not.
    pub fn is_false_green(&self) -> bool {
        self.found_status() == HealthStatus::Healthy && self.wanted > HealthStatus::Suspended
    }

    fn found_status(&self) -> HealthStatus {
        self.found.as_ref().map_or(HealthStatus::Healthy, |health| health.status)
    }
}

/// All examples of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By kind and file.
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Suite {
    #[serde(default)]
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test {
    health_status: Wanted,
    input_path: String,
}

#[derive(Deserialize)]
struct Wanted {
    status: HealthStatus,
}

/// Assesses every example below `directory`, laid out as `<group>/<Kind>/health_test.yaml` with objects beside it.
pub fn run(directory: &Path) -> Result<Report, ReportError> {
    let mut cases = Vec::new();
    for group in sorted(directory)? {
        for kind in sorted(&group)? {
            let suite_file = kind.join("health_test.yaml");
            if !suite_file.is_file() {
                continue;
            }
            let suite: Suite = parse(&suite_file)?;
            let label = kind.strip_prefix(directory).unwrap_or(&kind).display().to_string();
            for test in suite.tests {
                let object: Value = parse(&kind.join(&test.input_path))?;
                let context = AssessContext { now: jiff::Timestamp::UNIX_EPOCH, has_status_subresource: None };
                let found = assess(&object, &context);
                cases.push(Case {
                    kind: label.clone(),
                    input: test.input_path,
                    wanted: test.health_status.status,
                    found,
                });
            }
        }
    }
    Ok(Report { cases })
}

impl Report {
    /// Agreeing and all examples, by group.
    pub fn by_group(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for case in &self.cases {
            let group = case.kind.split('/').next().unwrap_or_default();
            let entry = groups.entry(group).or_default();
            entry.0 += usize::from(case.agrees());
            entry.1 += 1;
        }
        groups
    }

    /// Whether at least nine of ten examples agree and none is a false green.
    pub fn is_good(&self) -> bool {
        self.agreeing() * 10 >= self.cases.len() * 9 && self.false_greens().next().is_none()
    }

    /// How many examples agree.
    pub fn agreeing(&self) -> usize {
        self.cases.iter().filter(|case| case.agrees()).count()
    }

    /// Examples that we call healthy and that are not.
    pub fn false_greens(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.is_false_green())
    }

    /// Examples whose verdicts differ.
    pub fn disagreeing(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| !case.agrees())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {} is wanted, ", self.kind, self.input, self.wanted)?;
        match &self.found {
            None => formatter.write_str("has no health"),
            Some(health) if health.message.is_empty() => write!(formatter, "{} found", health.status),
            Some(health) => write!(formatter, "{} found ({})", health.status, health.message),
        }
    }
}

impl fmt::Display for Report {
    /// Agreement by group, false greens, other differences, and the sum.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (group, (agreeing, all)) in self.by_group() {
            writeln!(formatter, "{agreeing:>4} of {all:<4} {group}")?;
        }
        for case in self.false_greens() {
            writeln!(formatter, "false green: {case}")?;
        }
        for case in self.disagreeing().filter(|case| !case.is_false_green()) {
            writeln!(formatter, "differs: {case}")?;
        }
        let (agreeing, all) = (self.agreeing(), self.cases.len());
        // Percent in tenths, without floating point.
        let tenths = (agreeing * 1000).checked_div(all).unwrap_or(0);
        writeln!(
            formatter,
            "{agreeing} of {all} agree ({}.{} %), {} false greens",
            tenths / 10,
            tenths % 10,
            self.false_greens().count()
        )
    }
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let failed = |source| ReportError::Read { path: directory.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    let text = fs::read_to_string(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    let document = serde_yaml::Deserializer::from_str(&text).next();
    match document {
        Some(document) => T::deserialize(document),
        None => serde_yaml::from_str(&text),
    }
    .map_err(|source| ReportError::Parse { path: path.to_owned(), source })
}
