//! Conditional requests and ranges (RFC 9110 §13, §14).

use axum::http::{HeaderMap, header};

use super::problem::Problem;
use crate::model::{ByteRange, Encoding, ObjectMeta};
use crate::vault::{Condition, etag_of, names};

/// What the preconditions of a read say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Part of a proof that a read asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it: no range, or one that may be ignored.
    Whole,
    /// 206.
    Range(ByteRange),
    /// 416.
    Unsatisfiable,
}

/// Entity tags of `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    Any,
    List(Vec<Tag>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// With quotes.
    text: String,
}

/// Evaluates the preconditions of a read in the order of RFC 9110 §13.2.2.
///
/// A malformed `If-None-Match` matches nothing: the answer is then the proof itself.
pub fn evaluate(headers: &HeaderMap, meta: &ObjectMeta, form: Encoding) -> Verdict {
    let modified = unix_seconds(meta.last_modified);
    if let Some(tags) = tags(headers, header::IF_MATCH) {
        // Strong comparison. Either coding's tag names the same state of the proof.
        let matched = match tags {
            Some(Tags::Any) => true,
            Some(Tags::List(list)) => list.iter().any(|tag| !tag.weak && names(&tag.text, meta)),
            None => false,
        };
        if !matched {
            return Verdict::Failed;
        }
    } else if let Some(since) = date(headers, header::IF_UNMODIFIED_SINCE)
        && modified > since
    {
        return Verdict::Failed;
    }
    if let Some(tags) = tags(headers, header::IF_NONE_MATCH) {
        // Weak comparison, with the tag of the form that would be sent.
        let current = etag_of(meta, form);
        let matched = match tags {
            Some(Tags::Any) => true,
            Some(Tags::List(list)) => list.iter().any(|tag| tag.text == current),
            None => false,
        };
        return if matched { Verdict::NotModified } else { Verdict::Proceed };
    }
    match date(headers, header::IF_MODIFIED_SINCE) {
        Some(since) if modified <= since => Verdict::NotModified,
        _ => Verdict::Proceed,
    }
}

/// Reads the precondition of a PUT.
///
/// # Errors
/// 400 for forms that this service does not take: they must not be ignored on a write.
pub fn write_condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    refuse_dates(headers)?;
    let if_match = strong_tags(headers)?;
    let Some(none_match) = headers.get(header::IF_NONE_MATCH) else {
        return Ok(match if_match {
            None => Condition::None,
            Some(tags) if tags == ["*"] => Condition::Present,
            Some(tags) => Condition::Matches(tags),
        });
    };
    if none_match.as_bytes().trim_ascii() != b"*" {
        return Err(Problem::invalid("If-None-Match on a PUT takes only *"));
    }
    if if_match.is_some() {
        return Err(Problem::invalid("If-Match and If-None-Match contradict each other: send one"));
    }
    Ok(Condition::Absent)
}

/// Reads the precondition of a DELETE: ETags, or `["*"]`.
///
/// # Errors
/// As [`write_condition`].
pub fn delete_condition(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    refuse_dates(headers)?;
    if headers.contains_key(header::IF_NONE_MATCH) {
        return Err(Problem::invalid("If-None-Match has no meaning on a DELETE: send If-Match"));
    }
    strong_tags(headers)
}

fn refuse_dates(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::IF_UNMODIFIED_SINCE) {
        return Err(Problem::invalid(
            "If-Unmodified-Since is too coarse to guard a write: send If-Match with the ETag",
        ));
    }
    Ok(())
}

/// Strong tags of `If-Match`; weak ones never match and are left out.
fn strong_tags(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    match tags(headers, header::IF_MATCH) {
        None => Ok(None),
        Some(None) => {
            Err(Problem::invalid("If-Match is malformed: send * or quoted ETags, such as \"abc\""))
        }
        Some(Some(Tags::Any)) => Ok(Some(vec!["*".to_owned()])),
        Some(Some(Tags::List(list))) => {
            Ok(Some(list.into_iter().filter(|tag| !tag.weak).map(|tag| tag.text).collect()))
        }
    }
}

/// `None`: no such header. `Some(None)`: malformed.
fn tags(headers: &HeaderMap, name: header::HeaderName) -> Option<Option<Tags>> {
    if !headers.contains_key(&name) {
        return None;
    }
    let mut list = Vec::new();
    for value in headers.get_all(name) {
        let Ok(text) = value.to_str() else { return Some(None) };
        match parse_tags(text) {
            Some(Tags::Any) => return Some(Some(Tags::Any)),
            Some(Tags::List(more)) => list.extend(more),
            None => return Some(None),
        }
    }
    Some(Some(Tags::List(list)))
}

fn parse_tags(text: &str) -> Option<Tags> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut list = Vec::new();
    while !rest.is_empty() {
        let (weak, opaque) = match rest.strip_prefix("W/") {
            Some(opaque) => (true, opaque),
            None => (false, rest),
        };
        let inner = opaque.strip_prefix('"')?;
        let end = inner.find('"')?;
        list.push(Tag { weak, text: opaque[..end + 2].to_owned() });
        rest = inner[end + 1..].trim_start();
        if !rest.is_empty() {
            rest = rest.strip_prefix(',')?.trim_start();
        }
    }
    (!list.is_empty()).then_some(Tags::List(list))
}

/// Reads `Range` under `If-Range`, for the identity form.
pub fn part(headers: &HeaderMap, meta: &ObjectMeta) -> Part {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Part::Whole;
    };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        let current = condition.to_str().is_ok_and(|text| if_range_holds(text, meta));
        if !current {
            return Part::Whole;
        }
    }
    parse_range(range, meta.size())
}

fn if_range_holds(text: &str, meta: &ObjectMeta) -> bool {
    if text.starts_with('"') {
        return text == etag_of(meta, Encoding::Identity);
    }
    // A date is a strong validator only if the proof was not changed again within its second;
    // proofs have exact tags, so a date never holds unless it is that very second.
    parse_date(text).is_some_and(|date| date == unix_seconds(meta.last_modified))
}

/// One `bytes` range (RFC 9110 §14.1.2). Anything else is ignored, as the RFC allows.
fn parse_range(text: &str, size: u64) -> Part {
    let Some((unit, set)) = text.split_once('=') else { return Part::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Part::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Part::Whole };
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit mean a position past any end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(start), Some(last)) if last >= start => (start, last.saturating_add(1).min(size)),
        (Some(start), None) if last.is_empty() => (start, size),
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        _ => return Part::Whole,
    };
    if start < end { Part::Range(ByteRange { start, end }) } else { Part::Unsatisfiable }
}

fn date(headers: &HeaderMap, name: header::HeaderName) -> Option<u64> {
    parse_date(headers.get(name)?.to_str().ok()?)
}

fn parse_date(text: &str) -> Option<u64> {
    httpdate::parse_http_date(text).ok().map(unix_seconds)
}

/// HTTP dates have whole seconds, and so must what is compared with them.
fn unix_seconds(time: std::time::SystemTime) -> u64 {
    time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Takes any text for a `Range`: what a fuzzer calls. A range lies inside of the proof and is the one that
/// the RFC's grammar gives, read here in another way.
///
/// # Panics
/// It is not.
pub fn fuzz_range(text: &str, size: u64) {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Saturated, as in what is tried: a position past any end is one.
    let number = |text: &str| {
        text.bytes().fold(0_u128, |sum, digit| {
            (sum.saturating_mul(10)).saturating_add(u128::from(digit - b'0'))
        })
    };
    let whole = u128::from(size);
    let expected = (|| {
        let (unit, set) = text.split_once('=')?;
        let (first, last) = set.trim().split_once('-')?;
        let fits = unit.trim().eq_ignore_ascii_case("bytes") && digits(first) && digits(last);
        match (fits, first.is_empty(), last.is_empty()) {
            (false, ..) | (_, true, true) => None,
            (_, true, false) => Some((whole.saturating_sub(number(last)), whole)),
            (_, false, true) => Some((number(first), whole)),
            (..) if number(first).min(u64::MAX.into()) > number(last).min(u64::MAX.into()) => None,
            (..) => Some((number(first), number(last).saturating_add(1).min(whole))),
        }
    })();
    match (parse_range(text, size), expected) {
        (Part::Whole, None) => {}
        (Part::Unsatisfiable, Some((start, end))) => {
            assert!(start >= end, "{start}-{end} of {size}");
        }
        (Part::Range(range), Some((start, end))) => {
            assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
            assert_eq!((range.start.into(), range.end.into()), (start, end));
            let printed = format!("bytes={}-{}", range.start, range.end - 1);
            assert_eq!(parse_range(&printed, size), Part::Range(range));
        }
        (part, expected) => panic!("{part:?} where {expected:?} is meant"),
    }
}

/// Takes any text for entity tags: what a fuzzer calls. Tags that are read are whole, stand in the text, and
/// are read the same when they are written down again.
///
/// # Panics
/// They are not.
pub fn fuzz_tags(text: &str) {
    let Some(Tags::List(list)) = parse_tags(text) else { return };
    for Tag { text: tag, .. } in &list {
        let inner = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        assert!(inner.is_some_and(|inner| !inner.contains('"')), "{tag}");
        assert!(text.contains(tag.as_str()));
    }
    let written = |tag: &Tag| format!("{}{}", if tag.weak { "W/" } else { "" }, tag.text);
    let again = list.iter().map(written).collect::<Vec<_>>().join(", ");
    assert_eq!(parse_tags(&again), Some(Tags::List(list)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = |start, end| Part::Range(ByteRange { start, end });
        for (text, expected) in [
            ("bytes=0-4", range(0, 5)),
            ("BYTES=5-", range(5, 10)),
            ("bytes=-3", range(7, 10)),
            ("bytes=-99", range(0, 10)),
            ("bytes=8-99", range(8, 10)),
            ("bytes=9-99999999999999999999999", range(9, 10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=4-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=--1", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Part::Unsatisfiable);
    }

    #[test]
    fn tag_lists() {
        let tag = |weak, text: &str| Tag { weak, text: text.to_owned() };
        assert_eq!(parse_tags(" * "), Some(Tags::Any));
        assert_eq!(
            parse_tags(r#""a,b" , W/"c""#),
            Some(Tags::List(vec![tag(false, r#""a,b""#), tag(true, r#""c""#)]))
        );
        for bad in ["", "a", "\"a", "\"a\"\"b\"", "\"a\";\"b\"", "w/\"a\""] {
            assert_eq!(parse_tags(bad), None, "{bad}");
        }
    }
}
