//! What the SDK does for each call and nobody needs, left out.
//!
//! The payload's sha-256, which SigV4 signs, has been computed already where the object's own
//! sha-256 is sent along: of the same bytes. And what the SDK tells Amazon of itself (versions,
//! features, the number of the attempt) takes it longer to put together than a breaker, a limit and
//! a timeout take; one name is told instead.

use aws_runtime::auth::PayloadSigningOverride;
use aws_runtime::invocation_id::InvocationIdInterceptor;
use aws_runtime::request_info::RequestInfoInterceptor;
use aws_runtime::user_agent::UserAgentInterceptor;
use aws_sdk_s3::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{disable_interceptor, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use crate::model::Digest;

const USER_AGENT: &str = concat!("proof-storage/", env!("CARGO_PKG_VERSION"));
const CHECKSUM: &str = "x-amz-checksum-sha256";
/// Calls whose checksum is of their body. That of a completed upload is of its parts.
const OF_THE_BODY: [&str; 2] = ["PutObject", "UploadPart"];

/// Leaves it out.
#[derive(Debug)]
pub(super) struct Frugal;

#[dyn_dispatch_hint]
impl Intercept for Frugal {
    fn name(&self) -> &'static str {
        "Frugal"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        const WHY: &str = "nobody reads it";
        let state = config.interceptor_state();
        state.store_put(disable_interceptor::<UserAgentInterceptor>(WHY));
        state.store_put(disable_interceptor::<InvocationIdInterceptor>(WHY));
        state.store_put(disable_interceptor::<RequestInfoInterceptor>(WHY));
        Ok(())
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.headers_mut().insert("user-agent", USER_AGENT);
        let of_body = config.load::<Metadata>().is_some_and(|m| OF_THE_BODY.contains(&m.name()));
        if let Some(checksum) = request.headers().get(CHECKSUM)
            && of_body
            && request.body().bytes().is_some()
        {
            let sha256 = Digest::from_base64(checksum)?.to_hex();
            config.interceptor_state().store_put(PayloadSigningOverride::Precomputed(sha256));
        }
        Ok(())
    }
}

/// Has the payload hashed all the same: for a call whose checksum is wrong on purpose.
#[derive(Debug)]
pub(in super::super) struct HashedAnew;

#[dyn_dispatch_hint]
impl Intercept for HashedAnew {
    fn name(&self) -> &'static str {
        "HashedAnew"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let state = config.interceptor_state();
        state.store_put(disable_interceptor::<Frugal>("the checksum is not of the body"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::Client;
    use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
    use aws_sdk_s3::primitives::ByteStream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::super::options::{Options, StaticCredentials};
    use super::*;
    use crate::model::{Encryption, Provider};

    const BODY: &[u8] = b"the body";

    fn options(endpoint: String) -> Options {
        Options {
            provider: Provider::S3,
            endpoint: Some(endpoint),
            presign_endpoint: None,
            region: Some("us-east-1".into()),
            bucket: "proofs".into(),
            credentials: Some(StaticCredentials {
                access_key_id: "id".into(),
                secret_access_key: "secret".into(),
            }),
            path_style: true,
            encryption: Encryption::None,
            kms_key_id: None,
            object_lock: crate::model::LockMode::Off,
            timeout: std::time::Duration::from_secs(10),
            reach: crate::model::Reach::Guarded,
        }
    }

    fn put(client: &Client, checksum: &[u8]) -> PutObjectFluentBuilder {
        let request = client.put_object().bucket("proofs").key("key");
        let request = request.checksum_sha256(Digest::of(checksum).to_base64());
        request.body(ByteStream::from_static(BODY))
    }

    /// What arrives of a request before its body, in lower case.
    async fn arrives<F: Future>(send: impl FnOnce(Client) -> F) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let client = super::super::connect(&options(endpoint)).await.calls;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
            while !seen.ends_with(BODY) {
                let read = stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0, "the request ended early");
                seen.extend_from_slice(&buffer[..read]);
            }
            let answer = b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(seen).unwrap().to_ascii_lowercase()
        };
        let (seen, _) = tokio::join!(server, send(client));
        seen.split("\r\n\r\n").next().unwrap().to_owned()
    }

    fn signed(hash_of: &[u8]) -> String {
        format!("\r\nx-amz-content-sha256: {}\r\n", Digest::of(hash_of).to_hex())
    }

    #[tokio::test]
    async fn the_checksum_is_what_is_signed_and_one_name_is_told() {
        let head = arrives(|client| put(&client, BODY).send()).await;
        assert!(head.contains(&signed(BODY)), "{head}");
        assert!(head.contains("\r\nuser-agent: proof-storage/"), "{head}");
        for header in ["x-amz-user-agent", "amz-sdk-request", "amz-sdk-invocation-id"] {
            assert!(!head.contains(header), "{head}");
        }
        // The proof that nothing is hashed: a wrong checksum is signed as it is.
        let head = arrives(|client| put(&client, b"other").send()).await;
        assert!(head.contains(&signed(b"other")), "{head}");
    }

    #[tokio::test]
    async fn a_body_without_a_checksum_or_with_one_on_purpose_wrong_is_hashed() {
        let plain = |client: Client| {
            let request = client.put_object().bucket("proofs").key("key");
            request.body(ByteStream::from_static(BODY)).send()
        };
        let head = arrives(plain).await;
        assert!(head.contains(&signed(BODY)), "{head}");
        let anew =
            |client: Client| put(&client, b"other").customize().interceptor(HashedAnew).send();
        let head = arrives(anew).await;
        assert!(head.contains(&signed(BODY)), "{head}");
    }
}
