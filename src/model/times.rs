//! Times as text. What others wrote into a bucket can be any time at all, and no form here has a year of five
//! digits: such a time is shown as the last one that can be.

use std::time::{Duration, SystemTime};

/// 9999-12-31T23:59:59Z, in seconds since 1970 (RFC 3339 §1, RFC 9110 §5.6.7).
const LAST: Duration = Duration::from_secs(253_402_300_799);

fn within(time: SystemTime) -> SystemTime {
    time.clamp(SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + LAST)
}

/// RFC 3339 in UTC, in whole seconds.
pub fn rfc3339_seconds(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(within(time)).to_string()
}

/// RFC 3339 in UTC, with milliseconds.
pub fn rfc3339_millis(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(within(time)).to_string()
}

/// `Last-Modified` and its like (RFC 9110 §5.6.7).
pub fn http_date(time: SystemTime) -> String {
    httpdate::fmt_http_date(within(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_can_be_shown() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(rfc3339_seconds(at(1_800_000_000)), "2027-01-15T08:00:00Z");
        assert_eq!(rfc3339_millis(at(1_800_000_000)), "2027-01-15T08:00:00.000Z");
        assert_eq!(http_date(at(1_800_000_000)), "Fri, 15 Jan 2027 08:00:00 GMT");
        for far in [at(253_402_300_800), at(1 << 60)] {
            assert_eq!(rfc3339_seconds(far), "9999-12-31T23:59:59Z");
            assert_eq!(rfc3339_millis(far), "9999-12-31T23:59:59.000Z");
            assert_eq!(http_date(far), "Fri, 31 Dec 9999 23:59:59 GMT");
        }
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339_seconds(before), "1970-01-01T00:00:00Z");
    }
}
