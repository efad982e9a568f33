//! Which imported content counts as held: that for which the program has vouched itself, with the key that is not on the
//! volume.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::warn;

use super::location::SourceLocation;
use super::sources::Sources;
use crate::git::{GitError, Store};
use crate::model::Revision;
use crate::seal::{self, SealKey};

/// Vouches for the imports of one source. Without a key nothing is held, and everything is fetched again.
#[derive(Clone)]
pub(super) struct Vouchers {
    key: Option<Arc<SealKey>>,
    source: String,
}

impl Sources {
    /// The vouchers of a source.
    pub(super) async fn vouchers(&self, source: &SourceLocation) -> Vouchers {
        let key = match self.store_key.get().await {
            Ok(key) => Some(key),
            Err(failure) => {
                warn!(
                    %source,
                    reason = %failure.reason,
                    message = %failure.message,
                    "what is held can't be told from what was planted, and is fetched again"
                );
                None
            }
        };
        Vouchers { key, source: source.as_str().to_owned() }
    }
}

impl Vouchers {
    /// Whether the revision is what was imported as `what`. Blocking.
    pub(super) fn has(&self, store: &Store, what: &str, revision: &Revision) -> bool {
        self.key
            .as_ref()
            .is_some_and(|key| seal::is_vouched(store.directory(), key, &self.source, what, revision.as_str()))
    }

    /// The imports of a store that count, by their origin. Blocking.
    pub(super) fn imports(&self, store: &Store) -> Result<BTreeMap<String, Revision>, GitError> {
        let mut found = store.imports()?;
        found.retain(|origin, revision| self.has(store, origin, revision));
        Ok(found)
    }

    /// Vouches for what has just been imported. What can't be written is logged: it is fetched again then. Blocking.
    pub(super) fn add(&self, store: &Store, what: &str, revision: &Revision) {
        let Some(key) = &self.key else { return };
        if let Err(error) = seal::vouch(store.directory(), key, &self.source, what, revision.as_str()) {
            warn!(source = self.source, %error, "a voucher can't be written");
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(byte: u8) -> Self {
        Self { key: SealKey::from_bytes(&[byte; 32]).ok().map(Arc::new), source: "oci://r.test/a".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::{ImportNote, ImportedKind, StoreLimits};

    #[test]
    fn an_import_that_nobody_vouches_for_is_not_held() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), StoreLimits::default()).unwrap();
        let import = |content: &[u8], origin: &str| {
            let mut import = store.import().unwrap();
            import.add("a.yaml", ImportedKind::File, content).unwrap();
            import.finish(&ImportNote { name: "1".to_owned(), origin: origin.to_owned(), made: 0 }).unwrap()
        };
        let (real, _planted) = (import(b"real", "artifact one"), import(b"planted", "artifact two"));
        let vouchers = Vouchers::for_test(1);
        vouchers.add(&store, "artifact one", &real);
        assert_eq!(vouchers.imports(&store), Ok(BTreeMap::from([("artifact one".to_owned(), real)])));
        assert_eq!(Vouchers::for_test(2).imports(&store), Ok(BTreeMap::new()));
        let keyless = Vouchers { key: None, ..vouchers };
        assert_eq!(keyless.imports(&store), Ok(BTreeMap::new()));
    }
}
