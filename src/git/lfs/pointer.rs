//! The pointer file that stands in a tree for content that lies elsewhere. Pure.

use std::fmt;

/// A pointer file is smaller than this, in bytes.
pub const LONGEST_POINTER: u64 = 1024;

/// The first line of a pointer file, as this version of the specification and its predecessors write it.
const VERSIONS: [&str; 3] =
    ["https://git-lfs.github.com/spec/v1", "https://hawser.github.com/spec/v1", "http://git-media.io/v/2"];

/// Which content a pointer file stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LfsPointer {
    oid: String,
    size: u64,
}

impl LfsPointer {
    /// Reads a file of a tree; `None` for everything that is no pointer. A file that begins as a pointer and is not a
    /// whole one is none: it is what it is, and no YAML that means anything.
    pub fn parse(content: &[u8]) -> Option<Self> {
        if content.len() as u64 >= LONGEST_POINTER {
            return None;
        }
        let text = std::str::from_utf8(content).ok()?;
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("version ")?;
        if !VERSIONS.contains(&version.trim_end()) {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ') {
                Some(("oid", value)) => oid = value.trim_end().strip_prefix("sha256:"),
                Some(("size", value)) => size = value.trim_end().parse().ok(),
                // Extensions, which say how the content was made.
                Some(_) | None => {}
            }
        }
        Self::new(oid?, size?)
    }

    /// A pointer to content of this SHA-256 and size.
    pub fn new(oid: &str, size: u64) -> Option<Self> {
        let valid = oid.len() == 64 && oid.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self { oid: oid.to_owned(), size })
    }

    /// SHA-256 of the content: 64 hexadecimal digits in lower case.
    pub fn oid(&self) -> &str {
        &self.oid
    }

    /// Bytes of the content.
    pub const fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Display for LfsPointer {
    /// The first digits and the size, for messages.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}… of {} bytes", &self.oid[..12], self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    #[test]
    fn pointers_are_told_from_everything_else() {
        let pointer = |text: &str| LfsPointer::parse(text.as_bytes()).map(|pointer| (pointer.oid, pointer.size));
        let v1 = "version https://git-lfs.github.com/spec/v1";
        let found = Some((OID.to_owned(), 12345));
        assert_eq!(pointer(&format!("{v1}\noid sha256:{OID}\nsize 12345\n")), found);
        assert_eq!(pointer(&format!("{v1}\r\noid sha256:{OID}\r\nsize 12345\r\n")), found);
        assert_eq!(pointer(&format!("{v1}\next-0-foo sha256:{OID}\noid sha256:{OID}\nsize 12345\n")), found);
        assert_eq!(pointer(&format!("version https://hawser.github.com/spec/v1\noid sha256:{OID}\nsize 12345")), found);
        for other in [
            String::new(),
            "kind: ConfigMap\n".to_owned(),
            format!("{v1}\n"),
            format!("{v1}\noid sha256:{OID}\n"),
            format!("{v1}\noid sha256:{OID}\nsize -1\n"),
            format!("{v1}\noid sha256:{}\nsize 1\n", OID.to_uppercase()),
            format!("{v1}\noid sha256:../../{}\nsize 1\n", &OID[6..]),
            format!("{v1}\noid md5:{OID}\nsize 1\n"),
            format!("version https://example.com/spec/v1\noid sha256:{OID}\nsize 1\n"),
            format!("# version\n{v1}\noid sha256:{OID}\nsize 1\n"),
            format!("{v1}\noid sha256:{OID}\nsize 1\n{}", "x".repeat(1024)),
        ] {
            assert_eq!(pointer(&other), None, "{other}");
        }
        assert_eq!(LfsPointer::parse(b"version \xff"), None);
    }
}
