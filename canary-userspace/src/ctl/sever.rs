//! `sever`: ends live connections that a service should not have.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::args::Sever;
use super::client::{Client, escape, with_query};
use super::console::Console;
use super::failure::Failure;
use crate::audit::Severed;
use crate::document::{SeveredSplit, Severing};
use crate::sever::Rate;

/// Time between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Ends connections, or says which it would.
///
/// # Errors
///
/// [`Failure`]; unknown subsets and backends, and those that take new connections, are the
/// agent's to refuse.
pub async fn run(
    options: &Sever,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = format!("/v1/canary/sever/{}", escape(&options.service));
    if options.progress {
        let severing: Severing = client.get(&path).await?.ok()?.json()?;
        return if options.json { console.json(&severing) } else { console.data(far(&severing)) };
    }
    let parameters = [
        options.subset.as_ref().map(|subset| format!("subset={}", escape(subset))),
        options.backend.map(|backend| format!("backend={}", escape(&backend.to_string()))),
        Some(rate(options.rate)),
        options.dry_run.parameter(),
    ];
    let answer = match client.put(&with_query(&path, parameters), String::new()).await?.accepted() {
        Err(Failure::Invalid(text)) => {
            let hint = super::near::subset_hint(&text, client).await;
            return Err(Failure::Invalid(text + &hint));
        }
        answer => answer?,
    };
    let mut severing: Severing = answer.json()?;
    if !options.json {
        console.data(line(&severing))?;
    }
    if options.wait {
        severing = until_done(&path, severing, options.timeout, client).await?;
    }
    if options.json {
        return console.json(&severing);
    }
    if options.wait && severing.found > 0 {
        console.data(far(&severing))?;
    }
    Ok(())
}

/// Asks until nothing is left.
async fn until_done(
    path: &str,
    begun: Severing,
    timeout: Duration,
    client: &Client,
) -> Result<Severing, Failure> {
    let deadline = Instant::now() + timeout;
    let mut severing = begun;
    while severing.state == "running" {
        if Instant::now() >= deadline {
            let Severing { left, service, .. } = &severing;
            return Err(Failure::Error(format!(
                "{left} connections of {service} are still to be severed after {timeout:?}"
            )));
        }
        sleep(LOOK_EVERY).await;
        severing = client.get(path).await?.ok()?.json()?;
    }
    Ok(severing)
}

/// The parameter that carries a pace.
#[must_use]
pub fn rate(rate: Rate) -> String {
    format!("rate={}", escape(&rate.to_string()))
}

/// `Severing: payments green 41 (10%/s: 5 a second)`
#[must_use]
pub fn line(severing: &Severing) -> String {
    let Severing { service, splits, found, state, .. } = severing;
    if *found == 0 {
        return format!("Nothing to sever: {service}");
    }
    let done = if state == "counted" { "Would sever" } else { "Severing" };
    let splits: Vec<String> = splits.iter().map(|split| one(split, service)).collect();
    format!("{done}: {service} {} ({})", splits.join(", "), pace(severing))
}

fn one(SeveredSplit { service: target, subset, tcp, udp }: &SeveredSplit, service: &str) -> String {
    let name = match subset.as_str() {
        "" => target.clone(),
        subset if target == service => subset.to_owned(),
        subset => format!("{target}/{subset}"),
    };
    match (tcp, udp) {
        (tcp, 0) => format!("{name} {tcp}"),
        (0, udp) => format!("{name} {udp} udp"),
        (tcp, udp) => format!("{name} {tcp} and {udp} udp"),
    }
}

fn pace(severing: &Severing) -> String {
    match severing.per_second {
        None => "at once".to_owned(),
        Some(each) => format!("{}: {each} a second", severing.rate),
    }
}

/// `Severed: payments 41 of 41`
fn far(severing: &Severing) -> String {
    let Severing { service, found, ended, gone, left, state, .. } = severing;
    let how = match state.as_str() {
        "stopped" => ", stopped: the weights have changed".to_owned(),
        "running" => format!(", {left} to go"),
        _ => String::new(),
    };
    let gone = if *gone > 0 { format!(", {gone} had gone by themselves") } else { String::new() };
    format!("Severed: {service} {ended} of {found}{gone}{how}")
}

/// What the log says of it: `green 41 (10%/s)`
#[must_use]
pub fn told(severed: &Severed) -> String {
    let splits: Vec<String> =
        severed.connections.iter().map(|(name, count)| format!("{name} {count}")).collect();
    format!("{} ({})", splits.join(", "), severed.rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn severing(splits: &[(&str, &str, u64, u64)], per_second: Option<u64>) -> Severing {
        let split = |&(service, subset, tcp, udp): &(&str, &str, u64, u64)| SeveredSplit {
            service: service.to_owned(),
            subset: subset.to_owned(),
            tcp,
            udp,
        };
        Severing {
            service: "payments".to_owned(),
            splits: splits.iter().map(split).collect(),
            found: splits.iter().map(|(_, _, tcp, udp)| tcp + udp).sum(),
            rate: "10%/s".to_owned(),
            per_second,
            state: "running".to_owned(),
            ..Severing::default()
        }
    }

    #[test]
    fn it_is_said_in_a_line() {
        let both = [("payments", "green", 41, 0), ("other", "", 0, 2), ("other", "blue", 1, 2)];

        assert_eq!(
            line(&severing(&both, Some(5))),
            "Severing: payments green 41, other 2 udp, other/blue 1 and 2 udp (10%/s: 5 a second)"
        );
        assert_eq!(line(&severing(&[], Some(1))), "Nothing to sever: payments");
        let counted = Severing { state: "counted".to_owned(), ..severing(&both[..1], None) };
        assert_eq!(line(&counted), "Would sever: payments green 41 (at once)");
    }

    #[test]
    fn the_end_says_what_was_not_ours_to_end() {
        let ended = Severing {
            ended: 30,
            gone: 11,
            state: "done".to_owned(),
            ..severing(&[("payments", "green", 41, 0)], Some(5))
        };

        assert_eq!(far(&ended), "Severed: payments 30 of 41, 11 had gone by themselves");
        let stopped = Severing { gone: 0, state: "stopped".to_owned(), ..ended };
        assert_eq!(far(&stopped), "Severed: payments 30 of 41, stopped: the weights have changed");
        let running = Severing { left: 11, state: "running".to_owned(), ..stopped };
        assert_eq!(far(&running), "Severed: payments 30 of 41, 11 to go");
    }
}
