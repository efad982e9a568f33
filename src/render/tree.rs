//! Paths inside a tree of files. Symlinks are followed only here, step by step, and never out of the tree.

use crate::model::{Entry, EntryKind, Files, Reason};

use super::RenderError;

/// As many symlinks as the Linux kernel follows in one path.
const MOST_LINKS: usize = 40;

/// A path with every symlink resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// The real path from the root.
    pub(super) path: String,
    /// What is there: a file, a directory or a submodule.
    pub(super) entry: Entry,
    /// The symlinks on the way: real path and target of each.
    pub(super) links: Vec<(String, String)>,
}

/// `directory/name`, where the root directory is empty.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The directory of a path; empty for the root.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// Finds what `path` means when it is read from the directory `base` (a real path). `None` when there is nothing.
pub(super) fn locate(files: &dyn Files, base: &str, path: &str) -> Result<Option<Located>, RenderError> {
    let mut ahead: Vec<String> = base.split('/').chain(path.split('/')).rev().map(str::to_owned).collect();
    let mut real: Vec<String> = Vec::new();
    let mut links: Vec<(String, String)> = Vec::new();
    let escape = |links: &[(String, String)]| {
        if let Some((link, target)) = links.last() {
            let message = format!("the symlink points to `{target}`, outside of the repository");
            return RenderError::in_file(Reason::PathEscape, link, message);
        }
        RenderError::in_file(Reason::PathEscape, base, format!("the path `{path}` leaves the repository"))
    };
    while let Some(name) = ahead.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => {
                if real.pop().is_none() {
                    return Err(escape(&links));
                }
                continue;
            }
            _ => {}
        }
        real.push(name);
        let here = real.join("/");
        let Some(entry) = files.entry(&here)? else { return Ok(None) };
        match entry.kind {
            EntryKind::Directory => {}
            EntryKind::File => {
                if ahead.iter().any(|rest| !matches!(rest.as_str(), "" | ".")) {
                    return Ok(None);
                }
                return Ok(Some(Located { path: here, entry, links }));
            }
            EntryKind::Submodule => return Ok(Some(Located { path: here, entry, links })),
            EntryKind::Symlink => {
                let target = files.read(&here)?.unwrap_or_default();
                let target = String::from_utf8(target.to_vec()).map_err(|_| {
                    RenderError::in_file(Reason::PathEscape, &here, "the target of the symlink is not valid UTF-8")
                })?;
                links.push((here, target.clone()));
                if target.starts_with('/') {
                    return Err(escape(&links));
                }
                if links.len() > MOST_LINKS {
                    let (link, _) = &links[0];
                    let message = format!("more than {MOST_LINKS} symlinks in one path: they go round in a circle");
                    return Err(RenderError::in_file(Reason::PathNotFound, link, message));
                }
                real.pop();
                ahead.extend(target.split('/').rev().map(str::to_owned));
            }
        }
    }
    let path = real.join("/");
    Ok(files.entry(&path)?.map(|entry| Located { path, entry, links }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::memory::MemoryFiles;

    fn find(path: &str) -> Result<Option<String>, (Reason, String)> {
        let files = MemoryFiles::new()
            .file("a/b/c.yaml", "x")
            .file("top.yaml", "x")
            .link("a/up", "../top.yaml")
            .link("a/dir", "b")
            .link("a/out", "../../etc/passwd")
            .link("a/abs", "/etc/passwd")
            .link("loop", "loop")
            .link("far", "a/dir/../../top.yaml");
        match locate(&files, "a", path) {
            Ok(found) => Ok(found.map(|located| located.path)),
            Err(error) => Err((error.reason, error.file)),
        }
    }

    #[test]
    fn paths_are_resolved_through_symlinks_but_never_out_of_the_tree() {
        assert_eq!(find("b/c.yaml"), Ok(Some("a/b/c.yaml".to_owned())));
        assert_eq!(find("./b//."), Ok(Some("a/b".to_owned())));
        assert_eq!(find(".."), Ok(Some(String::new())));
        assert_eq!(find("up"), Ok(Some("top.yaml".to_owned())));
        assert_eq!(find("dir/c.yaml"), Ok(Some("a/b/c.yaml".to_owned())));
        assert_eq!(find("../far"), Ok(Some("top.yaml".to_owned())));
        assert_eq!(find("b/c.yaml/d"), Ok(None));
        assert_eq!(find("nothing"), Ok(None));
        assert_eq!(find("out"), Err((Reason::PathEscape, "a/out".to_owned())));
        assert_eq!(find("abs"), Err((Reason::PathEscape, "a/abs".to_owned())));
        assert_eq!(find("../.."), Err((Reason::PathEscape, "a".to_owned())));
        assert_eq!(find("../loop"), Err((Reason::PathNotFound, "loop".to_owned())));
    }
}
