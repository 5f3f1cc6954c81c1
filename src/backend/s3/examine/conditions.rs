//! Conditions: whether each call that has them keeps them.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::attempts::{patiently, status};
use super::{Examination, Verdict};
use crate::model::{ETag, PutMode};

/// Longer than the tick of the clock that a store may order its writes by. Garage drops a copy that
/// comes in the millisecond of the write before it, which would look like a condition that was kept.
const TICK: Duration = Duration::from_millis(20);

/// Each condition, and a name of its own: some backends take one write a second of each key.
fn modes(names: [&'static str; 2]) -> [(PutMode, &'static str); 2] {
    let [create, replace] = names;
    [(PutMode::Create, create), (PutMode::Replace(ETag::new("no-such-etag")), replace)]
}

fn header_of(mode: &PutMode) -> &'static str {
    if *mode == PutMode::Create { "If-None-Match: *" } else { "a wrong If-Match" }
}

impl Examination<'_> {
    pub(super) async fn conditions(&mut self) {
        let _ = self.put("create", b"first").send().await;
        let second = || self.put("create", b"second").if_none_match("*").send();
        let tried = patiently(second).await;
        let kept = self.bytes_of("create").await.is_some_and(|found| found == "first");
        self.condition("create-only", "If-None-Match: *", tried.map(drop), kept);
        let _ = self.put("replace", b"first").send().await;
        let second = || self.put("replace", b"second").if_match("\"no-such-etag\"").send();
        let tried = patiently(second).await;
        let kept = self.bytes_of("replace").await.is_some_and(|found| found == "first");
        self.condition("if-match", "a wrong If-Match", tried.map(drop), kept);
    }

    pub(super) async fn conditional_delete(&mut self) {
        let _ = self.put("delete", b"kept").send().await;
        let request = self.s3.client().delete_object().bucket(self.s3.bucket());
        let request = request.key(self.key("delete")).if_match("\"no-such-etag\"");
        let tried = patiently(|| request.clone().send()).await;
        let kept = self.seen("delete").await == Some(200);
        let what = "DELETE with a wrong If-Match";
        self.condition("delete-if-match", what, tried.map(drop), kept);
    }

    /// Both conditions on the destination of a copy, which some check for a PUT only.
    pub(super) async fn conditional_copy(&mut self) {
        let source = format!("{}/{}", self.s3.bucket(), self.key("first"));
        let mut verdict = Verdict::Native;
        let mut details = Vec::new();
        for (mode, name) in modes(["copy-create", "copy-replace"]) {
            let _ = self.put(name, b"kept").send().await;
            tokio::time::sleep(TICK).await;
            let request = self.s3.client().copy_object().bucket(self.s3.bucket());
            let request = request.key(self.key(name)).copy_source(&source);
            let tried = patiently(|| self.s3.send_copy(request.clone(), &mode)).await;
            let kept = self.bytes_of(name).await.is_some_and(|found| found == "kept");
            let (one, detail) = self.conditioned(header_of(&mode), tried.map(drop), kept);
            verdict = if one == Verdict::Native { verdict } else { one };
            details.push(detail);
        }
        self.note("copy-conditions", verdict, details.join("; "));
    }

    /// Both conditions on the completion of an upload in parts.
    pub(super) async fn conditional_multipart(&mut self) {
        let mut verdict = Verdict::Native;
        let mut details = Vec::new();
        for (mode, name) in modes(["parts-create", "parts-replace"]) {
            let _ = self.put(name, b"kept").send().await;
            let tried = self.try_multipart(name, &mode).await;
            let kept = self.bytes_of(name).await.is_some_and(|found| found == "kept");
            let (one, detail) = match tried {
                Ok(completed) => self.conditioned(header_of(&mode), completed, kept),
                Err(text) => (Verdict::Gateway, format!("not to be tried: {text}")),
            };
            verdict = if one == Verdict::Native { verdict } else { one };
            details.push(detail);
        }
        self.note("multipart-conditions", verdict, details.join("; "));
    }

    /// Refused and without effect is native; done all the same, or not known, is ours to do.
    fn conditioned<E: ProvideErrorMetadata>(
        &self,
        what: &str,
        tried: Result<(), SdkError<E, HttpResponse>>,
        kept: bool,
    ) -> (Verdict, String) {
        match tried {
            Err(error) if status(&error) == Some(412) && kept => {
                (Verdict::Native, format!("{what} is answered 412 and changes nothing"))
            }
            Err(error) => (Verdict::Gateway, format!("{what} is answered {}", self.why(&error))),
            Ok(()) if kept => (Verdict::Gateway, format!("{what} is answered 200 and kept")),
            Ok(()) => (Verdict::Gateway, format!("{what} is ignored: it is done")),
        }
    }

    fn condition<E: ProvideErrorMetadata>(
        &mut self,
        feature: &'static str,
        what: &str,
        tried: Result<(), SdkError<E, HttpResponse>>,
        kept: bool,
    ) {
        let (verdict, detail) = self.conditioned(what, tried, kept);
        self.note(feature, verdict, detail);
    }
}
