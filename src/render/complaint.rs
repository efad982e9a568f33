//! What a failed tool says, made fit to be shown: short, without private paths, and without secrets.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::yaml::{self, DuplicateKeys, YamlLimits};

const MOST_LINES: usize = 6;
const MOST_CHARACTERS: usize = 1000;
/// Shorter texts would blot out half of every message and are guessed rather than leaked.
const SHORTEST_SECRET: usize = 5;
const MASK: &str = "…";
/// Parts of names under which values files keep secrets.
const SECRET_NAMES: [&str; 8] =
    ["pass", "secret", "token", "credential", "apikey", "api_key", "privatekey", "private_key"];

/// Texts that must not appear in any message.
#[derive(Debug, Default)]
pub(super) struct Canaries {
    texts: BTreeSet<String>,
}

impl Canaries {
    /// Learns the content of Secrets in a file of manifests. What can't be decoded teaches nothing.
    pub(super) fn learn_manifests(&mut self, content: &[u8]) {
        if !content.windows(b"Secret".len()).any(|part| part == b"Secret") {
            return;
        }
        let Ok(decoded) = yaml::decode(content, &YamlLimits::default(), DuplicateKeys::Warn) else { return };
        for document in &decoded.documents {
            self.learn_secrets(&document.value);
        }
    }

    /// Learns the data of every Secret inside a value, lists included.
    fn learn_secrets(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                if map.get("kind").and_then(Value::as_str) == Some("Secret") {
                    for field in ["data", "stringData"] {
                        map.get(field).into_iter().for_each(|data| self.learn_leaves(data));
                    }
                } else {
                    map.values().for_each(|inner| self.learn_secrets(inner));
                }
            }
            Value::Array(items) => items.iter().for_each(|inner| self.learn_secrets(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Learns every text in a value.
    pub(super) fn learn_leaves(&mut self, value: &Value) {
        match value {
            Value::Object(map) => map.values().for_each(|inner| self.learn_leaves(inner)),
            Value::Array(items) => items.iter().for_each(|inner| self.learn_leaves(inner)),
            Value::String(text) => self.learn_text(text),
            Value::Number(number) => self.learn_text(&number.to_string()),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Learns values whose names say that they are secret, as a chart's values have them.
    pub(super) fn learn_values(&mut self, values: &Value) {
        match values {
            Value::Object(map) => {
                for (name, value) in map {
                    if is_secret_name(name) { self.learn_leaves(value) } else { self.learn_values(value) }
                }
            }
            Value::Array(items) => items.iter().for_each(|inner| self.learn_values(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Learns one named value.
    pub(super) fn learn_named(&mut self, name: &str, value: &str) {
        if is_secret_name(name) {
            self.learn_text(value);
        }
    }

    /// Learns a text, each of its lines, and what it is the base64 form of.
    pub(super) fn learn_text(&mut self, text: &str) {
        let mut keep = |text: &str| {
            for line in text.lines() {
                let line = line.trim();
                if line.len() >= SHORTEST_SECRET {
                    self.texts.insert(line.to_owned());
                }
            }
        };
        keep(text);
        if let Ok(decoded) = STANDARD.decode(text.trim())
            && let Ok(decoded) = String::from_utf8(decoded)
        {
            keep(&decoded);
        }
    }

    /// A tool's standard error as it may be shown.
    pub(super) fn complaint(&self, stderr: &str, private: &Path) -> String {
        let private = private.to_string_lossy();
        let mut text = stderr
            .replace(&format!("{private}/tree/"), "")
            .replace(&format!("{private}/lent/"), "")
            .replace(&*private, "");
        // Longest first, so that a secret inside another does not leave the rest of the longer one.
        let mut secrets: Vec<&String> = self.texts.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            text = text.replace(secret.as_str(), MASK);
        }
        let text = mask_dumps(&text);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.trim().is_empty() && !is_noise(line))
            .map(|line| line.strip_prefix("Error: ").unwrap_or(line))
            .take(MOST_LINES)
            .collect();
        let mut shown: String = lines.join("\n").chars().take(MOST_CHARACTERS).collect();
        if shown.len() < lines.join("\n").len() {
            shown.push_str(MASK);
        }
        shown
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|part| name.contains(part))
}

fn is_noise(line: &str) -> bool {
    line.starts_with("Use --debug flag") || line.starts_with("# Warning:") || line.starts_with("level=")
}

/// Kustomize dumps whole patches and generator options between backticks and brackets, and the YAML library quotes values
/// between backticks.
fn mask_dumps(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['`', '[']) {
        let (before, from) = rest.split_at(start);
        shown.push_str(before);
        let close = if from.starts_with('`') { '`' } else { ']' };
        let inside = from.get(1..).unwrap_or_default();
        // A bracket's dump may hold brackets: it reaches to the last one.
        let end = if close == '`' { inside.find(close) } else { bracket_end(inside) };
        let content = inside.get(..end.unwrap_or(inside.len())).unwrap_or_default();
        let is_dump = close == '`' || content.contains(['\n', ':', '"', '{']);
        shown.push_str(from.get(..1).unwrap_or_default());
        shown.push_str(if is_dump { MASK } else { content });
        if end.is_some() {
            shown.push(close);
        }
        rest = end.and_then(|end| inside.get(end + 1..)).unwrap_or_default();
    }
    shown.push_str(rest);
    shown
}

fn bracket_end(inside: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, character) in inside.char_indices() {
        match character {
            '[' => depth += 1,
            ']' if depth == 0 => return Some(index),
            ']' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_private_paths_and_dumps_are_not_shown() {
        let mut canaries = Canaries::default();
        canaries.learn_manifests(b"kind: Secret\nstringData: {a: hunter22}\ndata: {b: Y2FuYXJ5LTE=}\n");
        canaries.learn_values(&json!({"db": {"adminPassword": "canary-2", "host": "db.example"}, "n": 1}));
        canaries.learn_named("oauth.token", "canary-3");
        let stderr = "Error: at /run/x/tree/app/a.yaml: hunter22 Y2FuYXJ5LTE= canary-1 canary-2 canary-3 db.example\n\
                      cannot unmarshal `abc` into int from [patch: \"x: [1]\ny: z\"] in [noGrp]\n\nUse --debug flag to\n";
        let expected = "at app/a.yaml: … … … … … db.example\ncannot unmarshal `…` into int from […] in [noGrp]";
        assert_eq!(canaries.complaint(stderr, Path::new("/run/x")), expected);
    }

    #[test]
    fn long_complaints_are_cut() {
        let stderr = (0..100).map(|line| format!("line {line} {}\n", "x".repeat(400))).collect::<String>();
        let shown = Canaries::default().complaint(&stderr, Path::new("/run/x"));
        assert!(shown.starts_with("line 0 xxx") && shown.ends_with('…'), "{shown}");
        assert_eq!(shown.chars().count(), MOST_CHARACTERS + 1);
    }
}
