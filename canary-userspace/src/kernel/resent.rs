//! Hears of segments that sockets send once more, by a tracepoint of the kernel.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TRACEFS_MAGIC, statfs};

use super::links::Links;

/// The program, and what it is attached to.
const PROGRAM: &str = "resent";
const TRACEPOINT: [&str; 2] = ["tcp", "tcp_retransmit_skb"];
/// The usual places of tracefs.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// Name, offset and size of the fields that the program reads.
const FIELDS: [(&str, u32, u32); 5] = [
    ("state", 24, 4),
    ("sport", 28, 2),
    ("dport", 30, 2),
    ("saddr_v6[16]", 42, 16),
    ("daddr_v6[16]", 58, 16),
];

/// Attaches the program; whether segments that are sent again are counted from here on.
pub(super) fn attached(links: &mut Links) -> bool {
    let attached = mounted()
        .and_then(|()| available())
        .and_then(|()| links.attach_tracepoint(PROGRAM, TRACEPOINT));
    if let Err(error) = &attached {
        tracing::info!("segments that are sent again are not counted: {error:#}");
    }
    attached.is_ok()
}

/// Mounts tracefs where the kernel has it and nobody has mounted it.
fn mounted() -> Result<()> {
    let is_there = |place: &str| {
        statfs(Path::new(place)).is_ok_and(|stat| stat.filesystem_type() == TRACEFS_MAGIC)
    };
    if TRACEFS.iter().any(|place| is_there(place)) {
        return Ok(());
    }
    let [usual, _] = TRACEFS;
    mount(Some("tracefs"), usual, Some("tracefs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount tracefs at {usual}"))
}

/// Makes sure that the tracepoint is there, with the fields that the program reads.
///
/// # Errors
///
/// What is missing.
pub(super) fn available() -> Result<()> {
    let [group, name] = TRACEPOINT;
    let format = TRACEFS
        .iter()
        .find_map(|place| fs::read_to_string(format!("{place}/events/{group}/{name}/format")).ok())
        .with_context(|| format!("tracepoint {group}:{name} is not to be had"))?;
    ensure!(has_fields(&format), "tracepoint {group}:{name} has other fields than are known");
    Ok(())
}

/// Whether the fields that the program reads lie where it reads them.
fn has_fields(format: &str) -> bool {
    FIELDS.iter().all(|(name, offset, size)| {
        let end = format!(" {name};\toffset:{offset};\tsize:{size};");
        format.lines().any(|line| line.contains(&end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: tcp_retransmit_skb
\tfield:const void * skaddr;\toffset:16;\tsize:8;\tsigned:0;
\tfield:int state;\toffset:24;\tsize:4;\tsigned:1;
\tfield:__u16 sport;\toffset:28;\tsize:2;\tsigned:0;
\tfield:__u16 dport;\toffset:30;\tsize:2;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:42;\tsize:16;\tsigned:0;
\tfield:__u8 daddr_v6[16];\toffset:58;\tsize:16;\tsigned:0;
";

    #[test]
    fn fields_are_known_where_they_are() {
        assert!(has_fields(FORMAT));
    }

    #[test]
    fn a_field_that_is_elsewhere_or_missing_is_not_known() {
        assert!(!has_fields(&FORMAT.replace("offset:28", "offset:36")));
        assert!(!has_fields(&FORMAT.replace("int state", "int mood")));
    }
}
