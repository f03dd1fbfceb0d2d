//! Names as numbers: customers, kinds of fraud, folds.

use std::collections::HashMap;

/// A column of names as numbers: which of `names` each row has.
///
/// Names ascend: as numbers where every one is a number, else as text. So the order does not depend on the rows'.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    /// Different names.
    pub names: Vec<String>,
    /// For each row, the place of its name.
    pub of: Vec<u32>,
}

impl Groups {
    /// Numbers the names of rows.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut of: Vec<u32> = Vec::new();
        for name in rows {
            let next = u32::try_from(seen.len()).unwrap_or(u32::MAX);
            of.push(*seen.entry(name).or_insert(next));
        }
        let mut names: Vec<(&str, u32)> = seen.into_iter().collect();
        let numbers: Option<HashMap<&str, i64>> =
            names.iter().map(|(name, _)| Some((*name, name.parse().ok()?))).collect();
        names.sort_unstable_by_key(|(name, _)| (numbers.as_ref().and_then(|all| all.get(name)).copied(), *name));
        let mut place = vec![0; names.len()];
        for (new, (_, old)) in (0_u32..).zip(&names) {
            if let Some(place) = place.get_mut(*old as usize) {
                *place = new;
            }
        }
        for code in &mut of {
            *code = place.get(*code as usize).copied().unwrap_or_default();
        }
        Self { names: names.into_iter().map(|(name, _)| name.to_owned()).collect(), of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_ascend_as_numbers_or_as_text() {
        let numbers = Groups::of(["10", "9", "10", "-1"]);
        assert_eq!((numbers.names.join(" "), numbers.of), ("-1 9 10".to_owned(), vec![2, 1, 2, 0]));
        let text = Groups::of(["10", "9", "b"]);
        assert_eq!((text.names.join(" "), text.of), ("10 9 b".to_owned(), vec![0, 1, 2]));
    }
}
