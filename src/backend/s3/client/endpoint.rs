//! Where the bucket is, worked out once.
//!
//! The SDK works it out by its rules twice for each call. It remembers only the last answer, under
//! parameters among which is the object's key, so that it never finds it again; but no rule reads
//! the key, and all else is the client's own and stays the same.

use std::sync::OnceLock;

use aws_sdk_s3::config::endpoint::{
    DefaultResolver, Endpoint, EndpointFuture, Params, ResolveEndpoint,
};

/// The endpoint of the one bucket that a client asks for.
#[derive(Debug, Default)]
pub(super) struct OneBucket {
    rules: DefaultResolver,
    known: OnceLock<Known>,
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
            return self.rules.resolve_endpoint(params);
        }
        if let Some(known) = self.known.get()
            && known.bucket.as_deref() == params.bucket()
        {
            return EndpointFuture::ready(Ok(known.endpoint.clone()));
        }
        EndpointFuture::new(async move {
            let endpoint = self.rules.resolve_endpoint(params).await?;
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
        let (rules, one) = (DefaultResolver::new(), OneBucket::default());
        for (bucket, key) in [("proofs", "a"), ("proofs", "b/c"), ("other", "a"), ("proofs", "a")] {
            let params = params(bucket, key);
            let wanted = rules.resolve_endpoint(&params).await.unwrap();
            assert_eq!(one.resolve_endpoint(&params).await.unwrap(), wanted, "{bucket}/{key}");
        }
    }

    #[tokio::test]
    async fn a_session_of_a_directory_bucket_is_asked_for_elsewhere() {
        let one = OneBucket::default();
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
