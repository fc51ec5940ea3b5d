//! What a built file says of itself.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use object::{
    Endianness, Object, ObjectSection,
    elf::{FileHeader64, PT_INTERP},
    read::elf::{FileHeader, ProgramHeader},
};

/// Refuses a program that needs a loader and libraries of the machine it runs on.
pub(crate) fn ensure_static(file: &Path) -> Result<()> {
    let data = read(file)?;
    ensure!(
        !has_interpreter(&data).with_context(|| format!("read {}", file.display()))?,
        "{} is not static: it asks for a dynamic loader; is `+crt-static` overridden by RUSTFLAGS?",
        file.display()
    );
    Ok(())
}

/// Refuses an object without programs or without BTF.
pub(crate) fn ensure_bpf(file: &Path) -> Result<()> {
    let data = read(file)?;
    let object = object::File::parse(&*data).with_context(|| format!("read {}", file.display()))?;
    let is_bpf = object.architecture() == object::Architecture::Bpf;
    ensure!(is_bpf, "{} is for {:?}, not for BPF", file.display(), object.architecture());
    ensure!(
        object.section_by_name(".BTF").is_some_and(|section| section.size() > 0),
        "{} carries no BTF: was it linked with `--btf` and debug information?",
        file.display()
    );
    Ok(())
}

fn has_interpreter(data: &[u8]) -> object::Result<bool> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    Ok(segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_seen() {
        let program = fs::read("/proc/self/exe").unwrap();

        assert!(has_interpreter(&program).unwrap());
        assert!(has_interpreter(b"no program at all").is_err());
    }

    #[test]
    fn a_program_of_this_machine_is_no_bpf_object() {
        let error = ensure_bpf(Path::new("/proc/self/exe")).unwrap_err();

        assert!(error.to_string().contains("not for BPF"), "{error}");
    }
}
