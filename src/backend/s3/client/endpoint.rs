//! Where the bucket is, worked out once.
//!
//! The SDK works it out by its rules twice for each call. It remembers only the last answer, under
//! parameters among which is the object's key, so that it never finds it again; but no rule reads
//! the key, and all else is the client's own and stays the same.

use std::sync::OnceLock;

use aws_sdk_s3::config::endpoint::{
    DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint,
};
use aws_sdk_s3::error::BoxError;

use crate::model::Reach;

/// The endpoint of the one bucket that a client asks for, if it may be asked: whoever said it, be it a
/// variable or a profile that the SDK reads by itself.
#[derive(Debug)]
pub(super) struct OneBucket {
    rules: DefaultResolver,
    known: OnceLock<Known>,
    reach: Reach,
}

impl OneBucket {
    pub(super) fn new(reach: Reach) -> Self {
        Self { rules: DefaultResolver::new(), known: OnceLock::new(), reach }
    }

    async fn resolve(&self, params: &Params) -> Result<Endpoint, BoxError> {
        let endpoint = self.rules.resolve_endpoint(params).await?;
        let uri: http::Uri = endpoint.url().parse()?;
        self.reach.check_host(uri.host().unwrap_or_default())?;
        Ok(endpoint)
    }
}

#[derive(Debug)]
struct Known {
    bucket: Option<String>,
    endpoint: Endpoint,
}

impl ResolveEndpoint for OneBucket {
    fn resolve_endpoint<'a>(&'a self, params: &'a Params) -> EndpointFuture<'a> {
        // Directory buckets: to get a session has an endpoint of its own.
        let of_session = params.disable_s3_express_session_auth() == Some(true)
            || params.use_s3_express_control_endpoint() == Some(true);
        if of_session {
            return EndpointFuture::new(self.resolve(params));
        }
        if let Some(known) = self.known.get()
            && known.bucket.as_deref() == params.bucket()
        {
            return EndpointFuture::ready(Ok(known.endpoint.clone()));
        }
        EndpointFuture::new(async move {
            let endpoint = self.resolve(params).await?;
            let bucket = params.bucket().map(str::to_owned);
            // The first one stays: there is but one bucket.
            let _ = self.known.set(Known { bucket, endpoint: endpoint.clone() });
            Ok(endpoint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(bucket: &str, key: &str) -> Params {
        let params = Params::builder().bucket(bucket).key(key).region("eu-central-1");
        params.endpoint("http://127.0.0.1:9000").force_path_style(true).build().unwrap()
    }

    #[tokio::test]
    async fn the_answer_is_that_of_the_rules_whatever_was_asked_before() {
        let (rules, one) = (DefaultResolver::new(), OneBucket::new(Reach::Guarded));
        for (bucket, key) in [("proofs", "a"), ("proofs", "b/c"), ("other", "a"), ("proofs", "a")] {
            let params = params(bucket, key);
            let wanted = rules.resolve_endpoint(&params).await.unwrap();
            assert_eq!(one.resolve_endpoint(&params).await.unwrap(), wanted, "{bucket}/{key}");
        }
    }

    /// As it comes from `AWS_ENDPOINT_URL` or a profile.
    #[tokio::test]
    async fn an_endpoint_that_may_not_be_asked_is_not_whoever_said_it() {
        for (url, reach, asked) in [
            ("http://169.254.169.254", Reach::Guarded, false),
            ("http://[fd00:ec2::254]:80", Reach::Guarded, false),
            ("http://169.254.169.254", Reach::Anywhere, true),
            ("http://127.0.0.1:9000", Reach::Guarded, true),
            ("https://s3.example.org", Reach::Guarded, true),
        ] {
            let params = Params::builder().bucket("proofs").key("a").region("eu-central-1");
            let params = params.endpoint(url).force_path_style(true).build().unwrap();
            let found = OneBucket::new(reach).resolve_endpoint(&params).await;
            assert_eq!(found.is_ok(), asked, "{url}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_session_of_a_directory_bucket_is_asked_for_elsewhere() {
        let one = OneBucket::new(Reach::Guarded);
        let bucket = "proofs--euc1-az1--x-s3";
        let params = || Params::builder().bucket(bucket).region("eu-central-1");
        let of_objects = params().key("a").build().unwrap();
        let of_session = params().disable_s3_express_session_auth(true).build().unwrap();
        let objects = one.resolve_endpoint(&of_objects).await.unwrap();
        let session = one.resolve_endpoint(&of_session).await.unwrap();
        assert_eq!(session, DefaultResolver::new().resolve_endpoint(&of_session).await.unwrap());
        assert_ne!(format!("{objects:?}"), format!("{session:?}"));
    }
}
