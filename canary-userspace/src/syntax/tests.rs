use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// The tree as JSON, so that expectations read easily; repeated keys get a `#`.
fn plain(value: &Value) -> Json {
    match &value.data {
        Data::Null => Json::Null,
        Data::Bool(truth) => json!(truth),
        Data::Integer(number) => json!(number),
        Data::Float(number) => json!(number),
        Data::String(text) => json!(text),
        Data::List(elements) => elements.iter().map(plain).collect(),
        Data::Object(items) => {
            let mut object = serde_json::Map::new();
            for item in items {
                let mut key = item.key.clone();
                while object.contains_key(&key) {
                    key.push('#');
                }
                object.insert(key, plain(&item.value));
            }
            Json::Object(object)
        }
    }
}

fn read(text: &str) -> Json {
    plain(&parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}")))
}

fn error(text: impl AsRef<[u8]>) -> String {
    match parse(text.as_ref()) {
        Ok(value) => panic!("accepted as {}", plain(&value)),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_tutorials_splitter_is_read_with_its_comma() {
    let text = "kind = \"service-splitter\",\nname = \"payments\"\nsplits = [\n  { weight = 50, service_subset = \"blue\" },\n  { weight = 50, service_subset = \"green\" }\n]\n";

    assert_eq!(
        read(text),
        json!({"kind": "service-splitter", "name": "payments", "splits": [
            {"weight": 50, "service_subset": "blue"}, {"weight": 50, "service_subset": "green"}]})
    );
}

#[test]
fn what_consul_accepts_is_accepted() {
    for (text, expected) in [
        ("", json!({})),
        ("kind = \"x\" name = \"y\"", json!({"kind": "x", "name": "y"})),
        (
            "a { weight = 50 service_subset = \"a\" }",
            json!({"a": {"weight": 50, "service_subset": "a"}}),
        ),
        ("a { b { c = 1 } }", json!({"a": {"b": {"c": 1}}})),
        (
            "subsets = { \"blue\" { filter = \"f\" } }",
            json!({"subsets": {"blue": {"filter": "f"}}}),
        ),
        ("subsets \"blue\" { filter = \"f\" }", json!({"subsets": {"blue": {"filter": "f"}}})),
        ("a b \"c\" { d = 1 }", json!({"a": {"b": {"c": {"d": 1}}}})),
        ("\"kind\" = \"s\"", json!({"kind": "s"})),
        ("name = \"a\"\nname = \"b\"", json!({"name": "a", "name#": "b"})),
        ("name =\n \"p\"", json!({"name": "p"})),
        ("name\n=\"p\"", json!({"name": "p"})),
        (
            "a = .5 b = 0x32 c = -7 d = 1.5e3 e = 0100 f = -0x1F g = 1. h = 0",
            json!({
            "a": 0.5, "b": 50, "c": -7, "d": 1500.0, "e": 64, "f": -31, "g": 1.0, "h": 0}),
        ),
        ("a = 010.5 b = 2E-1 c = 09.0", json!({"a": 10.5, "b": 0.2, "c": 9.0})),
        ("a = [1,,2]", json!({"a": [1, 2]})),
        ("a = [,1,]", json!({"a": [1]})),
        ("a = [[1, true], [], {b = 2}]", json!({"a": [[1, true], [], {"b": 2}]})),
        ("a = \"%{if} x ${b}\"", json!({"a": "%{if} x ${b}"})),
        ("a = \"${f(\"x\", {y})} z\"", json!({"a": "${f(\"x\", {y})} z"})),
        (
            "v.2 = 1 a-b = 2 _c = 3 \u{e9}t\u{e9} = 4",
            json!({"v.2": 1, "a-b": 2, "_c": 3, "\u{e9}t\u{e9}": 4}),
        ),
        ("a = true, b = false", json!({"a": true, "b": false})),
        (
            "a = \"\\a\\t\\n\\\\\\\"\\101\\x41\\u00e9\\U0001F600\"",
            json!({"a": "\u{7}\t\n\\\"AA\u{e9}\u{1f600}"}),
        ),
        ("a = {} b {} c = []", json!({"a": {}, "b": {}, "c": []})),
        ("a = 1\r\nb = 2\r\n", json!({"a": 1, "b": 2})),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn commas_and_comments_count_only_outside_texts() {
    let text = "# a, b {\n// \"c\n/* d, \"e\n } */ a = \"x, # y // z /* w */\", /* , */ b = [1 /* , */, # ,\n 2]\nc = <<END\none, # two\n // three, /*\nEND\n";

    assert_eq!(
        read(text),
        json!({"a": "x, # y // z /* w */", "b": [1, 2], "c": "one, # two\n // three, /*\n"})
    );
}

#[test]
fn heredocs_keep_what_consul_keeps() {
    for (text, expected) in [
        ("a = <<EOF\nx == 2\nEOF\n", "x == 2\n"),
        ("a = <<EOF\nx == 2\n  EOF\n", "x == 2\n  "),
        ("a = <<-EOF\n    x\n      y\n    EOF\n", "x\n  y\n"),
        ("a = <<-EOF\n  x\n y\n    EOF\n", "  x\n y\n"),
        ("a = <<EOF\nEOF\n", ""),
        ("a = <<EOF\r\nx\r\nEOF\r\n", "x\r\n"),
        ("a = <<EOF\nEOFX\n EOF x\n\"${\nEOF\n", "EOFX\n EOF x\n\"${\n"),
    ] {
        assert_eq!(read(text), json!({"a": expected}), "{text:?}");
    }
    assert_eq!(read("a = [<<A\nx\nA\n, 2]"), json!({"a": ["x\n", 2]}));
}

#[test]
fn syntax_errors_tell_their_place_in_consuls_words() {
    for (text, expected) in [
        ("name = p", "1:8: Unknown token: IDENT p"),
        ("a = 1\nname = p", "2:8: Unknown token: IDENT p"),
        ("a = null", "1:5: Unknown token: IDENT null"),
        ("a =", "1:4: Unknown token: EOF"),
        ("a = 1 + 1", "1:7: expected: IDENT | STRING | ASSIGN | LBRACE got: ADD"),
        ("a = \"x\ny\"", "1:5: literal not terminated"),
        ("a = \"${x", "1:5: literal not terminated"),
        ("a = 1; b = 2", "1:6: illegal character"),
        ("a: 1", "1:2: illegal character"),
        ("a = 'x'", "1:5: illegal character"),
        ("\u{feff}a = 1", "1:1: illegal character"),
        ("a = [1 2]", "1:8: error parsing list, expected comma or list end, got: NUMBER"),
        ("a = [b]", "1:6: unexpected token while parsing list: IDENT"),
        ("a = [1", "1:7: error parsing list, expected comma or list end, got: EOF"),
        ("/* x", "1:1: comment not terminated"),
        ("/ x", "1:1: expected '/' for comment"),
        ("a = 08", "1:5: illegal octal number"),
        ("a = 0x", "1:5: illegal hexadecimal number"),
        (
            "a = 99999999999999999999",
            "1:5: strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        ("a = 1e999", "1:5: strconv.ParseFloat: parsing \"1e999\": value out of range"),
        ("a = 1e", "1:5: strconv.ParseFloat: parsing \"1e\": invalid syntax"),
        ("a = \"\\q\"", "1:6: illegal char escape"),
        ("a = \"\\ud800\"", "1:6: illegal char escape"),
        ("a = \"\\x4\"", "1:6: illegal char escape"),
        ("a = <<EOF\nx", "1:5: heredoc not terminated"),
        ("a = <<EOF\nx\nEOF", "1:5: heredoc not terminated"),
        ("a = <<\nx\n", "1:5: zero-length heredoc anchor"),
        ("a = <<E F\nx\nE\n", "1:8: invalid characters in heredoc anchor"),
        ("a = <x", "1:6: heredoc expected second '<', didn't see it"),
        ("a {{ b = 1 }}", "1:4: expected: IDENT | STRING got: LBRACE"),
        ("= 1", "1:1: expected to find at least one object key"),
        ("a b = 1", "1:5: nested object expected: LBRACE got: ASSIGN"),
        ("a = 1,, b = 2", "1:7: expected: IDENT | STRING | ASSIGN | LBRACE got: COMMA"),
        ("a 1", "1:3: key 'a' expected start of object ('{') or assignment ('=')"),
        ("a {\n  b = 1\n", "3:1: object expected closing RBRACE got: EOF"),
        ("}", "1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE"),
        ("true = 1", "1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: BOOL"),
        ("a = \0", "1:5: unexpected null character (0x00)"),
        // The first mistake counts, also where a later one is the scanner's.
        ("a = b\nc = \"x", "1:5: Unknown token: IDENT b"),
        // Columns count characters.
        ("\u{e9} = \"\u{e9}\" \u{e9} = x", "1:13: Unknown token: IDENT x"),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
    assert_eq!(error(b"a = \"\xff\""), "1:6: illegal UTF-8 encoding");
}

#[test]
fn an_error_in_a_nested_key_has_its_own_place() {
    let text = "subsets = {\n  blue = {\n    filter = Service\n  }\n}\n";

    assert_eq!(error(text), "3:14: Unknown token: IDENT Service");
}

#[test]
fn every_key_and_value_has_its_place() {
    let root = parse(b"a = 1\n  b \"c\" { d = [ \"x\",\n {} ] }\n").unwrap();

    let b = &root.items().unwrap()[1];
    let c = &b.value.items().unwrap()[0];
    let d = &c.value.items().unwrap()[0];
    let Data::List(list) = &d.value.data else { panic!("{d:?}") };
    let places = [
        b.position,
        c.position,
        c.value.position,
        d.position,
        d.value.position,
        list[0].position,
        list[1].position,
    ];

    let expected = [(2, 3), (2, 5), (2, 9), (2, 11), (2, 15), (2, 17), (3, 2)];
    assert_eq!(places.map(|place| (place.line, place.column)), expected);
}

#[test]
fn json_is_read_with_places() {
    let text = " {\"Kind\": \"service-splitter\", \"n\": [1, -2.5e1, null, true, \"\\u00e9\\ud83d\\ude00\\n\"]}";

    assert_eq!(
        read(text),
        json!({"Kind": "service-splitter", "n": [1, -25.0, null, true, "\u{e9}\u{1f600}\n"]})
    );
    for (text, expected) in [
        ("{", "1:2: unexpected end of JSON input"),
        ("{\"a\": }", "1:7: invalid character '}' looking for beginning of value"),
        ("{\"a\" 1}", "1:6: invalid character '1' after object key"),
        ("{\"a\": 1,}", "1:9: invalid character '}' looking for beginning of object key string"),
        ("{\"a\": [1 2]}", "1:10: invalid character '2' after array element"),
        ("{\"a\": 01}", "1:8: invalid character '1' after object key:value pair"),
        ("{\"a\": 1}\n x", "2:2: invalid character 'x' after top-level value"),
        ("{\"a\": 1e999}", "1:7: cannot hold number 1e999 in 64 bits"),
        ("{\"a\": \"x\ny\"}", "1:9: invalid character '\\n' in string literal"),
        ("{\"a\": \"\\q\"}", "1:8: invalid escape in string literal"),
        ("{\"a\": tru}", "1:7: invalid character 't' looking for beginning of value"),
        ("{\"a\": -}", "1:7: invalid character '-' in numeric literal"),
        ("{# x\n}", "1:2: invalid character '#' looking for beginning of object key string"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn of_a_repeated_json_key_the_last_counts() {
    let root = parse(br#"{"a": 1, "b": 2, "a": 3}"#).unwrap();

    let replaced: Vec<_> = root.items().unwrap().iter().map(|item| item.replaced).collect();
    assert_eq!(replaced, [true, false, false]);
}

#[test]
fn nesting_ends_at_the_limit_and_not_at_the_stacks_end() {
    let deep = |open: &str, close: &str, count: usize| {
        format!("a = {}{}", open.repeat(count), close.repeat(count))
    };

    assert!(parse(deep("[", "]", MAX_DEPTH).as_bytes()).is_ok());
    for text in [
        deep("[", "]", MAX_DEPTH + 1),
        deep("[", "]", 1_000_000),
        format!("{}{}", "a {".repeat(200_000), "}".repeat(200_000)),
        format!("{}{{}}", "a ".repeat(200_000)),
        format!("{{\"a\": {}", "[".repeat(1_000_000)),
        "{\"a\":".repeat(200_000),
    ] {
        assert!(error(&text).ends_with("nested deeper than 100 levels"), "{}", error(&text));
    }
}

#[test]
fn long_texts_take_linear_time() {
    let texts: [(&str, OfParts); 5] = [
        ("a list", |n| format!("a = [{}]", "1,".repeat(n))),
        ("strings", |n| format!("{{\"a\": [{}1]}}", "\"\u{e9}\",".repeat(n))),
        ("templates", |n| format!("a = \"{}\"", "${{x}}".repeat(n))),
        ("a heredoc", |n| format!("a = <<E\n{}E\n", "x\n".repeat(n))),
        ("objects", |n| {
            let items: Vec<_> = (0..n).map(|index| format!("{{\"k{index}\":1}}")).collect();
            format!("{{\"a\":[{}]}}", items.join(","))
        }),
    ];
    for (what, text) in texts {
        let [short, long] = [text(5_000), text(40_000)].map(|text| cost(&text));
        // Eight times as long: 64 times as much where a step is quadratic.
        assert!(long < short * 32, "{what}: {short:?}, and {long:?} for eight times as much");
    }
}

/// A text of so many parts.
type OfParts = fn(usize) -> String;

/// Processor time of reading a text, the least of three.
fn cost(text: &str) -> Duration {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let once = |_| {
        let start = now();
        assert!(parse(text.as_bytes()).is_ok(), "{}", error(text));
        now().saturating_sub(start)
    };
    (0..3).map(once).min().unwrap()
}

const SEEDS: [&str; 4] = [
    "kind = \"service-splitter\",\nname = \"p\"\nsplits = [ { weight = 0x32, service_subset = \"b\" } ]\n",
    "subsets \"blue\" { filter = <<-EOF\n  Service.Meta.version == 2\n  EOF\n }\n// c\n/* d */ a = \"${x {\"y\"}}\\u00e9\"",
    "{\"Kind\": \"service-resolver\", \"n\": [1, -2.5e1, null, \"\\ud83d\\ude00\"], \"o\": {\"p\": {}}}",
    "a = .5 b = 07 c = -1.e3 d = [[], {}, true]",
];

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        _ = parse(text.as_bytes());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = parse(&bytes);
    }

    #[test]
    fn no_soup_of_tokens_makes_it_panic(
        parts in prop::collection::vec(prop::sample::select(vec![
            "a", "\"b\"", "=", "{", "}", "[", "]", ",", "1", "-", ".", "0x", "08", "1e", "<<E\n",
            "\nE\n", "\"", "${", "\\", "#", "/*", "*/", "//", "\n", " ", "true", ":", "null", "\u{e9}",
        ]), 0..40)
    ) {
        let text = parts.concat();
        _ = parse(text.as_bytes());
        _ = parse(format!("{{{text}").as_bytes());
    }

    #[test]
    fn no_mutation_makes_it_panic(
        seed in 0..SEEDS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
    ) {
        let mut bytes = SEEDS[seed].as_bytes().to_vec();
        for (index, byte, change) in changes {
            let at = index.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        _ = parse(&bytes);
    }

    #[test]
    fn json_means_what_serde_json_says(
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"{}[]\",:0123456789-+.eEtrfn \n".to_vec()),
    ) {
        let seed = br#"{"Kind": "service-resolver", "n": [1, -2.5e1, null, "\n"], "o": {"p": {}}}"#;
        let mut bytes = seed.to_vec();
        let at = 1 + at.index(bytes.len() - 1);
        bytes[at] = byte;
        let ours = parse(&bytes).ok();
        let theirs = serde_json::from_slice::<Json>(&bytes).ok();
        prop_assert_eq!(ours.is_some(), theirs.is_some());
    }

    #[test]
    fn a_duration_survives_print_and_parse(nanoseconds in 0..i64::MAX) {
        let duration = Duration::from_nanos(nanoseconds.unsigned_abs());
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
}

#[test]
fn durations_are_gos() {
    let nanoseconds = |text| parse_duration(text).map(|duration| duration.as_nanos());
    assert_eq!(nanoseconds("2s"), Ok(2_000_000_000));
    assert_eq!(nanoseconds("1h2m3.5s"), Ok(3_723_500_000_000));
    assert_eq!(nanoseconds("250ms"), Ok(250_000_000));
    assert_eq!(nanoseconds(".5us"), Ok(500));
    assert_eq!(nanoseconds("0"), Ok(0));
    assert_eq!(nanoseconds("15"), Err("time: missing unit in duration \"15\"".to_owned()));
    assert_eq!(nanoseconds("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".to_owned()));
    assert_eq!(nanoseconds(""), Err("time: invalid duration \"\"".to_owned()));
    assert_eq!(nanoseconds("."), Err("time: missing unit in duration \".\"".to_owned()));
    assert!(nanoseconds("99999999h").is_err());
    let printed = [0, 1, 1_500, 250_000_000, 1_000_000_000, 90_500_000_000, 3_600_000_000_000];
    assert_eq!(
        printed.map(|nanoseconds| format_duration(Duration::from_nanos(nanoseconds))),
        ["0s", "1ns", "1.5\u{b5}s", "250ms", "1s", "1m30.5s", "1h0m0s"]
    );
}
