//! Files of many services, as an operator would write them.

use std::fmt::Write as _;

use super::{INSTANCES, SERVICES};

/// Every file: its name and its text.
pub(super) fn all() -> impl Iterator<Item = (String, String)> {
    (0..SERVICES).flat_map(|number| {
        [
            (format!("s{number}.hcl"), instances(number)),
            (format!("r{number}.hcl"), resolver(number)),
            (format!("w{number}.hcl"), splitter(number, 50)),
        ]
    })
}

pub(super) fn name(number: u32) -> String {
    format!("service-{number}")
}

fn instances(number: u32) -> String {
    let name = name(number);
    let [.., high, low] = number.to_be_bytes();
    let mut text = String::new();
    for instance in 0..INSTANCES {
        let version = if instance % 2 == 0 { 2 } else { 3 };
        // Writing to a string cannot fail.
        _ = write!(
            text,
            "service {{\n  name = \"{name}\"\n  id = \"{name}-{instance}\"\n  \
             address = \"10.{}.{high}.{low}\"\n  port = 8080\n  tags = [\"v{version}\"]\n  \
             meta {{ version = \"{version}\" zone = \"a\" }}\n  tagged_addresses {{ virtual {{ \
             address = \"10.96.{high}.{low}\" port = 80 }} }}\n}}\n",
            128 + instance,
        );
    }
    text
}

fn resolver(number: u32) -> String {
    format!(
        "kind = \"service-resolver\"\nname = \"{}\"\ndefault_subset = \"blue\"\nsubsets = {{\n  \
         blue = {{ filter = \"Service.Meta.version == 2\" }}\n  \
         green = {{ filter = \"Service.Meta.version == 3\" }}\n}}\n",
        name(number)
    )
}

/// A splitter that gives green so many of a hundred.
pub(super) fn splitter(number: u32, green: u32) -> String {
    format!(
        "kind = \"service-splitter\"\nname = \"{}\"\nsplits = [\n  \
         {{ weight = {}, service_subset = \"blue\" }},\n  \
         {{ weight = {green}, service_subset = \"green\" }},\n]\n",
        name(number),
        100 - green,
    )
}

/// A resolver whose subsets are filtered another way, by the same instances.
pub(super) fn other_resolver(number: u32, turn: u32) -> String {
    format!(
        "kind = \"service-resolver\"\nname = \"{}\"\ndefault_subset = \"blue\"\nsubsets = {{\n  \
         blue = {{ filter = \"Service.Meta.version == 2 and Service.Meta.turn != {turn}\" }}\n  \
         green = {{ filter = \"Service.Meta.version == 3\" }}\n}}\n",
        name(number)
    )
}
