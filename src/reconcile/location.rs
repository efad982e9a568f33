//! Where a source lies and what is wanted of it: a git repository, a Helm repository, or a repository of a registry. Pure.

use std::fmt;

use thiserror::Error;
use url::Url;

use crate::api::{ApplicationSource, RepositorySpec, RepositoryType};
use crate::artifacts::{HelmRepositoryUrl, LocationError, RegistryReference, covers};
use crate::egress::Destination;
use crate::git::{RepositoryUrl, RepositoryUrlError, Target, UrlPrefix};

/// Where a source lies. Two are equal when they name the same repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceLocation {
    /// A git repository.
    Git(RepositoryUrl),
    /// A Helm repository over HTTP; one for all of its charts.
    Helm {
        /// Its URL.
        url: HelmRepositoryUrl,
        /// What tells it from a git repository of the same URL.
        identity: String,
    },
    /// A repository of a registry.
    Registry {
        /// Which.
        reference: RegistryReference,
        /// `oci://…`.
        identity: String,
    },
}

/// What is wanted of a location.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceTarget {
    /// A commit of a git repository.
    Git(Target),
    /// A chart of a Helm repository.
    Chart {
        /// Name of the chart.
        chart: String,
        /// Version or range, as the Application states it.
        version: String,
        /// Whether the repository's credentials may go to the host of the archive.
        pass_credentials: bool,
    },
    /// What a repository of a registry holds.
    Artifact {
        /// Tag, digest, version or range, as the Application states it.
        version: String,
        /// Whether it was asked for as a chart: then it is called by its version, else by its digest.
        is_chart: bool,
    },
}

/// A source whose location can't be told.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SourceLocationError {
    /// No URL of a git repository.
    #[error(transparent)]
    Git(#[from] RepositoryUrlError),
    /// No URL that charts or artifacts come from.
    #[error("{0}")]
    Artifacts(#[from] LocationError),
    /// A host that nothing can connect to.
    #[error("{0}")]
    Destination(String),
    /// A chart from a host without a scheme.
    #[error(
        "it has no scheme, and a chart is wanted: write `oci://{0}` for a registry or `https://{0}` for a Helm repository. As \
         it stands it is read as a registry when a Repository with a `url` or `urlPrefix` of `oci://{0}` says so"
    )]
    NoScheme(String),
}

impl SourceLocation {
    /// Whether SSH is spoken there.
    pub fn is_ssh(&self) -> bool {
        match self {
            Self::Git(url) => url.ssh().is_some(),
            Self::Helm { .. } | Self::Registry { .. } => false,
        }
    }

    /// A Helm repository.
    pub fn helm(url: HelmRepositoryUrl) -> Self {
        let identity = format!("helm+{url}");
        Self::Helm { url, identity }
    }

    /// A repository of a registry.
    pub fn registry(reference: RegistryReference) -> Self {
        let identity = reference.to_string();
        Self::Registry { reference, identity }
    }

    /// Where a source lies and what is wanted of it. `is_registry` says whether a host that is named without a scheme is
    /// known for a registry.
    pub fn of(
        source: &ApplicationSource,
        is_registry: impl Fn(&RegistryReference) -> bool,
    ) -> Result<(Self, SourceTarget), SourceLocationError> {
        let text = source.repo_url.trim();
        let version = source.target_revision.clone().unwrap_or_default().trim().to_owned();
        let chart = source.chart.as_deref().filter(|chart| !chart.is_empty());
        let is_chart = chart.is_some();
        if text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("oci://")) {
            let reference = RegistryReference::parse(text, chart)?;
            return Ok((Self::registry(reference), SourceTarget::Artifact { version, is_chart }));
        }
        let Some(chart) = chart else {
            let prefix = source.tag_prefix.as_deref().unwrap_or_default();
            let url = RepositoryUrl::parse(text)?;
            return Ok((Self::Git(url), SourceTarget::Git(Target::parse_with_prefix(&version, prefix))));
        };
        if !text.contains("://") {
            let reference = RegistryReference::parse(&format!("oci://{text}"), Some(chart))?;
            if !is_registry(&reference) {
                return Err(SourceLocationError::NoScheme(text.chars().take(200).collect()));
            }
            return Ok((Self::registry(reference), SourceTarget::Artifact { version, is_chart }));
        }
        let url = HelmRepositoryUrl::parse(text)?;
        let pass_credentials = source.helm.as_ref().is_some_and(|helm| helm.pass_credentials);
        Ok((Self::helm(url), SourceTarget::Chart { chart: chart.to_owned(), version, pass_credentials }))
    }

    /// What identifies it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Git(url) => url.as_str(),
            Self::Helm { identity, .. } | Self::Registry { identity, .. } => identity,
        }
    }

    /// Host, with the port when it is not the scheme's default.
    pub fn host(&self) -> String {
        match self {
            Self::Git(url) => url.host(),
            Self::Helm { url, .. } => url.host(),
            Self::Registry { reference, .. } => reference.host().to_owned(),
        }
    }

    /// Where connections to it go, for the rules by which they leave.
    pub fn destination(&self, plain_http: bool) -> Result<Destination, SourceLocationError> {
        match self {
            Self::Git(url) => Ok(url.destination().clone()),
            Self::Helm { url, .. } => connects(url.base()),
            Self::Registry { reference, .. } => connects(&reference.base(plain_http)?),
        }
    }

    /// How closely a Repository is about it: its own URL is closest, then the longest prefix. `None` when it is not.
    pub fn coverage(&self, spec: &RepositorySpec) -> Option<usize> {
        let (url, prefix) = (spec.url.as_deref(), spec.url_prefix.as_deref());
        let helm_or_registry = |location: &str| {
            let exact = url.and_then(|url| covers(url, location)).is_some_and(|weight| weight == location.len());
            if exact { Some(usize::MAX) } else { prefix.and_then(|prefix| covers(prefix, location)) }
        };
        match (self, spec.type_) {
            (Self::Git(location), None | Some(RepositoryType::Git)) => {
                let exact = url.and_then(|text| RepositoryUrl::parse(text).ok());
                if exact.is_some_and(|exact| exact == *location) {
                    return Some(usize::MAX);
                }
                let prefix = prefix.and_then(|text| UrlPrefix::parse(text).ok())?;
                prefix.covers(location).then(|| prefix.as_str().len())
            }
            (Self::Helm { url, .. }, None | Some(RepositoryType::Helm)) => helm_or_registry(url.as_str()),
            (Self::Registry { identity, .. }, None | Some(RepositoryType::Oci | RepositoryType::Helm)) => {
                // The URL of a Repository may be that of the registry's folder, as Argo CD's are.
                helm_or_registry(identity).or_else(|| url.and_then(|url| covers(url, identity)))
            }
            (Self::Git(_) | Self::Helm { .. } | Self::Registry { .. }, Some(_)) => None,
        }
    }
}

fn connects(url: &Url) -> Result<Destination, SourceLocationError> {
    Destination::of_url(url).map_err(|error| SourceLocationError::Destination(error.to_string()))
}

impl From<RepositoryUrl> for SourceLocation {
    fn from(url: RepositoryUrl) -> Self {
        Self::Git(url)
    }
}

impl From<&RepositoryUrl> for SourceLocation {
    fn from(url: &RepositoryUrl) -> Self {
        Self::Git(url.clone())
    }
}

impl From<&Self> for SourceLocation {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(url) => url.fmt(formatter),
            Self::Helm { url, .. } => url.fmt(formatter),
            Self::Registry { reference, .. } => reference.fmt(formatter),
        }
    }
}

impl fmt::Display for SourceTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Git(target) => target.fmt(formatter),
            Self::Chart { chart, version, pass_credentials: _ } => write!(formatter, "chart {chart} {version}"),
            Self::Artifact { version, is_chart: true } => write!(formatter, "chart {version}"),
            Self::Artifact { version, is_chart: false } => write!(formatter, "artifact {version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::HelmSource;

    fn source(url: &str, chart: &str, version: &str) -> ApplicationSource {
        ApplicationSource {
            repo_url: url.to_owned(),
            chart: (!chart.is_empty()).then(|| chart.to_owned()),
            target_revision: (!version.is_empty()).then(|| version.to_owned()),
            ..ApplicationSource::default()
        }
    }

    fn of(url: &str, chart: &str, version: &str) -> Result<(String, String), String> {
        SourceLocation::of(&source(url, chart, version), |reference| reference.host() == "known.corp.test")
            .map(|(location, target)| (location.as_str().to_owned(), target.to_string()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_url_and_the_chart_say_what_a_source_is() {
        let found = |location: &str, target: &str| Ok((location.to_owned(), target.to_owned()));
        assert_eq!(of("https://git.test/a.git", "", "main"), found("https://git.test/a", "main"));
        assert_eq!(of("https://charts.test/s/", "shop", "1.x"), found("helm+https://charts.test/s", "chart shop 1.x"));
        assert_eq!(of("oci://reg.test/team", "shop", "1.x"), found("oci://reg.test/team/shop", "chart 1.x"));
        assert_eq!(of("OCI://reg.test/team/shop", "", "v1"), found("oci://reg.test/team/shop", "artifact v1"));
        assert_eq!(of("known.corp.test/team", "shop", ""), found("oci://known.corp.test/team/shop", "chart "));
        let error = of("other.test/team", "shop", "").unwrap_err();
        assert!(error.contains("write `oci://other.test/team` for a registry"), "{error}");
        assert!(of("other.test/team", "", "").unwrap_err().contains("https://HOST/PATH"));
        let passing = ApplicationSource {
            helm: Some(HelmSource { pass_credentials: true, ..HelmSource::default() }),
            ..source("https://charts.test", "a", "1.0.0")
        };
        let (_, target) = SourceLocation::of(&passing, |_| false).unwrap();
        let expected = SourceTarget::Chart { chart: "a".into(), version: "1.0.0".into(), pass_credentials: true };
        assert_eq!(target, expected);
    }

    #[test]
    fn a_repository_covers_what_its_type_and_url_say() {
        let spec = |type_, url: Option<&str>, prefix: Option<&str>| RepositorySpec {
            type_,
            url: url.map(str::to_owned),
            url_prefix: prefix.map(str::to_owned),
            ..RepositorySpec::default()
        };
        let location = |url: &str, chart: &str| SourceLocation::of(&source(url, chart, ""), |_| false).unwrap().0;
        let (git, helm) = (location("https://h.test/a", ""), location("https://h.test/a", "c"));
        let registry = location("oci://h.test/a", "c");
        let exact = spec(None, Some("https://h.test/a"), None);
        assert_eq!(
            (git.coverage(&exact), helm.coverage(&exact), registry.coverage(&exact)),
            (Some(usize::MAX), Some(usize::MAX), None)
        );
        let typed = spec(Some(RepositoryType::Helm), Some("https://H.test/a/"), None);
        assert_eq!((git.coverage(&typed), helm.coverage(&typed)), (None, Some(usize::MAX)));
        let folder = spec(Some(RepositoryType::Oci), Some("oci://h.test/a"), None);
        assert_eq!(registry.coverage(&folder), Some("oci://h.test/a".len()));
        assert_eq!(registry.coverage(&spec(None, Some("oci://h.test/a/c"), None)), Some(usize::MAX));
        assert_eq!(registry.coverage(&spec(None, None, Some("oci://h.test"))), Some("oci://h.test".len()));
        assert_eq!(registry.coverage(&spec(Some(RepositoryType::Git), None, Some("oci://h.test"))), None);
        assert_eq!(helm.coverage(&spec(Some(RepositoryType::Oci), None, Some("https://h.test"))), None);
    }
}
