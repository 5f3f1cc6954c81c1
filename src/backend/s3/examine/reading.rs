//! What can be tried without a write: reads of a key that is not there.

use super::attempts::status;
use super::urls::{EXPIRES, connector};
use super::{Examination, Verdict};
use crate::model::{ErrorKind, GetOptions, ObjectKey, PresignMethod, StoreError};

impl Examination<'_> {
    pub(super) async fn run_reading(&mut self) -> Result<(), StoreError> {
        self.reach().await?;
        self.page().await;
        self.missing_key().await;
        self.object_lock().await;
        self.presigned_read().await;
        let detail = "not tried, as are all writes: it is only read";
        self.note("write-read", Verdict::Unknown, detail);
        Ok(())
    }

    /// The first read: everything else needs it.
    async fn reach(&self) -> Result<(), StoreError> {
        let key = ObjectKey::new(self.key("missing"));
        match self.s3.read(&key, GetOptions::default()).await {
            Err(error) => match error.kind() {
                // The latter says whoever may not list, of a key that is not there.
                ErrorKind::NotFound | ErrorKind::AccessDenied => Ok(()),
                _ => Err(error),
            },
            Ok(_) => Ok(()),
        }
    }

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

    async fn page(&mut self) {
        let request = self.s3.client().list_objects_v2().bucket(self.s3.bucket());
        let listed = request.prefix(format!("{}/", self.folder)).max_keys(2).send().await;
        let (verdict, detail) = match listed {
            Ok(_) => (Verdict::Native, "a page comes, with nothing on it".to_owned()),
            Err(error) => self.refused(&error),
        };
        self.note("list", verdict, detail);
    }

    /// Who honours a signed URL says that the key is not there.
    async fn presigned_read(&mut self) {
        let key = ObjectKey::new(self.key("missing"));
        let (verdict, detail) = match self.s3.sign(&key, &PresignMethod::Get, EXPIRES).await {
            Err(error) => (Verdict::No, error.detail().to_owned()),
            Ok(signed) => match self.fetch(&connector(), "GET", &signed).await {
                Ok(404) => (Verdict::Native, "a signed URL is answered 404".to_owned()),
                Ok(status) => (Verdict::Unknown, format!("a signed URL is answered {status}")),
                Err(text) => (Verdict::Unknown, text),
            },
        };
        self.note("presigned-get", verdict, detail);
    }
}
