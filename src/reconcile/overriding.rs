//! What an operation brings instead of what the spec wants: another revision, other sources, or manifests that came with
//! it. Pure.

use super::location::SourceLocation;
use super::memory::{Held, Refused};
use crate::api::{ApplicationSource, ApplicationSpec, SyncOperation};
use crate::desired::{check_references, source_label};
use crate::model::{Manifest, Origin, Reason};
use crate::render::manifests;
use crate::render::yaml::{DuplicateKeys, YamlLimits, decode};
use crate::status::Failure;

/// What one operation brings instead of what the spec wants, with what is known of it. It lives as long as the operation,
/// and takes nothing away from what is known of the spec's own sources.
pub(super) struct Overriding {
    /// Where its objects come from.
    pub(super) origin: OverridingOrigin,
    /// What it wants, as last assembled.
    pub(super) held: Option<Held>,
    /// Why it can't be used, so that it isn't rendered again and again.
    pub(super) refused: Option<Refused>,
}

/// Where the objects of an operation come from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum OverridingOrigin {
    /// From these sources.
    Sources {
        /// The sources.
        sources: Vec<ApplicationSource>,
        /// Whether they are `sources`, not `source`.
        several: bool,
    },
    /// They came with the operation.
    Manifests(Vec<Manifest>),
}

impl Overriding {
    /// What an operation brings; `None` when it is what the spec wants anyway.
    ///
    /// # Errors
    /// When the operation contradicts itself or the spec.
    pub(super) fn of(spec: &ApplicationSpec, sync: &SyncOperation) -> Result<Option<Self>, Failure> {
        let found = |origin| Ok(Some(Self { origin, held: None, refused: None }));
        if !sync.manifests.is_empty() {
            return found(OverridingOrigin::Manifests(read(&sync.manifests)?));
        }
        if sync.source.is_some() && !sync.sources.is_empty() {
            return Err(invalid("operation.sync.source and sources can't be set together"));
        }
        let (mut sources, several) = match &sync.source {
            Some(source) => (vec![source.clone()], false),
            None if !sync.sources.is_empty() => (sync.sources.clone(), true),
            None => (spec.all_sources().to_vec(), !spec.sources.is_empty()),
        };
        set_revisions(&mut sources, several, sync)?;
        if sources == spec.all_sources() && several != spec.sources.is_empty() {
            return Ok(None);
        }
        check_references(&sources).map_err(|problem| Failure { reason: problem.reason, message: problem.message })?;
        for (index, source) in sources.iter().enumerate() {
            SourceLocation::of(source, |_| true).map_err(|error| {
                let label = source_label(&sources, several, index);
                let label = if label.is_empty() { "source".to_owned() } else { label };
                invalid(format!("operation.sync.{label}.repoURL `{}`: {error}", source.repo_url))
            })?;
        }
        found(OverridingOrigin::Sources { sources, several })
    }

    /// The sources to ask; none for manifests.
    pub(super) fn sources(&self) -> &[ApplicationSource] {
        match &self.origin {
            OverridingOrigin::Sources { sources, .. } => sources,
            OverridingOrigin::Manifests(_) => &[],
        }
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure { reason: Reason::InvalidSpec, message: message.into() }
}

fn set_revisions(sources: &mut [ApplicationSource], several: bool, sync: &SyncOperation) -> Result<(), Failure> {
    if !sync.revisions.is_empty() {
        if sync.revisions.len() != sources.len() {
            return Err(invalid(format!(
                "operation.sync.revisions has {} revisions for {} sources: name one for each, or an empty one to keep the \
                 source's own",
                sync.revisions.len(),
                sources.len()
            )));
        }
        for (source, revision) in sources.iter_mut().zip(&sync.revisions) {
            set_revision(source, revision);
        }
        return Ok(());
    }
    if sync.revision.is_empty() {
        return Ok(());
    }
    match sources {
        [source] => {
            set_revision(source, &sync.revision);
            Ok(())
        }
        // As in Argo CD, where it is the revision of one source.
        _ if several => Err(invalid(
            "operation.sync.revision is for an Application with one source: use operation.sync.revisions, one for each",
        )),
        _ => Err(invalid("spec.source is missing")),
    }
}

fn set_revision(source: &mut ApplicationSource, revision: &str) {
    // The spec's own text stays as it is, so that asking for what is wanted anyway is no override.
    if !revision.is_empty() && source.target_revision.as_deref() != Some(revision) {
        source.target_revision = Some(revision.to_owned());
    }
}

fn read(texts: &[String]) -> Result<Vec<Manifest>, Failure> {
    let mut all = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let file = format!("operation.sync.manifests[{index}]");
        let decoded = decode(text.as_bytes(), &YamlLimits::default(), DuplicateKeys::Refuse)
            .map_err(|error| Failure { reason: error.reason, message: format!("{file}: {}", error.message) })?;
        let place = |document: &crate::render::yaml::Document| Origin { file: file.clone(), line: document.line };
        all.extend(
            manifests(decoded.documents, place)
                .map_err(|error| Failure { reason: error.reason, message: error.to_string() })?,
        );
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str, target: &str) -> ApplicationSource {
        ApplicationSource {
            repo_url: url.to_owned(),
            target_revision: (!target.is_empty()).then(|| target.to_owned()),
            ..ApplicationSource::default()
        }
    }

    fn one() -> ApplicationSpec {
        ApplicationSpec { source: Some(source("https://h/a", "main")), ..ApplicationSpec::default() }
    }

    fn two() -> ApplicationSpec {
        ApplicationSpec {
            sources: vec![source("https://h/a", "main"), source("https://h/b", "")],
            ..ApplicationSpec::default()
        }
    }

    fn of(spec: &ApplicationSpec, sync: &SyncOperation) -> Result<Option<OverridingOrigin>, String> {
        match Overriding::of(spec, sync) {
            Ok(found) => Ok(found.map(|found| found.origin)),
            Err(failure) => Err(failure.message),
        }
    }

    fn targets(spec: &ApplicationSpec, sync: &SyncOperation) -> Vec<Option<String>> {
        match of(spec, sync) {
            Ok(Some(OverridingOrigin::Sources { sources, .. })) => {
                sources.into_iter().map(|source| source.target_revision).collect()
            }
            other => panic!("no sources: {other:?}"),
        }
    }

    #[test]
    fn an_operation_for_what_the_spec_wants_overrides_nothing() {
        for (spec, sync) in [
            (one(), SyncOperation::default()),
            (one(), SyncOperation { revision: "main".into(), ..SyncOperation::default() }),
            (one(), SyncOperation { source: one().source, ..SyncOperation::default() }),
            (two(), SyncOperation::default()),
            (two(), SyncOperation { revisions: vec!["main".into(), String::new()], ..SyncOperation::default() }),
            (two(), SyncOperation { sources: two().sources, ..SyncOperation::default() }),
        ] {
            assert_eq!(of(&spec, &sync), Ok(None), "{sync:?}");
        }
    }

    #[test]
    fn revisions_take_the_place_of_the_sources_own() {
        let sync = SyncOperation { revision: "v1".into(), ..SyncOperation::default() };
        assert_eq!(targets(&one(), &sync), [Some("v1".to_owned())]);
        let sync = SyncOperation { revisions: vec![String::new(), "v2".into()], ..SyncOperation::default() };
        assert_eq!(targets(&two(), &sync), [Some("main".to_owned()), Some("v2".to_owned())]);
        let sync = SyncOperation {
            source: Some(source("https://h/c", "x")),
            revision: "y".into(),
            ..SyncOperation::default()
        };
        assert_eq!(targets(&two(), &sync), [Some("y".to_owned())]);
    }

    #[test]
    fn what_does_not_fit_the_sources_is_refused() {
        let sync = SyncOperation { revision: "v1".into(), ..SyncOperation::default() };
        assert!(of(&two(), &sync).unwrap_err().contains("use operation.sync.revisions"));
        let sync = SyncOperation { revisions: vec!["v1".into()], ..SyncOperation::default() };
        assert!(of(&two(), &sync).unwrap_err().contains("has 1 revisions for 2 sources"));
        let sync = SyncOperation { source: Some(source("ftp://h", "")), ..SyncOperation::default() };
        assert!(of(&one(), &sync).unwrap_err().starts_with("operation.sync.source.repoURL `ftp://h`: "));
        let sync = SyncOperation { source: one().source, sources: two().sources, ..SyncOperation::default() };
        assert!(of(&one(), &sync).unwrap_err().contains("can't be set together"));
    }

    #[test]
    fn manifests_that_come_with_an_operation_are_read_and_their_faults_placed() {
        let sync = |text: &str| SyncOperation { manifests: vec![text.to_owned()], ..SyncOperation::default() };
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        let Ok(Some(OverridingOrigin::Manifests(found))) = of(&one(), &sync(text)) else { panic!("manifests") };
        assert_eq!(
            (found.len(), found[0].name(), found[0].origin.to_string().as_str()),
            (1, "a", "operation.sync.manifests[0]:1")
        );
        assert!(of(&one(), &sync("a: [")).unwrap_err().starts_with("operation.sync.manifests[0]: "));
    }
}
