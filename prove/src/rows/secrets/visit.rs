//! Everything that a caller does with a service, rightly and wrongly.

use std::cell::RefCell;
use std::net::SocketAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use super::canary::{Hunt, Kind};
use crate::Result;
use crate::client::{Answer, Client, proof};

const SEALED_KEY: &str = "sealed/small.c2pa";
/// Large enough for a temporary file.
const LARGE_KEY: &str = "sealed/large.c2pa";
const LARGE_BYTES: usize = 3 << 20;

/// A caller with a token.
#[derive(Debug)]
pub(super) struct Visitor<'a> {
    client: RefCell<Client>,
    token: &'a str,
    sealed: &'a str,
    /// Name and body of what is stored open.
    lure: (&'a str, &'a str),
}

impl<'a> Visitor<'a> {
    pub(super) fn new(
        address: SocketAddr,
        token: &'a str,
        sealed: &'a str,
        lure: (&'a str, &'a str),
    ) -> Self {
        Self { client: RefCell::new(Client::new(address)), token, sealed, lure }
    }

    /// Makes every call once, and looks into the answers.
    ///
    /// # Errors
    /// A call that has to succeed does not.
    pub(super) fn visit(&self, hunt: &mut Hunt) -> Result<()> {
        let large = self.sealed.repeat(LARGE_BYTES / self.sealed.len());
        for (key, body) in [(SEALED_KEY, self.sealed), (LARGE_KEY, large.as_str())] {
            self.store(hunt, key, body, "envelope")?;
        }
        self.store(hunt, self.lure.0, self.lure.1, "none")?;
        let got = self.ask(hunt, "GET", &proof(SEALED_KEY), &[], b"", false)?;
        if got.body != self.sealed.as_bytes() {
            return Err(format!("a sealed proof came back as {}", got.label()).into());
        }
        // What was stored open has to be seen here, and what is sealed not.
        self.expect(hunt, 200, "GET", &proof(self.lure.0), b"")?;
        self.look_again(hunt)?;
        self.signed(hunt)?;
        self.wrong(hunt)?;
        let copy = json!({"source": SEALED_KEY, "destination": "sealed/copy.c2pa"});
        self.expect(hunt, 201, "POST", "/v1/copy", copy.to_string().as_bytes())?;
        let keys = json!({"keys": ["sealed/copy.c2pa", "never/there"]});
        self.expect(hunt, 200, "POST", "/v1/batch-delete", keys.to_string().as_bytes())?;
        Ok(())
    }

    /// Calls that change nothing, whatever is answered.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) fn look_again(&self, hunt: &mut Hunt) -> Result<()> {
        let metadata = format!("/v1/metadata/{SEALED_KEY}");
        let range = [("Range", "bytes=0-0")];
        for (method, path, more) in [
            ("HEAD", proof(SEALED_KEY).as_str(), &[][..]),
            ("GET", metadata.as_str(), &[]),
            ("GET", "/v1/proofs?prefix=sealed/", &[]),
            ("GET", "/v1/stats", &[]),
            ("GET", "/v1/backends", &[]),
            ("GET", "/health", &[]),
            ("GET", "/health/ready", &[]),
            ("GET", proof(LARGE_KEY).as_str(), &range),
            ("DELETE", "/v1/proofs/never/there", &[]),
        ] {
            self.ask(hunt, method, path, more, b"", true)?;
        }
        let metrics = self.ask(hunt, "GET", "/metrics", &[], b"", true)?;
        if metrics.status() != 200 {
            return Err(format!("/metrics answered {}", metrics.label()).into());
        }
        hunt.look("metrics", &metrics.body, true);
        Ok(())
    }

    /// URLs that are signed: the service's own, as they are and changed.
    fn signed(&self, hunt: &mut Hunt) -> Result<()> {
        for (method, key) in [("GET", SEALED_KEY), ("PUT", "signed/new.c2pa")] {
            // No two of one row are alike: each is looked for from when it was answered.
            let seconds = 3600 + hunt.canaries();
            let body =
                json!({"key": key, "method": method, "via": "service", "expires_in": seconds});
            let body = body.to_string();
            let answer = self.expect(hunt, 201, "POST", "/v1/signed-urls", body.as_bytes())?;
            let url = answer.json()["url"].as_str().unwrap_or_default().to_owned();
            let path = url.splitn(4, '/').nth(3).ok_or("a signed URL without a path")?;
            let token = path.split('/').nth(2).ok_or("a signed URL without a token")?;
            hunt.add_sent("the token of a signed URL", Kind::Secret, token.as_bytes());
            let mut client = self.client.borrow_mut();
            let used = client.call(method, &format!("/{path}"), &[], self.lure.1.as_bytes())?;
            if !used.is_success() {
                return Err(format!("a signed URL answered {}", used.label()).into());
            }
            look(hunt, &used, false);
            // Twice used, used wrongly, and changed.
            let other = if method == "GET" { "PUT" } else { "GET" };
            for (method, path) in [(method, format!("/{path}?a=b")), (other, format!("/{path}x"))] {
                look(hunt, &client.call(method, &path, &[], b"x")?, false);
            }
        }
        Ok(())
    }

    /// A URL that the bucket's own key signs: whoever has it can read, and nobody can take it back.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn signed_by_backend(&self, hunt: &mut Hunt) -> Result<()> {
        let body = json!({"key": self.lure.0, "method": "GET", "via": "backend"}).to_string();
        let answer = self.expect(hunt, 201, "POST", "/v1/signed-urls", body.as_bytes())?;
        let url = answer.json()["url"].as_str().unwrap_or_default().to_owned();
        let signature = url.split_once("X-Amz-Signature=").ok_or("a URL without a signature")?.1;
        let signature = signature.split('&').next().unwrap_or_default();
        hunt.add_sent("the signature of a backend's URL", Kind::Secret, signature.as_bytes());
        Ok(())
    }

    /// Credentials that are wrong, or where they do not belong; and requests that are.
    fn wrong(&self, hunt: &mut Hunt) -> Result<()> {
        let path = proof(SEALED_KEY);
        let mut wrong = self.token.to_owned();
        let last = wrong.pop().unwrap_or('a');
        wrong.push(if last == 'a' { 'b' } else { 'a' });
        hunt.add_sent("a token that is nobody's", Kind::Secret, wrong.as_bytes());
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2Fu";
        hunt.add_sent("a JWT that is nobody's", Kind::Secret, jwt.as_bytes());
        let bearer = |text: &str| format!("Bearer {text}");
        let (wrong_bearer, jwt_bearer) = (bearer(&wrong), bearer(jwt));
        let basic = format!("Basic {}", BASE64_STANDARD.encode(self.token));
        let cookie = format!("session={}", self.token);
        for header in [
            ("Authorization", wrong_bearer.as_str()),
            ("Authorization", jwt_bearer.as_str()),
            ("Authorization", basic.as_str()),
            ("Authorization", self.token),
            ("Cookie", cookie.as_str()),
            ("X-Api-Key", self.token),
        ] {
            for method in ["GET", "PUT", "DELETE"] {
                let answer =
                    self.client.borrow_mut().call(method, &path, &[header], b"not stored")?;
                if answer.status() != 401 {
                    return Err(
                        format!("{method} with {} answered {}", header.0, answer.label()).into()
                    );
                }
                look(hunt, &answer, true);
            }
        }
        let broken = format!("{{\"keys\": [\"{}\"", self.token);
        for (method, path, body) in [
            ("GET", format!("{path}?access_token={}", self.token), ""),
            ("PATCH", path.clone(), ""),
            ("POST", "/v1/batch-delete".into(), broken.as_str()),
            ("POST", "/v1/copy".into(), "{}"),
            ("GET", "/v1/nothing".into(), ""),
            ("PUT", "/v1/proofs/../x".into(), "x"),
        ] {
            // What a query says besides is nobody's concern: then it is the proof.
            self.ask(hunt, method, &path, &[("Proof-Tags", "a=%zz")], body.as_bytes(), false)?;
        }
        Ok(())
    }

    fn store(&self, hunt: &mut Hunt, key: &str, body: &str, encryption: &str) -> Result<()> {
        let headers = [("Content-Type", "application/c2pa"), ("Proof-Encryption", encryption)];
        let answer = self.ask(hunt, "PUT", &proof(key), &headers, body.as_bytes(), true)?;
        if !answer.is_success() {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("storing {key} answered {}: {said}", answer.label()).into());
        }
        Ok(())
    }

    fn expect(
        &self,
        hunt: &mut Hunt,
        status: u16,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<Answer> {
        let json = [("Content-Type", "application/json")];
        let headers: &[_] = if body.is_empty() { &[] } else { &json };
        let answer = self.ask(hunt, method, path, headers, body, true)?;
        if answer.status() != status {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("{method} {path} answered {}: {said}", answer.label()).into());
        }
        Ok(answer)
    }

    /// Asks with the token. `sealed`: what is sealed must not be in the answer.
    fn ask(
        &self,
        hunt: &mut Hunt,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &[u8],
        sealed: bool,
    ) -> Result<Answer> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("Authorization", bearer.as_str())], more].concat();
        let answer = self.client.borrow_mut().call(method, path, &headers, body)?;
        look(hunt, &answer, sealed);
        Ok(answer)
    }
}

fn look(hunt: &mut Hunt, answer: &Answer, sealed: bool) {
    for (name, value) in answer.head.headers() {
        hunt.look("answers", format!("{name}: {value}").as_bytes(), sealed);
    }
    hunt.look("answers", &answer.body, sealed);
}
