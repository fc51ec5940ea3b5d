//! `maps`: the tables as the kernel accounts them.

use serde_json::Value;

use super::args::Json;
use super::client::Client;
use super::console::Console;
use super::failure::Failure;
use super::table::{Column, Table, bytes};
use crate::api::document::Map;

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
    console.raw(&render(&maps))
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
}
