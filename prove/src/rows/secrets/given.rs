//! What the services of this row are given, and how.

// Certificates as the tests make them: what only those use is unused here.
#[allow(dead_code)]
#[path = "../../../../tests/it/certificates.rs"]
mod certificates;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use fake_s3::FakeS3;
use fastrand::Rng;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::KeyPair;
use serde_json::json;

use self::certificates::Authority;
use super::canary::{self, Hunt, Kind};
use super::visit::Visitor;
use super::{BODY, FOLDER, KEY};
use crate::Result;
use crate::rows::Context;
use crate::server::{Launch, Server};
use crate::tunnel::Tunnel;

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "proofs";
const SCOPES: &str = "read write delete list sign admin";
const TLS_KEY: &str = "the private key of TLS";

/// See the module.
#[derive(Debug)]
pub(super) struct Secrets {
    pub(super) signing: String,
    signing_previous: String,
    audit: String,
    /// The same two for a service that is told where they are: in a variable, and in a file.
    signing_referred: String,
    audit_file: PathBuf,
    keyring: String,
    keyring_retired: String,
    jwks: String,
    pub(super) token: String,
    tokens_file: PathBuf,
    pub(super) session: String,
    tls: Tls,
    provider: Provider,
    /// What is stored sealed.
    sealed: String,
    /// What is stored so that it must be found, and under which name.
    pub(super) lure: String,
    lure_key: String,
    pub(super) lure_folder: String,
}

#[derive(Debug)]
struct Tls {
    cert: PathBuf,
    key: PathBuf,
    authority: String,
}

/// An identity provider: the file with its keys, and a JWT that it signed.
#[derive(Debug)]
struct Provider {
    jwks_file: PathBuf,
    jwt: String,
}

impl Secrets {
    /// Makes them, and has them looked for.
    ///
    /// # Errors
    /// A file cannot be written, or the service makes no token.
    pub(super) fn new(context: &Context, hunt: &mut Hunt) -> Result<Self> {
        let mut rng = Rng::with_seed(context.seed() ^ 14);
        let signing = hunt.canary("the key that signs URLs", Kind::Secret, &mut rng);
        let signing_previous = hunt.canary("the previous such key", Kind::Secret, &mut rng);
        let audit = hunt.canary("the key of the audit log", Kind::Secret, &mut rng);
        let signing_referred = hunt.canary("a secret that a variable has", Kind::Secret, &mut rng);
        let audit_file = context.work().join("audit.key");
        let in_file = hunt.canary("a secret that a file has", Kind::Secret, &mut rng);
        certificates::write_key(&audit_file, &in_file);
        let mut key = [0; 32];
        rng.fill(&mut key);
        hunt.add("a key of the keyring, raw", Kind::Secret, &key);
        let keyring = BASE64_STANDARD.encode(key);
        hunt.add("a key of the keyring", Kind::Secret, keyring.as_bytes());
        rng.fill(&mut key);
        hunt.add("a retired key, raw", Kind::Secret, &key);
        let keyring_retired = BASE64_STANDARD.encode(key);
        hunt.add("a retired key", Kind::Secret, keyring_retired.as_bytes());
        hunt.add("the bucket's secret key", Kind::Secret, FakeS3::SECRET_KEY.as_bytes());
        let session = hunt.canary("the session token of the bucket's key", Kind::Secret, &mut rng);
        let jwks = hunt.canary("the key in the URL of a JWKS", Kind::Secret, &mut rng);
        let sealed = canary::letters(&mut rng);
        hunt.add_sent("a sealed proof", Kind::Sealed, sealed.as_bytes());
        let lure = hunt.lure(BODY, &mut rng);
        let lure_key = format!("open/{}.c2pa", hunt.lure(KEY, &mut rng));
        let lure_folder = hunt.lure(FOLDER, &mut rng);
        let tls = Tls::new(context.work(), hunt)?;
        let provider = Provider::new(context.work(), hunt)?;

        let (folder, tokens_file) = (context.work().join("x"), context.work().join("tokens.toml"));
        let words = ["token", "create", "--name", "prove", "--json", "--scope"];
        let scopes = ["read,write,delete,list,sign,admin"];
        let launch = context.service(&folder, "token");
        let (created, printed) = launch.run(&[&words[..], &scopes].concat())?;
        let printed: serde_json::Value = serde_json::from_slice(&printed)?;
        let text = |name: &str| printed[name].as_str().map(str::to_owned);
        let (Some(token), Some(digest), true) = (text("token"), text("sha256"), created) else {
            return Err(format!("`token create` printed {printed}").into());
        };
        let entry = format!(
            "[[token]]\nname = \"prove\"\nsha256 = \"{digest}\"\nscopes = [\"read\", \
             \"write\", \"delete\", \"list\", \"sign\", \"admin\"]\n"
        );
        std::fs::write(&tokens_file, entry)?;
        hunt.add_sent("an API token", Kind::Secret, token.as_bytes());
        Ok(Self {
            signing,
            signing_previous,
            audit,
            signing_referred,
            audit_file,
            keyring,
            keyring_retired,
            jwks,
            token,
            tokens_file,
            session,
            tls,
            provider,
            sealed,
            lure,
            lure_key,
            lure_folder,
        })
    }

    /// A service that has what every one of them has, with room for a core dump in a folder of its own.
    fn launch(&self, context: &Context, data: &Path, name: &str, cores: &Path) -> Launch {
        context
            .service(data, name)
            // Of the AWS SDK all that is not a whole request: at `debug` it tells those, signatures and all, to
            // whoever names it in the filter.
            .with("STORAGE_LOG", "trace,fjall=trace,lsm_tree=trace")
            .with("STORAGE_SIGNING_KEY_PREVIOUS", &self.signing_previous)
            .with(
                "STORAGE_KEYRING",
                format!("canary:active:{},old:retired:{}", self.keyring, self.keyring_retired),
            )
            .with("STORAGE_TOKENS_FILE", &self.tokens_file)
            .with("STORAGE_JWT_ISSUER", ISSUER)
            .with("STORAGE_JWT_AUDIENCE", AUDIENCE)
            .through(super::with_cores(cores))
    }

    /// One that is told where its secrets are, speaks TLS, and reads the provider's keys from a file.
    ///
    /// # Errors
    /// Its configuration cannot be written.
    pub(super) fn referring(
        &self,
        context: &Context,
        data: &Path,
        name: &str,
        cores: &Path,
    ) -> Result<Launch> {
        let file = context.work().join("references.toml");
        let text = format!(
            "[server]\nsigning_key = {{ env = \"PROVE_SIGNING\" }}\n[audit]\nmode = \"file\"\n\
             key = {{ file = '{}' }}\n",
            self.audit_file.display()
        );
        std::fs::write(&file, text)?;
        Ok(self
            .launch(context, data, name, cores)
            .with("STORAGE_CONFIG", file)
            .with("PROVE_SIGNING", &self.signing_referred)
            .with("STORAGE_TLS_CERT", &self.tls.cert)
            .with("STORAGE_TLS_KEY", &self.tls.key)
            .with("STORAGE_JWT_JWKS", &self.provider.jwks_file))
    }

    /// One that is given them themselves, and asks for the provider's keys where nobody answers.
    pub(super) fn given(&self, context: &Context, data: &Path, name: &str, cores: &Path) -> Launch {
        self.launch(context, data, name, cores)
            .with("STORAGE_SIGNING_KEY", &self.signing)
            .with("STORAGE_AUDIT", "log")
            .with("STORAGE_AUDIT_KEY", &self.audit)
            .with("STORAGE_JWT_JWKS", format!("http://127.0.0.1:9/keys?key={}", self.jwks))
    }

    /// Files that hold secrets.
    pub(super) fn files(&self) -> [&Path; 2] {
        [&self.audit_file, &self.tls.key]
    }

    /// The way to a service that speaks TLS.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) fn tunnel(&self, server: &Server) -> Result<Tunnel> {
        Tunnel::to(server.address(), &self.tls.authority)
    }

    /// Who shows the token.
    pub(super) fn visitor(&self, server: &Server) -> Visitor<'_> {
        self.showing(&self.token, server)
    }

    /// Who shows the provider's JWT.
    pub(super) fn visitor_by_jwt(&self, server: &Server) -> Visitor<'_> {
        self.showing(&self.provider.jwt, server)
    }

    fn showing<'a>(&'a self, credential: &'a str, server: &Server) -> Visitor<'a> {
        Visitor::new(server.address(), credential, &self.sealed, (&self.lure_key, &self.lure))
    }
}

impl Tls {
    /// A pair in files. Of the key is looked for: the file's lines, what they encode, and the number that is
    /// the secret in it.
    fn new(folder: &Path, hunt: &mut Hunt) -> Result<Self> {
        let authority = Authority::new("prove");
        let pair = authority.server();
        let (cert, key) = pair.write(folder);
        let lines: Vec<_> = pair.key.lines().filter(|line| !line.starts_with('-')).collect();
        for line in &lines {
            hunt.add("a line of the private key of TLS", Kind::Secret, line.trim().as_bytes());
        }
        let der = BASE64_STANDARD.decode(lines.concat())?;
        hunt.add(TLS_KEY, Kind::Secret, &der);
        // The only OCTET STRING of 32 bytes in it is the private number (RFC 5915).
        let at = memchr::memmem::find(&der, &[0x04, 0x20]).ok_or("no private number in the key")?;
        let number = der.get(at + 2..at + 34).ok_or("a private key that is too short")?;
        hunt.add("the number in the private key of TLS", Kind::Secret, number);
        Ok(Self { cert, key, authority: authority.pem })
    }
}

impl Provider {
    /// A key of ES256, published in a file, and a JWT of two hours. Of that is looked for: all of it, its
    /// signature as it is written, and what that encodes.
    fn new(folder: &Path, hunt: &mut Hunt) -> Result<Self> {
        let key = EncodingKey::from_ec_der(&KeyPair::generate()?.serialize_der());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        jwk.common.key_id = Some("prove".to_owned());
        let jwks_file = folder.join("jwks.json");
        std::fs::write(&jwks_file, json!({ "keys": [jwk] }).to_string())?;
        let ends = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 7200;
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "exp": ends, "sub": "prove", "scope": SCOPES,
        });
        let header = Header { kid: Some("prove".to_owned()), ..Header::new(Algorithm::ES256) };
        let jwt = jsonwebtoken::encode(&header, &claims, &key)?;
        let signature = jwt.rsplit('.').next().unwrap_or_default();
        hunt.add_sent("an accepted JWT", Kind::Secret, jwt.as_bytes());
        hunt.add("the signature of a JWT", Kind::Secret, signature.as_bytes());
        let raw = BASE64_URL_SAFE_NO_PAD.decode(signature)?;
        hunt.add_sent("the signature of a JWT, raw", Kind::Secret, &raw);
        Ok(Self { jwks_file, jwt })
    }
}
