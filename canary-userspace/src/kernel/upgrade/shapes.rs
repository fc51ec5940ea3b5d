//! Pinned tables must have the shape that this release's programs have them in: who opens a pin
//! takes it as it is.

use std::path::Path;

use anyhow::{Context, Result, bail};
use aya_obj::Object;

use super::pinned;

/// Kind, bytes of a key and bytes of a value of a table.
type Shape = [u32; 3];

/// Makes sure that each table that is pinned has the shape of the object's.
///
/// # Errors
///
/// The first table that has another one, with both.
pub(in crate::kernel) fn check_shapes(maps: &Path, object: &[u8]) -> Result<()> {
    let is_empty = maps.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        return Ok(());
    }
    let object = Object::parse(object).context("read the BPF object")?;
    // The sections of data, `.rodata` say, are no tables: bpffs takes no such name either.
    let tables = object.maps.iter().filter(|(name, _)| !name.contains('.'));
    let mut wanted: Vec<_> = tables.collect();
    wanted.sort_by_key(|(name, _)| *name);
    for (name, map) in wanted {
        let pin = maps.join(name);
        let Some(data) = pinned(&pin)? else { continue };
        let info = data.info().with_context(|| format!("ask what {} is", pin.display()))?;
        let kind = info.map_type().map_or(0, number);
        let found = [kind, info.key_size(), info.value_size()];
        let wanted = [map.map_type(), map.key_size(), map.value_size()];
        if found != wanted {
            bail!("{}", refusal(&pin, found, wanted));
        }
    }
    Ok(())
}

#[expect(clippy::as_conversions, reason = "the kernel's number of a kind of map")]
const fn number(kind: aya::maps::MapType) -> u32 {
    kind as u32
}

fn refusal(pin: &Path, found: Shape, wanted: Shape) -> String {
    let of =
        |[kind, key, row]: Shape| format!("kind {kind}, keys of {key} and rows of {row} bytes");
    format!(
        "table {} has {}, where this release needs {}: start the release that made it, or forget \
         all tables and connections with `canaryctl detach`",
        pin.display(),
        of(found),
        of(wanted),
    )
}
