//! `STORAGE_RETENTION` and `STORAGE_LEGAL_HOLD`: prefixes whose proofs have to stay.

use std::time::Duration;

use super::reader::Reader;
use super::settings as name;
use crate::model::{KeyPrefix, RetentionRule};

const DAY: u64 = 86_400;

/// Units and their lengths in days. A year is never shorter than one of the calendar's.
const UNITS: [(char, u64); 3] = [('d', 1), ('w', 7), ('y', 366)];

/// As for a time that a caller names.
const MAX_DAYS: u64 = 100 * 366;

/// All rules of both settings.
pub(super) fn rules(reader: &mut Reader<'_>) -> Vec<RetentionRule> {
    let mut rules = reader.option(&name::RETENTION, durations).unwrap_or_default();
    rules.extend(reader.option(&name::LEGAL_HOLD, holds).unwrap_or_default());
    rules
}

fn durations(text: &str) -> Result<Vec<RetentionRule>, String> {
    let mut rules: Vec<RetentionRule> = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((prefix, keep)) = part.rsplit_once('=') else {
            return Err(format!(
                "`{part}` is no prefix with a duration: write for example legal/=10y"
            ));
        };
        let prefix = KeyPrefix::parse(prefix.trim())?;
        if rules.iter().any(|rule| rule.prefix == prefix) {
            return Err(format!("the prefix `{prefix}` is there more than once"));
        }
        let keep = Some(duration(keep.trim())?);
        rules.push(RetentionRule { prefix, keep, legal_hold: false });
    }
    Ok(rules)
}

fn holds(text: &str) -> Result<Vec<RetentionRule>, String> {
    let rule = |part: &str| {
        let prefix = KeyPrefix::parse(part.trim())?;
        Ok(RetentionRule { prefix, keep: None, legal_hold: true })
    };
    text.split(',').map(rule).collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    let amiss = || {
        format!(
            "`{text}` is no duration: write a number of days, weeks or years, for example 90d, 12w or \
             10y (a year counts as 366 days), up to 100y"
        )
    };
    let (_, days) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit)).ok_or_else(amiss)?;
    let digits = &text[..text.len() - 1];
    let number: u64 = match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().map_err(|_| amiss())?,
        false => return Err(amiss()),
    };
    let days = number.checked_mul(days).filter(|days| (1..=MAX_DAYS).contains(days));
    Ok(Duration::from_secs(days.ok_or_else(amiss)? * DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_never_shorter_than_they_say() {
        for (text, days) in [("1d", 1), ("2w", 14), ("10y", 3660), ("100y", 36_600)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(days * DAY)), "{text}");
        }
        for text in [
            "",
            "y",
            "0d",
            "101y",
            "-1d",
            "+1d",
            "1.5y",
            "1",
            "1m",
            "1 d",
            "1é",
            "9999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_may_have_an_equals_sign() {
        let rules = durations("a=b/=1d, *=2w").unwrap();
        let shown: Vec<_> = rules.iter().map(|rule| rule.prefix.to_string()).collect();
        assert_eq!(shown, ["a=b/", "*"]);
        for text in ["", "a", "=1d", "a=1d,a=2d", "a//b=1d", "a=1d,"] {
            assert!(durations(text).is_err(), "{text}");
        }
        assert!(holds("case/7, *").is_ok() && holds("case,").is_err() && holds("/a").is_err());
    }
}
