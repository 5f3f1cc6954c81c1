//! Object lock: what keeps a version, and the versions that a bucket with locks keeps.
//!
//! As AWS has it: a lock is of one version, a delete without a version's name only hides what is there,
//! and a date holds until it is over, for whoever has not (`governance`) or even has (`compliance`) the
//! right to go past it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use s3s::S3Result;
use s3s::dto::{Timestamp, TimestampFormat};

use crate::error::{access_denied, error, invalid_argument};
use crate::object::Object;

/// What keeps a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// `GOVERNANCE` or `COMPLIANCE`, where there is a date.
    pub mode: Option<String>,
    /// Until when, in whole seconds.
    pub until: Option<SystemTime>,
    /// `ON` or `OFF`, where somebody said it.
    pub legal_hold: Option<bool>,
}

impl Lock {
    /// What a write's headers say.
    ///
    /// # Errors
    /// One of mode and date alone, a date that is over, words that are none.
    pub(crate) fn of(
        mode: Option<&str>,
        until: Option<Timestamp>,
        legal_hold: Option<&str>,
        now: SystemTime,
    ) -> S3Result<Self> {
        let until = match until {
            Some(until) => Some(seconds(&until)?),
            None => None,
        };
        match (mode, until) {
            (None, None) => {}
            (Some("GOVERNANCE" | "COMPLIANCE"), Some(until)) if now < until => {}
            (Some("GOVERNANCE" | "COMPLIANCE"), Some(_)) => {
                return Err(invalid_argument("The retain until date must be in the future!"));
            }
            (Some(_), Some(_)) => return Err(invalid_argument("Unknown wormMode directive.")),
            _ => {
                let message = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both \
                               be supplied";
                return Err(invalid_argument(message));
            }
        }
        let legal_hold = match legal_hold {
            None => None,
            Some("ON") => Some(true),
            Some("OFF") => Some(false),
            Some(_) => return Err(invalid_argument("Legal Hold must be either of 'ON' or 'OFF'")),
        };
        Ok(Self { mode: mode.map(str::to_owned), until, legal_hold })
    }

    /// Whether nothing is said.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the version has to stay; `bypass` goes past a date in governance mode.
    fn holds(&self, bypass: bool, now: SystemTime) -> bool {
        let passed = bypass && self.mode.as_deref() == Some("GOVERNANCE");
        let dated = self.until.is_some_and(|until| now < until) && !passed;
        dated || self.legal_hold == Some(true)
    }
}

fn seconds(date: &Timestamp) -> S3Result<SystemTime> {
    let mut text = Vec::new();
    let told = date.format(TimestampFormat::EpochSeconds, &mut text).ok();
    let text = told.and_then(|()| String::from_utf8(text).ok());
    let whole = text.as_deref().and_then(|text| text.split('.').next()?.parse().ok());
    let seconds = whole.ok_or_else(|| invalid_argument("The retain until date is none"))?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// An older version: an object, or the mark of a delete.
#[derive(Clone, Debug)]
enum Older {
    Object(Arc<Object>),
    Marker(String),
}

impl Older {
    fn is_named(&self, name: &str) -> bool {
        match self {
            Self::Object(object) => object.version.as_deref() == Some(name),
            Self::Marker(version) => version == name,
        }
    }
}

/// All versions of a bucket with locks but those that are there now.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    made: u64,
    /// The newest last.
    older: BTreeMap<String, Vec<Older>>,
}

impl Versions {
    fn name(&mut self) -> String {
        self.made += 1;
        format!("version-{:08}", self.made)
    }

    /// Takes over what is replaced, and names what takes its place.
    pub(crate) fn replace(&mut self, key: &str, before: Option<Arc<Object>>) -> String {
        self.older.entry(key.to_owned()).or_default().extend(before.map(Older::Object));
        self.name()
    }

    /// Takes over what is hidden, and names the mark that hides it.
    pub(crate) fn hide(&mut self, key: &str, before: Option<Arc<Object>>) -> String {
        let marker = self.name();
        let older = self.older.entry(key.to_owned()).or_default();
        older.extend(before.map(Older::Object));
        older.push(Older::Marker(marker.clone()));
        marker
    }

    /// Removes a version for good, where no lock keeps it.
    ///
    /// # Errors
    /// 403: it is locked.
    pub(crate) fn remove(
        &mut self,
        key: &str,
        now: &mut BTreeMap<String, Arc<Object>>,
        version: &str,
        bypass: bool,
    ) -> S3Result<()> {
        let check = |object: &Object| match object.lock.holds(bypass, SystemTime::now()) {
            true => Err(access_denied()),
            false => Ok(()),
        };
        if let Some(object) = now.get(key).filter(|object| is_named(object, version)) {
            check(object)?;
            now.remove(key);
        } else if let Some(older) = self.older.get_mut(key)
            && let Some(place) = older.iter().position(|older| older.is_named(version))
        {
            if let Older::Object(object) = &older[place] {
                check(object)?;
            }
            older.remove(place);
        }
        // What is newest then is there.
        if let Some(older) = self.older.get_mut(key).filter(|_| !now.contains_key(key))
            && let Some(Older::Object(object)) = older.last().cloned()
        {
            older.pop();
            now.insert(key.to_owned(), object);
        }
        Ok(())
    }

    /// An older version that is an object.
    pub(crate) fn find(&mut self, key: &str, version: &str) -> S3Result<&mut Arc<Object>> {
        let older = self.older.get_mut(key).map(Vec::as_mut_slice).unwrap_or_default();
        let found = older.iter_mut().find_map(|older| match older {
            Older::Object(object) if is_named(object, version) => Some(object),
            _ => None,
        });
        found.ok_or_else(no_such_version)
    }

    /// All older objects of a key, the newest last.
    pub(crate) fn of(&self, key: &str) -> Vec<Arc<Object>> {
        let older = self.older.get(key).map(Vec::as_slice).unwrap_or_default();
        let objects = older.iter().filter_map(|older| match older {
            Older::Object(object) => Some(Arc::clone(object)),
            Older::Marker(_) => None,
        });
        objects.collect()
    }
}

pub(crate) fn is_named(object: &Object, version: &str) -> bool {
    object.version.as_deref().unwrap_or("null") == version
}

pub(crate) fn no_such_version() -> s3s::S3Error {
    error(404, "NoSuchVersion", "The specified version does not exist.")
}
