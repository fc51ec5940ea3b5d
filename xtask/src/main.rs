//! What a person types: set up, build, test, measure.

fn main() {}
