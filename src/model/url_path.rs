//! One spelling for the path of a repository's URL, so that what a rule is asked about is what a server is asked for.

/// The path with needless percent-encoding removed (RFC 3986 §2.3) and the rest in upper case.
///
/// # Errors
/// What a server, a proxy and a rule could each take for another path: dot segments, slashes in a row, a backslash, encoded
/// slashes, control characters, a `%` that encodes nothing. The text completes "the path …".
pub fn plain_path(path: &str) -> Result<String, &'static str> {
    if path.contains('\\') {
        return Err("holds a backslash");
    }
    if path.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or("holds a `%` that two hexadecimal digits don't follow")?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| "holds a `%` that encodes nothing")?;
        match char::from(byte) {
            '/' | '\\' => return Err("holds an encoded slash"),
            character if character.is_ascii_control() => return Err("holds an encoded control character"),
            character if character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~') => {
                plain.push(character);
            }
            _ => {
                plain.push('%');
                plain.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = after.get(2..).unwrap_or_default();
    }
    plain.push_str(rest);
    if plain.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("has the segment `.` or `..`");
    }
    if plain.trim_end_matches('/').contains("//") {
        return Err("has two slashes in a row");
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_becomes_one_or_is_refused() {
        for (path, plain) in [
            ("/team/shop.git", "/team/shop.git"),
            ("/sho%70/%63art", "/shop/cart"),
            ("/org/My%20Project/_git/x%c3%a9", "/org/My%20Project/_git/x%C3%A9"),
            ("/stable//", "/stable//"),
            ("", ""),
        ] {
            assert_eq!(plain_path(path).as_deref(), Ok(plain), "{path}");
        }
        for path in [
            "/a/../b",
            "/a/%2e%2E/b",
            "/./a",
            "/a/.",
            "/a//b",
            "//a",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a\tb",
            "/a%zz",
            "/a%",
            "/a%2",
        ] {
            assert!(plain_path(path).is_err(), "{path}");
        }
    }
}
