//! Lines of OpenSSH's `allowed_signers`: `principals [options] type key [comment]`, or a public key alone.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use russh::keys::ssh_key::{HashAlg, PublicKey};

use super::super::policy::glob;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    principals: Vec<String>,
    /// Patterns of purposes; empty for all.
    pub(super) namespaces: Vec<String>,
    pub(super) valid_after: Option<i64>,
    pub(super) valid_before: Option<i64>,
    /// Whether the key signs certificates instead of commits.
    pub(super) authority: bool,
    /// `SHA256:…`.
    pub(super) fingerprint: String,
}

impl Entry {
    /// Who holds the key. For an authority these are patterns.
    pub(super) fn principals(&self) -> &[String] {
        &self.principals
    }

    /// Which of a certificate's principals this authority may vouch for.
    pub(super) fn held(&self, principals: &[String]) -> Vec<String> {
        let matches = |name: &String| {
            let (mut yes, mut no) = (false, false);
            for pattern in &self.principals {
                match pattern.strip_prefix('!') {
                    Some(pattern) => no |= glob(pattern, false).is_match(name),
                    None => yes |= glob(pattern, false).is_match(name),
                }
            }
            yes && !no
        };
        principals.iter().filter(|name| matches(name)).cloned().collect()
    }
}

/// Reads a line; `None` for an empty one or a comment. `name` is the principal of a key that comes without one.
pub(super) fn entry(line: &str, name: &str) -> Result<Option<Entry>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if line.contains("PRIVATE KEY") {
        return Err("a private key must never be here: remove it, and take it for stolen".to_owned());
    }
    let (first, rest) = word(line);
    let mut entry = Entry {
        principals: Vec::new(),
        namespaces: Vec::new(),
        valid_after: None,
        valid_before: None,
        authority: false,
        fingerprint: String::new(),
    };
    if is_key_type(first) {
        let key = public_key(line)?;
        let comment = key.comment().as_str_lossy().trim().to_owned();
        entry.principals = vec![if comment.is_empty() { name.to_owned() } else { comment }];
        entry.fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        return Ok(Some(entry));
    }
    entry.principals =
        unquoted(first).split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if entry.principals.is_empty() {
        return Err("it begins with no principal".to_owned());
    }
    let (second, after) = word(rest);
    let key = if is_key_type(second) {
        rest
    } else {
        options(second, &mut entry)?;
        after
    };
    entry.fingerprint = public_key(key)?.fingerprint(HashAlg::Sha256).to_string();
    Ok(Some(entry))
}

/// The first word of a line, in which quotes hold spaces together, and the rest.
fn word(line: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = line.char_indices().find(|(_, letter)| {
        if *letter == '"' {
            quoted = !quoted;
        }
        !quoted && letter.is_whitespace()
    });
    let at = end.map_or(line.len(), |(at, _)| at);
    (&line[..at], line[at..].trim_start())
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-sha2-"].iter().any(|prefix| word.starts_with(prefix))
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::from_openssh(text).map_err(|error| format!("the public key can't be read: {error}"))
}

fn options(text: &str, entry: &mut Entry) -> Result<(), String> {
    let mut rest = text;
    while !rest.is_empty() {
        let mut quoted = false;
        let end = rest.char_indices().find(|(_, letter)| {
            if *letter == '"' {
                quoted = !quoted;
            }
            !quoted && *letter == ','
        });
        let (option, after) = end.map_or((rest, ""), |(at, _)| (&rest[..at], &rest[at + 1..]));
        rest = after;
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(unquoted(value))));
        match (name.to_ascii_lowercase().as_str(), value) {
            ("cert-authority", None) => entry.authority = true,
            ("namespaces", Some(list)) => {
                entry.namespaces = list.split(',').map(|name| name.trim().to_owned()).collect();
            }
            ("valid-after", Some(time)) => entry.valid_after = Some(seconds(time)?),
            ("valid-before", Some(time)) => entry.valid_before = Some(seconds(time)?),
            // What is not understood could narrow what the key may do.
            _ => return Err(format!("the option `{option}` is not known")),
        }
    }
    Ok(())
}

/// `YYYYMMDD` or `YYYYMMDDHHMM[SS]`, in UTC with or without a `Z`: a cluster has no local time.
fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a time such as 20260131 or 202601312359Z");
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(digits.len(), 8 | 12 | 14) {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| digits.get(from..to).and_then(|part| part.parse::<i8>().ok()).unwrap_or(0);
    let year = digits[..4].parse::<i16>().map_err(|_| wrong())?;
    let time = DateTime::new(year, number(4, 6), number(6, 8), number(8, 10), number(10, 12), number(12, 14), 0);
    let time = time.ok().and_then(|time| time.to_zoned(TimeZone::UTC).ok()).ok_or_else(wrong)?;
    Ok(time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILagOJFgwaMNhBWQINinKOXmqS4Gh5NgxgriXwdOoINJ";
    const PRINT: &str = "SHA256:ldyiXa1JQakitNU5tErauu8DvWQ1dZ7aXu+rm7KQuog";

    fn read(line: &str) -> Result<Option<Entry>, String> {
        entry(line, "file")
    }

    fn principals(line: &str) -> Vec<String> {
        read(line).unwrap().unwrap().principals
    }

    #[test]
    fn each_form_of_a_line_is_read() {
        let full = format!(
            "ada@h,bob@h namespaces=\"git,file\",valid-after=20260101,valid-before=\"202602030405Z\" {KEY} a comment"
        );
        assert_eq!(
            read(&full),
            Ok(Some(Entry {
                principals: vec!["ada@h".into(), "bob@h".into()],
                namespaces: vec!["git".into(), "file".into()],
                valid_after: Some(1_767_225_600),
                valid_before: Some(1_770_091_500),
                authority: false,
                fingerprint: PRINT.into(),
            }))
        );
        assert_eq!(principals(&format!("\"Ada L,bob\" {KEY}")), ["Ada L", "bob"]);
        assert_eq!(principals(&format!("{KEY} ada@h")), ["ada@h"]);
        assert_eq!(principals(KEY), ["file"], "a plain key is called as the text that holds it");
        assert!(read(&format!("*@h cert-authority {KEY}")).unwrap().unwrap().authority);
        assert_eq!(read("  # a comment"), Ok(None));
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (line, why) in [
            (format!("ada verify-required {KEY}"), "the option `verify-required` is not known"),
            (format!("ada valid-before=soon {KEY}"), "`soon` is not a time"),
            (format!("ada valid-before=20261399 {KEY}"), "`20261399` is not a time"),
            ("ada ssh-ed25519 AAAA".to_owned(), "the public key can't be read"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----".to_owned(), "a private key must never be here"),
            (format!(", {KEY}"), "it begins with no principal"),
        ] {
            let found = read(&line).unwrap_err();
            assert!(found.starts_with(why), "{line}: {found}");
        }
    }

    #[test]
    fn an_authority_vouches_for_the_principals_that_its_patterns_match() {
        let authority = read(&format!("*@h,!root@h cert-authority {KEY}")).unwrap().unwrap();
        let names = ["ada@h", "root@h", "eve@x"].map(str::to_owned);
        assert_eq!(authority.held(&names), ["ada@h"]);
        assert_eq!(authority.held(&[]), Vec::<String>::new(), "a certificate for everyone is for nobody");
    }
}
