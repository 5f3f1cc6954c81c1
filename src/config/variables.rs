//! Backends as the environment or `[storage]` says them: one, or a first one and its fallback.
//!
//! `STORAGE_BUCKET` and its like are of `s3`. Of `r2` they are too where it is the only remote
//! one; beside `s3` it has its own variables alone, because the others are another vendor's.

use super::backend::{BackendConfig, BackendKind, Common};
use super::parse;
use super::reader::Reader;
use super::remote::{Flaw, Said};
use super::secret::Secret;
use super::settings as name;
use super::url::BaseUrl;
use crate::model::{Encryption, Provider, Reach};

/// The backends that the variables name, in order, and how many were meant.
pub(super) struct Named {
    pub(super) backends: Vec<BackendConfig>,
    /// With mistakes in them there are more than could be read.
    pub(super) meant: usize,
    /// Whether what asks for no encryption is sealed by this service.
    pub(super) seals: bool,
}

/// All that was said, by whom it is of.
struct Variables {
    of_s3: Said,
    of_r2: Said,
    cdn_of_r2: Option<BaseUrl>,
}

/// Reads all settings whatever the provider, so that each mistake is reported.
pub(super) fn read(reader: &mut Reader<'_>, common: &Common) -> Named {
    let first = reader.value(&name::PROVIDER, parse::provider);
    let mut fallback = reader.option(&name::FALLBACK_PROVIDER, parse::provider);
    if fallback == Some(first) {
        let text = "is STORAGE_PROVIDER's too: for two backends of one kind write a [[backend]] for \
                    each into the TOML file, because the variables can name one bucket only";
        reader.mistake(&name::FALLBACK_PROVIDER, text);
        fallback = None;
    }
    let providers: Vec<_> = [Some(first), fallback].into_iter().flatten().collect();
    let mut variables = Variables::read(reader, common.manners.reach);
    warn_unused(reader, &providers);
    let asked = variables.of_s3.encryption;
    // The embedded store does not encrypt: with keys, this service does it for it.
    let for_local = common.can_seal && providers.contains(&Provider::Local);
    let seals = match asked {
        Some(Encryption::Envelope) => true,
        Some(Encryption::Aes256) => for_local,
        _ => false,
    };
    if seals {
        // Of the proof, before any backend sees it.
        variables.of_s3.encryption = None;
    } else {
        check_encryption(reader, &providers, asked);
    }
    let backends = providers.iter().filter_map(|&provider| {
        let kind = if provider == Provider::Local {
            BackendKind::Local(common.local.clone())
        } else {
            let alone = !providers.contains(&Provider::S3);
            let (remote, flaws) = variables.of(provider, alone).bucket(provider, common.manners);
            flaws.into_iter().for_each(|flaw| report(reader, flaw, provider));
            BackendKind::Remote(remote?)
        };
        let cdn_url = variables.cdn_of_r2.clone().filter(|_| provider == Provider::R2);
        Some(BackendConfig { cdn_url, ..common.backend(kind) })
    });
    Named { backends: backends.collect(), meant: providers.len(), seals }
}

fn warn_unused(reader: &mut Reader<'_>, providers: &[Provider]) {
    if !providers.contains(&Provider::S3) && !providers.contains(&Provider::R2) {
        reader.warn_unused(&name::OF_REMOTE, "while the provider is `local`");
    } else if !providers.contains(&Provider::R2) {
        reader.warn_unused(&name::OF_R2, "while no provider is `r2`");
    }
    if !providers.contains(&Provider::Local) {
        reader.warn_unused(&name::OF_LOCAL, "while no provider is `local`");
    }
}

/// What is said of all must not leave out one that is written to. Where R2 is the only bucket, that
/// is a flaw of its own; beside `s3` it does what AES256 asks for by itself.
fn check_encryption(
    reader: &mut Reader<'_>,
    providers: &[Provider],
    encryption: Option<Encryption>,
) {
    let plain = match (encryption, providers) {
        (None | Some(Encryption::None), _) => return,
        (_, [Provider::Local]) => {
            let text = "the embedded store does not encrypt: remove it, and keep the data directory \
                        on an encrypted disk; or set it to `envelope`, and STORAGE_KEYRING_FILE, and \
                        the service does";
            return reader.mistake(&name::ENCRYPTION, text);
        }
        (_, all) if !all.contains(&Provider::S3) => return,
        (_, all) if all.contains(&Provider::Local) => "the embedded store does not encrypt",
        (Some(Encryption::Kms), [_, _]) => "R2 encrypts under a key of its own only",
        _ => return,
    };
    let text = format!(
        "{plain}, and takes writes too: write a [[backend]] for each into the TOML file, and \
         `encryption` into that of `s3` alone, or remove it, or let it be `envelope`"
    );
    reader.mistake(&name::ENCRYPTION, &text);
}

impl Variables {
    fn read(reader: &mut Reader<'_>, reach: Reach) -> Self {
        let called = |text: &str| BaseUrl::parse_called(text, reach);
        let secret = |text: &str| Ok(Secret::new(text));
        Self {
            of_s3: Said {
                account_id: None,
                bucket: reader.option(&name::BUCKET, parse::bucket),
                region: reader.option(&name::REGION, parse::name),
                endpoint: reader.option(&name::ENDPOINT, called),
                presign_endpoint: reader.option(&name::PRESIGN_ENDPOINT, BaseUrl::parse),
                path_style: reader.option(&name::PATH_STYLE, parse::yes_or_no),
                key_id: reader.option(&name::ACCESS_KEY_ID, secret),
                secret: reader.option(&name::SECRET_ACCESS_KEY, secret),
                encryption: reader.option(&name::ENCRYPTION, parse::encryption),
                kms_key_id: reader.option(&name::KMS_KEY_ID, parse::name),
            },
            of_r2: Said {
                account_id: reader.option(&name::R2_ACCOUNT_ID, parse::name),
                key_id: reader.option(&name::R2_ACCESS_KEY_ID, secret),
                secret: reader.option(&name::R2_SECRET_ACCESS_KEY, secret),
                bucket: reader.option(&name::R2_BUCKET, parse::bucket),
                endpoint: reader.option(&name::R2_ENDPOINT, called),
                ..Said::default()
            },
            cdn_of_r2: reader.option(&name::R2_CDN_URL, BaseUrl::parse),
        }
    }

    /// What was said of a provider's bucket; `alone` where no other one is remote.
    fn of(&self, provider: Provider, alone: bool) -> Said {
        if provider != Provider::R2 {
            return self.of_s3.clone();
        }
        let own = self.of_r2.clone();
        if !alone {
            return own;
        }
        let general = self.of_s3.clone();
        // The account makes the endpoint, before one that was said in general.
        let endpoint = general.endpoint.clone().filter(|_| own.account_id.is_none());
        Said {
            account_id: own.account_id,
            endpoint: own.endpoint.or(endpoint),
            bucket: own.bucket.or(general.bucket.clone()),
            key_id: own.key_id.or(general.key_id.clone()),
            secret: own.secret.or(general.secret.clone()),
            ..general
        }
    }
}

fn report(reader: &mut Reader<'_>, flaw: Flaw, provider: Provider) {
    let text = flaw.text(provider);
    let [bucket, key_id, secret] = match provider {
        Provider::R2 => [&name::R2_BUCKET, &name::R2_ACCESS_KEY_ID, &name::R2_SECRET_ACCESS_KEY],
        _ => [&name::BUCKET, &name::ACCESS_KEY_ID, &name::SECRET_ACCESS_KEY],
    };
    match flaw {
        Flaw::NoBucket => reader.missing(bucket, &text),
        Flaw::NoAccount => reader.missing(&name::R2_ACCOUNT_ID, &text),
        Flaw::NoKeyId | Flaw::NoCredentials => reader.missing(key_id, &text),
        Flaw::NoSecret => reader.missing(secret, &text),
        Flaw::NeedlessEncryption => reader.mistake(&name::ENCRYPTION, &text),
        Flaw::NeedlessRegion => reader.warn(&format!("STORAGE_REGION {text}")),
        Flaw::IdleKmsKey => reader.warn(&format!("STORAGE_KMS_KEY_ID {text}")),
        Flaw::ForeignSigning => reader.mistake(&name::PRESIGN_ENDPOINT, &text),
    }
}
