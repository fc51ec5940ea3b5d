//! Picks of sockets out of tables of our own layout that an earlier release made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData};
use canary_common::socket::SocketPick;

use super::pinned;

/// Where picks were, by socket cookie, before they moved into memory of their sockets.
const OLD: &str = "SOCKETS";

/// Brings along what the sockets of an earlier release believe they are connected to, once. What
/// finds no room is told its backend's address from here on.
///
/// # Errors
///
/// If the old table is there and cannot be read or removed.
pub(in crate::kernel) fn bring_picks(
    maps: &Path,
    mut into: HashMap<MapData, u64, SocketPick>,
) -> Result<HashMap<MapData, u64, SocketPick>> {
    let pin = maps.join(OLD);
    let Some(data) = pinned(&pin)? else { return Ok(into) };
    let old: HashMap<MapData, u64, SocketPick> = HashMap::try_from(Map::LruHashMap(data))
        .with_context(|| format!("read {}", pin.display()))?;
    let mut left = 0_u32;
    for entry in &old {
        let (cookie, pick) = entry.with_context(|| format!("read {}", pin.display()))?;
        if into.insert(cookie, pick, 0).is_err() {
            left = left.saturating_add(1);
        }
    }
    if left > 0 {
        tracing::warn!("{left} sockets of an earlier release are told their backends' addresses");
    }
    fs::remove_file(&pin).with_context(|| format!("remove {}", pin.display()))?;
    Ok(into)
}
