//! Texts that are nearly entries: a grammar, walked by the bytes of a fuzzer.
//!
//! Random bytes hardly ever get past the first brace. Here each byte chooses one of the ways in
//! which a rule can go on, right ones and wrong ones, so that the rules behind the parser are met.

/// The rules: a word that has one stands for one of its texts. The first text of a rule is taken
/// when the choices have run out, and leads to an end.
const RULES: &[(&str, &[&str])] = &[
    (
        "ENTRY",
        &["kind = KIND name = NAME FIELDS", "KEY = VALUE FIELDS", "Kind = KIND NAME = NAME FIELDS"],
    ),
    (
        "KIND",
        &[
            "\"service-resolver\"",
            "\"service-splitter\"",
            "\"service-defaults\"",
            "\"proxy-defaults\"",
            "\"service-router\"",
            "\"mesh\"",
            "VALUE",
        ],
    ),
    ("NAME", &["\"p\"", "\"global\"", "\"q\"", "VALUE"]),
    ("FIELDS", &["", "FIELD FIELDS", "FIELD , FIELDS", "FIELD\nFIELDS", "# c\n FIELDS"]),
    (
        "FIELD",
        &[
            "default_subset = LABEL",
            "DefaultSubset = LABEL",
            "subsets = { SUBSETS }",
            "subsets LABEL { SUBSET }",
            "redirect { TARGET }",
            "redirect = VALUE",
            "failover = { FAILOVERS }",
            "failover LABEL { FAILOVER }",
            "connect_timeout = DURATION",
            "RequestTimeout = DURATION",
            "load_balancer { BALANCER }",
            "prioritize_by_locality { mode = LABEL }",
            "splits = [ SPLITS ]",
            "splits { SPLIT }",
            "meta { PAIRS }",
            "protocol = LABEL",
            "config { PAIRS }",
            "KEY = VALUE",
            "KEY LABEL { PAIRS }",
        ],
    ),
    (
        "SUBSETS",
        &["", "LABEL = { SUBSET } SUBSETS", "LABEL { SUBSET } SUBSETS", "LABEL = VALUE SUBSETS"],
    ),
    (
        "SUBSET",
        &[
            "",
            "filter = FILTER SUBSET",
            "only_passing = VALUE SUBSET",
            "Filter = VALUE SUBSET",
            "KEY = VALUE",
        ],
    ),
    (
        "FILTER",
        &[
            "\"Service.Meta.version == 2\"",
            "\"Service.Tags contains `a`\"",
            "\"Checks.Status != passing\"",
            "\"Node.Meta[\\\"a\\\"] matches `[`\"",
            "\"not (\"",
            "<<E\nService.Port == 1\nE\n",
            "VALUE",
        ],
    ),
    (
        "TARGET",
        &[
            "",
            "service = NAME TARGET",
            "service_subset = LABEL TARGET",
            "datacenter = LABEL TARGET",
            "peer = LABEL TARGET",
            "namespace = VALUE TARGET",
            "KEY = VALUE TARGET",
        ],
    ),
    ("FAILOVERS", &["", "\"*\" = { FAILOVER } FAILOVERS", "LABEL { FAILOVER } FAILOVERS"]),
    (
        "FAILOVER",
        &[
            "",
            "TARGET FAILOVER",
            "targets = [ TARGETS ] FAILOVER",
            "targets { TARGET }",
            "datacenters = [ VALUES ]",
            "policy { mode = LABEL }",
        ],
    ),
    ("TARGETS", &["", "{ TARGET } , TARGETS", "VALUE , TARGETS"]),
    (
        "BALANCER",
        &[
            "",
            "policy = POLICY BALANCER",
            "ring_hash_config { minimum_ring_size = VALUE } BALANCER",
            "least_request_config { choice_count = VALUE } BALANCER",
            "hash_policies = [ HASHES ] BALANCER",
            "hash_policies { HASH } BALANCER",
        ],
    ),
    (
        "POLICY",
        &[
            "\"maglev\"",
            "\"ring_hash\"",
            "\"random\"",
            "\"round_robin\"",
            "\"least_request\"",
            "\"\"",
            "VALUE",
        ],
    ),
    ("HASHES", &["", "{ HASH } , HASHES"]),
    (
        "HASH",
        &[
            "",
            "source_ip = VALUE HASH",
            "field = \"cookie\" HASH",
            "field = \"header\" HASH",
            "field_value = LABEL HASH",
            "terminal = true HASH",
            "cookie_config { ttl = DURATION session = VALUE path = LABEL } HASH",
        ],
    ),
    (
        "SPLITS",
        &[
            "{ weight = 100 }",
            "{ SPLIT } , SPLITS",
            "{ weight = 50 service = NAME } , { weight = 50 service_subset = LABEL }",
            "VALUES",
        ],
    ),
    (
        "SPLIT",
        &[
            "weight = 100",
            "weight = VALUE SPLIT",
            "service = NAME SPLIT",
            "ServiceSubset = LABEL SPLIT",
            "request_headers { add { PAIRS } }",
            "partition = VALUE",
        ],
    ),
    ("DURATION", &["\"5s\"", "15", "\"-1s\"", "\"1h2m3.5s\"", "\"15\"", "\"\"", "VALUE"]),
    (
        "PAIRS",
        &[
            "",
            "KEY = VALUE PAIRS",
            "on_empty = \"redistribute\" PAIRS",
            "LABEL = VALUE PAIRS",
            "protocol = LABEL PAIRS",
            "KEY { PAIRS } PAIRS",
        ],
    ),
    (
        "KEY",
        &[
            "x",
            "service",
            "meta",
            "Meta",
            "\"a b\"",
            "a.b",
            "weight",
            "create_index",
            "\u{e9}",
            "\"${\"",
            "true",
        ],
    ),
    (
        "LABEL",
        &["\"blue\"", "\"green\"", "\"*\"", "\"\"", "\"A\"", "\"a-b\"", "\"%{x\"", "\"\u{1f600}\""],
    ),
    ("VALUES", &["", "VALUE , VALUES"]),
    (
        "VALUE",
        &[
            "50",
            "true",
            "\"true\"",
            "0",
            "-1",
            "1.5",
            "0x10",
            "010",
            "1e3",
            "\"\"",
            "\"50\"",
            "9223372036854775807",
            "[ VALUES ]",
            "{ PAIRS }",
            "{ FIELDS }",
            "\"\\u0000\\n\\\"${x}\"",
            "<<-E\n  a\n  E\n",
            "null",
        ],
    ),
];

/// The text that `choices` lead to.
pub(super) fn text(choices: &[u8]) -> String {
    let mut text = String::new();
    let mut choices = choices.iter().copied();
    // What is still to be written, the next one last.
    let mut open = vec!["ENTRY"];
    while let Some(word) = open.pop() {
        let Some((_, ways)) = RULES.iter().find(|(name, _)| *name == word) else {
            text.push_str(word);
            text.push(' ');
            continue;
        };
        let choice = usize::from(choices.next().unwrap_or_default());
        let way = ways.iter().cycle().nth(choice).copied().unwrap_or_default();
        open.extend(way.split(' ').rev());
    }
    text
}
