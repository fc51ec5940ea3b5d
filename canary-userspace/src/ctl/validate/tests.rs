//! Sets of files, right and wrong.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const RESOLVER: &str = "kind = \"service-resolver\"\nname = \"payments\"\ndefault_subset = \"blue\"\n\
                        subsets = {\n  blue = { filter = \"Service.Meta.version == 2\" }\n  \
                        green = { filter = \"Service.Meta.version == 3\" }\n}\n";
const SPLITTER: &str = "kind = \"service-splitter\",\nname = \"payments\"\nsplits = [\n  \
                        { weight = 90, service_subset = \"blue\" },\n  \
                        { weight = 10, service_subset = \"gren\" }\n]\n";

fn validate(directory: &TempDir, names: &[&str], json: bool) -> (u8, String, String) {
    let paths = names.iter().map(|name| directory.path().join(name)).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err);
    let outcome = run(&ConfigValidate { paths, json }, &mut console);
    let code = outcome.as_ref().map_or_else(Failure::exit_code, |()| 0);
    let prefix = format!("{}/", directory.path().display());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let failure = outcome.err().map(|failure| failure.to_string()).unwrap_or_default();
    (code, text(out).replace(&prefix, ""), (text(err) + &failure).replace(&prefix, ""))
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

#[test]
fn the_tutorials_files_are_a_valid_set() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/payments");
    let options = ConfigValidate {
        paths: vec![
            examples.join("payments_resolver.hcl"),
            examples.join("3_canary/payments_splitter.hcl"),
        ],
        json: false,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());

    run(&options, &mut Console::new(&mut out, &mut err)).unwrap();

    assert_eq!(String::from_utf8(out).unwrap(), "Valid: 2 files, 2 config entries, 0 instances\n");
    assert_eq!(String::from_utf8(err).unwrap(), "");
}

#[test]
fn a_subset_that_is_not_defined_is_an_error_at_its_place() {
    let set = directory(&[("a.hcl", RESOLVER), ("b.hcl", SPLITTER)]);

    let (code, out, err) = validate(&set, &[""], false);

    assert_eq!(
        err,
        "b.hcl:5:35: service \"payments\" does not have a subset named \"gren\"
  5 |   { weight = 10, service_subset = \"gren\" }
    |                                   ^
  hint: did you mean \"green\"?
1 error in 2 files"
    );
    assert_eq!((code, out.as_str()), (4, ""));
}

#[test]
fn a_resolver_that_is_elsewhere_is_a_warning() {
    let set = directory(&[("b.hcl", SPLITTER)]);

    let (code, out, err) = validate(&set, &["b.hcl"], false);

    assert_eq!(
        err,
        "WARNING: b.hcl:4:35: service-resolver/payments is not among these files: \
         its subsets are not checked\n  4 |   { weight = 90, service_subset = \"blue\" },\n    \
         |                                   ^\n"
    );
    assert_eq!((code, out.as_str()), (0, "Valid: 1 file, 1 config entry, 0 instances\n"));
}

#[test]
fn every_broken_file_is_told_and_json_has_the_places() {
    let set = directory(&[
        ("a.hcl", "kind = \"service-splitter\"\nname = p\n"),
        ("b.json", "{\"Kind\": 3}"),
    ]);

    let (code, out, _) = validate(&set, &["a.hcl", "b.json"], true);

    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 4);
    assert_eq!(document["valid"], false);
    assert_eq!(document["errors"].as_array().unwrap().len(), 2, "{document}");
    assert_eq!(
        (&document["errors"][0]["line"], &document["errors"][0]["column"]),
        (&json!(2), &json!(8))
    );
}

#[test]
fn an_entry_for_a_name_that_nobody_has_is_warned_of_with_the_likely_one() {
    let service = "service {\n  name = \"payment\"\n  address = \"10.0.0.1\"\n  port = 80\n  meta { version = \"2\" }\n}\n";
    let set = directory(&[("a.hcl", RESOLVER), ("s.hcl", service)]);

    let (code, _, err) = validate(&set, &[""], false);

    assert_eq!(code, 0, "{err}");
    assert!(err.contains("did you mean \"payment\"?"), "{err}");
}

#[test]
fn a_file_that_is_not_there_is_an_error() {
    let set = directory(&[]);

    let (code, _, err) = validate(&set, &["none.hcl"], false);

    assert_eq!((code, err.as_str()), (1, "none.hcl: No such file or directory"));
}

#[test]
fn every_mistake_of_every_file_is_told_with_what_was_meant() {
    let resolver = "kind = \"service-resolver\"\nname = \"payments\"\ndefault_subset = \"bleu\"\nsubsets = {\n  \
                    blue = { fliter = \"Service.Meta.version == 2\" }\n  \
                    green = { filter = \"Service.Meta.version = 3\" }\n}\nconect_timeout = \"5s\"\n";
    let set = directory(&[
        ("a.hcl", resolver),
        ("b.hcl", "kind = \"service-spliter\"\nname = \"payments\"\n"),
        ("c.hcl", "kind = \"service-resolver\"\nname = \n"),
    ]);

    let (code, _, err) = validate(&set, &[""], false);

    let told: Vec<_> = err
        .lines()
        .filter(|line| !line.starts_with("  ") || line.starts_with("  hint"))
        .map(|line| line.split_once(": Filter").map_or(line, |(place, _)| place))
        .collect();
    assert_eq!(
        told,
        [
            "a.hcl:5:12: invalid config key \"Subsets[blue].fliter\"",
            "  hint: did you mean \"filter\"?",
            "a.hcl:8:1: invalid config key \"conect_timeout\"",
            "  hint: did you mean \"connect_timeout\"?",
            "b.hcl:1:8: invalid config entry kind: service-spliter",
            "  hint: did you mean \"service-splitter\"?",
            "c.hcl:3:1: Unknown token: EOF",
            "4 errors in 3 files"
        ]
    );
    assert_eq!(code, 4);
}

#[test]
fn rules_are_told_one_by_one_too() {
    let resolver = "kind = \"service-resolver\"\nname = \"payments\"\ndefault_subset = \"gren\"\nsubsets = {\n  \
                    blue = { filter = \"Service.Meta.version = 2\" }\n  \
                    green = { filter = \"Service.Meta.version == 3 and\" }\n}\n";
    let set = directory(&[("a.hcl", resolver)]);

    let (_, out, _) = validate(&set, &["a.hcl"], true);

    let document: Value = serde_json::from_str(&out).unwrap();
    let errors = document["errors"].as_array().unwrap();
    let lines: Vec<_> = errors.iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [5, 6, 3], "{document}");
    assert_eq!(errors[2]["hint"], "did you mean \"green\"?");
}

#[test]
fn a_service_that_is_wrong_hides_no_other() {
    let service = |name: &str, port: &str| {
        format!("service {{\n  name = \"{name}\"\n  address = \"10.0.0.1\"\n  port = {port}\n}}\n")
    };
    let text = service("a", "\"x\"") + &service("b", "80") + &service("c", "\"y\"");
    let set = directory(&[("a.hcl", &text)]);

    let (code, _, err) = validate(&set, &["a.hcl"], false);

    assert!(err.contains("a.hcl:4:10: ") && err.contains("a.hcl:14:10: "), "{err}");
    assert!(err.ends_with("2 errors in 1 file"), "{err}");
    assert_eq!(code, 4);
}

#[test]
fn every_split_that_leads_nowhere_is_told() {
    let splitter = SPLITTER.replace("blue", "bleu");
    let set = directory(&[("a.hcl", RESOLVER), ("b.hcl", &splitter)]);

    let (_, _, err) = validate(&set, &[""], false);

    assert!(err.contains("b.hcl:4:35: ") && err.contains("did you mean \"blue\"?"), "{err}");
    assert!(err.contains("b.hcl:5:35: ") && err.contains("did you mean \"green\"?"), "{err}");
    assert!(err.ends_with("2 errors in 2 files"), "{err}");
}

#[test]
fn a_filter_that_cannot_be_evaluated_is_a_warning() {
    let resolver = RESOLVER.replace("Service.Meta.version == 3", "Service.Colour == 3");
    let set = directory(&[("a.hcl", &resolver)]);

    let (code, out, err) = validate(&set, &["a.hcl"], false);

    assert!(err.starts_with("WARNING: a.hcl:6:22: Filter for subset \"green\" cannot be"), "{err}");
    assert_eq!((code, out.as_str()), (0, "Valid: 1 file, 1 config entry, 0 instances\n"));
}

#[test]
fn a_file_that_is_named_twice_is_read_once_and_nothing_is_not_much() {
    let set = directory(&[("a.hcl", RESOLVER)]);
    let empty = directory(&[("README.md", "x")]);
    let twice = set.path().join("a.hcl");

    let (code, out, _) = validate(&set, &["a.hcl", twice.to_str().unwrap()], false);
    assert_eq!((code, out.as_str()), (0, "Valid: 1 file, 1 config entry, 0 instances\n"));

    let (code, _, err) = validate(&empty, &["."], false);
    assert_eq!((code, err.as_str()), (0, "WARNING: no *.hcl and *.json file is there to check\n"));
}

#[test]
fn a_check_of_an_instance_that_is_not_in_the_set_is_told() {
    let check = "check {\n  name = \"warm\"\n  ttl = \"1m\"\n  service_id = \"web-2\"\n}\n";
    let service = "service {\n  name = \"web\"\n  id = \"web-1\"\n  port = 1\n}\n";
    let set = directory(&[("check.hcl", check), ("service.hcl", service)]);

    let (code, _, err) = validate(&set, &[""], false);
    let (alone, out, warned) = validate(&set, &["check.hcl"], false);

    let text = "check.hcl:1:1: check \"warm\": ServiceID \"web-2\" does not exist\n";
    assert!(code == 4 && err.starts_with(text) && err.contains("web-1"), "{err}");
    assert_eq!((alone, out.as_str()), (0, "Valid: 1 file, 0 config entries, 0 instances\n"));
    let text = "check.hcl:1:1: service id \"web-2\" is not among these files: check \"warm\"";
    assert!(warned.contains(text), "{warned}");
    fs::write(set.path().join("other.hcl"), service.replace("web-1", "web-2")).unwrap();
    fs::write(set.path().join("service.hcl"), "").unwrap();
    assert_eq!(validate(&set, &[""], false).0, 0);
}
