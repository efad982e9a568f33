//! What a Repository says about submodules and LFS → which of both its trees are made of. Pure.

use crate::api::{RepositoryLfs, RepositorySpec, RepositorySubmodules};
use crate::egress::HostPattern;
use crate::git::RepositoryUrl;
use crate::model::{Hash64, Reason};
use crate::status::Failure;

/// What becomes of submodules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum SubmoduleChoice {
    /// Nobody has said. A render that reaches into one fails: taking it for empty would delete what it brought before, once
    /// the Repository that said so is gone.
    #[default]
    Unsaid,
    /// They are empty, as git leaves them.
    LeftOut,
    /// They are fetched from the repository's own host, and from these.
    Fetched(Vec<HostPattern>),
}

/// Submodules and LFS of one repository. Neither is fetched by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TreeOptions {
    /// Submodules.
    pub(super) submodules: SubmoduleChoice,
    /// Whether the content of LFS pointers is fetched.
    pub(super) lfs: bool,
}

impl TreeOptions {
    /// Reads a Repository of this name.
    pub(super) fn new(name: &str, spec: &RepositorySpec) -> Result<Self, Failure> {
        let submodules = match &spec.submodules {
            Some(RepositorySubmodules { enabled: true, allowed_hosts }) => {
                let patterns = allowed_hosts.iter().enumerate().map(|(index, text)| {
                    HostPattern::parse(text).map_err(|error| Failure {
                        reason: Reason::InvalidSpec,
                        message: format!("Repository `{name}`: spec.submodules.allowedHosts[{index}]: {error}"),
                    })
                });
                SubmoduleChoice::Fetched(patterns.collect::<Result<_, _>>()?)
            }
            Some(RepositorySubmodules { enabled: false, allowed_hosts: _ }) => SubmoduleChoice::LeftOut,
            None => SubmoduleChoice::Unsaid,
        };
        let lfs = matches!(spec.lfs, Some(RepositoryLfs { enabled: true }));
        Ok(Self { submodules, lfs })
    }

    /// A hash to fold into what a render depends on; nothing where nothing was said.
    pub(super) fn fingerprint(&self) -> Option<Hash64> {
        let Self { submodules, lfs } = self;
        (*self != Self::default()).then(|| Hash64::of_bytes(format!("{submodules:?} {lfs}").as_bytes()))
    }

    /// Whether a submodule may lie at `url`, when the repository that enabled submodules lies at `root`.
    pub(super) fn allows(&self, url: &RepositoryUrl, root: &RepositoryUrl) -> bool {
        let place = url.destination();
        let own = place.host == root.destination().host;
        match &self.submodules {
            SubmoduleChoice::Unsaid | SubmoduleChoice::LeftOut => false,
            SubmoduleChoice::Fetched(hosts) => {
                own || hosts.iter().any(|pattern| pattern.matches(&place.host, place.port))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(enabled: bool, hosts: &[&str], lfs: bool) -> Result<TreeOptions, Failure> {
        let allowed_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let spec = RepositorySpec {
            submodules: Some(RepositorySubmodules { enabled, allowed_hosts }),
            lfs: Some(RepositoryLfs { enabled: lfs }),
            ..RepositorySpec::default()
        };
        TreeOptions::new("team", &spec)
    }

    fn url(text: &str) -> RepositoryUrl {
        RepositoryUrl::parse(text).unwrap()
    }

    #[test]
    fn airgap_30_submodules_and_lfs_are_off_by_default() {
        let off = TreeOptions::new("team", &RepositorySpec::default()).unwrap();
        assert_eq!(off, TreeOptions::default());
        assert_eq!((&off.submodules, off.lfs, off.fingerprint()), (&SubmoduleChoice::Unsaid, false, None));
        let left_out = options(false, &["*"], false).unwrap();
        assert_eq!((&left_out.submodules, left_out.lfs), (&SubmoduleChoice::LeftOut, false));
        assert!(!left_out.allows(&url("https://git.corp.test/x"), &url("https://git.corp.test/y")));
    }

    #[test]
    fn a_submodule_may_lie_on_the_repositorys_own_host_and_on_those_that_are_listed() {
        let root = url("https://git.corp.test:8443/team/app");
        let own = options(true, &[], false).unwrap();
        assert!(own.allows(&url("https://GIT.corp.test/other/lib.git"), &root));
        assert!(!own.allows(&url("https://git.corp.test.evil.test/lib"), &root));
        assert!(!own.allows(&url("https://evil.test/lib"), &root));
        let listed = options(true, &["*.partner.test", "10.0.0.0/8", "one.test:8443"], false).unwrap();
        for (text, expected) in [
            ("https://git.partner.test/x", true),
            ("https://partner.test/x", false),
            ("https://10.1.2.3/x", true),
            ("https://one.test:8443/x", true),
            ("https://one.test/x", false),
            ("https://git.corp.test/x", true),
        ] {
            assert_eq!(listed.allows(&url(text), &root), expected, "{text}");
        }
    }

    #[test]
    fn every_switch_and_the_list_of_hosts_change_the_fingerprint() {
        let all = [
            options(true, &[], false).unwrap().fingerprint(),
            options(true, &["a.test"], false).unwrap().fingerprint(),
            options(true, &[], true).unwrap().fingerprint(),
            options(false, &[], true).unwrap().fingerprint(),
            options(false, &[], false).unwrap().fingerprint(),
            None,
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_host_that_is_none_is_an_error_with_its_field() {
        let failure = options(true, &["a.test", "https://b.test"], false).unwrap_err();
        assert_eq!(failure.reason, Reason::InvalidSpec);
        let start = "Repository `team`: spec.submodules.allowedHosts[1]: ";
        assert!(failure.message.starts_with(start), "{}", failure.message);
    }
}
