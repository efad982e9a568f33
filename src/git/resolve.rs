//! From `targetRevision` to a commit. Pure: what to ask, and which answer wins.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Reason, Revision};

use super::error::GitError;
use super::protocol::RemoteRef;
use super::url::RepositoryUrl;
use super::version::{Constraint, newest, parse_version};

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
    /// A tag with this prefix, or else, unless the name is a version, a branch or tag without it.
    PrefixedName {
        /// What stands in front of the name in the tag.
        prefix: String,
        /// The name.
        name: String,
    },
    /// The tag of the greatest version in a range.
    Range {
        /// Only tags with this prefix count; it is no part of the version.
        prefix: String,
        /// The range.
        range: String,
    },
}

impl Target {
    /// Reads a `targetRevision`.
    pub fn parse(text: &str) -> Self {
        Self::parse_with_prefix(text, "")
    }

    /// Reads a `targetRevision` that is about the tags with a prefix.
    pub fn parse_with_prefix(text: &str, prefix: &str) -> Self {
        let text = text.trim();
        if text.is_empty() || text == "HEAD" {
            Self::Head
        } else if let Ok(revision) = Revision::parse(text) {
            Self::Commit(revision)
        } else if text.starts_with("refs/") {
            Self::Exact(text.to_owned())
        } else if Constraint::parse(text).is_some() {
            Self::Range { prefix: prefix.to_owned(), range: text.to_owned() }
        } else if prefix.is_empty() {
            Self::Name(text.to_owned())
        } else {
            Self::PrefixedName { prefix: prefix.to_owned(), name: text.to_owned() }
        }
    }

    /// The full names that can answer, best first.
    fn candidates(&self) -> Vec<String> {
        let branch_or_tag = |name: &str| vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")];
        match self {
            Self::Head => vec!["HEAD".to_owned()],
            Self::Exact(name) => vec![name.clone()],
            // A branch may be called `1.x`; it counts when no tag lies in the range.
            Self::Name(name) | Self::Range { range: name, .. } if may_be_name(name) => branch_or_tag(name),
            Self::Commit(_) | Self::Name(_) | Self::Range { .. } => Vec::new(),
            Self::PrefixedName { prefix, name } => {
                let mut names = vec![format!("refs/tags/{prefix}{name}")];
                if parse_version(name).is_none() {
                    names.extend(branch_or_tag(name));
                }
                names
            }
        }
    }

    /// What to ask the server for.
    fn prefixes(&self) -> Vec<String> {
        let mut names = self.candidates();
        if let Self::Range { prefix, .. } = self {
            names.retain(|name| !name.starts_with(&format!("{TAGS}{prefix}")));
            names.push(format!("{TAGS}{prefix}"));
        }
        names
    }
}

const TAGS: &str = "refs/tags/";

/// Characters that git allows in no ref.
fn may_be_name(text: &str) -> bool {
    !text.contains([' ', '~', '^', ':', '?', '*', '[', '\\'])
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => formatter.write_str("HEAD"),
            Self::Commit(revision) => revision.fmt(formatter),
            Self::Exact(name) | Self::Name(name) => formatter.write_str(name),
            Self::PrefixedName { prefix, name: text } | Self::Range { prefix, range: text } if prefix.is_empty() => {
                formatter.write_str(text)
            }
            Self::PrefixedName { prefix, name: text } | Self::Range { prefix, range: text } => {
                write!(formatter, "{text} of the tags {prefix}*")
            }
        }
    }
}

/// The prefixes to ask `ls-refs` for so that one answer serves all these targets. Empty when nothing has to be asked:
/// then all targets are commits.
pub fn ref_prefixes<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Vec<String> {
    let all: BTreeSet<String> = targets.into_iter().flat_map(Target::prefixes).collect();
    all.into_iter().collect()
}

/// A target and the commit it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub revision: Revision,
    /// The full name of the ref that gave it (what `HEAD` stands for, if the server tells); `None` for a commit id.
    pub reference: Option<String>,
    /// The tag object between that ref and the commit, for an annotated tag.
    pub tag: Option<Revision>,
}

/// The commit that a target stands for, by what `ls-refs` answered.
pub fn resolve(target: &Target, refs: &[RemoteRef], url: &RepositoryUrl) -> Result<Resolved, GitError> {
    if let Target::Commit(revision) = target {
        return Ok(Resolved { revision: revision.clone(), reference: None, tag: None });
    }
    let best = best_tag(target, refs);
    let candidates = target.candidates();
    for name in best.iter().chain(&candidates) {
        if let Some(found) = refs.iter().find(|found| &found.name == name) {
            let revision = found.peeled.clone().unwrap_or_else(|| found.id.clone());
            let reference = Some(found.symref.clone().unwrap_or_else(|| found.name.clone()));
            let tag = found.peeled.is_some().then(|| found.id.clone());
            return Ok(Resolved { revision, reference, tag });
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
        Target::PrefixedName { prefix, name } => {
            let or =
                if parse_version(name).is_none() { format!(", nor a branch or tag `{name}`") } else { String::new() };
            format!("{url}: there is no tag `{prefix}{name}`{or}{}", similar(&candidates, refs))
        }
        Target::Range { prefix, range } => no_tag_in_range(prefix, range, refs, url),
    };
    Err(GitError::new(Reason::RefNotFound, message))
}

/// The versions of the tags with a prefix.
fn versions<'a>(prefix: &'a str, refs: &'a [RemoteRef]) -> impl Iterator<Item = &'a str> {
    refs.iter().filter_map(move |found| found.name.strip_prefix(TAGS)?.strip_prefix(prefix))
}

/// The full name of the tag that a range stands for.
fn best_tag(target: &Target, refs: &[RemoteRef]) -> Option<String> {
    let Target::Range { prefix, range } = target else { return None };
    let version = Constraint::parse(range)?.best(versions(prefix, refs))?;
    Some(format!("{TAGS}{prefix}{version}"))
}

fn no_tag_in_range(prefix: &str, range: &str, refs: &[RemoteRef], url: &RepositoryUrl) -> String {
    let all = versions(prefix, refs).filter(|name| parse_version(name).is_some());
    let of = if prefix.is_empty() { String::new() } else { format!(" with the prefix `{prefix}`") };
    match newest(versions(prefix, refs)) {
        None => format!("{url}: no tag{of} is a version, so none lies in the range `{range}`"),
        Some(greatest) => format!(
            "{url}: none of the {} version tags{of} lies in the range `{range}`; the greatest is `{prefix}{greatest}`{}",
            all.count(),
            if greatest.contains('-') {
                " (pre-releases count only where the range names one, as in `>=1.0.0-0`)"
            } else {
                ""
            }
        ),
    }
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
        let ranges = [Target::parse("1.x"), Target::parse(">=1, <2"), Target::parse_with_prefix("^1.2", "api/")];
        assert_eq!(ref_prefixes(&ranges[..1]), ["refs/heads/1.x", "refs/tags/"]);
        assert_eq!(ref_prefixes(&ranges[1..2]), ["refs/tags/"]);
        assert_eq!(
            ref_prefixes(&ranges[2..]),
            ["refs/tags/api/"],
            "no tag of another part of the repository is listed"
        );
        let pinned = Target::parse_with_prefix("1.2.3", "api/");
        assert_eq!(ref_prefixes([&pinned]), ["refs/tags/api/1.2.3"]);
    }

    fn tagged(text: &str, prefix: &str) -> Result<Option<String>, String> {
        let names = [
            "refs/heads/1.x",
            "refs/heads/5.x",
            "refs/heads/main",
            "refs/tags/1.4.0",
            "refs/tags/api/v1.2.0",
            "refs/tags/api/v1.3.0-rc.1",
            "refs/tags/api/stable",
            "refs/tags/nightly",
            "refs/tags/v1.10.0",
            "refs/tags/web-9.0.0",
        ];
        let refs: Vec<RemoteRef> = names.iter().map(|name| reference(name, '1')).collect();
        let url = RepositoryUrl::parse("https://h/x").unwrap();
        resolve(&Target::parse_with_prefix(text, prefix), &refs, &url)
            .map(|found| found.reference)
            .map_err(|error| error.message)
    }

    #[test]
    fn a_range_is_the_greatest_tag_in_it_and_a_branch_of_that_name_only_when_there_is_none() {
        for (text, prefix, found) in [
            ("1.x", "", "refs/tags/v1.10.0"),
            ("1.4.*", "", "refs/tags/1.4.0"),
            ("5.x", "", "refs/heads/5.x"),
            ("1.4.0", "", "refs/tags/1.4.0"),
            ("^1", "api/", "refs/tags/api/v1.2.0"),
            (">=1.3.0-0", "api/", "refs/tags/api/v1.3.0-rc.1"),
            ("v1.2.0", "api/", "refs/tags/api/v1.2.0"),
            ("stable", "api/", "refs/tags/api/stable"),
            ("main", "api/", "refs/heads/main"),
            ("*", "web-", "refs/tags/web-9.0.0"),
        ] {
            assert_eq!(tagged(text, prefix), Ok(Some(found.to_owned())), "{text} {prefix}");
        }
    }

    #[test]
    fn a_range_without_a_tag_says_what_there_is() {
        assert_eq!(
            tagged("^2", ""),
            Err("https://h/x: none of the 2 version tags lies in the range `^2`; the greatest is `v1.10.0`".to_owned())
        );
        assert_eq!(
            tagged(">1.2", "api/"),
            Err("https://h/x: none of the 2 version tags with the prefix `api/` lies in the range `>1.2`; the greatest \
                 is `api/v1.3.0-rc.1` (pre-releases count only where the range names one, as in `>=1.0.0-0`)"
                .to_owned())
        );
        assert_eq!(
            tagged("1.x", "none/"),
            Ok(Some("refs/heads/1.x".to_owned())),
            "a branch of that name is still a branch"
        );
        assert_eq!(
            tagged("^1", "none/"),
            Err("https://h/x: no tag with the prefix `none/` is a version, so none lies in the range `^1`".to_owned())
        );
        assert_eq!(tagged("1.4.0", "api/"), Err("https://h/x: there is no tag `api/1.4.0`".to_owned()));
    }
}
