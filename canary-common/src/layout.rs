//! The shape of everything that crosses the kernel boundary, and its version.

/// Version of the whole set of table layouts; part of the pin path.
///
/// Reopening a pin checks no sizes, so any change of a type below must move this.
pub const LAYOUT_VERSION: u32 = 2;

/// Fails to compile unless the type has no padding and the size the other side expects.
///
/// The kernel hashes a key's bytes and the agent reads a value's: a padding byte would make
/// two equal keys differ, or leak kernel stack to userspace.
macro_rules! assert_map_type {
    ($type:ident { $($field:ident: $field_type:ty),+ $(,)? } is $size:literal bytes) => {
        const _: fn($type) = |$type { $($field: _),+ }| {};
        const _: () = assert!(size_of::<$type>() == $size, "size changed");
        const _: () = assert!($(size_of::<$field_type>() +)+ 0 == $size, "padding");
    };
}

pub(crate) use assert_map_type;
