//! Loads the BPF object, with its maps pinned.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map};
use aya::{Ebpf, EbpfLoader};
use canary_common::layout::LAYOUT_VERSION;
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::mapped::Mapped;
use super::node;
use super::numa::Interleaved;
use super::object::object;
use super::sizes;
use super::upgrade::{check_shapes, set_aside};
use super::writer::Writer;
use crate::settings::Limits;

/// Where this layout's pins are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Maps, by name.
    pub maps: PathBuf,
    /// Links, by program and interface.
    pub links: PathBuf,
}

impl Places {
    /// The directories under `bpffs`, there or not.
    #[must_use]
    pub fn of(bpffs: &Path) -> Self {
        let layout = bpffs.join(format!("v{LAYOUT_VERSION}"));
        Self { maps: layout.join("maps"), links: layout.join("links") }
    }

    /// The directories under `bpffs`, made if they are not there; bpffs is mounted if it is not.
    ///
    /// # Errors
    ///
    /// If bpffs is not to be had there.
    pub fn prepare(bpffs: &Path) -> Result<Self> {
        mount_bpffs(bpffs)?;
        let places = Self::of(bpffs);
        for directory in [&places.maps, &places.links] {
            fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
        }
        Ok(places)
    }
}

/// Mounts bpffs where the nearest directory that exists is none.
fn mount_bpffs(bpffs: &Path) -> Result<()> {
    let there = bpffs
        .ancestors()
        .find(|path| path.exists())
        .with_context(|| format!("{} has no parent that exists", bpffs.display()))?;
    let is_bpffs =
        |path: &Path| statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC);
    if is_bpffs(there) {
        return Ok(());
    }
    // The usual place is /sys/fs/bpf, which exists on every kernel with BPF; elsewhere the
    // directory itself becomes the mount point.
    let usual = Path::new("/sys/fs/bpf");
    let point = if bpffs.starts_with(usual) { usual } else { bpffs };
    if point == bpffs {
        fs::create_dir_all(bpffs).with_context(|| format!("make {}", bpffs.display()))?;
    }
    mount(Some("bpf"), point, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
        .with_context(|| format!("mount bpffs at {}", point.display()))?;
    ensure!(is_bpffs(point), "{} is no bpffs after mounting one", point.display());
    Ok(())
}

/// Tables whose values are memory of sockets.
const OF_SOCKETS: [&str; 2] = ["PICKS", "DATAGRAMS"];

/// The object, loaded but for its programs, with the maps that are pinned or newly made.
///
/// # Errors
///
/// If this build has no object, or the kernel refuses.
pub fn load(places: &Places, limits: &Limits) -> Result<Ebpf> {
    let object = object()?;
    let flow_buckets = sizes::flow_buckets(limits)?;
    let has_mptcp = u32::from(node::has_mptcp());
    set_aside(&places.maps)?;
    check_shapes(&places.maps, object)?;
    let mut loader = EbpfLoader::new();
    loader.default_map_pin_directory(&places.maps);
    // The programs of sockets outlive the agent, and so does what sockets remember.
    for table in OF_SOCKETS {
        loader.map_pin_path(table, places.maps.join(table));
    }
    loader.override_global("HAS_MPTCP", &has_mptcp, true);
    for (table, rows) in sizes::rows(limits, flow_buckets) {
        loader.map_max_entries(table, rows);
    }
    // Tables are touched by all CPUs alike, not by those of the node that makes them.
    let interleaved = Interleaved::begin();
    let loaded = loader.load(object).context("load the BPF object");
    drop(interleaved);
    loaded
}

/// The tables that the agent owns.
///
/// # Errors
///
/// If a map is missing or of another shape.
pub fn writer(ebpf: &mut Ebpf) -> Result<Writer> {
    Ok(Writer {
        settings: Mapped::from_ebpf(ebpf, "SETTINGS")?,
        addresses: Mapped::from_ebpf(ebpf, "ADDRESSES")?,
        endpoints: Mapped::from_ebpf(ebpf, "ENDPOINTS")?,
        overflow: HashMap::try_from(take(ebpf, "OVERFLOW")?).context("OVERFLOW")?,
        frontends: Mapped::from_ebpf(ebpf, "FRONTENDS")?,
        backends: Mapped::from_ebpf(ebpf, "BACKENDS")?,
        current: Mapped::from_ebpf(ebpf, "CURRENT")?,
        services: Mapped::from_ebpf(ebpf, "SERVICES")?,
        slots: Mapped::from_ebpf(ebpf, "SLOTS")?,
        splits: Mapped::from_ebpf(ebpf, "SPLITS")?,
        names: Mapped::from_ebpf(ebpf, "NAMES")?,
        labels: Mapped::from_ebpf(ebpf, "LABELS")?,
        elsewhere: std::collections::BTreeSet::new(),
    })
}

/// Takes a map out of the object.
///
/// # Errors
///
/// If it is not there.
pub fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the BPF object has no map {name}"))
}
