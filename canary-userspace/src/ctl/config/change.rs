//! What a write changed, in words.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ctl::client::{Answer, Client, escape, with_query};
use crate::ctl::failure::Failure;
use crate::ctl::paint::Paint;
use crate::ctl::status;
use crate::ctl::table::{Column, Table};
use crate::document::{Backends, Service};
use crate::entry::{self, Entry, Failover, Redirect, Resolver, Split, Splitter, Units};
use crate::source::RESOLVER;

use super::path;

/// An entry before a write.
#[derive(Debug)]
pub(super) enum Before {
    /// Nobody could tell.
    Unknown,
    /// There was none.
    Nothing,
    /// It was this.
    Entry(Box<Entry>),
}

/// Asks for the entry that a write is about to change. What cannot be told stops no write.
pub(super) async fn before(kind: &str, name: &str, client: &Client) -> Before {
    match read(kind, name, client).await {
        Ok(Some(entry)) => Before::Entry(Box::new(entry)),
        Ok(None) => Before::Nothing,
        Err(_) => Before::Unknown,
    }
}

async fn read(kind: &str, name: &str, client: &Client) -> Result<Option<Entry>, Failure> {
    let answer = client.get(&path(kind, name)).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    let Answer { body, .. } = answer.ok()?;
    Ok(Some(entry::parse(body.as_bytes())?.entry))
}

/// The lines that say what a write of `after` changed.
pub(super) async fn lines(
    before: &Before,
    after: &Entry,
    client: &Client,
    paint: Paint,
) -> Vec<String> {
    let old = match before {
        Before::Unknown => return Vec::new(),
        Before::Nothing => None,
        Before::Entry(entry) => Some(entry.as_ref()),
    };
    match (old, after) {
        (Some(old), after) if old == after => vec!["  unchanged".to_owned()],
        (_, Entry::Splitter(after)) => {
            let old = match old {
                Some(Entry::Splitter(old)) => old.splits.as_slice(),
                _ => &[],
            };
            let world = World::ask(after, old, client).await;
            world.splits(old, after, paint)
        }
        (_, Entry::Resolver(after)) => {
            let old = match old {
                Some(Entry::Resolver(old)) => Some(old),
                _ => None,
            };
            resolver(old, after, client, paint).await
        }
        (None, _) => vec!["  created".to_owned()],
        (Some(_), _) => vec!["  updated".to_owned()],
    }
}

/// What splits lead to.
struct World {
    /// The service as it is in force.
    service: Option<Service>,
    /// Resolvers of the services that splits lead to.
    resolvers: BTreeMap<String, Resolver>,
}

impl World {
    /// Asks the agent, and does without what it does not tell.
    async fn ask(splitter: &Splitter, old: &[Split], client: &Client) -> Self {
        let path = format!("{}/{}", status::PATH, escape(&splitter.name));
        let answer = async { client.get(&path).await?.ok()?.json::<Service>() };
        let service = answer.await.ok();
        let mut resolvers = BTreeMap::new();
        for split in splitter.splits.iter().chain(old) {
            let name = target(&splitter.name, split);
            if resolvers.contains_key(name) {
                continue;
            }
            if let Ok(Some(Entry::Resolver(resolver))) = read(RESOLVER, name, client).await {
                resolvers.insert(name.to_owned(), resolver);
            }
        }
        Self { service, resolvers }
    }

    /// A line for each split: its weight before and after, its endpoints and its filter.
    fn splits(&self, old: &[Split], after: &Splitter, paint: Paint) -> Vec<String> {
        let service = after.name.as_str();
        let mut table = Table::new([
            Column::left(""),
            Column::right(""),
            Column::left(""),
            Column::right(""),
            Column::left(""),
            Column::left(""),
        ]);
        let same = |a: &Split, b: &Split| {
            target(service, a) == target(service, b) && a.service_subset == b.service_subset
        };
        let rows = after.splits.iter().map(|split| (split, Some(split.weight)));
        let gone = old.iter().filter(|old| !after.splits.iter().any(|split| same(old, split)));
        for (split, weight) in rows.chain(gone.map(|split| (split, None))) {
            let before = old.iter().find(|old| same(old, split)).map(|old| old.weight);
            let moved = before != weight;
            let name = name(service, split);
            let shown = |weight: Option<Units>| weight.map_or_else(|| "none".to_owned(), percent);
            let before = if moved { shown(before) } else { String::new() };
            let arrow = if moved { "->" } else { "" };
            let after = shown(weight) + if weight.is_some() { " %" } else { "" };
            let (endpoints, filter) = (self.endpoints(service, split), self.filter(service, split));
            table.row([&name, &before, arrow, &after, &endpoints, &filter]);
        }
        let lines = table.lines().into_iter().skip(1);
        let painted = lines.map(|line| {
            let moved = line.contains(" -> ");
            format!("  {}", if moved { paint.bold(line) } else { line })
        });
        painted.collect()
    }

    fn endpoints(&self, service: &str, split: &Split) -> String {
        let (target, subset) = self.meant(service, split);
        let found = self.service.iter().flat_map(|service| &service.splits);
        let mut found = found.filter(|found| found.service == target && found.subset == subset);
        let Some(Backends { total, healthy, .. }) = found.next().map(|found| found.backends) else {
            return String::new();
        };
        format!("{healthy} of {total} healthy")
    }

    fn filter(&self, service: &str, split: &Split) -> String {
        let (target, subset) = self.meant(service, split);
        let resolver = self.resolvers.get(target);
        let subset = resolver.and_then(|resolver| resolver.subsets.get(subset));
        subset.map(|subset| subset.filter.clone()).unwrap_or_default()
    }

    /// The service and the subset that a split means: without a subset, the default one.
    fn meant<'a>(&'a self, service: &'a str, split: &'a Split) -> (&'a str, &'a str) {
        let target = target(service, split);
        let default = self.resolvers.get(target).map(|resolver| resolver.default_subset.as_str());
        let subset = match split.service_subset.as_str() {
            "" => default.unwrap_or_default(),
            subset => subset,
        };
        (target, subset)
    }
}

/// A line for each subset, and for each other part, that is new, gone or another.
async fn resolver(
    old: Option<&Resolver>,
    after: &Resolver,
    client: &Client,
    paint: Paint,
) -> Vec<String> {
    let none = Resolver::default();
    let is_new = old.is_none();
    let old = old.unwrap_or(&none);
    let mut lines = Vec::new();
    for (name, subset) in &after.subsets {
        let before = old.subsets.get(name);
        if before == Some(subset) {
            continue;
        }
        let matched = matched(&after.name, &subset.filter, client).await;
        let filter = quoted(&subset.filter);
        lines.push(match before {
            None => paint.green(format_args!("+ {name}  {filter}{matched}")),
            Some(before) if before.filter != subset.filter => {
                let before = quoted(&before.filter);
                paint.yellow(format_args!("~ {name}  {before} -> {filter}{matched}"))
            }
            Some(_) => paint.yellow(format_args!("~ {name}  {filter}{matched}")),
        });
    }
    let gone = old.subsets.iter().filter(|(name, _)| !after.subsets.contains_key(*name));
    lines.extend(
        gone.map(|(name, subset)| paint.red(format_args!("- {name}  {}", quoted(&subset.filter)))),
    );
    if old.default_subset != after.default_subset {
        let shown = |name: &str| if name.is_empty() { "none" } else { name }.to_owned();
        let (before, after) = (shown(&old.default_subset), shown(&after.default_subset));
        lines.push(paint.yellow(format_args!("~ default subset  {before} -> {after}")));
    }
    let others = [
        ("redirect", old.redirect != after.redirect, after.redirect.as_ref().map(leads_to)),
        ("failover", old.failover != after.failover, takes_over(after)),
        ("load balancer", old.load_balancer != after.load_balancer, policy(after)),
    ];
    for (part, _, now) in others.into_iter().filter(|(_, differs, _)| *differs) {
        let now = now.unwrap_or_else(|| "none".to_owned());
        lines.push(paint.yellow(format_args!("~ {part}  {now}")));
    }
    if lines.is_empty() {
        lines.push(if is_new { "created" } else { "updated" }.to_owned());
    }
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

fn leads_to(redirect: &Redirect) -> String {
    place(&redirect.service, &redirect.service_subset)
}

fn takes_over(resolver: &Resolver) -> Option<String> {
    let parts = resolver.failover.iter().map(|(subset, failover)| {
        let targets = match failover {
            Failover::One(target) => std::slice::from_ref(target),
            Failover::Targets(targets) => targets,
        };
        let targets = targets.iter().map(|target| place(&target.service, &target.service_subset));
        format!("{subset} -> {}", targets.collect::<Vec<_>>().join(", "))
    });
    Some(parts.collect::<Vec<_>>().join("; ")).filter(|parts| !parts.is_empty())
}

fn policy(resolver: &Resolver) -> Option<String> {
    let name = resolver.load_balancer.as_ref()?.policy.name();
    Some(if name.is_empty() { "default" } else { name }.to_owned())
}

/// A service and a subset as they are referred to; without a service the entry's own.
fn place(service: &str, subset: &str) -> String {
    match (service, subset) {
        ("", subset) => subset.to_owned(),
        (service, "") => service.to_owned(),
        (service, subset) => format!("{service}/{subset}"),
    }
}

/// How many instances of `service` a filter matches; empty where the agent does not tell.
async fn matched(service: &str, filter: &str, client: &Client) -> String {
    let filter = (!filter.is_empty()).then(|| format!("filter={}", escape(filter)));
    let path = with_query(&format!("/v1/health/service/{}", escape(service)), [filter]);
    let found = async { client.get(&path).await?.ok()?.json::<Vec<Value>>() };
    match found.await.map(|found| found.len()) {
        Ok(1) => "  1 instance".to_owned(),
        Ok(count) => format!("  {count} instances"),
        Err(_) => String::new(),
    }
}

fn quoted(filter: &str) -> String {
    if filter.is_empty() { "all instances".to_owned() } else { format!("{filter:?}") }
}

fn target<'a>(service: &'a str, split: &'a Split) -> &'a str {
    if split.service.is_empty() { service } else { &split.service }
}

fn name(service: &str, split: &Split) -> String {
    match (target(service, split), split.service_subset.as_str()) {
        (target, "") if target == service => "(default)".to_owned(),
        (target, "") => target.to_owned(),
        (target, subset) if target == service => subset.to_owned(),
        (target, subset) => format!("{target}/{subset}"),
    }
}

fn percent(weight: Units) -> String {
    format!("{:.2}", f64::from(weight) / 100.0)
}
