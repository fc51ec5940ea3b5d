//! Loads one program into the kernel.

use std::io::{self, ErrorKind};

use aya::programs::{Program, ProgramError};

/// How often a load that was interrupted begins again.
const TRIES: usize = 30;

/// Loads a program, from the start again if the kernel was interrupted while it verified it.
///
/// The verifier gives up with `EAGAIN` as soon as a signal waits for the thread, which is also how
/// the freezer of cgroups stops one.
///
/// # Errors
///
/// If the kernel refuses, or the kind of the program is none that is loaded here.
pub fn load_program(program: &mut Program) -> Result<(), ProgramError> {
    let mut loaded = load_once(program);
    for _ in 1..TRIES {
        match &loaded {
            Err(ProgramError::LoadError { io_error, .. }) if is_interruption(io_error) => {
                tracing::debug!("a program's load was interrupted, and begins again");
                loaded = load_once(program);
            }
            _ => break,
        }
    }
    loaded
}

fn is_interruption(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

fn load_once(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::TracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
