//! The tags of an object, which only AWS has.

use std::collections::BTreeMap;

use s3s::dto::{
    DeleteObjectTaggingInput, DeleteObjectTaggingOutput, GetObjectTaggingInput,
    GetObjectTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput, Tag,
};
use s3s::{S3Request, S3Response, S3Result};

use super::Operations;
use crate::object::checked_tags;

impl Operations {
    pub(super) async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let object = self.store().object(&request.input.bucket, &request.input.key)?;
        let tag = |(name, value): (&String, &String)| Tag {
            key: Some(name.clone()),
            value: Some(value.clone()),
        };
        let tag_set = object.headers.tags.iter().map(tag).collect();
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set, version_id: None }))
    }

    pub(super) async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let input = request.input;
        let pair = |tag: Tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default());
        let tags = checked_tags(input.tagging.tag_set.into_iter().map(pair).collect())?;
        self.store().set_tags(&input.bucket, &input.key, tags)?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    pub(super) async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        self.store().set_tags(&request.input.bucket, &request.input.key, BTreeMap::new())?;
        Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
    }
}
