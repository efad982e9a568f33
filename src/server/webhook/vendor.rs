//! Who sends a webhook, as its headers tell. Pure.

/// Who sends it, which decides how it is proved and how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vendor {
    /// GitHub and GitHub Enterprise.
    GitHub,
    /// GitLab.
    GitLab,
    /// Bitbucket Cloud.
    Bitbucket,
    /// Bitbucket Server and Data Center.
    BitbucketServer,
    /// Gitea and Forgejo.
    Gitea,
    /// Gogs.
    Gogs,
    /// Azure DevOps.
    AzureDevOps,
    /// Harbor.
    Harbor,
    /// A registry that sends the notifications of the Distribution project.
    Registry,
    /// Anything that can compute a signature.
    Generic,
}

/// The headers of a request, by lower-case names.
pub trait Headers {
    /// The value of a header, when it is text and there is exactly one.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Vendor {
    /// Every vendor.
    #[cfg(any(test, fuzzing))]
    pub const ALL: [Self; 10] = [
        Self::GitHub,
        Self::GitLab,
        Self::Bitbucket,
        Self::BitbucketServer,
        Self::Gitea,
        Self::Gogs,
        Self::AzureDevOps,
        Self::Harbor,
        Self::Registry,
        Self::Generic,
    ];

    /// The value of the label of metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Bitbucket => "bitbucket",
            Self::BitbucketServer => "bitbucketserver",
            Self::Gitea => "gitea",
            Self::Gogs => "gogs",
            Self::AzureDevOps => "azuredevops",
            Self::Harbor => "harbor",
            Self::Registry => "registry",
            Self::Generic => "generic",
        }
    }

    /// Who may have sent a request: several where only what is presented tells, none where nothing tells. Gitea sends the
    /// headers of Gogs and of GitHub besides its own, and Gogs those of GitHub.
    pub fn of(headers: &impl Headers) -> &'static [Self] {
        let has = |name: &str| headers.get(name).is_some();
        if has("x-tidelock-signature") {
            &[Self::Generic]
        } else if has("x-forgejo-event") || has("x-gitea-event") {
            &[Self::Gitea]
        } else if has("x-gogs-event") {
            &[Self::Gogs]
        } else if has("x-github-event") {
            &[Self::GitHub]
        } else if has("x-gitlab-event") {
            &[Self::GitLab]
        } else if has("x-event-key") && has("x-hook-uuid") {
            &[Self::Bitbucket]
        } else if has("x-event-key") {
            &[Self::BitbucketServer]
        } else if has("x-vss-activityid") {
            &[Self::AzureDevOps]
        } else if headers.get("content-type").is_some_and(|value| value.contains("vnd.docker.distribution.events")) {
            &[Self::Registry]
        } else if has("authorization") {
            &[Self::AzureDevOps, Self::Harbor]
        } else {
            &[]
        }
    }

    /// What names this delivery and no other, where the vendor sends that.
    pub fn delivery(self, headers: &impl Headers) -> Option<String> {
        let names: &[&str] = match self {
            Self::GitHub => &["x-github-delivery"],
            Self::GitLab => &["idempotency-key", "x-gitlab-event-uuid"],
            Self::Bitbucket => &["x-request-uuid"],
            Self::BitbucketServer => &["x-request-id"],
            Self::Gitea => &["x-forgejo-delivery", "x-gitea-delivery"],
            Self::Gogs => &["x-gogs-delivery"],
            Self::AzureDevOps | Self::Harbor | Self::Registry => &[],
            Self::Generic => &["x-tidelock-delivery"],
        };
        names.iter().find_map(|name| headers.get(name)).filter(|id| !id.is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [Vendor]);

    impl Headers for BTreeMap<&str, String> {
        fn get(&self, name: &str) -> Option<&str> {
            self.get(name).map(String::as_str)
        }
    }

    pub(in crate::server::webhook) fn headers<'a>(list: &[(&'a str, &str)]) -> BTreeMap<&'a str, String> {
        list.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn the_sender_is_told_by_its_own_headers_before_those_that_it_copies() {
        let github = ("x-github-event", "push");
        let gogs = ("x-gogs-event", "push");
        let table: [Row<'_>; 12] = [
            (&[github], &[Vendor::GitHub]),
            (&[github, gogs], &[Vendor::Gogs]),
            (&[github, gogs, ("x-gitea-event", "push")], &[Vendor::Gitea]),
            (&[github, ("x-forgejo-event", "push")], &[Vendor::Gitea]),
            (&[("x-gitlab-event", "Push Hook")], &[Vendor::GitLab]),
            (&[("x-event-key", "repo:push"), ("x-hook-uuid", "u")], &[Vendor::Bitbucket]),
            (&[("x-event-key", "repo:refs_changed")], &[Vendor::BitbucketServer]),
            (&[("x-vss-activityid", "a")], &[Vendor::AzureDevOps]),
            (&[("authorization", "Basic x")], &[Vendor::AzureDevOps, Vendor::Harbor]),
            (
                &[("content-type", "application/vnd.docker.distribution.events.v1+json"), ("authorization", "x")],
                &[Vendor::Registry],
            ),
            (&[github, ("x-tidelock-signature", "sha256=00")], &[Vendor::Generic]),
            (&[("content-type", "application/json")], &[]),
        ];
        for (list, expected) in table {
            assert_eq!(Vendor::of(&headers(list)), expected, "{list:?}");
        }
    }

    #[test]
    fn a_delivery_is_named_by_the_header_of_its_vendor() {
        let all = headers(&[("x-github-delivery", "a"), ("x-gitea-delivery", "b"), ("x-request-id", "")]);
        assert_eq!(Vendor::GitHub.delivery(&all), Some("a".to_owned()));
        assert_eq!(Vendor::Gitea.delivery(&all), Some("b".to_owned()));
        assert_eq!(Vendor::BitbucketServer.delivery(&all), None);
        assert_eq!(Vendor::Harbor.delivery(&all), None);
    }
}
