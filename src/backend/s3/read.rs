//! Reading objects and what is known of them.

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use futures_util::stream;

use super::error::broken;
use super::meta::{Head, quoted};
use super::{Effect, S3, translate};
use crate::model::{
    Body, BodyStream, ByteRange, ErrorKind, GetOptions, ObjectKey, ObjectMeta, Provider, Retrieved,
    StoreError, Support,
};

/// A body up to this size is collected: whoever asked verifies it whole before it answers.
const COLLECT_BYTES: u64 = 1 << 20;

impl S3 {
    pub(super) async fn look(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let request = self.client().head_object().bucket(self.bucket()).key(key.as_str());
        let answer = request.send().await;
        let answer = answer.map_err(|e| translate(self.provider_of(), Effect::Read, e))?;
        let head = Head::from(answer);
        self.with_tags(key, head).await
    }

    fn provider_of(&self) -> Provider {
        self.shared.options.provider
    }

    pub(super) async fn read(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> Result<Retrieved, StoreError> {
        let range = options.range;
        if range.is_some_and(ByteRange::is_empty) {
            return Err(self.error(ErrorKind::Invalid, "the range has no byte"));
        }
        let request = self
            .client()
            .get_object()
            .bucket(self.bucket())
            .key(key.as_str())
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .set_if_match(options.if_match.as_ref().map(quoted));
        let answer = if self.shared.dialect.accept_gzip {
            let ask = |request: &mut aws_sdk_s3::config::http::HttpRequest| {
                request.headers_mut().insert("accept-encoding", "gzip");
            };
            request.customize().mutate_request(ask).send().await
        } else {
            request.send().await
        };
        let mut answer = answer.map_err(|e| translate(self.provider_of(), Effect::Read, e))?;
        let body = std::mem::take(&mut answer.body);
        let length = answer.content_length.and_then(|length| u64::try_from(length).ok());
        let meta = self.with_tags(key, Head::from(answer)).await?;
        let wanted = range.map_or(meta.stored_size, ByteRange::len);
        if range.is_some_and(|range| range.end > meta.stored_size) {
            let detail = format!("the range is not within the {} bytes", meta.stored_size);
            return Err(self.error(ErrorKind::Invalid, detail));
        }
        if length != Some(wanted) {
            let detail = "the backend's answer has another length than was asked for";
            return Err(self.error(ErrorKind::Failed, detail));
        }
        let body = if wanted <= COLLECT_BYTES {
            Body::Bytes(self.collect(body, wanted).await?)
        } else {
            Body::Stream(pieces(body, wanted, self.provider_of()))
        };
        Ok(Retrieved { meta, body })
    }

    /// Metadata, with the tags where the backend keeps them apart.
    async fn with_tags(&self, key: &ObjectKey, head: Head) -> Result<ObjectMeta, StoreError> {
        let tagged = head.tag_count.is_some_and(|count| count > 0);
        let mut meta = self.meta(key, head)?;
        if tagged && self.can().tags == Support::Native {
            let request = self.client().get_object_tagging();
            let answer = request.bucket(self.bucket()).key(key.as_str()).send().await;
            let answer = answer.map_err(|e| translate(self.provider_of(), Effect::Read, e))?;
            let pairs = answer.tag_set.into_iter().map(|tag| (tag.key, tag.value));
            meta.attributes.tags = pairs.collect();
        }
        Ok(meta)
    }

    async fn collect(&self, mut body: ByteStream, wanted: u64) -> Result<Bytes, StoreError> {
        let first = match body.next().await {
            Some(piece) => piece.map_err(|cause| broken(self.provider_of(), cause))?,
            None => Bytes::new(),
        };
        // Mostly all comes in one piece.
        if first.len() as u64 == wanted {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(wanted as usize);
        whole.extend_from_slice(&first);
        while let Some(piece) = body.next().await {
            whole.extend_from_slice(&piece.map_err(|cause| broken(self.provider_of(), cause))?);
        }
        if whole.len() as u64 != wanted {
            return Err(broken(self.provider_of(), "fewer bytes than announced"));
        }
        Ok(whole.freeze())
    }
}

/// A body's pieces; one that ends early ends in an error.
fn pieces(body: ByteStream, wanted: u64, provider: Provider) -> BodyStream {
    let state = (body, wanted, false);
    Box::pin(stream::unfold(state, move |(mut body, mut left, failed)| async move {
        if failed {
            return None;
        }
        let (item, failed) = match body.next().await {
            Some(Ok(piece)) if piece.len() as u64 <= left => {
                left -= piece.len() as u64;
                (Ok(piece), false)
            }
            Some(Ok(_)) => (Err(broken(provider, "more bytes than announced")), true),
            Some(Err(cause)) => (Err(broken(provider, cause)), true),
            None if left > 0 => (Err(broken(provider, "fewer bytes than announced")), true),
            None => return None,
        };
        Some((item, (body, left, failed)))
    }))
}
