//! What a render read: the key under which its result stays valid.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Entry, EntryKind, Files, FilesError, Hash64};

/// A question that a render asked a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Question {
    /// What is at this path? Of a file or symlink the content counts too, of a directory only that it is one.
    Entry,
    /// Which names, of which kinds, does this directory hold?
    Listing,
    /// Everything below this path.
    Subtree,
}

/// Parameters of a render together with everything it read, misses included. A tree that gives the same answers renders
/// to the same manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderInputs {
    parameters: Hash64,
    answers: BTreeMap<(String, Question), Option<Arc<str>>>,
}

impl RenderInputs {
    /// The hash of tool version and parameters.
    pub const fn parameters(&self) -> Hash64 {
        self.parameters
    }

    /// Whether a tree gives every answer that the render got. A tree that can't be read counts as changed.
    pub fn unchanged(&self, files: &dyn Files) -> bool {
        self.answers.iter().all(|((path, question), answer)| {
            let now = match question {
                Question::Entry => files.entry(path).map(|entry| entry_answer(entry.as_ref())),
                Question::Listing => files.list(path).map(|entries| listing_answer(entries.as_deref())),
                Question::Subtree => files.entry(path).map(|entry| subtree_answer(entry.as_ref())),
            };
            now.is_ok_and(|now| now.as_deref() == answer.as_deref())
        })
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether the render read nothing.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// Bytes of memory that this takes, roughly.
    pub fn weight(&self) -> usize {
        const PER_ANSWER: usize = 96;
        self.answers.iter().map(|((path, _), id)| PER_ANSWER + path.len() + id.as_ref().map_or(0, |id| id.len())).sum()
    }
}

fn entry_answer(entry: Option<&Entry>) -> Option<String> {
    entry.map(|entry| match entry.kind {
        EntryKind::File => format!("file {}", entry.id),
        EntryKind::Symlink => format!("symlink {}", entry.id),
        EntryKind::Submodule => format!("submodule {}", entry.id),
        EntryKind::Directory => "directory".to_owned(),
    })
}

fn subtree_answer(entry: Option<&Entry>) -> Option<String> {
    entry.map(|entry| format!("{:?} {}", entry.kind, entry.id))
}

fn listing_answer(entries: Option<&[Entry]>) -> Option<String> {
    entries.map(|entries| {
        let mut text = String::new();
        for entry in entries {
            let _ = writeln!(text, "{:?} {}", entry.kind, entry.name);
        }
        Hash64::of_bytes(text.as_bytes()).to_string()
    })
}

#[derive(Default)]
struct Record {
    answers: BTreeMap<(String, Question), Option<Arc<str>>>,
    /// Entries that a listing showed, so that reading one of them needs no second look-up.
    seen: BTreeMap<String, Entry>,
}

/// A tree that notes what is read from it.
pub struct RecordingFiles<'a> {
    inner: &'a dyn Files,
    record: Mutex<Record>,
}

impl<'a> RecordingFiles<'a> {
    /// Wraps a tree; nothing is noted yet.
    pub fn new(inner: &'a dyn Files) -> Self {
        Self { inner, record: Mutex::default() }
    }

    /// Notes that everything below a path counts, and gives the tree to read it from without noting each file.
    pub fn subtree(&self, path: &str) -> Result<&'a dyn Files, FilesError> {
        let entry = self.inner.entry(path)?;
        self.note(path, Question::Subtree, subtree_answer(entry.as_ref()));
        Ok(self.inner)
    }

    /// What was read so far, under the hash of the parameters.
    pub fn inputs(&self, parameters: Hash64) -> RenderInputs {
        let record = self.lock();
        let subtrees: Vec<&str> = record
            .answers
            .keys()
            .filter(|(_, question)| *question == Question::Subtree)
            .map(|(path, _)| path.as_str())
            .collect();
        let covered = |path: &str| {
            subtrees.iter().any(|root| {
                root.is_empty() || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let answers = record
            .answers
            .iter()
            .filter(|((path, question), _)| *question == Question::Subtree || !covered(path))
            .map(|(question, answer)| (question.clone(), answer.clone()))
            .collect();
        RenderInputs { parameters, answers }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, path: &str, question: Question, answer: Option<String>) {
        self.lock().answers.insert((path.to_owned(), question), answer.map(Arc::from));
    }

    fn look(&self, path: &str) -> Result<Option<Entry>, FilesError> {
        let seen = self.lock().seen.get(path).cloned();
        let entry = match seen {
            Some(entry) => Some(entry),
            None => self.inner.entry(path)?,
        };
        self.note(path, Question::Entry, entry_answer(entry.as_ref()));
        Ok(entry)
    }
}

impl Files for RecordingFiles<'_> {
    fn entry(&self, path: &str) -> Result<Option<Entry>, FilesError> {
        self.look(path)
    }

    fn list(&self, path: &str) -> Result<Option<Vec<Entry>>, FilesError> {
        let entries = self.inner.list(path)?;
        self.note(path, Question::Listing, listing_answer(entries.as_deref()));
        let mut record = self.lock();
        for entry in entries.iter().flatten() {
            record.seen.insert(super::tree::join(path, &entry.name), entry.clone());
        }
        drop(record);
        Ok(entries)
    }

    fn read(&self, path: &str) -> Result<Option<Arc<[u8]>>, FilesError> {
        self.look(path)?;
        self.inner.read(path)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, FilesError> {
        self.look(path)?;
        self.inner.size(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::memory::MemoryFiles;

    fn tree() -> MemoryFiles {
        MemoryFiles::new().file("app/a.yaml", "a").file("app/b.txt", "b").file("lib/x/y", "y").file("other/z", "z")
    }

    #[test]
    fn only_what_was_read_makes_a_render_stale() {
        let files = tree();
        let recording = RecordingFiles::new(&files);
        recording.entry("app").unwrap();
        recording.list("app").unwrap();
        recording.read("app/a.yaml").unwrap();
        recording.entry("app/kustomization.yaml").unwrap();
        recording.subtree("lib").unwrap();
        let inputs = recording.inputs(Hash64(1));
        assert!(inputs.unchanged(&tree()));
        assert!(inputs.unchanged(&tree().file("other/z", "changed").file("new", "n")));
        assert!(inputs.unchanged(&tree().file("app/b.txt", "changed")), "listed, but not read");
        for (what, changed) in [
            ("content of a file that was read", tree().file("app/a.yaml", "changed")),
            ("a new name in a listed directory", tree().file("app/c.yaml", "c")),
            ("a name gone from a listed directory", tree().without("app/b.txt")),
            ("a path that was missing", tree().file("app/kustomization.yaml", "k")),
            ("a file deep in a subtree", tree().file("lib/x/y", "changed")),
            ("a directory that became a file", tree().without("lib/x/y").file("lib", "l")),
        ] {
            assert!(!inputs.unchanged(&changed), "{what}");
        }
    }

    #[test]
    fn answers_inside_a_subtree_are_kept_once() {
        let files = tree();
        let recording = RecordingFiles::new(&files);
        recording.read("lib/x/y").unwrap();
        recording.read("app/a.yaml").unwrap();
        recording.subtree("lib").unwrap();
        assert_eq!(recording.inputs(Hash64(1)).len(), 2);
    }
}
