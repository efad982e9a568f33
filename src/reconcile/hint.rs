//! What somebody says has changed, against the sources that are tracked. Pure.
//!
//! A hint is never more than a reason to look sooner, so it is matched widely: scheme, user, port and the case of letters
//! make no difference. A hint that matches too much costs a question to the server that would have been asked anyway.

use std::collections::BTreeSet;

use super::location::SourceLocation;
use crate::artifacts::{HelmRepositoryUrl, RegistryReference};
use crate::git::RepositoryUrl;

/// Hosts that are another name of a service for SSH.
const ALIASES: [(&str, &str); 4] = [
    ("ssh.github.com", "github.com"),
    ("altssh.gitlab.com", "gitlab.com"),
    ("altssh.bitbucket.org", "bitbucket.org"),
    ("ssh.dev.azure.com", "dev.azure.com"),
];

/// Repositories of which somebody says that they have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    keys: BTreeSet<String>,
}

impl Hints {
    /// By the texts that a sender gives: URLs of git and Helm repositories, in any spelling; `oci://HOST/NAME`, and
    /// `HOST/NAME:TAG` as registries write it. What can't be read says nothing.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self { keys: texts.into_iter().flat_map(keys_of_text).collect() }
    }

    /// Whether nothing can be about them.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether they are about a source.
    pub fn concern(&self, location: &SourceLocation) -> bool {
        self.keys.contains(&key_of(location))
    }
}

fn key_of(location: &SourceLocation) -> String {
    match location {
        SourceLocation::Git(url) => git_key(url),
        SourceLocation::Helm { url, .. } => helm_key(url),
        SourceLocation::Registry { reference, .. } => registry_key(reference),
    }
}

fn keys_of_text(text: &str) -> Vec<String> {
    let text = text.trim();
    let bare = without_user(text);
    let mut keys = Vec::new();
    if let Ok(url) = RepositoryUrl::parse(&bare) {
        keys.push(git_key(&url));
    }
    if let Ok(url) = HelmRepositoryUrl::parse(&bare) {
        keys.push(helm_key(&url));
    }
    let image = match text.split_once("://") {
        Some((scheme, rest)) => scheme.eq_ignore_ascii_case("oci").then_some(rest),
        None => Some(text),
    };
    if let Some(reference) = image.and_then(registry) {
        keys.push(registry_key(&reference));
    }
    keys
}

/// A URL over HTTP without the user that some senders put before the host.
fn without_user(text: &str) -> String {
    let http = |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    match text.split_once("://").filter(|(scheme, _)| http(scheme)) {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => text.to_owned(),
    }
}

/// `HOST/NAME`, without the tag or digest after it.
fn registry(text: &str) -> Option<RegistryReference> {
    let text = text.split_once('@').map_or(text, |(name, _)| name);
    let last = text.rfind('/')?;
    let end = text[last..].find(':').map_or(text.len(), |colon| last + colon);
    RegistryReference::parse(&format!("oci://{}", &text[..end]), None).ok()
}

fn git_key(url: &RepositoryUrl) -> String {
    let rest = url.as_str().split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host_of(authority);
    let mut path = path.to_ascii_lowercase();
    if host == "dev.azure.com" {
        // The same repository over SSH: `v3/ORGANISATION/PROJECT/NAME`.
        path = path.replacen("/v3/", "/", 1).replacen("/_git/", "/", 1);
    }
    format!("git {host}{path}")
}

fn helm_key(url: &HelmRepositoryUrl) -> String {
    let rest = url.as_str().split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("helm {}{}", host_of(authority), path.to_ascii_lowercase())
}

fn registry_key(reference: &RegistryReference) -> String {
    format!("oci {}/{}", host_of(reference.host()), reference.name().to_ascii_lowercase())
}

/// The host of an authority, without user and port, by the name that people know it by.
fn host_of(authority: &str) -> String {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(host, _)| host),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    ALIASES.iter().find(|(alias, _)| *alias == host).map_or(host, |(_, known)| (*known).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(url: &str) -> SourceLocation {
        RepositoryUrl::parse(url).unwrap().into()
    }

    #[test]
    fn one_repository_is_the_same_in_every_spelling_that_senders_use() {
        let table = [
            ("https://github.com/Org/Shop.git", "git@github.com:org/shop.git"),
            ("https://github.com/org/shop", "ssh://git@ssh.github.com:443/org/shop.git"),
            ("git@gitlab.corp.test:team/sub/shop.git", "https://gitlab.corp.test:8443/team/sub/shop"),
            ("http://gitea.git.svc:3000/a/b.git", "https://GITEA.git.svc/a/b"),
            ("https://bitbucket.org/ws/shop.git", "https://user@bitbucket.org/ws/shop"),
            ("https://dev.azure.com/org/project/_git/shop", "https://org@dev.azure.com/org/project/_git/shop"),
            ("git@ssh.dev.azure.com:v3/org/project/shop", "https://dev.azure.com/org/project/_git/shop"),
        ];
        for (tracked, said) in table {
            assert!(Hints::of([said]).concern(&git(tracked)), "{tracked} {said}");
        }
    }

    #[test]
    fn another_repository_is_not_meant() {
        let tracked = git("https://git.test/team/shop.git");
        for said in [
            "https://git.test/team/shopping.git",
            "https://git.test/team",
            "https://git.test.evil.test/team/shop",
            "https://evil.test/git.test/team/shop",
            "https://git.test/team/shop/x",
            "oci://git.test/team/shop",
            "file:///team/shop",
            "",
            "/",
            ":",
            "https://",
            "https://@/",
            "ä://ö",
        ] {
            assert!(!Hints::of([said]).concern(&tracked), "{said}");
        }
        assert!(Hints::of(["", "nothing"]).is_empty());
    }

    #[test]
    fn artifacts_are_meant_by_the_name_of_their_repository_without_tag_and_digest() {
        let reference = RegistryReference::parse("oci://harbor.test:8443/team/shop", None).unwrap();
        let tracked = SourceLocation::registry(reference);
        for said in [
            "harbor.test/team/shop:1.0.0",
            "harbor.test:8443/team/shop@sha256:00",
            "harbor.test:8443/team/shop:1.0@sha256:00",
            "oci://harbor.test/team/shop",
        ] {
            assert!(Hints::of([said]).concern(&tracked), "{said}");
        }
        assert!(!Hints::of(["harbor.test/team/shop/web:1"]).concern(&tracked));
        let helm = SourceLocation::helm(HelmRepositoryUrl::parse("https://charts.test/stable/").unwrap());
        assert!(Hints::of(["https://charts.test/stable"]).concern(&helm));
    }
}
