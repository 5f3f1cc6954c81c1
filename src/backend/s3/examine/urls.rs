//! Presigned URLs, used as a stranger would use them: without the SDK's signing.

use std::time::Duration;

use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use super::super::error::chain;
use super::{Examination, Verdict};
use crate::model::{ObjectKey, PresignMethod, Presigned};

pub(super) const EXPIRES: Duration = Duration::from_secs(60);

pub(super) fn connector() -> Connector {
    Connector::builder()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build()
}

impl Examination<'_> {
    pub(super) async fn presigned(&mut self) {
        let connector = connector();
        let put = PresignMethod::Put { create_only: false, content_type: None };
        for (feature, method, word, name) in [
            ("presigned-put", put, "PUT", "url"),
            ("presigned-get", PresignMethod::Get, "GET", "first"),
            ("presigned-head", PresignMethod::Head, "HEAD", "first"),
        ] {
            let key = ObjectKey::new(self.key(name));
            let signed = match self.s3.sign(&key, &method, EXPIRES).await {
                Ok(signed) => signed,
                Err(error) => {
                    self.note(feature, Verdict::No, error.detail().to_owned());
                    continue;
                }
            };
            let (verdict, detail) = match self.fetch(&connector, word, &signed).await {
                Ok(status @ 200..=299) => {
                    (Verdict::Native, format!("a signed URL is answered {status}"))
                }
                Ok(status) => (Verdict::No, format!("a signed URL is answered {status}")),
                Err(text) => (Verdict::Unknown, text),
            };
            self.note(feature, verdict, detail);
        }
    }

    pub(super) async fn fetch(
        &mut self,
        connector: &Connector,
        method: &str,
        signed: &Presigned,
    ) -> Result<u16, String> {
        let body = if method == "PUT" { SdkBody::from("by url") } else { SdkBody::empty() };
        let mut request = HttpRequest::new(body);
        request.set_uri(signed.url.as_str()).map_err(|error| error.to_string())?;
        request.set_method(method).map_err(|error| error.to_string())?;
        for (name, value) in &signed.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        let answer = connector.call(request).await.map_err(|error| chain(&error))?;
        let date = answer.headers().get("date").map(str::to_owned);
        self.saw_date(date.as_deref());
        Ok(answer.status().as_u16())
    }
}
