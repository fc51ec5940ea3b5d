//! `split show` and `split set`.

use serde_json::Value;

use super::args::{SplitSet, SplitShow};
use super::client::{Client, escape, with_query};
use super::console::Console;
use super::failure::Failure;
use super::table::{Column, Table};
use super::{moved, near, status};
use crate::document::{Brake, SplitChange, Status, Weight, Weights};

/// Shows the weights in force, of one service or of all.
///
/// # Errors
///
/// [`Failure`]
pub async fn show(
    options: &SplitShow,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let Some(service) = &options.service else {
        let all = weights_of(client.get(status::PATH).await?.ok()?.json()?);
        return if options.json { console.json(&all) } else { print(&all, console) };
    };
    let answer = client.get(&path(service)).await?.ok()?;
    if options.json {
        return console.json(&answer.json::<Value>()?);
    }
    print(&[answer.json()?], console)
}

/// Sets weights and says what moved.
///
/// # Errors
///
/// [`Failure`]; sums other than 100 and unknown subsets are the agent's to refuse.
pub async fn set(
    options: &SplitSet,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut change = SplitChange::new();
    for (subset, weight) in &options.weights {
        if change.insert(subset.clone(), *weight).is_some() {
            return Err(Failure::Usage(format!("subset {subset:?} is named twice")));
        }
    }
    let body = serde_json::to_string(&change).map_err(|error| Failure::Error(error.to_string()))?;
    let rebalance =
        options.rebalance.then(|| format!("rebalance&{}", super::sever::rate(options.rate)));
    let path = with_query(&path(&options.service), [rebalance, options.dry_run.parameter()]);
    let answer = match client.put(&path, body).await?.accepted() {
        Err(Failure::Invalid(text)) => {
            let hint = near::subset_hint(&text, client).await;
            return Err(Failure::Invalid(text + &hint));
        }
        answer => answer?,
    };
    moved::print("Split set", "Would set split", &answer, console)
}

/// Parses `blue=90`.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_weight(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("{text:?} is not a subset with its weight in percent, as green=10 is");
    let (subset, weight) = text.split_once('=').ok_or_else(wrong)?;
    let weight: f64 = weight.trim_end_matches('%').parse().map_err(|_| wrong())?;
    if subset.is_empty() || !weight.is_finite() {
        return Err(wrong());
    }
    Ok((subset.to_owned(), weight))
}

fn path(service: &str) -> String {
    format!("/v1/canary/split/{}", escape(service))
}

fn weights_of(status: Status) -> Vec<Weights> {
    let revision = status.revision;
    let weights = |service: crate::document::Service| Weights {
        service: service.service,
        brake: service.brake,
        splits: service
            .splits
            .into_iter()
            .map(|split| Weight {
                service: split.service,
                subset: split.subset,
                weight: split.written.unwrap_or(split.weight),
            })
            .collect(),
        revision,
    };
    status.services.into_iter().map(weights).collect()
}

fn print(services: &[Weights], console: &mut Console<'_>) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::left("SERVICE"),
        Column::left("TARGET"),
        Column::left("SUBSET"),
        Column::right("WEIGHT"),
    ]);
    for service in services {
        for split in &service.splits {
            let subset = if split.subset.is_empty() { "-" } else { &split.subset };
            table.row([&service.service, &split.service, subset, &format!("{:.2}", split.weight)]);
        }
    }
    console.raw(&table.to_string())?;
    for (service, brake) in services.iter().filter_map(|of| Some((&of.service, of.brake.as_ref()?)))
    {
        let Brake { subset, reason, .. } = brake;
        console.warn([format!(
            "{service} stands by its brake: everything goes to {subset}; what is written above is \
             not in force: {reason}"
        )])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_numbers_with_a_subset() {
        assert_eq!(parse_weight("blue=90"), Ok(("blue".to_owned(), 90.0)));
        assert_eq!(parse_weight("green=0.01"), Ok(("green".to_owned(), 0.01)));
        assert_eq!(parse_weight("green=10%"), Ok(("green".to_owned(), 10.0)));
        for wrong in ["blue", "=5", "blue=", "blue=x", "blue=inf", "blue=NaN"] {
            assert!(parse_weight(wrong).is_err(), "{wrong}");
        }
    }
}
