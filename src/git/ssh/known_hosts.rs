//! The format of OpenSSH's `known_hosts`: which keys are listed for a host. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use russh::keys::{Algorithm, PublicKey};
use thiserror::Error;

/// More is a mistake, such as a wrong file: lists of all large hosting services have some kilobytes.
const TEXT_LIMIT: usize = 1 << 20;

/// A line that can't be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KnownHostsError {
    /// The whole text is too long.
    #[error("it has more than {TEXT_LIMIT} bytes; list only the hosts that are used")]
    TooLong,
    /// A line that is not of the format.
    #[error(
        "line {line} cannot be read: {problem}; a line reads `HOST KEY-TYPE KEY`, as `ssh-keyscan HOST` prints it \
         (a port other than 22: `[HOST]:PORT KEY-TYPE KEY`)"
    )]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What a line says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// The key is the host's.
    Key,
    /// The key signs the certificates of hosts.
    Authority,
    /// The key must not be accepted any more.
    Revoked,
}

/// A key and the hosts that it is listed for.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub marker: Marker,
    hosts: Hosts,
    pub key: PublicKey,
}

#[derive(Clone, Debug)]
enum Hosts {
    Patterns(Vec<HostGlob>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

#[derive(Clone, Debug)]
struct HostGlob {
    negated: bool,
    pattern: String,
}

/// Host keys that are trusted, by host.
#[derive(Clone, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
}

impl KnownHosts {
    /// Reads the format. Keys of types that are not supported (such as `ssh-dss`) are passed over: they are never
    /// accepted from a server.
    pub fn parse(text: &str) -> Result<Self, KnownHostsError> {
        if text.len() > TEXT_LIMIT {
            return Err(KnownHostsError::TooLong);
        }
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let entry = Entry::parse(line).map_err(|problem| KnownHostsError::Line { line: index + 1, problem })?;
            entries.extend(entry);
        }
        Ok(Self { entries })
    }

    /// These and others.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.entries.extend(others.entries);
        self
    }

    /// Whether no key at all is listed.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries whose hosts match `name`: a host in lower case, or `[host]:port`.
    pub(super) fn matching(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.hosts.matches(name))
    }
}

impl fmt::Debug for KnownHosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KnownHosts({} keys)", self.entries.len())
    }
}

impl Entry {
    /// `None` for keys of types that are not supported.
    fn parse(line: &str) -> Result<Option<Self>, &'static str> {
        let mut fields = line.split_whitespace();
        let mut first = fields.next().unwrap_or_default();
        let marker = match first {
            "@cert-authority" => Marker::Authority,
            "@revoked" => Marker::Revoked,
            _ if first.starts_with('@') => return Err("the only markers are @cert-authority and @revoked"),
            _ => Marker::Key,
        };
        if marker != Marker::Key {
            first = fields.next().unwrap_or_default();
        }
        let hosts = Hosts::parse(first)?;
        let (Some(kind), Some(encoded)) = (fields.next(), fields.next()) else {
            return Err("it has too few fields");
        };
        let known = ["ssh-", "ecdsa-sha2-", "sk-", "rsa-sha2-"].iter().any(|start| kind.starts_with(start));
        if !known {
            return Err("its key type is none of SSH");
        }
        if !is_supported_name(kind) {
            return Ok(None);
        }
        let key = PublicKey::from_openssh(&format!("{kind} {encoded}")).map_err(|_| "its key is cut off or altered")?;
        Ok(Some(Self { marker, hosts, key }))
    }
}

fn is_supported_name(kind: &str) -> bool {
    matches!(kind, "ssh-ed25519" | "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521")
}

/// Whether keys of this type are accepted from a server at all.
pub(super) fn is_supported(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. })
}

impl Hosts {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(hashed) = text.strip_prefix("|1|") {
            let (salt, hash) = hashed.split_once('|').ok_or("its hashed host has no salt")?;
            let decode = |text: &str| STANDARD.decode(text).map_err(|_| "its hashed host is not base64");
            return Ok(Self::Hashed { salt: decode(salt)?, hash: decode(hash)? });
        }
        if text.starts_with('|') {
            return Err("its hashed host has another form than |1|SALT|HASH");
        }
        let globs = text.split(',').filter(|pattern| !pattern.is_empty()).map(|pattern| {
            let (negated, pattern) = pattern.strip_prefix('!').map_or((false, pattern), |rest| (true, rest));
            HostGlob { negated, pattern: pattern.to_ascii_lowercase() }
        });
        let globs: Vec<HostGlob> = globs.collect();
        if globs.is_empty() { Err("it names no host") } else { Ok(Self::Patterns(globs)) }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Patterns(globs) => {
                let hit = |glob: &&HostGlob| glob_matches(glob.pattern.as_bytes(), name.as_bytes());
                // One negated pattern that matches rules the whole line out.
                let mut hits = globs.iter().filter(hit).peekable();
                hits.peek().is_some() && hits.all(|glob| !glob.negated)
            }
            Self::Hashed { salt, hash } => {
                let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
                hmac::sign(&key, name.as_bytes()).as_ref() == hash.as_slice()
            }
        }
    }
}

/// `*` stands for any characters, `?` for one. Linear in memory, and never worse than the product of both lengths.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where the last star stands, and how far its part of the text goes.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                Some((star_at, covered)) => {
                    star = Some((star_at, covered + 1));
                    at = star_at + 1;
                    from = covered + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|left| *left == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    fn matches(hosts: &str, name: &str) -> bool {
        KnownHosts::parse(&format!("{hosts} {ED25519}")).unwrap().matching(name).next().is_some()
    }

    #[test]
    fn hosts_match_by_name_pattern_port_and_hash() {
        assert!(matches("github.com", "github.com"));
        assert!(matches("GitHub.com,192.0.2.1", "github.com"));
        assert!(!matches("github.com", "github.com.evil.test"));
        assert!(!matches("github.com", "[github.com]:443"));
        assert!(matches("[github.com]:443", "[github.com]:443"));
        assert!(matches("[*.corp.test]:2222", "[git.corp.test]:2222"));
        assert!(matches("*.corp.test", "git.corp.test"));
        assert!(!matches("*.corp.test", "corp.test"));
        assert!(matches("g?t.corp.test", "git.corp.test"));
        assert!(!matches("*.corp.test,!old.corp.test", "old.corp.test"));
        assert!(!matches("!old.corp.test,*.corp.test", "old.corp.test"));
        assert!(matches("!old.corp.test,*.corp.test", "new.corp.test"));
        assert!(!matches("!old.corp.test", "new.corp.test"));
        assert!(!matches("*a*a*a*a*a*a*a*a*a*a*b", &"a".repeat(5000)));
        // HMAC-SHA1 of `github.com` under this salt.
        let hashed = "|1|AAECAwQFBgcICQoLDA0ODxAREhM=|";
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &(0..20).collect::<Vec<u8>>());
        let hash = STANDARD.encode(hmac::sign(&key, b"github.com"));
        assert!(matches(&format!("{hashed}{hash}"), "github.com"));
        assert!(!matches(&format!("{hashed}{hash}"), "gitlab.com"));
    }

    #[test]
    fn what_a_real_file_holds_is_read() {
        let text = format!(
            "# comment\n\n  a.test\t{ED25519} a comment\r\n@revoked * {ED25519}\n@cert-authority *.test {ED25519}\n\
             old.test ssh-dss AAAA\nsk.test sk-ssh-ed25519@openssh.com AAAA\n"
        );
        let hosts = KnownHosts::parse(&text).unwrap();
        assert_eq!(format!("{hosts:?}"), "KnownHosts(3 keys)");
        let markers: Vec<Marker> = hosts.matching("a.test").map(|entry| entry.marker).collect();
        assert_eq!(markers, [Marker::Key, Marker::Revoked, Marker::Authority]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (line, problem) in [
            ("github.com", "it has too few fields"),
            ("github.com ssh-ed25519", "it has too few fields"),
            ("github.com ssh-ed25519 AAAAC3Nz", "its key is cut off or altered"),
            ("ssh-ed25519 AAAAC3Nz ann@laptop", "its key type is none of SSH"),
            ("@trusted github.com ssh-ed25519 AAAA", "the only markers are @cert-authority and @revoked"),
            ("|2|x|y ssh-ed25519 AAAA", "its hashed host has another form than |1|SALT|HASH"),
            ("|1|x ssh-ed25519 AAAA", "its hashed host has no salt"),
        ] {
            let error = KnownHosts::parse(&format!("# first\n{line}")).unwrap_err();
            assert_eq!(error, KnownHostsError::Line { line: 2, problem }, "{line}");
        }
        assert_eq!(KnownHosts::parse(&"#".repeat(TEXT_LIMIT + 1)).unwrap_err(), KnownHostsError::TooLong);
    }
}
