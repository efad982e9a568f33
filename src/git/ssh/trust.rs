//! Whether a server is the one it should be, by its host key or certificate. Pure: the time is passed in.

use std::collections::BTreeSet;

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey};

use super::known_hosts::{Entry, KnownHosts, Marker, is_supported};

/// Where one service answers for another: entries for the second count for the first. Each is documented by its
/// operator as the same service with the same keys, on a port that proxies let pass.
const ALIASES: &[(&str, &str)] =
    &[("ssh.github.com", "github.com"), ("altssh.gitlab.com", "gitlab.com"), ("altssh.bitbucket.org", "bitbucket.org")];

/// What `known_hosts` says about one server.
#[derive(Clone, Debug)]
pub(super) struct HostTrust {
    host: String,
    /// The name to be written in front of a new line.
    name: String,
    keys: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
}

/// A server is not trusted: why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Untrusted(pub String);

/// Where to write what is missing.
const WHERE: &str = "the key `known_hosts` of the Repository's Secret, or to its spec.knownHosts";

impl HostTrust {
    /// What is listed for a host (in lower case) and port. Names are looked at in this order, and the first that has
    /// any line decides: `[host]:port` (only `host` on port 22), `host`, and the same for the name that the host is an
    /// alias of. A revoked key counts under each of them.
    pub(super) fn of(known: &KnownHosts, host: &str, port: u16) -> Self {
        let hosts = std::iter::once(host).chain(ALIASES.iter().filter(|(name, _)| *name == host).map(|(_, of)| *of));
        let mut names = Vec::new();
        for host in hosts {
            if port != 22 {
                names.push(format!("[{host}]:{port}"));
            }
            names.push(host.to_owned());
        }
        let keys_of = |name: &str, marker: Marker| {
            let entries = known.matching(name).filter(move |entry| entry.marker == marker);
            entries.map(|Entry { key, .. }| key.clone()).collect::<Vec<_>>()
        };
        let mut trust = Self {
            host: host.to_owned(),
            name: names.first().cloned().unwrap_or_default(),
            keys: Vec::new(),
            authorities: Vec::new(),
            revoked: names.iter().flat_map(|name| keys_of(name, Marker::Revoked)).collect(),
        };
        for name in &names {
            trust.keys = keys_of(name, Marker::Key);
            trust.authorities = keys_of(name, Marker::Authority);
            if trust.is_listed() {
                break;
            }
        }
        trust
    }

    fn is_listed(&self) -> bool {
        !(self.keys.is_empty() && self.authorities.is_empty())
    }

    /// The types of key that the server may prove itself with, best first: those that are listed. All when nothing is
    /// listed, so that the server's key can be named.
    pub(super) fn key_algorithms(&self) -> Vec<Algorithm> {
        all_algorithms()
            .into_iter()
            .filter(|algorithm| !self.is_listed() || self.keys.iter().any(|key| same_kind(&key.algorithm(), algorithm)))
            .collect()
    }

    /// The types of key that the server may prove itself with by a certificate.
    pub(super) fn certificate_algorithms(&self) -> Vec<Algorithm> {
        if self.authorities.is_empty() { Vec::new() } else { all_algorithms() }
    }

    /// Judges a bare key.
    pub(super) fn judge_key(&self, key: &PublicKey) -> Result<(), Untrusted> {
        let shown = describe(key);
        if self.is_revoked(key) {
            return Err(Untrusted(format!(
                "the server's host key ({shown}) is listed as @revoked in known_hosts: this is not the server it was, or \
                 its operators have not replaced a key that was lost"
            )));
        }
        if !is_supported(&key.algorithm()) {
            return Err(Untrusted(format!("the server's host key ({shown}) is of a type that is not safe")));
        }
        if self.keys.iter().any(|listed| listed.key_data() == key.key_data()) {
            return Ok(());
        }
        let line = format!("{} {}", self.name, key_text(key));
        if self.keys.is_empty() {
            return Err(Untrusted(format!(
                "no host key is listed for {}; the server shows {shown}: compare this fingerprint with the one that its \
                 operators publish, then add this line to {WHERE}: {line}",
                self.name
            )));
        }
        let listed: BTreeSet<String> = self.keys.iter().map(describe).collect();
        let listed = listed.into_iter().collect::<Vec<_>>().join(", ");
        Err(Untrusted(format!(
            "the server shows another host key than the listed one: it shows {shown}, and known_hosts lists {listed} for \
             {}. Someone may be in between. Only if its operators say that the key was replaced, put this line in place \
             of the old one: {line}",
            self.name
        )))
    }

    /// Judges a certificate at a time (seconds since 1970).
    pub(super) fn judge_certificate(&self, certificate: &Certificate, now: u64) -> Result<(), Untrusted> {
        let key = PublicKey::from(certificate.public_key().clone());
        let authority = PublicKey::from(certificate.signature_key().clone());
        let refuse = |problem: String| {
            Err(Untrusted(format!("the server's host certificate (signed by {}) {problem}", describe(&authority))))
        };
        if self.is_revoked(&key) || self.is_revoked(&authority) {
            return refuse("is of a key that known_hosts lists as @revoked".to_owned());
        }
        let trusted: Vec<_> = self.authorities.iter().map(|listed| listed.fingerprint(HashAlg::Sha256)).collect();
        if !self.authorities.iter().any(|listed| listed.key_data() == authority.key_data()) {
            return refuse(format!("is not signed by an @cert-authority that known_hosts lists for {}", self.name));
        }
        if certificate.cert_type() != CertType::Host {
            return refuse("is one of a user, not of a host".to_owned());
        }
        if matches!(certificate.signature().algorithm(), Algorithm::Dsa | Algorithm::Rsa { hash: None }) {
            return refuse("is signed with SHA-1; sign it anew with `ssh-keygen -t rsa-sha2-512`".to_owned());
        }
        if certificate.validate_at(now, &trusted).is_err() {
            return refuse("has ended, does not yet hold, or its signature is wrong".to_owned());
        }
        if !certificate.valid_principals().iter().any(|name| name.eq_ignore_ascii_case(&self.host)) {
            return refuse(format!(
                "does not name {}; sign one that does: `ssh-keygen -s CA -h -I ID -n {} KEY.pub`",
                self.host, self.host
            ));
        }
        if !certificate.critical_options().is_empty() {
            return refuse("has critical options, and none is defined for hosts".to_owned());
        }
        Ok(())
    }

    /// The server has no key of a listed type.
    pub(super) fn no_common_type(&self, offered: &[String]) -> Untrusted {
        let listed: BTreeSet<String> = self.keys.iter().map(|key| key.algorithm().to_string()).collect();
        let mut listed: Vec<String> = listed.into_iter().collect();
        if !self.authorities.is_empty() {
            listed.push("certificates (@cert-authority)".to_owned());
        }
        if listed.is_empty() {
            return Untrusted(format!(
                "the server has only host keys of types that are not safe or not supported ({})",
                offered.join(", ")
            ));
        }
        Untrusted(format!(
            "the server has no host key of a type that known_hosts lists for {} ({}): it has {}; add a line for one of \
             these, as `ssh-keyscan` prints it and its operators confirm it, to {WHERE}",
            self.name,
            listed.join(", "),
            offered.join(", ")
        ))
    }

    fn is_revoked(&self, key: &PublicKey) -> bool {
        self.revoked.iter().any(|revoked| revoked.key_data() == key.key_data())
    }
}

/// SHA-1 signatures (`ssh-rsa`) and `ssh-dss` are not among them.
fn all_algorithms() -> Vec<Algorithm> {
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    vec![
        Algorithm::Ed25519,
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        ecdsa(EcdsaCurve::NistP521),
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ]
}

fn same_kind(key: &Algorithm, algorithm: &Algorithm) -> bool {
    match (key, algorithm) {
        (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
        (key, algorithm) => key == algorithm,
    }
}

/// `ssh-ed25519 SHA256:…`, as `ssh-keygen -l` and the operators of servers show it.
pub(super) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

/// Type and base64, without the comment.
fn key_text(key: &PublicKey) -> String {
    PublicKey::from(key.key_data().clone()).to_openssh().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
