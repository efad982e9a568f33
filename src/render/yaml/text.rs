//! Bytes → UTF-8 text that the parser accepts to its last byte.

use std::borrow::Cow;

use super::YamlError;
use crate::model::Reason;

/// Removes a byte order mark, decodes UTF-16 that has one, and makes sure that the last line is terminated.
///
/// The parser panics at the end of a block scalar whose last line is not terminated, and kubectl terminates every line
/// before it parses, so that the added line break also gives the value that kubectl gives.
pub(super) fn to_utf8(bytes: &[u8]) -> Result<Cow<'_, str>, YamlError> {
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Cow::Borrowed(utf8(rest)?),
        [0xff, 0xfe, rest @ ..] => Cow::Owned(utf16(rest, u16::from_le_bytes)?),
        [0xfe, 0xff, rest @ ..] => Cow::Owned(utf16(rest, u16::from_be_bytes)?),
        _ => Cow::Borrowed(utf8(bytes)?),
    };
    if text.is_empty() || text.ends_with('\n') {
        return Ok(text);
    }
    let mut owned = text.into_owned();
    owned.push('\n');
    Ok(Cow::Owned(owned))
}

fn utf8(bytes: &[u8]) -> Result<&str, YamlError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default());
        let (line, column) = position(&valid);
        YamlError::new(Reason::InvalidYaml, line, column, "the text is not valid UTF-8 here")
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, YamlError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match decoded {
            Ok(character) => text.push(character),
            Err(_) => return Err(broken_utf16(&text)),
        }
    }
    if rest.is_empty() { Ok(text) } else { Err(broken_utf16(&text)) }
}

fn broken_utf16(before: &str) -> YamlError {
    let (line, column) = position(before);
    YamlError::new(Reason::InvalidYaml, line, column, "the text is not valid UTF-16 here")
}

/// Refuses what YAML does not allow in a text, NUL among it.
pub(super) fn refuse_control_characters(text: &str) -> Result<(), YamlError> {
    let Some((index, character)) = text.char_indices().find(|(_, character)| !is_allowed(*character)) else {
        return Ok(());
    };
    let (line, column) = position(text.get(..index).unwrap_or_default());
    let message = format!("control character U+{:04X} is not allowed in YAML", u32::from(character));
    Err(YamlError::new(Reason::InvalidYaml, line, column, message))
}

const fn is_allowed(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

/// Line and column of the character after a text, counted from 1.
fn position(before: &str) -> (u32, u32) {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (saturate(line), saturate(column))
}

/// A position as an error holds it.
pub(super) fn saturate(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
