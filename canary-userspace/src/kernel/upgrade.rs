//! From tables of another layout to ours: their programs go, their connections come along.
//!
//! An earlier release leaves its pins in a directory of its own, `v1` beside our `v2`, and its
//! programs serve on. With the first publication, in this order:
//!
//! 1. What the old tables know of connections is inserted into ours, while the old programs serve.
//!    Of ours, those that restore are attached: they find nothing that is not restored already.
//! 2. Our tables are written.
//! 3. Each link of an old program that forwards gets our program instead, in place: a packet meets
//!    the one or the other, and none goes untranslated. Interfaces are young, so what belongs to a
//!    connection that is not known passes untouched.
//! 4. What the old programs have taken on since is inserted.
//! 5. The old programs that restore go; our counters go on from where theirs ended, and all that
//!    is pinned there is removed.

mod bring;
mod convert;
mod picks;
mod row;
mod shapes;
mod v1;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use aya::maps::MapData;
use canary_common::layout::LAYOUT_VERSION;

pub(super) use self::picks::bring_picks;
pub(super) use self::row::{bring_row, set_aside};
pub(super) use self::shapes::check_shapes;
use super::pins::Pins;

/// The map of a pin; `None` if there is none.
fn pinned(pin: &Path) -> Result<Option<MapData>> {
    let context = || format!("open {}", pin.display());
    if !pin.try_exists().with_context(context)? {
        return Ok(None);
    }
    MapData::from_pin(pin).map(Some).with_context(context)
}

/// The version whose connections can be brought along.
const READABLE: u32 = 1;

/// What is pinned of other layouts.
#[derive(Debug)]
pub struct Upgrade {
    layouts: Vec<Layout>,
    /// Where our links are pinned.
    links: PathBuf,
}

/// The pins of one layout.
#[derive(Debug)]
struct Layout {
    version: u32,
    directory: PathBuf,
}

/// What came along from tables of another layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Connections, and flows of datagrams.
    pub flows: usize,
    /// Connections that somebody else translates.
    pub foreign: usize,
    /// Those that our tables have no frontend, backend, split or place for.
    pub left: usize,
    /// A version was there that cannot be read.
    pub unknown: Option<u32>,
}

impl Upgrade {
    /// What is pinned under `bpffs` of other layouts than ours, whose links are in `links`; `None`
    /// if nothing is.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn find(bpffs: &Path, links: &Path) -> Result<Option<Self>> {
        let context = || format!("read {}", bpffs.display());
        let entries = match fs::read_dir(bpffs) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.with_context(context)?,
        };
        let mut layouts = Vec::new();
        for entry in entries {
            let entry = entry.with_context(context)?;
            let version = entry.file_name().to_str().and_then(version_of);
            if let Some(version) = version.filter(|version| *version != LAYOUT_VERSION)
                && entry.file_type().with_context(context)?.is_dir()
            {
                layouts.push(Layout { version, directory: entry.path() });
            }
        }
        Ok((!layouts.is_empty()).then_some(Self { layouts, links: links.to_owned() }))
    }

    /// The maps of the version that can be read.
    fn readable(&self) -> Option<PathBuf> {
        let layout = self.layouts.iter().find(|layout| layout.version == READABLE)?;
        Some(layout.directory.join("maps"))
    }

    /// A version that cannot be read.
    fn unknown(&self) -> Option<u32> {
        self.layouts.iter().map(|layout| layout.version).find(|version| *version != READABLE)
    }

    /// Makes the links of programs that forward ours, as far as we have none there.
    fn take_over(&self) -> Result<()> {
        for layout in self.layouts.iter().filter(|layout| layout.version == READABLE) {
            let old = layout.directory.join("links");
            let context = || format!("take over the links in {}", old.display());
            for entry in fs::read_dir(&old).into_iter().flatten() {
                let name = entry.with_context(context)?.file_name();
                let ours = self.links.join(&name);
                if name.to_str().is_some_and(|name| name.starts_with("from_")) && !ours.exists() {
                    fs::rename(old.join(&name), ours).with_context(context)?;
                }
            }
        }
        Ok(())
    }

    /// Detaches the programs that forward; those that restore stay.
    fn stop_forwarding(&self) -> Result<()> {
        self.layouts.iter().try_for_each(|layout| Pins::stop_forwarding(&layout.directory))
    }

    /// Detaches the programs that restore as well.
    fn stop(&self) -> Result<()> {
        self.layouts.iter().try_for_each(|layout| Pins::stop(&layout.directory))
    }

    /// The programs whose links become ours: so that they are loaded by then.
    #[must_use]
    pub fn programs(&self) -> BTreeSet<String> {
        let readable = self.layouts.iter().filter(|layout| layout.version == READABLE);
        let entries = readable.flat_map(|layout| fs::read_dir(layout.directory.join("links")));
        let names =
            entries.flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let forwarding = names.filter(|name| name.starts_with("from_"));
        forwarding.filter_map(|name| Some(name.split_once('-')?.0.to_owned())).collect()
    }

    /// Removes all that is pinned, without waiting until the kernel has freed it.
    fn remove(&self) -> Result<()> {
        for layout in &self.layouts {
            let removed = Pins::remove(&layout.directory)?;
            let version = layout.version;
            tracing::info!(?removed, "the pins of layout {version} are removed");
        }
        Ok(())
    }
}

/// The version that a directory's name stands for.
fn version_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix('v')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    digits.parse().ok()
}

impl fmt::Display for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(version) = self.unknown {
            write!(
                f,
                "the tables of layout {version} cannot be read and are removed: their connections \
                 are picked again"
            )?;
            if self.flows == 0 && self.foreign == 0 && self.left == 0 {
                return Ok(());
            }
            f.write_str("; ")?;
        }
        let Self { flows, foreign, left, .. } = self;
        write!(f, "{flows} connections were brought along from the tables of layout {READABLE}")?;
        if *foreign > 0 {
            write!(f, ", {foreign} of others are left alone")?;
        }
        if *left > 0 {
            write!(f, ", {left} have no frontend, backend or place any more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_other_versions_count() {
        let bpffs = tempfile::tempdir().unwrap();
        for name in ["v1", "v7", &format!("v{LAYOUT_VERSION}"), "v", "v1x", "w1"] {
            fs::create_dir(bpffs.path().join(name)).unwrap();
        }
        fs::write(bpffs.path().join("v9"), "").unwrap();

        let links = bpffs.path().join("links");
        let upgrade = Upgrade::find(bpffs.path(), &links).unwrap().unwrap();

        let mut versions: Vec<_> = upgrade.layouts.iter().map(|layout| layout.version).collect();
        versions.sort_unstable();
        assert_eq!(versions, [1, 7]);
        assert_eq!(upgrade.unknown(), Some(7));
        assert_eq!(upgrade.readable(), Some(bpffs.path().join("v1/maps")));
        assert!(Upgrade::find(&bpffs.path().join("none"), &links).unwrap().is_none());
    }

    #[test]
    fn links_that_forward_become_ours_unless_we_have_one() {
        let bpffs = tempfile::tempdir().unwrap();
        let (old, ours) = (bpffs.path().join("v1/links"), bpffs.path().join("links"));
        for (directory, names) in
            [(&old, ["from_pod-3", "from_net-4", "to_pod-3"].as_slice()), (&ours, &["from_net-4"])]
        {
            fs::create_dir_all(directory).unwrap();
            for name in names {
                fs::write(directory.join(name), "").unwrap();
            }
        }

        let upgrade = Upgrade::find(bpffs.path(), &ours).unwrap().unwrap();
        let programs: Vec<_> = upgrade.programs().into_iter().collect();
        upgrade.take_over().unwrap();

        assert_eq!(programs, ["from_net", "from_pod"]);
        assert!(ours.join("from_pod-3").exists() && !old.join("from_pod-3").exists());
        assert!(old.join("from_net-4").exists() && old.join("to_pod-3").exists());
    }

    #[test]
    fn one_line_says_what_came_along() {
        let brought = Brought { flows: 200, left: 3, ..Brought::default() };

        assert_eq!(
            brought.to_string(),
            "200 connections were brought along from the tables of layout 1, 3 have no frontend, \
             backend or place any more"
        );
        let unknown = Brought { unknown: Some(7), ..Brought::default() };
        assert_eq!(
            unknown.to_string(),
            "the tables of layout 7 cannot be read and are removed: their connections are picked \
             again"
        );
    }
}
