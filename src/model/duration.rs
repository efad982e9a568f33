//! Durations as Go writes them (`1h30m`, `500ms`), which is how every field of the kind is written in Kubernetes.

use std::time::Duration;

/// Parses a Go duration of the units `ms`, `s`, `m` and `h`; `None` for anything else, also for nothing.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_length = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit_length] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit_length..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, seconds) in [("60s", 60.0), ("1h30m", 5400.0), ("500ms", 0.5), ("1.5m", 90.0), ("0s", 0.0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "60", "1d", "s", "-1s", "1s2"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
