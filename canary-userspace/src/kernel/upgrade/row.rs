//! The row of `SETTINGS` out of tables of our own layout that an earlier release made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};

use super::pinned;
use crate::kernel::writer::Writer;

/// Bytes of the row before it grew at its end.
const OLD: usize = 128;

/// The pin of our row, and that of the earlier one until it came along.
fn pins(maps: &Path) -> [PathBuf; 2] {
    ["SETTINGS", "SETTINGS_BEFORE"].map(|name| maps.join(name))
}

/// Sets an earlier row aside, before ours is made: a pin whose row is shorter does not load.
///
/// # Errors
///
/// If it cannot be looked at or set aside.
pub(in crate::kernel) fn set_aside(maps: &Path) -> Result<()> {
    let [pin, before] = pins(maps);
    let context = || format!("set {} aside", pin.display());
    let Some(data) = pinned(&pin)? else { return Ok(()) };
    let bytes = data.info().with_context(context)?.value_size();
    if usize::try_from(bytes)? == OLD {
        fs::rename(&pin, &before).with_context(context)?;
    }
    Ok(())
}

/// Goes on with what the earlier row says: above all the seed by which `FLOWS` is hashed. A start
/// that ended before this was done does it again.
///
/// # Errors
///
/// If it is there and cannot be read, written or removed.
pub(in crate::kernel) fn bring_row(maps: &Path, ours: Writer) -> Result<Writer> {
    let [_, before] = pins(maps);
    let context = || format!("bring {} along", before.display());
    let Some(data) = pinned(&before)? else { return Ok(ours) };
    let old: Array<MapData, [u8; OLD]> = Array::try_from(Map::Array(data)).with_context(context)?;
    let row = old.get(&0, 0).with_context(context)?;
    ours.settings.write(0, 0, &row).with_context(context)?;
    fs::remove_file(&before).with_context(context)?;
    Ok(ours)
}
