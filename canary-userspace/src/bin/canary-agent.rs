//! The node agent: parses its arguments and runs the library's agent.

fn main() {}
