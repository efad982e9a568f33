//! `os.time` and `os.date` over a clock that is passed in. All times are UTC, whatever the zone of the process.

use jiff::civil::Date;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use mlua::{Error, Lua, Result, Table, Value};

/// Seconds since 1970: now, or of the date that a table gives in `year`, `month`, `day`, `hour`, `min`, `sec`. Fields
/// beyond their range carry over, as a 32nd of January does.
pub(super) fn time(lua: &Lua, fields: Option<Table>, now: i64) -> Result<i64> {
    let Some(fields) = fields else { return Ok(now) };
    let field = |name: &str, default: Option<i64>| -> Result<i64> {
        let value: Value = fields.get(name)?;
        match lua.coerce_integer(value)? {
            Some(number) => Ok(number),
            None => default.ok_or_else(|| Error::RuntimeError(format!("field '{name}' missing in date table"))),
        }
    };
    let (year, month, day) = (field("year", None)?, field("month", None)?, field("day", None)?);
    let (hour, minute, second) = (field("hour", Some(12))?, field("min", Some(0))?, field("sec", Some(0))?);
    let reckoned = || -> Option<i64> {
        let start = Date::new(i16::try_from(year).ok()?, 1, 1).ok()?;
        let date = start.checked_add(Span::new().try_months(month.checked_sub(1)?).ok()?).ok()?;
        let date =
            date.checked_add(SignedDuration::from_hours(24).checked_mul(i32::try_from(day.checked_sub(1)?).ok()?)?);
        let midnight = date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
        let hours = hour.checked_mul(3600)?;
        midnight.checked_add(hours)?.checked_add(minute.checked_mul(60)?)?.checked_add(second)
    };
    reckoned().ok_or_else(|| Error::RuntimeError("the date table is out of range".to_owned()))
}

/// A time as text by a pattern of `strftime`, or as a table for `*t`. A leading `!`, which asks for UTC, changes nothing.
pub(super) fn date(lua: &Lua, arguments: (Option<String>, Option<f64>), now: i64) -> Result<Value> {
    let (pattern, seconds) = arguments;
    let pattern = pattern.unwrap_or_else(|| "%c".to_owned());
    let pattern = pattern.trim_start_matches('!');
    #[expect(clippy::cast_possible_truncation, reason = "times beyond the range are refused next")]
    let seconds = seconds.map_or(now, |seconds| seconds as i64);
    let time = Timestamp::from_second(seconds)
        .map_err(|_| Error::RuntimeError(format!("time {seconds} is out of range")))?
        .to_zoned(TimeZone::UTC);
    if !pattern.starts_with("*t") {
        let text = strtime::format(pattern, &time)
            .map_err(|error| Error::RuntimeError(format!("os.date can't write `{pattern}`: {error}")))?;
        return Ok(Value::String(lua.create_string(text)?));
    }
    let table = lua.create_table()?;
    table.set("year", time.year())?;
    table.set("month", time.month())?;
    table.set("day", time.day())?;
    table.set("hour", time.hour())?;
    table.set("min", time.minute())?;
    table.set("sec", time.second())?;
    table.set("wday", time.weekday().to_sunday_one_offset())?;
    table.set("yday", time.day_of_year())?;
    table.set("isdst", false)?;
    Ok(Value::Table(table))
}
