//! Signatures of OCI artifacts: fetched with an artifact as soon as a project demands them, and kept beside the store, so
//! that they can be judged again without the registry.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::location::SourceLocation;
use super::sources::Sources;
use super::tracker::Tracker;
use crate::artifacts::{ArtifactError, CosignSignature, Digest, Registry};
use crate::git::Store;
use crate::model::{Hash64, Reason, Revision};

/// Which sources' signatures are demanded.
#[derive(Default)]
pub(super) struct Demanded {
    /// By location: whether those that are kept satisfy.
    by_location: Mutex<BTreeMap<String, bool>>,
}

/// A signature as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    payload: String,
    signature: String,
}

impl Demanded {
    /// Takes note of whether the signatures of a source satisfy. True when nobody demanded any before.
    pub(super) fn note(&self, location: &SourceLocation, satisfied: bool) -> bool {
        let mut all = self.by_location.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(location.as_str().to_owned(), satisfied).is_none()
    }

    fn state(&self, location: &SourceLocation) -> Option<bool> {
        self.by_location.lock().unwrap_or_else(PoisonError::into_inner).get(location.as_str()).copied()
    }
}

impl Sources {
    /// Fetches the signatures of an artifact, if they are demanded and what is kept does not satisfy: people sign after they
    /// have pushed. Returns the hash of what came, so that whoever waits for it is woken.
    pub(super) async fn bring_signatures(
        &self,
        tracker: &Tracker,
        registry: &Registry,
        artifact: &Digest,
    ) -> Result<Option<Hash64>, ArtifactError> {
        let Some(satisfied) = self.demanded.state(&tracker.url) else { return Ok(None) };
        let path = place(tracker.store.directory(), artifact.hex());
        if satisfied && path.is_file() {
            return Ok(None);
        }
        let found = registry.cosign_signatures(artifact).await?;
        let kept: Vec<Kept> = found
            .into_iter()
            .map(|CosignSignature { payload, signature }| Kept { payload: STANDARD.encode(payload), signature })
            .collect();
        let failed = |why: String| ArtifactError::new(Reason::StoreFailed, format!("keeping signatures: {why}"));
        let text = serde_json::to_vec(&kept).map_err(|error| failed(error.to_string()))?;
        let hash = Hash64::of_bytes(&text);
        let written = tokio::task::spawn_blocking(move || write(&path, &text)).await;
        written.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        Ok(Some(hash))
    }
}

fn place(directory: &Path, digest: &str) -> PathBuf {
    directory.join("signatures").join(format!("{digest}.json"))
}

fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, path)
}

/// The digest of the artifact that a revision was made from; `None` when that is not known.
pub(super) fn digest_of(store: &Store, revision: &Revision) -> Option<String> {
    let origin = store.imported(revision)?.origin;
    let digest = origin.rsplit(' ').next()?;
    digest.starts_with("sha256:").then(|| digest.to_owned())
}

/// The signatures of an artifact: payload, and signature in base64.
pub(super) type Signatures = Vec<(Vec<u8>, String)>;

/// The signatures of an artifact that are kept. `None` when none were looked for yet.
pub(super) fn kept(store: &Store, digest: &str) -> Result<Option<Signatures>, String> {
    let text = match fs::read(place(store.directory(), digest.strip_prefix("sha256:").unwrap_or(digest))) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let kept: Vec<Kept> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let decoded = kept.into_iter().map(|Kept { payload, signature }| {
        STANDARD.decode(payload).map(|payload| (payload, signature)).map_err(|error| error.to_string())
    });
    decoded.collect::<Result<Vec<_>, _>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::StoreLimits;

    #[test]
    fn signatures_are_kept_whole_and_none_is_told_from_not_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), StoreLimits::default()).unwrap();
        let digest = format!("sha256:{}", "1".repeat(64));
        assert_eq!(kept(&store, &digest), Ok(None));
        write(&place(directory.path(), &"1".repeat(64)), b"[]").unwrap();
        assert_eq!(kept(&store, &digest), Ok(Some(Vec::new())));
        write(&place(directory.path(), &"1".repeat(64)), br#"[{"payload":"e30=","signature":"c2ln"}]"#).unwrap();
        assert_eq!(kept(&store, &digest), Ok(Some(vec![(b"{}".to_vec(), "c2ln".to_owned())])));
        write(&place(directory.path(), &"1".repeat(64)), b"{").unwrap();
        assert!(kept(&store, &digest).is_err());
    }

    #[test]
    fn the_first_demand_is_told_from_the_others() {
        let demanded = Demanded::default();
        let location = SourceLocation::Git(crate::git::RepositoryUrl::parse("https://h/x").unwrap());
        assert_eq!(demanded.state(&location), None);
        assert!(demanded.note(&location, false) && !demanded.note(&location, true));
        assert_eq!(demanded.state(&location), Some(true));
    }
}
