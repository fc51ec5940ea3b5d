//! Shares in whole ten-thousandths that add to the whole: rounding, and giving on what nobody takes.

use super::fraction::Fraction;
use crate::entry::reference::Target;
use crate::entry::{Units, WHOLE};

/// Rounds exact shares that add to one, by largest remainder, so that they add to [`WHOLE`].
///
/// Among equal remainders the target's name decides, never the order in a file.
pub(super) fn round(exact: &[(Target<'_>, &Fraction)]) -> Vec<Units> {
    let floors: Vec<u32> = exact.iter().map(|(_, share)| share.floor()).collect();
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by(|&a, &b| match (exact.get(a), exact.get(b)) {
        (Some((a, left)), Some((b, right))) => right.rest().cmp(left.rest()).then(a.cmp(b)),
        _ => a.cmp(&b),
    });
    raise(&floors, &order)
}

/// The shares of `weights`, which add to [`WHOLE`], where those that are not `taken` go to the
/// others in proportion to theirs; as they are if nobody with a weight is left.
///
/// Rounded by largest remainder, of equal ones the first by `names`.
pub(super) fn redistribute(weights: &[Units], taken: &[bool], names: &[Target<'_>]) -> Vec<Units> {
    let kept =
        || weights.iter().zip(taken).map(|(weight, taken)| u32::from(*weight) * u32::from(*taken));
    let total: u32 = kept().sum();
    if total == 0 || total == u32::from(WHOLE) {
        return weights.to_vec();
    }
    // At most 10000 x 10000: no overflow.
    let scaled: Vec<(u32, u32)> = kept()
        .map(|weight| weight.saturating_mul(u32::from(WHOLE)))
        .map(|product| (product / total, product % total))
        .collect();
    let floors: Vec<u32> = scaled.iter().map(|(floor, _)| *floor).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    let rest = |place: usize| scaled.get(place).map_or(0, |(_, rest)| *rest);
    order.sort_by(|&a, &b| rest(b).cmp(&rest(a)).then_with(|| names.get(a).cmp(&names.get(b))));
    raise(&floors, &order)
}

/// Adds one each to the first of `order`, as many as the sum lacks of [`WHOLE`].
fn raise(floors: &[u32], order: &[usize]) -> Vec<Units> {
    let missing = u32::from(WHOLE).saturating_sub(floors.iter().sum());
    let mut units = floors.to_vec();
    for place in order.iter().take(usize::try_from(missing).unwrap_or(usize::MAX)) {
        if let Some(share) = units.get_mut(*place) {
            *share = share.saturating_add(1);
        }
    }
    units.into_iter().map(|share| Units::try_from(share).unwrap_or(WHOLE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [Target<'_>; 3] = [
        Target { service: "a", subset: "" },
        Target { service: "b", subset: "" },
        Target { service: "c", subset: "" },
    ];

    #[test]
    fn what_nobody_takes_goes_to_the_others_in_proportion() {
        let of = |weights, taken| redistribute(weights, taken, &NAMES);

        assert_eq!(of(&[9000, 1000, 0], &[true, false, false]), [10_000, 0, 0]);
        assert_eq!(of(&[6000, 3000, 1000], &[true, true, false]), [6667, 3333, 0]);
        assert_eq!(of(&[2000, 3000, 5000], &[true, true, true]), [2000, 3000, 5000]);
    }

    #[test]
    fn of_equal_remainders_the_first_name_gets_the_rest() {
        assert_eq!(redistribute(&[1, 1, 9998], &[true, true, false], &NAMES), [5000, 5000, 0]);
        assert_eq!(
            redistribute(&[3000, 3000, 4000], &[true, true, false], &NAMES),
            [5000, 5000, 0]
        );
        let thirds = [3333, 3333, 3334];
        assert_eq!(redistribute(&thirds, &[true, true, false], &NAMES), [5000, 5000, 0]);
    }

    #[test]
    fn where_everybody_is_gone_nothing_moves() {
        assert_eq!(redistribute(&[9000, 1000], &[false, false], &NAMES), [9000, 1000]);
        // The one that is well gets nothing of the whole: so it stays.
        assert_eq!(redistribute(&[10_000, 0], &[false, true], &NAMES), [10_000, 0]);
    }
}
