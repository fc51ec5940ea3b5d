//! The command line: parses its arguments and calls the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    canary_userspace::ctl::main()
}
