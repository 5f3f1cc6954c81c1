//! What a bucket says of its locks, and the legal hold of a version.

use std::time::SystemTime;

use s3s::dto::{
    GetObjectLockConfigurationInput, GetObjectLockConfigurationOutput, ObjectLockConfiguration,
    ObjectLockEnabled, ObjectLockLegalHoldStatus, PutObjectLegalHoldInput,
    PutObjectLegalHoldOutput, Timestamp,
};
use s3s::{S3Request, S3Response, S3Result};

use super::Operations;
use crate::error::{access_denied, error, invalid_request, not_implemented};
use crate::lock::Lock;
use crate::personality::Personality;

impl Operations {
    /// What a write's headers ask for. Garage drops them; R2 has refused them before.
    pub(super) fn asked_lock(
        &self,
        bucket: &str,
        mode: Option<&str>,
        until: Option<Timestamp>,
        legal_hold: Option<&str>,
    ) -> S3Result<Lock> {
        let asked = mode.is_some() || until.is_some() || legal_hold.is_some();
        if !asked || self.personality() != Personality::Aws {
            return Ok(Lock::default());
        }
        if !self.store().has_locks(bucket)? {
            return Err(without());
        }
        if !self.store().may_lock() {
            return Err(access_denied());
        }
        Lock::of(mode, until, legal_hold, SystemTime::now())
    }

    pub(super) async fn get_object_lock_configuration(
        &self,
        request: S3Request<GetObjectLockConfigurationInput>,
    ) -> S3Result<S3Response<GetObjectLockConfigurationOutput>> {
        match self.personality() {
            Personality::Aws => {}
            Personality::R2 => return Err(not_implemented("GetObjectLockConfiguration")),
            // As it answers calls of buckets that it has not.
            Personality::Garage => return Err(access_denied()),
        }
        if !self.store().has_locks(&request.input.bucket)? {
            let message = "Object Lock configuration does not exist for this bucket";
            return Err(error(404, "ObjectLockConfigurationNotFoundError", message));
        }
        let enabled = ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED);
        let found = ObjectLockConfiguration { object_lock_enabled: Some(enabled), rule: None };
        let output = GetObjectLockConfigurationOutput { object_lock_configuration: Some(found) };
        Ok(S3Response::new(output))
    }

    pub(super) async fn put_object_legal_hold(
        &self,
        request: S3Request<PutObjectLegalHoldInput>,
    ) -> S3Result<S3Response<PutObjectLegalHoldOutput>> {
        let input = request.input;
        if self.personality() != Personality::Aws {
            return Err(not_implemented("PutObjectLegalHold"));
        }
        if !self.store().has_locks(&input.bucket)? {
            return Err(without());
        }
        if !self.store().may_lock() {
            return Err(access_denied());
        }
        let status = input.legal_hold.and_then(|hold| hold.status);
        let on = match status.as_ref().map(ObjectLockLegalHoldStatus::as_str) {
            Some("ON") => true,
            Some("OFF") => false,
            _ => {
                return Err(error(400, "MalformedXML", "The XML you provided was not well-formed"));
            }
        };
        self.store().set_hold(&input.bucket, &input.key, input.version_id.as_deref(), on)?;
        Ok(S3Response::new(PutObjectLegalHoldOutput::default()))
    }
}

fn without() -> s3s::S3Error {
    invalid_request("Bucket is missing Object Lock Configuration")
}
