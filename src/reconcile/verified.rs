//! What was verified of one source, over restarts: recalled from the sealed index while the source does not answer,
//! and recorded when it does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::store_key::StoreKey;
use super::tracker::lock;
use crate::model::Reason;
use crate::seal::{self, Index, SealKey, Verified};
use crate::status::Failure;

/// How old the time of the last contact on the volume may be. Content that changes is written at once.
const CONTACT_WRITTEN: Duration = Duration::from_mins(10);

/// The verified index of one source. Used by the task that polls it, and by nobody else at the same time.
pub(super) struct VerifiedIndex {
    directory: PathBuf,
    /// Canonical address of the source: part of what is sealed.
    source: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What is known; `None` before the first look and after one that proved nothing.
    index: Option<Index>,
    /// When it was last written, and the name of the key that sealed it then.
    written: Option<(Timestamp, String)>,
}

impl VerifiedIndex {
    /// The index in the directory of a store. Nothing is read yet.
    pub(super) fn new(directory: &Path, source: &str) -> Self {
        Self { directory: directory.to_owned(), source: source.to_owned(), state: Mutex::default() }
    }

    /// What was verified last, by target. `holds_content` says whether the store has anything, so that an index that was
    /// taken away is told from one that never was.
    ///
    /// # Errors
    /// `SealBroken` when what lies there proves nothing.
    pub(super) async fn recall(
        &self,
        key: &StoreKey,
        holds_content: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<BTreeMap<String, Verified>, Failure> {
        if let Some(index) = &lock(&self.state).index {
            return Ok(index.targets.clone());
        }
        let key =
            key.get().await.map_err(|failure| self.broken(&format!("can't be checked, since {}", failure.message)))?;
        let (directory, source) = (self.directory.clone(), self.source.clone());
        let looked = tokio::task::spawn_blocking(move || open(&directory, &key, &source, holds_content)).await;
        let index = looked
            .map_err(|_| Failure {
                reason: Reason::InternalError,
                message: "reading the record of what was verified panicked".to_owned(),
            })?
            .map_err(|problem| self.broken(&problem))?;
        let targets = index.targets.clone();
        lock(&self.state).index = Some(index);
        Ok(targets)
    }

    /// Takes in what the source said now, and writes it when there is something to write. What can't be written is
    /// logged: it is not needed before the next start.
    pub(super) async fn record(
        &self,
        key: &StoreKey,
        found: BTreeMap<String, Verified>,
        wanted: impl Fn(&str) -> bool,
        now: Timestamp,
    ) {
        let changed = {
            let mut state = lock(&self.state);
            // The source has answered: what proved nothing is made anew.
            let first = state.index.is_none();
            let index = state.index.get_or_insert_with(|| Index::empty(&self.source));
            index.learn(found, wanted, now) || first
        };
        let key = match key.get().await {
            Ok(key) => key,
            Err(failure) => {
                warn!(reason = %failure.reason, message = %failure.message, "what was verified can't be sealed");
                return;
            }
        };
        let text = {
            let state = lock(&self.state);
            let is_due = state.written.as_ref().is_none_or(|(written, name)| {
                name != key.name()
                    || Duration::try_from(now.duration_since(*written)).is_ok_and(|age| age >= CONTACT_WRITTEN)
            });
            if !changed && !is_due {
                return;
            }
            let Some(index) = &state.index else { return };
            index.seal(&key)
        };
        let directory = self.directory.clone();
        let written = match text {
            Ok(text) => tokio::task::spawn_blocking(move || seal::write(&directory, &text))
                .await
                .unwrap_or_else(|_| Err(std::io::Error::other("writing panicked")))
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match written {
            Ok(()) => lock(&self.state).written = Some((now, key.name().to_owned())),
            Err(error) => {
                // Written again at the next poll, whether something is new or not.
                lock(&self.state).written = None;
                warn!(directory = %self.directory.display(), %error, "what was verified can't be written");
            }
        }
    }

    fn broken(&self, problem: &str) -> Failure {
        Failure {
            reason: Reason::SealBroken,
            message: format!(
                "the record of what was verified of {} ({}/{}) proves nothing: {problem}; nothing of it is used, and \
                 nothing is changed or deleted in the cluster, until the source answers",
                self.source,
                self.directory.display(),
                seal::FILE_NAME
            ),
        }
    }
}

fn open(
    directory: &Path,
    key: &Arc<SealKey>,
    source: &str,
    holds_content: impl FnOnce() -> bool,
) -> Result<Index, String> {
    match seal::read(directory) {
        Ok(Some(text)) => Index::open(&text, key, source).map_err(|error| error.to_string()),
        Ok(None) if holds_content() => {
            Err("it is missing although the store holds content: it was deleted, or the store is older than it"
                .to_owned())
        }
        Ok(None) => Ok(Index::empty(source)),
        Err(error) => Err(format!("it can't be read ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Arc<SealKey> {
        Arc::new(SealKey::from_bytes(&[byte; 32]).unwrap())
    }

    const SOURCE: &str = "https://git.corp.test/app";

    #[test]
    fn an_index_that_was_taken_away_is_told_from_one_that_never_was() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(open(directory.path(), &key(1), SOURCE, || false), Ok(Index::empty(SOURCE)));
        let problem = open(directory.path(), &key(1), SOURCE, || true).unwrap_err();
        assert!(problem.contains("missing although the store holds content"), "{problem}");
    }

    #[test]
    fn a_lost_key_is_named_as_such() {
        let directory = tempfile::tempdir().unwrap();
        seal::write(directory.path(), &Index::empty(SOURCE).seal(&key(1)).unwrap()).unwrap();
        assert_eq!(open(directory.path(), &key(1), SOURCE, || true), Ok(Index::empty(SOURCE)));
        let problem = open(directory.path(), &key(2), SOURCE, || true).unwrap_err();
        assert!(problem.contains("the Secret with the key was deleted or replaced"), "{problem}");
    }
}
