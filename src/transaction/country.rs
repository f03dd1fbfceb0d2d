//! The officially assigned country codes of ISO 3166-1.

/// ISO 3166-1 alpha-2, in alphabetical order, one space between two: the search relies on both.
const CODES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW \
    BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA \
    GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH \
    KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY \
    MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH \
    SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI \
    VN VU WF WS YE YT ZA ZM ZW";

/// Whether `code` is an assigned alpha-2 code, in upper case.
pub(crate) fn is_country(code: &str) -> bool {
    const WIDTH: usize = 3;
    let (mut low, mut high) = (0, CODES.len().div_ceil(WIDTH));
    while low < high {
        let middle = usize::midpoint(low, high);
        let Some(known) = CODES.get(middle * WIDTH..middle * WIDTH + 2) else { return false };
        match known.cmp(code) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_and_nothing_else() {
        let codes: Vec<&str> = CODES.split(' ').collect();
        assert_eq!(codes.len(), 249, "codes officially assigned by ISO 3166-1");
        assert!(codes.is_sorted());
        let mut found = 0;
        for first in b'A'..=b'Z' {
            for second in b'A'..=b'Z' {
                let code = format!("{}{}", first as char, second as char);
                assert_eq!(is_country(&code), codes.contains(&code.as_str()), "{code}");
                found += usize::from(is_country(&code));
            }
        }
        assert_eq!(found, 249);
        for wrong in ["", "D", "de", "DEU", "D ", " D", "É"] {
            assert!(!is_country(wrong), "{wrong:?}");
        }
    }
}
