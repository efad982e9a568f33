//! Helm repositories and registries by URL, in a form that can be compared. Pure.

use std::fmt;

use thiserror::Error;
use url::Url;

use crate::model::plain_path;

/// A text that is no URL of a Helm repository or of a registry. The text is not repeated: it may hold a password.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LocationError {
    /// Not a URL.
    #[error(
        "it can't be read ({0}); write `https://HOST/PATH` for a Helm repository, `oci://HOST/PATH` for a registry"
    )]
    Unreadable(String),
    /// A user name or password in the URL.
    #[error(
        "it holds a user name or password; put them into a Secret with the keys `username` and `password`, and name it in \
         the Repository's credentialsSecretRef"
    )]
    HoldsCredentials,
    /// A query or fragment.
    #[error("it has a query or a fragment; write only `https://HOST/PATH` or `oci://HOST/PATH`")]
    HasQuery,
    /// A scheme that charts can't come from.
    #[error("it has the scheme `{0}`; charts come from `https://`, `http://` and `oci://`")]
    Scheme(String),
    /// A name that no repository of a registry can have.
    #[error(
        "`{0}` is no name of a repository in a registry: it consists of small letters, digits, `.`, `_` and `-`, in parts \
         separated by `/`"
    )]
    Name(String),
    /// A tag or digest in the URL.
    #[error("it names a tag or digest; put that into targetRevision")]
    HoldsReference,
}

/// The URL of a Helm repository. Two are equal when scheme, host, port and path are, whatever the spelling.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HelmRepositoryUrl {
    base: Url,
    identity: String,
}

impl HelmRepositoryUrl {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let (scheme, mut base) = read(text)?;
        if scheme == "oci" {
            return Err(LocationError::Scheme(scheme));
        }
        // A file of the repository is joined to the path, which must end with a slash for that.
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&format!("{path}/"));
        let identity = base.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base, identity })
    }

    /// The URL that the files of the repository are relative to; ends with `/`.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.identity
    }

    /// Host, with the port when it is not the scheme's default.
    pub fn host(&self) -> String {
        host_of(&self.base)
    }
}

impl fmt::Display for HelmRepositoryUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A repository in a registry: `oci://HOST/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryReference {
    host: String,
    name: String,
}

impl RegistryReference {
    /// Reads `oci://HOST/NAME`; with `chart` the name goes on with it.
    pub fn parse(text: &str, chart: Option<&str>) -> Result<Self, LocationError> {
        let (scheme, base) = read(text)?;
        if scheme != "oci" {
            return Err(LocationError::Scheme(scheme));
        }
        let mut name = base.path().trim_matches('/').to_owned();
        if name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            return Err(LocationError::HoldsReference);
        }
        if let Some(chart) = chart.filter(|chart| !chart.is_empty()) {
            name = if name.is_empty() { chart.to_owned() } else { format!("{name}/{chart}") };
        }
        if !is_name(&name) {
            return Err(LocationError::Name(name.chars().take(128).collect()));
        }
        Ok(Self { host: host_of(&base), name })
    }

    /// The registry, with its port when one is given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository within the registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last part of the name.
    pub fn last_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// Where the API of the registry is; ends with `/v2/`.
    pub fn base(&self, plain_http: bool) -> Result<Url, LocationError> {
        let scheme = if plain_http { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{}/v2/", self.host))
            .map_err(|error| LocationError::Unreadable(error.to_string()))
    }
}

impl fmt::Display for RegistryReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "oci://{}/{}", self.host, self.name)
    }
}

/// Whether a URL prefix of a Repository covers a location, by whole segments of the path; with its weight: the longer, the
/// narrower. `None` when it does not, and when it is no prefix for charts.
pub fn covers(prefix: &str, location: &str) -> Option<usize> {
    let (scheme, base) = read(prefix).ok()?;
    let prefix = format!("{scheme}://{}{}", host_of(&base), base.path().trim_end_matches('/'));
    let rest = location.strip_prefix(&prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let inner = |byte: u8| edge(byte) || matches!(byte, b'.' | b'_' | b'-');
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(edge)
            && bytes.last().copied().is_some_and(edge)
            && bytes.iter().copied().all(inner)
    };
    name.len() <= 255 && name.split('/').all(part)
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The scheme, and the URL with `https` in place of `oci`, so that both are read alike.
fn read(text: &str) -> Result<(String, Url), LocationError> {
    let text = text.trim();
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| LocationError::Unreadable("it has no scheme".to_owned()))?;
    let scheme = scheme.to_ascii_lowercase();
    let spoken = match scheme.as_str() {
        "https" | "oci" => "https",
        "http" => "http",
        other => {
            return Err(LocationError::Scheme(other.chars().filter(char::is_ascii_alphanumeric).take(20).collect()));
        }
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@')
        || rest.split_once('@').is_some_and(|(before, _)| before.contains(':') && scheme != "oci")
    {
        return Err(LocationError::HoldsCredentials);
    }
    if rest.contains(['?', '#']) {
        return Err(LocationError::HasQuery);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
    let path = plain_path(path).map_err(|problem| LocationError::Unreadable(format!("its path {problem}")))?;
    let mut url = Url::parse(&format!("{spoken}://{authority}{path}"))
        .map_err(|error| LocationError::Unreadable(error.to_string()))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(LocationError::HasQuery);
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
    if host.is_empty() {
        return Err(LocationError::Unreadable("it has no host".to_owned()));
    }
    url.set_host(Some(&host)).map_err(|error| LocationError::Unreadable(error.to_string()))?;
    Ok((scheme, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_helm_repository_are_equal_and_files_are_joined_to_its_path() {
        for (text, identity, base) in [
            ("https://Charts.Corp.test", "https://charts.corp.test", "https://charts.corp.test/"),
            (
                "HTTPS://charts.corp.test:443/stable//",
                "https://charts.corp.test/stable",
                "https://charts.corp.test/stable/",
            ),
            ("http://h:8080/a/b", "http://h:8080/a/b", "http://h:8080/a/b/"),
        ] {
            let url = HelmRepositoryUrl::parse(text).unwrap();
            assert_eq!((url.as_str(), url.base().as_str()), (identity, base), "{text}");
        }
    }

    #[test]
    fn a_registry_reference_takes_the_chart_as_the_end_of_its_name() {
        let read = |text: &str, chart| RegistryReference::parse(text, chart).map(|found| found.to_string());
        assert_eq!(
            read("oci://Reg.corp.test:5000/team/", Some("shop")),
            Ok("oci://reg.corp.test:5000/team/shop".into())
        );
        assert_eq!(read("oci://reg.corp.test", Some("shop")), Ok("oci://reg.corp.test/shop".into()));
        assert_eq!(read("oci://reg.corp.test/team/shop", None), Ok("oci://reg.corp.test/team/shop".into()));
        let reference = RegistryReference::parse("oci://reg:5000/a/b", None).unwrap();
        assert_eq!(reference.base(true).unwrap().as_str(), "http://reg:5000/v2/");
        assert_eq!(reference.base(false).unwrap().as_str(), "https://reg:5000/v2/");
        assert_eq!(reference.last_name(), "b");
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_repeating_a_password() {
        use LocationError as E;
        for (text, expected) in [
            ("oci://h/a:1.0", E::HoldsReference),
            ("oci://h/a@sha256:00", E::HoldsReference),
            ("oci://h/Team/a", E::Name("Team/a".into())),
            ("oci://h/", E::Name(String::new())),
            ("oci://h/a..", E::Name("a..".into())),
            ("oci://u:canary@h/a", E::HoldsCredentials),
            ("https://h/a", E::Scheme("https".into())),
            ("ssh://h/a", E::Scheme("ssh".into())),
            ("h/a", E::Unreadable("it has no scheme".into())),
        ] {
            let error = RegistryReference::parse(text, None).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("canary"));
        }
        assert_eq!(HelmRepositoryUrl::parse("https://u:can/ary@h/a"), Err(E::HoldsCredentials));
        assert_eq!(HelmRepositoryUrl::parse("https://h/a?token=canary"), Err(E::HasQuery));
        assert_eq!(HelmRepositoryUrl::parse("oci://h/a"), Err(E::Scheme("oci".into())));
    }

    #[test]
    fn a_prefix_covers_whole_segments_of_the_same_scheme_and_host() {
        assert_eq!(covers("oci://REG/team/", "oci://reg/team/shop"), Some("oci://reg/team".len()));
        assert_eq!(covers("oci://reg", "oci://reg/team/shop"), Some("oci://reg".len()));
        assert_eq!(covers("oci://reg/tea", "oci://reg/team/shop"), None);
        assert_eq!(covers("https://reg/team", "oci://reg/team/shop"), None);
        assert_eq!(covers("https://charts", "https://charts"), Some("https://charts".len()));
        assert_eq!(covers("git@h:x", "https://h/x"), None);
    }
}
