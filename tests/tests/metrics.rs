//! `/metrics` of the real agent is Prometheus text, and says what the clients know.
#![expect(clippy::float_cmp, reason = "the values are counts, whole and far below 2^53")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context, Result, bail, ensure};
use canary_tests::{
    lab::Lab,
    scenario::{Scenario, Subset, TCP4, TIMEOUT},
    workload::{connect_many, http},
};

/// Where the agent offers its API over TCP, in the lab's own namespace.
const HTTP: &str = "127.0.0.1:8501";

/// A value with what identifies it.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A page of metrics: the kind of each family, and its samples.
#[derive(Debug, Default)]
struct Page {
    kinds: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[test]
fn the_page_is_prometheus_text_and_counts_what_happened() -> Result<()> {
    Lab::run("metrics", |lab| {
        let subsets = [Subset { name: "blue", pods: 2 }, Subset { name: "green", pods: 1 }];
        let scenario = Scenario::start_with(lab, &subsets, &["--http", HTTP])?;
        scenario.split(TCP4.service, &[("blue", 90.0), ("green", 10.0)])?;
        let client = &scenario.client.namespace;
        let answers = connect_many(client, TCP4.protocol, TCP4.frontend(), 500, TIMEOUT)?;

        let page = scrape(lab)?;

        for subset in ["blue", "green"] {
            let ours = [("service", "tcp4"), ("subset", subset)];
            let connects = page.value("canary_connects_total", &ours, &[("result", "ok")])?;
            assert_eq!(connects, number(answers.of(subset)), "{subset}: {answers:?}");
            let opened = page.value("canary_connects_opened_total", &ours, &[])?;
            assert_eq!(opened, connects, "{subset}");
            let name = "canary_connect_duration_seconds";
            assert_eq!(page.value(&format!("{name}_count"), &ours, &[])?, connects, "{subset}");
            let all = page.value(&format!("{name}_bucket"), &ours, &[("le", "+Inf")])?;
            assert_eq!(all, connects, "{subset}");
        }
        let weight = |subset| {
            let ours = [("service", "tcp4"), ("subset", subset)];
            page.value("canary_subset_weight_ratio", &ours, &[("kind", "programmed")])
        };
        assert_eq!((weight("blue")?, weight("green")?), (0.9, 0.1));
        assert_eq!(page.value("canary_generation", &[], &[])?, number(lab.status()?.revision));
        Ok(())
    })
}

/// Reads the page, and checks its form as a scraper would.
fn scrape(lab: &Lab) -> Result<Page> {
    let target: SocketAddr = HTTP.parse()?;
    ensure!(target.ip() == Ipv4Addr::LOCALHOST);
    let answer = lab.node().enter(|| http::get(target, "/metrics", TIMEOUT))??;
    ensure!(answer.status == 200, "{}", answer.status);
    let page = parse(&String::from_utf8(answer.body)?)?;
    page.check()?;
    Ok(page)
}

/// Prometheus text, version 0.0.4.
fn parse(text: &str) -> Result<Page> {
    ensure!(text.ends_with('\n'), "the last line does not end");
    let mut page = Page::default();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        let read = || -> Result<Option<Sample>> { sample(line).map(Some) };
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) if !help.is_empty() => {
                ensure!(helped.insert(name.to_owned()), "two helps of {name}");
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let known = ["counter", "gauge", "histogram"].contains(&kind);
                ensure!(known, "{name} is a {kind}");
                let twice = page.kinds.insert(name.to_owned(), kind.to_owned());
                ensure!(twice.is_none(), "two types of {name}");
            }
            _ => page.samples.extend(read().with_context(|| format!("line {line:?}"))?),
        }
    }
    ensure!(page.kinds.keys().eq(&helped), "{:?} have types, {helped:?} helps", page.kinds);
    Ok(page)
}

/// `NAME{LABEL="VALUE",...} NUMBER`
fn sample(line: &str) -> Result<Sample> {
    let (series, value) = line.rsplit_once(' ').context("no value")?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        number => number.parse().context("the value is no number")?,
    };
    let (name, labels) = match series.split_once('{') {
        None => (series, BTreeMap::new()),
        Some((name, rest)) => (name, pairs(rest.strip_suffix('}').context("no closing brace")?)?),
    };
    let good =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    ensure!(name.starts_with("canary_") && name.chars().all(good), "the name {name:?}");
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Labels: quoted values in which `\\`, `\"` and `\n` stand for one character.
fn pairs(mut text: &str) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").context("no label")?;
        let mut value = String::new();
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next().context("a label's value does not end")? {
                (end, '"') => break end,
                (_, '\\') => match letters.next().context("a lone backslash")?.1 {
                    'n' => value.push('\n'),
                    letter @ ('\\' | '"') => value.push(letter),
                    letter => bail!("\\{letter} is no escape"),
                },
                (_, letter) => value.push(letter),
            }
        };
        ensure!(pairs.insert(name.to_owned(), value).is_none(), "two labels {name}");
        let rest = rest.get(end + 1..).unwrap_or_default();
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok(pairs)
}

impl Page {
    /// Rules that hold between samples.
    fn check(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for Sample { name, labels, value } in &self.samples {
            let (family, kind) = self.family(name).with_context(|| format!("no type of {name}"))?;
            ensure!(seen.insert((name, labels)), "two samples of {name} {labels:?}");
            ensure!(*value >= 0.0, "{name} is {value}");
            ensure!(
                (kind == "counter") == name.ends_with("_total"),
                "{name} of {family} is a {kind}"
            );
            if name.ends_with("_bucket") {
                ensure!(labels.contains_key("le"), "{name} {labels:?} has no bound");
            }
        }
        self.check_histograms()
    }

    /// A histogram only grows from bound to bound, and its last bucket holds all.
    fn check_histograms(&self) -> Result<()> {
        let histograms = self.kinds.iter().filter(|(_, kind)| *kind == "histogram");
        for (family, _) in histograms {
            let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            for sample in
                self.samples.iter().filter(|sample| sample.name == format!("{family}_bucket"))
            {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le").context("no bound")?;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                series.entry(labels).or_default().push((bound, sample.value));
            }
            ensure!(!series.is_empty(), "{family} has no bucket");
            for (labels, buckets) in series {
                let grows = buckets.windows(2).all(|pair| {
                    matches!(pair, [(low, less), (high, more)] if low < high && less <= more)
                });
                ensure!(grows, "{family} {labels:?} does not grow: {buckets:?}");
                let (bound, all) = *buckets.last().context("no bucket")?;
                let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                let count = self.value(&format!("{family}_count"), &labels, &[])?;
                ensure!(bound == f64::INFINITY && all == count, "{family}: {all} of {count}");
                self.value(&format!("{family}_sum"), &labels, &[])?;
            }
        }
        Ok(())
    }

    /// The family that a sample's name belongs to, and its kind.
    fn family(&self, name: &str) -> Option<(&str, &str)> {
        let found = self.kinds.get_key_value(name).or_else(|| {
            let parts = ["_bucket", "_sum", "_count"];
            let family = parts.iter().find_map(|part| name.strip_suffix(part))?;
            self.kinds.get_key_value(family).filter(|(_, kind)| *kind == "histogram")
        });
        found.map(|(family, kind)| (family.as_str(), kind.as_str()))
    }

    /// The one sample of a name with exactly these labels.
    fn value(&self, name: &str, labels: &[(&str, &str)], more: &[(&str, &str)]) -> Result<f64> {
        let wanted = labels.iter().chain(more);
        let wanted: BTreeMap<String, String> =
            wanted.map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let has = |sample: &&Sample| {
            sample.name == name && wanted.iter().all(|(k, v)| sample.labels.get(k) == Some(v))
        };
        let mut found = self.samples.iter().filter(has);
        let first = found.next().with_context(|| format!("no sample {name} {wanted:?}"))?;
        ensure!(found.next().is_none(), "more than one sample {name} {wanted:?}");
        Ok(first.value)
    }
}

/// Counts here are far below what a double holds exactly.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[test]
fn what_is_no_prometheus_text_is_found() {
    let head = "# HELP canary_a_total A.\n# TYPE canary_a_total counter\n";
    let page = parse(&format!("{head}canary_a_total{{x=\"a\\\\b\\\"c\\n,d\"}} 3\n")).unwrap();
    assert_eq!(page.samples[0].labels["x"], "a\\b\"c\n,d");
    page.check().unwrap();

    for bad in ["canary_a_total 1\ncanary_a_total 1\n", "canary_b 1\n", "canary_a_total -1\n"] {
        assert!(parse(&format!("{head}{bad}")).unwrap().check().is_err(), "{bad}");
    }
    for bad in
        ["canary_a_total x\n", "canary_a_total{x=\"1} 1\n", "canary_a_total{x=1} 1\n", "{} 1"]
    {
        assert!(parse(&format!("{head}{bad}")).is_err(), "{bad}");
    }
}
