//! What a Repository says about submodules and LFS → which of both its trees are made of. Pure.

use crate::api::{RepositoryLfs, RepositorySpec, RepositorySubmodules};
use crate::egress::HostPattern;
use crate::git::RepositoryUrl;
use crate::model::{Hash64, Reason};
use crate::status::Failure;

/// Submodules and LFS of one repository. Both are off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TreeOptions {
    /// Hosts that submodules may lie on besides the repository's own; nothing when submodules are left out.
    pub(super) submodules: Option<Vec<HostPattern>>,
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
                Some(patterns.collect::<Result<_, _>>()?)
            }
            Some(RepositorySubmodules { enabled: false, allowed_hosts: _ }) | None => None,
        };
        let lfs = matches!(spec.lfs, Some(RepositoryLfs { enabled: true }));
        Ok(Self { submodules, lfs })
    }

    /// A hash to fold into what a render depends on; nothing where everything is off.
    pub(super) fn fingerprint(&self) -> Option<Hash64> {
        let Self { submodules, lfs } = self;
        (submodules.is_some() || *lfs).then(|| {
            let hosts = submodules.as_ref().map(|hosts| hosts.iter().map(ToString::to_string).collect::<Vec<_>>());
            Hash64::of_bytes(format!("{hosts:?} {lfs}").as_bytes())
        })
    }

    /// Whether a submodule may lie at `url`, when the repository that enabled submodules lies at `root`.
    pub(super) fn allows(&self, url: &RepositoryUrl, root: &RepositoryUrl) -> bool {
        let place = url.destination();
        let own = place.host == root.destination().host;
        own || self.submodules.iter().flatten().any(|pattern| pattern.matches(&place.host, place.port))
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
        assert_eq!((off.submodules.is_some(), off.lfs, off.fingerprint()), (false, false, None));
        assert_eq!(options(false, &["*"], false).unwrap(), off);
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
