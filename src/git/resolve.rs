//! From `targetRevision` to a commit. Pure: what to ask, and which answer wins.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::protocol::RemoteRef;
use super::url::RepositoryUrl;

/// What a `targetRevision` means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Empty or `HEAD`: the server's default branch.
    Head,
    /// A commit, by its full id. No need to ask the server for refs.
    Commit(Revision),
    /// A ref by its full name (`refs/…`).
    Exact(String),
    /// A branch, or else a tag.
    Name(String),
}

impl Target {
    /// Reads a `targetRevision`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text == "HEAD" {
            Self::Head
        } else if let Ok(revision) = Revision::parse(text) {
            Self::Commit(revision)
        } else if text.starts_with("refs/") {
            Self::Exact(text.to_owned())
        } else {
            Self::Name(text.to_owned())
        }
    }

    /// The full names that can answer, best first.
    fn candidates(&self) -> Vec<String> {
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Commit(_) => Vec::new(),
            Self::Exact(name) => vec![name.clone()],
            Self::Name(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => formatter.write_str("HEAD"),
            Self::Commit(revision) => revision.fmt(formatter),
            Self::Exact(name) | Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// The prefixes to ask `ls-refs` for so that one answer serves all these targets. Empty when nothing has to be asked:
/// then all targets are commits.
pub fn ref_prefixes<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Vec<String> {
    let all: BTreeSet<String> = targets.into_iter().flat_map(Target::candidates).collect();
    all.into_iter().collect()
}

/// A target and the commit it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub revision: Revision,
    /// The full name of the ref that gave it (what `HEAD` stands for, if the server tells); `None` for a commit id.
    pub reference: Option<String>,
}

/// The commit that a target stands for, by what `ls-refs` answered.
pub fn resolve(target: &Target, refs: &[RemoteRef], url: &RepositoryUrl) -> Result<Resolved, GitError> {
    if let Target::Commit(revision) = target {
        return Ok(Resolved { revision: revision.clone(), reference: None });
    }
    let candidates = target.candidates();
    for name in &candidates {
        if let Some(found) = refs.iter().find(|found| &found.name == name) {
            let revision = found.peeled.clone().unwrap_or_else(|| found.id.clone());
            let reference = Some(found.symref.clone().unwrap_or_else(|| found.name.clone()));
            return Ok(Resolved { revision, reference });
        }
    }
    let message = match target {
        Target::Head | Target::Commit(_) => {
            format!("{url}: HEAD points to no commit: the repository is empty, or its default branch does not exist")
        }
        Target::Exact(name) => format!("{url}: the ref `{name}` does not exist{}", similar(&candidates, refs)),
        Target::Name(name) => {
            let hint = if name.len() >= 7 && name.len() < 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                "; an abbreviated commit id cannot be resolved, write all 40 digits"
            } else {
                ""
            };
            format!("{url}: there is neither a branch nor a tag `{name}`{}{hint}", similar(&candidates, refs))
        }
    };
    Err(GitError::new(Reason::RefNotFound, message))
}

/// Names that begin like the wanted ones: the server lists them anyway.
fn similar(candidates: &[String], refs: &[RemoteRef]) -> String {
    let near: BTreeSet<&str> = refs
        .iter()
        .filter(|found| candidates.iter().any(|candidate| found.name.starts_with(candidate.as_str())))
        .map(|found| found.name.as_str())
        .collect();
    if near.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = near.into_iter().take(5).collect();
    format!("; similar: {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> Revision {
        Revision::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn reference(name: &str, digit: char) -> RemoteRef {
        RemoteRef { name: name.to_owned(), id: id(digit), peeled: None, symref: None }
    }

    fn refs() -> Vec<RemoteRef> {
        vec![
            RemoteRef { symref: Some("refs/heads/main".to_owned()), ..reference("HEAD", '1') },
            reference("refs/heads/main", '1'),
            reference("refs/heads/main-2", '2'),
            reference("refs/heads/both", '3'),
            reference("refs/tags/both", '4'),
            RemoteRef { peeled: Some(id('6')), ..reference("refs/tags/v1", '5') },
            reference("refs/heads/heads/x", '7'),
        ]
    }

    fn answer(text: &str) -> Result<(Revision, Option<String>), String> {
        let url = RepositoryUrl::parse("https://h/x.git").unwrap();
        resolve(&Target::parse(text), &refs(), &url)
            .map(|found| (found.revision, found.reference))
            .map_err(|error| format!("{} {error}", error.reason))
    }

    #[test]
    fn each_form_of_target_revision_finds_its_commit() {
        let full = "ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD";
        for (text, revision, name) in [
            ("", id('1'), Some("refs/heads/main")),
            ("HEAD", id('1'), Some("refs/heads/main")),
            ("main", id('1'), Some("refs/heads/main")),
            ("both", id('3'), Some("refs/heads/both")),
            ("refs/tags/both", id('4'), Some("refs/tags/both")),
            ("v1", id('6'), Some("refs/tags/v1")),
            ("refs/tags/v1", id('6'), Some("refs/tags/v1")),
            ("heads/x", id('7'), Some("refs/heads/heads/x")),
            (full, Revision::parse(full).unwrap(), None),
        ] {
            assert_eq!(answer(text), Ok((revision, name.map(str::to_owned))), "{text}");
        }
    }

    #[test]
    fn a_missing_ref_is_named_with_the_repository_and_what_is_similar() {
        assert_eq!(
            answer("mai"),
            Err("RefNotFound https://h/x: there is neither a branch nor a tag `mai`; similar: refs/heads/main, \
                 refs/heads/main-2"
                .to_owned())
        );
        assert_eq!(
            answer("abcdef1"),
            Err("RefNotFound https://h/x: there is neither a branch nor a tag `abcdef1`; an abbreviated commit id \
                 cannot be resolved, write all 40 digits"
                .to_owned())
        );
        assert_eq!(
            answer("refs/heads/z"),
            Err("RefNotFound https://h/x: the ref `refs/heads/z` does not exist".to_owned())
        );
        let url = RepositoryUrl::parse("https://h/x").unwrap();
        assert!(resolve(&Target::Head, &[], &url).unwrap_err().message.contains("HEAD points to no commit"));
    }

    #[test]
    fn one_list_of_prefixes_serves_many_targets() {
        let targets: Vec<Target> =
            ["", "main", "refs/pull/1/head", "main", &"a".repeat(40)].iter().map(|text| Target::parse(text)).collect();
        assert_eq!(ref_prefixes(&targets), ["HEAD", "refs/heads/main", "refs/pull/1/head", "refs/tags/main"]);
        assert_eq!(ref_prefixes(&targets[4..]), Vec::<String>::new());
    }
}
