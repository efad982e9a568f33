//! What a project demands of a source.

use globset::{GlobBuilder, GlobMatcher};
use thiserror::Error;

use super::Scheme;
use crate::api::{AppProjectSpec, GitIntegrityPolicy, IntegrityMode, IntegrityRepository};

/// What is demanded of a commit: one signature of any of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitRequirement {
    /// Long ids or fingerprints of OpenPGP keys, upper case; `None` when OpenPGP signatures don't count.
    pub openpgp: Option<Vec<String>>,
    /// Principals or fingerprints of SSH keys; `None` when SSH signatures don't count.
    pub ssh: Option<Vec<String>>,
}

impl GitRequirement {
    /// The kinds of signatures that count, in words.
    pub(super) fn accepted(&self) -> String {
        let kinds = [(self.openpgp.is_some(), Scheme::OpenPgp), (self.ssh.is_some(), Scheme::Ssh)];
        let kinds: Vec<String> =
            kinds.into_iter().filter(|(counts, _)| *counts).map(|(_, scheme)| scheme.to_string()).collect();
        kinds.join(" or ")
    }
}

/// What is demanded of an OCI artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CosignRequirement {
    /// Names of public keys, one of which must have signed.
    pub keys: Vec<String>,
}

/// A project's demands that can't be met by any source: nothing may be deployed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PolicyError {
    /// Two policies are about one source.
    #[error(
        "{count} policies of the project's {field} are about {url}: narrow their `repos` (`!` leaves out) until one is; \
         until then nothing of it is deployed"
    )]
    Ambiguous {
        /// How many.
        count: usize,
        /// `sourceIntegrity.git.policies` or the like.
        field: &'static str,
        /// The source.
        url: String,
    },
    /// Both forms are used.
    #[error("the project sets signatureKeys and sourceIntegrity; put the keys into a policy of sourceIntegrity.git")]
    BothForms,
    /// `strict` is not supported.
    #[error(
        "the project's {field} is `strict`, which this version can't do: it fetches the commit that is deployed and no \
         history. Write `head`, which demands that the deployed commit is signed; until then nothing is deployed"
    )]
    Strict {
        /// The field.
        field: &'static str,
    },
    /// A policy demands nothing in particular.
    #[error(
        "the project's policy about {url} has neither gpg nor ssh; write `gpg: {{mode: none}}` if nothing is to be signed"
    )]
    Empty {
        /// The source.
        url: String,
    },
}

impl PolicyError {
    /// Whether it is about something that another version may do.
    pub const fn is_unsupported(&self) -> bool {
        match self {
            Self::Strict { .. } => true,
            Self::Ambiguous { .. } | Self::BothForms | Self::Empty { .. } => false,
        }
    }
}

/// What a project demands of the commits of a repository; `None` when nothing. `urls` are the ways in which the repository
/// is written: by the Application, and in its canonical form. One spelling must not escape a policy about another.
pub fn git_requirement(project: &AppProjectSpec, urls: &[&str]) -> Result<Option<GitRequirement>, PolicyError> {
    if !project.signature_keys.is_empty() {
        if project.source_integrity.is_some() {
            return Err(PolicyError::BothForms);
        }
        let keys = project.signature_keys.iter().map(|key| key_id(&key.key_id)).collect();
        return Ok(Some(GitRequirement { openpgp: Some(keys), ssh: None }));
    }
    let Some(git) = project.source_integrity.as_ref().and_then(|integrity| integrity.git.as_ref()) else {
        return Ok(None);
    };
    let about: Vec<&GitIntegrityPolicy> = git.policies.iter().filter(|policy| is_about(&policy.repos, urls)).collect();
    let url = urls.first().copied().unwrap_or_default().to_owned();
    let policy = match about.as_slice() {
        [] => return Ok(None),
        [one] => *one,
        several => {
            return Err(PolicyError::Ambiguous { count: several.len(), field: "sourceIntegrity.git.policies", url });
        }
    };
    let GitIntegrityPolicy { repos: _, gpg, ssh } = policy;
    let (mut requirement, mut stated) = (GitRequirement::default(), false);
    if let Some(gpg) = gpg {
        stated = true;
        match gpg.mode {
            IntegrityMode::None => {}
            IntegrityMode::Head => requirement.openpgp = Some(gpg.keys.iter().map(|key| key_id(key)).collect()),
            IntegrityMode::Strict => {
                return Err(PolicyError::Strict { field: "sourceIntegrity.git.policies[].gpg.mode" });
            }
        }
    }
    if let Some(ssh) = ssh {
        stated = true;
        match ssh.mode {
            IntegrityMode::None => {}
            IntegrityMode::Head => requirement.ssh = Some(ssh.signers.clone()),
            IntegrityMode::Strict => {
                return Err(PolicyError::Strict { field: "sourceIntegrity.git.policies[].ssh.mode" });
            }
        }
    }
    if !stated {
        return Err(PolicyError::Empty { url });
    }
    let demands = requirement.openpgp.is_some() || requirement.ssh.is_some();
    Ok(demands.then_some(requirement))
}

/// What a project demands of an OCI artifact; `None` when nothing. `urls` as for [`git_requirement`].
pub fn cosign_requirement(project: &AppProjectSpec, urls: &[&str]) -> Result<Option<CosignRequirement>, PolicyError> {
    let Some(oci) = project.source_integrity.as_ref().and_then(|integrity| integrity.oci.as_ref()) else {
        return Ok(None);
    };
    let mut about = oci.policies.iter().filter(|policy| is_about(&policy.repos, urls));
    let Some(policy) = about.next() else { return Ok(None) };
    let more = about.count();
    if more > 0 {
        let url = urls.first().copied().unwrap_or_default().to_owned();
        return Err(PolicyError::Ambiguous { count: more + 1, field: "sourceIntegrity.oci.policies", url });
    }
    match policy.cosign.mode {
        IntegrityMode::None => Ok(None),
        IntegrityMode::Head => Ok(Some(CosignRequirement { keys: policy.cosign.keys.clone() })),
        IntegrityMode::Strict => Err(PolicyError::Strict { field: "sourceIntegrity.oci.policies[].cosign.mode" }),
    }
}

/// A key's id or fingerprint in the form in which they are compared.
fn key_id(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let text = text.to_uppercase();
    text.strip_prefix("0X").unwrap_or(&text).to_owned()
}

/// Whether a policy's list matches a repository, however it is written. Where a pattern demands, letters match in either
/// case, and so does the end `.git`; where it leaves out, it must match exactly.
fn is_about(repositories: &[IntegrityRepository], urls: &[&str]) -> bool {
    let mut spellings: Vec<String> = Vec::new();
    for url in urls {
        let bare = url.trim_end_matches('/');
        let bare = bare.strip_suffix(".git").unwrap_or(bare);
        spellings.extend([(*url).to_owned(), bare.to_owned(), format!("{bare}.git"), format!("{bare}/")]);
    }
    let any = |pattern: &str, fold: bool| {
        let glob = glob(pattern, fold);
        spellings.iter().any(|url| glob.is_match(url))
    };
    let (mut demanded, mut left_out) = (false, false);
    for IntegrityRepository { url } in repositories {
        match url.strip_prefix('!') {
            Some(pattern) => left_out |= any(pattern, false),
            None => demanded |= any(url, true),
        }
    }
    demanded && !left_out
}

/// `*` crosses `/`. A pattern that is no glob matches itself.
#[expect(clippy::expect_used, reason = "invariant: an escaped pattern is a valid glob")]
pub(super) fn glob(pattern: &str, fold_case: bool) -> GlobMatcher {
    let build = |text: &str| GlobBuilder::new(text).literal_separator(false).case_insensitive(fold_case).build();
    build(pattern)
        .or_else(|_| build(&globset::escape(pattern)))
        .expect("invariant: an escaped pattern is a valid glob")
        .compile_matcher()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn project(spec: Value) -> AppProjectSpec {
        serde_json::from_value(spec).unwrap()
    }

    fn policies(policies: &Value) -> AppProjectSpec {
        project(json!({"sourceIntegrity": {"git": {"policies": policies}}}))
    }

    fn openpgp(keys: &[&str]) -> GitRequirement {
        GitRequirement { openpgp: Some(keys.iter().map(|key| (*key).to_owned()).collect()), ssh: None }
    }

    #[test]
    fn the_older_form_is_about_every_repository() {
        let old = project(json!({"signatureKeys": [{"keyID": "0x4aee18f83afdeb23"}]}));
        assert_eq!(git_requirement(&old, &["https://h/x"]), Ok(Some(openpgp(&["4AEE18F83AFDEB23"]))));
        assert_eq!(git_requirement(&AppProjectSpec::default(), &["https://h/x"]), Ok(None));
        let both = project(json!({
            "signatureKeys": [{"keyID": "4AEE18F83AFDEB23"}], "sourceIntegrity": {"oci": {"policies": []}},
        }));
        assert_eq!(git_requirement(&both, &["https://h/x"]), Err(PolicyError::BothForms));
    }

    #[test]
    fn no_spelling_of_a_repository_escapes_its_policy() {
        let spec = policies(&json!([{
            "repos": [{"url": "https://git.corp.test/shop/*"}, {"url": "!https://git.corp.test/shop/docs"}],
            "gpg": {"keys": ["4AEE18F83AFDEB23"]},
        }]));
        let demanded = |urls: &[&str]| git_requirement(&spec, urls).unwrap().is_some();
        let canonical = "https://git.corp.test/shop/cart";
        for written in [canonical, "https://git.corp.test/shop/cart.git", "https://GIT.corp.test:443/shop/cart/"] {
            assert!(demanded(&[written, canonical]), "{written}");
        }
        assert!(demanded(&["HTTPS://git.corp.test/Shop/cart"]));
        assert!(!demanded(&["https://git.corp.test/shop/docs.git"]), "what is left out is left out in every form");
        assert!(demanded(&["https://git.corp.test/shop/Docs"]), "but another repository is not");
        assert!(!demanded(&["https://git.corp.test/other"]));
    }

    #[test]
    fn a_policy_may_accept_both_kinds_and_may_demand_nothing() {
        let one = |policy: Value| git_requirement(&policies(&json!([policy])), &["https://h/x"]);
        let any = json!([{"url": "*"}]);
        assert_eq!(
            one(json!({"repos": any, "gpg": {"mode": "head", "keys": ["AB"]}, "ssh": {"signers": ["*@h"]}})),
            Ok(Some(GitRequirement { ssh: Some(vec!["*@h".into()]), ..openpgp(&["AB"]) }))
        );
        assert_eq!(one(json!({"repos": any, "gpg": {"mode": "none"}})), Ok(None));
        assert_eq!(one(json!({"repos": any, "gpg": {}})), Ok(Some(openpgp(&[]))), "an empty list allows none");
        assert_eq!(one(json!({"repos": any})), Err(PolicyError::Empty { url: "https://h/x".into() }));
        let strict = one(json!({"repos": any, "gpg": {"mode": "strict", "keys": ["AB"]}})).unwrap_err();
        assert!(strict.is_unsupported() && strict.to_string().contains("Write `head`"), "{strict}");
        let two = json!([{"repos": any, "gpg": {"keys": ["AB"]}}, {"repos": any, "gpg": {"mode": "none"}}]);
        let twice = git_requirement(&policies(&two), &["https://h/x"]).unwrap_err();
        assert!(twice.to_string().starts_with("2 policies of the project's sourceIntegrity.git.policies"), "{twice}");
    }

    #[test]
    fn artifacts_have_policies_of_their_own() {
        let spec = project(json!({"sourceIntegrity": {"oci": {"policies": [
            {"repos": [{"url": "oci://registry.corp.test/*"}], "cosign": {"keys": ["release"]}},
            {"repos": [{"url": "oci://mirror.corp.test/*"}], "cosign": {"mode": "none"}},
        ]}}}));
        let release = CosignRequirement { keys: vec!["release".into()] };
        assert_eq!(cosign_requirement(&spec, &["oci://registry.corp.test/charts/web"]), Ok(Some(release)));
        assert_eq!(cosign_requirement(&spec, &["oci://mirror.corp.test/web"]), Ok(None));
        assert_eq!(git_requirement(&spec, &["https://h/x"]), Ok(None));
    }
}
