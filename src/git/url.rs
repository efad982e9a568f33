//! Repository URLs in a form that can be compared. Pure.

use std::fmt;

use thiserror::Error;
use url::{Host, Url};

use crate::egress::Destination;
use crate::model::plain_path;

/// The port of SSH.
const SSH_PORT: u16 = 22;

/// Who logs in over SSH where the URL names nobody.
const SSH_USER: &str = "git";

/// A text that is no usable repository URL. The text is not repeated: it may hold a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RepositoryUrlError {
    /// Not a URL.
    #[error("the repository URL cannot be read ({0}); write `https://HOST/PATH` or `ssh://git@HOST/PATH`")]
    Unreadable(String),
    /// A user name or password in the URL.
    #[error(
        "the repository URL holds a user name or password; put them into a Secret with the keys `username` and \
         `password`, and name it in the Repository's credentialsSecretRef"
    )]
    HoldsCredentials,
    /// A password in an SSH URL.
    #[error(
        "the SSH repository URL holds a password; SSH logs in with a key: put it into a Secret with the key \
         `sshPrivateKey`, and name it in the Repository's credentialsSecretRef"
    )]
    HoldsPassword,
    /// Another scheme.
    #[error("the repository URL has the scheme `{0}`; only https, http and ssh are supported")]
    Scheme(String),
    /// A query or fragment.
    #[error("the repository URL has a query or a fragment; write only `https://HOST/PATH`")]
    HasQuery,
    /// No path.
    #[error("the repository URL names no repository; write `https://HOST/PATH` or `ssh://git@HOST/PATH`")]
    NoPath,
    /// A path that a server could take for something else than a repository below it.
    #[error("the path of the repository URL {0}; write the repository's own path")]
    Path(&'static str),
}

/// The URL of a repository. Two are equal when they name the same repository: scheme and host in lower case, no default
/// port, no `.git` and no slash at the end. `git@HOST:PATH` is the same as `ssh://git@HOST/PATH`, and so is
/// `ssh://HOST/PATH`. Requests use the path as it was written.
#[derive(Clone, Debug)]
pub struct RepositoryUrl {
    identity: String,
    base: Url,
    place: Place,
}

/// Where the server is, and for SSH what to ask of it.
#[derive(Clone, Debug)]
struct Place {
    destination: Destination,
    ssh: Option<SshPlace>,
}

/// Who logs in to an SSH server, and for which repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshPlace {
    /// The user name.
    pub user: String,
    /// The path as it is given to `git-upload-pack`: without a slash at its beginning when it was written so
    /// (`git@HOST:PATH`, which servers with home directories look for there).
    pub path: String,
}

impl RepositoryUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, RepositoryUrlError> {
        let (identity, mut base, place) = read(text)?;
        let path = base.path().trim_end_matches('/').to_owned();
        if path.trim_end_matches(".git").trim_matches('/').is_empty() {
            return Err(RepositoryUrlError::NoPath);
        }
        base.set_path(&path);
        Ok(Self { identity, base, place })
    }

    /// The canonical text: what identifies the repository, and what may be shown.
    pub fn as_str(&self) -> &str {
        &self.identity
    }

    /// The ways in which people write this repository, the canonical one first: what patterns may be about.
    pub fn spellings(&self) -> Vec<String> {
        let mut bare = vec![self.identity.clone()];
        if let Some(SshPlace { user, .. }) = &self.place.ssh
            && let Some(rest) =
                self.identity.strip_prefix("ssh://").map(|rest| rest.split_once('@').map_or(rest, |(_, rest)| rest))
        {
            bare.push(format!("ssh://{rest}"));
            if let Some((host, path)) = rest.split_once('/').filter(|(host, _)| !host.contains(':')) {
                bare.push(format!("{user}@{host}:{path}"));
            }
        }
        bare.iter().flat_map(|url| [url.clone(), format!("{url}.git")]).collect()
    }

    /// Host, with the port when it is not the scheme's default.
    pub fn host(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        self.base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The URL that HTTP requests are made from, with the path as it was written. Has the scheme `ssh` where
    /// [`Self::ssh`] is set: no HTTP client takes it.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Where connections go: what egress rules are asked about.
    pub fn destination(&self) -> &Destination {
        &self.place.destination
    }

    /// What an SSH server is asked for; `None` for http and https.
    pub fn ssh(&self) -> Option<&SshPlace> {
        self.place.ssh.as_ref()
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
        read(text).map(|(identity, _, _)| Self(identity))
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

fn read(text: &str) -> Result<(String, Url, Place), RepositoryUrlError> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        // `user@host:path`, as ssh and scp write it. A slash before the colon makes it a path.
        return match split_scp(text) {
            Some((authority, path)) => read_ssh(authority, path, Spelling::Scp),
            None => Err(RepositoryUrlError::Unreadable("it has no scheme".to_owned())),
        };
    };
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "https" | "http" => {}
        "ssh" | "git+ssh" | "ssh+git" => {
            if rest.contains(['?', '#']) {
                return Err(RepositoryUrlError::HasQuery);
            }
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            return read_ssh(authority, path, Spelling::Url);
        }
        other => {
            let name = other.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
            return Err(RepositoryUrlError::Scheme(name));
        }
    }
    // Looked for in the text and not in the parsed URL: a stray `/` or `#` in a password moves the rest elsewhere.
    if rest.contains('@') {
        return Err(RepositoryUrlError::HoldsCredentials);
    }
    if rest.contains(['?', '#']) {
        return Err(RepositoryUrlError::HasQuery);
    }
    // In the text and not in the parsed URL, which takes dot segments and backslashes for what they lead to.
    let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
    let path = plain_path(path).map_err(RepositoryUrlError::Path)?;
    let mut url = Url::parse(&format!("{scheme}://{authority}{path}")).map_err(|error| unreadable(&error))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(RepositoryUrlError::HasQuery);
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
    if host.is_empty() {
        return Err(RepositoryUrlError::Unreadable("it has no host".to_owned()));
    }
    url.set_host(Some(&host)).map_err(|error| unreadable(&error))?;
    let destination = Destination::of_url(&url).map_err(|error| unreadable(&error))?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let identity = format!("{scheme}://{host}{port}{}", without_suffix(url.path()));
    Ok((identity, url, Place { destination, ssh: None }))
}

fn unreadable(error: &dyn fmt::Display) -> RepositoryUrlError {
    RepositoryUrlError::Unreadable(error.to_string())
}

fn without_suffix(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/')
}

/// Splits `user@host:path`; the host may be an IPv6 address in brackets.
fn split_scp(text: &str) -> Option<(&str, &str)> {
    let host_start = text.find('@').map_or(0, |at| at + 1);
    let bracket = text[host_start..].strip_prefix('[').and_then(|rest| rest.find(']'));
    let search_from = bracket.map_or(0, |at| host_start + 1 + at);
    let colon = search_from + text[search_from..].find(':')?;
    let (authority, path) = (&text[..colon], &text[colon + 1..]);
    (!authority.is_empty() && !authority.contains('/') && !path.is_empty()).then_some((authority, path))
}

/// How an SSH URL is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// `ssh://user@host:port/path`, percent-encoded. `path` comes without its first slash.
    Url,
    /// `user@host:path`, taken literally.
    Scp,
}

fn read_ssh(authority: &str, path: &str, spelling: Spelling) -> Result<(String, Url, Place), RepositoryUrlError> {
    // In either spelling a password could only stand between a colon and the last `@`.
    let (user, server) = match authority.rsplit_once('@') {
        Some((user, server)) => (Some(user), server),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err(RepositoryUrlError::HoldsPassword);
    }
    // `git:secret@host/path`, and passwords with a slash in them.
    let colon = spelling == Spelling::Scp || server.contains(':');
    if colon && user.is_none() && path.contains('@') {
        return Err(RepositoryUrlError::HoldsPassword);
    }
    let (host, port) = match spelling {
        Spelling::Scp => (server, None),
        Spelling::Url => match server.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port).filter(|port| !port.is_empty())),
            _ => (server, None),
        },
    };
    if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
        let mixed = "what follows the host's colon is no port; write `ssh://git@HOST/PATH` or `git@HOST:PATH`";
        return Err(RepositoryUrlError::Unreadable(mixed.to_owned()));
    }
    let port = match port {
        None => SSH_PORT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| RepositoryUrlError::Unreadable("the port is not between 1 and 65535".to_owned()))?,
    };
    let host = Host::parse(host.trim_end_matches('.')).map_err(|error| unreadable(&error))?.to_string();
    let decode = |text: &str| match spelling {
        Spelling::Scp => Ok(text.to_owned()),
        Spelling::Url => percent_decoded(text),
    };
    let user = user.filter(|user| !user.is_empty()).map_or_else(|| Ok(SSH_USER.to_owned()), decode)?;
    let path = decode(path)?;
    if user.chars().chain(path.chars()).any(char::is_control) {
        return Err(RepositoryUrlError::Path("holds a control character"));
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(RepositoryUrlError::Path("has the segment `.` or `..`"));
    }
    if path.trim_end_matches('/').contains("//") {
        return Err(RepositoryUrlError::Path("has two slashes in a row"));
    }
    if path.starts_with('-') {
        return Err(RepositoryUrlError::Path("begins with `-`, which servers take for an option"));
    }
    let mut base = Url::parse("ssh://host/").map_err(|error| unreadable(&error))?;
    base.set_host(Some(&host)).map_err(|error| unreadable(&error))?;
    // These fail for URLs without a host only.
    let _ = base.set_port(Some(port).filter(|port| *port != SSH_PORT));
    let _ = base.set_username(&user);
    base.set_path(&path.trim_start_matches('/').replace('%', "%25").replace('?', "%3F").replace('#', "%23"));
    let identity = without_suffix(base.as_str()).to_owned();
    // Home directories are written `~user/…`, after a slash in the form with a scheme.
    let absolute = spelling == Spelling::Url && !path.starts_with('~');
    let path = path.trim_end_matches('/');
    let path = if absolute { format!("/{path}") } else { path.to_owned() };
    let destination = Destination::tcp(&host, port);
    Ok((identity, base, Place { destination, ssh: Some(SshPlace { user, path }) }))
}

fn percent_decoded(text: &str) -> Result<String, RepositoryUrlError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are at most 255.
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(u8::MAX));
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_err(|_| RepositoryUrlError::Path("is not UTF-8 when decoded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_a_repository_are_all_that_people_write() {
        let spellings = |text: &str| RepositoryUrl::parse(text).unwrap().spellings();
        assert_eq!(
            spellings("https://GIT.corp.test:443/a.git"),
            ["https://git.corp.test/a", "https://git.corp.test/a.git"]
        );
        let ssh = [
            "ssh://git@git.corp.test/team/a",
            "ssh://git@git.corp.test/team/a.git",
            "ssh://git.corp.test/team/a",
            "ssh://git.corp.test/team/a.git",
            "git@git.corp.test:team/a",
            "git@git.corp.test:team/a.git",
        ];
        assert_eq!(spellings("git@git.corp.test:team/a.git"), ssh);
        assert_eq!(spellings("ssh://git.corp.test:22/team/a"), ssh);
        assert_eq!(spellings("ssh://git.corp.test:2222/a").len(), 4, "the short form has no port");
    }

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
            ("ssh://git:canary@h/x", E::HoldsPassword),
            ("ssh://git:can/ary@h/x", E::HoldsPassword),
            ("ssh://git:1/canary@h/x", E::HoldsPassword),
            ("git:canary@h/x", E::HoldsPassword),
            ("git:canary@h:x", E::HoldsPassword),
            ("ssh://git@h/team/../x", E::Path("has the segment `.` or `..`")),
            ("ssh://git@h/team/%2e%2E/x", E::Path("has the segment `.` or `..`")),
            ("git@h:../x", E::Path("has the segment `.` or `..`")),
            ("git@h:-x", E::Path("begins with `-`, which servers take for an option")),
            ("ssh://git@h/x%00y", E::Path("holds a control character")),
            ("ssh://git@h/%ff", E::Path("is not UTF-8 when decoded")),
            ("ssh://git@h/x?canary", E::HasQuery),
            ("ssh://git@h", E::NoPath),
            ("ssh://git@h/.git", E::NoPath),
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
    fn an_ssh_repository_is_one_however_it_is_written() {
        let shop = "ssh://git@git.corp.test/team/shop";
        for (text, identity, user, path, destination) in [
            ("ssh://git@git.corp.test/team/shop.git", shop, "git", "/team/shop.git", "git.corp.test:22"),
            ("SSH://Git.Corp.Test:22/team/shop/", shop, "git", "/team/shop", "git.corp.test:22"),
            ("git+ssh://git@git.corp.test./team/shop", shop, "git", "/team/shop", "git.corp.test:22"),
            ("git@git.corp.test:team/shop.git", shop, "git", "team/shop.git", "git.corp.test:22"),
            ("git.corp.test:/team/shop.git", shop, "git", "/team/shop.git", "git.corp.test:22"),
            (
                "ssh://ssh.github.com:443/o/r.git",
                "ssh://git@ssh.github.com:443/o/r",
                "git",
                "/o/r.git",
                "ssh.github.com:443",
            ),
            ("APKA1@h:v1/repos/x", "ssh://APKA1@h/v1/repos/x", "APKA1", "v1/repos/x", "h:22"),
            ("ssh://us%40er@h/a%20b%25", "ssh://us%40er@h/a%20b%25", "us@er", "/a b%", "h:22"),
            ("git@h:a b%", "ssh://git@h/a%20b%25", "git", "a b%", "h:22"),
            ("ssh://git@[FD00::1]:2222/x", "ssh://git@[fd00::1]:2222/x", "git", "/x", "[fd00::1]:2222"),
            ("git@[fd00::1]:x", "ssh://git@[fd00::1]/x", "git", "x", "[fd00::1]:22"),
            ("ssh://h/~ann/x", "ssh://git@h/~ann/x", "git", "~ann/x", "h:22"),
        ] {
            let url = RepositoryUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let ssh = url.ssh().unwrap();
            assert_eq!(
                (url.as_str(), ssh.user.as_str(), ssh.path.as_str(), url.destination().to_string().as_str()),
                (identity, user, path, destination),
                "{text}"
            );
            assert_eq!(url.destination().protocol, crate::egress::Protocol::Tcp);
            assert_eq!(url, RepositoryUrl::parse(identity).unwrap(), "{text}");
        }
        let https = RepositoryUrl::parse("https://h/x").unwrap();
        assert_eq!((https.ssh(), https.destination().to_string()), (None, "h:443".to_owned()));
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
        assert!(covers("git@h:team", "ssh://h/team/shop"));
        assert!(covers("ssh://git@h", "git@h:team/shop.git"));
        assert!(!covers("ssh://h", "ssh://ann@h/team"));
        assert!(!covers("ssh://h", "ssh://h:2222/team"));
        assert!(!covers("https://h", "ssh://h/team"));
    }
}
