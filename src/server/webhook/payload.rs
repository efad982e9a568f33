//! Which repositories a body names. Pure; only for bodies that are proved, and still nothing in them is trusted to be there.
//!
//! Only the fields that are needed are kept, so a body takes no more memory than it has bytes.

use serde::Deserialize;
use thiserror::Error;

use super::vendor::Vendor;

/// Repositories of one body that are looked at.
const MOST_REPOSITORIES: usize = 64;
/// Longest text that can name a repository.
const LONGEST_NAME: usize = 2_048;

/// A body that can't be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PayloadError {
    /// Not JSON, or of another shape than the vendor's.
    #[error("the body is not the JSON that this sender is known to send")]
    Unreadable,
    /// A form without `payload`.
    #[error("the body is a form without the field `payload`; let the sender send application/json")]
    EmptyForm,
}

/// The URLs and names of the repositories that a body says have changed; none when it is about something else.
///
/// # Errors
/// When it can't be read.
pub fn repositories(vendor: Vendor, content_type: &str, body: &[u8]) -> Result<Vec<String>, PayloadError> {
    let form;
    let json = if content_type.trim().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        let mut fields = url::form_urlencoded::parse(body);
        form = fields.find(|(name, _)| name == "payload").ok_or(PayloadError::EmptyForm)?.1;
        form.as_bytes()
    } else {
        body
    };
    let mut named = match vendor {
        Vendor::GitHub | Vendor::Gitea | Vendor::Gogs => read::<GitHubBody>(json)?.named(),
        Vendor::GitLab => read::<GitLabBody>(json)?.named(),
        Vendor::Bitbucket | Vendor::BitbucketServer => read::<BitbucketBody>(json)?.named(),
        Vendor::AzureDevOps => read::<AzureBody>(json)?.named(),
        Vendor::Harbor => read::<HarborBody>(json)?.named(),
        Vendor::Registry => read::<RegistryBody>(json)?.named(),
        Vendor::Generic => read::<GenericBody>(json)?.named(),
    };
    named.retain(|name| !name.is_empty() && name.len() <= LONGEST_NAME);
    named.sort();
    named.dedup();
    named.truncate(MOST_REPOSITORIES);
    Ok(named)
}

fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, PayloadError> {
    serde_json::from_slice(json).map_err(|_| PayloadError::Unreadable)
}

/// GitHub, and those that do as it does.
#[derive(Deserialize)]
struct GitHubBody {
    #[serde(default)]
    repository: Option<GitHubRepository>,
    #[serde(default)]
    registry_package: Option<GitHubPackage>,
    #[serde(default)]
    package: Option<GitHubPackage>,
}

#[derive(Deserialize)]
struct GitHubRepository {
    #[serde(default, rename = "clone_url")]
    clone: Option<String>,
    #[serde(default, rename = "ssh_url")]
    ssh: Option<String>,
    #[serde(default, rename = "html_url")]
    html: Option<String>,
}

#[derive(Deserialize)]
struct GitHubPackage {
    #[serde(default)]
    package_version: Option<GitHubPackageVersion>,
}

#[derive(Deserialize)]
struct GitHubPackageVersion {
    #[serde(default)]
    package_url: Option<String>,
}

impl GitHubBody {
    fn named(self) -> Vec<String> {
        let Self { repository, registry_package, package } = self;
        let packages = [registry_package, package].into_iter().flatten();
        let packages = packages.filter_map(|package| package.package_version?.package_url);
        let repository = repository.into_iter().flat_map(|repository| {
            let GitHubRepository { clone, ssh, html } = repository;
            [clone, ssh, html].into_iter().flatten()
        });
        packages.chain(repository).collect()
    }
}

#[derive(Deserialize)]
struct GitLabBody {
    #[serde(default)]
    project: Option<GitLabProject>,
    #[serde(default)]
    repository: Option<GitLabProject>,
}

#[derive(Deserialize)]
struct GitLabProject {
    #[serde(default, rename = "git_http_url")]
    http: Option<String>,
    #[serde(default, rename = "git_ssh_url")]
    ssh: Option<String>,
    #[serde(default, rename = "web_url")]
    web: Option<String>,
}

impl GitLabBody {
    fn named(self) -> Vec<String> {
        let Self { project, repository } = self;
        let both = [project, repository].into_iter().flatten();
        both.flat_map(|GitLabProject { http, ssh, web }| [http, ssh, web]).flatten().collect()
    }
}

#[derive(Deserialize)]
struct BitbucketBody {
    #[serde(default)]
    repository: Option<BitbucketRepository>,
}

#[derive(Deserialize)]
struct BitbucketRepository {
    #[serde(default)]
    slug: Option<String>,
    #[serde(default)]
    project: Option<BitbucketProject>,
    #[serde(default)]
    links: Option<BitbucketLinks>,
}

#[derive(Deserialize)]
struct BitbucketProject {
    #[serde(default)]
    key: Option<String>,
}

/// The cloud has one of each, the server lists.
#[derive(Deserialize)]
#[serde(untagged)]
enum BitbucketLink {
    One(BitbucketTarget),
    Several(Vec<BitbucketTarget>),
}

impl BitbucketLink {
    fn targets(self) -> Vec<String> {
        let targets = match self {
            Self::One(target) => vec![target],
            Self::Several(targets) => targets,
        };
        targets.into_iter().filter_map(|target| target.href).collect()
    }
}

#[derive(Deserialize)]
struct BitbucketTarget {
    #[serde(default)]
    href: Option<String>,
}

#[derive(Deserialize)]
struct BitbucketLinks {
    #[serde(default)]
    html: Option<BitbucketLink>,
    #[serde(default)]
    clone: Option<BitbucketLink>,
    #[serde(default, rename = "self")]
    own: Option<BitbucketLink>,
}

impl BitbucketBody {
    fn named(self) -> Vec<String> {
        let Some(BitbucketRepository { slug, project, links: Some(links) }) = self.repository else {
            return Vec::new();
        };
        let BitbucketLinks { html, clone, own } = links;
        let mut named: Vec<String> = [html, clone].into_iter().flatten().flat_map(BitbucketLink::targets).collect();
        let key = project.and_then(|project| project.key);
        // A server that lists no URLs to clone from still says where it shows the repository.
        for shown in own.map(BitbucketLink::targets).unwrap_or_default() {
            if let (Some(base), Some(slug), Some(key)) = (shown.split("/projects/").next(), &slug, &key)
                && base.len() < shown.len()
            {
                named.push(format!("{base}/scm/{key}/{slug}"));
            }
        }
        named
    }
}

#[derive(Deserialize)]
struct AzureBody {
    #[serde(default)]
    resource: Option<AzureResource>,
}

#[derive(Deserialize)]
struct AzureResource {
    #[serde(default)]
    repository: Option<AzureRepository>,
}

#[derive(Deserialize)]
struct AzureRepository {
    #[serde(default, rename = "remoteUrl")]
    remote_url: Option<String>,
}

impl AzureBody {
    fn named(self) -> Vec<String> {
        let url = self.resource.and_then(|resource| resource.repository?.remote_url);
        url.into_iter().collect()
    }
}

#[derive(Deserialize)]
struct HarborBody {
    #[serde(default)]
    event_data: Option<HarborData>,
}

#[derive(Deserialize)]
struct HarborData {
    #[serde(default)]
    resources: Vec<HarborResource>,
}

#[derive(Deserialize)]
struct HarborResource {
    #[serde(default)]
    resource_url: Option<String>,
}

impl HarborBody {
    fn named(self) -> Vec<String> {
        let resources = self.event_data.map(|data| data.resources).unwrap_or_default();
        resources.into_iter().filter_map(|resource| resource.resource_url).collect()
    }
}

#[derive(Deserialize)]
struct RegistryBody {
    #[serde(default)]
    events: Vec<RegistryEvent>,
}

#[derive(Deserialize)]
struct RegistryEvent {
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    target: Option<RegistryTarget>,
    #[serde(default)]
    request: Option<RegistryRequest>,
}

#[derive(Deserialize)]
struct RegistryTarget {
    #[serde(default)]
    repository: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize)]
struct RegistryRequest {
    #[serde(default)]
    host: Option<String>,
}

impl RegistryBody {
    fn named(self) -> Vec<String> {
        let pushed = self.events.into_iter().filter(|event| event.action.as_deref() == Some("push"));
        pushed
            .filter_map(|RegistryEvent { action: _, target, request }| {
                let RegistryTarget { repository, url } = target?;
                let of_url = || Some(url?.split_once("://")?.1.split('/').next()?.to_owned());
                let host = request.and_then(|request| request.host).filter(|host| !host.is_empty()).or_else(of_url)?;
                Some(format!("oci://{host}/{}", repository?))
            })
            .collect()
    }
}

#[derive(Deserialize)]
struct GenericBody {
    #[serde(default)]
    repository: Option<String>,
    #[serde(default)]
    repositories: Vec<String>,
}

impl GenericBody {
    fn named(self) -> Vec<String> {
        self.repository.into_iter().chain(self.repositories).collect()
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
