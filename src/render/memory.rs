//! A tree of files in memory, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Entry, EntryKind, Files, FilesError, Hash64};

/// Files by path; directories follow from them.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryFiles {
    files: BTreeMap<String, (EntryKind, Arc<[u8]>)>,
}

impl MemoryFiles {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn file(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.to_owned(), (EntryKind::File, Arc::from(content.as_ref())));
        self
    }

    pub(super) fn link(mut self, path: &str, target: &str) -> Self {
        self.files.insert(path.to_owned(), (EntryKind::Symlink, Arc::from(target.as_bytes())));
        self
    }

    pub(super) fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }
}

impl Files for MemoryFiles {
    fn entry(&self, path: &str) -> Result<Option<Entry>, FilesError> {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        if let Some((kind, content)) = self.files.get(path) {
            return Ok(Some(Entry { name, kind: *kind, id: Hash64::of_bytes(content).to_string() }));
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let below: Vec<String> = self
            .files
            .iter()
            .filter(|(file, _)| file.starts_with(&prefix))
            .map(|(file, (kind, content))| format!("{file} {kind:?} {}", Hash64::of_bytes(content)))
            .collect();
        if below.is_empty() && !path.is_empty() {
            return Ok(None);
        }
        let id = Hash64::of_bytes(below.join("\n").as_bytes()).to_string();
        Ok(Some(Entry { name, kind: EntryKind::Directory, id }))
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FilesError> {
        if self.entry(path)?.is_none_or(|entry| entry.kind != EntryKind::Directory) {
            return Ok(None);
        }
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let names: BTreeSet<&str> =
            self.files.keys().filter_map(|file| file.strip_prefix(&prefix)?.split('/').next()).collect();
        names.into_iter().map(|name| self.entry(&format!("{prefix}{name}"))).collect::<Result<_, _>>()
    }

    fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError> {
        Ok(self.files.get(path).map(|(_, content)| content.clone()))
    }

    fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        Ok(self.files.get(path).and_then(|(_, content)| u64::try_from(content.len()).ok()))
    }
}
