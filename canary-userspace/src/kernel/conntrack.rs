//! What conntrack knows of connections that came without us.

mod reader;
mod table;
mod wire;

pub use self::reader::{DEFAULT_LIMIT, Key, Reader, Reading};
pub use self::table::{Conntrack, Entry, Outcome, Tuple};
