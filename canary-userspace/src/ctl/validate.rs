//! pending
use super::args::ConfigValidate;
use super::console::Console;
use super::failure::Failure;
pub fn run(_o: &ConfigValidate, _c: &mut Console<'_>) -> Result<(), Failure> {
    Ok(())
}
