//! The command line: parses its arguments and calls the library.

fn main() {}
