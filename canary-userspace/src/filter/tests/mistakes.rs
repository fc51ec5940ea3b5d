//! What is refused, in whose words, and what then helps.

use super::*;

fn refused(text: &str) -> ConfigError {
    Filter::parse(text).map(|_| ()).expect_err(text)
}

fn unusable(text: &str) -> ConfigError {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    for registered in [registered(), bare()] {
        assert!(!filter.matches(&registered), "{text} matches though it cannot be evaluated");
    }
    filter.check().expect_err(text)
}

const NUMBER: &str = "rule \"number\": Invalid number literal";

#[test]
fn syntax_errors_are_consuls() {
    let version = |value: &str| format!("Service.Meta.version == {value}");
    for (text, expected) in [
        (version("1.2.3"), format!("1:28 (27): {NUMBER}")),
        (version("02"), format!("1:26 (25): {NUMBER}")),
        (version("0x2"), format!("1:26 (25): {NUMBER}")),
        (version("1e3"), format!("1:26 (25): {NUMBER}")),
        (version("2024-01-01"), format!("1:29 (28): {NUMBER}")),
        (version("10.0.0.1"), format!("1:29 (28): {NUMBER}")),
        (version("2and Service.Port == 1"), format!("1:26 (25): {NUMBER}")),
        (
            version("v2-rc1"),
            "1:27 (26): no match found, expected: \".\", \"[\", [ \\t\\r\\n], [a-zA-Z0-9_] or EOF"
                .to_owned(),
        ),
    ] {
        assert_eq!(refused(&text).text, expected, "{text}");
    }
    for (text, expected) in [
        ("Service.Meta[version] == 2", "1:14 (13): rule \"index\": Invalid index"),
        ("Service.Tags[0] == 2", "1:14 (13): rule \"index\": Invalid index"),
        ("Service.Meta[\"a\" == 2", "1:18 (17): rule \"index\": Unclosed index expression"),
        ("Service.Meta.a == \"x", "1:21 (20): rule \"string\": Unterminated string literal"),
        ("Service.Meta.a == `x", "1:21 (20): rule \"string\": Unterminated string literal"),
        ("Service.Meta.a == \"a\\q\"", "1:19 (18): rule \"string\": invalid syntax"),
        ("Service.Meta.a == \"a\\\"b\"", "1:19 (18): rule \"string\": invalid syntax"),
        ("Service.Meta.a == \"a\nb\"", "1:19 (18): rule \"string\": invalid syntax"),
        ("(Service.Meta.a == 1", "1:21 (20): rule \"grouping\": Unmatched parentheses"),
        ("1 in 2", "1:6 (5): rule \"match\": Invalid selector"),
        // Lines are counted, columns in characters, the offset in bytes.
        ("a == 1 and\nb == 1.2.3", "2:9 (19): rule \"number\": Invalid number literal"),
        ("a == \"\u{fc}\" and b == 02", "1:20 (20): rule \"number\": Invalid number literal"),
    ] {
        assert_eq!(refused(text).text, expected, "{text}");
    }
}

#[test]
fn what_the_grammar_does_not_have_is_no_match() {
    for text in [
        " ",
        "Service.Meta.a == +2",
        "Service.Meta.a == 'v2'",
        "Service.Meta.a == $x",
        "Service.Meta.a == \u{fc}",
        "Service.Meta.pod-name == \"x\"",
        "Service.Meta.a = 1",
        "Service.Meta.a == 1 AND b == 2",
        "Service.Meta.a == 1 && b == 2",
        "Service.Meta.a == 1 || b == 2",
        "!(a == 1)",
        "a < 1",
        "a > 1",
        "(a == 1)and(b == 2)",
        "a == 1 and",
        "a == 1 or",
        "a",
        "not",
        "a is empt",
        "a == 1)",
        // Of the newer library.
        "any Checks as c { c.Status == passing }",
        "all Checks as i, c { c.Status == passing }",
        "any Checks as _, c { c.Status == passing }",
        "Service.Meta is nil",
        "Service.Meta is not nil",
        "\"/Service/Meta/version\" == 2",
        "Service.Tags.0 == v2",
        "Service.Meta.a == release/1",
    ] {
        let error = refused(text).text;
        assert!(error.contains("no match found, expected: "), "{text}: {error}");
    }
}

#[test]
fn words_are_not_reserved() {
    // These parse; what they select does not exist.
    for (text, selector) in [
        ("not == 2", "not"),
        ("not contains 2", "not"),
        ("not not contains 2", "not"),
        ("in in and", "and"),
        ("not in or", "or"),
        ("is is empty", "is"),
        ("not is empty", "not"),
    ] {
        assert_eq!(unusable(text).text, format!("Selector {selector:?} is not valid"), "{text}");
    }
}

#[test]
fn type_errors_are_consuls_and_such_filters_match_nothing() {
    let operator = |name: &str, selector: &str| {
        format!("Invalid match operator {name:?} for selector {selector:?}")
    };
    let coerce = |value: &str, selector: &str, function: &str, reason: &str| {
        format!(
            "Failed to coerce value {value:?} for selector {selector:?}: strconv.{function}: \
             parsing {value:?}: {reason}"
        )
    };
    for (text, expected) in [
        ("ServiceMeta.env == prod", "Selector \"ServiceMeta\" is not valid".to_owned()),
        ("Service.meta == 1", "Selector \"Service.meta\" is not valid".to_owned()),
        (
            "Service.Meta.rel.ease == 1",
            "Selector \"Service.Meta.rel.ease\" is not valid".to_owned(),
        ),
        ("Service.Nothing.at.all == 1", "Selector \"Service.Nothing\" is not valid".to_owned()),
        ("Service.Port.x == 1", "Selector \"Service.Port.x\" is not valid".to_owned()),
        ("Service.Locality.Zone == a", "Selector \"Service.Locality\" is not valid".to_owned()),
        ("Checks.Definition == a", "Selector \"Checks.Definition\" is not valid".to_owned()),
        ("Service.Tags == v3", operator("Equal", "Service.Tags")),
        ("Service.Tags != v3", operator("Not Equal", "Service.Tags")),
        ("Service.Tags matches x", operator("Matches", "Service.Tags")),
        ("Service.Tags not matches x", operator("Not Matches", "Service.Tags")),
        ("Service.Meta == x", operator("Equal", "Service.Meta")),
        ("Service.Meta matches x", operator("Matches", "Service.Meta")),
        ("Service.Meta.version is empty", operator("Is Empty", "Service.Meta.version")),
        ("Service.Meta.version is not empty", operator("Is Not Empty", "Service.Meta.version")),
        ("Service.Kind is empty", operator("Is Empty", "Service.Kind")),
        ("1 in Service.Port", operator("In", "Service.Port")),
        ("1 not in Service.Port", operator("Not In", "Service.Port")),
        ("Service.Port matches x", operator("Matches", "Service.Port")),
        ("Service.Port is empty", operator("Is Empty", "Service.Port")),
        ("true in Service.Connect.Native", operator("In", "Service.Connect.Native")),
        ("Checks == 1", operator("Equal", "Checks")),
        ("passing in Checks", operator("In", "Checks")),
        ("Checks.Status is empty", operator("Is Empty", "Checks.Status")),
        ("Service == 1", operator("Equal", "Service")),
        ("Service.Weights is empty", operator("Is Empty", "Service.Weights")),
        ("Service.Port == abc", coerce("abc", "Service.Port", "ParseInt", "invalid syntax")),
        ("Service.Port == 80.5", coerce("80.5", "Service.Port", "ParseInt", "invalid syntax")),
        (
            "Service.Port == 9223372036854775808",
            coerce("9223372036854775808", "Service.Port", "ParseInt", "value out of range"),
        ),
        (
            "Service.EnableTagOverride == yes",
            coerce("yes", "Service.EnableTagOverride", "ParseBool", "invalid syntax"),
        ),
        (
            "Service.ID matches `[`",
            "Failed to compile regular expression \"[\": error parsing regexp: missing closing ]: `[`"
                .to_owned(),
        ),
        // The first mistake is told.
        ("Service.Port == 1 and (A == 1 or B == 2)", "Selector \"A\" is not valid".to_owned()),
    ] {
        assert_eq!(unusable(text).text, expected, "{text}");
    }
}

#[test]
fn what_may_have_been_meant_is_told_apart_from_consuls_words() {
    for (text, hint) in [
        ("Service.Meta.version == v2-rc1", "quote the value: \"v2-rc1\""),
        ("Service.Meta.version==v2-rc1", "quote the value: \"v2-rc1\""),
        ("(Service.Meta.version == 1.2.3)", "quote the value: \"1.2.3\""),
        ("Service.Meta.version != 2024-01-01 and a == 1", "quote the value: \"2024-01-01\""),
        ("Service.Meta.version == 'v2'", "quote the value: \"v2\""),
        ("Service.Meta.version matches ^v2", "quote the value: \"^v2\""),
        ("Service.Meta.version == release/1", "quote the value: \"release/1\""),
        ("1.2.3 in Service.Tags", "quote the value: \"1.2.3\""),
        ("v2-rc1 not in Service.Tags", "quote the value: \"v2-rc1\""),
        ("Service.Meta.pod-name == x", "quote the key: Service.Meta[\"pod-name\"]"),
        ("a == 1 and Service.Meta.pod-name.x == x", "quote the key: Service.Meta[\"pod-name.x\"]"),
        ("Service.Meta[version] == 2", "quote the key: Service.Meta[\"version\"]"),
        ("Service.Tags[0] == v2", "elements have no numbers; ask for one with `X in Service.Tags`"),
        ("a == 1 AND b == 2", "write `and`"),
        ("a == 1 && b == 2", "write `and`"),
        ("a == 1 || b == 2", "write `or`"),
        ("!(a == 1)", "write `not`"),
        ("a = 1", "write `==`"),
        ("a >= 1", "numbers have no order here: only `==` and `!=`"),
        ("(a == 1)and(b == 2)", "`and` needs a blank on both sides"),
    ] {
        let error = refused(text);
        assert_eq!(error.hint.as_deref(), Some(hint), "{text}: {error}");
        assert_eq!(error.to_string(), format!("{} ({hint})", error.text));
    }
    for (text, hint) in [
        ("ServiceMeta.env == prod", "did you mean Service.Meta.env?"),
        ("Meta.version == 2", "did you mean Service.Meta.version?"),
        ("Meta[\"pod-name\"] == x", "did you mean Service.Meta[\"pod-name\"]?"),
        ("v2 in Tags", "did you mean Service.Tags?"),
        ("v2 in ServiceTags", "did you mean Service.Tags?"),
        ("ServicePort == 80", "did you mean Service.Port?"),
        ("NodeMeta.zone == a", "did you mean Node.Meta.zone?"),
        ("Datacenter == dc1", "did you mean Node.Datacenter?"),
        ("Status == passing", "did you mean Checks.Status?"),
        ("Service.meta.version == 2", "did you mean Service.Meta.version?"),
        ("service.port == 80", "did you mean Service.Port?"),
        ("Service.Meta.rel.ease == 1", "did you mean Service.Meta[\"rel.ease\"]?"),
        ("Service.Tags == v3", "a list is asked with `X in LIST`"),
        (
            "Service.Meta.version is empty",
            "an empty text is asked for with `== \"\"`, a key of a map with `KEY in MAP`",
        ),
        ("Service.Weights == 1", "only its fields can be compared"),
    ] {
        let error = unusable(text);
        assert_eq!(error.hint.as_deref(), Some(hint), "{text}: {error}");
    }
    // Nothing is made up.
    for text in ["", " ", "a == ", "(a == 1", "a", "Service.ID == \"x"] {
        let hint = Filter::parse(text).err().and_then(|error| error.hint);
        assert_eq!(hint, None, "{text}");
    }
    assert_eq!(unusable("Nonsense == 1").hint, None);
}

#[test]
fn patterns_are_refused_as_go_refuses_them() {
    for (pattern, reason) in [
        ("[", "missing closing ]: `[`"),
        ("a[b", "missing closing ]: `[b`"),
        ("[]", "missing closing ]: `[]`"),
        ("(a", "missing closing ): `(a`"),
        ("a)", "unexpected ): `a)`"),
        ("*", "missing argument to repetition operator: `*`"),
        ("a|+", "missing argument to repetition operator: `+`"),
        ("(?i)?", "missing argument to repetition operator: `?`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("\\1", "invalid escape sequence: `\\1`"),
        ("\\u0041", "invalid escape sequence: `\\u`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?<!a)", "invalid or unsupported Perl syntax: `(?<!`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
    ] {
        let error = unusable(&format!("Service.ID matches `{pattern}`")).text;
        let prefix = format!("Failed to compile regular expression {pattern:?}: ");
        assert_eq!(error, format!("{prefix}error parsing regexp: {reason}"));
    }
    // What only the other library finds is told in its words, in one line.
    for pattern in ["[z-a]", "\\p{Nothing}", "(?P<1>a)", "((a{100}){100}){100}"] {
        let error = unusable(&format!("Service.ID matches `{pattern}`")).text;
        assert!(error.starts_with("Failed to compile regular expression "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
