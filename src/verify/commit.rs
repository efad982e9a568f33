//! Raw git objects: what of them is signed, and by which text.

use std::fmt::Write as _;

use ring::digest;

/// Headers that carry a signature. The first covers an object whose id is SHA-1, the second one whose id is SHA-256;
/// neither covers the other.
const SIGNATURES: [&[u8]; 2] = [b"gpgsig", b"gpgsig-sha256"];

/// How a signature in the text of a tag begins.
const ARMORS: [&[u8]; 4] = [
    b"-----BEGIN PGP SIGNATURE-----",
    b"-----BEGIN PGP MESSAGE-----",
    b"-----BEGIN SSH SIGNATURE-----",
    b"-----BEGIN SIGNED MESSAGE-----",
];

/// What a git object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A commit.
    Commit,
    /// An annotated tag.
    Tag,
}

/// The id that an object's content has, in hexadecimal: SHA-256 when `like` is the id of such an object, else SHA-1.
pub fn object_id(kind: ObjectKind, content: &[u8], like: &str) -> String {
    let name = match kind {
        ObjectKind::Commit => "commit",
        ObjectKind::Tag => "tag",
    };
    let algorithm = if like.len() == 64 { &digest::SHA256 } else { &digest::SHA1_FOR_LEGACY_USE_ONLY };
    let mut context = digest::Context::new(algorithm);
    context.update(format!("{name} {}\0", content.len()).as_bytes());
    context.update(content);
    hexadecimal(context.finish().as_ref())
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A signed object, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// What the signature covers.
    pub(super) payload: Vec<u8>,
    /// The signature's text, with `\n` at the ends of its lines.
    pub(super) signature: String,
    /// When it was committed or tagged, by whoever did: seconds since 1970.
    pub(super) time: Option<i64>,
}

/// A tag, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// What it names.
    pub(super) object: String,
    /// What kind of object that is.
    pub(super) kind: String,
    /// Its name.
    pub(super) name: String,
    /// Its signature; `None` when it has none.
    pub(super) signed: Option<Signed>,
}

/// The lines of the header, each with its end of line and the lines that continue it, and the rest from the empty line on.
fn header(content: &[u8]) -> Result<(Vec<&[u8]>, &[u8]), String> {
    let mut fields: Vec<(usize, usize)> = Vec::new();
    let mut start = 0;
    while start < content.len() {
        let end = content[start..].iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| start + at + 1);
        let line = &content[start..end];
        if line == b"\n" {
            break;
        }
        if line == b"\r\n" {
            return Err("its header ends with a carriage return, as git never writes it".to_owned());
        }
        if line.starts_with(b" ") {
            let last = fields.last_mut().ok_or_else(|| "it begins with a continued line".to_owned())?;
            last.1 = end;
        } else {
            fields.push((start, end));
        }
        start = end;
    }
    Ok((fields.into_iter().map(|(from, to)| &content[from..to]).collect(), &content[start..]))
}

/// Name and value of a header's field, continued lines joined by `\n`.
fn field(lines: &[u8]) -> (&[u8], Vec<u8>) {
    let at = lines.iter().position(|byte| *byte == b' ').unwrap_or(lines.len());
    let (name, rest) = lines.split_at(at);
    let mut value = Vec::with_capacity(rest.len());
    for line in rest.split_inclusive(|byte| *byte == b'\n') {
        // Each line of the value, the first one too, stands after one space.
        value.extend_from_slice(line.strip_prefix(b" ").unwrap_or(line));
    }
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    (name, value)
}

/// `Ada <ada@corp.test> 1750000000 +0200` → seconds.
fn time_of(person: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(&person[person.iter().rposition(|byte| *byte == b'>')? + 1..]).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn text_of(signature: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(signature).map_err(|_| "it is not text".to_owned())?;
    let end = if text.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{text}{end}").replace("\r\n", "\n"))
}

/// What of a commit is signed; `None` when it has no signature of its kind of id.
///
/// # Errors
/// When it can't be told what the signature covers.
pub(super) fn split_commit(content: &[u8], sha256: bool) -> Result<Option<Signed>, String> {
    let wanted = SIGNATURES[usize::from(sha256)];
    let (fields, rest) = header(content)?;
    let mut payload = Vec::with_capacity(content.len());
    let (mut signature, mut time) = (None, None);
    for lines in fields {
        let (name, value) = field(lines);
        if SIGNATURES.contains(&name) {
            if name == wanted && signature.replace(value).is_some() {
                return Err("it has more than one signature header".to_owned());
            }
            continue;
        }
        if name == b"committer" {
            time = time_of(&value);
        }
        payload.extend_from_slice(lines);
    }
    payload.extend_from_slice(rest);
    let Some(signature) = signature else { return Ok(None) };
    Ok(Some(Signed { payload, signature: text_of(&signature)?, time }))
}

/// What of an annotated tag is signed.
///
/// # Errors
/// When it is no tag, or it can't be told what the signature covers.
pub(super) fn split_tag(content: &[u8]) -> Result<Tag, String> {
    let (fields, rest) = header(content)?;
    let (mut object, mut kind, mut name, mut time) = (None, None, None, None);
    for lines in fields {
        let (key, value) = field(lines);
        let text = || String::from_utf8_lossy(&value).into_owned();
        let twice = match key {
            b"object" => object.replace(text()).is_some(),
            b"type" => kind.replace(text()).is_some(),
            b"tag" => name.replace(text()).is_some(),
            b"tagger" => {
                time = time_of(&value);
                false
            }
            _ => false,
        };
        if twice {
            return Err(format!("the tag has two fields `{}`", String::from_utf8_lossy(key)));
        }
    }
    let missing = |what: &str| format!("the tag has no field `{what}`");
    let object = object.ok_or_else(|| missing("object"))?;
    let kind = kind.ok_or_else(|| missing("type"))?;
    let name = name.ok_or_else(|| missing("tag"))?;
    let start = content.len() - rest.len();
    let signed = match armor(rest) {
        None => None,
        Some(at) => {
            let signature = text_of(&rest[at..])?;
            ends_well(&signature)?;
            Some(Signed { payload: content[..start + at].to_vec(), signature, time })
        }
    };
    Ok(Tag { object, kind, name, signed })
}

/// Where the last signature in a text begins.
fn armor(text: &[u8]) -> Option<usize> {
    let (mut found, mut start) = (None, 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if ARMORS.iter().any(|armor| line.starts_with(armor)) {
            found = Some(start);
        }
        start += line.len();
    }
    found
}

/// What stands after a signature is covered by nothing.
fn ends_well(signature: &str) -> Result<(), String> {
    let mut lines = signature.lines().skip_while(|line| !line.starts_with("-----END "));
    lines.next();
    if lines.all(|line| line.trim().is_empty()) {
        Ok(())
    } else {
        Err("text stands after the signature, which nothing signs".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@h> 1 +0000\ncommitter A <a@h> \
                         1750000000 +0200\n";

    fn commit(signature: &str) -> Vec<u8> {
        format!("{PLAIN}{signature}\nmessage\n\ngpgsig not a header\n").into_bytes()
    }

    #[test]
    fn the_signature_is_the_header_alone_and_everything_else_is_signed() {
        let whole = commit("gpgsig -----BEGIN X-----\n \n abc\n -----END X-----\nencoding latin1\n");
        let signed = split_commit(&whole, false).unwrap().unwrap();
        assert_eq!(
            (String::from_utf8(signed.payload).unwrap(), signed.signature.as_str(), signed.time),
            (
                format!("{PLAIN}encoding latin1\n\nmessage\n\ngpgsig not a header\n"),
                "-----BEGIN X-----\n\nabc\n-----END X-----\n",
                Some(1_750_000_000)
            )
        );
        assert_eq!(split_commit(&whole, true), Ok(None), "a signature of the SHA-1 form says nothing of SHA-256");
        assert_eq!(split_commit(&commit(""), false), Ok(None));
    }

    #[test]
    fn each_kind_of_id_has_its_own_signature_which_does_not_cover_the_other() {
        let whole = commit("gpgsig one\n 1\ngpgsig-sha256 two\n 2\n");
        for (sha256, signature) in [(false, "one\n1\n"), (true, "two\n2\n")] {
            let signed = split_commit(&whole, sha256).unwrap().unwrap();
            assert_eq!(signed.signature, signature);
            assert_eq!(signed.payload, commit(""));
        }
    }

    #[test]
    fn carriage_returns_belong_to_what_is_signed_and_not_to_the_signature() {
        let whole = commit("gpgsig one\r\n 1\r\n");
        let signed = split_commit(&whole, false).unwrap().unwrap();
        assert_eq!(signed.signature, "one\n1\n");
        let message = format!("{PLAIN}gpgsig one\n\nwith\r\nreturns\r\n").into_bytes();
        let signed = split_commit(&message, false).unwrap().unwrap();
        assert_eq!(signed.payload, format!("{PLAIN}\nwith\r\nreturns\r\n").into_bytes());
        let broken = format!("{PLAIN}\r\ngpgsig one\n\nx").into_bytes();
        assert!(split_commit(&broken, false).unwrap_err().contains("carriage return"));
    }

    #[test]
    fn two_signatures_of_one_kind_are_refused() {
        let found = split_commit(&commit("gpgsig one\ngpgsig two\n"), false);
        assert_eq!(found, Err("it has more than one signature header".to_owned()));
        assert!(split_commit(b" x\n", false).is_err());
    }

    #[test]
    fn a_header_that_only_begins_like_a_signature_is_signed_with_the_rest() {
        let whole = commit("gpgsignature x\ngpgsig one\n");
        let signed = split_commit(&whole, false).unwrap().unwrap();
        assert_eq!(signed.payload, commit("gpgsignature x\n"));
    }

    fn tag(message: &str) -> Vec<u8> {
        let object = "1".repeat(40);
        format!("object {object}\ntype commit\ntag v1\ntagger A <a@h> 1750000000 +0000\n\n{message}").into_bytes()
    }

    #[test]
    fn the_last_signature_of_a_tag_counts_and_nothing_may_follow_it() {
        let armor = "-----BEGIN SSH SIGNATURE-----\nabc\n-----END SSH SIGNATURE-----\n";
        let found = split_tag(&tag(&format!("{armor}text\n{armor}"))).unwrap();
        let signed = found.signed.unwrap();
        assert_eq!((found.name.as_str(), found.kind.as_str(), found.object), ("v1", "commit", "1".repeat(40)));
        assert_eq!(signed.payload, tag(&format!("{armor}text\n")));
        assert_eq!(signed.signature, armor);
        assert!(split_tag(&tag(&format!("{armor}more"))).unwrap_err().contains("after the signature"));
        assert_eq!(split_tag(&tag("plain")).unwrap().signed, None);
        assert!(split_tag(b"type commit\ntag v1\n\n").unwrap_err().contains("`object`"));
        let twice = "object a\nobject b\ntype commit\ntag v1\n\nx";
        assert!(split_tag(twice.as_bytes()).unwrap_err().contains("two fields"));
    }

    #[test]
    fn the_id_of_an_object_is_the_hash_of_its_kind_length_and_content() {
        let content = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n";
        assert_eq!(object_id(ObjectKind::Commit, content, &"0".repeat(40)).len(), 40);
        assert_eq!(object_id(ObjectKind::Tag, content, &"0".repeat(64)).len(), 64);
        assert_ne!(object_id(ObjectKind::Commit, content, ""), object_id(ObjectKind::Tag, content, ""));
    }
}
