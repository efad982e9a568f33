//! Repository URLs in a form that can be compared. Pure.

use std::fmt;

use thiserror::Error;
use url::Url;

/// A text that is no usable repository URL. The text is not repeated: it may hold a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RepositoryUrlError {
    /// Not a URL.
    #[error("the repository URL cannot be read ({0}); write `https://HOST/PATH`")]
    Unreadable(String),
    /// A user name or password in the URL.
    #[error(
        "the repository URL holds a user name or password; put them into a Secret with the keys `username` and \
         `password`, and name it in the Repository's credentialsSecretRef"
    )]
    HoldsCredentials,
    /// SSH, in either spelling.
    #[error("SSH repository URLs are not supported; write the https form, such as `https://HOST/PATH`")]
    Ssh,
    /// Another scheme.
    #[error("the repository URL has the scheme `{0}`; only https and http are supported")]
    Scheme(String),
    /// A query or fragment.
    #[error("the repository URL has a query or a fragment; write only `https://HOST/PATH`")]
    HasQuery,
    /// No path.
    #[error("the repository URL names no repository; write `https://HOST/PATH`")]
    NoPath,
}

/// The URL of a repository. Two are equal when they name the same repository: scheme and host in lower case, no default
/// port, no `.git` and no slash at the end. Requests use the path as it was written.
#[derive(Clone, Debug)]
pub struct RepositoryUrl {
    identity: String,
    base: Url,
}

impl RepositoryUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, RepositoryUrlError> {
        let (identity, mut base) = read(text)?;
        let path = base.path().trim_end_matches('/').to_owned();
        if path.trim_end_matches(".git").trim_matches('/').is_empty() {
            return Err(RepositoryUrlError::NoPath);
        }
        base.set_path(&path);
        Ok(Self { identity, base })
    }

    /// The canonical text: what identifies the repository, and what may be shown.
    pub fn as_str(&self) -> &str {
        &self.identity
    }

    /// Host, with the port when it is not the scheme's default.
    pub fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The URL that requests are made from, with the path as it was written.
    pub fn base(&self) -> &Url {
        &self.base
    }
}

impl PartialEq for RepositoryUrl {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for RepositoryUrl {}

impl PartialOrd for RepositoryUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RepositoryUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.identity.cmp(&other.identity)
    }
}

impl std::hash::Hash for RepositoryUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.identity)
    }
}

/// A URL prefix that covers many repositories (`urlPrefix`). Covers whole path segments: `https://host/team` covers
/// `https://host/team/shop` and not `https://host/teamster`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UrlPrefix(String);

impl UrlPrefix {
    /// Reads a prefix; a host without a path covers all its repositories.
    pub fn parse(text: &str) -> Result<Self, RepositoryUrlError> {
        read(text).map(|(identity, _)| Self(identity))
    }

    /// Whether the repository is covered.
    pub fn covers(&self, url: &RepositoryUrl) -> bool {
        url.identity.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The canonical text. Of two prefixes that cover a repository the longer is the narrower.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UrlPrefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn read(text: &str) -> Result<(String, Url), RepositoryUrlError> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        // `user@host:path`, as ssh and scp write it.
        let scp = text.split_once(':').is_some_and(|(host, path)| !host.contains('/') && !path.is_empty());
        return Err(if scp {
            RepositoryUrlError::Ssh
        } else {
            RepositoryUrlError::Unreadable("it has no scheme".to_owned())
        });
    };
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "https" | "http" => {}
        "ssh" | "git+ssh" | "ssh+git" => return Err(RepositoryUrlError::Ssh),
        other => {
            let name = other.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
            return Err(RepositoryUrlError::Scheme(name));
        }
    }
    // Looked for in the text and not in the parsed URL: a stray `/` or `#` in a password moves the rest elsewhere.
    if rest.contains('@') {
        return Err(RepositoryUrlError::HoldsCredentials);
    }
    let mut url = Url::parse(text).map_err(|error| RepositoryUrlError::Unreadable(error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(RepositoryUrlError::HasQuery);
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
    if host.is_empty() {
        return Err(RepositoryUrlError::Unreadable("it has no host".to_owned()));
    }
    url.set_host(Some(&host)).map_err(|error| RepositoryUrlError::Unreadable(error.to_string()))?;
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Ok((format!("{scheme}://{host}{port}{path}"), url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_repository_are_equal_and_requests_keep_the_path() {
        for (text, identity, path) in [
            ("https://git.corp.test/team/shop", "https://git.corp.test/team/shop", "/team/shop"),
            ("HTTPS://Git.Corp.Test:443/team/shop.git", "https://git.corp.test/team/shop", "/team/shop.git"),
            ("https://git.corp.test./team/shop.git//", "https://git.corp.test/team/shop", "/team/shop.git"),
            (" http://git.corp.test:80/team/shop/ ", "http://git.corp.test/team/shop", "/team/shop"),
            ("https://git.corp.test:8443/Team/Shop", "https://git.corp.test:8443/Team/Shop", "/Team/Shop"),
            ("https://[FD00::1]:8443/x", "https://[fd00::1]:8443/x", "/x"),
            ("https://h/a%20b", "https://h/a%20b", "/a%20b"),
        ] {
            let url = RepositoryUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.base().path()), (identity, path), "{text}");
            assert_eq!(url, RepositoryUrl::parse(identity).unwrap());
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_it() {
        use RepositoryUrlError as E;
        for (text, expected) in [
            ("https://user:canary@h/x", E::HoldsCredentials),
            ("https://canary@h/x", E::HoldsCredentials),
            ("https://u:can/ary@h/x", E::HoldsCredentials),
            ("https://u:can#ary@h/x", E::HoldsCredentials),
            ("git@github.com:team/shop.git", E::Ssh),
            ("github.com:team/shop.git", E::Ssh),
            ("ssh://git@h/x", E::Ssh),
            ("git://h/x", E::Scheme("git".to_owned())),
            ("file:///etc", E::Scheme("file".to_owned())),
            ("https://h", E::NoPath),
            ("https://h/.git", E::NoPath),
            ("https://h/x?token=canary", E::HasQuery),
            ("h/x", E::Unreadable("it has no scheme".to_owned())),
        ] {
            let error = RepositoryUrl::parse(text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
        assert!(matches!(RepositoryUrl::parse("https:///x y:z/"), Err(E::Unreadable(_))));
    }

    #[test]
    fn a_prefix_covers_whole_segments_of_the_same_host() {
        let covers =
            |prefix: &str, url: &str| UrlPrefix::parse(prefix).unwrap().covers(&RepositoryUrl::parse(url).unwrap());
        assert!(covers("https://h/team", "https://h/team/shop.git"));
        assert!(covers("https://H/team/", "https://h/team"));
        assert!(covers("https://h", "https://h/x"));
        assert!(!covers("https://h/team", "https://h/teamster/x"));
        assert!(!covers("https://h/team", "http://h/team/x"));
        assert!(!covers("https://h", "https://h.evil.test/x"));
        assert!(!covers("https://h", "https://h:8443/x"));
    }
}
