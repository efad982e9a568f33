//! What a scalar means: the resolution table of the Go YAML library (version 2), which all Kubernetes tools share.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Number, Value};

const PREFIX: &str = "tag:yaml.org,2002:";

/// What a scalar turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// Why a scalar has no meaning. No variant quotes the scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScalarError {
    /// The tag says one thing, the content another.
    NotA(&'static str),
    /// `!!binary` content is not base64.
    NotBase64,
    /// `!!binary` content is not text, so that no JSON string can hold it.
    NotText,
    /// JSON has no infinity and no NaN.
    NotFinite,
}

impl ScalarError {
    pub(super) fn message(self) -> String {
        match self {
            Self::NotA(tag) => format!("the value does not fit its tag !!{tag}"),
            Self::NotBase64 => "the value of tag !!binary is not valid base64".to_owned(),
            Self::NotText => {
                "the value of tag !!binary is not text; put the base64 text itself into a field that takes it \
                 (data of a Secret, binaryData of a ConfigMap)"
                    .to_owned()
            }
            Self::NotFinite => "infinity and NaN have no place in a Kubernetes object".to_owned(),
        }
    }
}

/// The meaning of a scalar. `plain` says that it stands without quotes and without a tag.
pub(super) fn resolve(text: String, tag: Option<&str>, plain: bool) -> Result<Scalar, ScalarError> {
    let Some(tag) = tag else {
        return Ok(if plain { implicit(text) } else { Scalar::Text(text) });
    };
    match tag.strip_prefix(PREFIX) {
        Some("binary") => binary(&text),
        Some("int") => match implicit(text) {
            found @ (Scalar::Integer(_) | Scalar::Unsigned(_)) => Ok(found),
            _ => Err(ScalarError::NotA("int")),
        },
        #[expect(clippy::cast_precision_loss, reason = "a float is asked for")]
        Some("float") => match implicit(text) {
            Scalar::Integer(number) => Ok(Scalar::Float(number as f64)),
            Scalar::Unsigned(number) => Ok(Scalar::Float(number as f64)),
            found @ Scalar::Float(_) => Ok(found),
            _ => Err(ScalarError::NotA("float")),
        },
        Some("bool") => match implicit(text) {
            found @ Scalar::Bool(_) => Ok(found),
            _ => Err(ScalarError::NotA("bool")),
        },
        Some("null") => match implicit(text) {
            Scalar::Null => Ok(Scalar::Null),
            _ => Err(ScalarError::NotA("null")),
        },
        // Strings, timestamps (which stay text in a Kubernetes object) and tags that mean nothing here.
        _ => Ok(Scalar::Text(text)),
    }
}

fn implicit(text: String) -> Scalar {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let number = match text.as_bytes().first() {
        Some(b'.') => decimal(&text),
        Some(b'0'..=b'9' | b'+' | b'-') => {
            // The Go library drops underscores wherever they stand.
            if text.contains('_') { number(&text.replace('_', "")) } else { number(&text) }
        }
        _ => None,
    };
    number.unwrap_or(Scalar::Text(text))
}

fn number(text: &str) -> Option<Scalar> {
    integer(text).or_else(|| decimal(text))
}

/// Integers with the prefixes of Go: `0x`, `0o`, `0b` in either case, and a plain leading `0` for octal.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, text.get(1..)?),
        b'+' => (false, true, text.get(1..)?),
        _ => (false, false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, digits.get(2..)?),
        [b'0', b'o' | b'O', ..] => (8, digits.get(2..)?),
        [b'0', b'b' | b'B', ..] => (2, digits.get(2..)?),
        [b'0', _, ..] => (8, digits.get(1..)?),
        _ => (10, digits),
    };
    // `from_str_radix` takes a sign of its own.
    if !digits.starts_with(|first: char| first.is_digit(radix)) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(magnitude)) {
        (false, Ok(number)) => Some(Scalar::Integer(number)),
        (true, Ok(number)) => Some(Scalar::Integer(-number)),
        (true, Err(_)) => (magnitude == i64::MIN.unsigned_abs()).then_some(Scalar::Integer(i64::MIN)),
        // Go's reader of unsigned numbers takes no sign; the number is then read as a float.
        (false, Err(_)) => (!signed).then_some(Scalar::Unsigned(magnitude)),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, if the number is in range.
fn decimal(text: &str) -> Option<Scalar> {
    let digits = |bytes: &[u8], from: usize| from + bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let bytes = text.as_bytes();
    let start = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(bytes, start);
    let mut end = whole;
    if bytes.get(whole) == Some(&b'.') {
        end = digits(bytes, whole + 1);
        if whole == start && end == whole + 1 {
            return None;
        }
    } else if whole == start {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let from = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(bytes, from);
        if end == from {
            return None;
        }
    }
    let number: f64 = if end == bytes.len() { text.parse().ok()? } else { return None };
    // Out of range, the Go library leaves the text as it is.
    number.is_finite().then_some(Scalar::Float(number))
}

fn binary(text: &str) -> Result<Scalar, ScalarError> {
    // The Go decoder skips line breaks and nothing else.
    let engine = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
            .with_decode_allow_trailing_bits(true),
    );
    let compact: String = text.chars().filter(|character| !matches!(character, '\n' | '\r')).collect();
    let bytes = engine.decode(compact).map_err(|_| ScalarError::NotBase64)?;
    String::from_utf8(bytes).map(Scalar::Text).map_err(|_| ScalarError::NotText)
}

impl Scalar {
    /// The scalar as a value of an object.
    pub(super) fn into_value(self) -> Result<Value, ScalarError> {
        match self {
            Self::Null => Ok(Value::Null),
            Self::Bool(value) => Ok(Value::Bool(value)),
            Self::Integer(number) => Ok(Value::from(number)),
            Self::Unsigned(number) => unsigned(number).ok_or(ScalarError::NotFinite),
            Self::Float(number) => float(number).ok_or(ScalarError::NotFinite),
            Self::Text(text) => Ok(Value::String(text)),
        }
    }

    /// The scalar as a key, or `None` for null, which is no key.
    pub(super) fn into_key(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Unsigned(number) => Some(number.to_string()),
            Self::Float(number) => Some(float_key(number)),
            Self::Text(text) => Some(text),
        }
    }
}

/// A number beyond `i64` becomes a float, as in every Kubernetes decoder.
pub(super) fn unsigned(number: u64) -> Option<Value> {
    #[expect(clippy::cast_precision_loss, reason = "the API server's decoder loses the same digits")]
    i64::try_from(number).map_or_else(|_| float(number as f64), |number| Some(Value::from(number)))
}

/// A float without a fraction becomes an integer: on its way to the API server it is printed without one, and read back
/// as an integer. `None` for infinity and NaN.
pub(super) fn float(number: f64) -> Option<Value> {
    const PRINTED_WITH_EXPONENT: f64 = 1e21;
    if number.fract() == 0.0
        && number.abs() < PRINTED_WITH_EXPONENT
        && let Ok(whole) = number.to_string().parse::<i64>()
    {
        return Some(Value::from(whole));
    }
    Number::from_f64(number).map(Value::Number)
}

/// A float as a key: Go's shortest form in single precision (`%g`).
fn float_key(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the Go tools print such keys in single precision")]
    let single = number as f32;
    if single.is_nan() {
        return ".nan".to_owned();
    }
    if single.is_infinite() {
        return if single > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{single:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    single.to_string()
}
