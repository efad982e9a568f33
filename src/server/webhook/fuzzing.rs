//! A door for fuzzing: what strangers send. Not part of the program.

use std::collections::BTreeMap;

use super::payload::repositories;
use super::proof::{Claim, Keys, Same, claim};
use super::vendor::{Headers, Vendor};
use crate::reconcile::Hints;

struct Lines(BTreeMap<String, String>);

impl Headers for Lines {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The first byte chooses the vendor and the form, the rest is the body: it may be refused.
pub fn payload(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let vendor = Vendor::ALL[usize::from(*first) % Vendor::ALL.len()];
    let content_type = if *first >= 128 { "application/x-www-form-urlencoded" } else { "application/json" };
    if let Ok(named) = repositories(vendor, content_type, body) {
        assert!(named.len() <= 64, "few are looked at");
        let _ = Hints::of(named.iter().map(String::as_str));
    }
}

/// Lines `name: value`, then an empty one and a body. Without the secret nothing is proved.
pub fn proof(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let headers = Lines(headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect());
    let keys = Keys::read(|_| Some("7d1b0b0e4f3c4a52a8a4\n0c9d6f7e2b1a4c5d9e8f"));
    let Some(same) = Same::new() else { return };
    match claim(&headers, &keys, &same) {
        Claim::Refused(_) => {}
        Claim::Proved(vendor) => {
            assert!(
                text.contains("7d1b0b0e4f3c4a52a8a4") || text.contains("0c9d6f7e2b1a4c5d9e8f") || basic(vendor),
                "{vendor:?}"
            );
        }
        Claim::Signed(mut signed) => {
            signed.update(body.as_bytes());
            assert!(signed.finish().is_err(), "a signature can't be guessed");
        }
    }
}

/// Its secret is encoded, so it need not be seen as it is.
fn basic(vendor: Vendor) -> bool {
    vendor == Vendor::AzureDevOps
}
