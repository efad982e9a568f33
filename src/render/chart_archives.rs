//! Charts that other charts depend on and that do not lie beside them: a render says which it lacks, and is given their
//! archives when it is run again. Nothing is fetched here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A chart that another one depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChartDependency {
    /// Where it comes from, as the chart states it: `https://…`, `http://…` or `oci://…`.
    pub repository: String,
    /// Its name.
    pub name: String,
    /// Its version by `Chart.lock`; the range that the chart states where there is no lock.
    pub version: String,
    /// The file that names it, from the root of the tree.
    pub file: String,
}

/// An archive (`tgz`) with the version of the chart in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartArchive {
    /// Version.
    pub version: String,
    /// The archive.
    pub bytes: Arc<[u8]>,
}

/// The archives that are there, and what was asked for in vain. Clones share what was asked for.
#[derive(Clone, Debug, Default)]
pub struct ChartArchives {
    archives: BTreeMap<ChartDependency, ChartArchive>,
    lacking: Arc<Mutex<BTreeSet<ChartDependency>>>,
}

impl ChartArchives {
    /// Brings an archive.
    pub fn insert(&mut self, dependency: ChartDependency, archive: ChartArchive) {
        self.archives.insert(dependency, archive);
    }

    /// The archive of a dependency; takes note when it is not there.
    pub(super) fn find(&self, dependency: &ChartDependency) -> Option<&ChartArchive> {
        let found = self.archives.get(dependency);
        if found.is_none() {
            self.lacking.lock().unwrap_or_else(PoisonError::into_inner).insert(dependency.clone());
        }
        found
    }

    /// What was asked for in vain since the last call.
    pub fn take_lacking(&self) -> BTreeSet<ChartDependency> {
        std::mem::take(&mut self.lacking.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
