//! The attempts, one function for each feature or two.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{AggregatedBytes, ByteStream};
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, ServerSideEncryption,
    StorageClass,
};
use bytes::Bytes;

use super::super::client::HashedAnew;
use super::super::conditions::conditions;
use super::super::error::{Effect, chain, translate};
use super::{Examination, Verdict};
use crate::model::{Digest, ListRequest, PutMode, StoreError};

/// `{"doctor":true}` as gzip, without a time.
const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0x4a, 0xc9, 0x4f, 0x2e,
    0xc9, 0x2f, 0x52, 0xb2, 0x2a, 0x29, 0x2a, 0x4d, 0xad, 0x05, 0x00, 0x8c, 0x97, 0x65, 0xb8, 0x0f,
    0x00, 0x00, 0x00,
];

/// How often a backend may ask to come later, and how much.
const LATER: u32 = 4;
const A_MOMENT: Duration = Duration::from_millis(1100);

/// A name of which each character is said otherwise somewhere between here and a listing.
const ODD_NAME: &str = "odd +&%2F=(é)~'*.json";

/// Sends; a backend that wants to be asked later (R2 takes one write a second of each key) is.
pub(super) async fn patiently<T, E, F>(send: impl Fn() -> F) -> Result<T, SdkError<E, HttpResponse>>
where
    F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
{
    for _ in 0..LATER {
        match send().await {
            Err(error) if matches!(status(&error), Some(429 | 503)) => {
                tokio::time::sleep(A_MOMENT).await;
            }
            answer => return answer,
        }
    }
    send().await
}

pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

/// Whether a backend that fails so has got to an answer.
fn is_answer(status: Option<u16>) -> bool {
    status.is_some_and(|status| status != 429 && (status < 500 || status == 501))
}

impl Examination<'_> {
    /// Why a call failed, in short. A backend that did not get to an answer is to be asked again.
    pub(super) fn why<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> String {
        self.doubt(status(error));
        match (status(error), error.as_service_error().and_then(ProvideErrorMetadata::code)) {
            (Some(status), Some(code)) => format!("{status} {code}"),
            (Some(status), None) => status.to_string(),
            (None, _) => String::from("no answer"),
        }
    }

    /// What a failed call says of the feature that it needs: a refusal is an answer, all else is none.
    pub(super) fn refused<E: ProvideErrorMetadata>(
        &self,
        error: &SdkError<E, HttpResponse>,
    ) -> (Verdict, String) {
        match is_answer(status(error)) {
            true => (Verdict::No, format!("refused ({})", self.why(error))),
            false => (Verdict::Unknown, format!("not to be tried ({})", self.why(error))),
        }
    }

    /// Keeps in mind that a call failed by no fault of its own.
    pub(super) fn doubt(&self, status: Option<u16>) {
        if !is_answer(status) {
            self.doubts.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn put(&self, name: &str, bytes: &'static [u8]) -> PutObjectFluentBuilder {
        self.s3
            .client()
            .put_object()
            .bucket(self.s3.bucket())
            .key(self.key(name))
            .checksum_sha256(Digest::of(bytes).to_base64())
            .body(ByteStream::from(Bytes::from_static(bytes)))
    }

    pub(super) async fn bytes_of(&self, name: &str) -> Option<Bytes> {
        let request = self.s3.client().get_object().bucket(self.s3.bucket()).key(self.key(name));
        let ask = |request: &mut aws_sdk_s3::config::http::HttpRequest| {
            request.headers_mut().insert("accept-encoding", "gzip");
        };
        match request.customize().mutate_request(ask).send().await {
            Ok(answer) => answer.body.collect().await.ok().map(AggregatedBytes::into_bytes),
            Err(error) => {
                self.doubt(status(&error));
                None
            }
        }
    }

    /// The first write: everything else needs it.
    pub(super) async fn write(&mut self) -> Result<(), StoreError> {
        let answer = self.put("first", b"first").content_type("text/plain").send().await;
        let provider = self.s3.shared.options.provider;
        answer.map_err(|error| translate(provider, Effect::Write, error))?;
        let read_back = self.bytes_of("first").await.is_some_and(|found| found == "first");
        self.note(
            "write-read",
            Verdict::of(read_back, Verdict::No),
            if read_back { "what was written is read back" } else { "it is not read back" },
        );
        Ok(())
    }

    /// A version that has a name is worth nothing until it is read after the next one was written.
    pub(super) async fn versions(&mut self) {
        let first = self.put("version", b"first").send().await;
        let named = first.ok().and_then(|answer| answer.version_id);
        let named = named.filter(|version| version != "null");
        let (verdict, detail) = match named {
            None => (Verdict::No, "the bucket keeps no old versions".to_owned()),
            Some(version) => {
                let _ = patiently(|| self.put("version", b"second").send()).await;
                self.old_version(version).await
            }
        };
        self.note("versions", verdict, detail);
    }

    async fn old_version(&self, version: String) -> (Verdict, String) {
        let request = self.s3.client().get_object().bucket(self.s3.bucket());
        let old = match request.key(self.key("version")).version_id(version).send().await {
            Ok(answer) => answer.body.collect().await.ok().map(AggregatedBytes::into_bytes),
            Err(error) if status(&error) == Some(403) => {
                let detail =
                    format!("not to be read ({}): grant GetObjectVersion", self.why(&error));
                return (Verdict::Unknown, detail);
            }
            Err(_) => None,
        };
        let (verdict, detail) = match old.as_deref() == Some(b"first") {
            true => (Verdict::Native, "every write is a version, and old ones can be read"),
            false => (Verdict::No, "versions have names, and old ones are not kept"),
        };
        (verdict, detail.to_owned())
    }

    pub(super) async fn checksums(&mut self) {
        let wrong = Digest::of(b"other bytes").to_base64();
        let request = self.put("checksum", b"these bytes").checksum_sha256(wrong);
        match request.customize().interceptor(HashedAnew).send().await {
            Err(error) => {
                let detail = format!("a wrong sha-256 is refused ({})", self.why(&error));
                self.note("checksum-sha256", Verdict::Native, detail);
            }
            Ok(_) => {
                let detail = "a wrong sha-256 is taken: damage on the way goes unnoticed there";
                self.note("checksum-sha256", Verdict::No, detail);
            }
        }
    }

    pub(super) async fn tags(&mut self) {
        let tried = self.put("tags", b"tags").tagging("type=proof").send().await;
        let (verdict, detail) = match tried {
            Err(error) => {
                (Verdict::Gateway, format!("refused ({}), kept as metadata", self.why(&error)))
            }
            Ok(_) => {
                let request = self.s3.client().get_object_tagging().bucket(self.s3.bucket());
                match request.key(self.key("tags")).send().await {
                    Ok(found) if found.tag_set.iter().any(|tag| tag.value == "proof") => {
                        (Verdict::Native, "tags are kept".to_owned())
                    }
                    Ok(_) => (Verdict::Gateway, "dropped, kept as metadata".to_owned()),
                    Err(error) => {
                        let text =
                            format!("not to be read ({}), kept as metadata", self.why(&error));
                        (Verdict::Gateway, text)
                    }
                }
            }
        };
        self.note("tags", verdict, detail);
    }

    pub(super) async fn storage_class(&mut self) {
        let class = StorageClass::StandardIa;
        let tried = self.put("class", b"class").storage_class(class.clone()).send().await;
        let (verdict, detail) = match tried {
            Err(error) => self.refused(&error),
            Ok(_) => {
                let request = self.s3.client().head_object().bucket(self.s3.bucket());
                let head = request.key(self.key("class")).send().await;
                match head.is_ok_and(|head| head.storage_class == Some(class)) {
                    true => (Verdict::Native, "STANDARD_IA is kept".to_owned()),
                    false => (Verdict::No, "taken and dropped".to_owned()),
                }
            }
        };
        self.note("storage-class", verdict, detail);
    }

    pub(super) async fn encryption(&mut self) {
        for (feature, name, kind) in [
            ("encryption-aes256", "aes256", ServerSideEncryption::Aes256),
            ("encryption-kms", "kms", ServerSideEncryption::AwsKms),
        ] {
            let mut request = self.put(name, b"secret").server_side_encryption(kind.clone());
            if kind == ServerSideEncryption::AwsKms {
                request = request.set_ssekms_key_id(self.s3.shared.options.kms_key_id.clone());
            }
            let (verdict, detail) = match request.send().await {
                Err(error) => self.refused(&error),
                Ok(answer) if answer.server_side_encryption.as_ref() == Some(&kind) => {
                    (Verdict::Native, "kept and confirmed in the answer".to_owned())
                }
                Ok(_) => (Verdict::No, "taken and dropped: it would be plaintext".to_owned()),
            };
            self.note(feature, verdict, detail);
        }
    }

    /// What is stored as gzip must come back as the same bytes, and be called gzip.
    pub(super) async fn encoding(&mut self) {
        let request =
            self.put("gzip", GZIP).content_encoding("gzip").content_type("application/json");
        let stored = request.send().await.is_ok();
        let same = stored && self.bytes_of("gzip").await.is_some_and(|found| found == GZIP);
        let request = self.s3.client().head_object().bucket(self.s3.bucket());
        let head = request.key(self.key("gzip")).send().await;
        let named = head.is_ok_and(|head| head.content_encoding.as_deref() == Some("gzip"));
        let detail = match (same, named) {
            (true, true) => "stored gzip comes back as it is",
            (true, false) => "stored gzip comes back without its name",
            (false, _) => "stored gzip comes back as other bytes",
        };
        self.note("content-encoding", Verdict::of(same && named, Verdict::No), detail);
    }

    pub(super) async fn range(&mut self) {
        let request = self.s3.client().get_object().bucket(self.s3.bucket());
        let answer = request.key(self.key("first")).range("bytes=1-3").send().await;
        let found = match answer {
            Ok(answer) => answer.body.collect().await.ok().map(AggregatedBytes::into_bytes),
            Err(_) => None,
        };
        let exact = found.as_deref() == Some(b"irs");
        let detail = if exact { "a range is exact" } else { "a range is not what was asked for" };
        self.note("range", Verdict::of(exact, Verdict::No), detail);
    }

    pub(super) async fn copy(&mut self) {
        let source = format!("{}/{}", self.s3.bucket(), self.key("first"));
        let request = self.s3.client().copy_object().bucket(self.s3.bucket());
        let tried = request.key(self.key("copy")).copy_source(source).send().await;
        let same = self.bytes_of("copy").await.is_some_and(|found| found == "first");
        let detail = match tried {
            Ok(_) if same => "a copy has the bytes".to_owned(),
            Ok(_) => "a copy has other bytes".to_owned(),
            Err(error) => format!("refused ({})", self.why(&error)),
        };
        self.note("copy", Verdict::of(same, Verdict::No), detail);
    }

    pub(super) async fn multipart(&mut self) {
        let done = match self.try_multipart("parts", &PutMode::Overwrite).await {
            Ok(completed) => completed.map_err(|error| self.why(&error)),
            Err(text) => Err(text),
        };
        let same = self.bytes_of("parts").await.is_some_and(|found| found == "part");
        let detail = match done {
            Ok(()) if same => "an upload in parts has the bytes".to_owned(),
            Ok(()) => "an upload in parts has other bytes".to_owned(),
            Err(text) => format!("failed: {text}"),
        };
        self.note("multipart", Verdict::of(same, Verdict::No), detail);
    }

    /// An upload of one part; `Err` where it did not come to its completion.
    pub(super) async fn try_multipart(
        &self,
        name: &str,
        mode: &PutMode,
    ) -> Result<Result<(), SdkError<CompleteMultipartUploadError, HttpResponse>>, String> {
        let (client, bucket, key) = (self.s3.client(), self.s3.bucket(), self.key(name));
        let begun = client.create_multipart_upload().bucket(bucket).key(&key);
        let id =
            begun.send().await.map_err(|error| self.why(&error))?.upload_id.unwrap_or_default();
        let completed = self.try_parts(&key, &id, mode).await;
        if !matches!(completed, Ok(Ok(()))) {
            let abort = client.abort_multipart_upload().bucket(bucket).key(&key);
            let _ = abort.upload_id(&id).send().await;
        }
        completed
    }

    async fn try_parts(
        &self,
        key: &str,
        id: &str,
        mode: &PutMode,
    ) -> Result<Result<(), SdkError<CompleteMultipartUploadError, HttpResponse>>, String> {
        let (client, bucket) = (self.s3.client(), self.s3.bucket());
        let part = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(1);
        let body = ByteStream::from(Bytes::from_static(b"part"));
        let part = part.body(body).send().await.map_err(|error| self.why(&error))?;
        let part = CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
        let parts = CompletedMultipartUpload::builder().parts(part).build();
        let (if_none_match, if_match) = conditions(mode);
        let complete = client.complete_multipart_upload().bucket(bucket).key(key);
        let complete = complete.set_if_none_match(if_none_match).set_if_match(if_match);
        let complete = complete.upload_id(id).multipart_upload(parts);
        Ok(patiently(|| complete.clone().send()).await.map(drop))
    }

    pub(super) async fn listing(&mut self) {
        let request = self.s3.client().list_objects_v2().bucket(self.s3.bucket());
        let listed = request.prefix(format!("{}/", self.folder)).max_keys(2).send().await;
        let (verdict, detail) = match listed {
            Ok(page) if page.key_count == Some(2) || page.contents().len() == 2 => {
                match self.lists_odd_name().await {
                    true => (Verdict::Native, "a page has as many names as were asked for".into()),
                    false => (Verdict::No, "a name comes back as another one".to_owned()),
                }
            }
            Ok(page) => (Verdict::No, format!("a page of 2 has {} names", page.contents().len())),
            Err(error) => (Verdict::No, format!("refused ({})", self.why(&error))),
        };
        self.note("list", verdict, detail);
        self.missing_key().await;
    }

    async fn lists_odd_name(&self) -> bool {
        if self.put(ODD_NAME, b"odd").send().await.is_err() {
            return false;
        }
        let name = self.key(ODD_NAME);
        let prefix = name.trim_end_matches(".json").to_owned();
        let request = ListRequest { prefix, delimiter: None, limit: 2, after: None };
        let page = self.s3.page(&request).await;
        page.is_ok_and(|page| page.items.iter().map(|item| item.key.as_str()).eq([name.as_str()]))
    }

    pub(super) async fn batch_delete(&mut self) {
        let names = ["checksum", "replace", "delete"];
        let objects = names
            .into_iter()
            .filter_map(|name| ObjectIdentifier::builder().key(self.key(name)).build().ok());
        let Ok(delete) = Delete::builder().set_objects(Some(objects.collect())).build() else {
            return;
        };
        let request = self.s3.client().delete_objects().bucket(self.s3.bucket());
        let tried = request.delete(delete).send().await;
        // Of what was written and read before, a refusal says that it is gone.
        let gone = matches!(self.seen("replace").await, Some(403 | 404));
        let detail = match tried {
            Ok(_) if gone => "many are deleted in one call".to_owned(),
            Ok(_) => "taken, and nothing is deleted".to_owned(),
            Err(error) => format!("refused ({})", self.why(&error)),
        };
        self.note("batch-delete", Verdict::of(gone, Verdict::No), detail);
    }

    /// Removes everything that was named, as not everybody may list.
    pub(super) async fn clean_up(&self) {
        for key in self.named() {
            let request = self.s3.client().delete_object().bucket(self.s3.bucket()).key(&key);
            if let Err(error) = patiently(|| request.clone().send()).await {
                let error = chain(&error);
                tracing::warn!(error, key, "a throw-away object could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    #[test]
    fn the_gzip_sample_is_gzip() {
        let mut text = String::new();
        flate2::read::GzDecoder::new(super::GZIP).read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"doctor\":true}");
    }
}
