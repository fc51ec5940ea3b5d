//! How large the tables are, as the kernel accounts them.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Map, MapData};

use crate::datapath::MapUsage;

/// A handle on every table.
#[derive(Debug)]
pub struct Usage {
    tables: Vec<Table>,
}

#[derive(Debug)]
struct Table {
    name: String,
    kind: &'static str,
    capacity: u32,
    file: OwnedFd,
}

impl Usage {
    /// Opens every map of the object once more.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn of(ebpf: &Ebpf) -> Result<Self> {
        let mut tables = Vec::new();
        for (name, map) in ebpf.maps() {
            let Some((kind, data)) = parts(map) else { continue };
            let file =
                data.fd().as_fd().try_clone_to_owned().with_context(|| format!("open {name}"))?;
            let capacity = data.info().with_context(|| format!("read {name}"))?.max_entries();
            tables.push(Table { name: name.to_owned(), kind, capacity, file });
        }
        tables.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { tables })
    }

    /// Entries a table holds at most; 0 for one that is not there.
    #[must_use]
    pub fn capacity(&self, name: &str) -> u32 {
        self.tables.iter().find(|table| table.name == name).map_or(0, |table| table.capacity)
    }

    /// Every table's size, with the entries in use where they are known.
    #[must_use]
    pub fn read(&self, in_use: &BTreeMap<&'static str, usize>) -> Vec<MapUsage> {
        self.tables
            .iter()
            .map(|table| MapUsage {
                name: table.name.clone(),
                kind: table.kind.to_owned(),
                entries: in_use
                    .get(table.name.as_str())
                    .and_then(|count| u64::try_from(*count).ok()),
                capacity: u64::from(table.capacity),
                bytes: memory(&table.file).unwrap_or_default(),
                flows: None,
            })
            .collect()
    }
}

fn parts(map: &Map) -> Option<(&'static str, &MapData)> {
    match map {
        Map::Array(map) => Some(("array", map)),
        Map::ArrayOfMaps(map) => Some(("array_of_maps", map)),
        Map::HashMap(map) => Some(("hash", map)),
        Map::LruHashMap(map) => Some(("lru_hash", map)),
        Map::SkStorage(map) => Some(("sk_storage", map)),
        Map::PerCpuArray(map) => Some(("percpu_array", map)),
        Map::RingBuf(map) => Some(("ringbuf", map)),
        _ => None,
    }
}

/// The kernel's own account of a map's memory.
fn memory(file: &OwnedFd) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}
