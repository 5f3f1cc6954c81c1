//! DeleteObject and DeleteObjects.

use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    ETagCondition, Error,
};
use s3s::{S3Request, S3Response, S3Result};

use super::Operations;
use crate::conditions::Condition;
use crate::error::{error, not_implemented};
use crate::fault::Slot;

impl Operations {
    pub(super) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        if input.if_match_size.is_some() || input.if_match_last_modified_time.is_some() {
            return Err(not_implemented("this condition on a delete"));
        }
        let condition = Condition::of_delete(self.personality(), input.if_match);
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        let version = input.version_id.as_deref();
        let gone = self.delete(&input.bucket, &input.key, version, bypass, &condition)?;
        let Gone { version_id, delete_marker } = gone;
        Ok(S3Response::new(DeleteObjectOutput { version_id, delete_marker, ..Default::default() }))
    }

    pub(super) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let S3Request {
            input: DeleteObjectsInput { bucket, delete, bypass_governance_retention, .. },
            extensions,
            ..
        } = request;
        let bypass = bypass_governance_retention.unwrap_or(false);
        let refusal_of = |key: &str| extensions.get::<Slot>().and_then(|slot| slot.refusal_of(key));
        let personality = self.personality();
        self.store().has_bucket(&bucket)?;
        if delete.objects.is_empty() || delete.objects.len() > personality.batch_limit() {
            let message = "The XML you provided was not well-formed or did not validate against \
                           our published schema";
            return Err(error(400, "MalformedXML", message));
        }
        let quiet = delete.quiet.unwrap_or(false);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            let condition =
                Condition::of_delete(personality, object.e_tag.map(ETagCondition::ETag));
            let done = match refusal_of(&object.key) {
                Some(code) => Err(error(500, &code, "refused by a fault")),
                None => {
                    let version = object.version_id.as_deref();
                    self.delete(&bucket, &object.key, version, bypass, &condition)
                }
            };
            match done {
                Ok(_) if quiet => {}
                Ok(_) => {
                    deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
                }
                Err(failure) => errors.push(Error {
                    code: Some(failure.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: failure.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let output = DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

impl Operations {
    /// Deletes what is there, which a bucket with versions only hides, or a version for good.
    fn delete(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        bypass: bool,
        condition: &Condition,
    ) -> S3Result<Gone> {
        match version {
            None => {
                let version_id = self.store().delete(bucket, key, condition)?;
                let delete_marker = version_id.is_some().then_some(true);
                Ok(Gone { version_id, delete_marker })
            }
            Some(version) => {
                self.store().delete_version(bucket, key, version, bypass)?;
                Ok(Gone { version_id: Some(version.to_owned()), delete_marker: None })
            }
        }
    }
}

/// What a delete made or removed.
struct Gone {
    version_id: Option<String>,
    delete_marker: Option<bool>,
}
