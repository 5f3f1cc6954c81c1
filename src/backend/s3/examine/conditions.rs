//! Conditions: whether each call that has them keeps them.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::attempts::{status, why};
use super::{Examination, Verdict};
use crate::model::{ETag, PutMode};

/// Longer than the tick of the clock that a store may order its writes by. Garage drops a copy that
/// comes in the millisecond of the write before it, which would look like a condition that was kept.
const TICK: Duration = Duration::from_millis(20);

/// Refused and without effect is native; done all the same, or not known, is ours to do.
fn conditioned<E: ProvideErrorMetadata>(
    what: &str,
    tried: Result<(), SdkError<E, HttpResponse>>,
    kept: bool,
) -> (Verdict, String) {
    match tried {
        Err(error) if status(&error) == Some(412) && kept => {
            (Verdict::Native, format!("{what} is answered 412 and changes nothing"))
        }
        Err(error) => (Verdict::Gateway, format!("{what} is answered {}", why(&error))),
        Ok(()) if kept => (Verdict::Gateway, format!("{what} is answered 200 and kept")),
        Ok(()) => (Verdict::Gateway, format!("{what} is ignored: it is done")),
    }
}

fn header_of(mode: &PutMode) -> &'static str {
    if *mode == PutMode::Create { "If-None-Match: *" } else { "a wrong If-Match" }
}

impl Examination<'_> {
    pub(super) async fn conditions(&mut self) {
        let _ = self.put("create", b"first").send().await;
        let tried = self.put("create", b"second").if_none_match("*").send().await;
        let kept = self.bytes_of("create").await.is_some_and(|found| found == "first");
        self.condition("create-only", "If-None-Match: *", tried.map(drop), kept);
        let _ = self.put("replace", b"first").send().await;
        let tried = self.put("replace", b"second").if_match("\"no-such-etag\"").send().await;
        let kept = self.bytes_of("replace").await.is_some_and(|found| found == "first");
        self.condition("if-match", "a wrong If-Match", tried.map(drop), kept);
    }

    pub(super) async fn conditional_delete(&mut self) {
        let _ = self.put("delete", b"kept").send().await;
        let request = self.s3.client().delete_object().bucket(self.s3.bucket());
        let tried = request.key(self.key("delete")).if_match("\"no-such-etag\"").send().await;
        let kept = self.exists("delete").await == Some(true);
        let what = "DELETE with a wrong If-Match";
        self.condition("delete-if-match", what, tried.map(drop), kept);
    }

    /// Both conditions on the destination of a copy, which some check for a PUT only.
    pub(super) async fn conditional_copy(&mut self) {
        let source = format!("{}/{}", self.s3.bucket(), self.key("first"));
        let mut verdict = Verdict::Native;
        let mut details = Vec::new();
        for mode in [PutMode::Create, PutMode::Replace(ETag::new("no-such-etag"))] {
            let _ = self.put("copy-over", b"kept").send().await;
            tokio::time::sleep(TICK).await;
            let request = self.s3.client().copy_object().bucket(self.s3.bucket());
            let request = request.key(self.key("copy-over")).copy_source(&source);
            let tried = self.s3.send_copy(request, &mode).await;
            let kept = self.bytes_of("copy-over").await.is_some_and(|found| found == "kept");
            let (one, detail) = conditioned(header_of(&mode), tried.map(drop), kept);
            verdict = if one == Verdict::Native { verdict } else { one };
            details.push(detail);
        }
        self.note("copy-conditions", verdict, details.join("; "));
    }

    /// Both conditions on the completion of an upload in parts.
    pub(super) async fn conditional_multipart(&mut self) {
        let mut verdict = Verdict::Native;
        let mut details = Vec::new();
        for mode in [PutMode::Create, PutMode::Replace(ETag::new("no-such-etag"))] {
            let _ = self.put("parts", b"kept").send().await;
            let tried = self.try_multipart(&mode).await;
            let kept = self.bytes_of("parts").await.is_some_and(|found| found == "kept");
            let (one, detail) = match tried {
                Ok(completed) => conditioned(header_of(&mode), completed, kept),
                Err(text) => (Verdict::Gateway, format!("not to be tried: {text}")),
            };
            verdict = if one == Verdict::Native { verdict } else { one };
            details.push(detail);
        }
        self.note("multipart-conditions", verdict, details.join("; "));
    }

    fn condition<E: ProvideErrorMetadata>(
        &mut self,
        feature: &'static str,
        what: &str,
        tried: Result<(), SdkError<E, HttpResponse>>,
        kept: bool,
    ) {
        let (verdict, detail) = conditioned(what, tried, kept);
        self.note(feature, verdict, detail);
    }
}
