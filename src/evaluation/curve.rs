//! Curves with fewer points: the first, the last, and points that lie evenly along the curve's length.

/// At most `most` of the points (all of them when `most` is 0; never fewer than two), in their order. `place` says where
/// a point lies on a plane on which both axes weigh the same.
pub(super) fn thin<T: Copy>(points: &[T], most: usize, place: impl Fn(&T) -> [f64; 2]) -> Vec<T> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    if most == 0 || points.len() <= most.max(2) {
        return points.to_vec();
    }
    let length = |from: &T, to: &T| {
        let ([x0, y0], [x1, y1]) = (place(from), place(to));
        (x1 - x0).abs() + (y1 - y0).abs()
    };
    let total: f64 = points.iter().zip(points.iter().skip(1)).map(|(from, to)| length(from, to)).sum();
    // Every point kept between the ends takes at least this much of the length, so there are at most `most` - 2.
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let apart = total / most.saturating_sub(2) as f64;
    let mut kept = vec![*first];
    let mut since = 0.0;
    for (from, to) in points.iter().zip(points.iter().skip(1)).take(points.len() - 2) {
        since += length(from, to);
        if since >= apart && kept.len() + 1 < most {
            kept.push(*to);
            since = 0.0;
        }
    }
    kept.push(*last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_stay_and_the_number_is_bounded() {
        let points: Vec<[f64; 2]> = (0..1000).map(|i| [f64::from(i) / 999.0, f64::from(i % 7)]).collect();
        for most in [2, 3, 10, 500, 999] {
            let kept = thin(&points, most, |point| *point);
            assert!(kept.len() <= most && kept.len() * 2 >= most, "{} of {most}", kept.len());
            assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
            assert!(kept.iter().all(|point| points.contains(point)));
        }
        assert_eq!(thin(&points, 0, |point| *point), points);
        assert_eq!(thin(&points, 1000, |point| *point), points);
        // Points that lie on each other have no length to be spread along.
        assert!(thin(&[[0.0; 2]; 5], 3, |point| *point).len() <= 3);
    }
}
