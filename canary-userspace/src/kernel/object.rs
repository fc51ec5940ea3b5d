//! The BPF programs, carried inside the binary.

use anyhow::{Result, ensure};

/// The BPF object as it was built, aligned for the loader; empty if there was none.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("CANARY_EMBEDDED_OBJECT"));

/// The BPF object.
///
/// # Errors
///
/// If the binary was built without one, as plain `cargo build` does.
pub fn object() -> Result<&'static [u8]> {
    ensure!(!OBJECT.is_empty(), "built without its BPF object: use cargo xtask build");
    Ok(OBJECT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_aligned_and_an_elf_file_or_said_to_be_absent() {
        match object() {
            Ok(object) => {
                assert!(object.starts_with(b"\x7fELF"));
                assert_eq!(object.as_ptr().align_offset(8), 0);
            }
            Err(error) => {
                let text = error.to_string();
                assert_eq!(text, "built without its BPF object: use cargo xtask build");
            }
        }
    }
}
