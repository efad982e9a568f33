//! Whether a request comes from who knows a secret. Pure; a body is taken piece by piece, and nothing of it is believed
//! before its end.
//!
//! A secret may have two values, one on each line, so that one can be replaced without a gap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};

use super::vendor::{Headers, Vendor};

/// Values of one secret that count at a time.
const MOST_VALUES: usize = 2;

/// The secrets of all vendors, as the Secret holds them.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    entries: Vec<(&'static str, Vec<SecretString>)>,
}

/// The keys of the Secret: Argo CD's, and ours.
const NAMES: [&str; 12] = [
    "webhook.github.secret",
    "webhook.gitlab.secret",
    "webhook.bitbucket.secret",
    "webhook.bitbucket.uuid",
    "webhook.bitbucketserver.secret",
    "webhook.gitea.secret",
    "webhook.gogs.secret",
    "webhook.azuredevops.username",
    "webhook.azuredevops.password",
    "webhook.harbor.secret",
    "webhook.registry.secret",
    "webhook.generic.secret",
];

impl Keys {
    /// By what `value` finds for a key. An empty value counts as none: it would prove nothing.
    pub fn read<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let lines = |text: &str| {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            lines.take(MOST_VALUES).map(SecretString::from).collect::<Vec<_>>()
        };
        let entries = NAMES.into_iter().filter_map(|name| value(name).map(|text| (name, lines(text))));
        Self { entries: entries.filter(|(_, values)| !values.is_empty()).collect() }
    }

    fn get(&self, name: &str) -> &[SecretString] {
        self.entries.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }

    /// The keys that sign for a vendor.
    fn signing(&self, vendor: Vendor) -> impl Iterator<Item = &SecretString> {
        let names: &[&str] = match vendor {
            Vendor::GitHub => &["webhook.github.secret"],
            Vendor::Bitbucket => &["webhook.bitbucket.secret"],
            Vendor::BitbucketServer => &["webhook.bitbucketserver.secret"],
            // Argo CD knows Gitea only as Gogs.
            Vendor::Gitea => &["webhook.gitea.secret", "webhook.gogs.secret"],
            Vendor::Gogs => &["webhook.gogs.secret"],
            Vendor::Generic => &["webhook.generic.secret"],
            Vendor::GitLab | Vendor::AzureDevOps | Vendor::Harbor | Vendor::Registry => &[],
        };
        names.iter().flat_map(|name| self.get(name))
    }
}

/// What the headers alone say.
pub enum Claim {
    /// It is proved already.
    Proved(Vendor),
    /// It is proved if the body fits.
    Signed(Box<SignedBody>),
    /// It is not proved.
    Refused(Refused),
}

/// Why it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody that is known sends such headers.
    Unknown,
    /// No secret is set up for this vendor.
    NotSetUp(Vendor),
    /// Nothing is presented, or not in the form that the vendor uses.
    Missing(Vendor),
    /// What is presented does not fit.
    Wrong(Vendor),
}

impl Refused {
    /// The vendor, where one can be told.
    pub const fn vendor(self) -> Option<Vendor> {
        match self {
            Self::Unknown => None,
            Self::NotSetUp(vendor) | Self::Missing(vendor) | Self::Wrong(vendor) => Some(vendor),
        }
    }
}

/// A signature whose body is still to come.
pub struct SignedBody {
    vendor: Vendor,
    presented: Vec<u8>,
    contexts: Vec<hmac::Context>,
    same: Same,
}

impl SignedBody {
    /// The next piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        for context in &mut self.contexts {
            context.update(piece);
        }
    }

    /// Whose body it is, when the signature fits it.
    pub fn finish(self) -> Result<Vendor, Refused> {
        let Self { vendor, presented, contexts, same } = self;
        let mut fits = false;
        // All of them, so that the time tells nothing.
        for context in contexts {
            fits |= same.check(context.sign().as_ref(), &presented);
        }
        if fits { Ok(vendor) } else { Err(Refused::Wrong(vendor)) }
    }
}

/// Compares in a time that tells nothing of what is compared, not even its length.
#[derive(Clone)]
pub struct Same(hmac::Key);

impl Same {
    /// With a key of its own; `None` when the system gives no randomness.
    pub fn new() -> Option<Self> {
        hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).ok().map(Self)
    }

    fn check(&self, left: &[u8], right: &[u8]) -> bool {
        hmac::verify(&self.0, left, hmac::sign(&self.0, right).as_ref()).is_ok()
    }

    fn any(&self, secrets: &[SecretString], presented: &str) -> bool {
        let mut fits = false;
        for secret in secrets {
            fits |= self.check(secret.expose_secret().as_bytes(), presented.as_bytes());
        }
        fits
    }
}

/// What the headers of a request claim, by these keys.
pub fn claim(headers: &impl Headers, keys: &Keys, same: &Same) -> Claim {
    let candidates = Vendor::of(headers);
    let mut refused = Refused::Unknown;
    for vendor in candidates {
        match claim_of(*vendor, headers, keys, same) {
            Claim::Refused(why) => {
                // Of several that it may be, the one that is set up tells the most.
                if refused == Refused::Unknown || matches!(refused, Refused::NotSetUp(_)) {
                    refused = why;
                }
            }
            claim => return claim,
        }
    }
    Claim::Refused(refused)
}

fn claim_of(vendor: Vendor, headers: &impl Headers, keys: &Keys, same: &Same) -> Claim {
    match vendor {
        Vendor::GitHub => signed(vendor, headers, "x-hub-signature-256", Form::Prefixed, keys, same),
        Vendor::BitbucketServer => signed(vendor, headers, "x-hub-signature", Form::Prefixed, keys, same),
        Vendor::Bitbucket => {
            if keys.get("webhook.bitbucket.secret").is_empty() {
                presented(vendor, headers.get("x-hook-uuid"), keys.get("webhook.bitbucket.uuid"), same)
            } else {
                signed(vendor, headers, "x-hub-signature", Form::Prefixed, keys, same)
            }
        }
        Vendor::Gitea => {
            let own = ["x-forgejo-signature", "x-gitea-signature"];
            let name = own.into_iter().find(|name| headers.get(name).is_some()).unwrap_or("x-gitea-signature");
            signed(vendor, headers, name, Form::Bare, keys, same)
        }
        Vendor::Gogs => signed(vendor, headers, "x-gogs-signature", Form::Bare, keys, same),
        Vendor::Generic => signed(vendor, headers, "x-tidelock-signature", Form::Prefixed, keys, same),
        Vendor::GitLab => presented(vendor, headers.get("x-gitlab-token"), keys.get("webhook.gitlab.secret"), same),
        Vendor::Harbor => presented(vendor, headers.get("authorization"), keys.get("webhook.harbor.secret"), same),
        Vendor::Registry => presented(vendor, headers.get("authorization"), keys.get("webhook.registry.secret"), same),
        Vendor::AzureDevOps => basic(headers, keys, same),
    }
}

/// A secret that is sent as it is.
fn presented(vendor: Vendor, value: Option<&str>, secrets: &[SecretString], same: &Same) -> Claim {
    if secrets.is_empty() {
        return Claim::Refused(Refused::NotSetUp(vendor));
    }
    match value.filter(|value| !value.is_empty()) {
        None => Claim::Refused(Refused::Missing(vendor)),
        Some(value) if same.any(secrets, value) => Claim::Proved(vendor),
        Some(_) => Claim::Refused(Refused::Wrong(vendor)),
    }
}

/// User name and password, of each the same line.
fn basic(headers: &impl Headers, keys: &Keys, same: &Same) -> Claim {
    let vendor = Vendor::AzureDevOps;
    let (users, passwords) = (keys.get("webhook.azuredevops.username"), keys.get("webhook.azuredevops.password"));
    if passwords.is_empty() {
        return Claim::Refused(Refused::NotSetUp(vendor));
    }
    let value = headers.get("authorization").unwrap_or_default();
    let (scheme, text) = value.split_once(' ').unwrap_or((value, ""));
    let decoded = STANDARD.decode(text.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
    let Some(pair) = decoded else { return Claim::Refused(Refused::Missing(vendor)) };
    let mut fits = false;
    for (index, password) in passwords.iter().enumerate() {
        // One user name may have two passwords.
        let user = users.get(index).or_else(|| users.last()).map_or("", ExposeSecret::expose_secret);
        let wanted = SecretString::from(format!("{user}:{}", password.expose_secret()));
        fits |= same.check(wanted.expose_secret().as_bytes(), &pair);
    }
    if fits { Claim::Proved(vendor) } else { Claim::Refused(Refused::Wrong(vendor)) }
}

/// How a signature is written.
#[derive(Clone, Copy)]
enum Form {
    /// `sha256=` and hexadecimal digits.
    Prefixed,
    /// Hexadecimal digits.
    Bare,
}

fn signed(vendor: Vendor, headers: &impl Headers, name: &str, form: Form, keys: &Keys, same: &Same) -> Claim {
    let key = |secret: &SecretString| hmac::Key::new(HMAC_SHA256, secret.expose_secret().as_bytes());
    let contexts: Vec<hmac::Context> =
        keys.signing(vendor).map(|secret| hmac::Context::with_key(&key(secret))).collect();
    if contexts.is_empty() {
        return Claim::Refused(Refused::NotSetUp(vendor));
    }
    let digits = headers.get(name).and_then(|value| match form {
        Form::Prefixed => value.strip_prefix("sha256="),
        Form::Bare => Some(value),
    });
    match digits.and_then(hexadecimal) {
        Some(presented) => Claim::Signed(Box::new(SignedBody { vendor, presented, contexts, same: same.clone() })),
        None => Claim::Refused(Refused::Missing(vendor)),
    }
}

/// 64 hexadecimal digits as bytes.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.trim().as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.chunks(2).map(|pair| Some(value(*pair.first()?)? << 4 | value(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::vendor::tests::headers;
    use super::*;

    const BODY: &[u8] = b"{\"a\": 1}";

    type Row<'a> = (&'a [(&'a str, &'a str)], Result<Vendor, Refused>);

    fn keys(list: &[(&str, &'static str)]) -> Keys {
        Keys::read(|name| list.iter().find(|(known, _)| *known == name).map(|(_, value)| *value))
    }

    /// The signature of a body, in hexadecimal digits.
    pub(in crate::server::webhook) fn sign(secret: &str, body: &[u8]) -> String {
        let tag = hmac::sign(&hmac::Key::new(HMAC_SHA256, secret.as_bytes()), body);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn judged(list: &[(&str, &str)], keys: &Keys) -> Result<Vendor, Refused> {
        match claim(&headers(list), keys, &Same::new().unwrap()) {
            Claim::Proved(vendor) => Ok(vendor),
            Claim::Refused(refused) => Err(refused),
            Claim::Signed(mut body) => {
                for piece in BODY.chunks(3) {
                    body.update(piece);
                }
                body.finish()
            }
        }
    }

    #[test]
    fn a_signature_counts_by_the_vendors_own_header_and_form_with_either_of_two_secrets() {
        let keys = keys(&[
            ("webhook.github.secret", "old\nnew\nthird"),
            ("webhook.bitbucket.secret", "cloud"),
            ("webhook.bitbucketserver.secret", "server"),
            ("webhook.gitea.secret", "tea"),
            ("webhook.gogs.secret", "gogs"),
            ("webhook.generic.secret", "any"),
        ]);
        let prefixed = |secret: &str| format!("sha256={}", sign(secret, BODY));
        let table: [Row<'_>; 16] = [
            (&[("x-github-event", "push"), ("x-hub-signature-256", &prefixed("old"))], Ok(Vendor::GitHub)),
            (&[("x-github-event", "push"), ("x-hub-signature-256", &prefixed("new"))], Ok(Vendor::GitHub)),
            (
                &[("x-github-event", "push"), ("x-hub-signature-256", &prefixed("third"))],
                Err(Refused::Wrong(Vendor::GitHub)),
            ),
            // The signature with SHA-1 is not enough.
            (
                &[("x-github-event", "push"), ("x-hub-signature", &prefixed("old"))],
                Err(Refused::Missing(Vendor::GitHub)),
            ),
            (
                &[("x-github-event", "push"), ("x-hub-signature-256", &sign("old", BODY))],
                Err(Refused::Missing(Vendor::GitHub)),
            ),
            (&[("x-github-event", "push"), ("x-hub-signature-256", "sha256=")], Err(Refused::Missing(Vendor::GitHub))),
            (
                &[("x-github-event", "push"), ("x-hub-signature-256", &format!("sha256={}", "é".repeat(32)))],
                Err(Refused::Missing(Vendor::GitHub)),
            ),
            (
                &[("x-event-key", "repo:push"), ("x-hook-uuid", "u"), ("x-hub-signature", &prefixed("cloud"))],
                Ok(Vendor::Bitbucket),
            ),
            (&[("x-event-key", "repo:push"), ("x-hook-uuid", "cloud")], Err(Refused::Missing(Vendor::Bitbucket))),
            (
                &[("x-event-key", "repo:refs_changed"), ("x-hub-signature", &prefixed("server"))],
                Ok(Vendor::BitbucketServer),
            ),
            (&[("x-gitea-event", "push"), ("x-gitea-signature", &sign("tea", BODY))], Ok(Vendor::Gitea)),
            (&[("x-gitea-event", "push"), ("x-gitea-signature", &sign("gogs", BODY))], Ok(Vendor::Gitea)),
            (&[("x-forgejo-event", "push"), ("x-forgejo-signature", &sign("tea", BODY))], Ok(Vendor::Gitea)),
            (&[("x-gogs-event", "push"), ("x-gogs-signature", &sign("gogs", BODY))], Ok(Vendor::Gogs)),
            (&[("x-gogs-event", "push"), ("x-gogs-signature", &sign("tea", BODY))], Err(Refused::Wrong(Vendor::Gogs))),
            (&[("x-tidelock-signature", &prefixed("any"))], Ok(Vendor::Generic)),
        ];
        for (list, expected) in table {
            assert_eq!(judged(list, &keys), expected, "{list:?}");
        }
    }

    #[test]
    fn tokens_and_passwords_count_as_they_are() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let keys = keys(&[
            ("webhook.gitlab.secret", "token\nnext\n"),
            ("webhook.bitbucket.uuid", "{u-u-i-d}"),
            ("webhook.azuredevops.username", "hook"),
            ("webhook.azuredevops.password", "one\ntwo"),
            ("webhook.harbor.secret", "Bearer harbor"),
            ("webhook.registry.secret", "Bearer registry"),
        ]);
        let registry = ("content-type", "application/vnd.docker.distribution.events.v1+json");
        let table: [Row<'_>; 12] = [
            (&[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "token")], Ok(Vendor::GitLab)),
            (&[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "next")], Ok(Vendor::GitLab)),
            (&[("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "tok")], Err(Refused::Wrong(Vendor::GitLab))),
            (&[("x-gitlab-event", "Push Hook")], Err(Refused::Missing(Vendor::GitLab))),
            (&[("x-event-key", "repo:push"), ("x-hook-uuid", "{u-u-i-d}")], Ok(Vendor::Bitbucket)),
            (&[("authorization", &basic("hook:one"))], Ok(Vendor::AzureDevOps)),
            (&[("authorization", &basic("hook:two")), ("x-vss-activityid", "a")], Ok(Vendor::AzureDevOps)),
            (
                &[("authorization", &basic("hook:three")), ("x-vss-activityid", "a")],
                Err(Refused::Wrong(Vendor::AzureDevOps)),
            ),
            (&[("authorization", "Bearer harbor")], Ok(Vendor::Harbor)),
            (&[("authorization", "Bearer registry"), registry], Ok(Vendor::Registry)),
            (&[("authorization", "Bearer harbor"), registry], Err(Refused::Wrong(Vendor::Registry))),
            (&[], Err(Refused::Unknown)),
        ];
        for (list, expected) in table {
            assert_eq!(judged(list, &keys), expected, "{list:?}");
        }
    }

    #[test]
    fn without_a_secret_nothing_is_proved_and_an_empty_one_is_none() {
        let empty = keys(&[("webhook.github.secret", " \n\n"), ("webhook.gitlab.secret", "")]);
        for keys in [Keys::default(), empty] {
            let signature = format!("sha256={}", sign("", BODY));
            let list = [("x-github-event", "push"), ("x-hub-signature-256", signature.as_str())];
            assert_eq!(judged(&list, &keys), Err(Refused::NotSetUp(Vendor::GitHub)));
            let list = [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", "")];
            assert_eq!(judged(&list, &keys), Err(Refused::NotSetUp(Vendor::GitLab)));
            assert_eq!(judged(&[("authorization", "Basic Og==")], &keys), Err(Refused::NotSetUp(Vendor::Harbor)));
        }
        let keys = keys(&[("webhook.github.secret", "canary")]);
        assert!(!format!("{keys:?}").contains("canary"));
    }
}
