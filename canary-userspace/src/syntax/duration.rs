//! Durations as Go writes them: `1h2m3.5s`, `250ms`.

use std::fmt::Write;
use std::time::Duration;

/// The units, in nanoseconds; both ways of writing a microsecond.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses a duration as Go does, where one below zero makes no sense.
///
/// # Errors
///
/// Go's text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = parse_nanoseconds(text)?;
    u64::try_from(nanoseconds)
        .map(Duration::from_nanos)
        .map_err(|_| format!("negative duration {text:?}"))
}

/// Parses a duration as Go does, into its own count of nanoseconds.
///
/// # Errors
///
/// Go's text.
pub fn parse_nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let number = take(&mut rest, |c| c.is_ascii_digit() || c == '.');
        let unit = take(&mut rest, |c| !c.is_ascii_digit() && c != '.');
        if number.is_empty() {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let part = nanoseconds(number, *scale).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
    }
    let signed =
        if negative { 0_i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() };
    signed.ok_or_else(invalid)
}

/// Takes the longest start of `rest` whose characters are all `wanted`.
fn take<'t>(rest: &mut &'t str, wanted: impl Fn(char) -> bool) -> &'t str {
    let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    let (taken, left) = rest.split_at_checked(end).unwrap_or_default();
    *rest = left;
    taken
}

/// A decimal number of units of `scale` nanoseconds.
fn nanoseconds(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut step = scale;
    for digit in fraction.chars() {
        step = step.checked_div(10)?;
        let digit = u64::from(digit.to_digit(10)?);
        total = total.checked_add(digit.checked_mul(step)?)?;
    }
    Some(total)
}

/// Prints a count of nanoseconds as Go does.
#[must_use]
pub fn format_nanoseconds(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    format!("{sign}{}", format_duration(Duration::from_nanos(nanoseconds.unsigned_abs())))
}

/// Prints a duration as Go does.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    for (unit, scale, limit) in
        [("ns", 1, 1_000), ("\u{b5}s", 1_000, 1_000_000), ("ms", 1_000_000, 1_000_000_000)]
    {
        if nanoseconds < limit {
            return format!("{}{unit}", decimal(nanoseconds, scale));
        }
    }
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let below = nanoseconds % 60_000_000_000;
    let mut text = String::new();
    if hours > 0 {
        _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        _ = write!(text, "{minutes}m");
    }
    _ = write!(text, "{}s", decimal(below, 1_000_000_000));
    text
}

/// `value / scale`, in decimals without spare zeros.
fn decimal(value: u128, scale: u128) -> String {
    let whole = value.checked_div(scale).unwrap_or_default();
    let mut rest = value.checked_rem(scale).unwrap_or_default();
    let mut text = whole.to_string();
    let mut step = scale;
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 && step >= 10 {
        step /= 10;
        let digit = rest.checked_div(step).unwrap_or_default();
        _ = write!(text, "{digit}");
        rest = rest.checked_rem(step).unwrap_or_default();
    }
    text
}
