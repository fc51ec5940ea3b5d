//! Entries field by field; whole command lines are in `ctl/tests`.

use serde_json::json;

use super::fields::{Field, of};
use crate::entry::{self, Entry};

fn entry(json: &serde_json::Value) -> Entry {
    entry::parse(json.to_string().as_bytes()).unwrap().entry
}

fn splitter(splits: &serde_json::Value) -> Entry {
    entry(&json!({"Kind": "service-splitter", "Name": "web", "Splits": splits}))
}

fn paths(fields: &[Field]) -> Vec<&str> {
    fields.iter().map(|field| field.path.as_str()).collect()
}

#[test]
fn entries_that_mean_the_same_are_the_same() {
    let one = splitter(&json!([
        {"Weight": 90, "ServiceSubset": "blue"}, {"Weight": 10, "Service": "api", "ServiceSubset": "x"}]));
    let other = splitter(&json!([
        {"Weight": 10, "Service": "api", "ServiceSubset": "x"},
        {"Weight": 90.0, "Service": "web", "ServiceSubset": "blue"}]));

    assert_eq!(of(Some(&one), Some(&other)), []);
}

#[test]
fn a_split_is_named_by_its_target_and_its_value_is_the_weight() {
    let old = splitter(&json!([
        {"Weight": 95, "ServiceSubset": "blue"}, {"Weight": 5, "ServiceSubset": "green"}]));
    let new = splitter(
        &json!([{"Weight": 75.5, "ServiceSubset": "blue"}, {"Weight": 24.5, "Service": "api"}]),
    );

    let fields = of(Some(&old), Some(&new));

    assert_eq!(paths(&fields), ["Splits[api]", "Splits[blue]", "Splits[green]"]);
    let [api, blue, green] = fields.as_slice() else { panic!("{fields:?}") };
    assert_eq!((&api.before, &api.after), (&None, &Some(json!(24.5))));
    assert_eq!((&blue.before, &blue.after), (&Some(json!(95.0)), &Some(json!(75.5))));
    assert_eq!((&green.before, &green.after), (&Some(json!(5.0)), &None));
}

#[test]
fn fields_of_a_resolver_have_the_paths_of_error_messages() {
    let resolver = |filter: &str, default: &str| {
        entry(&json!({"Kind": "service-resolver", "Name": "web", "DefaultSubset": default,
            "Subsets": {"blue": {"Filter": filter}}}))
    };

    let fields =
        of(Some(&resolver("Service.ID == a", "blue")), Some(&resolver("Service.ID == b", "")));

    assert_eq!(paths(&fields), ["DefaultSubset", "Subsets.blue.Filter"]);
    assert!(fields.iter().all(|field| field.split.is_none()));
    assert_eq!(of(None, Some(&resolver("", ""))).len(), 0, "an empty subset says nothing");
}
