//! URLs that the backend itself honours, for a while.
//!
//! Made here without asking the backend, bound to one method, and never longer than the
//! credentials live: a URL that outlived them would die before its time.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::ProvideCredentials as _;
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::ServerSideEncryption;

use super::S3;
use super::write::conditions;
use crate::model::{
    Encryption, ErrorKind, ObjectKey, PresignMethod, Presigned, PutMode, StoreError,
};

/// The longest that SigV4 allows.
const LONGEST: Duration = Duration::from_secs(604_800);

impl S3 {
    pub(super) async fn sign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        let now = SystemTime::now();
        let expires_in = self.lifetime(now, expires_in.min(LONGEST)).await?;
        let expires = PresigningConfig::builder().start_time(now).expires_in(expires_in).build();
        let failed = |error: &(dyn std::error::Error + 'static)| {
            let text = DisplayErrorContext(error).to_string();
            tracing::warn!(error = text, "a URL could not be signed");
            self.error(ErrorKind::Misconfigured, "the URL cannot be signed: check the credentials")
        };
        let expires = expires.map_err(|error| failed(&error))?;
        let (client, bucket) = (&self.shared.clients.presigning, self.bucket());
        let signed: PresignedRequest = match method {
            PresignMethod::Get => {
                let request = client.get_object().bucket(bucket).key(key.as_str());
                request.presigned(expires).await.map_err(|error| failed(&error))?
            }
            PresignMethod::Head => {
                let request = client.head_object().bucket(bucket).key(key.as_str());
                request.presigned(expires).await.map_err(|error| failed(&error))?
            }
            PresignMethod::Put { create_only, content_type } => {
                let mode = if *create_only { PutMode::Create } else { PutMode::Overwrite };
                let request = client.put_object().bucket(bucket).key(key.as_str());
                let encryption = self.encryption_for(Encryption::None)?;
                let kms = encryption == Some(ServerSideEncryption::AwsKms);
                let key_id = self.shared.options.kms_key_id.clone().filter(|_| kms);
                let request = request
                    .set_content_type(content_type.clone())
                    .set_server_side_encryption(encryption)
                    .set_ssekms_key_id(key_id)
                    .set_if_none_match(conditions(&mode).0);
                request.presigned(expires).await.map_err(|error| failed(&error))?
            }
        };
        let headers = signed.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
        Ok(Presigned {
            url: signed.uri().to_owned(),
            headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
            expires_at: now + expires_in,
        })
    }

    /// The time asked for, or what is left of the credentials' life.
    async fn lifetime(&self, now: SystemTime, wanted: Duration) -> Result<Duration, StoreError> {
        let unknown =
            || self.error(ErrorKind::Misconfigured, "there are no credentials to sign with");
        let provider = self.shared.clients.credentials.as_ref().ok_or_else(unknown)?;
        let credentials = provider.provide_credentials().await.map_err(|_| unknown())?;
        let Some(end) = credentials.expiry() else { return Ok(wanted) };
        let left = end.duration_since(now).unwrap_or_default();
        Ok(wanted.min(left).max(Duration::from_secs(1)))
    }
}
