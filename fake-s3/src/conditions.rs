//! Preconditions: of writes, which the store decides under its lock, and of reads.

use s3s::S3Result;
use s3s::dto::{ETag, ETagCondition, Timestamp};

use crate::error::{error, no_such_key, not_implemented, precondition_failed};
use crate::object::Object;
use crate::personality::Personality;

/// What must hold when a write happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Condition {
    #[default]
    Always,
    /// There is no such key.
    Absent,
    /// The key's object has this ETag.
    Matches(ETag),
    /// There is such a key.
    Present,
}

impl Condition {
    /// Of a PUT, of a copy's destination, of the completion of an upload. Garage ignores it.
    pub(crate) fn of_write(
        personality: Personality,
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
    ) -> S3Result<Self> {
        if personality == Personality::Garage {
            return Ok(Self::Always);
        }
        match (if_match, if_none_match) {
            (None, None) => Ok(Self::Always),
            (None, Some(ETagCondition::Any)) => Ok(Self::Absent),
            (Some(ETagCondition::ETag(etag)), None) => Ok(Self::Matches(etag)),
            _ => Err(not_implemented("this If-Match or If-None-Match on a write")),
        }
    }

    /// Of a DELETE, where `*` is allowed too. Garage ignores it.
    pub(crate) fn of_delete(personality: Personality, if_match: Option<ETagCondition>) -> Self {
        match if_match {
            _ if personality == Personality::Garage => Self::Always,
            None => Self::Always,
            Some(ETagCondition::Any) => Self::Present,
            Some(ETagCondition::ETag(etag)) => Self::Matches(etag),
        }
    }

    /// Whether it holds of what is there now.
    ///
    /// # Errors
    /// 412, or 404 where an object is named that is not there.
    pub(crate) fn check(&self, now: Option<&Object>) -> S3Result<()> {
        match (self, now) {
            (Self::Always, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Absent, Some(_)) => Err(precondition_failed()),
            (Self::Matches(_) | Self::Present, None) => Err(no_such_key()),
            (Self::Matches(etag), Some(object)) if is(etag, object) => Ok(()),
            (Self::Matches(_), Some(_)) => Err(precondition_failed()),
        }
    }
}

fn is(etag: &ETag, object: &Object) -> bool {
    etag.as_strong() == Some(object.etag.as_str())
}

/// The four preconditions of a read.
#[derive(Default)]
pub(crate) struct ReadConditions {
    pub(crate) matches: Option<ETagCondition>,
    pub(crate) none_match: Option<ETagCondition>,
    pub(crate) modified_since: Option<Timestamp>,
    pub(crate) unmodified_since: Option<Timestamp>,
}

impl ReadConditions {
    /// Whether they hold, in the order of RFC 9110.
    ///
    /// # Errors
    /// 412, or 304 with the ETag.
    pub(crate) fn check(&self, object: &Object) -> S3Result<()> {
        let modified = Timestamp::from(object.last_modified);
        match (&self.matches, &self.unmodified_since) {
            (Some(ETagCondition::ETag(etag)), _) if !is(etag, object) => {
                return Err(precondition_failed());
            }
            (None, Some(since)) if modified > *since => return Err(precondition_failed()),
            _ => {}
        }
        let unchanged = match (&self.none_match, &self.modified_since) {
            (Some(ETagCondition::Any), _) => true,
            (Some(ETagCondition::ETag(etag)), _) => etag.value() == object.etag,
            (None, Some(since)) => modified <= *since,
            (None, None) => false,
        };
        if !unchanged {
            return Ok(());
        }
        let mut answer = error(304, "NotModified", "Not Modified");
        if let Ok(etag) = http::HeaderValue::try_from(format!("\"{}\"", object.etag)) {
            answer.set_headers(http::HeaderMap::from_iter([(http::header::ETAG, etag)]));
        }
        Err(answer)
    }

    /// As a copy has it of its source: there is no 304.
    pub(crate) fn check_source(&self, object: &Object) -> S3Result<()> {
        self.check(object).map_err(|_| precondition_failed())
    }
}
