//! URLs that the backend itself honours, for a while.
//!
//! Made here without asking the backend, bound to one method, and never longer than the
//! credentials live: a URL that outlived them would die before its time.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::ServerSideEncryption;

use super::S3;
use super::conditions::conditions;
use super::error::chain;
use super::meta::now;
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
        // SigV4 counts whole seconds, from a whole second.
        let start = now();
        let wanted = Duration::from_secs(expires_in.min(LONGEST).as_secs().max(1));
        let signed = self.sign_for(key, method, start, wanted).await?;
        let Some(left) = self.life_of(&signed, start) else {
            return Ok(presigned(&signed, start + wanted));
        };
        if left < Duration::from_secs(1) {
            let detail = "the credentials that would sign the URL are at their end: try again";
            return Err(self.error(ErrorKind::Unavailable, detail).unasked());
        }
        if left >= wanted {
            return Ok(presigned(&signed, start + wanted));
        }
        let signed = self.sign_for(key, method, start, left).await?;
        Ok(presigned(&signed, start + left))
    }

    /// Whole seconds that are left of the credentials which made a signature; absent where those
    /// have no end.
    fn life_of(&self, signed: &PresignedRequest, start: SystemTime) -> Option<Duration> {
        let (_, credential) = signed.uri().split_once("X-Amz-Credential=")?;
        let (access_key_id, _) = credential.split_once("%2F")?;
        let end = self.shared.clients.lives.end_of(access_key_id)?;
        let left = end.duration_since(start).unwrap_or_default();
        Some(Duration::from_secs(left.as_secs()))
    }

    async fn sign_for(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        start: SystemTime,
        expires_in: Duration,
    ) -> Result<PresignedRequest, StoreError> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            tracing::warn!(error = chain(error), "a URL could not be signed");
            self.error(ErrorKind::Misconfigured, "the URL cannot be signed: check the credentials")
        };
        let expires = PresigningConfig::builder().start_time(start).expires_in(expires_in).build();
        let expires = expires.map_err(|error| failed(&error))?;
        let (client, bucket) = (&self.shared.clients.presigning, self.bucket());
        match method {
            PresignMethod::Get => {
                let request = client.get_object().bucket(bucket).key(key.as_str());
                request.presigned(expires).await.map_err(|error| failed(&error))
            }
            PresignMethod::Head => {
                let request = client.head_object().bucket(bucket).key(key.as_str());
                request.presigned(expires).await.map_err(|error| failed(&error))
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
                request.presigned(expires).await.map_err(|error| failed(&error))
            }
        }
    }
}

fn presigned(signed: &PresignedRequest, expires_at: SystemTime) -> Presigned {
    let headers = signed.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    Presigned {
        url: signed.uri().to_owned(),
        headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        expires_at,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use aws_config::{BehaviorVersion, SdkConfig};
    use aws_credential_types::provider::error::CredentialsError;
    use aws_credential_types::provider::{ProvideCredentials, future};
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};

    use super::super::client::clients;
    use super::super::options::Options;
    use super::*;
    use crate::model::Provider;

    /// Gives credentials that live for so many seconds from when they are asked for.
    #[derive(Debug)]
    struct Temporary(AtomicU64);

    impl ProvideCredentials for Temporary {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let end = SystemTime::now() + Duration::from_secs(self.0.load(Ordering::Relaxed));
            let token = Some("canary-token".to_owned());
            let credentials = Credentials::new("ASIAKEY", "canary-secret", token, Some(end), "t");
            future::ProvideCredentials::ready(Ok(credentials))
        }
    }

    /// Gives none, for one reason or another.
    #[derive(Debug)]
    struct Failing(fn() -> CredentialsError);

    impl ProvideCredentials for Failing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err((self.0)()))
        }
    }

    fn store(seconds: u64) -> S3 {
        over(Temporary(AtomicU64::new(seconds)))
    }

    fn over(provider: impl ProvideCredentials + 'static) -> S3 {
        let options = Options {
            provider: Provider::S3,
            endpoint: Some("http://127.0.0.1:9".to_owned()),
            presign_endpoint: Some("https://files.example".to_owned()),
            region: Some("eu-west-1".to_owned()),
            bucket: "proofs".to_owned(),
            credentials: None,
            path_style: true,
            encryption: Encryption::None,
            kms_key_id: None,
            object_lock: crate::model::LockMode::Off,
            timeout: Duration::from_secs(1),
            reach: crate::model::Reach::Guarded,
        };
        let shared = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        let provider = SharedCredentialsProvider::new(provider);
        let clients = clients(&options, &shared, Some(provider), |builder| builder);
        S3::over(options, clients)
    }

    #[tokio::test]
    async fn a_url_lives_no_longer_than_what_signed_it() {
        let key = ObjectKey::new("proofs/a");
        let week = Duration::from_secs(604_800);
        for (life, asked, wanted) in [(600, 60, 60), (600, 3600, 600), (900, 9_999_999, 900)] {
            let before = now();
            let asked = Duration::from_secs(asked);
            let signed = store(life).sign(&key, &PresignMethod::Get, asked).await.unwrap();
            let (_, seconds) = signed.url.split_once("X-Amz-Expires=").unwrap();
            let seconds: u64 = seconds.split('&').next().unwrap().parse().unwrap();
            // The clock may go on by a second between the two readings of it.
            assert!((wanted - 1..=wanted).contains(&seconds), "{seconds} of {wanted}");
            let told = signed.expires_at.duration_since(before).unwrap().as_secs();
            assert!((wanted - 1..=wanted + 1).contains(&told), "{told} of {wanted}");
            assert!(signed.url.starts_with("https://files.example/proofs/proofs/a?"));
            assert!(!signed.url.contains("canary-secret"));
        }
        let signed = store(604_900).sign(&key, &PresignMethod::Head, week * 2).await.unwrap();
        assert!(signed.url.contains("X-Amz-Expires=604800&"), "the longest there is");
    }

    /// Whoever gives credentials may be ailing for a moment, which another try mends.
    #[tokio::test]
    async fn credentials_that_are_missing_are_told_from_those_that_cannot_be_fetched() {
        let key = ObjectKey::new("proofs/a");
        let none = || CredentialsError::not_loaded("canary");
        let ailing = || CredentialsError::provider_error("canary");
        for (failure, kind) in [
            (none as fn() -> CredentialsError, ErrorKind::Misconfigured),
            (ailing, ErrorKind::Failed),
        ] {
            let error = over(Failing(failure)).look(&key).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.detail().contains("credentials"), "{error}");
        }
    }

    #[tokio::test]
    async fn credentials_at_their_end_sign_nothing() {
        let key = ObjectKey::new("proofs/a");
        let error = store(0).sign(&key, &PresignMethod::Get, LONGEST).await.unwrap_err();
        assert!(!error.to_string().contains("canary"), "{error:?}");
    }
}
