//! Entries and definitions that are wrong, by `config write`, `service register` and `reload`.

use std::fs;

use anyhow::Result;
use canary_tests::{
    lab::{Lab, wait_for},
    scenario::{Scenario, TCP4, TIMEOUT},
};
use nix::sys::signal::Signal;

use super::{SUBSETS, all_blue, at, log, register, reload_with, run, service, unharmed, write};

/// An entry that is refused, the place that is named, and what is said.
struct Bad {
    what: &'static str,
    entry: &'static str,
    place: &'static str,
    text: &'static str,
}

const ENTRIES: [Bad; 7] = [
    Bad {
        what: "sum",
        entry: "kind = \"service-splitter\"\nname = \"other\"\nsplits = [\n  { weight = 90 },\n  \
                { weight = 15, service = \"tcp4\" },\n]\n",
        place: "5:14",
        text: "the sum of all split weights must be 100, not 105.000000",
    },
    Bad {
        what: "subset",
        entry: "kind = \"service-splitter\"\nname = \"other\"\nsplits = [\n  \
                { weight = 90, service = \"tcp4\" },\n  \
                { weight = 10, service = \"tcp4\", service_subset = \"gren\" },\n]\n",
        place: "5:53",
        text: "service \"tcp4\" does not have a subset named \"gren\"",
    },
    Bad {
        what: "filter",
        entry: "kind = \"service-resolver\"\nname = \"other\"\nsubsets = {\n  \
                blue = { filter = \"Service.Meta.subset == blue and\" }\n}\n",
        place: "4:21",
        text: "Filter for subset \"blue\" is not a valid expression: ",
    },
    Bad {
        what: "key",
        entry: "kind = \"service-splitter\"\nname = \"other\"\nsplits = [\n  \
                { weight = 100, service_subnet = \"blue\" },\n]\n",
        place: "4:19",
        text: "invalid config key \"Splits[0].service_subnet\"",
    },
    Bad {
        what: "later",
        entry: "kind = \"service-resolver\"\nname = \"other\"\nload_balancer {\n  \
                policy = \"least_request\"\n}\n",
        place: "4:12",
        text: "load_balancer.policy \"least_request\" is not supported yet",
    },
    Bad {
        what: "type",
        entry: "kind = \"service-splitter\"\nname = \"other\"\nsplits = [\n  \
                { weight = \"lots\" },\n]\n",
        place: "4:14",
        text: "cannot parse 'Splits[0].Weight' as float: strconv.ParseFloat: parsing \"lots\": \
               invalid syntax",
    },
    Bad {
        what: "half",
        entry: "kind = \"service-resolver\"\nname = \"other\"\nsubsets = {\n  \
                blue = { filter = \"Service.Me",
        place: "4:21",
        text: "literal not terminated",
    },
];

#[test]
fn a_bad_entry_is_refused_with_its_place_and_nothing_changes() -> Result<()> {
    Lab::run("entries", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;

        unharmed(&scenario, || {
            for Bad { what, entry, place, text } in &ENTRIES {
                let (path, ran) = write(lab, &format!("{what}.hcl"), entry)?;
                assert_eq!(ran.code, Some(4), "write {what}: {}", ran.stderr);
                let wanted = at(&path, place) + text;
                assert!(ran.stderr.starts_with(&wanted), "{}, not {wanted}", ran.stderr);

                let (path, ran) = reload_with(lab, "bad.hcl", entry)?;
                assert_eq!(ran.code, Some(4), "reload {what}: {}", ran.stderr);
                let wanted = at(&path, place) + text;
                assert!(ran.stderr.starts_with(&wanted), "{}, not {wanted}", ran.stderr);
                let source = lab.status()?.source;
                assert!(!source.ok, "{what}: {source:?}");
                assert!(source.error.is_some_and(|error| error.contains(&wanted)), "{what}");
                fs::remove_file(path)?;
            }
            let ran = run(lab, &["reload"])?;
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert!(lab.status()?.source.ok);
            Ok(())
        })
    })
}

#[test]
fn a_split_that_is_refused_has_consuls_text_and_its_exit_code() -> Result<()> {
    Lab::run("split", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;

        unharmed(&scenario, || {
            for (line, code, text) in [
                (
                    &["split", "set", "tcp4", "blue=90", "green=20"][..],
                    4,
                    "the sum of all split weights must be 100, not 110.000000",
                ),
                (
                    &["split", "set", "tcp4", "blue=90", "gren=10"],
                    4,
                    "service \"tcp4\" does not have a subset named \"gren\"",
                ),
                (
                    &["split", "set", "tpc4", "blue=90", "green=10"],
                    3,
                    "no service is known as \"tpc4\" (did you mean \"tcp4\"?)",
                ),
                (&["split", "set", "tcp4", "blue=many"], 2, "blue=many"),
                (&["service", "deregister", "nobody"], 3, "Unknown service ID \"nobody\""),
                (
                    &["config", "delete", "--kind", "service-resolver", "--name", "tcp4"],
                    4,
                    "tcp4_resolver.hcl",
                ),
            ] {
                let ran = run(lab, line)?;
                assert_eq!(ran.code, Some(code), "{line:?}: {}", ran.stderr);
                assert!(ran.stderr.contains(text), "{line:?}: {}", ran.stderr);
            }
            Ok(())
        })
    })
}

#[test]
fn two_instances_at_one_place_are_refused_by_name_and_place() -> Result<()> {
    Lab::run("twins", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let blue = TCP4.backend(&scenario.backend("blue-1")?.pod).unwrap().to_string();
        let twin = service("tcp4", "twin", &blue, &TCP4.frontend().to_string())?;
        let first = lab.config_directory().join("tcp4_blue-1.hcl");

        unharmed(&scenario, || {
            let (path, ran) = register(lab, "twin.hcl", &twin)?;
            assert_eq!(ran.code, Some(4), "{}", ran.stderr);
            assert!(ran.stderr.starts_with(&at(&path, "1:1")), "{}", ran.stderr);
            let both = ["\"tcp4-blue-1\"", "\"twin\"", &blue, &format!("{}:1:1", first.display())];
            for part in both {
                assert!(ran.stderr.contains(part), "{part} is not in {}", ran.stderr);
            }

            let (path, ran) = reload_with(lab, "twin.hcl", &twin)?;
            assert_eq!(ran.code, Some(4), "{}", ran.stderr);
            for part in both.into_iter().chain([format!("{}:1:1", path.display()).as_str()]) {
                assert!(ran.stderr.contains(part), "{part} is not in {}", ran.stderr);
            }
            fs::remove_file(path)?;
            assert_eq!(run(lab, &["reload"])?.code, Some(0));
            Ok(())
        })
    })
}

#[test]
fn a_frontend_that_two_services_claim_stays_where_it_is() -> Result<()> {
    Lab::run("claims", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let green = TCP4.backend(&scenario.backend("green-1")?.pod).unwrap().to_string();
        // First by name, and still second: the claim in force stays.
        let thief = service("aaa", "aaa", &green, &TCP4.frontend().to_string())?;
        let text = "frontend 10.96.0.10:80/tcp is claimed by \"tcp4\" and \"aaa\": it stays with \
                    \"tcp4\"";

        let (_, ran) = register(lab, "thief.hcl", &thief)?;

        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stderr.contains(text), "{}", ran.stderr);
        let warnings = lab.status()?.warnings;
        assert!(
            warnings.iter().any(|warning| warning.service == "aaa" && warning.text == text),
            "{warnings:?}"
        );
        all_blue(&scenario)?;
        scenario.agent.kill9()?;
        scenario.agent.restart()?;
        scenario.wait_healthy()?;
        all_blue(&scenario)
    })
}

#[test]
fn an_entry_for_a_service_nobody_registered_names_the_likely_one() -> Result<()> {
    Lab::run("unknown", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let entry = "kind = \"service-resolver\"\nname = \"holt\"\n";
        let text = "no instance is registered as \"holt\" (did you mean \"hold\"?)";

        unharmed(&scenario, || {
            let (_, ran) = write(lab, "holt.hcl", entry)?;

            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert!(ran.stderr.contains(text), "{}", ran.stderr);
            let warnings = lab.status()?.warnings;
            assert!(warnings.iter().any(|warning| warning.text == text), "{warnings:?}");
            Ok(())
        })
    })
}

#[test]
fn a_start_with_a_half_written_file_keeps_the_last_good_revision() -> Result<()> {
    Lab::run("half", |lab| {
        let scenario = Scenario::start(lab, &SUBSETS)?;
        let path = lab.config_directory().join("tcp4_resolver.hcl");
        let whole = fs::read_to_string(&path)?;
        let revision = lab.status()?.revision;
        fs::write(&path, &whole[..whole.len() - 12])?;

        scenario.agent.process().signal(Signal::SIGHUP)?;
        wait_for("the agent to say what is wrong with the file", TIMEOUT, || {
            Ok(!lab.status()?.source.ok)
        })?;
        scenario.agent.kill9()?;
        all_blue(&scenario)?;
        scenario.agent.restart()?;

        let status = lab.status()?;
        assert!(status.ready);
        assert_eq!(status.revision, revision);
        let error = status.source.error.unwrap_or_default();
        assert!(error.starts_with(&format!("{}:", path.display())), "{error}");
        assert!(log(lab)?.contains("the last good configuration stays in force"));
        all_blue(&scenario)?;
        // It is the configuration that stays in force, not just the tables: changes work.
        lab.set_split("tcp4", &["blue=100", "green=0"])?;
        fs::write(&path, &whole)?;
        lab.ctl(&["reload"])?;
        assert!(lab.status()?.source.ok);
        all_blue(&scenario)
    })
}
