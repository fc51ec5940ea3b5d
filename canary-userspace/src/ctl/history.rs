//! `history`: who changed what, when, and what moved.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use serde_json::Value;

use super::args::History;
use super::client::{Client, escape, with_query};
use super::console::Console;
use super::failure::Failure;
use super::table::{Column, Table};
use super::{moved, sever};
use crate::audit::{Altered, REGISTRATION, Record};

/// Definitions that are named before the rest is only counted.
const NAMED: usize = 3;

/// Shows the changes of one service, or of all.
///
/// # Errors
///
/// [`Failure`]
pub async fn run(
    options: &History,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = match &options.service {
        Some(service) => format!("/v1/canary/history/{}", escape(service)),
        None => "/v1/canary/history".to_owned(),
    };
    let path = with_query(&path, [Some(format!("limit={}", options.limit))]);
    let answer = client.get(&path).await?.ok()?;
    if options.json {
        return console.json(&answer.json::<Value>()?);
    }
    let records: Vec<Record> = answer.json()?;
    match (&options.service, records.is_empty()) {
        (Some(service), true) => console.say(format_args!("no change of {service:?} is known")),
        (None, true) => console.say("no change is known"),
        (service, false) => console.raw(&render(&records, service.is_none(), SystemTime::now())),
    }
}

fn render(records: &[Record], of_all: bool, now: SystemTime) -> String {
    let mut table = Table::new([
        Column::right("N"),
        Column::right("AGE"),
        Column::left("TIME"),
        Column::left("WHO"),
        Column::left("DID"),
        Column::left("CHANGE"),
        Column::right("REVISION"),
    ]);
    for record in records {
        let time = UNIX_EPOCH + Duration::from_millis(record.time_ms);
        table.row([
            &record.number.to_string(),
            &age(now.duration_since(time).unwrap_or_default()),
            &format_rfc3339_seconds(time).to_string(),
            &record.author.to_string(),
            &record.action.to_string(),
            &change(record, of_all),
            &record.revision.to_string(),
        ]);
    }
    table.to_string()
}

/// What a change did, in one line: weights where some moved, else which definitions.
fn change(record: &Record, of_all: bool) -> String {
    let of = |service: &str| if of_all { format!("{service} ") } else { String::new() };
    if let Some(severed) = &record.severed {
        return format!("{}{}", of(&severed.service), sever::told(severed));
    }
    let mut parts: Vec<String> = (record.weights.iter())
        .map(|(service, weights)| format!("{}{}", of(service), moved::moves(weights)))
        .collect();
    if parts.is_empty() {
        let one = |altered: &Altered| format!("{}{}", of(&altered.service), definition(altered));
        parts.extend(record.changes.iter().map(one));
    }
    let rest = parts.len().saturating_sub(NAMED);
    parts.truncate(NAMED);
    if rest > 0 {
        parts.push(format!("{rest} more"));
    }
    parts.join(", ")
}

fn definition(altered: &Altered) -> String {
    let how = match (altered.before.is_null(), altered.after.is_null()) {
        (true, _) => "new",
        (false, true) => "gone",
        (false, false) => "changed",
    };
    match altered.kind.as_str() {
        REGISTRATION => format!("instance {} {how}", altered.name),
        kind => format!("{kind} {how}"),
    }
}

/// An age as people take it in: two units while the first is small.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..7200 => format!("{minutes}m"),
        7200..28_800 => format!("{hours}h{}m", minutes % 60),
        28_800..172_800 => format!("{hours}h"),
        _ => format!("{}d", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(number: u64, changes: &Value, weights: &Value) -> Record {
        let json = json!({
            "number": number, "time_ms": 1_800_000_000_000_u64 - 60_000 * number,
            "author": {"via": "socket", "uid": 0, "gid": 0, "pid": 812, "user": "root", "process": "canaryctl"},
            "action": "split-set", "index": 7, "revision": 13, "changes": changes, "weights": weights,
        });
        serde_json::from_value(json).unwrap()
    }

    fn altered(service: &str, kind: &str, name: &str, before: bool, after: bool) -> Value {
        let side = |there: bool| if there { json!({}) } else { Value::Null };
        json!({"service": service, "kind": kind, "name": name, "before": side(before), "after": side(after)})
    }

    #[test]
    fn a_change_is_a_line_with_weights_or_definitions() {
        let splitter = altered("payments", "service-splitter", "payments", true, true);
        let weights = json!({"payments": [{"subset": "blue", "before": 90.0, "after": 50.0},
            {"subset": "green", "before": 10.0, "after": 50.0}]});
        let instance = altered("payments", "service", "payments-blue-1", false, true);
        let records = [
            record(12, &json!([splitter]), &weights),
            record(11, &json!([instance, splitter]), &json!({})),
        ];
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);

        assert_eq!(
            render(&records, false, now),
            " N  AGE  TIME                  WHO                        DID        CHANGE                                                  REVISION\n\
             12  12m  2027-01-15T07:48:00Z  root (canaryctl, pid 812)  split set  blue 90 -> 50, green 10 -> 50                                 13\n\
             11  11m  2027-01-15T07:49:00Z  root (canaryctl, pid 812)  split set  instance payments-blue-1 new, service-splitter changed        13\n"
        );
    }

    #[test]
    fn of_many_definitions_the_first_are_named() {
        let changes: Vec<Value> = ["a", "b", "c", "d", "e"]
            .map(|s| altered(s, "service-resolver", s, true, false))
            .into();
        let many = record(1, &changes.into(), &json!({}));

        assert_eq!(
            change(&many, true),
            "a service-resolver gone, b service-resolver gone, c service-resolver gone, 2 more"
        );
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let ages = [0, 119, 125, 599, 601, 7199, 7260, 28_800, 172_800];
        assert_eq!(
            ages.map(|seconds| age(Duration::from_secs(seconds))),
            ["0s", "119s", "2m5s", "9m59s", "10m", "119m", "2h1m", "8h", "2d"]
        );
    }
}
