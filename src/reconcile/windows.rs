//! The sync windows of each project, read once for each of its generations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt as _;
use tracing::warn;

use crate::api::{AppProject, SyncWindow};
use crate::windows::SyncWindows;

/// What was read of each project.
#[derive(Default)]
pub(super) struct WindowCache {
    projects: Mutex<BTreeMap<String, Read>>,
}

/// The windows of a project as they were stated, and as they were read.
type Read = (Vec<SyncWindow>, Arc<SyncWindows>);

impl WindowCache {
    /// The windows of a project.
    pub(super) fn of(&self, project: &AppProject) -> Arc<SyncWindows> {
        let name = project.name_any();
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, windows)) = projects.get(&name).filter(|(read, _)| *read == project.spec.sync_windows) {
            return Arc::clone(windows);
        }
        let windows = Arc::new(SyncWindows::new(&name, &project.spec.sync_windows));
        for problem in windows.problems() {
            warn!(project = %name, %problem, "a sync window can't be used as it stands");
        }
        projects.insert(name, (project.spec.sync_windows.clone(), Arc::clone(&windows)));
        windows
    }
}
