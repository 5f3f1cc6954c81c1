//! From a person's text to a value. An error says what is wrong and what to write instead; it
//! follows the setting's name, so it starts with the text itself.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

use super::{DAY_MS, HOUR_MS};
use crate::model::{Encryption, LockMode, Namespace, Provider};

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an IP address with a port: write for example 127.0.0.1:8080")
    })
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("is empty: give a folder".into()),
        _ => Ok(PathBuf::from(text)),
    }
}

/// What keys begin with, with commas between; `*` is every key.
pub(super) fn prefixes(text: &str) -> Result<Vec<String>, String> {
    let prefix = |part: &str| match part.trim() {
        "*" => Ok(String::new()),
        "" => Err("has an empty part: write `*` for every key".to_owned()),
        part if part.starts_with('/') => {
            Err(format!("`{part}` begins with `/`, and no key does: leave it out"))
        }
        part => Ok(part.to_owned()),
    };
    text.split(',').map(prefix).collect()
}

/// A whole number of milliseconds within bounds.
pub(super) fn milliseconds(
    allowed: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<Duration, String> {
    move |text| {
        let value = number(text, "a number of milliseconds: write for example 30000")?;
        within(value, &allowed).map(Duration::from_millis)
    }
}

/// A whole number within bounds.
pub(super) fn count<T: TryFrom<u64>>(
    allowed: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let value = within(number(text, "a whole number: write for example 10")?, &allowed)?;
        T::try_from(value).map_err(|_| format!("{value} is too large"))
    }
}

/// A number of bytes within bounds, plain or with a unit (`64MiB`).
pub(super) fn bytes(allowed: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let size = ByteSize::from_str(text).map_err(|_| {
            format!("`{text}` is not a size: write bytes as a number, or a form such as 64MiB")
        })?;
        within(size.as_u64(), &allowed)
    }
}

fn number(text: &str, what: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is not {what}"))
}

fn within(value: u64, allowed: &RangeInclusive<u64>) -> Result<u64, String> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(format!("{value} is out of range: give {} to {}", allowed.start(), allowed.end()))
}

pub(super) fn provider(text: &str) -> Result<Provider, String> {
    match text {
        "local" => Ok(Provider::Local),
        "s3" => Ok(Provider::S3),
        "r2" => Ok(Provider::R2),
        _ => Err(format!("`{text}` is no provider: write `local`, `s3` or `r2`")),
    }
}

/// Longest name of a backend.
const MAX_BACKEND_NAME: usize = 32;

/// The name of a backend: stands in metrics, records and answers.
pub(super) fn backend_name(text: &str) -> Result<Arc<str>, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=MAX_BACKEND_NAME).contains(&text.len()) || !text.bytes().all(fits) {
        return Err(format!(
            "`{text}` is no name of a backend: write 1 to {MAX_BACKEND_NAME} of a-z, 0-9 and -"
        ));
    }
    Ok(text.into())
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    word(&[("true", true), ("false", false)])(text)
}

pub(super) fn on_or_off(text: &str) -> Result<bool, String> {
    word(&[("on", true), ("off", false)])(text)
}

/// Encryption at rest, whoever does it.
pub(super) fn encryption(text: &str) -> Result<Encryption, String> {
    const CHOICES: &[(&str, Encryption)] = &[
        ("none", Encryption::None),
        ("envelope", Encryption::Envelope),
        ("AES256", Encryption::Aes256),
        ("aws:kms", Encryption::Kms),
    ];
    word(CHOICES)(text)
}

/// How held objects are locked.
pub(super) fn object_lock(text: &str) -> Result<LockMode, String> {
    const CHOICES: &[(&str, LockMode)] = &[
        ("governance", LockMode::Governance),
        ("compliance", LockMode::Compliance),
        ("off", LockMode::Off),
    ];
    word(CHOICES)(text)
}

pub(super) fn max_retries(text: &str) -> Result<u32, String> {
    count(0..=100)(text)
}

pub(super) fn max_in_flight(text: &str) -> Result<usize, String> {
    count(1..=100_000)(text)
}

pub(super) fn dark_after(text: &str) -> Result<Duration, String> {
    milliseconds(100..=HOUR_MS)(text)
}

pub(super) fn inventory_interval(text: &str) -> Result<Duration, String> {
    milliseconds(1000..=30 * DAY_MS)(text)
}

/// A name that a vendor gave: letters, digits and a few marks.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        return Err(format!("`{text}` is no name: letters, digits and -_./: only"));
    }
    Ok(text.to_owned())
}

/// A bucket's name (3 to 63 of lower-case letters, digits, dots and hyphens; older ones have
/// upper-case letters and underscores too).
pub(super) fn bucket(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !(3..=255).contains(&text.len()) || !text.bytes().all(fits) {
        return Err(format!("`{text}` is no bucket: give its name alone, such as my-proofs"));
    }
    Ok(text.to_owned())
}

pub(super) fn namespace(text: &str) -> Result<Namespace, String> {
    Namespace::new(text).map_err(|error| format!("`{text}` is no key prefix: {error}"))
}

pub(super) fn cache_control(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.trim().is_empty() || !printable {
        return Err("is not a header value: write for example `public, max-age=3600`".into());
    }
    Ok(text.trim().to_owned())
}

/// Directives for the log. A single word that is nearly a level is taken for a slip, because
/// `inof` is a legal target name that would switch off everything else.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    for word in text.split(',').map(str::trim) {
        let lower = word.to_ascii_lowercase();
        if LEVELS.contains(&lower.as_str()) {
            continue;
        }
        if let Some(level) = super::slip::nearest(&lower, LEVELS.iter().copied()) {
            return Err(format!("`{word}` is no level: did you mean `{level}`?"));
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "`{text}` is not a log filter: write a level ({}) or directives such as \
             `info,proof_storage::http=debug`",
            LEVELS.join(", ")
        )),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let list: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            format!("`{text}` is no choice: write {}", list.join(" or "))
        })
    }
}
