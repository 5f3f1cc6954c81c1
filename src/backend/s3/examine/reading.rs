//! What can be tried without a write: reads of a key that is not there.

use super::attempts::status;
use super::{Examination, Verdict};

impl Examination<'_> {
    /// With which status a HEAD is answered.
    pub(super) async fn seen(&self, name: &str) -> Option<u16> {
        let request = self.s3.client().head_object().bucket(self.s3.bucket()).key(self.key(name));
        match request.send().await {
            Ok(_) => Some(200),
            Err(error) => {
                self.doubt(status(&error));
                status(&error)
            }
        }
    }

    /// Who may not list is told 403 of every missing key.
    pub(super) async fn missing_key(&mut self) {
        let (verdict, detail) = match self.seen("missing").await {
            Some(404) => (Verdict::Native, "a missing key is answered 404".to_owned()),
            Some(403) => {
                (Verdict::No, "a missing key is answered 403: grant ListBucket".to_owned())
            }
            Some(status) => (Verdict::Unknown, format!("a missing key is answered {status}")),
            None => (Verdict::Unknown, "a missing key is not answered".to_owned()),
        };
        self.note("missing-key", verdict, detail);
    }
}
