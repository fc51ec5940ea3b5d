//! What Consul's files may look like: the same entry, written in every way that it takes.

use super::*;

fn same(text: &str, expected: &Entry) {
    assert_eq!(read(text).entry, *expected, "{text}");
}

/// The tutorial's splitter, as each feature of the language has it that other readers of HCL refuse
/// or read otherwise.
#[test]
fn a_splitter_in_every_form_that_consul_takes() {
    let expected = read(SPLITTER).entry;
    let (kind, name) = ("kind = \"service-splitter\"", "name = \"payments\"");
    let splits = "splits = [{ weight = 50, service_subset = \"blue\" }, { weight = 50, service_subset = \"green\" }]";
    for text in [
        format!("{kind},\n{name},\n{splits},\n"),
        format!("{kind} {name} {splits}"),
        format!("\"kind\" = \"service-splitter\" \"name\" = \"payments\" {splits}"),
        format!("{kind}\nname =\n \"payments\"\n{splits}"),
        format!("{kind}\nname\n= \"payments\"\n{splits}"),
        format!("{kind}\nname = \"other\"\n{name}\n{splits}"),
        format!("{kind} {name} splits {{ weight = 50 service_subset = \"blue\" }} splits {{ weight = 50 service_subset = \"green\" }}"),
        format!("{kind} {name} splits = [{{ weight = 50 service_subset = \"blue\" }}] splits = [{{ weight = 50 service_subset = \"green\" }}]"),
        format!("{kind} {name} splits = [,{{ weight = 0x32 service_subset = \"blue\" }},,{{ weight = 062 service_subset = \"green\" }},]"),
        format!("{kind} {name} splits = [{{ weight = 50. service_subset = \"blue\" }}, {{ weight = 5e1 service_subset = \"green\" }}]"),
        format!("{kind} {name} splits = [{{ weight = \"50\" service_subset = [\"blue\"] }}, [{{ weight = \"50.0\" service_subset = \"green\" }}]]"),
        format!("# a\n// b\n/* c\n */ {kind} # d\n{name} // e\n{splits} /* f */"),
        format!("{kind}\r\n{name}\r\n{splits}\r\n"),
        format!("{kind}\nNAME = \"payments\" SPLITS = [{{ WEIGHT = 50, Service_Subset = \"blue\" }}, {{ Weight = 50, serviceSubset = \"green\" }}]"),
        "\u{20}\n{\"Kind\": \"service-splitter\", \"Name\": \"payments\", \"Splits\": [{\"Weight\": 50, \"ServiceSubset\": \"blue\"}, {\"Weight\": 5e1, \"ServiceSubset\": \"gr\\u0065en\"}]}".to_owned(),
        "{\"kind\": \"service-splitter\", \"name\": \"payments\", \"splits\": [{\"weight\": \"50\", \"service_subset\": \"blue\"}, {\"weight\": 50, \"service_subset\": \"green\"}], \"meta\": null, \"CreateIndex\": 1, \"ModifyIndex\": 2, \"Hash\": 3}".to_owned(),
    ] {
        same(&text, &expected);
    }
}

#[test]
fn a_resolver_in_every_form_that_consul_takes() {
    let expected = read(RESOLVER).entry;
    let head = "kind = \"service-resolver\" name = \"payments\" default_subset = \"blue\"";
    let (blue, green) = ("Service.Meta.version == 2", "Service.Meta.version == 3");
    for subsets in [
        format!(
            "subsets \"blue\" {{ filter = \"{blue}\" }} subsets \"green\" {{ filter = \"{green}\" }}"
        ),
        format!("subsets {{ blue {{ filter = \"{blue}\" }} green {{ filter = \"{green}\" }} }}"),
        format!(
            "subsets = {{ \"blue\" {{ filter = \"{blue}\" }} \"green\" = {{ filter = \"{green}\" }} }}"
        ),
        format!(
            "subsets = [{{ blue = {{ filter = \"{blue}\" }} }}, {{ green = [{{ filter = \"{green}\" }}] }}]"
        ),
        format!(
            "subsets blue {{ filter = \"old\" }} subsets blue {{ filter = \"{blue}\" }} subsets green {{ filter = \"{green}\" }}"
        ),
        format!(
            "subsets {{ blue {{ filter = \"{blue}\" only_passing = \"\" }} green {{ filter = \"{green}\" only_passing = 0 }} }}"
        ),
    ] {
        same(&format!("{head}\n{subsets}"), &expected);
    }
}

#[test]
fn filters_are_texts_however_they_are_written() {
    let filter = |value: &str| {
        let text =
            format!("kind = \"service-resolver\" name = \"p\" subsets a {{ filter = {value} }}\n");
        match parse(text.as_bytes()) {
            Ok(decoded) => match decoded.entry {
                Entry::Resolver(resolver) => resolver.subsets["a"].filter.clone(),
                other => panic!("{other:?}"),
            },
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(filter("<<EOF\nService.Meta.v == 2\nEOF\n"), "Service.Meta.v == 2\n");
    assert_eq!(filter("<<EOF\n  Service.Meta.v == 2\n  EOF\n"), "  Service.Meta.v == 2\n  ");
    assert_eq!(filter("<<-EOF\n  Service.Meta.v == 2\n  EOF\n"), "Service.Meta.v == 2\n");
    assert_eq!(filter("\"Service.Meta.v == `%{x} ${y}`\""), "Service.Meta.v == `%{x} ${y}`");
    assert_eq!(filter("\"Service.Meta.v == \\\"\\u00e9\\\"\""), "Service.Meta.v == \"\u{e9}\"");
    // A number is its text, which is no expression.
    assert!(filter("3").contains("Filter for subset \"a\" is not a valid expression: "));
    assert!(
        filter("[\"a\", \"b\"]").ends_with(
            "'Subsets[a].Filter' expected type 'string', got unconvertible type 'slice'"
        )
    );
}

#[test]
fn what_no_reader_takes_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "KIND = \"service-resolver\"",
            "1:1: Payload does not contain a kind/Kind key at the top level",
        ),
        ("kind = 3", "1:8: Kind value in payload is not a string"),
        ("kind = \"x\"", "1:8: invalid config entry kind: x"),
        ("kind = \"mesh\"", "1:8: config entry kind \"mesh\" is not used by this agent"),
        ("kind = \"service-resolver\"", "1:1: Name is required"),
        ("kind = \"service-resolver\" name = p", "1:34: Unknown token: IDENT p"),
        ("kind = \"service-resolver\"; name = \"p\"", "1:26: illegal character"),
        ("kind: \"service-resolver\"", "1:5: illegal character"),
        ("kind = 'service-resolver'", "1:8: illegal character"),
        ("\u{feff}kind = \"service-resolver\"", "1:1: illegal character"),
        ("kind = \"service-resolver\" name = null", "1:34: Unknown token: IDENT null"),
        ("kind = \"a\nb\"", "1:8: literal not terminated"),
        (
            "kind = \"service-splitter\" name = \"p\" splits = [{ weight = 99999999999999999999 }]",
            "1:59: strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        (
            "kind = \"service-splitter\" name = \"p\" splits = [{ weight = 08 }]",
            "1:59: illegal octal number",
        ),
        (
            "kind = \"service-splitter\" name = \"p\" splits = [{ weight = 50 } { weight = 50 }]",
            "1:64: error parsing list, expected comma or list end, got: LBRACE",
        ),
        (
            "kind = \"service-splitter\" name = \"p\" splits = [{ weight = \"0x32\" }]",
            "1:59: cannot parse 'Splits[0].Weight' as float: strconv.ParseFloat: parsing \"0x32\": invalid syntax",
        ),
        (
            "{\"Kind\": \"service-resolver\" \"Name\": \"p\"}",
            "1:29: invalid character '\"' after object key:value pair",
        ),
        (
            "{\"Kind\": \"service-resolver\",}",
            "1:29: invalid character '}' looking for beginning of object key string",
        ),
        ("{\"Kind\": \"service-resolver\"} x", "1:30: invalid character 'x' after top-level value"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let deep = |count: usize| {
        format!(
            "kind = \"service-defaults\" name = \"p\" x = {}{}",
            "[".repeat(count),
            "]".repeat(count)
        )
    };
    read(&deep(100));
    assert_eq!(error(&deep(101)), "1:142: nested deeper than 100 levels");
    assert_eq!(parse(b"kind = \"\xff\"").unwrap_err().to_string(), "1:9: illegal UTF-8 encoding");
}
