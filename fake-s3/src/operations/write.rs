//! PutObject.

use s3s::dto::{PutObjectInput, PutObjectOutput};
use s3s::{S3Request, S3Response, S3Result};

use super::{Operations, sent_headers, sent_lock, strong, tell_encryption};
use crate::checksum::{Checksum, Incoming, announced, claimed_checksums, tell_checksum};
use crate::conditions::Condition;
use crate::error::{invalid_request, not_implemented};
use crate::object::Object;

impl Operations {
    pub(super) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request { mut input, trailing_headers, headers: sent, .. } = request;
        let personality = self.personality();
        if input.write_offset_bytes.is_some() {
            return Err(not_implemented("appending"));
        }
        self.store().has_bucket(&input.bucket)?;
        let condition =
            Condition::of_write(personality, input.if_match.take(), input.if_none_match.take())?;
        let headers = sent_headers!(input).kept_by(personality)?;
        let incoming = Incoming {
            body: input.body.take(),
            length: input.content_length,
            content_md5: input.content_md5.take(),
            claimed: claimed_checksums!(input),
            announced: announced(&sent),
            trailers: trailing_headers,
        };
        let hashed = incoming.content_md5.is_some() || !incoming.claimed.is_empty();
        let (bytes, checksum) = incoming.receive(personality).await?;
        let lock = sent_lock!(self, input);
        if !lock.is_empty() && !hashed {
            let message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests \
                           with Object Lock parameters";
            return Err(invalid_request(message));
        }
        let object = Object { lock, ..Object::new(bytes, headers, checksum) };
        let mut output = PutObjectOutput { e_tag: strong(&object.etag), ..Default::default() };
        output.checksum_type = object.checksum.as_ref().map(Checksum::kind);
        tell_checksum!(output, &object.checksum);
        tell_encryption!(output, object.headers);
        output.version_id = self.store().put(&input.bucket, &input.key, &condition, object)?;
        Ok(S3Response::new(output))
    }
}
