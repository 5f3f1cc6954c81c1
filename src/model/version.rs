//! When a pool wrote an object: a hybrid logical clock's reading, carried by the object itself.
//!
//! Wall clocks of machines differ and jump, so they never decide which of two copies is newer. A
//! [`Version`] is a time in milliseconds that never goes back behind anything its writer has seen,
//! a counter within the millisecond, and the writer's name for a total order (Kulkarni et al.,
//! "Logical Physical Clocks", 2014).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::object::Encryption;

/// Order of two writes of one key, whichever replica made them.
///
/// As text `mmmmmmmmmmmm-cccc-wwwwwwww`, all hexadecimal, so that texts sort as versions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Milliseconds since 1970, or more where a later one was seen. Less than 2^48.
    pub millis: u64,
    /// Further writes in the same millisecond.
    pub counter: u16,
    /// Name of the process that wrote.
    pub writer: u32,
}

/// What a pool says of a write, beside the caller's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Its place in the order.
    pub version: Version,
    /// Whether it was made for a key at which there was nothing. Where such a write meets an older
    /// object all the same, both were acknowledged and neither may be dropped silently.
    pub create: bool,
    /// What the caller asked for at rest. Members also report what they do by themselves, and what one
    /// does by itself must not be asked of another, which may be unable or told to do better.
    pub encryption: Encryption,
}

impl Stamp {
    /// Of a write that asked for no encryption.
    pub fn new(version: Version, create: bool) -> Self {
        Self { version, create, encryption: Encryption::None }
    }
}

/// Length of a version as text.
const VERSION_DIGITS: usize = 12 + 1 + 4 + 1 + 8;

/// The text is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version")]
pub struct NoVersion;

impl Version {
    /// Its text. Written by hand, as each call through a pool writes one.
    fn digits(self) -> [u8; VERSION_DIGITS] {
        let mut text = [b'-'; VERSION_DIGITS];
        let parts =
            [(0..12, self.millis), (13..17, self.counter.into()), (18..26, self.writer.into())];
        for (place, mut rest) in parts {
            for digit in text[place].iter_mut().rev() {
                *digit = b"0123456789abcdef"[(rest & 0xf) as usize];
                rest >>= 4;
            }
        }
        text
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}

impl From<Version> for Arc<str> {
    fn from(version: Version) -> Self {
        String::from_utf8_lossy(&version.digits()).into()
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let text: &[u8; VERSION_DIGITS] = text.as_bytes().try_into().map_err(|_| NoVersion)?;
        if text[12] != b'-' || text[17] != b'-' {
            return Err(NoVersion);
        }
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0, |number: u64, digit| match digit {
                b'0'..=b'9' => Ok(number << 4 | u64::from(digit - b'0')),
                b'a'..=b'f' => Ok(number << 4 | u64::from(digit - b'a' + 10)),
                _ => Err(NoVersion),
            })
        };
        // Each has as many digits as its type holds.
        let (counter, writer) = (number(&text[13..17])? as u16, number(&text[18..])? as u32);
        Ok(Self { millis: number(&text[..12])?, counter, writer })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.version.fmt(f)?;
        f.write_str(if self.create { "-c" } else { "-r" })?;
        match self.encryption {
            Encryption::None => Ok(()),
            asked => write!(f, "-{}", asked.as_str()),
        }
    }
}

impl FromStr for Stamp {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let (version, rest) = text.split_at_checked(VERSION_DIGITS).ok_or(NoVersion)?;
        let mut rest = rest.splitn(3, '-').skip(1);
        let create = match rest.next() {
            Some("c") => true,
            Some("r") => false,
            _ => return Err(NoVersion),
        };
        let encryption = match rest.next() {
            None => Encryption::None,
            Some(asked) => Encryption::parse(asked).ok_or(NoVersion)?,
        };
        Ok(Self { version: version.parse()?, create, encryption })
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Version);
as_text!(Stamp);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_sort_as_versions_do_and_come_back() {
        let version = |millis, counter, writer| Version { millis, counter, writer };
        let ordered = [
            version(1, 0, 9),
            version(1, 1, 0),
            version(1, 1, 2),
            version(16, 0, 0),
            version((1 << 48) - 1, u16::MAX, u32::MAX),
        ];
        assert!(ordered.is_sorted());
        assert!(ordered.iter().map(ToString::to_string).is_sorted());
        for version in ordered {
            assert_eq!(version.to_string().parse(), Ok(version));
            for create in [false, true] {
                for encryption in [Encryption::None, Encryption::Aes256, Encryption::Kms] {
                    let stamp = Stamp { version, create, encryption };
                    assert_eq!(stamp.to_string().parse(), Ok(stamp));
                }
            }
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let good = Version { millis: 10, counter: 11, writer: 12 }.to_string();
        let upper = good.to_uppercase();
        let longer = format!("{good}-0");
        for text in ["", "1-2-3", &upper, &longer, "+00000000001-0000-00000000"] {
            assert_eq!(text.parse::<Version>(), Err(NoVersion), "{text}");
        }
        for tail in ["", "-", "-x", "c", "-c-", "-c-aes256", "-c-AES256-1"] {
            assert_eq!(format!("{good}{tail}").parse::<Stamp>(), Err(NoVersion), "{tail}");
        }
    }
}
