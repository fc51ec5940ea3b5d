//! Names kept beside the tables, so that whoever opens them later knows whose rows they are.

use crate::layout::assert_map_type;

/// A name, or several, in a row of `L` bytes of text: a row of `NAMES` or of `LABELS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Label<const L: usize> {
    /// Length of each name in bytes; they follow one another in `text`. All 0: the row is free.
    pub lengths: [u8; 4],
    /// The names, UTF-8.
    pub text: [u8; L],
}

/// A row of `NAMES`: a service's name, by service id.
pub type ServiceLabel = Label<252>;
/// A row of `LABELS`, by statistics id: the service, the target service and the subset.
pub type SplitLabel = Label<508>;

assert_map_type!(ServiceLabel { lengths: [u8; 4], text: [u8; 252] } is 256 bytes);
assert_map_type!(SplitLabel { lengths: [u8; 4], text: [u8; 508] } is 512 bytes);

impl<const L: usize> Default for Label<L> {
    fn default() -> Self {
        Self { lengths: [0; 4], text: [0; L] }
    }
}

impl<const L: usize> Label<L> {
    /// A row with up to four names; `None` if they are too long for it.
    #[must_use]
    pub fn new(names: &[&str]) -> Option<Self> {
        let mut label = Self::default();
        if names.len() > label.lengths.len() {
            return None;
        }
        let mut rest = label.text.as_mut_slice();
        for (length, name) in label.lengths.iter_mut().zip(names) {
            *length = u8::try_from(name.len()).ok()?;
            let (place, behind) = rest.split_at_mut_checked(name.len())?;
            place.copy_from_slice(name.as_bytes());
            rest = behind;
        }
        Some(label)
    }

    /// The name at `index`; `None` if the row is damaged.
    #[must_use]
    pub fn name(&self, index: usize) -> Option<&str> {
        let before =
            self.lengths.get(..index)?.iter().map(|length| usize::from(*length)).sum::<usize>();
        let length = usize::from(*self.lengths.get(index)?);
        let bytes = self.text.get(before..before.checked_add(length)?)?;
        core::str::from_utf8(bytes).ok()
    }

    /// Whether the row is free.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.lengths == [0; 4]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_went_in() {
        let label = SplitLabel::new(&["payments", "payments-v2", ""]).unwrap();

        assert_eq!(
            [0, 1, 2].map(|index| label.name(index)),
            [Some("payments"), Some("payments-v2"), Some("")]
        );
        assert!(!label.is_free());
        assert_eq!(ServiceLabel::new(&["x".repeat(253).as_str()]), None);
    }
}
