//! Buckets, and what is in them: HeadBucket, CreateBucket, GetBucketLocation, ListObjectsV2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use s3s::dto::{
    BucketLocationConstraint, CommonPrefix, CreateBucketInput, CreateBucketOutput, EncodingType,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass, Timestamp,
};
use s3s::{S3Request, S3Response, S3Result};

use super::{Operations, strong};
use crate::error::{invalid_argument, not_implemented};
use crate::listing::{Page, url_encoded};
use crate::personality::Personality;
use crate::server::FakeS3;

/// Most entries of a page.
const PAGE: i32 = 1000;

impl Operations {
    pub(super) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.store().has_bucket(&request.input.bucket)?;
        let bucket_region = Some(FakeS3::REGION.to_owned());
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..Default::default() }))
    }

    pub(super) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let input = &request.input;
        let locks = input.object_lock_enabled_for_bucket == Some(true);
        if locks && self.personality() != Personality::Aws {
            return Err(not_implemented("object lock"));
        }
        self.store().create_bucket(&input.bucket, locks)?;
        let location = Some(format!("/{}", request.input.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    pub(super) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.store().has_bucket(&request.input.bucket)?;
        // AWS has no name for its first region here.
        let location_constraint = match self.personality() {
            Personality::Aws => None,
            Personality::R2 => Some(BucketLocationConstraint::from("auto".to_owned())),
            Personality::Garage => Some(BucketLocationConstraint::from("garage".to_owned())),
        };
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }

    pub(super) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let most = input.max_keys.unwrap_or(PAGE).min(PAGE);
        let count = usize::try_from(most).map_err(|_| invalid_argument("max-keys is negative"))?;
        let token = match &input.continuation_token {
            Some(token) => Some(decoded(token)?),
            None => None,
        };
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = token.as_deref().or(input.start_after.as_deref());
        let delimiter = input.delimiter.as_deref();
        let Page { objects, prefixes, next } =
            self.store().list(&input.bucket, &prefix, delimiter, after, count)?;
        let url = match input.encoding_type.as_ref().map(EncodingType::as_str) {
            None => false,
            Some("url") => true,
            Some(_) => {
                return Err(invalid_argument("Invalid Encoding Method specified in Request"));
            }
        };
        let spelled = |text: String| if url { url_encoded(&text) } else { text };
        let entries = objects.len() + prefixes.len();
        let contents = objects.into_iter().map(|(key, object)| Object {
            key: Some(spelled(key)),
            e_tag: strong(&object.etag),
            size: Some(object.length()),
            last_modified: Some(Timestamp::from(object.last_modified)),
            storage_class: Some(ObjectStorageClass::from(
                object.headers.storage_class.clone().unwrap_or_else(|| "STANDARD".into()),
            )),
            ..Default::default()
        });
        let contents = contents.collect();
        let common =
            prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(spelled(prefix)) });
        let output = ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(spelled(prefix)),
            delimiter: input.delimiter.map(spelled),
            start_after: input.start_after.map(spelled),
            encoding_type: input.encoding_type,
            max_keys: Some(most),
            key_count: i32::try_from(entries).ok(),
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next.map(|next| BASE64.encode(next)),
            contents: Some(contents),
            common_prefixes: Some(common.collect()),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

/// The place that a continuation token stands for.
fn decoded(token: &str) -> S3Result<String> {
    let place = BASE64.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    place.ok_or_else(|| invalid_argument("The continuation token provided is incorrect"))
}
