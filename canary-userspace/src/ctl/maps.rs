//! `maps`: the tables as the kernel accounts them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::args::Json;
use super::client::Client;
use super::console::Console;
use super::failure::Failure;
use super::table::{Column, Table, bytes};
use crate::document::{Flows, Map};

/// Shows the tables.
///
/// # Errors
///
/// [`Failure`]
pub async fn run(options: Json, client: &Client, console: &mut Console<'_>) -> Result<(), Failure> {
    let answer = client.get("/v1/canary/maps").await?.ok()?;
    if options.json {
        return console.json(&answer.json::<Value>()?);
    }
    let maps: Vec<Map> = answer.json()?;
    console.raw(&render(&maps))?;
    let flows = maps.iter().find_map(|map| map.flows.as_ref());
    flows.map_or(Ok(()), |flows| console.raw(&fill(flows)))
}

/// What fills the flow table, and what became of inserts, a line each.
fn fill(flows: &Flows) -> String {
    let Flows { percent, connections, kinds, spilled, evicted, refused, crowded } = flows;
    let listed = |counts: &BTreeMap<String, u64>| {
        let counts = counts.iter().filter(|(_, count)| **count > 0);
        let words: Vec<String> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
    };
    let mut text = format!("\nFLOWS is {percent} % full with {connections} connections");
    if kinds.values().any(|count| *count > 0) {
        text = format!("{text}: {}", listed(kinds));
    }
    let evicted = listed(evicted);
    text = format!("{text}\n{spilled} entries in their second choice\n");
    text = format!("{text}pushed out so far: {evicted}; found no room: {refused}\n");
    for interface in crowded {
        text = format!("{text}interface {interface} holds half of it and gets no more\n");
    }
    text
}

fn render(maps: &[Map]) -> String {
    let mut table = Table::new([
        Column::left("MAP"),
        Column::left("KIND"),
        Column::right("ENTRIES"),
        Column::right("CAPACITY"),
        Column::right("MEMORY"),
    ]);
    for map in maps {
        let entries = map.entries.map_or_else(|| "-".to_owned(), |entries| entries.to_string());
        table.row([&map.name, &map.kind, &entries, &map.capacity.to_string(), &bytes(map.bytes)]);
    }
    let total = maps.iter().map(|map| map.bytes).sum();
    table.row(["total", "", "", "", &bytes(total)]);
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_count_is_a_dash_and_memory_adds_up() {
        let map = |name: &str, entries, capacity, bytes| Map {
            name: name.to_owned(),
            kind: "lru_hash".to_owned(),
            entries,
            capacity,
            bytes,
            flows: None,
        };

        let text = render(&[map("FLOWS", Some(12), 65536, 8 << 20), map("CURRENT", None, 16, 512)]);

        assert_eq!(
            text,
            "MAP      KIND      ENTRIES  CAPACITY   MEMORY\n\
             FLOWS    lru_hash       12     65536  8.0 MiB\n\
             CURRENT  lru_hash        -        16    512 B\n\
             total                                 8.0 MiB\n"
        );
    }

    #[test]
    fn the_flow_table_says_what_fills_it() {
        let counts = |counts: &[(&str, u64)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
        };
        let mut flows = Flows {
            percent: 0,
            connections: 0,
            kinds: counts(&[("opening", 0)]),
            spilled: 0,
            evicted: BTreeMap::new(),
            refused: 0,
            crowded: Vec::new(),
        };
        assert_eq!(
            fill(&flows),
            "\nFLOWS is 0 % full with 0 connections\n\
             0 entries in their second choice\n\
             pushed out so far: nothing; found no room: 0\n"
        );

        flows.percent = 61;
        flows.connections = 12;
        flows.kinds = counts(&[("established", 9), ("straight", 3), ("udp", 0)]);
        flows.evicted = counts(&[("closed", 40), ("half-open", 2)]);
        flows.crowded.push("veth7".to_owned());

        assert_eq!(
            fill(&flows),
            "\nFLOWS is 61 % full with 12 connections: 9 established, 3 straight\n\
             0 entries in their second choice\n\
             pushed out so far: 40 closed, 2 half-open; found no room: 0\n\
             interface veth7 holds half of it and gets no more\n"
        );
    }
}
