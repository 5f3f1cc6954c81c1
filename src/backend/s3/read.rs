//! Reading objects and what is known of them.

use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use futures_util::stream;

use super::error::broken;
use super::meta::{Head, etag, quoted};
use super::{Effect, S3, translate};
use crate::model::{
    Body, BodyStream, ByteRange, ETag, ErrorKind, GetOptions, ObjectKey, ObjectMeta, Provider,
    Retrieved, StoreError, Support,
};

/// A body up to this size is collected: whoever asked verifies it whole before it answers.
const COLLECT_BYTES: u64 = 1 << 20;

impl S3 {
    pub(super) async fn look(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let head = self.head_of(key).await?;
        self.with_tags(key, Head::from(head)).await
    }

    /// The version that is there; absent where nothing is. Whatever else is said of the object does
    /// not matter, be it damaged.
    pub(super) async fn version_of(&self, key: &ObjectKey) -> Result<Option<ETag>, StoreError> {
        match self.head_of(key).await {
            Ok(head) => match etag(head.e_tag.as_deref()) {
                Some(etag) => Ok(Some(etag)),
                None => Err(self.error(ErrorKind::Failed, "the backend's answer has no ETag")),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the backend answers to HEAD.
    pub(super) async fn head_of(&self, key: &ObjectKey) -> Result<HeadObjectOutput, StoreError> {
        let request = self.client().head_object().bucket(self.bucket()).key(key.as_str());
        let answer = match self.shared.dialect.inflates {
            true => request.customize().mutate_request(accepting("identity")).send().await,
            false => request.send().await,
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let error = translate(self.provider_of(), Effect::Read, error);
                Err(self.explained(key, error).await)
            }
        }
    }

    /// A refusal of HEAD has no body and so no reason: whether the object or our credentials are
    /// meant is said to a GET only.
    async fn explained(&self, key: &ObjectKey, error: StoreError) -> StoreError {
        if !matches!(error.kind(), ErrorKind::AccessDenied | ErrorKind::Invalid) {
            return error;
        }
        let request = self.client().get_object().bucket(self.bucket()).key(key.as_str());
        match request.range("bytes=0-0").send().await {
            Ok(_) => error,
            Err(cause) => match translate(self.provider_of(), Effect::Read, cause) {
                reason if reason.kind() == ErrorKind::Misconfigured => reason,
                _ => error,
            },
        }
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
        let answer = match self.shared.dialect.inflates {
            true => request.customize().mutate_request(accepting("gzip")).send().await,
            false => request.send().await,
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
        Ok(Retrieved::new(meta, body))
    }

    /// Metadata, with the tags. Those that we gave are in the metadata too, so that a read costs no
    /// second call; where there are more or fewer by now, somebody else changed them.
    async fn with_tags(&self, key: &ObjectKey, head: Head) -> Result<ObjectMeta, StoreError> {
        let count = head.tag_count.and_then(|count| usize::try_from(count).ok());
        let mut meta = self.meta(key, head)?;
        let changed = count.is_some_and(|count| count != meta.attributes.tags.len());
        if changed && self.can().tags == Support::Native {
            let request = self.client().get_object_tagging();
            let answer = request.bucket(self.bucket()).key(key.as_str()).send().await;
            match answer.map_err(|e| translate(self.provider_of(), Effect::Read, e)) {
                Ok(answer) => {
                    let pairs = answer.tag_set.into_iter().map(|tag| (tag.key, tag.value));
                    meta.attributes.tags = pairs.collect();
                }
                // Those in the metadata are all that can be had of such a backend.
                Err(error) if error.kind() == ErrorKind::Unsupported => {
                    tracing::warn!(%error, "the backend does not tell an object's tags");
                    self.unlearn(|can| can.tags = Support::Gateway);
                }
                Err(error) => return Err(error),
            }
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

/// Says which codings are welcome. R2 inflates what it keeps as gzip for whoever does not ask for
/// gzip, and where HEAD asks for it, may leave the length out.
fn accepting(coding: &'static str) -> impl Fn(&mut HttpRequest) {
    move |request| {
        request.headers_mut().insert("accept-encoding", coding);
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
